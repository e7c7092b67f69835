"""Replies on their way: each stays on disk until the server has acknowledged it, two hours at most.

deliver() is the only sender, so replies leave in the order they were put in. A reply is sent with
the same id each time; the server tells repetitions by it.
"""

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from enum import Enum
from pathlib import Path

from pilothouse_agent import log
from pilothouse_agent.state import files
from pilothouse_agent.times import now_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One reply, as sent."""

    reply_id: str
    job_id: str
    topic: str
    channel: str  # the way it goes back: "mgs" or "mds"
    created_at: int
    content: str = field(repr=False)


class Sending(Enum):
    """What became of one attempt."""

    DELIVERED = "delivered"  # acknowledged already
    SENT = "sent"  # an acknowledgement will come
    NOT_NOW = "not now"  # no way to the server


Send = Callable[[Reply], Awaitable[Sending]]


@dataclass(slots=True)
class _Waiting:
    created_at: int
    due: float = 0.0  # monotonic


class Outbox:
    """The replies that are not acknowledged. Only their ids are in memory."""

    def __init__(self, root: Path, *, retry: float, keep: float) -> None:
        self._root = files.make_private(root)
        self._retry = retry
        self._keep = keep
        self._waiting: dict[str, _Waiting] = {}
        self._work = asyncio.Event()
        self._ended: dict[str, Callable[[], None]] = {}
        self._in_memory: dict[str, Reply] = {}
        for path in sorted(root.glob("*.json"), key=lambda entry: entry.stat().st_mtime_ns):
            self._waiting[path.stem] = _Waiting(path.stat().st_mtime_ns // 1_000_000)

    def put(self, reply: Reply, ended: Callable[[], None] | None = None) -> None:
        """Keep the reply and send it as soon as there is a way. ended is called when it is done with.

        Not synced: what a power failure takes is made again from the command's own files.
        """
        try:
            files.write_json(self._path(reply.reply_id), asdict(reply), durable=False)
        except OSError as error:  # the disk is full: this life of the agent sends it, the next makes it again
            log.event("reply.not_stored", level="error", reply_id=reply.reply_id, reason=error)
            self._in_memory[reply.reply_id] = reply
        self._waiting[reply.reply_id] = _Waiting(reply.created_at)
        if ended is not None:
            self._ended[reply.reply_id] = ended
        self._work.set()

    def acknowledged(self, reply_id: str) -> None:
        """The server has it."""
        if self._waiting.pop(reply_id, None) is None:
            return
        self._in_memory.pop(reply_id, None)
        ended = self._ended.pop(reply_id, None)
        try:
            self._path(reply_id).unlink(missing_ok=True)
            if ended is not None:
                ended()
        except OSError as error:  # the next start of the agent sends it once more, with the same id
            log.event("reply.not_forgotten", level="error", reply_id=reply_id, reason=error)

    def all_due(self) -> None:
        """A way to the server has opened: send everything again, at once."""
        for waiting in self._waiting.values():
            waiting.due = 0.0
        self._work.set()

    async def deliver(self, send: Send) -> None:
        """Send what is due, for as long as the agent runs. Sleeps without waking while nothing waits."""
        while True:
            self._work.clear()
            for reply_id in [name for name, waiting in self._waiting.items() if waiting.due <= time.monotonic()]:
                await self._deliver_one(reply_id, send)
            pause = min((waiting.due for waiting in self._waiting.values()), default=None)
            try:
                async with asyncio.timeout(None if pause is None else max(pause - time.monotonic(), 0.0)):
                    await self._work.wait()
            except TimeoutError:
                continue

    async def _deliver_one(self, reply_id: str, send: Send) -> None:
        waiting = self._waiting.get(reply_id)
        if waiting is None:
            return
        if now_ms() - waiting.created_at > self._keep * 1000:
            log.event("reply.dropped", level="error", reply_id=reply_id, reason="not acknowledged for too long")
            self.acknowledged(reply_id)
            return
        reply = self._in_memory.get(reply_id)
        stored = asdict(reply) if reply else files.read_json(self._path(reply_id))
        if stored is None:
            log.event("reply.lost", level="error", reply_id=reply_id, reason="its file is missing or cut short")
            self.acknowledged(reply_id)
            return
        waiting.due = time.monotonic() + self._retry
        sending = await send(files.known(Reply, stored))
        log.event("reply.sent", job_id=stored["job_id"], reply_id=reply_id, outcome=sending.value)
        if sending is Sending.DELIVERED:
            self.acknowledged(reply_id)

    def _path(self, reply_id: str) -> Path:
        return self._root / f"{uuid.UUID(reply_id)}.json"
