"""`GET /ph/v1/events`: the events of the caller's account and region as server-sent events."""

from collections.abc import Awaitable, Callable

from pilothouse.call import Call, Query, Stream, stream
from pilothouse.capabilities.events.model import Cursor, Event, EventCursorExpiredException, Watch, resumed, sse
from pilothouse.capabilities.events.ordering import ORDERED, SWEEP_SECONDS, order
from pilothouse.capabilities.events.store import EventStore, scope_key
from pilothouse.errors import ValidationException
from pilothouse.runtime.waiting import wait
from pilothouse.storage.pages import InvalidPageToken

HEARTBEAT_SECONDS = 15
RETRY_MS = 2000
_PAGE = 100
_KNOWN = frozenset({"path", "detail-type", "source", "cursor", "from"})


@stream("pilothouse", "StreamEvents", path="/ph/v1/events", media_type="text/event-stream")
async def stream_events(call: Call, query: Query) -> Callable[[Stream], Awaitable[None]]:
    """Open a stream. Raises ValidationException, EventCursorExpiredException."""
    watch = _watch(query)
    start = await _start(call, query)

    async def run(stream: Stream) -> None:
        await _run(call, watch, start, stream)

    return run


async def _run(call: Call, watch: Watch, start: Cursor, stream: Stream) -> None:
    """Write what is there, then what comes. The id also goes with heartbeats: it moves past events not wanted."""
    cursor = told = start
    clock = call.clock
    with call.house.bus.waiting(ORDERED, scope_key(call.account_id, call.region)) as woken:
        await stream.write(f"retry: {RETRY_MS}\nid: {_token(call, cursor)}\n\n".encode())
        beat = clock.millis()
        while not stream.ended.is_set():
            woken.take()
            page = await _page(call, cursor)
            wanted = [event for event in page if watch.wants(event)]
            if wanted:
                await stream.write(b"".join(sse(event, _token(call, event.cursor)) for event in wanted))
                told, beat = wanted[-1].cursor, clock.millis()
            if page:
                cursor = page[-1].cursor
            if clock.millis() - beat >= HEARTBEAT_SECONDS * 1000:
                moved = f"id: {_token(call, cursor)}\n" if cursor != told else ""
                await stream.write(f": still here\n{moved}\n".encode())
                told, beat = cursor, clock.millis()
            if len(page) < _PAGE:
                await wait(clock, woken.event, SWEEP_SECONDS, stream.ended)


async def _page(call: Call, cursor: Cursor) -> list[Event]:
    async with call.reading() as tx:
        return await EventStore(tx, call.account_id, call.region).after(cursor.place, _PAGE)


def _watch(query: Query) -> Watch:
    unknown = sorted(set(query) - _KNOWN)
    if unknown:
        raise ValidationException(f"There is no parameter {unknown[0]!r}; there are {', '.join(sorted(_KNOWN))}.")
    path = _single(query, "path") or ""
    if path and not path.startswith("/"):
        raise ValidationException("The path must begin with a slash.")
    return Watch(path, tuple(query.get("detail-type", ())), tuple(query.get("source", ())))


def _single(query: Query, name: str) -> str | None:
    values = query.get(name, [])
    if len(values) > 1:
        raise ValidationException(f"The parameter {name} may be given once only.")
    return values[0] if values else None


async def _start(call: Call, query: Query) -> Cursor:
    """Where the reader goes on: its own cursor, the beginning of what is kept, or now. A reader that reconnects by
    itself repeats its first URL, so the header beats the query."""
    text = call.headers.get("last-event-id") or _single(query, "cursor")
    where = _single(query, "from") or "now"
    if where not in {"now", "beginning"}:
        raise ValidationException("The parameter from is now or beginning.")
    cursor = None if text is None else _cursor(call, text)
    await order(call.house)
    async with call.reading() as tx:
        store = EventStore(tx, call.account_id, call.region)
        if cursor is not None:
            found = resumed(cursor, await store.kept(), await store.mark(cursor.place))
            if found is None:
                raise EventCursorExpiredException(
                    "Events after this cursor are no longer kept. Read the state anew, then start with from=beginning."
                )
            return found
        return (await store.kept()).beginning if where == "beginning" else await store.end()


def _token(call: Call, cursor: Cursor) -> str:
    return call.house.pages.token(_bound_to(call), [cursor.place, cursor.mark])


def _cursor(call: Call, text: str) -> Cursor:
    try:
        place, mark = call.house.pages.position(_bound_to(call), text)
    except (InvalidPageToken, ValueError) as error:
        raise ValidationException("The cursor is not one of this account and region.") from error
    return Cursor(place, mark)


def _bound_to(call: Call) -> list[str]:
    return ["events", call.account_id, call.region]
