"""StartLiveTail: events as they come, as boto3 hears them."""

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError, EventStreamError

from tests.capabilities.logs.conftest import GROUP, STREAM, Putting
from tests.conftest import Server


@pytest.fixture(autouse=True)
def _without_host_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    """The endpoint's name has no further name in front of it."""
    monkeypatch.setenv("AWS_DISABLE_HOST_PREFIX_INJECTION", "true")


class Session:
    """A session, whose updates come as time passes."""

    def __init__(self, server: Server, logs: Any, **members: Any) -> None:
        self._server = server
        answer = logs.start_live_tail(**{"logGroupIdentifiers": [GROUP], **members})
        self._events: Iterator[dict[str, Any]] = iter(answer["responseStream"])
        self.start = next(self._events)["sessionStart"]

    def update(self) -> dict[str, Any]:
        self._server.advance(seconds=1)
        told: dict[str, Any] = next(self._events)["sessionUpdate"]
        return told

    def heard(self, count: int) -> list[str]:
        """The next messages: those of as many updates as it takes to have so many, and of one more."""
        found: list[str] = []
        for _ in range(100):
            if len(found) >= count:
                break
            found += [each["message"] for each in self.update()["sessionResults"]]
        return found + [each["message"] for each in self.update()["sessionResults"]]


def test_a_session_shows_what_comes_and_nothing_twice(logs: Any, put: Putting, server: Server) -> None:
    put("before")
    session = Session(server, logs)
    assert session.start["logGroupIdentifiers"] == [GROUP]
    assert session.heard(0) == []
    put((-60_000, "late"), (0, "now"))
    assert session.heard(2) == ["late", "now"]
    put("next")
    told = next(each for each in iter(session.update, None) if each["sessionResults"])
    assert told["sessionMetadata"] == {"sampled": False}
    assert [(each["message"], each["logStreamName"]) for each in told["sessionResults"]] == [("next", STREAM)]
    assert session.heard(0) == []


def test_a_session_is_narrowed_to_streams_and_patterns(logs: Any, put: Putting, server: Server) -> None:
    for name in ("web-1", "db-1"):
        logs.create_log_stream(logGroupName=GROUP, logStreamName=name)
    web = Session(server, logs, logStreamNamePrefixes=["web"], logEventFilterPattern="ERROR")
    put("ERROR here", "fine", stream="web-1")
    put("ERROR there", stream="db-1")
    assert web.heard(1) == ["ERROR here"]
    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        logs.start_live_tail(logGroupIdentifiers=["none"])
    with pytest.raises(ClientError, match="InvalidParameterException"):
        logs.start_live_tail(logGroupIdentifiers=[GROUP], logEventFilterPattern="{ $.a = }")


def test_of_many_events_a_sample_is_shown(logs: Any, put: Putting, server: Server) -> None:
    session = Session(server, logs)
    put(*[str(number) for number in range(1500)])
    told = next(each for each in iter(session.update, None) if each["sessionResults"])
    assert told["sessionMetadata"] == {"sampled": True}
    assert len(told["sessionResults"]) == 500


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_session_ends_after_three_hours(logs: Any, server: Server) -> None:
    session = Session(server, logs)
    server.advance(hours=3)
    with pytest.raises(EventStreamError, match="SessionTimeoutException"):
        session.heard(1)
