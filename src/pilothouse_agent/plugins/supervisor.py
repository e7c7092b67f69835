"""A script's supervisor: a forked child of the agent that outlives it.

It starts the script, enforces the timeout, ends everything on SIGTERM (cancel), and writes
result.json. Its whole life it holds the lock of the run's directory: lock file present but not
locked, and no result, means that the supervisor died and the script may have run. The script's
streams are files, so output is on disk while it runs and costs no memory.
"""

import fcntl
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from pilothouse_agent import processes
from pilothouse_agent.state import files
from pilothouse_agent.times import now_ms

RUN_MARK = "PILOTHOUSE_RUN"
"""In the environment of everything a script starts, so that what left its process group is found too."""

_TAKEN = frozenset({signal.SIGTERM, signal.SIGCHLD})  # what a supervisor waits for: cancel, the script's end
_KILL_PATIENCE = 5.0  # seconds that SIGKILL may take
_SCAN = 0.05  # seconds between looks at processes that were asked to end


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """What to run and for how long (seconds)."""

    argv: list[str]
    working_directory: str
    environment: dict[str, str]
    timeout: float
    kill_grace: float


def start(directory: Path, script: Script) -> int:
    """Start the supervisor of a run that never started before and return its pid.

    The lock file is durable before anything runs. Raises FileExistsError if the run may have started.
    """
    lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        files.sync_directory(directory)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _TAKEN)  # a cancel may come before the child's first line
        try:
            return processes.fork(lambda: _supervise(directory, script, lock), keep=(lock,), quiet=True)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
    finally:
        os.close(lock)  # the child holds the lock on


def find(directory: Path) -> int | None:
    """The pid of the run's living supervisor; None if there is none (any more)."""
    try:
        lock = os.open(directory / "lock", os.O_RDWR)
    except FileNotFoundError:
        return None
    try:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pid = os.pread(lock, 32, 0)
                if pid:
                    return int(pid)
                time.sleep(0.005)  # forked this instant; it is about to write its pid
            else:
                return None
    finally:
        os.close(lock)


def may_have_started(directory: Path) -> bool:
    """Whether the run was started once, in this life of the agent or an earlier one."""
    return (directory / "lock").exists()


def _supervise(directory: Path, script: Script, lock: int) -> None:
    """The child's whole life. Signals are taken one by one, never by a handler."""
    os.pwrite(lock, b"%d" % os.getpid(), 0)
    os.setsid()
    started_at = now_ms()
    mark = mark_of(directory)  # now: the script may remove the directory
    try:
        pid = _spawn(directory, script, mark)
    except OSError as error:
        _write_result(directory, "not started", 1, started_at, str(error))
        return
    deadline = time.monotonic() + script.timeout
    outcome, status = _wait(pid, deadline)
    code, reason = 0, ""
    if status is not None:
        code = os.waitstatus_to_exitcode(status)
    elif left := end_all(mark, pid, script.kill_grace):
        outcome, reason = "not ended", f"processes {', '.join(map(str, sorted(left)))} could not be ended"
    _write_result(directory, outcome, code, started_at, reason)


def _spawn(directory: Path, script: Script, mark: str) -> int:
    os.chdir(script.working_directory)
    streams = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND
    return os.posix_spawnp(
        script.argv[0],
        script.argv,
        {**script.environment, RUN_MARK: mark},
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(directory / "stdout"), streams, 0o600),
            (os.POSIX_SPAWN_OPEN, 2, str(directory / "stderr"), streams, 0o600),
        ],
        setsid=True,
        setsigmask=[],
        setsigdef=[signal.SIGPIPE, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD],
    )


def _wait(pid: int, deadline: float) -> tuple[str, int | None]:
    """Until the script exits, its time is over, or SIGTERM asks for its end."""
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return "exited", status
        left = deadline - time.monotonic()
        if left <= 0:
            return "timed out", None
        received = signal.sigtimedwait(_TAKEN, left)
        if received is not None and received.si_signo == signal.SIGTERM:
            return "cancelled", None


def end_all(mark: str, leader: int, grace: float) -> set[int]:
    """SIGTERM to all processes of the run, SIGKILL to what is left after grace seconds.

    Returns when none is left, or with those that SIGKILL does not reach: another user's, or stuck in the kernel.
    """
    deadline = time.monotonic() + grace
    asked: set[int] = set()
    while True:
        living = _processes_of(mark, leader)
        if not living or time.monotonic() > deadline + _KILL_PATIENCE:
            return living
        killing = time.monotonic() >= deadline
        for pid in living:
            if killing or pid not in asked:
                _send(pid, signal.SIGKILL if killing else signal.SIGTERM)
                asked.add(pid)
        time.sleep(_SCAN)


def _send(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return  # gone, or another user's: then it is still there at the next look


def _processes_of(mark: str, leader: int) -> set[int]:
    """Living processes of the run: in the script's session, or marked by its environment."""
    entry = f"{RUN_MARK}={mark}".encode()
    found: set[int] = set()
    own = os.getpid()
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == own:
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                state, _parent, _group, session = file.read().rpartition(b") ")[2].split()[:4]
            if state in (b"Z", b"X"):
                continue
            if leader and int(session) == leader:
                found.add(int(name))
                continue
            with open(f"/proc/{name}/environ", "rb") as file:
                if entry in file.read().split(b"\0"):
                    found.add(int(name))
        except (OSError, ValueError):
            continue  # it ended while we looked, or is not ours to look at
    return found


def mark_of(directory: Path) -> str:
    """The run's own name: command id, step and run number, and the identity of its lock file.

    The lock tells apart the agents that run one command on one machine: each may end its own processes alone.
    """
    lock = os.stat(directory / "lock")
    return "/".join((*directory.parts[-4:], f"{lock.st_dev:x}-{lock.st_ino:x}"))


def _write_result(directory: Path, outcome: str, code: int, started_at: int, reason: str = "") -> None:
    files.write_json(
        directory / "result.json",
        {"outcome": outcome, "code": code, "started_at": started_at, "ended_at": now_ms(), "reason": reason},
    )
