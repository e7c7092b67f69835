"""Time. `call.clock` and `house.clock` are the only sources; times are aware UTC or epoch milliseconds."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Clock(Protocol):
    """Reads the time and waits. `TestClock` lets a test pass two hours in no time."""

    def now(self) -> datetime:
        """Current time, aware, UTC."""

    def millis(self) -> int:
        """Current time in epoch milliseconds, as it is stored."""

    async def sleep(self, seconds: float) -> None:
        """Wait by this clock."""


def monotonic() -> float:
    """Seconds since some moment, whatever happens to the clock of the machine: for how long something took."""
    return time.monotonic()


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def millis(self) -> int:
        return time.time_ns() // 1_000_000

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class TestClock:
    """The system's time plus an offset that a test moves; sleepers wake when the offset passes their due time."""

    __test__ = False

    def __init__(self) -> None:
        self._offset_ms = 0
        self._moved = asyncio.Event()

    def millis(self) -> int:
        return time.time_ns() // 1_000_000 + self._offset_ms

    def now(self) -> datetime:
        return from_millis(self.millis())

    def advance(self, **by: float) -> None:
        """Move on by `timedelta(**by)`. Call it on the event loop's thread."""
        self._offset_ms += int(timedelta(**by).total_seconds() * 1000)
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()

    async def sleep(self, seconds: float) -> None:
        due = self.millis() + int(seconds * 1000)
        await asyncio.sleep(0)  # as the system's clock, lets others go on in any case
        while (left := due - self.millis()) > 0:
            try:
                async with asyncio.timeout(left / 1000):
                    await self._moved.wait()
            except TimeoutError:
                return


def from_millis(millis: int) -> datetime:
    """Epoch milliseconds as an aware UTC time, exact to the millisecond."""
    return _EPOCH + timedelta(milliseconds=millis)


def to_millis(moment: datetime) -> int:
    """An aware time as epoch milliseconds, rounded down."""
    delta = moment - _EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1000 + delta.microseconds // 1000
