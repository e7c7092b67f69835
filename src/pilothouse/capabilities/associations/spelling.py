"""Schedules as agents read them: the official agent's spelling of expressions, and the bare times for our own agent.

The official agent counts weekdays from 0 (Sunday) where AWS counts from 1, so numbers become names.
"""

import re
from typing import Any, Final

from pilothouse.runtime.clock import to_millis
from pilothouse.scheduling.cron import LAST_YEAR
from pilothouse.scheduling.timetables import At, Cron, Rate, Timetable
from pilothouse.scheduling.zones import moment_of

_NAMES: Final = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_AGENTS_LAST_YEAR: Final = 2099


def for_agents(expression: str) -> str:
    """A rate or cron expression in the words that mean the same to the official agent."""
    if not expression.startswith("cron("):
        return expression
    fields = expression.removeprefix("cron(").removesuffix(")").split()
    weekdays = fields[-2]
    if weekdays == "L":
        weekdays = "SAT"
    elif not weekdays.startswith("?"):
        weekdays = ",".join(_weekday(part) for part in weekdays.split(","))
    return f"cron({' '.join([*fields[:-2], weekdays, fields[-1]])})"


def _weekday(part: str) -> str:
    span, slash, step = part.partition("/")
    if slash and "-" not in span and span != "*":
        span = f"{span}-7"  # the agent's week ends with Saturday by another number
    days, hash_, nth = span.partition("#")
    days = re.sub(r"[1-7]", lambda found: _NAMES[int(found[0]) - 1], days)
    return f"{days}{hash_}{nth}{slash}{step}"


def spelled(table: Timetable) -> dict[str, Any]:
    """The times of a timetable in UTC, for who knows no expressions. Sets are hexadecimal bit masks."""
    expression = table.expression
    shared = {"since": table.since, "offset_days": table.offset_days}
    if isinstance(expression, Rate):
        return {"kind": "rate", "seconds": expression.seconds, **shared}
    if isinstance(expression, At):
        return {"kind": "at", "at": to_millis(moment_of(expression.wall, table.zone)), **shared}
    return {"kind": "cron", **_masks(expression), **shared}


def _masks(cron: Cron) -> dict[str, Any]:
    days = cron.days
    return {
        "seconds": f"{cron.seconds:x}",
        "minutes": f"{cron.minutes:x}",
        "hours": f"{cron.hours:x}",
        "months": f"{cron.months:x}",
        "years": f"{cron.years:x}",
        "last_year": LAST_YEAR,
        "of_month": f"{days.of_month:x}",
        "of_week": f"{days.of_week:x}",
        "last": days.last,
        "last_workday": days.last_workday,
        "nearest_to": days.nearest_to,
        "nth": None if days.nth is None else list(days.nth),
        "last_weekday": days.last_weekday,
    }
