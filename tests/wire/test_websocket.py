"""The short way of websockets says and hears what the library alone would; who falls silent is let go."""

import asyncio
from collections.abc import Callable
from typing import Any

import uvicorn
from hypothesis import example, given, settings
from hypothesis import strategies as st
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.frames import apply_mask  # type: ignore[attr-defined]

from pilothouse.wire.places import Places
from pilothouse.wire.websocket import QUIET_SECONDS, SILENCE_SECONDS, WebSocket
from pilothouse.wire.writes import GatheredTransport, Turn

HEAD = (
    b"GET /socket HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
MOST = 400
"""Bytes of a message here."""
PING = b"\x89\x00"


class Line:
    """A transport that remembers what was written."""

    def __init__(self) -> None:
        self.written = b""
        self.is_closed = False
        self.is_held = False
        self.over = asyncio.Event()
        """The application's part is over."""

    def write(self, data: bytes) -> None:
        self.written += data

    def close(self) -> None:
        self.is_closed = True

    abort = close

    def is_closing(self) -> bool:
        return self.is_closed

    def pause_reading(self) -> None:
        self.is_held = True

    def resume_reading(self) -> None:
        self.is_held = False

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, name: str) -> None:
        return None


class Hours:
    """The running loop, but for its time, which the test moves."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self._due: list[tuple[float, Callable[[], None], asyncio.TimerHandle]] = []
        self._loop = asyncio.get_running_loop()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, action: Callable[[], None]) -> asyncio.TimerHandle:
        handle = self._loop.call_later(3600, lambda: None)
        self._due.append((self.now + delay, action, handle))
        return handle

    def advance(self, seconds: float) -> None:
        end = self.now + seconds
        while due := [each for each in self._due if each[0] <= end]:
            first = min(due, key=lambda each: each[0])
            self._due.remove(first)
            self.now = first[0]
            if not first[2].cancelled():
                first[2].cancel()
                first[1]()
        self.now = end


async def opened(kind: type[WebSocketsSansIOProtocol], line: Line, loop: Any = None) -> WebSocketsSansIOProtocol:
    """A websocket after its handshake; what it wrote so far is forgotten."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await line.over.wait()

    config = uvicorn.Config(
        application, ws_max_size=MOST, ws_per_message_deflate=False, ws_ping_interval=None, log_config=None,
        proxy_headers=False,
    )  # fmt: skip
    protocol = kind(config, ServerState(), {}, loop or asyncio.get_running_loop())
    place = Places(0, 0).take("127.0.0.1")
    assert place is not None
    turn = Turn(asyncio.get_running_loop(), 1.0)
    protocol.connection_made(GatheredTransport(line, turn, place))  # type: ignore[arg-type]
    protocol.data_received(HEAD)
    while not protocol.handshake_complete:
        await asyncio.sleep(0)
    written(protocol, line)
    return protocol


def written(protocol: WebSocketsSansIOProtocol, line: Line) -> bytes:
    protocol.transport.flush()  # type: ignore[attr-defined]
    data, line.written = line.written, b""
    return data


async def end(protocol: WebSocketsSansIOProtocol, line: Line) -> None:
    line.over.set()
    await asyncio.gather(*protocol.tasks)


def frame(first: int, payload: bytes, *, masked: bool = True, mask: bytes = b"\x01\x9f\x33\xe7") -> bytes:
    """A frame as a client sends it."""
    flag = 0x80 if masked else 0
    size = len(payload)
    if size < 126:
        head = bytes([first, flag | size])
    elif size < 1 << 16:
        head = bytes([first, flag | 126]) + size.to_bytes(2)
    else:
        head = bytes([first, flag | 127]) + size.to_bytes(8)
    return head + (mask + apply_mask(payload, mask) if masked else payload)


