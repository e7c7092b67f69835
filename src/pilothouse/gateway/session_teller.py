"""Tells nodes on their control channels, as its keeper says, that a session begins or ends, and the keeper of ends.

A wake-up names the node; a node whose channel has just opened is looked at anyway, and a slow sweep finds what no
wake-up told of.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

import structlog

from pilothouse.call import House
from pilothouse.gateway.channels import Channels
from pilothouse.gateway.session_keeper import NODE, SessionKeeper
from pilothouse.gateway.session_messages import TaskComplete
from pilothouse.runtime.waiting import wait
from pilothouse.storage import StorageUnavailable

log = structlog.get_logger()

_SWEEP_SECONDS: Final = 5.0
_TRY_AGAIN_SECONDS: Final = 0.5
_MOST_ENDS: Final = 10_000
"""Ends of sessions that wait to be stored. What comes beyond is dropped: without a receipt a node says it again."""
Node = tuple[str, str, str]
"""Account, region and id."""


class SessionTeller:
    """One per process, for the control channels that it holds."""

    def __init__(self, house: House, keeper: SessionKeeper, channels: Channels) -> None:
        self._house = house
        self.keeper = keeper
        self._channels = channels
        self._wanted: dict[str, bool] = {}
        """Nodes to look at, and whether their channel is new."""
        self._ended: deque[tuple[Node, TaskComplete, Callable[[], None]]] = deque()
        self._woken = asyncio.Event()
        house.bus.listen(NODE, self._wake)

    def _wake(self, node_id: str) -> None:
        if node_id in self._channels:
            self._wanted.setdefault(node_id, False)
            self._woken.set()

    def channel_opened(self, node_id: str) -> None:
        """Look at what the node must be told."""
        self._wanted[node_id] = True
        self._woken.set()

    def completed(self, node: Node, ended: TaskComplete, stored: Callable[[], None]) -> None:
        """A node says that a session has ended; `stored` is called once that is durable."""
        if len(self._ended) < _MOST_ENDS:
            self._ended.append((node, ended, stored))
            self._woken.set()

    async def run(self) -> None:
        """Tell until cancelled."""
        next_sweep = 0
        while True:
            now = self._house.clock.millis()
            if now >= next_sweep:
                next_sweep = now + int(_SWEEP_SECONDS * 1000)
                await self._sweep()
            while self._ended:
                await self._complete(*self._ended.popleft())
            while self._wanted:
                node_id, opened = self._wanted.popitem()
                await self._tell(node_id, opened)
            self._woken.clear()
            await wait(self._house.clock, self._woken, (next_sweep - self._house.clock.millis()) / 1000)

    async def _complete(self, node: Node, ended: TaskComplete, stored: Callable[[], None]) -> None:
        try:
            await self.keeper.completed(self._house, node, ended)
        except StorageUnavailable as error:  # the node says it again
            log.warning("session_teller.storage_unavailable", node_id=node[2], error=str(error))
        except Exception:
            log.exception("session_teller.end_failed", node_id=node[2])
        else:
            stored()

    async def _sweep(self) -> None:
        if not len(self._channels):
            return
        try:
            nodes = await self.keeper.untold(self._house)
        except StorageUnavailable as error:
            log.warning("session_teller.storage_unavailable", error=str(error))
            return
        for node_id in nodes:
            self._wake(node_id)

    async def _tell(self, node_id: str, opened: bool) -> None:
        channel = self._channels.get(node_id)
        if channel is None or not channel.is_ready:
            return  # `channel_opened` follows
        try:
            tellings = await self.keeper.tellings(self._house, node_id, channel.channel_id, opened=opened)
        except StorageUnavailable as error:
            log.warning("session_teller.storage_unavailable", node_id=node_id, error=str(error))
            self._wanted[node_id] = opened
            await self._house.clock.sleep(_TRY_AGAIN_SECONDS)
            return
        except Exception:
            log.exception("session_teller.failed", node_id=node_id)
            return
        for telling in tellings:
            channel.put(telling.message_type, telling.payload, self._house)
