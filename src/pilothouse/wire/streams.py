"""Answers without an end: signed requests whose answer goes on until one side leaves.

The way is that of a call: authenticate → authorise → the capability's function. What a call needs once is asked again
while a stream is open: each CHECK_SECONDS whether its credentials and its permission still hold.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from urllib.parse import parse_qs

import msgspec
import structlog

from pilothouse.call import Call, House, Operation, Shape, Stream, StreamRoute, Told
from pilothouse.errors import ApiError, RoleMissing, ServiceUnavailable, ThrottlingException, ValidationException
from pilothouse.identity.principals import Principal
from pilothouse.runtime.metrics import THROTTLED
from pilothouse.runtime.settings import API
from pilothouse.storage import StorageUnavailable
from pilothouse.wire import eventstream
from pilothouse.wire.dispatch import Authorise
from pilothouse.wire.http import Request, Response, RouteHandler, Write, text_response
from pilothouse.wire.models import OperationModel
from pilothouse.wire.sigv4 import Authenticator

log = structlog.get_logger()

CHECK_SECONDS = 30.0
FAREWELL_SECONDS = 2.0
"""How long a stream that is ended may take to return."""
_PARAMETERS = 40

Run = Callable[[Stream], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Opened:
    """A stream about to begin: who asked for what."""

    request: Request
    call: Call
    operation: Operation
    shape: Shape

    @property
    def name(self) -> str:
        return f"{self.operation.service}:{self.operation.name}"


class Streams:
    """The streams of one process."""

    def __init__(
        self,
        house: House,
        routes: Iterable[StreamRoute],
        authenticator: Authenticator,
        authorise: Authorise,
        *,
        most: int,
    ) -> None:
        """`most`: streams that one principal may have open at once."""
        self._house = house
        self._routes = tuple(routes)
        self._authenticator = authenticator
        self._authorise = authorise
        self._most = most
        self._open: Counter[str] = Counter()
        self._ends: set[asyncio.Event] = set()
        self._closed = False

    def handlers(self) -> Mapping[str, RouteHandler]:
        """Path to handler, for Front."""
        return {route.path: partial(self._respond, route) for route in self._routes}

    @property
    def open(self) -> int:
        """How many there are."""
        return len(self._ends)

    def close(self) -> None:
        """End every stream, and refuse further ones: the server stops."""
        self._closed = True
        for ended in self._ends:
            ended.set()

    async def _respond(self, route: StreamRoute, request: Request) -> Response:
        if request.method != "GET":
            return text_response(405, "This path answers GET.\n", allow="GET")
        if self._closed:
            return text_response(503, "The service is stopping.\n")
        request_id = self._house.ids.uuid()
        if API not in self._house.roles:
            return _refused(RoleMissing(self._house.roles, API), request_id)
        try:
            principal, region = await self._authenticator.principal(request, route.operation.service)
            call = self._call(request, principal, region, request_id)
            opened = _Opened(request=request, call=call, operation=route.operation, shape={})
            await self._authorised(opened)
            self._check_room(principal)
            run = await route.open(call, _parameters(request.query))
        except ApiError as error:
            return _refused(error, request_id)
        return self._answer(route.media_type, opened, run)

    def told(
        self, request: Request, call: Call, operation: Operation, model: OperationModel, shape: Shape, answer: Shape
    ) -> Response:
        """The answer of an operation that has an event stream. Raises ThrottlingException, ServiceUnavailable."""
        if self._closed:
            raise ServiceUnavailable("The service is stopping. The request can be retried.")
        self._check_room(call.principal)
        opened = _Opened(request=request, call=call, operation=operation, shape=shape)
        assert model.event_stream is not None
        return self._answer(eventstream.MEDIA_TYPE, opened, partial(_told, model, answer[model.event_stream]))

    def _check_room(self, principal: Principal) -> None:
        if self._open[principal.arn] >= self._most:
            THROTTLED.labels("streams").inc()
            raise ThrottlingException(f"{self._most} streams are open already; close some of them.")

    def _answer(self, media_type: str, opened: _Opened, run: Run) -> Response:
        headers = {
            "content-type": media_type,
            "cache-control": "no-store",
            "x-accel-buffering": "no",
            "x-amzn-requestid": opened.call.request_id,
        }
        return Response(200, headers, b"", partial(self._streamed, opened, run), signed=True)

    async def _streamed(self, opened: _Opened, run: Run, write: Write) -> None:
        """Run a stream until it returns or is ended."""
        request, call, ended = opened.request, opened.call, asyncio.Event()
        if self._closed:
            return
        self._ends.add(ended)
        self._open[call.principal.arn] += 1
        try:
            async with asyncio.TaskGroup() as group:
                watches = [group.create_task(self._end_with_credentials(opened, ended))]
                if request.gone is not None:
                    watches.append(group.create_task(_end_with_client(request.gone, ended)))
                work = group.create_task(_survived(run(Stream(write=write, ended=ended)), opened.name))
                work.add_done_callback(lambda _: ended.set())
                await ended.wait()
                await asyncio.wait([work], timeout=FAREWELL_SECONDS)
                for each in (*watches, work):
                    each.cancel()
        finally:
            self._ends.discard(ended)
            self._open[call.principal.arn] -= 1
            if not self._open[call.principal.arn]:
                del self._open[call.principal.arn]

    async def _end_with_credentials(self, opened: _Opened, ended: asyncio.Event) -> None:
        call = opened.call
        while True:
            await self._house.clock.sleep(CHECK_SECONDS)
            try:
                call.principal = await self._authenticator.still(opened.request)
                await self._authorised(opened)
            except ApiError as error:
                log.info("stream.ended", stream=opened.name, principal=call.principal.arn, code=error.code)
                ended.set()
                return
            except StorageUnavailable as fault:  # a fault is no refusal; nothing can be read meanwhile either
                log.warning("stream.storage_unavailable", stream=opened.name, error=str(fault))

    async def _authorised(self, opened: _Opened) -> None:
        verdict = self._authorise(opened.call, opened.operation, opened.shape)
        if verdict is not None:
            await verdict

    def _call(self, request: Request, principal: Principal, region: str, request_id: str) -> Call:
        return Call(
            principal=principal,
            account_id=principal.account_id,
            region=region,
            request_id=request_id,
            house=self._house,
            source_ip=request.peer,
            user_agent=request.headers.get("user-agent", ""),
            secure=request.secure,
            headers=request.headers,
            gone=request.gone,
        )


async def _end_with_client(gone: Callable[[], Awaitable[None]], ended: asyncio.Event) -> None:
    await gone()
    ended.set()


async def _told(model: OperationModel, told: Told, stream: Stream) -> None:
    """Write the events as they are told."""
    await stream.write(eventstream.BEGINNING)
    try:
        async with aclosing(told(stream)) as events:
            async for members in events:
                await stream.write(eventstream.event(*model.event(members)))
    except ApiError as error:
        await stream.write(eventstream.failure(error))


async def _survived(run: Awaitable[None], name: str) -> None:
    try:
        await run
    except StorageUnavailable as fault:
        log.warning("stream.storage_unavailable", stream=name, error=str(fault))
    except Exception:
        log.exception("stream.failed", stream=name)


def _parameters(query: str) -> dict[str, list[str]]:
    try:
        found = parse_qs(query, keep_blank_values=True, max_num_fields=_PARAMETERS, errors="strict")
    except (ValueError, UnicodeDecodeError) as error:
        raise ValidationException("The query of the URL is malformed.") from error
    if "\0" in "".join(value for values in found.values() for value in values):
        raise ValidationException("The query of the URL holds U+0000.")
    return {name: values for name, values in found.items() if not name.lower().startswith("x-amz-")}


def _refused(error: ApiError, request_id: str) -> Response:
    status = error.http_status if error.http_status != 400 else error.query_status
    if isinstance(error, ThrottlingException):
        status = 429
    body = msgspec.json.encode({"__type": error.code, "message": error.message})
    return Response(status, {"content-type": "application/x-amz-json-1.1", "x-amzn-requestid": request_id}, body)
