"""Many TCP connections of this machine in one port session: the client's end of smux.

The protocol has no flow control of its own for each connection: one that is not read from holds up the others once
the session's window is full. Nor can one direction be closed alone: whoever closes, closes both.
"""

import asyncio
from collections.abc import Callable
from typing import Final, cast

from pilothouse.cli.link import smux
from pilothouse.cli.link.channel import NO_CONNECTION, Channel, SessionOver
from pilothouse.gateway.session_messages import DATA, FLAG

_FIRST, _STEP = 3, 2
_UNWRITTEN: Final = 512 * 1024
"""Bytes that may wait for one connection before its messages are acknowledged late."""


class Tunnel:
    """One session of type LocalPortForwarding."""

    def __init__(self, channel: Channel, unreachable: Callable[[], None]) -> None:
        """`unreachable`: the node could not connect to the destination."""
        self._channel = channel
        self._unreachable = unreachable
        self._decoder = smux.Decoder()
        self._streams: dict[int, Stream] = {}
        self._next = _FIRST
        self._waits = asyncio.Event()
        self.sent = 0
        self.received = 0
        self.connections = 0

    def stream(self) -> "Stream":
        """The protocol of the next local connection."""
        return Stream(self)

    async def run(self) -> None:
        """Let connections go on whenever the channel has room; until cancelled, or the session is over."""
        try:
            while True:
                await self._waits.wait()
                self._waits.clear()
                await self._channel.room()
                for stream in self._streams.values():
                    stream.go_on()
        except SessionOver:
            return

    def take(self, kind: int, payload: bytes, used: Callable[[], None]) -> None:
        """What comes from the node. Raises MalformedStream."""
        holds: Stream | None = None
        if kind == FLAG and int.from_bytes(payload, "big") == NO_CONNECTION:
            self._unreachable()
        elif kind == DATA:
            for command, number, data in self._decoder.feed(payload):
                stream = self._streams.get(number)
                if stream is not None and command == smux.PSH:
                    self.received += len(data)
                    holds = stream if stream.write(data) else holds
                elif stream is not None and command == smux.FIN:
                    stream.closed_there()
        if holds is None:
            used()
        else:
            holds.when_written(used)

    def close(self) -> None:
        """Close every local connection."""
        for stream in list(self._streams.values()):
            stream.abort()

    # For streams

    def opened(self, stream: "Stream") -> int:
        number, self._next = self._next, self._next + _STEP
        self._streams[number] = stream
        self.connections += 1
        self._channel.put(DATA, smux.encode(smux.SYN, number))
        return number

    def send(self, number: int, data: bytes) -> bool:
        """Send bytes; whether there is room for more."""
        self.sent += len(data)
        for message in smux.messages(number, data, self._channel.agent.chunk):
            self._channel.put(DATA, message)
        if not self._channel.has_room:
            self._waits.set()
        return self._channel.has_room

    def forget(self, number: int, *, closed_there: bool) -> None:
        del self._streams[number]
        if not closed_there and not self._channel.over.is_set():
            self._channel.put(DATA, smux.encode(smux.FIN, number))


class Stream(asyncio.Protocol):
    """One local connection."""

    def __init__(self, tunnel: Tunnel) -> None:
        self._tunnel = tunnel
        self._transport: asyncio.Transport | None = None
        self._number = 0
        self._is_full = False
        self._closed_there = False
        self._unused: list[Callable[[], None]] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(_UNWRITTEN)
        self._number = self._tunnel.opened(self)

    def data_received(self, data: bytes) -> None:
        if not self._tunnel.send(self._number, data) and self._transport is not None:
            self._transport.pause_reading()

    def go_on(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def write(self, data: bytes | memoryview) -> bool:
        """Whether so much waits that it is to be acknowledged later."""
        if self._transport is None or self._transport.is_closing():
            return False
        self._transport.write(data)
        return self._is_full

    def when_written(self, used: Callable[[], None]) -> None:
        self._unused.append(used)

    def pause_writing(self) -> None:
        self._is_full = True

    def resume_writing(self) -> None:
        self._is_full = False
        unused, self._unused = self._unused, []
        for used in unused:
            used()

    def closed_there(self) -> None:
        self._closed_there = True
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self.resume_writing()
        self._tunnel.forget(self._number, closed_there=self._closed_there)
