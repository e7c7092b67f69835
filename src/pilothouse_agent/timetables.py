"""When an association is due, by the times that the server spelled out for it.

See docs/reference/agent-protocol-extensions.md. Moments are epoch milliseconds in UTC; sets are bit masks, hexadecimal
on the wire. The server finds the same moments.
"""

import calendar
import time
from collections.abc import Mapping
from typing import Any

_DAY_MS = 86_400_000


class NotUnderstood(Exception):
    """The times are spelled in a way that this agent does not know."""


def next_after(table: Mapping[str, Any], moment: int) -> int | None:
    """The first moment due after this one. Raises NotUnderstood."""
    try:
        kind, since = table["kind"], int(table["since"])
        if kind == "rate":
            period = int(table["seconds"]) * 1000
            return since + max(0, (moment - since) // period + 1) * period
        if kind == "at":
            return int(table["at"]) if int(table["at"]) > moment else None
        if kind == "cron":
            offset = int(table["offset_days"]) * _DAY_MS
            found = _match_after(table, max(moment - offset, since))
            return None if found is None else found + offset
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise NotUnderstood(f"{type(error).__name__}: {error}") from error
    raise NotUnderstood(f"kind {kind!r}")


def _match_after(table: Mapping[str, Any], moment: int) -> int | None:
    seconds, minutes, hours, months, years = (
        int(table[name], 16) for name in ("seconds", "minutes", "hours", "months", "years")
    )
    start = time.gmtime(moment // 1000 + 1)
    year, month, day = start.tm_year, start.tm_mon, start.tm_mday
    clock: tuple[int, int, int] | None = (start.tm_hour, start.tm_min, start.tm_sec)
    while year <= int(table["last_year"]):
        if years >> (year - 1970) & 1 and months >> month & 1:
            days = _days(table, year, month) >> day << day
            while days:
                found = (days & -days).bit_length() - 1
                of_day = _time_from(hours, minutes, seconds, clock if found == day and clock else (0, 0, 0))
                if of_day is not None:
                    return calendar.timegm((year, month, found, *of_day)) * 1000
                days &= days - 1
        year, month, day, clock = (year, month + 1, 1, None) if month < 12 else (year + 1, 1, 1, None)
    return None


def _time_from(hours: int, minutes: int, seconds: int, start: tuple[int, int, int]) -> tuple[int, int, int] | None:
    """The first time of day that is in all three sets, from `start` on."""
    hour, minute, second = start
    if hours >> hour & 1:
        if minutes >> minute & 1 and (at := _from(seconds, second)) is not None:
            return hour, minute, at
        if (at := _from(minutes, minute + 1)) is not None:
            return hour, at, _from(seconds, 0) or 0
    if (at := _from(hours, hour + 1)) is not None:
        return at, _from(minutes, 0) or 0, _from(seconds, 0) or 0
    return None


def _from(mask: int, start: int) -> int | None:
    left = mask >> start
    return start + (left & -left).bit_length() - 1 if left else None


def _days(table: Mapping[str, Any], year: int, month: int) -> int:
    """The days of that month, as a bit mask: bit n for the day n."""
    first, length = calendar.monthrange(year, month)
    first = (first + 1) % 7 + 1  # 1 is Sunday

    def weekday(day: int) -> int:
        return (first - 1 + day - 1) % 7 + 1

    every = range(1, length + 1)
    if of_month := int(table["of_month"], 16):
        return of_month & (1 << length + 1) - 2
    if of_week := int(table["of_week"], 16):
        return sum(1 << day for day in every if of_week >> weekday(day) & 1)
    if table["last"]:
        return 1 << length
    if table["nth"]:
        wanted, nth = table["nth"]
        fitting = [day for day in every if weekday(day) == wanted]
        return 1 << fitting[nth - 1] if nth <= len(fitting) else 0
    if table["last_weekday"]:
        return 1 << max(day for day in every if weekday(day) == table["last_weekday"])
    nearest = length if table["last_workday"] else int(table["nearest_to"])
    if nearest > length:
        return 0
    workdays = [day for day in every if 1 < weekday(day) < 7]
    return 1 << min(workdays, key=lambda day: (abs(day - nearest), day > nearest and weekday(nearest) == 7))
