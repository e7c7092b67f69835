"""A worker's side of the link: it tells when it could serve, carries wake-ups and figures, ends with its supervisor."""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import structlog

from pilothouse.runtime.bus import LinkDown
from pilothouse.runtime.metrics import FiguresMissing
from pilothouse.runtime.waiting import first_of
from pilothouse.workers.figures import figures
from pilothouse.workers.frames import Frames, FramesBroken, Kind, frame

log = structlog.get_logger()

_READ: Final = 64 << 10
_WAITING: Final = 8 << 20
"""Bytes that may wait for a supervisor that does not read."""
_ASK_SECONDS: Final = 3.0


class Worker:
    """One of several processes of a server. It is also the `Link` of its bus."""

    def __init__(self, number: int, link: socket.socket) -> None:
        self.number = number
        self._socket = link
        self._writer: asyncio.StreamWriter | None = None
        self._go = asyncio.Event()
        self._received: Callable[[bytes], None] | None = None
        self._questions: dict[bytes, asyncio.Future[bytes]] = {}
        self._asked = 0

    @asynccontextmanager
    async def linked(self) -> AsyncIterator[None]:
        """Talk to the supervisor while the block lasts."""
        reader, self._writer = await asyncio.open_unix_connection(sock=self._socket)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self._listen(reader), name="supervisor")
            try:
                yield
            finally:
                task.cancel()
                writer, self._writer = self._writer, None
                with contextlib.suppress(OSError):
                    await writer.drain()
                writer.close()

    def failed(self, text: str) -> None:
        """It cannot start."""
        self._say(Kind.FAILED, text.encode())

    async def may_serve(self, stopping: asyncio.Event) -> None:
        """Say that all is open, and wait until it is this worker's turn to serve, or it is to stop."""
        self._say(Kind.OPENED)
        await first_of(self._go, stopping)

    async def run(self, received: Callable[[bytes], None]) -> None:
        self._received = received
        try:
            await asyncio.Event().wait()
        finally:
            self._received = None

    async def send(self, parcel: bytes) -> None:
        if self._writer is None or self._writer.transport.get_write_buffer_size() > _WAITING:
            raise LinkDown("the supervisor does not read")
        self._say(Kind.PARCEL, parcel)

    async def metrics(self) -> bytes:
        """The figures of all workers together, in Prometheus' text form. Raises FiguresMissing."""
        self._asked += 1
        question = self._asked.to_bytes(8)
        answer: asyncio.Future[bytes]
        answer = self._questions[question] = asyncio.get_running_loop().create_future()
        try:
            self._say(Kind.SCRAPE, question)
            async with asyncio.timeout(_ASK_SECONDS):
                return await answer
        except TimeoutError as error:
            raise FiguresMissing("the other workers do not answer") from error
        finally:
            del self._questions[question]

    def _say(self, kind: Kind, payload: bytes = b"") -> None:
        if self._writer is not None:
            self._writer.write(frame(kind, payload))

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        frames = Frames()
        try:
            while piece := await reader.read(_READ):
                for kind, payload in frames.feed(piece):
                    self._hear(kind, payload)
        except (OSError, FramesBroken) as error:
            log.error("worker.link_broken", error=str(error))
        log.error("worker.supervisor_gone")
        os._exit(1)  # as if killed with it: who starts the server anew finds its ports and its data directory free

    def _hear(self, kind: Kind, payload: bytes) -> None:
        if kind is Kind.GO:
            self._go.set()
        elif kind is Kind.PARCEL:
            if self._received is not None:
                self._received(payload)
        elif kind is Kind.FIGURES:
            self._say(Kind.FIGURES, figures())
        elif kind is Kind.SCRAPED:
            answer = self._questions.get(payload[:8])
            if answer is not None and not answer.done():
                answer.set_result(payload[8:])
