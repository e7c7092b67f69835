"""The plain ASGI application over Front: reads bodies within limits and hands websockets to the table of `app`."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import Any

from pilothouse.wire.front import Front
from pilothouse.wire.http import BadRequest, Request, Response, Write, header_map, text_response
from pilothouse.wire.limits import BODY_LIMIT, body_limit
from pilothouse.wire.writes import STALL_SECONDS

BODY_SECONDS = 30.0
"""How long a client may take to send a body."""
CONNECTION = "pilothouse.connection"
"""Where the scope holds what can `abort()` the connection, and is told that it has `shown()` who it is."""
_DRAINED = 8 << 20
"""Bytes of a body over the limit that are read and dropped, so that the client sees the answer, not a reset."""

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
WebSocketHandler = Callable[[Any, Any, Any], Awaitable[None]]
"""(scope, receive, send) of an ASGI websocket."""


class _Gone(Exception):
    """The client left before its request was whole."""


class WireApplication:
    """`app(scope, receive, send)` for HTTP, websockets and lifespan."""

    def __init__(
        self,
        front: Front,
        websockets: Mapping[str, WebSocketHandler] | None = None,
        body_seconds: float = BODY_SECONDS,
    ) -> None:
        """`websockets`: path prefix to the ASGI callable that answers for it; of several the longest wins."""
        self._front = front
        self._websockets = sorted((websockets or {}).items(), key=lambda entry: -len(entry[0]))
        self._body_seconds = body_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        elif scope["type"] == "lifespan":
            await _lifespan(receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            request = await self._request(scope, receive)
            response = request if isinstance(request, Response) else await self._front.respond(request)
            if response.signed and CONNECTION in scope:
                scope[CONNECTION].shown()
        except _Gone:
            return
        except BadRequest as error:
            response = text_response(400, f"{error}\n", connection="close")
        body = response.body
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in response.headers.items()]
        if response.stream is not None:
            await _streamed(scope, response.status, headers, response.stream, send)
            return
        headers.append((b"content-length", b"%d" % len(body)))
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

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
            return text_response(400, f"{error}\n", connection="close")
        if "content-encoding" in headers and headers["content-encoding"].lower() != "identity":
            return text_response(415, "Compressed request bodies are not accepted.\n", connection="close")
        if len(body) > BODY_LIMIT and len(body) > (limit := body_limit(headers)):
            return _too_large(limit)
        return await self._front.respond(
            Request(method="POST", path="/", query="", headers=headers, body=body, peer=peer, secure=secure, gone=gone)
        )

    async def _request(self, scope: Scope, receive: Receive) -> Request | Response:
        """The whole request, or the answer that refuses to read it. Raises BadRequest."""
        headers = header_map(scope["headers"])
        if headers.get("content-encoding", "identity").lower() != "identity":
            return text_response(415, "Compressed request bodies are not accepted.\n", connection="close")
        limit = body_limit(headers)
        message = await receive()
        body: bytes = message.get("body", b"")
        if message["type"] == "http.disconnect":
            raise _Gone
        if message.get("more_body"):
            try:
                async with asyncio.timeout(self._body_seconds):
                    whole = await _rest(body, receive, limit)
            except TimeoutError:
                return text_response(408, "The request's body did not arrive in time.\n", connection="close")
            if whole is None:
                return _too_large(limit)
            body = whole
        if len(body) > limit:
            return _too_large(limit)
        client = scope.get("client")
        return Request(
            method=scope["method"],
            path=scope["raw_path"].decode("latin-1") if "raw_path" in scope else scope["path"],
            query=scope["query_string"].decode("latin-1"),
            headers=headers,
            body=body,
            peer=client[0] if client else "",
            secure=scope["scheme"] == "https",
            gone=lambda: _left(receive),
        )

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        for prefix, handler in self._websockets:
            if scope["path"].startswith(prefix):
                await handler(scope, receive, send)
                return
        await receive()
        await send({"type": "websocket.close", "code": 1008})


async def _streamed(
    scope: Scope,
    status: int,
    headers: list[tuple[bytes, bytes]],
    stream: Callable[[Write], Awaitable[None]],
    send: Send,
) -> None:
    """Send a body piece by piece. A client that takes nothing for STALL_SECONDS loses its connection."""

    async def sent(piece: bytes, more: bool) -> None:
        try:
            async with asyncio.timeout(STALL_SECONDS):
                await send({"type": "http.response.body", "body": piece, "more_body": more})
        except TimeoutError:
            scope[CONNECTION].abort()

    await send({"type": "http.response.start", "status": status, "headers": headers})
    await stream(lambda piece: sent(piece, True))
    await sent(b"", False)


async def _left(receive: Receive) -> None:
    """Wait until the client of a request that was read whole has left."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _too_large(limit: int) -> Response:
    return text_response(413, f"The body of this request may have {limit} bytes at most.\n", connection="close")


async def _rest(first: bytes, receive: Receive, limit: int) -> bytes | None:
    """The whole body after its first part; None when it is over the limit. Raises _Gone."""
    parts = [first]
    size = len(first)
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _Gone
        part = message.get("body", b"")
        size += len(part)
        more = message.get("more_body", False)
        if size <= limit:
            parts.append(part)
        elif size > limit + _DRAINED:
            return None
        else:
            parts.clear()
    return b"".join(parts) if size <= limit else None


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
