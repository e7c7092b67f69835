"""Schedule expressions: `rate(…)`, `cron(…)` and `at(…)`, and the moments at which one is due.

The moments are a function of the timetable alone, so every process, and a node as well, finds the same ones. Moments
are epoch milliseconds, on whole seconds except for those of rates.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import islice
from typing import Final

from pilothouse.runtime.clock import from_millis, to_millis
from pilothouse.scheduling.cron import FIRST_YEAR, LAST_YEAR, Cron, ScheduleInvalid, parse_cron
from pilothouse.scheduling.zones import moment_of, wall_at

__all__ = ["At", "Cron", "Expression", "Rate", "ScheduleInvalid", "Timetable", "parse", "shortest_gap"]

_RATE = re.compile(r"rate\(\s*([0-9]{1,9})\s+(minute|hour|day)(s?)\s*\)")
_CRON = re.compile(r"cron\(([^()]*)\)")
_AT = re.compile(r"at\(\s*([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})\s*\)")
_UNITS: Final = {"minute": 60, "hour": 3600, "day": 86_400}
_SECOND: Final = timedelta(seconds=1)
_NEVER: Final = to_millis(datetime(LAST_YEAR + 1, 1, 2, tzinfo=UTC))
"""Nothing is due from here on, whatever its zone."""


@dataclass(frozen=True, slots=True)
class Rate:
    """Again and again after so many seconds."""

    seconds: int


@dataclass(frozen=True, slots=True)
class At:
    """Once, when the clock on the wall shows this."""

    wall: datetime


Expression = Rate | Cron | At


def parse(text: str) -> Expression:
    """The expression that the text is. Raises ScheduleInvalid, with a text that names what is wrong."""
    if found := _CRON.fullmatch(text):
        return parse_cron(found[1])
    if found := _RATE.fullmatch(text):
        return _rate(int(found[1]), found[2], plural=bool(found[3]))
    if found := _AT.fullmatch(text):
        return _at(*(int(part) for part in found.groups()))
    kind = text.partition("(")[0]
    if kind == "rate":
        raise ScheduleInvalid(
            "A rate is written rate(number unit) with the unit minutes, hours or days: rate(30 minutes)."
        )
    if kind == "at":
        raise ScheduleInvalid("A single time is written at(yyyy-mm-ddThh:mm:ss): at(2026-07-07T15:55:00).")
    if kind == "cron":
        raise ScheduleInvalid(
            "A cron expression is written cron(fields) with one pair of parentheses around its fields."
        )
    raise ScheduleInvalid("A schedule expression is rate(…), cron(…) or at(…), in small letters.")


def _rate(number: int, unit: str, *, plural: bool) -> Rate:
    if number == 0:
        raise ScheduleInvalid("The number of a rate is at least 1.")
    if plural == (number == 1):
        right = f"{number} {unit}" if number == 1 else f"{number} {unit}s"
        raise ScheduleInvalid(f"The unit of the rate does not go with its number: write rate({right}).")
    return Rate(number * _UNITS[unit])


def _at(year: int, month: int, day: int, hour: int, minute: int, second: int) -> At:
    if not FIRST_YEAR <= year <= LAST_YEAR:
        raise ScheduleInvalid(f"The year of an at expression is one of {FIRST_YEAR} to {LAST_YEAR}.")
    try:
        return At(datetime(year, month, day, hour, minute, second))  # noqa: DTZ001 (a clock on a wall)
    except ValueError as error:
        raise ScheduleInvalid(f"There is no such time as that of the at expression: {error}.") from error


def shortest_gap(expression: Expression) -> int | None:
    """The fewest seconds between two runs; None for what runs once."""
    if isinstance(expression, Rate):
        return expression.seconds
    return expression.shortest_gap() if isinstance(expression, Cron) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Timetable:
    """An expression with all that decides when it is due."""

    expression: Expression
    since: int
    """Rates count from here: at `since`, and each period after it. What a cron expression matched before it is past,
    also where the offset puts the run after it."""
    zone: tzinfo = UTC
    offset_days: int = 0
    """So many days after the time that a cron expression matches, at the same local time."""
    start: int | None = None
    """Never due before this moment."""
    end: int | None = None
    """Never due after this moment."""

    def next_after(self, moment: int) -> int | None:
        """The first moment due after this one; None if there is none."""
        if self.start is not None:
            moment = max(moment, self.start - 1)
        if moment >= _NEVER:
            return None
        found = self._next_after(moment)
        return found if found is not None and found <= (_NEVER if self.end is None else self.end) else None

    def upcoming(self, moment: int, most: int) -> list[int]:
        """The next moments due after this one, at most so many."""
        return list(islice(self.moments(moment), most))

    def moments(self, moment: int) -> Iterator[int]:
        """All moments due after this one, as long as somebody asks."""
        found = self.next_after(moment)
        while found is not None:
            yield found
            found = self.next_after(found)

    def _next_after(self, moment: int) -> int | None:
        if isinstance(self.expression, Rate):
            period = self.expression.seconds * 1000
            return self.since + max(0, (moment - self.since) // period + 1) * period
        if isinstance(self.expression, At):
            due = to_millis(moment_of(self.expression.wall, self.zone))
            return due if due > moment else None
        return self._next_match(self.expression, moment)

    def _next_match(self, cron: Cron, moment: int) -> int | None:
        """Both conditions, matched after `since` and due after `moment`, hold from some local time on."""
        offset = timedelta(days=self.offset_days)
        after = max(moment, self.since) if not offset else moment
        start = wall_at(from_millis(after), self.zone) - offset
        if offset:
            start = max(start, wall_at(from_millis(self.since), self.zone))
        start = start.replace(microsecond=0)

        def is_ahead(wall: datetime) -> bool:
            if to_millis(moment_of(wall + offset, self.zone)) <= after:
                return False
            return not offset or to_millis(moment_of(wall, self.zone)) > self.since

        wall = cron.next_wall(start)
        if wall is not None and not is_ahead(wall):  # at the second itself, or in an hour that comes twice
            wall = cron.next_wall(_first(is_ahead, wall))
        return None if wall is None else to_millis(moment_of(wall + offset, self.zone))


def _first(is_ahead: Callable[[datetime], bool], behind: datetime) -> datetime:
    """The first second on the wall clock from which it holds; it does not at `behind`."""
    step = 1
    while not is_ahead(behind + step * _SECOND):
        step *= 2
    low, high = behind + step // 2 * _SECOND, behind + step * _SECOND
    while high - low > _SECOND:
        middle = low + timedelta(seconds=(high - low) // _SECOND // 2)
        low, high = (low, middle) if is_ahead(middle) else (middle, high)
    return high
