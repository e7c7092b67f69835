"""The plain ASGI application over Front: reads bodies within limits and hands websockets to the table of `app`.

What a trusted proxy says of the client's address and of TLS is taken here, once for all that is behind.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import structlog

from pilothouse.rest_errors import RequestTimeout
from pilothouse.runtime.metrics import CONNECTIONS_DROPPED, REQUESTS_REFUSED
from pilothouse.runtime.peers import Proxies
from pilothouse.runtime.settings import LimitSettings
from pilothouse.wire.bodies import Bodies
from pilothouse.wire.front import Front
from pilothouse.wire.http import BadRequest, ClientLeft, Request, Response, Write, header_map, text_response
from pilothouse.wire.limits import BODY_LIMIT, body_limit

log = structlog.get_logger()

STREAM_BYTES = 16 << 10
"""What of a body that comes as a stream must come within the time for a body, however long the whole takes."""
CONNECTION = "pilothouse.connection"
"""Where the scope holds what can `abort()` the connection, and is told that it has `shown()` who it is; for a websocket
the websocket itself."""
_LARGE = 1 << 20
"""Bytes of a body that is put together beside the event loop: many calls would wait for it."""
_JOINING = ThreadPoolExecutor(1, "bodies")
_COMPRESSED = "Compressed request bodies are not accepted.\n"
_PIECE = 64 << 10
"""Bytes of an answer that are written at once."""
_DRAINED = 8 << 20
"""Bytes of a body over the limit that are read and dropped, so that the client sees the answer, not a reset."""

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
WebSocketHandler = Callable[[Any, Any, Any], Awaitable[None]]
"""(scope, receive, send) of an ASGI websocket."""


class _NoRoom(Exception):
    """Too many bytes of bodies are under way."""


class _Unknown(Exception):
    """A large body comes from somebody whose access key is none that may sign."""


class WireApplication:
    """`app(scope, receive, send)` for HTTP, websockets and lifespan."""

    def __init__(
        self,
        front: Front,
        websockets: Mapping[str, WebSocketHandler] | None = None,
        limits: LimitSettings | None = None,
        proxies: Proxies | None = None,
        streamed: Callable[[str, str, Mapping[str, str]], bool] | None = None,
    ) -> None:
        """`websockets`: path prefix to the ASGI callable that answers for it; of several the longest wins.

        `streamed`: whether the body of a request with this path, query and headers comes as a stream.
        """
        limits = limits or LimitSettings()
        self._front = front
        self._websockets = sorted((websockets or {}).items(), key=lambda entry: -len(entry[0]))
        self._body_seconds = limits.body_seconds
        self._stall_seconds = limits.stall_seconds
        self._bodies = Bodies(limits.body_mib << 20)
        self._proxies = proxies or Proxies()
        self._is_streamed = streamed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        elif scope["type"] == "lifespan":
            await _lifespan(receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            headers = header_map(scope["headers"])
            peer, secure = self._proxies.origin(_peer(scope), scope["scheme"] == "https", headers)
            with _Held(self._bodies, peer) as held:
                request = await self._request(scope, receive, headers, held, secure)
                response = request if isinstance(request, Response) else await self._front.respond(request)
                if held.is_dropped or not await held.is_drained():
                    response.headers = {**response.headers, "connection": "close"}
            if response.signed and CONNECTION in scope:
                scope[CONNECTION].shown()
        except ClientLeft:
            return
        except BadRequest as error:
            response = _refused(400, f"{error}\n")
        body = response.body
        lines = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in response.headers.items()]
        if response.stream is not None:
            await self._streamed(scope, response.status, lines, response.stream, send)
            return
        if "content-length" not in response.headers and response.status not in (204, 304):
            lines.append((b"content-length", b"%d" % len(body)))
        await send({"type": "http.response.start", "status": response.status, "headers": lines})
        for at in range(0, len(body) - _PIECE, _PIECE):  # no more of it than the client takes is copied for it
            await send({"type": "http.response.body", "body": body[at : at + _PIECE], "more_body": True})
        rest = len(body) % _PIECE or min(len(body), _PIECE)
        await send({"type": "http.response.body", "body": body[len(body) - rest :]})

    async def direct(
        self,
        raw_headers: Sequence[tuple[bytes, bytes]],
        body: bytes,
        peer: str,
        secure: bool,
        gone: Callable[[], Awaitable[None]],
    ) -> Response:
        """The answer to a `POST /` that has come whole, under the same rules."""
        try:
            headers = header_map(raw_headers)
        except BadRequest as error:
            return _refused(400, f"{error}\n")
        if "content-encoding" in headers and headers["content-encoding"].lower() != "identity":
            return _refused(415, _COMPRESSED)
        if len(body) > BODY_LIMIT and len(body) > (limit := body_limit(headers)):
            return _too_large(limit)
        peer, secure = self._proxies.origin(peer, secure, headers)
        return await self._front.respond(
            Request(method="POST", path="/", query="", headers=headers, body=body, peer=peer, secure=secure, gone=gone)
        )

    async def _request(
        self, scope: Scope, receive: Receive, headers: Mapping[str, str], held: "_Held", secure: bool
    ) -> Request | Response:
        """The whole request (but for a body that is a stream), or the answer that refuses to read it.

        Raises ClientLeft.
        """
        path = scope["raw_path"].decode("latin-1") if "raw_path" in scope else scope["path"]
        query = scope["query_string"].decode("latin-1")
        streamed = self._is_streamed is not None and self._is_streamed(path, query, headers)
        if not streamed and headers.get("content-encoding", "identity").lower() != "identity":
            return _refused(415, _COMPRESSED)
        request = Request(
            method=scope["method"],
            path=path,
            query=query,
            headers=headers,
            body=b"",
            peer=held.peer,
            secure=secure,
            gone=lambda: _left(receive),
        )
        if streamed:
            expects = "100-continue" in headers.get("expect", "").lower()
            held.pieces = _Pieces(receive, self._body_seconds, expects)
            request.pieces = held.pieces.next
            return request
        limit = body_limit(headers) if request.path == "/" else BODY_LIMIT
        try:
            async with asyncio.timeout(self._body_seconds):
                body = await _whole(receive, limit, held, lambda: self._front.knows(request))
        except TimeoutError:
            return _refused(408, "The request's body did not arrive in time.\n")
        except _NoRoom:
            return _refused(503, "There is no room for further large requests. The request can be retried.\n")
        except _Unknown:  # whose refusal needs no body
            held.is_dropped = True
            return request
        if body is None:
            return _too_large(limit)
        request.body = body
        return request

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        for prefix, handler in self._websockets:
            if scope["path"].startswith(prefix):
                await handler(self._as_from_client(scope), receive, send)
                return
        await receive()
        await send({"type": "websocket.close", "code": 1008})

    def _as_from_client(self, scope: Scope) -> Scope:
        """The scope of a websocket, with what a trusted proxy says of its client."""
        peer = _peer(scope)
        if peer not in self._proxies:
            return scope
        try:
            headers = header_map(scope["headers"])
        except BadRequest:  # the handler refuses it
            return scope
        peer, secure = self._proxies.origin(peer, scope["scheme"] == "wss", headers)
        return {**scope, "client": (peer, 0), "scheme": "wss" if secure else "ws"}

    async def _streamed(
        self,
        scope: Scope,
        status: int,
        headers: list[tuple[bytes, bytes]],
        stream: Callable[[Write], Awaitable[None]],
        send: Send,
    ) -> None:
        """Send a body piece by piece. A client that takes nothing for `stall_seconds` loses its connection."""

        finite = any(name == b"content-length" for name, _ in headers)

        async def sent(piece: bytes, more: bool) -> None:
            if finite and more and CONNECTION in scope and scope[CONNECTION].transport.is_closing():
                raise ClientLeft
            try:
                async with asyncio.timeout(self._stall_seconds):
                    await send({"type": "http.response.body", "body": piece, "more_body": more})
            except TimeoutError:
                CONNECTIONS_DROPPED.labels("unread").inc()
                scope[CONNECTION].abort()

        await send({"type": "http.response.start", "status": status, "headers": headers})
        try:
            await stream(lambda piece: sent(piece, True))
            await sent(b"", False)
        except ClientLeft:
            return
        except Exception:
            log.exception("answer.broken_off", path=scope["path"])
            if CONNECTION not in scope:
                raise
            scope[CONNECTION].abort()  # what was sent must not look whole


class _Held:
    """The memory that one request has of what there is for bodies; all of it is given back at the end."""

    __slots__ = ("_bodies", "_size", "is_dropped", "peer", "pieces")

    def __init__(self, bodies: Bodies, peer: str) -> None:
        self._bodies = bodies
        self._size = 0
        self.is_dropped = False
        """Whether the body was read for nothing, and perhaps not to its end."""
        self.peer = peer
        """Address of the client."""
        self.pieces: _Pieces | None = None
        """The body, if it comes as a stream."""

    async def is_drained(self) -> bool:
        """Read and drop what was left of a stream; False if the connection cannot be used further."""
        return self.pieces is None or await self.pieces.drained()

    def __enter__(self) -> "_Held":
        return self

    def __exit__(self, *_: object) -> None:
        self.free()

    def has_taken(self, size: int) -> bool:
        """So many bytes more, if there is room."""
        if not self._bodies.take(self.peer, size):
            return False
        self._size += size
        return True

    def free(self) -> None:
        """The body is dropped."""
        self._bodies.free(self.peer, self._size)
        self._size = 0


class _Pieces:
    """A body as a stream: so much of it must come in each span of time, however long the whole takes."""

    def __init__(self, receive: Receive, seconds: float, expects: bool) -> None:
        self._receive = receive
        self._seconds = seconds
        self._expects = expects
        """The client waits for the word to send its body."""
        self._deadline = 0.0
        self._since = STREAM_BYTES
        """Bytes since the deadline was set."""
        self._ended = False
        self._begun = False

    async def next(self) -> bytes:
        """The next piece; empty at the end. Raises ClientLeft, RequestTimeout."""
        while not self._ended:
            self._begun = True
            try:
                async with asyncio.timeout(self._seconds) as limit:
                    if self._since >= STREAM_BYTES:
                        self._deadline, self._since = limit.when() or 0.0, 0
                    limit.reschedule(self._deadline)
                    message = await self._receive()
            except TimeoutError as error:
                raise RequestTimeout from error
            if message["type"] == "http.disconnect":
                raise ClientLeft
            piece: bytes = message.get("body", b"")
            self._ended = not message.get("more_body", False)
            self._since += len(piece)
            if piece:
                return piece
        return b""

    async def drained(self) -> bool:
        """Read and drop what is left of a body that was refused, so that the client sees the answer, not a reset.

        False if the connection cannot be used further: there is too much of it, or it may yet come or not.
        """
        if self._expects and not self._begun:
            return False
        left = _DRAINED
        while left > 0:
            try:
                piece = await self.next()
            except (ClientLeft, RequestTimeout):
                return False
            if not piece:
                return True
            left -= len(piece)
        return False


def _peer(scope: Scope) -> str:
    client = scope.get("client")
    return client[0] if client else ""


async def _left(receive: Receive) -> None:
    """Wait until the client of a request that was read whole has left."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _refused(status: int, text: str) -> Response:
    """The answer to a request of which nothing else was looked at; ends the connection."""
    REQUESTS_REFUSED.labels(str(status)).inc()
    return text_response(status, text, connection="close")


