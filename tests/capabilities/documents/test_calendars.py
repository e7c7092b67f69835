"""Change calendars: when they are open, when that changes, and how that is asked and told."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError
from dateutil.rrule import rruleset, rrulestr
from hypothesis import given, settings
from hypothesis import strategies as st

from pilothouse.call import House
from pilothouse.capabilities.documents.calendars import UnsupportedCalendarException, is_open, next_change, read
from pilothouse.runtime.clock import from_millis, to_millis
from pilothouse.storage import Transaction
from tests.capabilities.commands.conftest import (  # noqa: F401 -- fixtures
    Until,
    _signatures_follow_the_clock,
    until,
)
from tests.conftest import Aws, Server

MINUTE_MS = 60_000


def ics(*events: str, kind: str = "DEFAULT_OPEN") -> str:
    inside = "".join(f"BEGIN:VEVENT\r\n{event}\r\nEND:VEVENT\r\n" for event in events)
    return f"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nX-CALENDAR-TYPE:{kind}\r\n{inside}END:VCALENDAR\r\n"


def at(text: str) -> int:
    return to_millis(datetime.fromisoformat(text).replace(tzinfo=UTC))


def changes(text: str, moment: str, count: int) -> list[str]:
    """The next moments at which the calendar opens or closes."""
    calendar, found, now = read(text), [], at(moment)
    for _ in range(count):
        following = calendar.next_change(now)
        if following is None:
            break
        now = following
        found.append(f"{from_millis(now).astimezone(UTC):%m-%dT%H:%M} {'open' if calendar.is_open(now) else 'closed'}")
    return found


BERLIN = """BEGIN:VTIMEZONE
TZID:Europe/Berlin
BEGIN:STANDARD
DTSTART:19701025T030000
RRULE:FREQ=YEARLY;BYMONTH=10;BYDAY=-1SU
TZOFFSETFROM:+0200
TZOFFSETTO:+0100
END:STANDARD
BEGIN:DAYLIGHT
DTSTART:19700329T020000
RRULE:FREQ=YEARLY;BYMONTH=3;BYDAY=-1SU
TZOFFSETFROM:+0100
TZOFFSETTO:+0200
END:DAYLIGHT
END:VTIMEZONE
""".replace("\n", "\r\n")


@pytest.mark.parametrize(("event", "expected"), [
    ("DTSTART:20260310T220000Z\r\nDTEND:20260311T020000Z", ["03-10T22:00 closed", "03-11T02:00 open"]),
    ("DTSTART;VALUE=DATE:20260312", ["03-12T00:00 closed", "03-13T00:00 open"]),
    ("DTSTART:20260310T220000Z\r\nDURATION:PT30M", ["03-10T22:00 closed", "03-10T22:30 open"]),
    ("DTSTART:20200101T080000Z\r\nDTEND:20200101T090000Z\r\nRRULE:FREQ=DAILY;INTERVAL=3",
     ["03-12T08:00 closed", "03-12T09:00 open", "03-15T08:00 closed"]),
    ("DTSTART:20200106T080000Z\r\nDTEND:20200106T090000Z\r\nRRULE:FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,WE",
     ["03-11T08:00 closed", "03-11T09:00 open", "03-23T08:00 closed"]),
    ("DTSTART:20100131T000000Z\r\nDTEND:20100131T010000Z\r\nRRULE:FREQ=MONTHLY",
     ["03-31T00:00 closed", "03-31T01:00 open", "05-31T00:00 closed"]),
    ("DTSTART:20160229T000000Z\r\nDURATION:P1D\r\nRRULE:FREQ=YEARLY;BYMONTH=12;BYDAY=-1FR",
     ["12-25T00:00 closed", "12-26T00:00 open"]),
    ("DTSTART:20260309T080000Z\r\nDURATION:PT1H\r\nRRULE:FREQ=DAILY;UNTIL=20260312;BYDAY=MO,TU,WE,TH,FR",
     ["03-11T08:00 closed", "03-11T09:00 open", "03-12T08:00 closed", "03-12T09:00 open"]),
    ("DTSTART:20260309T080000Z\r\nDURATION:PT1H\r\nRRULE:FREQ=DAILY;COUNT=3\r\nEXDATE:20260310T080000Z",
     ["03-11T08:00 closed", "03-11T09:00 open"]),
    ("DTSTART:20260309T080000Z\r\nDURATION:PT1H\r\nRDATE:20260402T100000Z",
     ["04-02T10:00 closed", "04-02T11:00 open"]),
    ("DTSTART:20260310T220000Z\r\nDTEND:20260311T020000Z\r\nX-EVENT-TYPE:ADVISORY", []),
    ("DTSTART:20260310T220000Z\r\nDTEND:20260311T020000Z\r\nSTATUS:CANCELLED", []),
    ("DTSTART:20240101T000000Z\r\nDURATION:PT0S", []),
    ("DTSTART:20240101T000000Z\r\nDURATION:PT1H\r\nRRULE:FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30", []),
])  # fmt: skip
def test_when_a_calendar_changes(event: str, expected: list[str]) -> None:
    assert changes(ics(event), "2026-03-10T12:00:00", len(expected) or 1) == expected


def test_clocks_that_are_put_forward() -> None:
    text = ics("DTSTART;TZID=Europe/Berlin:20250101T220000\r\nDTEND;TZID=Europe/Berlin:20250102T030000\r\n"
               "RRULE:FREQ=WEEKLY;BYDAY=SA")  # fmt: skip
    text = text.replace("BEGIN:VEVENT", f"{BERLIN}BEGIN:VEVENT", 1)
    assert changes(text, "2026-03-22T12:00:00", 4) == [
        "03-28T21:00 closed", "03-29T01:00 open", "04-04T20:00 closed", "04-05T01:00 open",
    ]  # fmt: skip


def test_an_event_that_was_moved_out_of_its_series() -> None:
    series = "UID:a\r\nDTSTART:20260309T080000Z\r\nDURATION:PT1H\r\nRRULE:FREQ=DAILY;COUNT=3"
    moved = "UID:a\r\nRECURRENCE-ID:20260310T080000Z\r\nDTSTART:20260310T150000Z\r\nDURATION:PT1H"
    assert changes(ics(series, moved), "2026-03-10T00:00:00", 3) == [
        "03-10T15:00 closed", "03-10T16:00 open", "03-11T08:00 closed",
    ]  # fmt: skip


@pytest.mark.parametrize(("event", "says"), [
    ("DTSTART:20260101T000000Z\r\nDURATION:PT1S\r\nRRULE:FREQ=SECONDLY", "once a day at most"),
    ("DTSTART:20260101T000000Z\r\nDURATION:PT1H\r\nRRULE:FREQ=DAILY;BYHOUR=1,2,3", "BYHOUR"),
    ("DTSTART:20260101T000000Z\r\nDURATION:PT1H\r\nRRULE:FREQ=DAILY;INTERVAL=0", "INTERVAL"),
    ("DTSTART:20260101T000000Z\r\nDURATION:PT1H\r\nRRULE:FREQ=DAILY;COUNT=100000", "COUNT"),
    ("DTSTART:20260101T000000Z\r\nDURATION:PT1H\r\nRRULE:FREQ=DAILY;COUNT=9;BYMONTH=2;BYMONTHDAY=30", "never"),
    ("DTSTART:00010101T000000Z\r\nDURATION:PT1H\r\nRRULE:FREQ=DAILY", "1970"),
    ("DTSTART:20260101T000000Z\r\nDURATION:P5000D\r\nRRULE:FREQ=DAILY", "a year at most"),
    ("DTSTART:never", "cannot be read"),
])  # fmt: skip
def test_what_calendars_here_do_not(event: str, says: str) -> None:
    with pytest.raises(UnsupportedCalendarException, match=says):
        read(ics(event))


_EVENTS = st.lists(
    st.tuples(st.integers(0, 5000), st.integers(0, 900), st.sampled_from(["", "DAILY", "WEEKLY", "DAILY;INTERVAL=2"])),
    max_size=4,
)


@settings(deadline=None)
@given(st.lists(st.tuples(_EVENTS, st.booleans()), min_size=1, max_size=3), st.integers(0, 6000))
def test_nothing_changes_before_the_next_change(calendars: list[tuple[Any, bool]], minute: int) -> None:
    start = datetime(2026, 3, 1, tzinfo=UTC)
    found = []
    for events, opened in calendars:
        texts = [
            f"DTSTART:{start + timedelta(minutes=begin):%Y%m%dT%H%M%SZ}\r\nDURATION:PT{length}M"
            + (f"\r\nRRULE:FREQ={rule}" if rule else "")
            for begin, length, rule in events
        ]
        found.append(read(ics(*texts, kind="DEFAULT_OPEN" if opened else "DEFAULT_CLOSED")))
    now = to_millis(start) + minute * MINUTE_MS
    following = next_change(found, now)
    end = following if following is not None else now + 3 * 1440 * MINUTE_MS
    step = MINUTE_MS * max(1, (end - now) // MINUTE_MS // 300)
    assert len({is_open(found, moment) for moment in range(now, end, step)}) == 1
    if following is not None:
        assert is_open(found, following) is not is_open(found, now)
        assert is_open(found, following - 1) is is_open(found, now)


@settings(deadline=None)
@given(
    st.dates(min_value=date(1970, 1, 1), max_value=date(2026, 12, 31)),
    st.sampled_from(["DAILY", "WEEKLY", "MONTHLY", "YEARLY"]),
    st.integers(1, 5),
    st.sampled_from(
        [
            "",
            "BYDAY=MO,TH",
            "BYMONTHDAY=29,-1",
            "BYDAY=MO,TU,WE;BYSETPOS=-1,1",
            "BYMONTH=2,3",
            "WKST=SU",
            "BYMONTH=1,7;BYDAY=FR",
            "BYYEARDAY=1,-1,60",
            "COUNT=40",
            "BYDAY=FR;COUNT=100",
        ]
    ),
)
def test_series_are_followed_from_near(start: date, frequency: str, interval: int, more: str) -> None:
    text = ";".join(filter(None, [f"FREQ={frequency}", f"INTERVAL={interval}", more]))
    begin = datetime.combine(start, time(8), tzinfo=UTC)
    now = datetime(2026, 3, 10, tzinfo=UTC)
    if frequency in ("MONTHLY", "YEARLY"):
        text = text.replace("BYDAY=MO,TH", "BYDAY=2MO,-1TH")
    whole = _dateutil(text, begin).between(now, now + timedelta(days=365), inc=True)
    event = f"DTSTART:{begin:%Y%m%dT%H%M%SZ}\r\nDURATION:PT1H\r\nRRULE:{text}"
    assert [span[0] for span in read(ics(event)).busy(now, now + timedelta(days=365))] == whole


def _dateutil(text: str, begin: datetime) -> rruleset:
    """The rule as another library reads it; the date is beyond what is looked at, and ends the walk."""
    both = rruleset()
    both.rrule(rrulestr(text, dtstart=begin))
    both.rdate(datetime(2027, 6, 1, tzinfo=UTC))
    return both


def put_calendar(ssm: Any, name: str, text: str) -> None:
    ssm.create_document(Content=text, Name=name, DocumentType="ChangeCalendar", DocumentFormat="TEXT")


def test_the_state_of_calendars(aws: Aws, server: Server) -> None:
    ssm = aws("ssm")
    event = "DTSTART:20260310T220000Z\r\nDTEND:20260311T020000Z"
    put_calendar(ssm, "freeze", ics(event))
    put_calendar(ssm, "slot", ics("DTSTART:20260310T230000Z\r\nDURATION:PT1H", kind="DEFAULT_CLOSED"))

    def state(moment: str, *names: str) -> tuple[str, str, str | None]:
        answer = ssm.get_calendar_state(CalendarNames=list(names), AtTime=moment)
        return answer["State"], answer["AtTime"], answer.get("NextTransitionTime")

    before, inside = "2026-03-10T21:00:00Z", "2026-03-10T22:00:00Z"
    assert state(before, "freeze") == ("OPEN", before, inside)
    assert state(inside, "freeze") == ("CLOSED", inside, "2026-03-11T02:00:00Z")
    assert state("2026-03-11T02:00:00Z", "freeze") == ("OPEN", "2026-03-11T02:00:00Z", None)
    assert state("2026-03-10T16:00:00-0700", "slot")[:2] == ("OPEN", "2026-03-10T23:00:00Z")
    arn = f"arn:aws:ssm:eu-west-1:{server.application.root.account_id}:document/freeze"
    assert state("2026-03-10T23:10:00Z", "slot", arn) == ("CLOSED", "2026-03-10T23:10:00Z", None)
    now = ssm.get_calendar_state(CalendarNames=["freeze"])
    assert server.clock.now() - datetime.fromisoformat(now["AtTime"]) < timedelta(minutes=5)


def test_calendars_that_cannot_be_asked(aws: Aws) -> None:
    ssm = aws("ssm")
    put_calendar(ssm, "odd", ics("DTSTART:20260101T000000Z\r\nDURATION:PT1H\r\nRRULE:FREQ=HOURLY"))
    for names, moment, code in (
        (["none"], None, "InvalidDocument"),
        (["AWS-RunShellScript"], None, "InvalidDocumentType"),
        (["odd"], None, "UnsupportedCalendarException"),
        (["odd"], "soon", "ValidationException"),
        (["odd"], "9999-12-31T23:59:59Z", "ValidationException"),
    ):
        more = {"AtTime": moment} if moment else {}
        with pytest.raises(ClientError) as refused:
            ssm.get_calendar_state(CalendarNames=names, **more)
        assert refused.value.response["Error"]["Code"] == code
    with pytest.raises(ClientError) as refused:
        put_calendar(ssm, "broken", ics("DTSTART:never"))
    assert refused.value.response["Error"]["Code"] == "InvalidDocumentContent"


def test_calendars_tell_when_they_open_and_close(aws: Aws, server: Server, until: Until) -> None:  # noqa: F811
    told: list[Mapping[str, Any]] = []

    async def note(house: House, tx: Transaction, facts: Mapping[str, Any]) -> None:
        if facts["detail_type"] == "Calendar State Change":
            told.append(facts)

    ssm = aws("ssm")
    server.application.house.listeners.setdefault("event", []).append(note)
    start = server.clock.now().replace(microsecond=0) + timedelta(hours=1)
    put_calendar(ssm, "freeze", ics(f"DTSTART:{start:%Y%m%dT%H%M%SZ}\r\nDURATION:PT1H\r\nRRULE:FREQ=WEEKLY"))
    for count, hours in ((1, 1), (2, 1), (3, 7 * 24 - 1)):
        server.advance(hours=hours, seconds=1)
        until(lambda count=count: len(told) == count)  # type: ignore[misc]
    assert [each["detail"]["state"] for each in told] == ["CLOSED", "OPEN", "CLOSED"]
    assert told[0]["detail"]["nextTransitionTime"] == f"{start + timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}"
    ssm.delete_document(Name="freeze")
    server.advance(days=8)
    assert len(told) == 3
