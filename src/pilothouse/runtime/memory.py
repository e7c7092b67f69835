"""Memory of a process that holds many connections."""

import contextlib
import ctypes
from typing import Final

_TRIM_THRESHOLD: Final = -1
_MMAP_THRESHOLD: Final = -3
_BYTES: Final = 128 << 10


def keep_large_blocks_apart() -> None:
    """Let the C library give each large block pages of its own, and the pages back with it.

    Each TLS connection has a buffer of 256 KiB, of which an idle one uses a page. Once such a block was freed, glibc
    puts the next ones among all others, where their pages are those that others have used before, and keeps more of
    what is free for itself. Other C libraries do as they do.
    """
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(_MMAP_THRESHOLD, _BYTES)
        library.mallopt(_TRIM_THRESHOLD, _BYTES)