def _too_large(limit: int) -> Response:
    return _refused(413, f"The body of this request may have {limit} bytes at most.\n")


async def _whole(receive: Receive, limit: int, held: _Held, known: Callable[[], Awaitable[bool]]) -> bytes | None:
    """The body; None when it is over the limit. Raises ClientLeft, _NoRoom, _Unknown.

    More than BODY_LIMIT is held for those alone who are `known`. What is not to be held is read all the same, within
    reason: a client that still writes would see a reset instead of the answer.
    """
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientLeft
    first: bytes = message.get("body", b"")
    size = len(first)
    if not message.get("more_body"):
        return first if size <= limit else None
    parts = [first]
    refusal: type[Exception] | None = None if held.has_taken(size) else _NoRoom
    more, may_be_large = True, limit <= BODY_LIMIT
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientLeft
        part = message.get("body", b"")
        size += len(part)
        more = message.get("more_body", False)
        if size > BODY_LIMIT and not may_be_large:
            may_be_large = True
            refusal = refusal or (None if await known() else _Unknown)
        if size <= limit and refusal is None:
            refusal = None if held.has_taken(len(part)) else _NoRoom
            parts.append(part)
        elif size > limit + _DRAINED:
            break
        else:
            parts.clear()
            held.free()
    if refusal is not None:
        raise refusal
    if size > limit:
        return None
    if size < _LARGE:
        return b"".join(parts)
    return await asyncio.get_running_loop().run_in_executor(_JOINING, b"".join, parts)


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
