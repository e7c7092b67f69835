"""What a worker and its supervisor say to each other: frames of a kind and some bytes, on a socket of their own."""

import struct
from enum import IntEnum
from typing import Final

_HEAD: Final = struct.Struct(">IB")
MOST: Final = 32 << 20
"""Bytes of a frame; the largest are the figures of a process."""


class Kind(IntEnum):
    """Of a frame; who says it."""

    OPENED = 1
    """Worker: all is open, it could serve."""
    GO = 2
    """Supervisor: serve."""
    FAILED = 3
    """Worker: it cannot start; the reason, a sentence for the operator."""
    PARCEL = 4
    """Worker: wake-ups for the others. Supervisor: those of another worker."""
    SCRAPE = 5
    """Worker: somebody asks for the figures of all; a number for the question."""
    SCRAPED = 6
    """Supervisor: that number, and the figures of all in Prometheus' text form."""
    FIGURES = 7
    """Supervisor: what are yours? Worker: these."""


class FramesBroken(Exception):
    """What comes is none of ours."""


def frame(kind: Kind, payload: bytes = b"") -> bytes:
    """The bytes of a frame."""
    return _HEAD.pack(len(payload), kind) + payload


class Frames:
    """Cuts what comes into frames."""

    def __init__(self) -> None:
        self._waiting = bytearray()

    def feed(self, piece: bytes) -> list[tuple[Kind, bytes]]:
        """The frames that are whole with this piece. Raises FramesBroken."""
        self._waiting += piece
        found = []
        while len(self._waiting) >= _HEAD.size:
            size, number = _HEAD.unpack_from(self._waiting)
            if size > MOST or number not in Kind.__members__.values():
                raise FramesBroken(f"a frame of kind {number} with {size} bytes")
            end = _HEAD.size + size
            if len(self._waiting) < end:
                break
            found.append((Kind(number), bytes(self._waiting[_HEAD.size : end])))
            del self._waiting[:end]
        return found
