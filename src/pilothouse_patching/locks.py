"""Locks of the package managers: waited for within a limit, and named with who holds them. Under Python 3.6.

Some tools wait for a lock forever (dnf, rpm), others not at all (apt for its lists, zypper). So a run looks first, and
no tool is started that would wait longer than the run may. Nothing is ever taken from whoever holds it.
"""

import os
import time
from typing import Any, Callable, List, Optional, Sequence

from pilothouse_patching.running import ToolFailed

_STEP = 1.0


class Locked(ToolFailed):
    """Somebody else is at work on the packages of this machine; nothing was done."""


class Patience:
    """How long is waited for a lock."""

    def __init__(self, seconds: int, sleep: Callable[[float], Any] = time.sleep) -> None:
        self.seconds = seconds
        self._sleep = sleep

    def wait(self, paths: Sequence[str]) -> None:
        """Until nobody else holds one of the lock files. Raises Locked."""
        until = time.monotonic() + self.seconds
        while True:
            held = is_held(paths)
            if held is None:
                return
            if time.monotonic() >= until:
                raise self.over(held)
            self._sleep(_STEP)

    def over(self, path: str) -> Locked:
        """What to raise when it is over."""
        said = f"the package database is locked: {path}"
        holders = _holders(path)
        if holders:
            said += " is held by {}".format(", ".join(holders))
        return Locked(f"{said}; after {self.seconds} seconds of waiting nothing was done")


def is_held(paths: Sequence[str]) -> Optional[str]:
    """The first of the lock files that somebody else holds."""
    return next((path for path in paths if (_has_living(path) if path.endswith(".pid") else _is_locked(path))), None)


def _is_locked(path: str) -> bool:
    try:
        with open(path, "r+b") as file:
            os.lockf(file.fileno(), os.F_TEST, 0)
    except FileNotFoundError:
        return False
    except OSError as error:
        return isinstance(error, (BlockingIOError, PermissionError))
    return False


def _has_living(path: str) -> bool:
    """Whether the process in a pid file lives, which is what its tool goes by."""
    return os.path.exists(f"/proc/{_pid_in(path)}/stat")


def _pid_in(path: str) -> str:
    try:
        with open(path) as file:
            content = file.read(64).strip()
    except OSError:
        return "-"
    return content if content.isdigit() else "-"


def _holders(path: str) -> List[str]:
    """`name (pid)` of the processes that have the file open, or that it names."""
    if path.endswith(".pid"):
        return [_named(_pid_in(path))]
    try:
        wanted = os.stat(path)
    except OSError:
        return []
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        folder = f"/proc/{pid}/fd"
        try:
            opened = [os.stat(os.path.join(folder, each)) for each in os.listdir(folder)]
        except OSError:  # it ended, or is not ours to look into
            continue
        if any((each.st_dev, each.st_ino) == (wanted.st_dev, wanted.st_ino) for each in opened):
            found.append(_named(pid))
    return found


def _named(pid: str) -> str:
    try:
        with open(f"/proc/{pid}/comm") as file:
            return f"{file.read().strip()} ({pid})"
    except OSError:
        return f"process {pid}"
