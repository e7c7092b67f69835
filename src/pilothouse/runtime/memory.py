"""Memory of a process that holds many connections, as the C library of most systems deals it out."""

import contextlib
import ctypes
from functools import cache
from typing import Final

_TRIM_THRESHOLD: Final = -1
_MMAP_THRESHOLD: Final = -3
_APART: Final = 256 << 10
"""As large as the buffer of a TLS connection. The messages of a session are just smaller, and come and go: pages of
their own, taken from the system and cleared for each of them, were a third of what a tunnel cost the server."""
_KEPT: Final = 128 << 10
_KEPT_FOR_SESSIONS: Final = 4 << 20


def keep_large_blocks_apart() -> None:
    """Let the C library give each large block pages of its own, and the pages back with it.

    Each TLS connection has a buffer of 256 KiB, of which an idle one uses a page. Once such a block was freed, glibc
    puts the next ones among all others, where their pages are those that others have used before, and keeps more of
    what is free for itself. Other C libraries do as they do.
    """
    _set(_MMAP_THRESHOLD, _APART)
    _set(_TRIM_THRESHOLD, _KEPT)


def keep_room_for_messages(kept: bool) -> None:
    """Whether what is free at the heap's end stays there, for the next messages of sessions, or goes back at once.

    With many nodes that is memory which nobody uses; with a tunnel, giving it back and taking it anew costs much.
    """
    _set(_TRIM_THRESHOLD, _KEPT_FOR_SESSIONS if kept else _KEPT)


def _set(what: int, to: int) -> None:
    with contextlib.suppress(OSError, AttributeError):
        _library().mallopt(what, to)


@cache
def _library() -> ctypes.CDLL:
    return ctypes.CDLL(None)
