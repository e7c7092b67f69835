"""smux version 1, in which one port session carries many connections: version, command, length, stream id, data."""

import struct
from collections.abc import Iterator
from typing import Final

SYN, FIN, PSH, NOP = range(4)
HEADER: Final = struct.Struct("<BBHI")
_VERSION: Final = 1
MOST: Final = 0xFFFF
"""Bytes of data in one frame."""


class MalformedStream(Exception):
    """Bytes that are no smux."""


def encode(command: int, stream: int, data: bytes = b"") -> bytes:
    """One frame; data of at most 65,535 bytes."""
    return HEADER.pack(_VERSION, command, len(data), stream) + data


def messages(stream: int, data: bytes, size: int) -> list[bytes]:
    """The bytes as frames, in messages of at most so many bytes; a large message has several frames."""
    view, room, start = memoryview(data), size, 0
    made: list[bytes] = []
    parts: list[bytes | memoryview] = []
    while start < len(view):
        piece = view[start : start + min(room - HEADER.size, MOST)]
        start += len(piece)
        room -= HEADER.size + len(piece)
        parts += [HEADER.pack(_VERSION, PSH, len(piece), stream), piece]
        if room <= HEADER.size or start == len(view):
            made.append(b"".join(parts))
            parts, room = [], size
    return made


class Decoder:
    """Puts frames together again, in whatever pieces they come."""

    def __init__(self) -> None:
        self._left = b""

    def feed(self, data: bytes) -> Iterator[tuple[int, int, memoryview]]:
        """(command, stream, data) of the frames that are complete now, views of what came. Raises MalformedStream."""
        view, position = memoryview(self._left + data if self._left else data), 0
        try:
            while len(view) - position >= HEADER.size:
                version, command, length, stream = HEADER.unpack_from(view, position)
                if version != _VERSION or command > NOP:
                    raise MalformedStream(f"version {version}, command {command}")
                start = position + HEADER.size
                if start + length > len(view):
                    break
                position = start + length
                yield command, stream, view[start:position]
        finally:
            self._left = bytes(view[position:])
