"""Two servers on one PostgreSQL: readers at one see what the other wrote, and a webhook has one of them at a time."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pilothouse.capabilities.events import deliveries, store
from pilothouse.runtime.clock import TestClock
from pilothouse.runtime.settings import OutboundSettings, Settings
from tests.capabilities.events.conftest import Reader, Receiver, eventually, tell
from tests.conftest import Server

pytestmark = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


@pytest.fixture
def other(server: Server, database_url: str, tmp_path: Path) -> Iterator[Server]:
    """A second server of the installation, with a clock of its own and a copy of the data directory."""
    data = tmp_path / "other"
    shutil.copytree(server.settings.data, data)  # with its process-id, as operators do
    opened = Server(
        Settings(data=data, database=database_url, outbound=OutboundSettings(allow=("127.0.0.1/32",))), TestClock()
    )
    try:
        yield opened
    finally:
        opened.close()


def change(at: Server, *names: str) -> None:
    for name in names:
        at.run(tell(at.application.house, at.application.root.account_id, name))


def in_both(server: Server, other: Server, **by: float) -> None:
    """Let time pass."""
    server.advance(**by)
    other.advance(**by)


def names(receiver: Receiver) -> list[str]:
    return [event["detail"]["name"] for event in receiver.events]


def value(at: Server, sql: str) -> Any:
    async def asked() -> Any:
        async with at.application.house.database.reading() as tx:
            return await tx.value(sql)

    return at.run(asked())


def test_a_stream_sees_what_is_written_through_the_other_server(server: Server, other: Server) -> None:
    reader = Reader(server).ready()
    wanted = []
    for n in range(20):
        at = (server, other)[n % 2]
        change(at, f"/{n}")
        wanted.append(f"/{n}")
    eventually(lambda: [in_both(server, other, seconds=1), len(reader.events) == 20][1])
    assert reader.names(20) == wanted  # each was committed before the next began
    reader.leave()
    assert value(other, "select count(*) from event") == value(other, "select max(place) from event") == 20


def test_a_webhook_is_delivered_to_by_one_of_them(
    server: Server, other: Server, client: Any, receiver: Receiver
) -> None:
    made = client.create_webhook(Url=receiver.url)
    for n in range(30):
        change((server, other)[n % 2], f"/{n}")
        if n % 5 == 0:
            in_both(server, other, seconds=1)
    eventually(lambda: len(receiver.taken) >= 30)  # by the clock's own pace: a process in a leap of time lost its hold
    in_both(server, other, seconds=5)
    eventually(lambda: client.describe_webhook(WebhookId=made["WebhookId"])["Webhook"]["EventsBehind"] == 0)
    assert names(receiver) == [f"/{n}" for n in range(30)]


def test_a_webhook_is_taken_over_when_its_server_dies(
    server: Server, clock: TestClock, client: Any, receiver: Receiver
) -> None:
    made = client.create_webhook(Url=receiver.url)

    async def hold(holder: str) -> bool:
        async with server.application.house.database.transaction() as tx:
            [webhook] = await store.deliverable(tx)
            now = clock.millis()
            return await store.hold(tx, webhook, holder, now, now + deliveries.HOLD_SECONDS * 1000)

    assert server.run(hold("a process that was killed"))
    change(server, "/a", "/b")
    server.advance(seconds=30)
    eventually(lambda: client.describe_webhook(WebhookId=made["WebhookId"])["Webhook"]["EventsBehind"] == 2)
    assert receiver.taken == []
    server.advance(seconds=31)
    eventually(lambda: [server.advance(seconds=1), len(receiver.taken) == 2][1])
    assert names(receiver) == ["/a", "/b"]
    assert value(server, "select holder from webhook") == server.application.house.process_id


def test_a_slow_receiver_does_not_outlast_its_hold(
    server: Server, clock: TestClock, client: Any, receiver: Receiver
) -> None:
    left: list[int] = []

    def be_slow() -> None:
        server.advance(seconds=9)
        left.append(value(server, "select held_until from webhook") - clock.millis())

    receiver.during = be_slow
    client.create_webhook(Url=receiver.url)
    change(server, *(f"/{n}" for n in range(15)))
    eventually(lambda: len(receiver.taken) == 15)
    assert names(receiver) == [f"/{n}" for n in range(15)]
    assert min(left) > 0
