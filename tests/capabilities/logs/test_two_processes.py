"""Two servers on one PostgreSQL: what is put through one is read and heard through the other."""

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pilothouse.capabilities import logs as face
from pilothouse.runtime.clock import TestClock
from pilothouse.runtime.settings import Settings
from tests.capabilities.logs.conftest import GROUP, STREAM
from tests.capabilities.logs.test_live_tail import Session, _without_host_prefix
from tests.conftest import Aws, Server

__all__ = ["_without_host_prefix"]
pytestmark = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
OF = {"logGroupName": GROUP, "logStreamName": STREAM}


@pytest.fixture
def other(server: Server, database_url: str, tmp_path: Path) -> Iterator[Server]:
    data = tmp_path / "other"
    shutil.copytree(server.settings.data, data)
    opened = Server(Settings(data=data, database=database_url), TestClock())
    try:
        yield opened
    finally:
        opened.close()


def through(aws: Aws, usual: Server, at: Server) -> Any:
    """A client of one of the servers."""
    client = aws("logs")
    client.meta.events.unregister("before-send.logs", usual.answer)
    client.meta.events.register("before-send.logs", at.answer)
    return client


def test_both_put_at_once_and_each_event_is_there_once(aws: Aws, logs: Any, server: Server, other: Server) -> None:
    session = Session(server, logs)
    now = server.clock.millis()

    def put(at: Server, name: str) -> None:
        client = through(aws, server, at)
        for number in range(15):
            client.put_log_events(**OF, logEvents=[{"timestamp": now, "message": f"{name}{number}"}])

    writers = [threading.Thread(target=put, args=each) for each in ((server, "a"), (other, "b"), (other, "c"))]
    for each in writers:
        each.start()
    for each in writers:
        each.join()
    told = sorted(f"{name}{number}" for name in "abc" for number in range(15))
    for at in (server, other):
        read = through(aws, server, at).get_log_events(**OF, startFromHead=True)["events"]
        assert sorted(each["message"] for each in read) == told
    assert sorted(session.heard(len(told))) == told
    assert logs.describe_log_groups()["logGroups"][0]["storedBytes"] == sum(len(each) + 26 for each in told)


def test_the_server_itself_puts_once_what_is_named_once(aws: Aws, logs: Any, server: Server, other: Server) -> None:
    account, now = server.application.root.account_id, server.clock.millis()
    events = [face.Event(now - 1, "first"), face.Event(now, "x" * 300_000)]
    for at in (server, other, server):
        into = (at.application.house, account, "eu-west-1", "/made/by/it", "stream")
        at.run(face.append(*into, events, once="command-1"))
    server.run(face.append(server.application.house, account, "eu-west-1", "/made/by/it", "stream", events[:1]))
    read = logs.get_log_events(logGroupName="/made/by/it", logStreamName="stream", startFromHead=True)["events"]
    assert [len(each["message"]) for each in read] == [5, 5, 262_144, 300_000 - 262_144]
    assert [each["logGroupName"] for each in logs.describe_log_groups(logGroupNamePrefix="/made")["logGroups"]] == [
        "/made/by/it"
    ]
