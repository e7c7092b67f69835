"""smux version 1, in which one port session carries many connections: version, command, length, stream id, data."""

import struct
from collections.abc import Iterator
from typing import Final

SYN, FIN, PSH, NOP = range(4)
HEADER: Final = struct.Struct("<BBHI")
_VERSION: Final = 1


class MalformedStream(Exception):
    """Bytes that are no smux."""


def encode(command: int, stream: int, data: bytes = b"") -> bytes:
    """One frame; data of at most 65,535 bytes."""
    return HEADER.pack(_VERSION, command, len(data), stream) + data


class Decoder:
    """Puts frames together again, in whatever pieces they come."""

    def __init__(self) -> None:
        self._left = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[int, int, bytes]]:
        """(command, stream, data) of the frames that are complete now. Raises MalformedStream."""
        self._left += data
        position = 0
        try:
            while len(self._left) - position >= HEADER.size:
                version, command, length, stream = HEADER.unpack_from(self._left, position)
                if version != _VERSION or command > NOP:
                    raise MalformedStream(f"version {version}, command {command}")
                end = position + HEADER.size + length
                if end > len(self._left):
                    break
                piece = bytes(self._left[position + HEADER.size : end])
                position = end
                yield command, stream, piece
        finally:
            del self._left[:position]
