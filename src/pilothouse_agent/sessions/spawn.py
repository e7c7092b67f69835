"""Starts a program of a session as its user, in a process session of its own, with or without a terminal."""

import contextlib
import errno
import fcntl
import os
import shutil
import signal
import struct
import termios
from collections.abc import Mapping, Sequence
from pathlib import Path

from pilothouse_agent import processes
from pilothouse_agent.sessions.users import Account, tty_group

_RESET = (
    signal.SIGPIPE,
    signal.SIGXFSZ,
    signal.SIGUSR2,
    signal.SIGQUIT,
    signal.SIGTSTP,
    signal.SIGTTIN,
    signal.SIGTTOU,
)


def program(
    argv: Sequence[str],
    account: Account,
    environment: Mapping[str, str],
    *,
    streams: tuple[int, int, int],
    terminal: bool = False,
    name: str = "",
) -> int:
    """Start it and return its pid; streams become its 0, 1 and 2. Raises OSError, also if it cannot be executed.

    terminal makes the first stream its controlling terminal. name is what it sees as its own name, argv[0] if empty.
    """
    reading, writing = os.pipe()  # closed by a successful exec, else it says why

    def become() -> None:
        try:
            _prepare(streams, account, terminal=terminal)
            os.execve(_found(argv[0], environment), [name or argv[0], *argv[1:]], dict(environment))  # noqa: S606
        except OSError as error:
            os.write(writing, str(error.errno or errno.EIO).encode())
        finally:
            os._exit(127)

    try:
        pid = processes.fork(become, keep=sorted({*streams, writing}))
    except BaseException:
        os.close(reading)
        raise
    finally:
        os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        told = pipe.read()
    if told:
        processes.reap(pid)
        number = int(told)
        raise OSError(number, os.strerror(number), argv[0])
    return pid


def _prepare(streams: tuple[int, int, int], account: Account, *, terminal: bool) -> None:
    os.setsid()
    if terminal:
        fcntl.ioctl(streams[0], termios.TIOCSCTTY, 0)
    kept = [fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 10) for descriptor in streams]  # 0 to 2 are being replaced
    for number, descriptor in enumerate(kept):
        os.dup2(descriptor, number)
    for number in _RESET:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    account.become()
    try:
        os.chdir(account.home)
    except OSError:
        os.chdir("/")
    for descriptor in {*streams, *kept} - {0, 1, 2}:
        os.close(descriptor)


def _found(word: str, environment: Mapping[str, str]) -> str:
    """The program's file, looked for as the session's user would. A path is one already, or fails by its own fault."""
    if "/" in word:
        return word
    found = shutil.which(word, path=environment.get("PATH"))
    if found is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), word)
    return found


def terminal_pair(account: Account, rows: int, columns: int) -> tuple[int, int]:
    """Both ends of a new terminal, which belongs to the user: the agent's end and the program's."""
    ours, theirs = os.openpty()
    settings = termios.tcgetattr(theirs)
    settings[0] |= getattr(termios, "IUTF8", 0o40000)
    termios.tcsetattr(theirs, termios.TCSANOW, settings)
    set_size(ours, rows, columns)
    if os.geteuid() == 0:
        os.fchown(theirs, account.uid, tty_group(account))
        os.fchmod(theirs, 0o620)
    os.set_blocking(ours, False)
    return ours, theirs


def set_size(terminal: int, rows: int, columns: int) -> None:
    with contextlib.suppress(OSError):  # the program has ended
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def end_group(leader: int, number: signal.Signals) -> None:
    """A signal to the program's process group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, number)


def end_session(leader: int, born: str) -> None:
    """SIGKILL to what is left of a program whose worker died: all in its process session, if that is still the same."""
    if birth(leader) not in (born, ""):
        return
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = (entry / "stat").read_bytes().rpartition(b") ")[2].split()
            if int(fields[3]) == leader and int(entry.name) != os.getpid():
                os.kill(int(entry.name), signal.SIGKILL)


def birth(pid: int) -> str:
    """When the process began, in the kernel's own count; empty if there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2].split()[19].decode()
    except (OSError, IndexError):
        return ""
