"""Change calendars: documents of type ChangeCalendar, in the form of iCalendar, and whether one is open at a moment.

A calendar is open but for its events (`X-CALENDAR-TYPE:DEFAULT_OPEN`), or closed but for them (`DEFAULT_CLOSED`).
Events are VEVENT or VTODO components; they may recur, but not more often than once a day. Pure: no I/O.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from pilothouse.capabilities.documents.recurrence import NotFollowed, Rule, rule
from pilothouse.errors import ApiError
from pilothouse.runtime.clock import from_millis, to_millis

_AHEAD: Final = timedelta(days=366)
_FIRST_LOOK: Final = timedelta(days=2)
_MOST_EVENTS: Final = 1000
_MOST_RECURRING: Final = 100
_FIRST_YEAR: Final = 1970
_LONGEST: Final = timedelta(days=366)

Span = tuple[datetime, datetime]


class UnsupportedCalendarException(ApiError):
    """The text is none that can be read as a calendar, or says what calendars here do not."""

    def __init__(self, message: str, *, unreadable: bool = False) -> None:
        """`unreadable`: it is no calendar at all."""
        super().__init__(message)
        self.unreadable = unreadable


@dataclass(frozen=True, slots=True)
class _Event:
    """Something that takes time, once or again and again."""

    start: datetime
    length: timedelta
    rules: tuple[Rule, ...] = ()
    left_out: frozenset[datetime] = frozenset()
    more: tuple[datetime, ...] = ()
    """Further starts that no rule gives."""

    def spans(self, begin: datetime, end: datetime) -> Iterator[Span]:
        """When it takes place, as far as that reaches into the time between."""
        for each in self._starts(begin - self.length, end):
            if each <= end and each + self.length > begin and each not in self.left_out:
                yield each, each + self.length

    def _starts(self, begin: datetime, end: datetime) -> Sequence[datetime]:
        if not self.rules:
            return [self.start, *self.more]
        return [*{each for each_rule in self.rules for each in each_rule.starts(begin, end)}, *self.more]


@dataclass(frozen=True, slots=True)
class Calendar:
    """A calendar that was read."""

    open_by_default: bool
    events: tuple[_Event, ...]

    def is_open(self, at: int) -> bool:
        """At a moment, in epoch milliseconds."""
        moment = from_millis(at)
        inside = any(begin <= moment < end for event in self.events for begin, end in event.spans(moment, moment))
        return inside is not self.open_by_default

    def next_change(self, at: int) -> int | None:
        """The next moment at which it opens or closes, within a year."""
        return next_change((self,), at)

    def busy(self, begin: datetime, end: datetime) -> list[Span]:
        """When events take place, one after the other, as far as they reach into the time between."""
        found: list[Span] = []
        for start, stop in sorted(span for event in self.events for span in event.spans(begin, end)):
            if stop <= start:
                continue
            if found and start <= found[-1][1]:
                found[-1] = (found[-1][0], max(found[-1][1], stop))
            else:
                found.append((start, stop))
        return found


def is_open(calendars: Sequence[Calendar], at: int) -> bool:
    """Whether all of them are open at a moment, in epoch milliseconds."""
    return all(each.is_open(at) for each in calendars)


def next_change(calendars: Sequence[Calendar], at: int) -> int | None:
    """The next moment, within a year, at which all of them are open and were not, or the other way round."""
    moment = from_millis(at)
    look = _FIRST_LOOK
    while True:
        look = min(look, _AHEAD)
        found = _change(calendars, moment, moment + look)
        if found is not None or look == _AHEAD:
            return None if found is None else to_millis(found)
        look *= 8


def _change(calendars: Sequence[Calendar], moment: datetime, end: datetime) -> datetime | None:
    """By walking over the edges of all events; `closed` counts the calendars that are closed."""
    closed = 0
    steps: dict[datetime, int] = {}
    for calendar in calendars:
        spans = calendar.busy(moment, end)
        inside = any(begin <= moment < stop for begin, stop in spans)
        closed += inside is calendar.open_by_default
        into = 1 if calendar.open_by_default else -1
        for begin, stop in spans:
            if begin > moment:
                steps[begin] = steps.get(begin, 0) + into
            if stop > moment:
                steps[stop] = steps.get(stop, 0) - into
    was = closed
    for edge in sorted(steps):
        if edge > end:
            break
        closed += steps[edge]
        if (closed > 0) is not (was > 0):
            return edge
    return None


def read(text: str) -> Calendar:
    """Raises UnsupportedCalendarException for a text that is no calendar."""
    import icalendar  # takes long to load and 3 MiB, and few servers have a calendar

    try:
        parsed: Any = icalendar.Calendar.from_ical(text)
        parts = [part for part in parsed.walk() if part.name in ("VEVENT", "VTODO") and "DTSTART" in part]
        if len(parts) > _MOST_EVENTS:
            raise UnsupportedCalendarException(f"A calendar has at most {_MOST_EVENTS} events.")
        if sum("RRULE" in part for part in parts) > _MOST_RECURRING:
            raise UnsupportedCalendarException(f"A calendar has at most {_MOST_RECURRING} events that recur.")
        events = tuple(_events([part for part in parts if _counts(part)]))
    except NotFollowed as error:
        raise UnsupportedCalendarException(str(error)) from error
    except (ValueError, KeyError, AttributeError, TypeError, IndexError, OverflowError) as error:
        raise UnsupportedCalendarException(f"The calendar cannot be read: {error}", unreadable=True) from error
    kind = str(parsed.get("X-CALENDAR-TYPE") or "DEFAULT_OPEN").strip().upper()
    if kind not in ("DEFAULT_OPEN", "DEFAULT_CLOSED"):
        raise UnsupportedCalendarException("X-CALENDAR-TYPE is DEFAULT_OPEN or DEFAULT_CLOSED.", unreadable=True)
    return Calendar(kind == "DEFAULT_OPEN", events)


def _counts(part: Any) -> bool:
    """Events that only inform, and those that were called off, change nothing."""
    advisory = str(part.get("X-EVENT-TYPE") or "").strip().upper() == "ADVISORY"
    return not advisory and str(part.get("STATUS") or "").strip().upper() != "CANCELLED"


def _events(parts: Sequence[Any]) -> Iterator[_Event]:
    """One that was moved out of a series stands for itself, and the series goes without it."""
    moved: dict[str, set[datetime]] = {}
    for part in parts:
        if "RECURRENCE-ID" in part:
            moved.setdefault(str(part.get("UID")), set()).add(_moment(part.decoded("RECURRENCE-ID")))
    for part in parts:
        event = _event(part)
        if "RECURRENCE-ID" not in part:
            event = replace(event, left_out=event.left_out | moved.get(str(part.get("UID")), set()))
        yield event


def _event(part: Any) -> _Event:
    start = _moment(part.decoded("DTSTART"))
    end = next((_moment(part.decoded(name)) for name in ("DTEND", "DUE") if name in part), None)
    if end is None:
        whole_day = not isinstance(part.decoded("DTSTART"), datetime)
        length = part.decoded("DURATION") if "DURATION" in part else timedelta(days=1 if whole_day else 0)
    else:
        length = end - start
    more = tuple(each for each in _listed(part, "RDATE") if each != start)
    if "RRULE" not in part:
        return _Event(start, length, more=more, left_out=frozenset(_listed(part, "EXDATE")))
    if length > _LONGEST or start.year < _FIRST_YEAR:
        raise UnsupportedCalendarException(
            f"An event that recurs begins in {_FIRST_YEAR} or later, and takes a year at most."
        )
    given = part["RRULE"] if isinstance(part["RRULE"], list) else [part["RRULE"]]
    rules = tuple(rule(each, start) for each in given)
    return _Event(start, length, rules, frozenset(_listed(part, "EXDATE")), more)


def _listed(part: Any, name: str) -> Iterator[datetime]:
    for each in part[name] if isinstance(part.get(name), list) else filter(None, [part.get(name)]):
        for one in each.dts:
            if isinstance(one.dt, tuple):
                raise UnsupportedCalendarException("RDATE with periods is not supported.")
            yield _moment(one.dt)


def _moment(value: date) -> datetime:
    """Times without a zone, and whole days, are meant in UTC."""
    if not isinstance(value, datetime):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    return value if value.tzinfo is not None else value.replace(tzinfo=UTC)
