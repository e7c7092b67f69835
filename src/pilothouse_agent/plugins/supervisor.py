"""The supervisor of a run: a forked child of the agent that outlives it.

It starts a script or a work of the agent's own, enforces the timeout, ends everything on SIGTERM
(cancel), and writes result.json. Its whole life it holds the lock of the run's directory: lock file
present but not locked, and no result, means that the supervisor died and the run may have happened.
The streams are files, so output is on disk while it is made and costs no memory; what is longer than
the limit is cut off.
"""

import contextlib
import fcntl
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, Protocol

from pilothouse_agent import processes
from pilothouse_agent.state import files
from pilothouse_agent.times import now_ms

RUN_MARK = "PILOTHOUSE_RUN"
"""In the environment of everything a script starts, so that what left its process group is found too."""

CANCEL = signal.SIGTERM
_TAKEN = frozenset({CANCEL, signal.SIGCHLD})  # what a supervisor waits for: cancel, the end of what it runs
_KILL_PATIENCE = 5.0  # seconds that SIGKILL may take
_SCAN = 0.05  # seconds between looks at processes that were asked to end
_MEASURE = 1.0  # seconds between looks at the size of the streams
_RESERVE = 16_384  # bytes kept on the disk for the result, should it fill up meanwhile
_STREAMS = ("stdout", "stderr")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long a run may take (seconds), how long its processes may take to end, how long its streams get (bytes)."""

    timeout: float
    kill_grace: float
    output: int


class Task(Protocol):
    """What a supervisor runs."""

    def spawn(self, directory: Path, streams: Path, mark: str) -> int:
        """Start it in a session of its own and return its pid. Raises OSError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """A program."""

    argv: list[str]
    working_directory: str
    environment: dict[str, str]

    def spawn(self, directory: Path, streams: Path, mark: str) -> int:
        os.chdir(self.working_directory)
        return os.posix_spawnp(
            self.argv[0],
            self.argv,
            {**self.environment, RUN_MARK: mark},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(streams / "stdout"), _APPEND, 0o600),
                (os.POSIX_SPAWN_OPEN, 2, str(streams / "stderr"), _APPEND, 0o600),
            ],
            setsid=True,
            setsigmask=[],
            setsigdef=[signal.SIGPIPE, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD],
        )


class WorkFailed(Exception):
    """A work cannot be done; the text is for the user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A function of the agent's own, in a child: what it prints is the output, what it returns the exit code.

    The child holds a lock with its pid inside: its memory is the agent's, so its environment does not show the
    run's mark. What it starts does.
    """

    function: Callable[[], int]
    working_directory: str
    environment: dict[str, str]

    def spawn(self, directory: Path, streams: Path, mark: str) -> int:
        os.chdir(self.working_directory)
        lock = os.open(directory / "work", os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        opened = [os.open(streams / name, _APPEND, 0o600) for name in _STREAMS]
        pid = os.fork()
        if pid == 0:
            self._become(lock, opened, mark)
        for descriptor in (lock, *opened):
            os.close(descriptor)  # the child holds the lock on
        return pid

    def _become(self, lock: int, opened: list[int], mark: str) -> NoReturn:
        code = 1
        try:
            os.pwrite(lock, b"%d" % os.getpid(), 0)
            os.setsid()
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, [])
            for number, descriptor in enumerate(opened, 1):
                os.dup2(descriptor, number)
            processes.close_all_but((lock,))  # the supervisor's own lock above all
            os.environ.clear()
            os.environ.update({**self.environment, RUN_MARK: mark})
            code = self.function()
        except WorkFailed as error:
            print(error, file=sys.stderr)
        except MemoryError:
            print("the node has too little memory for this step", file=sys.stderr)
        except BaseException:
            traceback.print_exc()
        finally:
            with contextlib.suppress(OSError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)


_APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND


def start(directory: Path, streams: Path, task: Task, limits: Limits) -> int:
    """Start the supervisor of a run that never started before and return its pid.

    The lock file is durable before anything runs. Raises FileExistsError if the run may have started.
    """
    (directory / "reserve").write_bytes(os.urandom(_RESERVE))  # no room: then nothing was started
    lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        files.sync_directory(directory)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _TAKEN)  # a cancel may come before the child's first line
        try:
            return processes.fork(lambda: _supervise(directory, streams, task, limits, lock), keep=(lock,), quiet=True)
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


def forget(directory: Path) -> None:
    """The run may start anew: whatever was left of the lost one has been ended."""
    os.replace(directory / "lock", directory / "lock.lost")


