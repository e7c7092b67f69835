"""Answers without an end: signed requests whose answer goes on until one side leaves.

The way is that of a call: authenticate → authorise → the capability's function. What a call needs once is asked again
while a stream is open: each CHECK_SECONDS whether its credentials and its permission still hold.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from urllib.parse import parse_qs

import msgspec
import structlog

from pilothouse.call import Call, House, Stream, StreamRoute
from pilothouse.errors import ApiError, ThrottlingException, ValidationException
from pilothouse.identity.principals import Principal
from pilothouse.runtime.metrics import THROTTLED
from pilothouse.storage import StorageUnavailable
from pilothouse.wire.dispatch import Authorise
from pilothouse.wire.http import Request, Response, RouteHandler, Write, text_response
from pilothouse.wire.sigv4 import Authenticator

log = structlog.get_logger()

CHECK_SECONDS = 30.0
FAREWELL_SECONDS = 2.0
"""How long a stream that is ended may take to return."""
_PARAMETERS = 40

Run = Callable[[Stream], Awaitable[None]]


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
        try:
            principal, region = await self._authenticator.principal(request, route.operation.service)
            call = self._call(request, principal, region, request_id)
            await self._authorised(call, route)
            if self._open[principal.arn] >= self._most:
                THROTTLED.labels("streams").inc()
                raise ThrottlingException(f"{self._most} streams are open already; close some of them.")
            run = await route.open(call, _parameters(request.query))
        except ApiError as error:
            return _refused(error, request_id)
        headers = {
            "content-type": route.media_type,
            "cache-control": "no-store",
            "x-accel-buffering": "no",
            "x-amzn-requestid": request_id,
        }
        return Response(200, headers, b"", partial(self._streamed, route, request, call, run), signed=True)

    async def _streamed(self, route: StreamRoute, request: Request, call: Call, run: Run, write: Write) -> None:
        """Run a stream until it returns or is ended."""
        ended = asyncio.Event()
        if self._closed:
            return
        self._ends.add(ended)
        self._open[call.principal.arn] += 1
        try:
            async with asyncio.TaskGroup() as group:
                watches = [group.create_task(self._end_with_credentials(route, request, call, ended))]
                if request.gone is not None:
                    watches.append(group.create_task(_end_with_client(request.gone, ended)))
                work = group.create_task(_survived(run(Stream(write=write, ended=ended)), route))
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

    async def _end_with_credentials(
        self, route: StreamRoute, request: Request, call: Call, ended: asyncio.Event
    ) -> None:
        while True:
            await self._house.clock.sleep(CHECK_SECONDS)
            try:
                call.principal = await self._authenticator.still(request)
                await self._authorised(call, route)
            except ApiError as error:
                log.info("stream.ended", path=route.path, principal=call.principal.arn, code=error.code)
                ended.set()
                return
            except StorageUnavailable as fault:  # a fault is no refusal; nothing can be read meanwhile either
                log.warning("stream.storage_unavailable", path=route.path, error=str(fault))

    async def _authorised(self, call: Call, route: StreamRoute) -> None:
        verdict = self._authorise(call, route.operation, {})
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


async def _survived(run: Awaitable[None], route: StreamRoute) -> None:
    try:
        await run
    except StorageUnavailable as fault:
        log.warning("stream.storage_unavailable", path=route.path, error=str(fault))
    except Exception:
        log.exception("stream.failed", path=route.path)


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
