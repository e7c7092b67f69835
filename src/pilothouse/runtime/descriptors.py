"""File descriptors: how many connections there is room for, so that files and the database always get theirs."""

import resource
from typing import Final

import structlog

log = structlog.get_logger()

RESERVED: Final = 512
"""Left for everything that is no client's connection: databases, files, calls to others, what is closing."""


def room_for(connections: int) -> int:
    """How many connections may be open at once, of those wished (0: as many as may be).

    Raises the soft limit of the process as far as that needs, and as the hard limit lets; logs when it is too small.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = hard if hard != resource.RLIM_INFINITY else max(soft, _ENOUGH)
    wanted = connections + RESERVED if connections else most
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = _raised(soft, min(wanted, most), hard)
    if soft == resource.RLIM_INFINITY:
        return connections or most
    room = soft - min(RESERVED, soft // 2)
    if connections > room:
        log.warning("server.few_file_descriptors", limit=soft, connections=room, wanted=connections)
        return room
    return connections or room


_ENOUGH: Final = 1 << 20
"""Where the hard limit is none."""


def _raised(soft: int, to: int, hard: int) -> int:
    """The soft limit that then holds."""
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (to, hard))
    except (OSError, ValueError):
        return soft
    return to
