"""A running server follows the master key where a command on another server has changed it.

Each server of an installation has kept files of its own (`crypto/kept`). The command wraps those of its data directory.
A server whose master key was put in place by the operator wraps its own: it knows them again at its next start, and the
former master key opens nothing once the change has ended.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import structlog

from pilothouse.crypto.kept import KEPT, kept_under, rekeep
from pilothouse.crypto.master_key import MasterKeyUnusable, missing
from pilothouse.crypto.ring import Ring, state_of, unwrapped

log = structlog.get_logger()

_LOCK_FILE = "master-key.lock"


@contextlib.contextmanager
def one_change(data: Path) -> Iterator[bool]:
    """One change of keys at a time in a data directory; False while another works. The lock goes with the process."""
    descriptor = os.open(data / _LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


class Follower:
    """What a server does about its master key, every few seconds."""

    def __init__(self, ring: Ring, data: Path) -> None:
        self._ring = ring
        self._data = data
        self._said = ""

    async def look(self) -> None:
        """Take up the master key that is in place now, if it opens every root key; say once what is wrong with it."""
        said = ""
        try:
            with one_change(self._data) as alone:
                if alone:
                    await self._follow()
        except (MasterKeyUnusable, OSError) as error:
            said = str(error)
            if said != self._said:
                log.error("master_key.unusable", error=said)
        self._said = said

    async def _follow(self) -> None:
        ring, data = self._ring, self._data
        found = ring.find_master()
        if found is None:
            raise missing(data)
        former = ring.master
        state = await state_of(ring.database)
        counting = set(state.masters())
        if found.fingerprint != former.fingerprint:
            await unwrapped(state, found)
            both = former.fingerprint in counting
            await rekeep(data, former, (former, found) if both else (found,))
            ring.master = found
            log.info("master_key.followed", name=found.name, fingerprint=found.fingerprint[:8])
        elif counting == {found.fingerprint} and any(len(kept_under(data / name)) > 1 for name in KEPT):
            await rekeep(data, found, (found,))
