"""`pilothouse serve` by a clock that a test puts forward: `python -m tests.acceptance.driven_server FILE serve …`.

The file holds the milliseconds by which the server's clock is ahead of the machine's. Nothing else of it is different.
"""

import asyncio
import sys
import time
from datetime import datetime
from pathlib import Path

import pilothouse.app
from pilothouse.cli.main import main
from pilothouse.runtime.clock import from_millis

LOOK_SECONDS = 0.05


class AheadClock:
    """The machine's clock, and what the file says."""

    file: Path

    def millis(self) -> int:
        return time.time_ns() // 1_000_000 + int(self.file.read_text() or 0)

    def now(self) -> datetime:
        return from_millis(self.millis())

    async def sleep(self, seconds: float) -> None:
        due = self.millis() + int(seconds * 1000)
        await asyncio.sleep(0)
        while (left := due - self.millis()) > 0:
            await asyncio.sleep(min(left / 1000, LOOK_SECONDS))


if __name__ == "__main__":
    AheadClock.file = Path(sys.argv.pop(1))
    pilothouse.app.SystemClock = AheadClock  # type: ignore[misc]  # the one place where a server takes its clock
    main()
