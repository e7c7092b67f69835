"""Lines that leave the server for good: appended to a file, or sent to a syslog receiver.

Both may hang for as long as the machine likes (a network file system, a receiver that reads no more): callers bound the
time, and a line writer whose last call has not come back refuses at once.
"""

import asyncio
import os
import socket
import ssl
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

from pilothouse.runtime.files import sync_folder


class LinesRefused(Exception):
    """The lines were not taken, or nobody knows; the text says why."""


class FileLines:
    """A file that only grows. It is opened anew each time, so that it may be moved away."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="lines")
        self._busy = False

    async def write(self, lines: Sequence[bytes]) -> None:
        """Append the lines durably; with none, see that it could be done. Raises LinesRefused."""
        if self._busy:
            raise LinesRefused(f"{self._path} has not answered yet")
        self._busy = True

        def done(_: object) -> None:
            self._busy = False

        work = asyncio.get_running_loop().run_in_executor(self._thread, self._append, lines)
        work.add_done_callback(done)
        try:
            await asyncio.shield(work)
        except OSError as error:
            raise LinesRefused(f"{self._path}: {error.strerror}") from error

    async def close(self) -> None:
        """Give the thread back. One that hangs is left to itself."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _append(self, lines: Sequence[bytes]) -> None:
        flags = (
            os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK
        )  # a pipe nobody reads must not hang
        descriptor = os.open(self._path, flags, 0o600)
        try:
            if not lines:
                return
            size = os.fstat(descriptor).st_size
            broken = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"  # a writer died within a line
            data = memoryview((b"\n" if broken else b"") + b"".join(line + b"\n" for line in lines))
            while data:
                data = data[os.write(descriptor, data) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class SyslogLines:
    """A syslog receiver: `syslog:///dev/log` (datagrams), `syslog+tcp://host:514`, `syslog+tls://host:6514`."""

    def __init__(self, url: str) -> None:
        """Raises ValueError for a URL of another form."""
        split = urlsplit(url)
        self._kind = split.scheme.partition("+")[2] or "unix"
        self._name = split.hostname or split.path
        self._port = split.port or (6514 if self._kind == "tls" else 514)
        if self._kind not in {"unix", "tcp", "tls"} or not self._name or (self._kind == "unix") != (not split.hostname):
            raise ValueError(f"{url} is none of syslog:///path, syslog+tcp://host:port, syslog+tls://host:port")
        self._writer: asyncio.StreamWriter | None = None
        self._reader: asyncio.StreamReader | None = None

    async def write(self, lines: Sequence[bytes]) -> None:
        """Send each line as one message that has its header already. Raises LinesRefused."""
        try:
            if self._kind == "unix":
                self._datagrams(lines)
            else:
                await self._stream(lines)
        except (OSError, ssl.SSLError) as error:
            await self.close()
            raise LinesRefused(f"the syslog receiver at {self._name} cannot be reached: {error}") from error

    async def close(self) -> None:
        """End the connection."""
        writer, self._writer, self._reader = self._writer, None, None
        if writer is not None:
            writer.transport.abort()

    def _datagrams(self, lines: Sequence[bytes]) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.connect(self._name)
            for line in lines:
                sender.send(line)

    async def _stream(self, lines: Sequence[bytes]) -> None:
        if self._reader is not None and self._reader.at_eof():
            await self.close()
        if self._writer is None:
            context = ssl.create_default_context() if self._kind == "tls" else None
            self._reader, self._writer = await asyncio.open_connection(self._name, self._port, ssl=context)
        for line in lines:
            self._writer.write(b"%d %s" % (len(line), line))
        try:
            await self._writer.drain()
        except BaseException:
            await self.close()  # part of a message may be out
            raise


class Journal:
    """Lines that are durable at once and taken up in bulk later: files of one folder, each taken up whole.

    One process at a time works with the folder. What a killed one left behind is among the files of the next.
    """

    def __init__(self, folder: Path, name: str, *, former: Sequence[Path] = ()) -> None:
        """`name` is one that no other process of the folder has or had. `former`: folders that nobody works with any
        more."""
        self._folder, self._name = folder, name
        self._folders = (folder, *former)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="journal")
        self._number = 0
        self._descriptor: int | None = None

    def append(self, lines: Sequence[bytes]) -> "asyncio.Future[None]":
        """Add lines, each with its end; done when they are durable.

        It ends with OSError where they are not; part of them may be there then. Raises RuntimeError once it is closed.
        """
        return asyncio.get_running_loop().run_in_executor(self._thread, self._append, lines)

    async def turn(self) -> list[Path]:
        """Begin a new file with the next line; the files before it, oldest first."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._turn)

    def close(self) -> None:
        """Let go of the file and the thread."""
        self._thread.submit(self._end)
        self._thread.shutdown()

    def _append(self, lines: Sequence[bytes]) -> None:
        if self._descriptor is None:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._number += 1
            file = self._folder / f"{time.time_ns():020}-{self._name}-{self._number:08}.lines"
            self._descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
            sync_folder(self._folder)
        data = memoryview(b"".join(lines))
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
            os.fdatasync(self._descriptor)
        except OSError:
            self._end()  # a torn line must not have another behind it
            raise

    def _turn(self) -> list[Path]:
        self._end()
        found = [file for folder in self._folders if folder.is_dir() for file in folder.glob("*.lines")]
        return sorted(found, key=lambda file: file.name)

    def _end(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)
