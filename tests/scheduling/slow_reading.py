"""Schedule expressions read slowly: asks of each minute, or of each day, whether the text of the expression names it.

Shares nothing with the code under test: no sets, no search, no arithmetic over weeks.
"""

import calendar
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, tzinfo

MONTHS = {name.upper(): at for at, name in enumerate(calendar.month_abbr) if name}
WEEKDAYS = {"SUN": 1, "MON": 2, "TUE": 3, "WED": 4, "THU": 5, "FRI": 6, "SAT": 7}
MINUTE = timedelta(minutes=1)


def number(text: str, names: dict[str, int]) -> int:
    return names[text] if text in names else int(text)


def names_it(text: str, value: int, low: int, high: int, names: dict[str, int]) -> bool:
    """Whether a field of lists, ranges and steps names the value."""
    for part in text.split(","):
        span, _, step = part.partition("/")
        if span == "*":
            first, last = low, high
        elif "-" in span:
            first, last = (number(end, names) for end in span.split("-"))
        else:
            first = number(span, names)
            last = high if step else first
        if value in range(first, last + 1, int(step or 1)):
            return True
    return False


def weekday(day: date) -> int:
    return (day.weekday() + 1) % 7 + 1


def is_day(text_of_month: str, text_of_week: str, day: date) -> bool:
    length = calendar.monthrange(day.year, day.month)[1]
    if text_of_week == "?":
        if text_of_month == "L":
            return day.day == length
        if text_of_month == "LW" or text_of_month.endswith("W"):
            wanted = length if text_of_month == "LW" else int(text_of_month[:-1])
            if wanted > length or weekday(day) in (1, 7):
                return False
            workdays = [n for n in range(1, length + 1) if weekday(day.replace(day=n)) not in (1, 7)]
            nearest = min(workdays, key=lambda n: (abs(n - wanted), weekday(day.replace(day=n)) == 2))
            return day.day == nearest
        return names_it(text_of_month, day.day, 1, 31, {})
    if "#" in text_of_week:
        which, nth = text_of_week.split("#")
        before = [n for n in range(1, day.day + 1) if weekday(day.replace(day=n)) == weekday(day)]
        return weekday(day) == number(which, WEEKDAYS) and len(before) == int(nth)
    if text_of_week.endswith("L"):
        if text_of_week == "L":
            return weekday(day) == 7
        return weekday(day) == number(text_of_week[:-1], WEEKDAYS) and day.day + 7 > length
    return names_it(text_of_week, weekday(day), 1, 7, WEEKDAYS)


def shows(fields: list[str], wall: datetime) -> bool:
    """Whether the six fields match what the clock on the wall shows, to the minute."""
    minutes, hours, of_month, months, of_week, years = fields
    return (
        names_it(minutes, wall.minute, 0, 59, {})
        and names_it(hours, wall.hour, 0, 23, {})
        and names_it(months, wall.month, 1, 12, MONTHS)
        and names_it(years, wall.year, 1970, 2199, {})
        and is_day(of_month, of_week, wall.date())
    )


def due(fields: list[str], zone: tzinfo, start: datetime, end: datetime) -> Iterator[datetime]:
    """The minutes after `start` up to `end` at which it is due, by looking at each of them."""
    moment = start.astimezone(UTC)
    past = [(moment - n * MINUTE).astimezone(zone).replace(tzinfo=None) for n in range(24 * 60)]
    latest = max(past)  # the clock may have been put back since it showed this
    while moment < end:
        moment += MINUTE
        shown = moment.astimezone(zone).replace(tzinfo=None)
        new = []  # what the clock shows now, or skipped to get here, for the first time
        while latest < shown:
            latest += MINUTE
            new.append(latest)
        if any(shows(fields, wall) for wall in new):
            yield moment
