"""A process that shares the work of what is due, by a clock that stands in a file. `python -m … URL CLOCK NAME`.

Each firing leaves a row; nothing but the scheduler keeps two of them from being of the same time.
"""

import asyncio
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from pilothouse.call import House
from pilothouse.runtime.bus import Bus
from pilothouse.scheduling.due import Scheduler
from pilothouse.scheduling.firing import Due
from pilothouse.storage import StorageUnavailable, Transaction
from pilothouse.storage.engines import open_database

PERIOD = 1000


class FileClock:
    """Milliseconds in a file, which somebody else moves on."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def millis(self) -> int:
        return int(self._path.read_text())

    async def sleep(self, seconds: float) -> None:
        due = self.millis() + int(seconds * 1000)
        while self.millis() < due:
            await asyncio.sleep(0.005)


async def fired(house: House, tx: Transaction, due: Due) -> int | None:
    """Note it; it is due again a period later."""
    await tx.execute(
        "insert into fired (fired_key, due_at, late_ms, process) values (:key, :at, :late, :process)",
        key=due.key, at=due.at, late=due.late_ms, process=house.process_id,
    )  # fmt: skip
    return due.at + PERIOD


async def main(url: str, clock: str, name: str) -> None:
    database = await open_database(url)
    house: Any = SimpleNamespace(database=database, clock=FileClock(Path(clock)), bus=Bus(), process_id=name)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while True:
        try:
            await Scheduler({"tick": fired}).run(house)
        except (StorageUnavailable, ExceptionGroup):
            await asyncio.sleep(0.01)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:4]))
