"""The stream: which events it gives, from where, to whom, and that it misses none."""

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest

from pilothouse.capabilities.events.ordering import order
from tests.capabilities.events.conftest import REGION, Reader, eventually, tell
from tests.conftest import Aws, Server

WRITERS, EACH, NAMES = 16, 125, 8


def test_an_event_has_the_envelope_that_subscribers_know(server: Server, told: Callable[..., None]) -> None:
    reader = Reader(server).ready()
    told("/prod/db", n=1)
    assert reader.names(1) == ["/prod/db"]
    account = server.application.root.account_id
    [event] = reader.events
    assert {name: value for name, value in event.items() if name not in {"id", "time"}} == {
        "version": "0",
        "detail-type": "Parameter Store Change",
        "source": "aws.ssm",
        "account": account,
        "region": REGION,
        "resources": [f"arn:aws:ssm:{REGION}:{account}:parameter/prod/db"],
        "detail": {"operation": "Update", "name": "/prod/db", "type": "String", "n": 1},
    }
    assert len(event["id"]) == 36
    assert event["time"].endswith("Z")
    assert len(event["time"]) == 20
    assert reader.blocks[-1]["event"] == "Parameter Store Change"
    reader.leave()


def test_a_path_and_kinds_select(server: Server, told: Callable[..., None]) -> None:
    below = Reader(server, path="/prod").ready()
    plain = Reader(server, path="/plain").ready()
    none = Reader(server, detail_type="Parameter Store Policy Action").ready()
    every = Reader(server, path="/", source="aws.ssm").ready()
    for name in ("/prod", "/prod/a", "/production", "/dev/a", "plain"):
        told(name)
    assert every.names(5) == ["/prod", "/prod/a", "/production", "/dev/a", "plain"]
    assert below.names(2) == ["/prod", "/prod/a"]
    assert plain.names(1) == ["plain"]
    assert none.events == []
    for reader in (below, plain, none, every):
        reader.leave()


def test_a_stream_begins_now_or_with_what_is_kept(server: Server, told: Callable[..., None]) -> None:
    told("/before")
    now, kept = Reader(server).ready(), Reader(server, **{"from": "beginning"})
    told("/after")
    assert now.names(1) == ["/after"]
    assert kept.names(2) == ["/before", "/after"]
    for reader in (now, kept):
        reader.leave()


def test_a_reader_goes_on_after_its_cursor(server: Server, told: Callable[..., None]) -> None:
    reader = Reader(server).ready()
    quiet = reader.last_id
    told("/a")
    reader.names(1)
    last = reader.last_id
    reader.leave()
    told("/b")
    assert Reader(server, last_id=last).names(1) == ["/b"]
    assert Reader(server, cursor=quiet).names(2) == ["/a", "/b"]
    assert Reader(server, cursor=quiet, last_id=last).names(1) == ["/b"]


def test_other_accounts_and_regions_are_not_seen(server: Server, told: Callable[..., None]) -> None:
    house, account = server.application.house, server.application.root.account_id
    queries: list[dict[str, Any]] = [{}, {"path": "/"}, {"path": "/shared"}, {"source": "aws.ssm"}]
    readers = [Reader(server, **{"from": "beginning"}, **query).ready() for query in queries]
    server.run(tell(house, "999999999999", "/shared/theirs"))
    server.run(tell(house, account, "/shared/elsewhere", region="us-west-2"))
    told("/shared/mine")
    readers.append(Reader(server, **{"from": "beginning"}, path="/shared"))
    for reader in readers:
        assert reader.names(1) == ["/shared/mine"]
        reader.leave()
    for theirs in (["999999999999", REGION], [account, "us-west-2"]):
        cursor = house.pages.token(["events", *theirs], [0, ""])
        assert Reader(server, cursor=cursor).error["__type"] == "ValidationException"


def test_what_is_asked_wrongly_is_refused(server: Server) -> None:
    assert Reader(server, secret="wrong").status == 403
    for query in ({"cursor": "rubbish"}, {"from": "then"}, {"path": "prod"}, {"what": "else"}):
        refused = Reader(server, **query)
        assert (refused.status, refused.error["__type"]) == (400, "ValidationException"), query


def test_a_cursor_of_what_is_no_longer_kept_says_so(server: Server, told: Callable[..., None]) -> None:
    reader = Reader(server).ready()
    told("/a")
    reader.names(1)
    old = reader.last_id
    reader.leave()
    for name in ("/b", "/c", "/d"):
        told(name)
    server.run(order(server.application.house))
    server.advance(days=8)
    eventually(lambda: Reader(server, last_id=old).status == 410)
    assert Reader(server, last_id=old).error["__type"] == "EventCursorExpiredException"
    assert Reader(server, **{"from": "beginning"}).names(1) == ["/d"]  # the newest holds the place
    told("/e")
    assert Reader(server, **{"from": "beginning"}).names(2) == ["/d", "/e"]


