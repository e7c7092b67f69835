"""Putting events into a stream and reading them again, page by page, in both directions."""

import json
import random
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError

from pilothouse.capabilities.logs.model import Event, Group, accepted, divided
from pilothouse.runtime.clock import TestClock
from pilothouse.wire.limits import body_limit
from tests.capabilities.commands.conftest import Until
from tests.capabilities.logs.conftest import GROUP, STREAM, Putting
from tests.conftest import Server

OF = {"logGroupName": GROUP, "logStreamName": STREAM}
DAY = 86_400_000


def messages(answer: dict[str, Any]) -> list[str]:
    return [each["message"] for each in answer["events"]]


def refusal(put: Putting, *told: Any) -> str:
    with pytest.raises(ClientError) as error:
        put(*told)
    assert error.value.response["Error"]["Code"] == "InvalidParameterException"
    return str(error.value.response["Error"]["Message"])


def test_what_was_put_is_read_in_the_order_of_time(logs: Any, put: Putting, clock: TestClock) -> None:
    put((-120_000, "b"), (-119_000, "c\0d ü"), (0, "e"))
    put((-180_000, "a"))
    answer = logs.get_log_events(**OF, startFromHead=True)
    assert messages(answer) == ["a", "b", "c\0d ü", "e"]
    assert all(clock.millis() - 60_000 < each["ingestionTime"] <= clock.millis() for each in answer["events"])
    stream = logs.describe_log_streams(logGroupName=GROUP)["logStreams"][0]
    assert stream["firstEventTimestamp"] == answer["events"][0]["timestamp"]
    assert stream["lastEventTimestamp"] == answer["events"][-1]["timestamp"]
    assert logs.describe_log_groups()["logGroups"][0]["storedBytes"] == 4 * 26 + 9
    between = {"startTime": answer["events"][1]["timestamp"], "endTime": answer["events"][3]["timestamp"]}
    assert messages(logs.get_log_events(**OF, **between)) == ["b", "c\0d ü"]
    assert messages(logs.filter_log_events(logGroupName=GROUP, **between)) == ["b", "c\0d ü", "e"]
    ever = {"startTime": 0, "endTime": (1 << 63) - 1}
    assert len(messages(logs.get_log_events(**OF, **ever))) == 4
    assert len(messages(logs.filter_log_events(logGroupName=GROUP, **ever))) == 4
    never = {"startTime": (1 << 63) - 1}
    assert messages(logs.get_log_events(**OF, **never)) == []
    assert messages(logs.filter_log_events(logGroupName=GROUP, **never)) == []


def test_pages_lead_on_in_both_directions_and_repeat_at_the_ends(logs: Any, put: Putting) -> None:
    put(*[(number * 7_000 - 300_000, str(number)) for number in range(40)])
    newest = logs.get_log_events(**OF, limit=15)
    assert messages(newest) == [str(number) for number in range(25, 40)]
    older = logs.get_log_events(**OF, limit=15, nextToken=newest["nextBackwardToken"])
    assert messages(older) == [str(number) for number in range(10, 25)]
    oldest = logs.get_log_events(**OF, limit=15, nextToken=older["nextBackwardToken"])
    assert messages(oldest) == [str(number) for number in range(10)]
    end = logs.get_log_events(**OF, limit=15, nextToken=oldest["nextBackwardToken"])
    assert end["events"] == []
    assert end["nextBackwardToken"] == oldest["nextBackwardToken"]
    forward = logs.get_log_events(**OF, limit=15, nextToken=oldest["nextForwardToken"])
    assert messages(forward) == messages(older)
    last = logs.get_log_events(**OF, nextToken=newest["nextForwardToken"])
    assert last["events"] == []
    assert last["nextForwardToken"] == newest["nextForwardToken"]
    put("later")
    assert messages(logs.get_log_events(**OF, nextToken=last["nextForwardToken"])) == ["later"]


def test_an_empty_stream_has_tokens_that_lead_to_what_comes(logs: Any, put: Putting) -> None:
    empty = logs.get_log_events(**OF)
    put("first")
    assert messages(logs.get_log_events(**OF, nextToken=empty["nextForwardToken"])) == ["first"]
    with pytest.raises(ClientError, match="The specified nextToken is invalid"):
        logs.get_log_events(**OF, nextToken=empty["nextForwardToken"][:-3])


def test_pages_of_every_size_show_each_event_once(logs: Any, put: Putting, server: Server) -> None:
    chance = random.Random(7)
    told: list[str] = []
    for stream in ("s1", "s2", "s3"):
        logs.create_log_stream(logGroupName=GROUP, logStreamName=stream)
    for batch in range(12):
        times = sorted(chance.choice((0, 1, 2, 59_999, 60_000, 200_000)) - 250_000 for _ in range(9))
        some = [(at, f"{batch}.{number}") for number, at in enumerate(times)]
        told += [message for _, message in some]
        put(*some, stream=f"s{chance.randint(1, 3)}")
    whole = logs.filter_log_events(logGroupName=GROUP)["events"]
    assert sorted(each["message"] for each in whole) == sorted(told)
    order = [(each["timestamp"], each["ingestionTime"], each["eventId"]) for each in whole]
    assert order == sorted(order)
    assert len({each["eventId"] for each in whole}) == len(told)
    for size in (1, 4, 50):
        pages = logs.get_paginator("filter_log_events").paginate(logGroupName=GROUP, limit=size)
        assert [each for page in pages for each in page["events"]] == whole
        back: list[Any] = []
        request: dict[str, Any] = {"startFromHead": False, "startTime": 1_704_067_200_000}
        while True:
            page = logs.filter_log_events(logGroupName=GROUP, limit=size, **request)
            back += page["events"]
            if "nextToken" not in page:
                break
            request["nextToken"] = page["nextToken"]
        assert back == whole[::-1]
    two = logs.filter_log_events(logGroupName=GROUP, logStreamNames=["s1", "s3"])["events"]
    assert two == [each for each in whole if each["logStreamName"] != "s2"]
    prefixed = logs.filter_log_events(logGroupName=GROUP, logStreamNamePrefix="s")["events"]
    assert prefixed == whole


