"""Reading from TLS connections into memory that all of them share.

For a protocol that takes its bytes as they come, the event loop makes room for 256 KiB at each read, of which a request
or a node's message fills a hundredth; for one that brings the memory along it does not.
"""

import asyncio
from asyncio import BaseTransport
from typing import Final

_SHARED: Final = memoryview(bytearray(256 << 10))
"""What is read is taken out of it in the same turn."""


class Reader(asyncio.BufferedProtocol):
    """Between a connection and its protocol."""

    __slots__ = ("_protocol",)

    def __init__(self, protocol: asyncio.Protocol) -> None:
        self._protocol = protocol

    def connection_made(self, transport: BaseTransport) -> None:
        self._protocol.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._protocol.connection_lost(exc)

    def pause_writing(self) -> None:
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        self._protocol.resume_writing()

    def eof_received(self) -> bool | None:
        return self._protocol.eof_received()

    def get_buffer(self, sizehint: int) -> memoryview:
        return _SHARED

    def buffer_updated(self, nbytes: int) -> None:
        self._protocol.data_received(bytes(_SHARED[:nbytes]))
