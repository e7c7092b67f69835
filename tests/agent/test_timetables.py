"""The agent finds the moments that the server finds."""

from contextlib import suppress

from hypothesis import given, settings
from hypothesis import strategies as st

from pilothouse.capabilities.associations.spelling import spelled
from pilothouse.runtime.clock import to_millis
from pilothouse.scheduling.timetables import Timetable, parse
from pilothouse_agent.timetables import NotUnderstood, next_after
from tests.scheduling.test_timetables import NOON, crons

START = to_millis(NOON)


@settings(max_examples=150, deadline=None)
@given(
    crons.map(lambda fields: f"cron({' '.join(fields)})")
    | st.integers(2, 500).map("rate({} minutes)".format)
    | st.datetimes(NOON.replace(tzinfo=None)).map("at({:%Y-%m-%dT%H:%M:%S})".format).filter(lambda at: at < "at(2199"),
    st.integers(0, 6),
    st.integers(0, 10**11),
)
def test_the_same_moments(expression, offset, later):
    table = Timetable(expression=parse(expression), since=START, offset_days=offset if expression[0] == "c" else 0)
    spelling = spelled(table)
    moment = START + later
    for _ in range(5):
        expected = table.next_after(moment)
        assert next_after(spelling, moment) == expected
        if expected is None:
            return
        moment = expected


@settings(deadline=None)
@given(
    st.dictionaries(st.text(max_size=9), st.none() | st.integers() | st.text(max_size=5) | st.booleans(), max_size=6)
)
def test_what_is_not_understood_is_said(table):
    with suppress(NotUnderstood):
        next_after({"since": 0, **table}, START)
