"""Clocks on walls: which moment a local time is, where clocks are put forward and back.

A local time that is skipped counts as the first moment after the gap; one that comes twice counts once, the first time.
So the moments of rising local times never fall.
"""

from datetime import UTC, datetime, timedelta, tzinfo
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

from pilothouse.scheduling.cron import ScheduleInvalid

_SECOND = timedelta(seconds=1)


@cache
def _names() -> frozenset[str]:
    return frozenset(available_timezones())


def zone_named(name: str) -> tzinfo:
    """The time zone by its name of the IANA database. Raises ScheduleInvalid."""
    if name in ("UTC", "Etc/UTC", ""):
        return UTC
    if name not in _names():
        raise ScheduleInvalid(f"The time zone {name!r} is not known; write it as Europe/Berlin or America/New_York.")
    return ZoneInfo(name)


def moment_of(wall: datetime, zone: tzinfo) -> datetime:
    """The moment, in UTC, at which clocks in the zone show this (a naive time of whole seconds)."""
    if zone is UTC:
        return wall.replace(tzinfo=UTC)
    moment = wall.replace(tzinfo=zone).astimezone(UTC)
    if moment.astimezone(zone).replace(tzinfo=None) == wall:
        return moment
    late = moment  # by the offset before the gap: a moment after it
    early = wall.replace(tzinfo=zone, fold=1).astimezone(UTC)  # by the offset after the gap: a moment before it
    before = early.astimezone(zone).utcoffset()
    while late - early > _SECOND:
        middle = early + timedelta(seconds=(late - early) // _SECOND // 2)
        if middle.astimezone(zone).utcoffset() == before:
            early = middle
        else:
            late = middle
    return late


def wall_at(moment: datetime, zone: tzinfo) -> datetime:
    """What clocks in the zone show, as a naive time."""
    return moment.astimezone(zone).replace(tzinfo=None, fold=0)
