"""Cron expressions in the dialect of AWS: which times on the wall clock one matches.

Six fields (Minutes Hours Day-of-month Month Day-of-week Year), or seven with Seconds in front. It knows no time zones:
`timetables` turns what a clock on the wall shows into moments. Errors name the field, for a person reads them.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Final

FIRST_YEAR: Final = 1970
LAST_YEAR: Final = 2199
_MONTH_NAMES = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_WEEKDAY_NAMES = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_MONTHS = {name: at for at, name in enumerate(_MONTH_NAMES, 1)}
_WEEKDAYS = {name: at for at, name in enumerate(_WEEKDAY_NAMES, 1)}
_DAYS_BEFORE_A_MONTH_ENDS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


class ScheduleInvalid(ValueError):
    """A schedule that cannot be meant as it is written; the text says which part, and why."""


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    low: int
    high: int
    most: int
    """The largest step after `/`."""
    names: Mapping[str, int]


SECONDS = _Field("Seconds", 0, 59, 59, {})
MINUTES = _Field("Minutes", 0, 59, 59, {})
HOURS = _Field("Hours", 0, 23, 23, {})
DAY_OF_MONTH = _Field("Day-of-month", 1, 31, 31, {})
MONTH = _Field("Month", 1, 12, 12, _MONTHS)
DAY_OF_WEEK = _Field("Day-of-week", 1, 7, 7, _WEEKDAYS)
YEAR = _Field("Year", FIRST_YEAR, LAST_YEAR, LAST_YEAR - FIRST_YEAR, {})

_NUMBER = re.compile(r"[0-9]{1,4}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Days:
    """Which days of a month. Sets are bit masks: bit n stands for the day n, or the weekday n (1 is Sunday)."""

    of_month: int = 0
    of_week: int = 0
    last: bool = False
    """The last day of the month."""
    last_workday: bool = False
    nearest_to: int = 0
    """The workday nearest to this day, within the month; 0 for none."""
    nth: tuple[int, int] | None = None
    """(weekday, n): the n-th such weekday of the month."""
    last_weekday: int = 0
    """The last such weekday of the month; 0 for none."""

    def within(self, year: int, month: int) -> int:
        """The days of that month, as a bit mask."""
        length = _days_in(year, month)
        first = _weekday(year, month, 1)
        if self.of_month:
            return self.of_month & ((1 << (length + 1)) - 2)
        if self.of_week:
            week = self.of_week >> first | (self.of_week >> 1 & ((1 << (first - 1)) - 1)) << (8 - first)
            return (week * 0x10204081 << 1) & ((1 << (length + 1)) - 2)  # the week, five times over, from the 1st on
        return self._single(length, first)

    def _single(self, length: int, first: int) -> int:
        if self.last:
            return 1 << length
        if self.nth is not None:
            day = 1 + (self.nth[0] - first) % 7 + 7 * (self.nth[1] - 1)
        elif self.last_weekday:
            day = length - ((first - 1 + length - 1) % 7 + 1 - self.last_weekday) % 7
        else:
            day = _nearest_workday(length if self.last_workday else self.nearest_to, length, first)
        return 1 << day if day <= length else 0


def _nearest_workday(day: int, length: int, first: int) -> int:
    if day > length:
        return day  # there is no such day in this month, and so no workday near it
    weekday = (first - 1 + day - 1) % 7 + 1
    if weekday == 7:  # Saturday
        return day - 1 if day > 1 else day + 2
    if weekday == 1:  # Sunday
        return day + 1 if day < length else day - 2
    return day


def _days_in(year: int, month: int) -> int:
    leap = month == 2 and year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    return _DAYS_BEFORE_A_MONTH_ENDS[month - 1] + leap


@lru_cache(maxsize=4096)
def _weekday(year: int, month: int, day: int) -> int:
    return datetime(year, month, day).isoweekday() % 7 + 1  # noqa: DTZ001 (a date on the wall)


def _lowest(mask: int) -> int:
    return (mask & -mask).bit_length() - 1


def _from(mask: int, start: int) -> int:
    """The lowest member of the set from `start` on; -1 if there is none."""
    left = mask >> start
    return start + _lowest(left) if left else -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Cron:
    """A cron expression, understood. Bit n of a mask stands for the value n; of `years`, for 1970 + n."""

    seconds: int
    minutes: int
    hours: int
    days: Days
    months: int
    years: int

    def next_wall(self, start: datetime) -> datetime | None:
        """The first time on the wall clock that matches, at `start` or later (a naive time of whole seconds)."""
        year, month, day = start.year, start.month, start.day
        if year < FIRST_YEAR:
            year, month, day = FIRST_YEAR, 1, 1
        elif self._is_day(year, month, day):
            found = self._time_from(start.hour, start.minute, start.second)
            if found is not None:
                return datetime(year, month, day, *found)  # noqa: DTZ001
            day += 1
        date = self._day_from(year, month, day)
        if date is None:
            return None
        first = _lowest(self.hours), _lowest(self.minutes), _lowest(self.seconds)
        return datetime(*date, *first)  # noqa: DTZ001

    def _is_day(self, year: int, month: int, day: int) -> bool:
        if year > LAST_YEAR or not self.years >> (year - FIRST_YEAR) & 1 or not self.months >> month & 1:
            return False
        return bool(self.days.within(year, month) >> day & 1)

    def _day_from(self, year: int, month: int, day: int) -> tuple[int, int, int] | None:
        while year <= LAST_YEAR:
            if self.years >> (year - FIRST_YEAR) & 1:
                while (at := _from(self.months, month)) > 0:
                    day = day if at == month else 1
                    if (found := _from(self.days.within(year, at), day)) > 0:
                        return year, at, found
                    month, day = at + 1, 1
            ahead = self.years >> (year - FIRST_YEAR + 1)
            if not ahead:
                return None
            year, month, day = year + 1 + _lowest(ahead), 1, 1
        return None

    def _time_from(self, hour: int, minute: int, second: int) -> tuple[int, int, int] | None:
        if self.hours >> hour & 1:
            if self.minutes >> minute & 1 and (at := _from(self.seconds, second)) >= 0:
                return hour, minute, at
            if (at := _from(self.minutes, minute + 1)) >= 0:
                return hour, at, _lowest(self.seconds)
        if (at := _from(self.hours, hour + 1)) >= 0:
            return at, _lowest(self.minutes), _lowest(self.seconds)
        return None

    def shortest_gap(self) -> int:
        """Seconds between the two times of day that lie closest, counting from day to day as well."""
        times = [
            (hour * 60 + minute) * 60 + second
            for hour in range(24) if self.hours >> hour & 1
            for minute in range(60) if self.minutes >> minute & 1
            for second in range(60) if self.seconds >> second & 1
        ]  # fmt: skip
        return min(later - earlier for earlier, later in zip(times, [*times[1:], times[0] + 86_400], strict=True))


def parse_cron(text: str) -> Cron:
    """What stands between the parentheses of `cron(…)`. Raises ScheduleInvalid."""
    fields = text.split()
    if len(fields) not in (6, 7):
        raise ScheduleInvalid(
            "A cron expression has six fields (Minutes Hours Day-of-month Month Day-of-week Year), "
            f"or seven with Seconds in front; this one has {len(fields)}."
        )
    seconds, minutes, hours, day_of_month, month, day_of_week, year = fields if len(fields) == 7 else ["0", *fields]
    if (day_of_month == "?") == (day_of_week == "?"):
        raise ScheduleInvalid(
            "Exactly one of the fields Day-of-month and Day-of-week must be '?': one of them alone says the day."
        )
    return Cron(
        seconds=_set(SECONDS, seconds),
        minutes=_set(MINUTES, minutes),
        hours=_set(HOURS, hours),
        days=_days_of_month(day_of_month) if day_of_week == "?" else _days_of_week(day_of_week),
        months=_set(MONTH, month),
        years=_set(YEAR, year) >> FIRST_YEAR,
    )


def _days_of_month(text: str) -> Days:
    upper = text.upper()
    if upper == "L":
        return Days(last=True)
    if upper in ("LW", "WL"):
        return Days(last_workday=True)
    if upper.endswith("W"):
        return Days(nearest_to=_value(DAY_OF_MONTH, upper[:-1], text))
    return Days(of_month=_set(DAY_OF_MONTH, text))


def _days_of_week(text: str) -> Days:
    upper = text.upper()
    if "#" in upper:
        day, _, nth = upper.partition("#")
        if nth not in ("1", "2", "3", "4", "5"):
            raise _wrong(DAY_OF_WEEK, text, "after '#' stands a number from 1 to 5, and nothing more")
        return Days(nth=(_value(DAY_OF_WEEK, day, text), int(nth)))
    if upper == "L":
        return Days(of_week=1 << 7)
    if upper.endswith("L"):
        return Days(last_weekday=_value(DAY_OF_WEEK, upper[:-1], text))
    return Days(of_week=_set(DAY_OF_WEEK, text))


def _set(field: _Field, text: str) -> int:
    mask = 0
    for part in text.split(","):
        span, slash, step = part.partition("/")
        every = 1
        if slash:
            if not _NUMBER.fullmatch(step) or not 1 <= int(step) <= field.most:
                raise _wrong(field, text, f"the step after '/' is a number from 1 to {field.most}")
            every = int(step)
        low, dash, high = span.partition("-")
        if low == "*" and not dash:
            first, last = field.low, field.high
        else:
            first = _value(field, low, text)
            last = _value(field, high, text) if dash else field.high if slash else first
        if first > last:
            raise _wrong(field, text, f"the range {span} runs backwards")
        for value in range(first, last + 1, every):
            mask |= 1 << value
    return mask


def _value(field: _Field, text: str, whole: str) -> int:
    named = field.names.get(text.upper())
    if named is not None:
        return named
    if not _NUMBER.fullmatch(text) or not field.low <= int(text) <= field.high:
        names = f" or {' '.join(field.names)}" if field.names else ""
        raise _wrong(field, whole, f"{text!r} is not one of {field.low} to {field.high}{names}")
    return int(text)


def _wrong(field: _Field, text: str, why: str) -> ScheduleInvalid:
    return ScheduleInvalid(f"The field {field.name} of the cron expression, {text!r}, is not valid: {why}.")
