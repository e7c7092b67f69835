"""Websockets: uvicorn's protocol, with a short way for whole binary messages.

The `websockets` library knows the protocol: the handshake, fragments, pings, how connections end, and what breaks the
rules. This file cuts what comes into frames and gives them to it one by one, whole. A whole binary message, which is
nearly all that nodes send, it takes apart by itself, once the application has said who hears messages (`hear`): they
then come in the turn in which they arrive, without a queue, a task or an event for each.
"""

import asyncio
from asyncio import BaseTransport
from collections.abc import Callable
from typing import Any, Final

from uvicorn._types import ASGISendEvent
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame, apply_mask  # type: ignore[attr-defined]  # the mask in C, where it could be built
from websockets.http11 import Request

from pilothouse.wire.asgi import CONNECTION
from pilothouse.wire.writes import GatheredTransport

FAREWELL_SECONDS = 0.5
"""How long a websocket's peer may take to end TLS once the server stops. Go's TLS, which many agents use, never does
before its own side closes."""

QUIET_SECONDS: Final = 57.0
"""A peer that was silent for this long is asked for a sign of life. Agents give one every 54 s by themselves."""
PING_SECONDS: Final = 27.0
"""And again after so long."""
SILENCE_SECONDS: Final = 147.0
"""A peer that gave none for this long is dropped."""

_PING: Final = b"\x89\x00"
_PROBE: Final = b"ph"
_WHOLE_PONG: Final = 0x8A
_WHOLE_BINARY: Final = 0x82
_MASKED: Final = 0x80
_LENGTH: Final = 0x7F
_CONTROL_MOST: Final = 125
_HEADS: Final = {126: 4, 127: 10}
"""Bytes before the mask where the length does not fit the second byte."""


class _Heard:
    """Stands where uvicorn keeps the queue of events for the application."""

    def __init__(
        self, heard: Callable[[bytes], None], ended: Callable[[], None], answered: Callable[[int], None] | None
    ) -> None:
        self._heard = heard
        self._ended = ended
        self._answered = answered

    def put_nowait(self, event: Any) -> None:
        """As the queue's."""
        if event["type"] == "websocket.disconnect":
            self._ended()
            return
        if "pong" in event:
            if self._answered is not None:
                self._answered(event["pong"])
            return
        message = event.get("bytes")
        self._heard(event["text"].encode() if message is None else message)


