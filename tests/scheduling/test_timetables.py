"""When schedules are due: the specified vectors, every expression against a slow reading, and what is refused."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pilothouse.runtime.clock import from_millis, to_millis
from pilothouse.scheduling.timetables import ScheduleInvalid, Timetable, parse, shortest_gap
from pilothouse.scheduling.zones import zone_named
from tests.scheduling.slow_reading import MONTHS, WEEKDAYS, due, is_day, names_it

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
"""A Tuesday."""


def timetable(expression, zone="UTC", *, since=NOON, **more):
    bounds = {name: to_millis(datetime.fromisoformat(more.pop(name))) for name in ("start", "end") if name in more}
    return Timetable(expression=parse(expression), zone=zone_named(zone), since=to_millis(since), **more, **bounds)


def moments(table, count, after=NOON):
    return [
        f"{from_millis(each):%Y-%m-%d %H:%M:%S}".removesuffix(":00") for each in table.upcoming(to_millis(after), count)
    ]


WINDOWS = [
    ("cron(0 2 ? * SUN *)", "Europe/Berlin", {},
     ["2026-03-15 01:00", "2026-03-22 01:00", "2026-03-29 01:00", "2026-04-05 00:00"]),
    ("cron(30 23 ? * TUE#3 *)", "UTC", {}, ["2026-03-17 23:30", "2026-04-21 23:30", "2026-05-19 23:30"]),
    ("cron(30 23 ? * TUE#3 *)", "UTC", {"offset_days": 2},
     ["2026-03-19 23:30", "2026-04-23 23:30", "2026-05-21 23:30"]),
    ("cron(0 11 ? * TUE#2 *)", "UTC", {"offset_days": 2}, ["2026-04-16 11:00", "2026-05-14 11:00"]),
    ("cron(0 2 L * ? *)", "UTC", {}, ["2026-03-31 02:00", "2026-04-30 02:00", "2026-05-31 02:00"]),
    ("cron(15 10 ? * 6L *)", "UTC", {}, ["2026-03-27 10:15", "2026-04-24 10:15", "2026-05-29 10:15"]),
    ("cron(0 9 15W * ? *)", "UTC", {}, ["2026-03-16 09:00", "2026-04-15 09:00", "2026-05-15 09:00"]),
    ("cron(24 30 09 ? * * *)", "UTC", {}, ["2026-03-11 09:30:24", "2026-03-12 09:30:24"]),
    ("cron(0 0/6 * * ? *)", "UTC", {}, ["2026-03-10 18:00", "2026-03-11 00:00", "2026-03-11 06:00"]),
    ("rate(7 days)", "UTC", {}, ["2026-03-17 12:00", "2026-03-24 12:00"]),
    ("rate(7 days)", "UTC", {"since": datetime(2026, 3, 12, 8, tzinfo=UTC)}, ["2026-03-12 08:00", "2026-03-19 08:00"]),
    ("at(2026-03-11T15:55:00)", "America/Chicago", {}, ["2026-03-11 20:55"]),
    ("cron(0 2 ? * SUN *)", "UTC", {"end": "2026-03-20T00:00:00Z"}, ["2026-03-15 02:00"]),
    ("cron(0 2 ? * SUN *)", "UTC", {"start": "2026-03-22T02:00:00Z"}, ["2026-03-22 02:00", "2026-03-29 02:00"]),
    ("at(2026-03-10T11:59:59)", "UTC", {}, []),
]  # fmt: skip

ASSOCIATIONS = [
    ("rate(30 minutes)", {}, ["2026-03-10 12:30", "2026-03-10 13:00"]),
    ("rate(7 days)", {}, ["2026-03-17 12:00"]),
    ("cron(0/30 * * * ? *)", {}, ["2026-03-10 12:30", "2026-03-10 13:00"]),
    ("cron(0 */30 * * * ? *)", {}, ["2026-03-10 12:30", "2026-03-10 13:00"]),
    ("cron(15 13 ? * MON *)", {}, ["2026-03-16 13:15", "2026-03-23 13:15"]),
    ("cron(30 23 ? * TUE#3 *)", {}, ["2026-03-17 23:30", "2026-04-21 23:30"]),
    ("cron(0 0 ? * THU#2 *)", {"offset_days": 3}, ["2026-03-15 00:00", "2026-04-12 00:00", "2026-05-17 00:00"]),
    ("cron(0 0 ? * 3L *)", {}, ["2026-03-31 00:00", "2026-04-28 00:00"]),
    ("cron(0 2 ? * TUE#2 *)", {"offset_days": 3}, ["2026-04-17 02:00", "2026-05-15 02:00"]),
    ("at(2026-03-11T15:55:00)", {}, ["2026-03-11 15:55"]),
]  # fmt: skip


@pytest.mark.parametrize(("expression", "zone", "more", "expected"), WINDOWS)
def test_windows(expression, zone, more, expected):
    assert moments(timetable(expression, zone, **more), max(1, len(expected)))[: len(expected) or 1] == expected


@pytest.mark.parametrize(("expression", "more", "expected"), ASSOCIATIONS)
def test_associations(expression, more, expected):
    assert moments(timetable(expression, **more), len(expected)) == expected


@pytest.mark.parametrize(
    ("expression", "named"),
    [
        ("cron(0 2 1 * SUN *)", "Day-of-month and Day-of-week"),
        ("cron(0 2 * * * *)", "Day-of-month and Day-of-week"),
        ("cron(0 2 ? * ? *)", "Day-of-month and Day-of-week"),
        ("cron(0 2 ? * SUN)", "has 5"),
        ("cron()", "has 0"),
        ("cron(60 2 ? * SUN *)", "Minutes"),
        ("cron(0 24 ? * SUN *)", "Hours"),
        ("cron(60 0 2 ? * SUN *)", "Seconds"),
        ("cron(0 2 32 * ? *)", "Day-of-month"),
        ("cron(0 2 0W * ? *)", "Day-of-month"),
        ("cron(0 2 1,15W * ? *)", "Day-of-month"),
        ("cron(0 2 ? 13 SUN *)", "Month"),
        ("cron(0 2 ? FEBRUARY SUN *)", "Month"),
        ("cron(0 2 ? * 0 *)", "Day-of-week"),
        ("cron(0 2 ? * 8 *)", "Day-of-week"),
        ("cron(0 2 ? * TUE#6 *)", "Day-of-week"),
        ("cron(0 2 ? * TUE#1,TUE#3 *)", "Day-of-week"),
        ("cron(0 2 ? * MON,FRIL *)", "Day-of-week"),
        ("cron(0 2 ? * FRI-MON *)", "backwards"),
        ("cron(0 2 ? * SUN 1969)", "Year"),
        ("cron(0 2 ? * SUN 2200)", "Year"),
        ("cron(0/0 2 ? * SUN *)", "Minutes"),
        ("cron(0/60 2 ? * SUN *)", "Minutes"),
        ("cron(*-5 2 ? * SUN *)", "Minutes"),
        ("cron(0,,5 2 ? * SUN *)", "Minutes"),
        ("cron(-5 2 ? * SUN *)", "Minutes"),
        ("cron(٣ 2 ? * SUN *)", "Minutes"),
        ("cron(0 2 ? * SUN *", "parentheses"),
        ("cron(0 2 ? * SUN *))", "parentheses"),
        ("rate(1 hours)", "rate(1 hour)"),
        ("rate(2 hour)", "rate(2 hours)"),
        ("rate(0 days)", "at least 1"),
        ("rate(-1 days)", "rate(number unit)"),
        ("rate(5 weeks)", "rate(number unit)"),
        ("rate(5minutes)", "rate(number unit)"),
        ("at(2026-02-30T00:00:00)", "no such time"),
        ("at(9999-12-31T23:59:59)", "1970 to 2199"),
        ("at(2026-03-11 15:55:00)", "at(yyyy-mm-ddThh:mm:ss)"),
        ("at(2026-03-11T15:55:00Z)", "at(yyyy-mm-ddThh:mm:ss)"),
        ("every day", "rate(…), cron(…) or at(…)"),
        ("", "rate(…), cron(…) or at(…)"),
    ],
)
def test_what_is_wrong_is_named(expression, named):
    with pytest.raises(ScheduleInvalid) as refused:
        parse(expression)
    assert named in str(refused.value)


@pytest.mark.parametrize("name", ["Europe/Atlantis", "../etc/passwd", "/etc/localtime", "Europe", "posixrules/.."])
def test_a_zone_is_one_of_the_database(name):
    with pytest.raises(ScheduleInvalid, match="time zone"):
        zone_named(name)


@settings(deadline=None)
@given(st.text(max_size=40) | st.from_regex(r"(cron|rate|at)\([ -~]{0,30}\)", fullmatch=True))
def test_any_text_is_an_expression_or_refused(text):
    try:
        table = Timetable(expression=parse(text), since=to_millis(NOON))
    except ScheduleInvalid:
        return
    found = table.upcoming(to_millis(NOON), 3)
    assert found == sorted(set(found))
    assert all(each > to_millis(NOON) for each in found)


def lists(low, high, names=()):
    """Fields of values, ranges, steps and lists of them."""
    value = st.integers(low, high).map(str)
    if names:
        value |= st.sampled_from(list(names))
    number = {name: at for at, name in enumerate(names, low)}

    def ordered(pair):
        first, last = sorted(pair, key=lambda each: number.get(each) or int(each))
        return f"{first}-{last}"

    span = st.tuples(value, value).map(ordered)
    step = st.integers(1, max(1, min(high - low, high))).map(str)
    part = value | span | st.tuples(value | span | st.just("*"), step).map("/".join)
    return st.just("*") | st.lists(part, min_size=1, max_size=3).map(",".join)


MONTH_NAMES = list(MONTHS)
DAY_NAMES = list(WEEKDAYS)
weekdays = st.integers(1, 7).map(str) | st.sampled_from(DAY_NAMES)
days = st.tuples(
    st.just("L") | st.just("LW") | st.integers(1, 31).map("{}W".format) | lists(1, 31), st.just("?")
) | st.tuples(
    st.just("?"),
    st.just("L")
    | st.tuples(weekdays, st.integers(1, 5).map(str)).map("#".join)
    | weekdays.map("{}L".format)
    | lists(1, 7, DAY_NAMES),
)
years = st.just("*") | st.sampled_from(["2026", "2026-2027", "2025/2", "2027"])
crons = st.tuples(lists(0, 59), lists(0, 23), days, lists(1, 12, MONTH_NAMES), years).map(
    lambda parts: [parts[0], parts[1], parts[2][0], parts[3], parts[2][1], parts[4]]
)

CLOCKS_CHANGE = [
    ("Europe/Berlin", datetime(2026, 3, 28, 12, tzinfo=UTC)),
    ("Europe/Berlin", datetime(2026, 10, 24, 12, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 4, 4, 6, tzinfo=UTC)),  # by half an hour
    ("Australia/Lord_Howe", datetime(2026, 10, 3, 6, tzinfo=UTC)),
    ("America/New_York", datetime(2027, 3, 13, 18, tzinfo=UTC)),
    ("America/Santiago", datetime(2026, 9, 5, 12, tzinfo=UTC)),  # at midnight
    ("Pacific/Apia", datetime(2011, 12, 29, 12, tzinfo=UTC)),  # a whole day is left out
    ("Africa/Casablanca", datetime(2026, 2, 14, 12, tzinfo=UTC)),
    ("UTC", datetime(2027, 12, 31, 12, tzinfo=UTC)),
]


@settings(max_examples=80, deadline=None)
@given(crons, st.sampled_from(CLOCKS_CHANGE), st.integers(0, 1440))
@example(["0/30", "*", "*", "*", "?", "*"], CLOCKS_CHANGE[1], 0)
@example(["30", "2", "*", "*", "?", "*"], CLOCKS_CHANGE[0], 0)
@example(["0", "12", "*", "*", "?", "*"], CLOCKS_CHANGE[6], 0)
def test_every_minute_by_a_slow_reading(fields, change, later):
    zone, start = change
    begin, end = start + timedelta(minutes=later), start + timedelta(minutes=later, days=1)
    table = timetable(f"cron({' '.join(fields)})", zone, since=begin)
    found = []
    for each in table.moments(to_millis(begin)):
        if each > to_millis(end):
            break
        found.append(from_millis(each))
    assert found == list(due(fields, zone_named(zone), begin, end))


@settings(max_examples=80, deadline=None)
@given(days, lists(1, 12, MONTH_NAMES), st.integers(0, 3000), st.integers(0, 6))
def test_every_day_by_a_slow_reading(day, months, later, offset):
    """Over 500 days from some day on, with offsets, at noon."""
    begin = NOON + timedelta(days=later)
    table = timetable(f"cron(0 12 {day[0]} {months} {day[1]} *)", since=begin, offset_days=offset)
    expected = [
        noon + timedelta(days=offset)
        for noon in (begin + timedelta(days=n) for n in range(1, 501))
        if names_it(months, noon.month, 1, 12, MONTHS) and is_day(*day, noon.date())
    ]
    found = []
    for each in table.moments(to_millis(begin)):
        if from_millis(each) > begin + timedelta(days=500 + offset):
            break
        found.append(from_millis(each))
    assert found == expected


@settings(deadline=None)
@given(st.integers(0, 10**12), st.sampled_from(CLOCKS_CHANGE), crons, st.integers(0, 6))
def test_what_comes_after_does_not_hang_on_where_one_asks(ahead, change, fields, offset):
    """Asked at any moment between two, the answer is the second: so whoever asks late finds the same moments."""
    zone, start = change
    table = timetable(f"cron({' '.join(fields)})", zone, since=start, offset_days=offset)
    first = table.next_after(to_millis(start))
    if first is not None:
        asked = to_millis(start) + ahead % (first - to_millis(start))
        assert table.next_after(asked) == first
        second = table.next_after(first)
        assert second is None or (second > first and table.next_after(second - 1) == second)


@settings(deadline=None)
@given(st.integers(1, 999), st.sampled_from(["minute", "hour", "day"]), st.integers(0, 10**11))
def test_rates_keep_their_step(number, unit, later):
    table = timetable(f"rate({number} {unit}{'s' if number > 1 else ''})")
    period = timedelta(**{f"{unit}s": number})
    found = table.next_after(to_millis(NOON) + later)
    assert (from_millis(found) - NOON) % period == timedelta(0)
    assert 0 < found - (to_millis(NOON) + later) <= period.total_seconds() * 1000


def test_nothing_is_due_beyond_the_end_of_the_calendar():
    far = to_millis(datetime(2199, 12, 31, tzinfo=UTC))
    assert timetable("rate(99999999 days)").next_after(to_millis(NOON)) is None
    assert timetable("cron(0 0 ? * * 2199)").upcoming(far - 1, 5) == [far]
    assert timetable("at(2199-12-31T23:59:59)", "America/Adak").next_after(far) is not None


@pytest.mark.parametrize(
    ("expression", "seconds"),
    [
        ("rate(30 minutes)", 1800),
        ("cron(0/30 * * * ? *)", 1800),
        ("cron(0/5 * * * ? *)", 300),
        ("cron(0,50 * * * ? *)", 600),
        ("cron(0 12 ? * MON *)", 86_400),
        ("cron(0/30 0 12 ? * MON *)", 30),
        ("at(2026-03-11T15:55:00)", None),
    ],
)
def test_how_close_two_runs_may_come(expression, seconds):
    assert shortest_gap(parse(expression)) == seconds
