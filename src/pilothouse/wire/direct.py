"""API calls without the way through ASGI: a `POST /` that has come whole goes from the parser to the request core.

uvicorn's protocol still owns the connection: parsing, limits, time-outs, pipelining, shutdown. Only the scope, the
events and the messages between it and an application are left out, which cost more than many a call. Whatever is not a
whole `POST /` at the end of the piece in which its head ended (large or slow bodies, other paths, HTTP/1.0, upgrades,
`Expect`) is handed to uvicorn as if it had never been looked at.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import structlog
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from pilothouse.wire.http import Response, Write, text_response

log = structlog.get_logger()

Gone = Callable[[], Awaitable[None]]
Streaming = Callable[[Write], Awaitable[None]]
Answer = Callable[[Sequence[tuple[bytes, bytes]], bytes, str, bool, Gone], Awaitable[Response]]
"""(headers, body, peer, over TLS, returns when the client has left) of a `POST /` to its answer."""


class _Exchange:
    """One request and its answer; stands where uvicorn keeps its cycle, with the attributes that it looks at."""

    __slots__ = ("_left", "body", "disconnected", "keep_alive", "response_complete")

    def __init__(self, *, keep_alive: bool) -> None:
        self.body = b""
        self.disconnected = False
        self.response_complete = False
        self.keep_alive = keep_alive
        self._left: asyncio.Future[None] | None = None

    @property
    def message_event(self) -> "_Exchange":
        """What uvicorn sets when something happens; kept as no attribute, which would keep body and all in a circle."""
        return self

    def set(self) -> None:
        """The connection has ended, or the answer is whole."""
        if self._left is not None and not self._left.done():
            self._left.set_result(None)

    async def left(self) -> None:
        """Wait until the client has left, or has its answer."""
        if not self.disconnected and not self.response_complete:
            if self._left is None:
                self._left = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._left)


class DirectHttp(HttpToolsProtocol):
    """See the module."""

    answer: Answer | None = None
    """Of the class of one listener; None: everything goes through ASGI."""
    _held: _Exchange | None = None
    """The request whose head has come and whose end has not."""
    _shared_lines: tuple[object, bytes] = (None, b"")

    def shown(self) -> None:
        """The connection has carried a call with a good signature."""

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._held is not None:
            self._hand_over(self._held)

    def on_headers_complete(self) -> None:
        cycle: Any = self.cycle
        if (
            self.url == b"/"
            and self.answer is not None
            and (cycle is None or cycle.response_complete)
            and not self.expect_100_continue
            and self.parser.get_method() == b"POST"
            and self.parser.get_http_version() == "1.1"
            and not self.parser.should_upgrade()
        ):
            held: Any = _Exchange(keep_alive=self.parser.should_keep_alive())
            self._held = self.cycle = held
            return
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if self._held is None:
            super().on_body(body)
        else:
            self._held.body += body

    def on_message_complete(self) -> None:
        held, self._held = self._held, None
        if held is None:
            super().on_message_complete()
            return
        task = self.loop.create_task(self._exchange(held, self.headers))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def _hand_over(self, held: _Exchange) -> None:
        """Let uvicorn go on with a request that has not come whole."""
        nothing: Any = None
        self._held = self.cycle = nothing
        if not self.transport.is_closing():
            super().on_headers_complete()
            if held.body:
                super().on_body(held.body)

    async def _exchange(self, exchange: _Exchange, headers: Sequence[tuple[bytes, bytes]]) -> None:
        assert self.answer is not None
        peer = self.client[0] if self.client else ""
        try:
            response = await self.answer(headers, exchange.body, peer, self.scheme == "https", exchange.left)
            head = self._head(response, exchange)
        except Exception:
            log.exception("wire.answer_failed")
            response = text_response(500, "An internal error occurred.\n", connection="close")
            head = self._head(response, exchange)
        if self.flow.write_paused and not exchange.disconnected:
            await self.flow.drain()
        if response.stream is not None:
            await self._streamed(exchange, head, response.stream)
        elif not exchange.disconnected:
            self.transport.write(head + response.body)
        exchange.response_complete = True
        exchange.set()
        if response.signed:
            self.shown()
        if not exchange.keep_alive:
            self.transport.close()
        self.on_response_complete()

    async def _streamed(self, exchange: _Exchange, head: bytes, stream: Streaming) -> None:
        """Write an answer whose body comes piece by piece. Who does not read it loses the connection."""
        self.shown()

        async def write(piece: bytes) -> None:
            if self.flow.write_paused and not exchange.disconnected:
                await self.flow.drain()
            if piece and not exchange.disconnected:
                self.transport.write(b"%x\r\n%b\r\n" % (len(piece), piece))

        if not exchange.disconnected:
            self.transport.write(head)
        try:
            await stream(write)
        except Exception:
            log.exception("wire.stream_failed")
            self.transport.abort()  # so that the client does not take it for whole
        if not exchange.disconnected:
            self.transport.write(b"0\r\n\r\n")

    def _head(self, response: Response, exchange: _Exchange) -> bytes:
        headers = response.headers
        if not "".join(headers.values()).isprintable():
            raise ValueError("a header of the answer holds a control character")
        if headers.get("connection") == "close":
            exchange.keep_alive = False
        lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
        close = "" if exchange.keep_alive or "connection" in headers else "connection: close\r\n"
        length = "transfer-encoding: chunked" if response.stream else f"content-length: {len(response.body)}"
        text = f"{lines}{close}{length}\r\n\r\n"
        return STATUS_LINE[response.status] + self._shared() + text.encode("latin-1")

    def _shared(self) -> bytes:
        """The lines that uvicorn adds to each answer (the date); it makes a new list of them each second."""
        of, lines = self._shared_lines
        if of is not self.server_state.default_headers:
            of = self.server_state.default_headers
            lines = b"".join([name + b": " + value + b"\r\n" for name, value in self.server_state.default_headers])
            type(self)._shared_lines = of, lines
        return lines
