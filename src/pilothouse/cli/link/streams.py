"""Descriptors of this process, read and written by threads: they may be files, terminals, or pipes that block."""

import asyncio
import os
import queue
import threading
from collections.abc import Callable
from typing import Final

_READ: Final = 65_536
_PIECES: Final = 4
"""So many pieces are read ahead."""
_BATCH: Final = 256 * 1024


class Intake:
    """Reads a descriptor to its end, as fast as `next` asks."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._loop = asyncio.get_running_loop()
        self._pieces: asyncio.Queue[bytes] = asyncio.Queue()
        self._room = threading.Semaphore(_PIECES)
        threading.Thread(target=self._read, name="input", daemon=True).start()

    def _read(self) -> None:
        data = b"-"
        while data:
            self._room.acquire()
            try:
                data = os.read(self._descriptor, _READ)
            except OSError:  # EIO: the terminal is gone
                data = b""
            try:
                self._loop.call_soon_threadsafe(self._pieces.put_nowait, data)
            except RuntimeError:  # the loop has ended
                return

    async def next(self) -> bytes:
        """What was read; empty at the end."""
        data = await self._pieces.get()
        self._room.release()
        return data


class Outlet:
    """Writes to descriptors, each thing in its turn."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting: queue.SimpleQueue[tuple[int, bytes, Callable[[], None]] | None] = queue.SimpleQueue()
        self._pending = 0
        self._emptied = asyncio.Event()
        self._emptied.set()
        self.broken = asyncio.Event()
        """Nobody reads any more."""
        threading.Thread(target=self._write, name="output", daemon=True).start()

    def put(self, descriptor: int, data: bytes, used: Callable[[], None]) -> None:
        """Write; `used` is called when that is done."""
        self._pending += 1
        self._emptied.clear()
        self._waiting.put((descriptor, data, used))

    async def emptied(self) -> None:
        """Wait until all is written, or nobody reads."""
        while self._pending and not self.broken.is_set():
            self._emptied.clear()
            await self._emptied.wait()

    def _write(self) -> None:
        ahead: tuple[int, bytes, Callable[[], None]] | None = None
        while True:
            first = ahead or self._waiting.get()
            ahead = None
            if first is None:
                return
            descriptor, data, used = first
            done, parts, size = [used], [data], len(data)
            while size < _BATCH:
                try:
                    following = self._waiting.get_nowait()
                except queue.Empty:
                    break
                if following is None or following[0] != descriptor:
                    ahead = following
                    break
                done.append(following[2])
                parts.append(following[1])
                size += len(following[1])
            try:
                _write_whole(descriptor, b"".join(parts))
            except OSError:
                self._tell(self._broke)
                return
            self._tell(self._wrote, done)

    def _tell(self, what: Callable[..., None], *of: object) -> None:
        try:
            self._loop.call_soon_threadsafe(what, *of)
        except RuntimeError:  # the loop has ended
            return

    def _wrote(self, done: list[Callable[[], None]]) -> None:
        self._pending -= len(done)
        for used in done:
            used()
        if not self._pending:
            self._emptied.set()

    def _broke(self) -> None:
        self.broken.set()
        self._emptied.set()


def _write_whole(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