class WebSocket(WebSocketsSansIOProtocol):
    """A websocket, for applications that speak ASGI; as `scope[CONNECTION]` for those that want the short way.

    It does not wait at the end of the server for peers that leave the connection open, and is accepted from those alone
    who have shown who they are, unless its `websocket.accept` says that they are still `unproven`: then the application
    says so by `shown`.
    """

    _rest = b""
    """The begin of a frame."""
    _given_up = False
    """What came cannot be cut into frames: the library says why."""
    _hears: Callable[[bytes], None] | None = None
    _heard_at = 0.0
    """Loop time at which something came."""

    def connection_made(self, transport: BaseTransport) -> None:
        assert isinstance(transport, GatheredTransport)
        assert transport.place is not None
        self._place = transport.place
        self._probes: set[bytes] = set()
        """Payloads of pings whose pong somebody waits for."""
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._place.free()
        super().connection_lost(exc)

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if not self.close_sent:
            self.scope[CONNECTION] = self  # type: ignore[literal-required]

    async def send(self, message: ASGISendEvent) -> None:
        if message["type"] == "websocket.accept" and not message.get("unproven"):
            self._place.shown()
        await super().send(message)

    def shown(self) -> None:
        """The peer has shown who it is."""
        self._place.shown()

    def probe(self, number: int) -> None:
        """Send a ping. Its pong comes among the messages, in its place, as one whose `pong` is the number."""
        if self.close_sent or self.transport.is_closing():
            return
        payload = _PROBE + number.to_bytes(8)
        self._probes.add(payload)
        self.transport.write(bytes((_PING[0], len(payload))) + payload)

    def handle_pong(self, event: Frame) -> None:
        payload = bytes(event.data)
        if payload in self._probes:
            self._probes.discard(payload)
            answered: Any = {"type": "websocket.receive", "pong": int.from_bytes(payload[len(_PROBE) :])}
            self.queue.put_nowait(answered)

    def shutdown(self) -> None:
        super().shutdown()
        self.loop.call_later(FAREWELL_SECONDS, self.transport.abort)

    def hear(
        self,
        heard: Callable[[bytes], None],
        ended: Callable[[], None],
        answered: Callable[[int], None] | None = None,
    ) -> None:
        """From now on call `heard` with each message (text as UTF-8), `ended` when no more come, and `answered` with
        the number of a probe whose pong came.

        All return at once. Nobody may wait in the application's `receive` any more.
        """
        self.request.headers.clear()  # what it was opened with is as large as all the rest of an idle one
        self.scope["headers"] = []
        earlier = self.queue
        self.queue = _Heard(heard, ended, answered)  # type: ignore[assignment]
        self._hears = heard
        while not earlier.empty():
            self.queue.put_nowait(earlier.get_nowait())
        self.hold(False)

    def hear_no_more(self) -> None:
        """What comes is for the application's `receive` again."""
        self._hears = None
        self.queue = asyncio.Queue()
        if self.close_sent or self.transport.is_closing():
            self.queue.put_nowait({"type": "websocket.disconnect", "code": 1006})

    def hold(self, held: bool) -> None:
        """Whether to read no further for now."""
        if held != self.read_paused and not self.transport.is_closing():
            self.read_paused = held
            (self.transport.pause_reading if held else self.transport.resume_reading)()

    def write(self, message: bytes) -> None:
        """Send a binary message; returns at once. A connection that has ended takes nothing."""
        if self.close_sent or self.transport.is_closing():
            return
        size = len(message)
        if size < 126:
            head = bytes((_WHOLE_BINARY, size))
        elif size < 1 << 16:
            head = b"\x82\x7e" + size.to_bytes(2)
        else:
            head = b"\x82\x7f" + size.to_bytes(8)
        self.transport.write(head + message)

    @property
    def unsent(self) -> int:
        """Bytes that wait for a peer which reads too slowly; 0 as long as it keeps up."""
        return 0 if self.writable.is_set() else self.transport.get_write_buffer_size()

    def start_keepalive(self) -> None:
        """Instead of uvicorn's, which asks as often of those that speak, and has a second timer for each answer."""
        self._heard_at = self.loop.time()
        self.ping_timer = self.loop.call_later(QUIET_SECONDS, self._look_for_life)

    def _look_for_life(self) -> None:
        self.ping_timer = None
        if self.close_sent or self.transport.is_closing():
            return
        silent = self.loop.time() - self._heard_at
        if silent >= SILENCE_SECONDS:
            self.keepalive_timeout()
            return
        again = QUIET_SECONDS - silent
        if again <= 0:
            self.transport.write(_PING)
            again = min(PING_SECONDS, SILENCE_SECONDS - silent)
        self.ping_timer = self.loop.call_later(again, self._look_for_life)

    def data_received(self, data: bytes) -> None:
        self._heard_at = self.loop.time()
        if not self.handshake_initiated or self._given_up:
            super().data_received(data)
            return
        if self._rest:
            data = self._rest + data
        at, end, hears = 0, len(data), self._hears
        while end - at >= 2:
            size = data[at + 1] & _LENGTH
            head = at + 2
            if size > _CONTROL_MOST:
                head = at + _HEADS[size]
                if head > end:
                    break
                size = int.from_bytes(data[at + 2 : head])
                if size > self.config.ws_max_size:
                    self._given_up = True
                    super().data_received(data[at:])
                    return
            masked = data[at + 1] & _MASKED
            if masked:
                head += 4
            following = head + size
            if following > end:
                break
            if data[at] == _WHOLE_BINARY and masked and hears is not None and not (self.frames or self.close_sent):
                hears(apply_mask(memoryview(data)[head:following], data[head - 4 : head]))
            elif data[at] == _WHOLE_PONG and masked and size <= _CONTROL_MOST and not self._probes:
                pass  # that it came is all it says
            else:
                super().data_received(data[at:following])
                if self.transport.is_closing():
                    return
                hears = self._hears
            at = following
        self._rest = data[at:]

    def send_receive_event_to_app(self) -> None:
        """As uvicorn's, which reads no further until the application has taken the message; who hears has taken it."""
        held = self.read_paused
        super().send_receive_event_to_app()
        if self._hears is not None:
            self.hold(held)
