"""The intake of extensions: what our agents say beyond the protocol, handed to those who hear it many at once.

What does not fit the queue, or cannot be stored, is dropped: by the rules of every extension the agent says it again.
"""

import asyncio
from collections.abc import Mapping
from typing import Final

import structlog

from pilothouse.call import Extension, House, Said
from pilothouse.storage import Conflict, StorageUnavailable

log = structlog.get_logger()

_WAITING: Final = 512
_BATCH: Final = 256


class ExtensionIntake:
    """One queue and one task for all channels of a process."""

    def __init__(self, house: House, extensions: Mapping[str, Extension]) -> None:
        self._house = house
        self._hear = {kind: hear for each in extensions.values() for kind, hear in each.messages.items()}
        self._waiting: asyncio.Queue[tuple[str, Said]] = asyncio.Queue(_WAITING)

    def put(self, message_type: str, said: Said) -> None:
        """Queue a message; returns at once."""
        try:
            self._waiting.put_nowait((message_type, said))
        except asyncio.QueueFull:
            log.info("extension.dropped", message_type=message_type, node_id=said.node_id)

    async def run(self) -> None:
        """Hand over until cancelled."""
        while True:
            batch = [await self._waiting.get()]
            while len(batch) < _BATCH and not self._waiting.empty():
                batch.append(self._waiting.get_nowait())
            for kind in dict.fromkeys(kind for kind, _ in batch):
                await self._hand_over(kind, [said for each, said in batch if each == kind])

    async def _hand_over(self, kind: str, said: list[Said]) -> None:
        try:
            await self._hear[kind](self._house, said)
        except (StorageUnavailable, Conflict) as error:
            log.info("extension.not_stored", message_type=kind, messages=len(said), error=type(error).__name__)
        except Exception:
            if len(said) == 1:
                log.exception("extension.message_failed", message_type=kind, node_id=said[0].node_id)
                return
            for each in said:
                await self._hand_over(kind, [each])
