"""The supervisor: starts workers out of itself, watches them, starts others in the place of those that end.

It forks, so every worker is the program that was started, also after its files were replaced; and it is one plain loop
without threads, or a fork of it would not be whole. The first worker starts alone, so that there is one who makes what
an installation lacks; none serves before all could.
"""

import contextlib
import os
import selectors
import signal
import socket
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, NoReturn

import msgspec
import structlog

from pilothouse.runtime.clock import monotonic
from pilothouse.workers.backoff import FIRST_SECONDS, Backoff
from pilothouse.workers.figures import Figures, counter, gauge
from pilothouse.workers.frames import Frames, FramesBroken, Kind, frame

log = structlog.get_logger()

STOP_SECONDS: Final = 25.0
"""What workers have to come to their end; then they are killed."""
_FIGURES_SECONDS: Final = 1.0
"""A worker that takes longer is shown as it was last seen."""
_READ: Final = 256 << 10
_WAITING: Final = 8 << 20
"""Bytes that may wait for a worker that does not read; further wake-ups for it are dropped."""
_CRASHED: Final = 70
STOPPING: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

Work = Callable[[int, socket.socket], int]
"""(number of the worker, its link) to the exit code; called in the worker."""


class WorkersFailed(Exception):
    """A worker could not start before the server was ready; the text is what it said."""


@dataclass(slots=True)
class _Child:
    number: int
    pid: int
    link: socket.socket
    began: float
    frames: Frames = field(default_factory=Frames)
    out: bytearray = field(default_factory=bytearray)
    is_open: bool = False
    is_gone: bool = False
    failure: str = ""


@dataclass(slots=True)
class _Round:
    """One look at the figures of all; who came meanwhile gets the same."""

    until: float
    lacking: set[int]
    asking: list[tuple[_Child, bytes]] = field(default_factory=list)


def asked_to_stop_by() -> list[signal.Signals]:
    """The signals that end a server well; SIGHUP is not among them where it is ignored, as `nohup` does."""
    return [each for each in STOPPING if each != signal.SIGHUP or signal.getsignal(each) != signal.SIG_IGN]