PAYLOADS = st.one_of(
    st.binary(max_size=20),
    st.text(max_size=9).map(str.encode),
    st.integers(120, MOST + 20).map(lambda size: b"x" * size),
)
USUAL = st.builds(frame, st.sampled_from([0x82, 0x82, 0x82, 0x81, 0x89, 0x8A, 0x02, 0x01, 0x00, 0x80]), PAYLOADS)
ANY = st.builds(frame, st.integers(0, 255), PAYLOADS, masked=st.booleans())
ENDS = [b"", b"\x03", b"\x03\xe8", b"\x03\xe8bye", b"\x03\xed", b"\x03\xe8\xff"]
CLOSE = st.builds(frame, st.just(0x88), st.sampled_from(ENDS))


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.one_of(USUAL, USUAL, USUAL, ANY, CLOSE), max_size=8),
    st.lists(st.integers(1, 300), max_size=30),
)
@example([frame(0x02, b"begun"), frame(0x82, b"another")], [])
@example([frame(0x01, b""), frame(0x82, b"another")], [])
@example([frame(0x02, b"begun"), frame(0x80, b"ended"), frame(0x82, b"another")], [3, 4])
@example([frame(0x82, b"one"), frame(0x88, b"\x03\xe8"), frame(0x82, b"after the end")], [])
def test_messages_and_answers_are_those_of_the_library(frames: list[bytes], cuts: list[int]) -> None:
    data = b"".join(frames)
    pieces = []
    for cut in cuts:
        pieces.append(data[:cut])
        data = data[cut:]
    pieces.append(data)

    async def both() -> None:
        plain_line, line = Line(), Line()
        plain = await opened(WebSocketsSansIOProtocol, plain_line)
        ours = await opened(WebSocket, line)
        assert isinstance(ours, WebSocket)
        heard: list[bytes] = []
        ends: list[None] = []
        ours.hear(heard.append, lambda: ends.append(None))
        for protocol, wire, parts in ((plain, plain_line, frames), (ours, line, pieces)):
            for part in filter(None, parts):
                if not wire.is_closed:
                    protocol.data_received(part)
        events = [plain.queue.get_nowait() for _ in range(plain.queue.qsize())]
        expected = [each for each in events if each["type"] == "websocket.receive"]
        assert heard == [each["bytes"] if "bytes" in each else each["text"].encode() for each in expected]
        assert bool(ends) == any(each["type"] == "websocket.disconnect" for each in events)
        assert written(ours, line) == written(plain, plain_line)
        assert line.is_closed == plain_line.is_closed
        assert not line.is_held
        await end(plain, plain_line)
        await end(ours, line)

    asyncio.run(both())


async def test_what_came_before_anybody_heard_is_not_lost() -> None:
    line = Line()
    ours = await opened(WebSocket, line)
    assert isinstance(ours, WebSocket)
    ours.data_received(frame(0x82, b"one") + frame(0x81, b"two") + frame(0x82, b"three")[:5])
    heard: list[bytes] = []
    ours.hear(heard.append, lambda: None)
    ours.data_received(frame(0x82, b"three")[5:])

    assert heard == [b"one", b"two", b"three"]
    assert not line.is_held
    await end(ours, line)


async def test_what_is_written_can_be_read() -> None:
    line = Line()
    ours = await opened(WebSocket, line)
    assert isinstance(ours, WebSocket)
    for size in (0, 1, 125, 126, 65_535, 65_536):
        ours.write(b"y" * size)
        assert written(ours, line) == frame(0x82, b"y" * size, masked=False)
    line.close()
    ours.write(b"to nobody")
    assert written(ours, line) == b""
    await end(ours, line)


async def test_a_silent_peer_is_asked_and_then_let_go() -> None:
    line, hours = Line(), Hours()
    ours = await opened(WebSocket, line, hours)
    assert isinstance(ours, WebSocket)
    ours.hear(lambda message: None, lambda: None)
    hours.advance(QUIET_SECONDS - 1)
    assert written(ours, line) == b""
    hours.advance(1)
    assert written(ours, line) == PING
    ours.data_received(frame(0x8A, b""))
    hours.advance(20)
    ours.data_received(frame(0x82, b"a message is a sign of life as well"))
    hours.advance(QUIET_SECONDS - 1)
    assert written(ours, line) == b""
    hours.advance(SILENCE_SECONDS - QUIET_SECONDS)
    assert written(ours, line) == PING * 4
    assert not line.is_closed
    hours.advance(1)
    assert line.is_closed
    await end(ours, line)