def test_one_principal_has_so_many_streams(server: Server) -> None:
    readers = [Reader(server).ready() for _ in range(5)]
    assert Reader(server).status == 429
    readers.pop().leave()
    assert Reader(server).status == 200
    for reader in readers:
        reader.leave()


def test_heartbeats_move_the_cursor_past_what_is_not_wanted(server: Server, told: Callable[..., None]) -> None:
    reader = Reader(server, path="/wanted").ready()
    first = reader.last_id
    told("/unwanted")
    server.advance(seconds=16)
    eventually(lambda: ": still here" in reader.text)
    eventually(lambda: [server.advance(seconds=1), "id: " in reader.text.partition(": still here")[2]][1])
    assert reader.text.rpartition("id: ")[2].strip() != first
    reader.leave()


def test_a_stream_ends_with_its_credentials(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = Reader(server).ready()
    house, key = server.application.house, server.application.root.access_key_id

    async def disable() -> None:
        async with house.database.transaction() as tx:
            await tx.execute("update access_key set status = 'Inactive' where access_key_id = :key", key=key)

    server.run(disable())
    assert reader.done is not None
    assert not reader.done.done()
    server.advance(seconds=60)
    reader.done.result(20)


def test_the_server_ends_its_streams(server: Server) -> None:
    reader = Reader(server).ready()

    async def drain() -> None:
        server.application.drain()

    server.run(drain())
    assert reader.done is not None
    reader.done.result(20)
    assert Reader(server).status == 503


async def _write(house: Any, account: str, writer: int, counts: dict[str, int]) -> None:
    """Changes of a few names, slower and faster ones, some of them undone."""
    chance = random.Random(writer)
    for n in range(EACH):
        name = f"/busy/{chance.randrange(NAMES)}"
        while True:
            undone = chance.random() < 0.1
            try:
                async with house.database.transaction() as tx:
                    if not tx.serial and chance.random() < 0.3:  # a transaction's id before its lock
                        await tx.execute("update access_key set status = status where account_id = 'none'")
                    await tx.lock("name", name)
                    await house.tell(
                        tx, "event", account_id=account, region=REGION, source="aws.ssm",
                        detail_type="Parameter Store Change", resources=[],
                        detail={"name": name, "n": counts.get(name, 0) + 1, "id": f"{writer}-{n}"},
                    )  # fmt: skip
                    if not tx.serial:
                        await asyncio.sleep(chance.random() * 0.01)
                    if undone:
                        raise InterruptedError
                    counts[name] = counts.get(name, 0) + 1
            except InterruptedError:
                continue
            break


def test_concurrent_writers_and_a_reader_that_comes_and_goes(server: Server) -> None:
    """2,000 events: each is seen, and those of one name in the order in which they were made."""
    house, account = server.application.house, server.application.root.account_id
    counts: dict[str, int] = {}

    async def write() -> None:
        async with asyncio.TaskGroup() as group:
            for writer in range(WRITERS):
                group.create_task(_write(house, account, writer, counts))

    reader = Reader(server).ready()
    writing = asyncio.run_coroutine_threadsafe(write(), server._loop)
    chance, seen = random.Random(7), []
    while not writing.done():
        eventually(lambda current=reader: current.events or writing.done(), 60)
        if chance.random() < 0.5:
            reader.leave()
            seen += reader.events
            reader = Reader(server, last_id=reader.last_id).ready()
    writing.result(1)
    total = WRITERS * EACH
    eventually(lambda: len({event["id"] for event in [*seen, *reader.events]}) >= total, 60)
    reader.leave()
    seen += reader.events
    assert len({event["detail"]["id"] for event in seen}) == total
    for name in counts:
        numbers = list(dict.fromkeys(event["detail"]["n"] for event in seen if event["detail"]["name"] == name))
        assert numbers == list(range(1, counts[name] + 1))


def test_a_change_of_a_parameter_is_an_event(server: Server, aws: Aws) -> None:
    reader = Reader(server, path="/real").ready()
    aws("ssm", region=REGION).put_parameter(Name="/real/a", Value="secret-canary", Type="SecureString")
    assert reader.names(1) == ["/real/a"]
    assert reader.events[0]["detail"]["operation"] == "Create"
    assert "secret-canary" not in reader.text
    reader.leave()
