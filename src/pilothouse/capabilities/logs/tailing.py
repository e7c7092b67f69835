"""StartLiveTail: the events of groups as they come, whichever server of the installation took them.

A look, each second, finds chunks by the time of their ingestion. Commits of other processes become visible in any
order, and their clocks may differ a little: each look goes back some seconds and leaves out what it has shown before.
"""

from collections.abc import AsyncGenerator, Callable, Sequence
from functools import partial
from typing import Final

from pilothouse.call import Call, Shape, Stream, operation
from pilothouse.capabilities.logs.chunks import opened
from pilothouse.capabilities.logs.model import Chunk, Group, Kept, SessionTimeoutException, group_arn
from pilothouse.capabilities.logs.naming import asked_of, found_group
from pilothouse.capabilities.logs.patterns import Fits, compiled
from pilothouse.capabilities.logs.sealing import cipher_of
from pilothouse.capabilities.logs.store import ChunkStore, LogStore
from pilothouse.errors import InvalidParameterException
from pilothouse.runtime.waiting import wait

_EVERY_SECONDS: Final = 1.0
_LOOK_BACK_MS: Final = 30_000
_LONGEST_MS: Final = 3 * 3_600_000
_MOST: Final = 500
"""Events of one update; of more there is a sample."""
_CHUNKS: Final = 1000
"""That one look takes of a group."""


def _groups(call: Call, request: Shape) -> list[str]:
    return [asked_of(call, each) for each in request["logGroupIdentifiers"]]


@operation("logs", "StartLiveTail", resources=_groups)
async def start_live_tail(call: Call, request: Shape) -> Shape:
    """Begin a session, which ends with either side or after three hours."""
    names, prefixes = request.get("logStreamNames"), request.get("logStreamNamePrefixes")
    if names and prefixes:
        raise InvalidParameterException("logStreamNames and logStreamNamePrefixes are mutually exclusive parameters.")
    if (names or prefixes) and len(request["logGroupIdentifiers"]) > 1:
        raise InvalidParameterException("Streams can be named for one log group only.")
    fits = compiled(request.get("logEventFilterPattern", ""))
    async with call.reading() as tx:
        groups = [await found_group(call, tx, each) for each in request["logGroupIdentifiers"]]

    def wanted(stream: str) -> bool:
        return (names is None or stream in names) and (prefixes is None or stream.startswith(tuple(prefixes)))

    followed = [_Followed(call, group, wanted, fits) for group in groups]
    return {"responseStream": partial(_session, call, request, followed)}


async def _session(
    call: Call, request: Shape, followed: "Sequence[_Followed]", stream: Stream
) -> AsyncGenerator[Shape, None]:
    began = call.clock.millis()
    for each in followed:
        await each.begin()
    yield {
        "sessionStart": {
            "logStreamNames": [],
            "logStreamNamePrefixes": [],
            "logEventFilterPattern": "",
            **request,
            "requestId": call.request_id,
            "sessionId": call.ids.uuid(),
        }
    }
    while not await wait(call.clock, stream.ended, _EVERY_SECONDS):
        if call.clock.millis() - began >= _LONGEST_MS:
            raise SessionTimeoutException("The session has timed out: sessions last for three hours at most.")
        found: list[Shape] = []
        sampled = False
        for each in followed:
            events, whole = await each.look()
            found += events
            sampled = sampled or not whole
        shown = found if len(found) <= _MOST else [found[len(found) * number // _MOST] for number in range(_MOST)]
        metadata = {"sampled": sampled or len(shown) < len(found)}
        yield {"sessionUpdate": {"sessionMetadata": metadata, "sessionResults": shown}}


class _Followed:
    """One group of a session, and what of it was shown."""

    def __init__(self, call: Call, group: Group, wanted: Callable[[str], bool], fits: Fits) -> None:
        self._call, self._group, self._wanted, self._fits = call, group, wanted, fits
        self._arn = group_arn(group.account_id, group.region, group.name)
        self._seen: dict[str, int] = {}
        """Chunk id to the time of its ingestion."""
        self._names: dict[str, str] = {}

    async def begin(self) -> None:
        """What is there already is not shown."""
        await self._fresh()

    async def look(self) -> tuple[list[Shape], bool]:
        """The events that came since the last look, and whether that is all of them."""
        fresh, whole = await self._fresh()
        if not fresh:
            return [], whole
        cipher = await cipher_of(self._call.house, self._group)
        found: list[Kept] = []
        for number in range(0, len(fresh), 16):
            part = fresh[number : number + 16]
            async with self._call.reading() as tx:
                bodies = await ChunkStore(tx).bodies([each.chunk_id for each in part])
            for chunk in part:
                if chunk.chunk_id in bodies:
                    events = opened(chunk, bodies[chunk.chunk_id], cipher)
                    found += [event for event in events if self._fits(event.message)]
            await self._call.clock.sleep(0)  # others have their turn
        return [self._told(event) for event in sorted(found)], whole

    async def _fresh(self) -> tuple[list[Chunk], bool]:
        since = self._call.clock.millis() - _LOOK_BACK_MS
        async with self._call.reading() as tx:
            chunks = await ChunkStore(tx).ingested(self._group.group_id, since, _CHUNKS)
            fresh = [each for each in chunks if each.chunk_id not in self._seen]
            unknown = sorted({each.stream_id for each in fresh} - set(self._names))
            store = LogStore(tx, self._group.account_id, self._group.region)
            self._names |= await store.names(unknown) if unknown else {}
        self._seen = {each: at for each, at in self._seen.items() if at >= since}
        self._seen |= {each.chunk_id: each.ingested_at for each in fresh}
        shown = [each for each in fresh if each.stream_id in self._names and self._wanted(self._names[each.stream_id])]
        return shown, len(chunks) < _CHUNKS or len(fresh) < len(chunks)

    def _told(self, event: Kept) -> Shape:
        return {
            "logStreamName": self._names[event.stream_id],
            "logGroupIdentifier": self._arn,
            "message": event.message,
            "timestamp": event.place.at,
            "ingestionTime": event.place.ingested_at,
        }