def test_what_is_too_old_too_new_or_expired_is_left_out_and_told(logs: Any, put: Putting) -> None:
    def rejected(*told: Any) -> dict[str, int] | None:
        return put(*told).get("rejectedLogEventsInfo")

    assert rejected((-15 * DAY, "old"), (-1000, "a"), (3 * 3_600_000, "new")) == {
        "tooOldLogEventEndIndex": 1, "tooNewLogEventStartIndex": 2,
    }  # fmt: skip
    assert rejected((0, "b")) is None
    logs.put_retention_policy(logGroupName=GROUP, retentionInDays=3)
    assert rejected((-4 * DAY, "expired"), (-4 * DAY, "expired"), (0, "c")) == {"expiredLogEventEndIndex": 2}
    assert messages(logs.get_log_events(**OF)) == ["a", "b", "c"]


def test_a_batch_keeps_to_its_limits(put: Putting) -> None:
    order = "Log events in a single PutLogEvents request must be in chronological order."
    assert refusal(put, (0, "b"), (-1, "a")) == order
    span = "The batch of log events in a single PutLogEvents request cannot span more than 24 hours."
    assert refusal(put, (-2 * DAY, "a"), (0, "b")) == span
    assert refusal(put, "x" * (1 << 20)) == "Log event too large: 1048602 bytes exceeds limit of 1048576"
    half = "x" * ((1 << 19) - 25)
    assert refusal(put, half, half) == "Upload too large: 1048578 bytes exceeds limit of 1048576"
    put(*["line"] * 10_000)
    escaped = "\x1b" * ((1 << 20) - 26)
    assert len(json.dumps(escaped)) + 1000 < body_limit({"x-amz-target": "Logs_20140328.PutLogEvents"})
    put(escaped)


def test_a_call_that_is_sent_again_puts_its_events_once(logs: Any, put: Putting, server: Server) -> None:
    lost = []

    def lose_the_first_answer(request: Any, **_: Any) -> Any:
        answer = server.answer(request)
        if not lost:
            lost.append(answer)
            raise ConnectionClosedError(endpoint_url=request.url)
        return answer

    logs.meta.events.unregister("before-send.logs", server.answer)
    logs.meta.events.register("before-send.logs", lose_the_first_answer)
    put("once")
    assert lost
    assert messages(logs.get_log_events(**OF)) == ["once"]
    assert logs.describe_log_groups()["logGroups"][0]["storedBytes"] == 30


def test_events_expire_and_are_removed(logs: Any, put: Putting, server: Server, until: Until) -> None:
    put((-3 * DAY, "old"))
    put((-1000, "new"))
    logs.put_retention_policy(logGroupName=GROUP, retentionInDays=1)
    assert logs.describe_log_groups()["logGroups"][0]["retentionInDays"] == 1
    assert messages(logs.get_log_events(**OF, startFromHead=True)) == ["new"]
    server.advance(minutes=5)
    until(lambda: logs.describe_log_groups()["logGroups"][0]["storedBytes"] == 29)
    logs.delete_retention_policy(logGroupName=GROUP)
    assert messages(logs.get_log_events(**OF, startFromHead=True)) == ["new"]
    with pytest.raises(ClientError, match="retentionInDays"):
        logs.put_retention_policy(logGroupName=GROUP, retentionInDays=2)


def test_chunks_hold_one_minute_and_leave_nothing_out() -> None:
    chance = random.Random(3)
    for _ in range(50):
        times = sorted(chance.randrange(0, 300_000) for _ in range(chance.randrange(1, 40)))
        events = [Event(at, "x" * chance.choice((1, 100_000, 200_000))) for at in times]
        cuts = divided(events)
        assert [number for start, end in cuts for number in range(start, end)] == list(range(len(events)))
        for start, end in cuts:
            part = events[start:end]
            assert part[0].at // 60_000 == part[-1].at // 60_000
            assert len(part) == 1 or sum(len(each.message) for each in part) <= 256 << 10


def test_a_batch_without_good_events_is_taken() -> None:
    group = Group(group_id="g", account_id="1", region="r", name="n", kind="STANDARD", created_at=0)
    kept = accepted([Event(0, "a"), Event(40 * DAY, "b")], group, 20 * DAY)
    assert (kept.first, kept.end, kept.too_old, kept.too_new) == (1, 1, 1, 1)


def test_pages_go_on_where_little_of_much_fits(logs: Any, put: Putting) -> None:
    for number in range(9):
        put(*["nothing of interest " + "x" * 100_000] * 9, f"needle {number}")
    request: dict[str, Any] = {"logGroupName": GROUP, "filterPattern": "needle"}
    found, pages = [], 0
    while True:
        page = logs.filter_log_events(**request)
        found += messages(page)
        pages += 1
        if "nextToken" not in page:
            break
        request["nextToken"] = page["nextToken"]
    assert sorted(found) == [f"needle {number}" for number in range(9)]
    assert pages > 1
