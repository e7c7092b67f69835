"""smux version 1, in which one port session carries many TCP connections (session-protocol 5.3).

A frame is version, command, length (little-endian), stream id (little-endian), data.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

VERSION = 1
SYN, FIN, PSH, NOP = range(4)
HEADER = struct.Struct("<BBHI")
MOST = 0xFFFF
"""Bytes of data in one frame."""


class MalformedStream(Exception):
    """Bytes that are no smux."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One frame."""

    command: int
    stream: int
    data: bytes = b""


def encode(command: int, stream: int, data: bytes = b"") -> bytes:
    return HEADER.pack(VERSION, command, len(data), stream) + data


class Decoder:
    """Puts frames together again, in whatever pieces they come."""

    def __init__(self) -> None:
        self._left = bytearray()

    def feed(self, data: bytes) -> Iterator[Piece]:
        """The frames that are complete now. Raises MalformedStream."""
        self._left += data
        position = 0
        try:
            while len(self._left) - position >= HEADER.size:
                version, command, length, stream = HEADER.unpack_from(self._left, position)
                if version != VERSION or command > NOP:
                    raise MalformedStream(f"version {version}, command {command}")
                end = position + HEADER.size + length
                if end > len(self._left):
                    break
                piece = bytes(self._left[position + HEADER.size : end])
                position = end
                yield Piece(command, stream, piece)
        finally:
            del self._left[:position]
