"""On which days an event of a calendar recurs. Pure.

A rule is followed period by period, from shortly before the time that is asked for: what no day fits takes no longer
than what every day does. (dateutil's rules walk from their beginning until something fits, for thousands of years.)
"""

from calendar import monthrange
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time, timedelta
from itertools import count as numbers
from typing import Any, Final

_DAYS: Final = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
_FREQUENCIES: Final = ("DAILY", "WEEKLY", "MONTHLY", "YEARLY")
_KNOWN: Final = frozenset(
    {"FREQ", "INTERVAL", "COUNT", "UNTIL", "WKST", "BYDAY", "BYMONTH", "BYMONTHDAY", "BYYEARDAY", "BYSETPOS"}
)
_MOST_COUNT: Final = 3660
_MOST_DAYS: Final = 4000
"""That are looked at to find the last time of a rule with a COUNT."""


class NotFollowed(Exception):
    """A rule that says what is not followed here; the text says what."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """How an event recurs: the members of RRULE, with what follows from the event's start filled in."""

    start: datetime
    frequency: str
    interval: int = 1
    until: datetime | None = None
    week_start: int = 0
    months: frozenset[int] = frozenset()
    month_days: frozenset[int] = frozenset()
    year_days: frozenset[int] = frozenset()
    weekdays: frozenset[int] = frozenset()
    numbered: frozenset[tuple[int, int]] = frozenset()
    """Weekdays with the number of each within the month or year; from the end where it is negative."""
    positions: tuple[int, ...] = field(default=())

    def starts(self, begin: datetime, end: datetime) -> Iterator[datetime]:
        """When the event begins between two moments."""
        zone = self.start.tzinfo
        for number in numbers(max(0, self._period_of(begin.astimezone(zone).date()) - 1)):
            days = self._days(number)
            if not days or days[0] > end.astimezone(zone).date():
                return
            for moment in self._within(days):
                if self.until is not None and moment > self.until:
                    return
                if begin <= moment <= end:
                    yield moment

    def counted(self, count: int) -> "Rule":
        """The rule that ends after so many times. Raises NotFollowed where that takes long to find out."""
        looked = 0
        for number in numbers():
            days = self._days(number)
            looked += len(days)
            if not days or looked > _MOST_DAYS:
                raise NotFollowed(f"An event with COUNT={count} ends too late, or never.")
            found = list(self._within(days))[:count]
            count -= len(found)
            if not count:
                return replace(self, until=found[-1])
        raise AssertionError("numbers do not end")

    def _within(self, days: list[date]) -> Iterator[datetime]:
        """The starts in one period."""
        fitting = [day for day in days if self._fits(day)]
        if self.positions:
            size = len(fitting)
            places = {each - 1 if each > 0 else size + each for each in self.positions}
            fitting = [fitting[place] for place in sorted(places) if 0 <= place < size]
        clock = self.start.timetz()
        for day in fitting:
            moment = datetime.combine(day, clock)
            if moment >= self.start:
                yield moment

    def _period_of(self, day: date) -> int:
        """The number of the last period that begins on the day or before it; it may be negative."""
        first = self.start.date()
        if self.frequency == "DAILY":
            return (day - first).days // self.interval
        if self.frequency == "WEEKLY":
            return (day - self._week(first)).days // (7 * self.interval)
        if self.frequency == "MONTHLY":
            return ((day.year - first.year) * 12 + day.month - first.month) // self.interval
        return (day.year - first.year) // self.interval

    def _days(self, number: int) -> list[date]:
        """The days of a period; none beyond the end of the calendar."""
        first, ahead = self.start.date(), number * self.interval
        try:
            if self.frequency == "DAILY":
                return [first + timedelta(days=ahead)]
            if self.frequency == "WEEKLY":
                begin = self._week(first) + timedelta(weeks=ahead)
                return [begin + timedelta(days=day) for day in range(7)]
            if self.frequency == "MONTHLY":
                year, month = divmod(first.year * 12 + first.month - 1 + ahead, 12)
                return _of_month(year, month + 1)
            return [
                day for month in sorted(self.months or range(1, 13)) for day in _of_month(first.year + ahead, month)
            ]
        except (OverflowError, ValueError):
            return []

    def _week(self, day: date) -> date:
        return day - timedelta(days=(day.weekday() - self.week_start) % 7)

    def _fits(self, day: date) -> bool:
        length = monthrange(day.year, day.month)[1]
        if self.months and day.month not in self.months:
            return False
        if self.month_days and not {day.day, day.day - length - 1} & self.month_days:
            return False
        if self.year_days:
            number, of = day.timetuple().tm_yday, date(day.year, 12, 31).timetuple().tm_yday
            if not {number, number - of - 1} & self.year_days:
                return False
        if not self.weekdays and not self.numbered:
            return True
        return day.weekday() in self.weekdays or self._is_numbered(day, length)

    def _is_numbered(self, day: date, length: int) -> bool:
        if not self.numbered:
            return False
        place, of = day.day, length
        if self.frequency == "YEARLY" and not self.months:
            place, of = day.timetuple().tm_yday, date(day.year, 12, 31).timetuple().tm_yday
        weekday = day.weekday()
        return bool({(weekday, (place - 1) // 7 + 1), (weekday, -((of - place) // 7 + 1))} & self.numbered)


def rule(said: Mapping[str, Any], start: datetime) -> Rule:
    """By the members of RRULE as icalendar gives them. Raises NotFollowed, ValueError."""
    frequency, interval = str(said["FREQ"][0]), _numbers(said, "INTERVAL")
    if unknown := sorted(said.keys() - _KNOWN):
        raise NotFollowed(f"RRULE with {unknown[0]} is not supported.")
    if frequency not in _FREQUENCIES:
        raise NotFollowed(f"Events recur once a day at most: FREQ is {', '.join(_FREQUENCIES)}.")
    counts = _numbers(said, "COUNT")
    if any(each < 1 for each in interval) or any(not 0 < each <= _MOST_COUNT for each in counts):
        raise NotFollowed(f"INTERVAL is from 1 on, and COUNT from 1 to {_MOST_COUNT}.")
    by_days = said.get("BYDAY", ())
    numbered = {(_DAYS.index(each.weekday), int(each.relative)) for each in by_days if each.relative}
    if numbered and frequency not in ("MONTHLY", "YEARLY"):
        raise NotFollowed("BYDAY with numbers is for MONTHLY and YEARLY.")
    months, month_days = _numbers(said, "BYMONTH"), _numbers(said, "BYMONTHDAY")
    weekdays = {_DAYS.index(each.weekday) for each in by_days if not each.relative}
    if not by_days and not month_days and not said.get("BYYEARDAY"):
        if frequency == "WEEKLY":
            weekdays = {start.weekday()}
        elif frequency != "DAILY":
            month_days = {start.day}
            months = months or ({start.month} if frequency == "YEARLY" else months)
    until = said.get("UNTIL", [None])[0]
    found = Rule(
        start=start,
        frequency=frequency,
        interval=next(iter(interval), 1),
        until=None if until is None else _end_of(until, start),
        week_start=_DAYS.index(said["WKST"][0].weekday) if "WKST" in said else 0,
        months=frozenset(months),
        month_days=frozenset(month_days),
        year_days=frozenset(_numbers(said, "BYYEARDAY")),
        weekdays=frozenset(weekdays),
        numbered=frozenset(numbered),
        positions=tuple(_numbers(said, "BYSETPOS")),
    )
    return found.counted(next(iter(counts))) if counts else found


def _numbers(said: Mapping[str, Any], name: str) -> set[int]:
    return {int(each) for each in said.get(name, ())}


def _of_month(year: int, month: int) -> list[date]:
    return [date(year, month, day) for day in range(1, monthrange(year, month)[1] + 1)]


def _end_of(until: date, start: datetime) -> datetime:
    """The last moment at which it may recur; a day counts to its end where the event takes place."""
    if not isinstance(until, datetime):
        return datetime.combine(until, time.max, tzinfo=start.tzinfo)
    return until if until.tzinfo is not None else until.replace(tzinfo=start.tzinfo)
