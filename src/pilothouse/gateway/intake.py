"""The intake: acknowledgements and replies of all nodes, made durable in batches, then receipted.

While one batch commits, the next one gathers; so the more nodes report at once, the more share one commit. A batch
that fails by a fault of one answer is repeated one by one, and only that answer is dropped, unreceipted: the node sends
it again. While the database is away the batch is kept and tried again.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

import structlog

from pilothouse.call import House
from pilothouse.gateway.delivery import Answer, Senders, answered
from pilothouse.storage import StorageUnavailable

log = structlog.get_logger()

BATCH = 512
"""Answers to one commit: what the nodes of one transaction of the dispatcher say."""
QUEUE = 20_000
"""Answers that may wait; beyond, the channels that bring more are not read on."""
_TRIES = 40
_TRY_AGAIN_SECONDS = 0.5


class IntakeFailed(Exception):
    """The answer could not be stored; the node should send it again."""


class Entry(NamedTuple):
    """An answer and what to do once it is durable, or for good not."""

    answer: Answer
    stored: Callable[[], None]
    failed: Callable[[], None]


class Intake:
    """One queue and one writer for all channels of a process."""

    def __init__(self, house: House, senders: Senders) -> None:
        self._house = house
        self._senders = senders
        self._waiting: deque[Entry] = deque()
        self._some = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._behind: list[asyncio.Future[None]] = []
        """Those that wait for it to keep up."""
        self._held: list[Callable[[], None]] = []
        """What waits for room."""

    def put(self, answer: Answer, stored: Callable[[], None], failed: Callable[[], None] = lambda: None) -> None:
        """Queue an answer. The callbacks return at once. Whoever brings many looks at `is_full` between them."""
        self._waiting.append(Entry(answer, stored, failed))
        self._some.set()

    @property
    def is_full(self) -> bool:
        """Whether so many wait that no further ones should be brought until `when_room` calls."""
        return len(self._waiting) >= QUEUE

    async def keeps_up(self) -> None:
        """Wait while more answers wait than one commit takes: whoever makes nodes answer should not go on."""
        while len(self._waiting) > BATCH:
            behind = self._loop.create_future()
            self._behind.append(behind)
            await behind

    def when_room(self, action: Callable[[], None]) -> None:
        """Call this once fewer wait."""
        self._held.append(action)

    async def store(self, answer: Answer) -> None:
        """Queue an answer, once there is room, and wait until it is durable. Raises IntakeFailed."""
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        def settle(outcome: bool) -> None:
            if not done.done():
                done.set_result(outcome)

        def put() -> None:
            self.put(answer, lambda: settle(True), lambda: settle(False))

        if self.is_full:
            self.when_room(put)
        else:
            put()
        if not await done:
            raise IntakeFailed

    async def run(self) -> None:
        """Store answers until cancelled."""
        batch: list[Entry] = []
        try:
            while True:
                await self._some.wait()
                batch = self._next(BATCH)
                if not self._waiting:
                    self._some.clear()
                self._let_go()
                await self._store(batch)
        finally:  # whoever waits is told; the nodes send again
            for entry in [*batch, *self._waiting]:
                entry.failed()

    def _let_go(self) -> None:
        if self._behind and len(self._waiting) <= BATCH:
            behind, self._behind = self._behind, []
            for each in behind:
                if not each.done():
                    each.set_result(None)
        if self._held and not self.is_full:
            held, self._held = self._held, []
            for action in held:
                action()

    def _next(self, most: int) -> list[Entry]:
        return [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]

    async def _store(self, batch: Sequence[Entry]) -> None:
        for attempt in range(_TRIES):
            try:
                async with self._house.database.transaction() as tx:
                    await answered(self._house, tx, self._senders, [entry.answer for entry in batch])
            except StorageUnavailable as error:
                log.warning("intake.storage_unavailable", answers=len(batch), attempt=attempt, error=str(error))
                await self._house.clock.sleep(_TRY_AGAIN_SECONDS)
            except Exception:
                if len(batch) == 1:
                    log.exception("intake.answer_dropped", wire_id=batch[0].answer.wire_id)
                    batch[0].failed()
                    return
                log.warning("intake.batch_split", answers=len(batch))
                for entry in batch:
                    await self._store([entry])
                return
            else:
                for entry in batch:
                    entry.stored()
                return
        for entry in batch:
            entry.failed()
