"""Descriptors of a program, or of a TCP connection, between which and the channel bytes go, without waiting.

What is read goes out as long as the channel has room; what is written waits here, counted in the backlog.
"""

import asyncio
import contextlib
import os
from collections import deque
from collections.abc import Callable

from pilothouse_agent.sessions.channel import Backlog, DataChannel

READ = 122_864
"""What fills a message of a tunnel of the largest size, in two frames."""


class Source:
    """Reads a descriptor while the channel has room. The descriptor is closed by its owner."""

    def __init__(self, descriptor: int, channel: DataChannel, emit: Callable[[bytes], None], most: int = READ) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor
        self._channel = channel
        self._emit = emit
        self._loop = asyncio.get_running_loop()
        self._reading = self._waiting = False
        self._most = most
        self.over = asyncio.Event()
        """All was read, or the other side is gone."""
        self._seen = False  # something came since rest() looked
        self._go_on()

    def _go_on(self) -> None:
        self._waiting = False
        if self.over.is_set() or self._reading:
            return
        if self._channel.has_room:
            self._reading = True
            self._loop.add_reader(self._descriptor, self._readable)
        else:
            self._waiting = True
            self._channel.when_room(self._go_on)

    def _readable(self) -> None:
        try:
            data = os.read(self._descriptor, self._most)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:  # EIO: the terminal has no other end any more; ECONNRESET
            data = b""
        if not data:
            self.stop()
            return
        self._seen = True
        self._emit(data)
        if not self._channel.has_room:
            self._rest()
            self._go_on()

    def _rest(self) -> None:
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._descriptor)

    def stop(self) -> None:
        """Read no more."""
        self._rest()
        self.over.set()

    async def rest(self, silence: float) -> None:
        """All that a program that has ended has left; so many seconds of silence if others hold the other end open."""
        while not self.over.is_set():
            if not self._channel.has_room:
                await self._channel.room()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(silence):
                    await self.over.wait()
                    return
            if self._channel.has_room and not self._seen:
                return
            self._seen = False


class Sink:
    """Writes to a descriptor in order, as it takes it."""

    def __init__(self, descriptor: int, backlog: Backlog, when_over: Callable[[], None] | None = None) -> None:
        """when_over is called once: the descriptor may be closed."""
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor
        self._backlog = backlog
        self._when_over = when_over
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[memoryview] = deque()
        self._writing = self._ending = self._held = False
        self.over = asyncio.Event()
        """It is closed, or takes no more."""

    def put(self, data: bytes | memoryview) -> None:
        if self._ending or self.over.is_set():
            return
        self._backlog.add(len(data))
        self._waiting.append(memoryview(data))
        if not (self._writing or self._held):
            self._writable()

    def hold(self, seconds: float) -> None:
        """Write nothing before `release`, or so many seconds from now."""
        self._held = True
        self._loop.call_later(seconds, self.release)

    def release(self) -> None:
        """Write what was put meanwhile."""
        if self._held:
            self._held = False
            if self._waiting:
                self._writable()

    def end(self) -> None:
        """Over when all that was put is written."""
        self._ending = True
        if not self._waiting:
            self.stop()

    def stop(self) -> None:
        """Forget what is not written."""
        left = sum(len(piece) for piece in self._waiting)
        self._waiting.clear()
        self._watch(on=False)
        if not self.over.is_set():
            self.over.set()
            if self._when_over is not None:
                self._when_over()
        if left:
            self._backlog.less(left)

    def _writable(self) -> None:
        written = 0
        try:
            while self._waiting:
                piece = self._waiting[0]
                count = os.write(self._descriptor, piece)
                written += count
                if count < len(piece):
                    self._waiting[0] = piece[count:]
                else:
                    self._waiting.popleft()
        except (BlockingIOError, InterruptedError):
            pass
        except OSError:  # whoever reads is gone
            self._backlog.less(written)
            self.stop()
            return
        if written:
            self._backlog.less(written)
        self._watch(on=bool(self._waiting))
        if self._ending and not self._waiting:
            self.stop()

    def _watch(self, *, on: bool) -> None:
        if on == self._writing:
            return
        self._writing = on
        if on:
            self._loop.add_writer(self._descriptor, self._writable)
        else:
            with contextlib.suppress(OSError):
                self._loop.remove_writer(self._descriptor)


def pieces(data: bytes, size: int) -> list[bytes]:
    """The bytes in messages of at most so many."""
    return [data] if len(data) <= size else [data[start : start + size] for start in range(0, len(data), size)]
