"""Ends of a session at two servers of one installation: what one has travels to where the other is."""

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import botocore.auth
import pytest

from pilothouse.runtime.clock import TestClock
from pilothouse.runtime.settings import Settings
from tests.capabilities.commands.conftest import Fleet
from tests.capabilities.sessions.conftest import World
from tests.capabilities.sessions.test_ends import _talk_through_cuts, typed_piece
from tests.capabilities.sessions.test_terminals import Page
from tests.conftest import Aws, Server
from tests.gateway.scripted_session import ScriptedClient, in_process, pattern

pytestmark = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


@pytest.fixture
def here(server: Server, aws: Aws, clock: TestClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """One server, at which the nodes are."""
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda *_: clock.now().replace(tzinfo=None))
    made = World(server, aws, Fleet(server, aws))
    yield made
    made.close()


@pytest.fixture
def there(here: World, server: Server, aws: Aws, database_url: str, tmp_path: Path) -> Iterator[World]:
    """Another server, at which the clients are."""
    data = tmp_path / "other"
    shutil.copytree(server.settings.data, data, ignore=shutil.ignore_patterns("process-id"))
    opened = Server(Settings(data=data, database=database_url), TestClock())
    made = World(opened, aws, Fleet(opened, aws))
    try:
        _linked(here)
        yield made
        made.close()
    finally:
        opened.close()


def _linked(world: World) -> None:
    sql = (
        "select count(*) from pg_stat_activity where datname = current_database()"
        " and (query like 'LISTEN%' or query like 'select pg_notify%')"
    )

    async def count() -> int:
        async with world.server.application.house.database.reading() as tx:
            return int(await tx.value(sql))

    world.until(lambda: world.run(count()) == 2)


async def _said(client: ScriptedClient, data: bytes) -> None:
    for start in range(0, len(data), 900):
        await client.say(data[start : start + 900])


@pytest.mark.parametrize("first", ["client", "agent"])
def test_a_shell_between_two_servers(here: World, there: World, first: str) -> None:
    node = here.node(serves=first == "agent")
    started = here.start(node)
    session_id = started["SessionId"]
    if first == "agent":
        here.until(lambda: session_id in here.workers and here.workers[session_id].paused)
    client = there.client(started)
    if first == "client":
        there.run(client.say(b"early"))
        (told,) = here.until(lambda: node.agent.shells)
        here.serve(node)

        async def come() -> None:
            assert node.agent.on_shell is not None
            node.agent.on_shell(told)

        here.run(come())
    here.until(lambda: here.status(session_id) == "Connected")
    typed = pattern(30_000)
    there.run(_said(client, typed))
    large = pattern(100_000, 7)
    worker = here.workers[session_id]
    early = b"early" if first == "client" else b""
    here.until(lambda: bytes(worker.received) == early + typed)
    here.until(lambda: bytes(client.received) == early + typed)
    here.run(worker.say(large))
    here.until(lambda: bytes(client.received) == early + typed + large)
    assert client.resumed == 0
    assert len(here.server.application.edge.data._pairs) == 1
    assert len(there.server.application.edge.data._pairs) == 0
    there.ssm.terminate_session(SessionId=session_id)
    here.until(lambda: client.farewell == "The session was terminated by root." and worker.over.is_set())


def test_an_agent_that_comes_back_elsewhere(here: World, there: World) -> None:
    node = here.node()
    started = here.start(node)
    client = there.client(started)
    session_id = started["SessionId"]
    here.until(lambda: here.status(session_id) == "Connected")
    there.run(_said(client, b"one "))
    here.until(lambda: bytes(client.received) == b"one ")
    worker = here.workers[session_id]
    here.run(_leave(worker))
    worker._way = in_process(there.server.application.edge)
    there.run(_start(worker))
    there.run(_said(client, b"two"))
    here.until(lambda: bytes(client.received) == b"one two")
    assert bytes(worker.received) == b"one two"
    assert len(there.server.application.edge.data._pairs) == 1
    there.run(worker.stop())
    del here.workers[session_id]


async def _leave(worker: Any) -> None:
    """Go away without an end, keeping the counters."""
    worker._task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await worker._task
    await worker.cut()
    worker.socket = None
    worker.over.clear()


async def _start(worker: Any) -> None:
    worker.start()


def test_cuts_between_two_servers_lose_nothing(here: World, there: World) -> None:
    node = here.node()
    started = here.start(node)
    client = there.client(started)
    here.until(lambda: here.status(started["SessionId"]) == "Connected")
    worker = here.workers[started["SessionId"]]
    there.run(_talk_through_cuts(client, client, 11))  # the client's connection alone
    typed = b"".join(map(typed_piece, range(60)))
    here.until(lambda: len(client.received) >= len(typed))
    assert bytes(client.received) == bytes(worker.received) == typed


def test_a_page_at_another_server(here: World, there: World) -> None:
    node = here.node()
    started = here.start(node)
    session_id = started["SessionId"]
    here.until(lambda: session_id in here.workers and here.workers[session_id].paused)
    page = Page(there, session_id, started["TokenValue"])
    here.until(lambda: here.status(session_id) == "Connected")
    page.type(b"hello")
    here.until(lambda: bytes(page.shown) == b"hello")
    own = here.aws("pilothouse")
    joiner = Page(there, session_id, own.open_session_view(SessionId=session_id, Mode="join")["TokenValue"])
    here.until(lambda: bytes(joiner.shown) == b"hello")
    watcher = Page(there, session_id, own.open_session_view(SessionId=session_id, Mode="watch")["TokenValue"])
    joiner.type(b" all")
    for each in (page, joiner, watcher):
        here.until(lambda each=each: bytes(each.shown) == b"hello all")

    page.leave()
    here.until(lambda: here.status(session_id) == "Disconnected")
