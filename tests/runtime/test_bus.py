"""The wake-up bus: listeners, parcels, and both links between two processes' buses on the real services."""

import asyncio
import os
import shutil
import socket
import subprocess
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.runtime import bus as buses
from pilothouse.runtime.bus import Bus, Link, LinkDown
from pilothouse.runtime.bus_nats import NatsLink
from pilothouse.runtime.bus_postgresql import PostgresqlLink

ANYWHERE = ("127.0.0.1", 4222)


def reachable(address: tuple[str, int]) -> bool:
    with socket.socket() as probe:
        probe.settimeout(3)
        return probe.connect_ex(address) == 0


@pytest.fixture(scope="session")
def nats_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A NATS server: the one on the standard port, else one of our own."""
    if reachable(ANYWHERE):
        yield "nats://127.0.0.1:4222"
        return
    program = shutil.which("nats-server") or shutil.which("nats-server", path="/usr/sbin")
    if program is None:
        assert not os.environ.get("CI"), "no NATS server answers or is installed; in CI nothing may be skipped"
        pytest.skip("there is no NATS server; its tests are left out")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("nats") / "log"
    running = subprocess.Popen([program, "-a", "127.0.0.1", "-p", str(port), "-l", str(log)])
    try:
        while not reachable(("127.0.0.1", port)):
            assert running.poll() is None, log.read_text()
        yield f"nats://127.0.0.1:{port}"
    finally:
        running.terminate()
        running.wait(10)


class Direct:
    """A link without a network: what one sends all receive."""

    def __init__(self, wire: list[Callable[[bytes], None]]) -> None:
        self._wire = wire
        self.parcels: list[bytes] = []
        self.down = False

    async def run(self, received: Callable[[bytes], None]) -> None:
        self._wire.append(received)
        await asyncio.Event().wait()

    async def send(self, parcel: bytes) -> None:
        if self.down:
            raise LinkDown("pulled")
        self.parcels.append(parcel)
        for received in self._wire:
            received(parcel)


@asynccontextmanager
async def linked(*links: Link) -> AsyncIterator[list[Bus]]:
    """A bus in each of several processes."""
    made = [Bus() for _ in links]
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(bus.keep_linked(link, f"process {number}"))
            for number, (bus, link) in enumerate(zip(made, links, strict=True))
        ]
        try:
            yield made
        finally:
            for task in tasks:
                task.cancel()


async def hears(bus: Bus, topic: str, keys: set[str], again: Callable[[], None]) -> None:
    """All of the keys, told until they are there: a link that still connects may lose some."""
    with bus.waiting(topic) as woken:
        found: set[str] = set()
        async with asyncio.timeout(20):
            while found < keys:
                again()
                await asyncio.sleep(0.05)
                found |= woken.take()
    assert found == keys


async def test_one_process_hears_another_and_each_key_once() -> None:
    wire: list[Callable[[bytes], None]] = []
    async with linked(Direct(wire), Direct(wire)) as (here, there):
        heard: list[tuple[str, str]] = []
        own: list[str] = []
        there.listen("node.outbox", lambda key: heard.append(("node.outbox", key)))
        there.listen("node.gone", lambda key: heard.append(("node.gone", key)))
        here.listen("node.outbox", own.append)
        await asyncio.sleep(0.01)
        for key in ("a", "b", "a"):
            here.wake("node.outbox", key)
        here.wake("node.gone", "a")
        here.wake_here("node.gone", "only here")
        await asyncio.sleep(0.1)
        assert own == ["a", "b", "a"]
        assert sorted(heard) == [("node.gone", "a"), ("node.outbox", "a"), ("node.outbox", "b")]


async def test_a_link_that_is_down_takes_nothing_away_from_this_process() -> None:
    link = Direct([])
    link.down = True
    async with linked(link) as (here,):
        heard: list[str] = []
        here.listen("x", heard.append)
        await asyncio.sleep(0.01)
        here.wake("x", "1")
        await asyncio.sleep(0.05)
        link.down = False
        here.wake("x", "2")
        await asyncio.sleep(0.05)
        assert heard == ["1", "2"]
        assert [msgspec.json.decode(parcel)["keys"] for parcel in link.parcels] == [{"x": ["2"]}]


async def test_what_is_no_parcel_is_let_pass() -> None:
    wire: list[Callable[[bytes], None]] = []
    async with linked(Direct(wire)) as (here,):
        heard: list[str] = []
        here.listen("x", heard.append)
        await asyncio.sleep(0.01)
        for parcel in (b"", b"\xff", b"[]", b'{"sender": 1}', b'{"sender": "p", "keys": {"x": [1]}}'):
            wire[0](parcel)
        wire[0](b'{"sender": "p", "keys": {"x": ["1"]}}')
        assert heard == ["1"]


@given(st.lists(st.tuples(st.sampled_from(["a", "node.outbox", "\u00fc"]), st.text(max_size=300)), max_size=300))
def test_parcels_hold_everything_once_and_fit_a_notify(wakes: list[tuple[str, str]]) -> None:
    parcels = list(buses._parcels(dict.fromkeys(wakes)))
    assert sorted((topic, key) for keys in parcels for topic in keys for key in keys[topic]) == sorted(set(wakes))
    for keys in parcels:
        assert len(msgspec.json.encode(buses._Parcel("p" * 36, keys))) < 8000


async def test_postgresql_carries_them(postgresql_server: str | None) -> None:
    assert postgresql_server is not None
    many = {f"mi-{number:017x}" for number in range(2000)}
    async with linked(PostgresqlLink(postgresql_server), PostgresqlLink(postgresql_server)) as (here, there):

        def tell() -> None:
            for key in many:
                here.wake("node.outbox", key)

        await hears(there, "node.outbox", many, tell)


async def test_nats_carries_them_to_the_same_installation_only(nats_url: str) -> None:
    mine, other = uuid.uuid4().hex, uuid.uuid4().hex
    async with linked(NatsLink(nats_url, mine), NatsLink(nats_url, mine), NatsLink(nats_url, other)) as three:
        here, there, stranger = three
        heard: list[str] = []
        stranger.listen("node.gone", heard.append)
        await hears(there, "node.gone", {"a", "b"}, lambda: [here.wake("node.gone", key) for key in "ab"] and None)
        assert heard == []


async def test_the_server_starts_without_its_bus(tmp_path: Path) -> None:
    """A link keeps trying; nobody waits for it."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    links = NatsLink(f"nats://127.0.0.1:{port}", "x"), PostgresqlLink(f"postgresql://nobody@127.0.0.1:{port}/x")
    async with linked(*links) as (one, two):
        heard: list[str] = []
        for each in (one, two):
            each.listen("x", heard.append)
            each.wake("x", "1")
        await asyncio.sleep(0.2)
        assert heard == ["1", "1"]
