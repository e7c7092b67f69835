"""Turns of processes that write to one SQLite database file.

SQLite itself gives its write lock to whoever asks in the moment in which it is free, which is mostly the process that
has just let go of it: others could wait for seconds. Here one process at a time stands before the lock. Who has just
written must stand behind it, so a process waits for as many groups of others as there are processes that write.
"""

import fcntl
import os
import threading
from pathlib import Path
from typing import Final

import apsw

from pilothouse.storage import StorageUnavailable

_LOOK_SECONDS: Final = 0.0005
"""Between two looks whether the lock is free: a commit takes longer."""
_LOOKS: Final = 20_000
"""How often one looks, which takes 10 s at least: then another process holds the lock that will not let go."""


class WriterTurns:
    """One process's place in the line before the write lock of a database. The lock goes with the process."""

    def __init__(self, database: Path) -> None:
        """Raises StorageUnavailable."""
        file = database.with_name(f"{database.name}-turn")
        try:
            self._descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise StorageUnavailable(f"{file} cannot be opened: {error.strerror}") from error
        self._closing = threading.Event()

    def begin_at_once(self, writer: apsw.Connection) -> bool:
        """Begin to write if nobody else does or waits for it. Raises apsw.Error."""
        if not self._is_first():
            return False
        try:
            writer.set_busy_timeout(0)
            writer.execute("begin immediate")
        except apsw.BusyError:
            return False
        finally:
            self._step_aside()
        return True

    def begin(self, writer: apsw.Connection) -> None:
        """Begin to write when one's turn has come; on a thread. Raises apsw.Error, StorageUnavailable."""
        looks = 0
        while not self._is_first():
            looks += 1
            if not self._goes_on(looks):
                raise StorageUnavailable("other processes write to the database all the time")
        try:
            writer.set_busy_handler(self._goes_on)
            writer.execute("begin immediate")
        finally:
            self._step_aside()

    def close(self) -> None:
        """Whoever waits gives up."""
        self._closing.set()
        os.close(self._descriptor)

    def _goes_on(self, looks: int) -> bool:
        """Wait a little; whether to look again."""
        return not self._closing.wait(_LOOK_SECONDS) and looks < _LOOKS

    def _is_first(self) -> bool:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _step_aside(self) -> None:
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)
