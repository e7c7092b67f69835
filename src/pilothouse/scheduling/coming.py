"""What will happen: capabilities with schedules say which moments are ahead, and one list shows them all."""

import heapq
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass

from pilothouse.scheduling.timetables import Timetable
from pilothouse.storage import Transaction


@dataclass(frozen=True, slots=True, order=True, kw_only=True)
class Coming:
    """Something that will happen once, as far as is known now."""

    at: int
    """Epoch milliseconds."""
    kind: str
    """Such as `association`."""
    id: str
    name: str = ""
    about: str = ""
    """What it does, in a few words."""
    minutes: int = 0
    """How long it may take; 0 if nothing says so."""


FindComing = Callable[[Transaction, str, str, int, int, int], Awaitable[list[Coming]]]
"""(transaction, account id, region, after, until, most) to the first that lie between those moments, by time."""


def first_of(tables: Iterable[tuple[Timetable, Coming]], after: int, until: int, most: int) -> list[Coming]:
    """The first moments of many timetables; each comes with what happens then, whose time is not looked at."""

    def moments(table: Timetable, what: Coming) -> Iterator[Coming]:
        for at in table.moments(after):
            if at > until:
                return
            yield Coming(
                at=at, kind=what.kind, id=what.id, name=what.name, about=what.about, minutes=what.minutes
            )  # fmt: skip

    merged = heapq.merge(*(moments(table, what) for table, what in tables))
    return [each for _, each in zip(range(most), merged, strict=False)]
