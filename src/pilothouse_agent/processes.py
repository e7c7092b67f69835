"""Forked children of the agent: work that must outlive it, or whose memory it should not keep.

A fork costs a millisecond where a new interpreter costs twenty. The agent has no threads of its own
but short ones for name look-ups, and a child runs plain code only: it never touches the event loop.
"""

import asyncio
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Collection
from typing import NoReturn

# Python 3.12 warns when a process with a name look-up under way forks; see above why that is safe here.
warnings.filterwarnings("ignore", message=".*fork.*", category=DeprecationWarning)


class ChildFailed(Exception):
    """A child ended without the answer it was made for."""


def fork(work: Callable[[], None], *, keep: Collection[int], quiet: bool = False) -> int:
    """Run work in a child and return its pid. The child has no descriptors but 0-2 and keep.

    quiet points 0-2 to /dev/null, for a child that outlives the agent's terminal or journal pipe.
    """
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        _become_child(work, keep, quiet)
    return pid


def _become_child(work: Callable[[], None], keep: Collection[int], quiet: bool) -> NoReturn:
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD, signal.SIGUSR1):
            signal.signal(number, signal.SIG_DFL)
        if quiet:
            null = os.open(os.devnull, os.O_RDWR)
            for descriptor in (0, 1, 2):
                os.dup2(null, descriptor)
        close_all_but(keep)
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def close_all_but(keep: Collection[int]) -> None:
    """Close every descriptor but 0-2 and keep."""
    lowest = 3
    for descriptor in sorted(keep):
        os.closerange(lowest, descriptor)
        lowest = descriptor + 1
    os.closerange(lowest, os.sysconf("SC_OPEN_MAX"))


async def in_child(work: Callable[[], bytes]) -> bytes:
    """The answer of work, computed in a child that takes its memory with it when it ends."""
    reading, writing = os.pipe()

    def answer() -> None:
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(work())

    try:
        pid = fork(answer, keep=(writing,))
    finally:
        os.close(writing)
    try:
        data = await _read_all(reading)
        await ended(pid)
    except BaseException:
        os.kill(pid, signal.SIGKILL)  # nobody waits for its answer any more
        raise
    finally:
        code = reap(pid)
    if code != 0:
        raise ChildFailed("a child of the agent failed; its error is above")
    return data


async def _read_all(descriptor: int) -> bytes:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb", buffering=0)
    )
    try:
        return await reader.read()
    finally:
        transport.close()


async def ended(pid: int) -> None:
    """Wait until the process has ended (a zombie counts as ended). It need not be a child of this process."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    except (AttributeError, OSError):  # kernels before 5.3
        while _runs(pid):  # noqa: ASYNC110 -- such a kernel has nothing to wait on
            await asyncio.sleep(0.2)
        return
    loop = asyncio.get_running_loop()
    done = asyncio.Event()
    loop.add_reader(descriptor, done.set)
    try:
        await done.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


def _runs(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            return stat.read().rpartition(b") ")[2][:1] not in (b"Z", b"X")
    except OSError:
        return False


def reap(pid: int) -> int | None:
    """Take the exit code of an ended child; None if it is the child of an earlier agent process."""
    try:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    except ChildProcessError:
        return None
