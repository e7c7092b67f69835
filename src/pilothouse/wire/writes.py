"""Writes of one turn of the event loop, gathered: each connection's leave in one piece when the turn is over.

A write is a system call, on TLS a record of its own, and often wakes the peer; a busy server would spend more time on
that than on the answers themselves.
"""

import asyncio
from typing import Any

from pilothouse.wire.places import Place
from pilothouse.wire.reading import Reader

AT_ONCE = 64 << 10
"""Bytes that are not held back any longer."""


class Turn:
    """The connections that have something to write when the turn of the loop is over."""

    def __init__(self, loop: asyncio.AbstractEventLoop, stall_seconds: float) -> None:
        """`stall_seconds`: how long a connection that is to end may wait for its peer."""
        self._loop = loop
        self._stall_seconds = stall_seconds
        self._waiting: list[GatheredTransport] = []

    def add(self, transport: "GatheredTransport") -> None:
        """Flush this one as well."""
        if not self._waiting:
            self._loop.call_soon(self._over)
        self._waiting.append(transport)

    def abort_later(self, transport: asyncio.Transport) -> None:
        """End a connection that may not have ended by then."""
        self._loop.call_later(self._stall_seconds, transport.abort)

    def _over(self) -> None:
        waiting, self._waiting = self._waiting, []
        for transport in waiting:
            transport.flush()


class GatheredTransport:
    """A connection's transport; all but its writes, and how TLS is read, is as it was."""

    def __init__(self, transport: asyncio.Transport, turn: Turn, place: Place | None = None) -> None:
        self._transport = transport
        self.place = place
        """Of the connection; goes with it from one protocol to the next."""
        self._turn = turn
        self._parts: list[bytes] = []
        self._size = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        """As the transport's."""
        return self._transport.is_closing()

    def set_protocol(self, protocol: asyncio.Protocol) -> None:
        """As the transport's; see `reading`."""
        is_tls = self._transport.get_extra_info("ssl_object") is not None
        self._transport.set_protocol(Reader(protocol) if is_tls else protocol)

    def write(self, data: bytes) -> None:
        """Leave with what else this turn writes."""
        if not self._parts:
            self._turn.add(self)
        self._parts.append(data)
        self._size += len(data)
        if self._size > AT_ONCE:
            self.flush()

    def flush(self) -> None:
        """Write what was gathered; a connection that has ended takes nothing."""
        if not self._parts:
            return
        parts, self._parts, self._size = self._parts, [], 0
        if not self._transport.is_closing():
            self._transport.write(b"".join(parts))

    def close(self) -> None:
        """Write what was gathered, then close; a peer that does not read it is not waited for without end."""
        self.flush()
        self._transport.close()
        if self._transport.get_write_buffer_size():
            self._turn.abort_later(self._transport)

    def write_eof(self) -> None:
        """Write what was gathered, and no more."""
        self.flush()
        self._transport.write_eof()
