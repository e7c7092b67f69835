"""The dispatcher: brings due messages to the control channels of this process.

Wake-ups name nodes; they are served in batches, one transaction each, and only after its commit do the frames leave.
While answers wait to be stored nothing more is sent: a node waits for the receipt of its reply for a second only.
A slow sweep finds what no wake-up told of: redeliveries, back-offs, and wake-ups that were lost.
"""

import asyncio
from collections.abc import Sequence

import structlog

from pilothouse.call import House
from pilothouse.gateway import outbox
from pilothouse.gateway.channels import Channels
from pilothouse.gateway.delivery import Senders, Which, take
from pilothouse.gateway.intake import Intake
from pilothouse.runtime.waiting import wait
from pilothouse.storage import StorageUnavailable

log = structlog.get_logger()

BATCH = 128
"""Nodes served by one transaction. Twice as many cost each no less, and wait twice as long for receipts."""
SWEEP_SECONDS = 5.0
_TRY_AGAIN_SECONDS = 0.5

_DUE_NODES = """select distinct m.node_id from outbox_message m join node_channel c on c.node_id = m.node_id
where c.process_id = :process_id and m.next_at <= :now limit 2000"""


class Dispatcher:
    """One per process. Nodes wait in two queues: those with due messages, and those that have just connected."""

    def __init__(
        self, house: House, senders: Senders, channels: Channels, intake: Intake, process_id: str
    ) -> None:  # fmt: skip
        self._house = house
        self._senders = senders
        self._channels = channels
        self._intake = intake
        self._process_id = process_id
        self._due: dict[str, None] = {}
        self._opened: dict[str, None] = {}
        self._woken = asyncio.Event()
        house.bus.listen(outbox.WAKE, self._wake)

    def _wake(self, node_id: str) -> None:
        if self._is_offered(node_id):
            self._due[node_id] = None
            self._woken.set()

    def _is_offered(self, node_id: str) -> bool:
        channel = self._channels.get(node_id)
        return channel is not None and channel.offered

    def channel_opened(self, node_id: str) -> None:
        """Offer the node everything that waits for it."""
        self._opened[node_id] = None
        self._woken.set()

    async def run(self) -> None:
        """Serve until cancelled."""
        next_sweep = 0
        while True:
            now = self._house.clock.millis()
            if now >= next_sweep:
                next_sweep = now + int(SWEEP_SECONDS * 1000)
                await self._sweep()
            while self._due or self._opened:
                await self._intake.keeps_up()
                await self._serve(self._opened, "all")
                await self._serve(self._due, "due")
            self._woken.clear()
            await wait(self._house.clock, self._woken, (next_sweep - self._house.clock.millis()) / 1000)

    async def _sweep(self) -> None:
        if not len(self._channels):
            return
        try:
            async with self._house.database.reading() as tx:
                rows = await tx.rows(_DUE_NODES, process_id=self._process_id, now=self._house.clock.millis())
        except StorageUnavailable as error:
            log.warning("dispatcher.storage_unavailable", error=str(error))
            return
        self._due.update({row["node_id"]: None for row in rows if self._is_offered(row["node_id"])})

    async def _serve(self, queue: dict[str, None], which: Which) -> None:
        nodes = [node for _, node in zip(range(BATCH), queue, strict=False)]
        for node in nodes:
            del queue[node]
        if which == "all":
            nodes = [node for node in nodes if node in self._channels]
            for channel in filter(None, map(self._channels.get, nodes)):
                channel.offered = True
        else:
            nodes = [node for node in nodes if self._is_offered(node)]
        if not nodes:
            return
        try:
            await self._dispatch(nodes, which)
        except StorageUnavailable as error:
            log.warning("dispatcher.storage_unavailable", nodes=len(nodes), error=str(error))
            queue.update(dict.fromkeys(nodes))
            await self._house.clock.sleep(_TRY_AGAIN_SECONDS)
        except Exception:
            if len(nodes) == 1:
                log.exception("dispatcher.node_failed", node_id=nodes[0])
                return
            log.warning("dispatcher.batch_split", nodes=len(nodes))
            for node in nodes:
                await self._serve({node: None}, which)

    async def _dispatch(self, nodes: Sequence[str], which: Which) -> None:
        async with self._house.database.transaction() as tx:
            going, _ = await take(self._house, tx, self._senders, nodes, which=which, via="mgs")
        for message in going:
            self._channels.send(self._house, message)