class Supervisor:
    """Of one server."""

    def __init__(self, count: int, work: Work, *, ready: Callable[[], None], stopping: Callable[[], None]) -> None:
        """`ready` is called when all workers are about to serve, `stopping` when the end begins."""
        self._count = count
        self._work = work
        self._ready = ready
        self._stopping = stopping
        self._children: dict[int, _Child] = {}
        self._due: dict[int, float] = {1: 0.0}
        """Places that are empty, and when they are to be filled."""
        self._backoffs = {number: Backoff() for number in range(1, count + 1)}
        self._figures = Figures()
        self._round: _Round | None = None
        self._replaced = 0
        self._is_ready = False
        self._failure = ""
        self._kill_at: float | None = None
        self._signals: list[int] = []
        self._selector = selectors.DefaultSelector()
        self._bell, self._ringer = socket.socketpair()
        """Rung by every signal."""

    def run(self) -> None:
        """Until a signal asks for the end, and all have ended. Raises WorkersFailed."""
        for each in (self._bell, self._ringer):
            each.setblocking(False)
        self._selector.register(self._bell, selectors.EVENT_READ)
        with self._hearing_signals():
            while self._children or (self._kill_at is None and self._due):
                self._fill_places()
                for key, events in self._selector.select(self._seconds_to_wait()):
                    if key.data is None:
                        self._heed_signals()
                        continue
                    if events & selectors.EVENT_WRITE:
                        self._write(key.data)
                    if events & selectors.EVENT_READ:
                        self._read(key.data)
                self._bury()
                self._look_at_clock()
        if self._failure:
            raise WorkersFailed(self._failure)

    @contextlib.contextmanager
    def _hearing_signals(self) -> Iterator[None]:
        heard = [*asked_to_stop_by(), signal.SIGCHLD]
        former = {each: signal.signal(each, self._heard) for each in heard}
        bell = signal.set_wakeup_fd(self._ringer.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(bell)
            for each, handler in former.items():
                signal.signal(each, handler)

    def _heard(self, number: int, _: object) -> None:
        if number != signal.SIGCHLD:
            self._signals.append(number)

    def _heed_signals(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._bell.recv(4096):
                pass
        while self._signals:
            self._end(self._signals.pop(0))

    def _end(self, number: int) -> None:
        """Ask every worker to come to its end, by the same signal."""
        if self._kill_at is None:
            if self._is_ready:
                log.info("server.stopping", workers=len(self._children))
            self._kill_at = monotonic() + STOP_SECONDS
            self._stopping()
        for child in self._children.values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, number)

    def _fill_places(self) -> None:
        if self._kill_at is not None:
            return
        now = monotonic()
        for number in [each for each, at in self._due.items() if at <= now]:
            del self._due[number]
            self._start(number)

    def _start(self, number: int) -> None:
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:
            self._not_started(number, error)
            return
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        kept = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)  # none must reach the handlers of the copy
        try:
            pid = os.fork()
        except OSError as error:
            signal.pthread_sigmask(signal.SIG_SETMASK, kept)
            for each in (ours, theirs):
                each.close()
            self._not_started(number, error)
            return
        if pid == 0:
            self._become(number, ours, theirs, kept)
        signal.pthread_sigmask(signal.SIG_SETMASK, kept)
        theirs.close()
        ours.setblocking(False)
        child = self._children[number] = _Child(number, pid, ours, monotonic())
        self._selector.register(ours, selectors.EVENT_READ, child)
        log.info("worker.started", worker=number, pid=pid)

    def _not_started(self, number: int, error: OSError) -> None:
        """The system has no room for another process now."""
        seconds = max(self._backoffs[number].after(0.0), FIRST_SECONDS)
        self._due[number] = monotonic() + seconds
        log.error("worker.not_started", worker=number, error=error.strerror, next_in_seconds=seconds)

    def _become(self, number: int, ours: socket.socket, theirs: socket.socket, kept: Iterable[int]) -> NoReturn:
        """Be the worker, in the forked process, and end with it."""
        code = _CRASHED
        try:
            signal.set_wakeup_fd(-1)
            for each in (*asked_to_stop_by(), signal.SIGCHLD):
                signal.signal(each, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, kept)
            self._selector.close()
            for opened in (ours, self._bell, self._ringer, *(child.link for child in self._children.values())):
                opened.close()
            code = self._work(number, theirs)
        except BaseException:
            log.exception("worker.crashed", worker=number)
        finally:
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(OSError, ValueError):
                    stream.flush()
            os._exit(code)  # nothing of the supervisor's own, which lies below on the stack, is to run here

    def _read(self, child: _Child) -> None:
        try:
            piece = child.link.recv(_READ)
        except BlockingIOError:
            return
        except OSError:
            piece = b""
        if not piece:  # it has ended, or will at once; `_bury` sees how
            self._selector.unregister(child.link)
            return
        try:
            for kind, payload in child.frames.feed(piece):
                self._hear(child, kind, payload)
        except (FramesBroken, msgspec.MsgspecError) as error:
            log.error("worker.link_broken", worker=child.number, error=str(error))
            if not child.is_gone:
                os.kill(child.pid, signal.SIGKILL)

    def _hear(self, child: _Child, kind: Kind, payload: bytes) -> None:
        if kind is Kind.PARCEL:
            parcel = frame(kind, payload)
            for other in self._children.values():
                if other is not child and len(other.out) < _WAITING:
                    self._say(other, parcel)
        elif kind is Kind.OPENED:
            child.is_open = True
            self._opened(child)
        elif kind is Kind.FAILED:
            child.failure = payload.decode()
        elif kind is Kind.SCRAPE:
            self._ask_all(child, payload)
        elif kind is Kind.FIGURES:
            self._figures.put(child.number, payload)
            if self._round is not None:
                self._round.lacking.discard(child.number)

    def _opened(self, child: _Child) -> None:
        """A worker could serve."""
        if self._is_ready:
            self._say(child, frame(Kind.GO))
            return
        for number in range(2, self._count + 1):
            if number not in self._children:
                self._due.setdefault(number, 0.0)
        opened = [each for each in self._children.values() if each.is_open]
        if len(opened) == self._count:
            self._is_ready = True
            self._ready()
            for each in opened:
                self._say(each, frame(Kind.GO))

    def _ask_all(self, child: _Child, question: bytes) -> None:
        if self._round is None:
            opened = [each for each in self._children.values() if each.is_open]
            self._round = _Round(monotonic() + _FIGURES_SECONDS, {each.number for each in opened})
            for each in opened:
                self._say(each, frame(Kind.FIGURES))
        self._round.asking.append((child, question))

    def _say(self, child: _Child, text: bytes) -> None:
        child.out += text
        self._write(child)

    def _write(self, child: _Child) -> None:
        try:
            sent = child.link.send(child.out) if child.out else 0
        except BlockingIOError:
            sent = 0
        except OSError:  # it has gone; its end is seen elsewhere
            child.out.clear()
            sent = 0
        del child.out[:sent]
        if child.link in self._selector.get_map():
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if child.out else 0)
            if self._selector.get_key(child.link).events != events:
                self._selector.modify(child.link, events, child)

    def _bury(self) -> None:
        """See who has ended, and how."""
        for child in list(self._children.values()):
            pid, status = os.waitpid(child.pid, os.WNOHANG)
            if not pid:
                continue
            child.is_gone = True
            while child.link in self._selector.get_map():  # its last words
                self._read(child)
            child.link.close()
            del self._children[child.number]
            self._figures.ended(child.number)
            if self._round is not None:
                self._round.lacking.discard(child.number)
                self._round.asking = [each for each in self._round.asking if each[0] is not child]
            self._ended(child, os.waitstatus_to_exitcode(status))

    def _ended(self, child: _Child, code: int) -> None:
        if self._kill_at is not None:
            if code:
                log.warning("worker.ended", worker=child.number, pid=child.pid, code=code)
            return
        if child.failure and not self._is_ready:
            self._failure = child.failure
            self._end(signal.SIGTERM)
            return
        seconds = self._backoffs[child.number].after(monotonic() - child.began)
        self._due[child.number] = monotonic() + seconds
        self._replaced += 1
        more = {"error": child.failure} if child.failure else {}
        log.error("worker.ended", worker=child.number, pid=child.pid, code=code, next_in_seconds=seconds, **more)

    def _look_at_clock(self) -> None:
        now = monotonic()
        if self._round is not None and (not self._round.lacking or now >= self._round.until):
            done, self._round = self._round, None
            text = self._figures.text(
                gauge("pilothouse_workers", "Processes of this server that serve.", self._serving()),
                counter("pilothouse_workers_replaced", "Processes of this server that ended unasked.", self._replaced),
            )
            for child, question in done.asking:
                self._say(child, frame(Kind.SCRAPED, question + text))
        if self._kill_at is not None and now >= self._kill_at:
            self._kill_at = now + STOP_SECONDS
            for child in self._children.values():
                log.error("worker.killed", worker=child.number, pid=child.pid)
                os.kill(child.pid, signal.SIGKILL)

    def _serving(self) -> int:
        return sum(child.is_open for child in self._children.values())

    def _seconds_to_wait(self) -> float | None:
        moments = list(self._due.values()) if self._kill_at is None else [self._kill_at]
        if self._round is not None:
            moments.append(self._round.until)
            if not self._round.lacking:
                return 0.0
        return max(min(moments) - monotonic(), 0.0) if moments else None
