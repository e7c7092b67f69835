"""Taping: what all sessions of a process want recorded, made durable together.

While one batch commits the next gathers, so many sessions share a commit and none waits for more than two. While the
database is away a batch is tried again for a moment; then whoever wants it is told that it is not durable.
"""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from pilothouse.call import House
from pilothouse.gateway.session_keeper import SessionKeeper, Tape
from pilothouse.storage import StorageUnavailable

log = structlog.get_logger()

_TRIES: Final = 6
_TRY_AGAIN_SECONDS: Final = 0.5

Done = Callable[[bool], None]


class Taping:
    """One queue and one writer for all pairs of a process."""

    def __init__(self, house: House, keeper: SessionKeeper) -> None:
        self._house = house
        self._keeper = keeper
        self._waiting: list[tuple[Tape, Done]] = []
        self._some = asyncio.Event()

    def put(self, tape: Tape, done: Done) -> None:
        """Queue it; `done` is called once it is durable, or given up."""
        self._waiting.append((tape, done))
        self._some.set()

    async def run(self) -> None:
        """Record until cancelled."""
        while True:
            await self._some.wait()
            self._some.clear()
            batch, self._waiting = self._waiting, []
            durable = await self._stored([tape for tape, _ in batch])
            for _, done in batch:
                done(durable)

    async def _stored(self, tapes: list[Tape]) -> bool:
        for attempt in range(_TRIES):
            try:
                await self._keeper.tape(self._house, tapes)
            except StorageUnavailable as error:
                log.warning("session.not_recorded", sessions=len(tapes), attempt=attempt, error=str(error))
                await self._house.clock.sleep(_TRY_AGAIN_SECONDS)
            except Exception:
                log.exception("session.recording_failed", sessions=len(tapes))
                return False
            else:
                return True
        return False