def _supervise(directory: Path, streams: Path, task: Task, limits: Limits, lock: int) -> None:
    """The child's whole life. Signals are taken one by one, never by a handler."""
    os.pwrite(lock, b"%d" % os.getpid(), 0)
    os.setsid()
    started_at = now_ms()
    mark = mark_of(directory)  # now: the script may remove the directory
    try:
        pid = task.spawn(directory, streams, mark)
    except OSError as error:
        _write_result(directory, outcome="not started", code=1, started_at=started_at, reason=str(error))
        return
    deadline = time.monotonic() + limits.timeout
    cut: set[str] = set()
    outcome, status = _wait(pid, deadline, lambda: cut.update(_cut(streams, limits.output)))
    code, reason = 0, ""
    if status is not None:
        code = os.waitstatus_to_exitcode(status)
    elif left := end_all(mark, pid, limits.kill_grace):
        outcome, reason = "not ended", f"processes {', '.join(map(str, sorted(left)))} could not be ended"
    cut.update(_cut(streams, limits.output))
    _write_result(
        directory, outcome=outcome, code=code, started_at=started_at, reason=reason,
        cut=limits.output if cut else 0, full=_is_full(streams),
    )  # fmt: skip


def _wait(pid: int, deadline: float, measure: Callable[[], None]) -> tuple[str, int | None]:
    """Until the script exits, its time is over, or SIGTERM asks for its end."""
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return "exited", status
        left = deadline - time.monotonic()
        if left <= 0:
            return "timed out", None
        received = signal.sigtimedwait(_TAKEN, min(left, _MEASURE))
        if received is not None and received.si_signo == signal.SIGTERM:
            return "cancelled", None
        measure()


def _cut(streams: Path, limit: int) -> list[str]:
    """Cut what is too long; the writer goes on at the new end. The names of the streams that were."""
    done: list[str] = []
    for name in _STREAMS:
        with contextlib.suppress(OSError):
            if os.stat(streams / name).st_size > limit:
                os.truncate(streams / name, limit)
                done.append(name)
    return done


def _is_full(directory: Path) -> bool:
    """Whether the disk takes no more, so that output may be missing."""
    with contextlib.suppress(OSError):
        found = os.statvfs(directory)
        return found.f_blocks > 0 and found.f_bavail * found.f_frsize < _RESERVE
    return False


def end_all(mark: str, leader: int, grace: float) -> set[int]:
    """SIGTERM to all processes of the run, SIGKILL to what is left after grace seconds.

    Returns when none is left, or with those that SIGKILL does not reach: another user's, or stuck in the kernel.
    Each is asked before those it started: a shell whose child ends first would go on with its next line.
    """
    deadline = time.monotonic() + grace
    asked: set[int] = set()
    while True:
        living = _processes_of(mark, leader)
        if not living or time.monotonic() > deadline + _KILL_PATIENCE:
            return set(living)
        killing = time.monotonic() >= deadline
        for pid in parents_first(living):
            if killing or pid not in asked:
                _send(pid, signal.SIGKILL if killing else signal.SIGTERM)
                asked.add(pid)
        time.sleep(_SCAN)


def _send(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return  # gone, or another user's: then it is still there at the next look


def parents_first(parents: Mapping[int, int]) -> list[int]:
    """Processes by their parents, so that none stands before one that it descends from."""

    def generation(pid: int) -> int:
        above = 0
        while (pid := parents.get(pid, 0)) and above < len(parents):
            above += 1
        return above

    return sorted(parents, key=generation)


def _processes_of(mark: str, leader: int) -> dict[int, int]:
    """Living processes of the run, in the script's session or marked by its environment, each with its parent."""
    entry = f"{RUN_MARK}={mark}".encode()
    found: dict[int, int] = {}
    own = os.getpid()
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == own:
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                state, parent, _group, session = file.read().rpartition(b") ")[2].split()[:4]
            if state in (b"Z", b"X"):
                continue
            if leader and int(session) == leader:
                found[int(name)] = int(parent)
                continue
            with open(f"/proc/{name}/environ", "rb") as file:
                if entry in file.read().split(b"\0"):
                    found[int(name)] = int(parent)
        except (OSError, ValueError):
            continue  # it ended while we looked, or is not ours to look at
    return found


def end_lost_work(directory: Path) -> None:
    """Kill the child of a lost supervisor, if it was one of the agent's own and still lives."""
    try:
        lock = os.open(directory / "work", os.O_RDWR)
    except FileNotFoundError:
        return
    try:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pid = os.pread(lock, 32, 0)
                if pid:
                    _send(int(pid), signal.SIGKILL)
                time.sleep(_SCAN)
            else:
                return
    finally:
        os.close(lock)


def mark_of(directory: Path) -> str:
    """The run's own name: command id, step and run number, and the identity of its lock file.

    The lock tells apart the agents that run one command on one machine: each may end its own processes alone.
    """
    lock = os.stat(directory / "lock")
    return "/".join((*directory.parts[-4:], f"{lock.st_dev:x}-{lock.st_ino:x}"))


def _write_result(directory: Path, **result: object) -> None:
    """On a full disk the place that was kept for it is used."""
    reserve = directory / "reserve"
    values = {**result, "ended_at": now_ms()}
    try:
        files.write_json(directory / "result.json", values)
    except OSError:
        reserve.unlink(missing_ok=True)
        files.write_json(directory / "result.json", values)
    reserve.unlink(missing_ok=True)
