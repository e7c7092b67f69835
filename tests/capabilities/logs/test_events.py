"""Putting events into a stream and reading them again, page by page, in both directions."""

from typing import Any

from pilothouse.runtime.clock import TestClock
from tests.capabilities.logs.conftest import GROUP, STREAM, Putting

OF = {"logGroupName": GROUP, "logStreamName": STREAM}


def messages(answer: dict[str, Any]) -> list[str]:
    return [each["message"] for each in answer["events"]]


def test_what_was_put_is_read_in_the_order_of_time(logs: Any, put: Putting, clock: TestClock) -> None:
    put((-120_000, "b"), (-119_000, "c\0d ü"), (0, "e"))
    put((-180_000, "a"))
    answer = logs.get_log_events(**OF, startFromHead=True)
    assert messages(answer) == ["a", "b", "c\0d ü", "e"]
    assert all(clock.millis() - 10_000 < each["ingestionTime"] <= clock.millis() for each in answer["events"])
    stream = logs.describe_log_streams(logGroupName=GROUP)["logStreams"][0]
    assert stream["firstEventTimestamp"] == answer["events"][0]["timestamp"]
    assert stream["lastEventTimestamp"] == answer["events"][-1]["timestamp"]
    assert logs.describe_log_groups()["logGroups"][0]["storedBytes"] == 4 * 26 + 9


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
    assert messages(logs.get_log_events(**OF, nextToken=newest["nextForwardToken"], startFromHead=True)) == ["later"]
