"""Tunnels: raw and multiplexed, to whom they go and to whom not."""

import asyncio
import contextlib
import hashlib
import os
import socket
import struct
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.agent.conftest import Agent, node_for_sessions
from tests.agent.fake_server import FakeServer
from tests.agent.fake_sessions import OURS, PLUGIN, FakeSession

SYN, FIN, PSH, NOP = range(4)
DISCONNECT, TERMINATE, CONNECT_FAILED = 1, 2, 3
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node(certificates: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Agent]:
    async with node_for_sessions(certificates, tmp_path_factory.mktemp("node")) as made:
        yield made


@pytest.fixture
def server(node: Agent) -> FakeServer:
    return node.server


def port(number: int, **properties: str) -> dict[str, Any]:
    return {"sessionType": "Port", "properties": {"portNumber": str(number), **properties}}


def forwarding(number: int) -> dict[str, Any]:
    return port(number, type="LocalPortForwarding", localPortNumber="0")


@contextlib.asynccontextmanager
async def listening(handle: Handler, number: int = 0) -> AsyncIterator[int]:
    """A service on the node; its connections end with it."""
    tasks: set[asyncio.Task[None] | None] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())
        try:
            await handle(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass  # the tunnel is gone, or the test is over
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", number)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            if task is not None:
                task.cancel()
        await asyncio.gather(*(task for task in tasks if task is not None), return_exceptions=True)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.02)


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Mux:
    """The client's end of smux, by hand."""

    session: FakeSession
    chunk: int = 1024
    streams: dict[int, bytearray] = field(default_factory=dict)
    closed: set[int] = field(default_factory=set)
    nops: int = 0
    left: bytearray = field(default_factory=bytearray)

    def __post_init__(self) -> None:
        self.session.on_output = self._receive

    def _receive(self, data: bytes) -> None:
        self.left += data
        while len(self.left) >= 8:
            version, command, length, stream = struct.unpack_from("<BBHI", self.left)
            assert version == 1
            if len(self.left) < 8 + length:
                return
            piece = bytes(self.left[8 : 8 + length])
            del self.left[: 8 + length]
            if command == PSH:
                self.streams[stream] += piece
            elif command == FIN:
                self.closed.add(stream)
            else:
                assert (command, stream) == (NOP, 0)
                self.nops += 1

    async def put(self, command: int, stream: int, data: bytes = b"") -> None:
        """In pieces that do not care for frames."""
        whole = struct.pack("<BBHI", 1, command, len(data), stream) + data
        await self.session.send_all(1, whole, self.chunk)

    async def open(self, stream: int) -> None:
        self.streams[stream] = bytearray()
        await self.put(SYN, stream)

    async def send(self, stream: int, data: bytes) -> None:
        for start in range(0, len(data), 30_000):
            await self.put(PSH, stream, data[start : start + 30_000])


@pytest.mark.parametrize("client", [PLUGIN, OURS], ids=["plugin", "ours"])
async def test_many_connections_in_one_session(server: FakeServer, node: Agent, client: dict[str, Any]) -> None:
    async with listening(echo) as number:
        session = await server.start_session(node.instance_id, forwarding(number), client=client)
        await session.shaken()
        action = session.request["RequestedClientActions"][0]["ActionParameters"]
        assert action == {"SessionType": "Port", "Properties": forwarding(number)["properties"]}
        mux = Mux(session, 1024 if client is PLUGIN else 16_384)
        given = {stream: os.urandom(200_000) for stream in (3, 5, 7)}
        async with asyncio.TaskGroup() as group:
            for stream in given:
                await mux.open(stream)
            for stream, data in given.items():
                group.create_task(mux.send(stream, data))
        session.cut()
        await session.until(lambda: all(mux.streams[each] == given[each] for each in given), "the echo", 60)
        assert session.largest == (31_744 if client is PLUGIN else 16_384)
        await mux.put(FIN, 3)
        await mux.open(9)
        await mux.put(NOP, 0)
        await mux.send(9, b"again")
        await session.until(lambda: mux.streams[9] == b"again", "the fourth connection")
        assert not mux.closed
        await session.flag(TERMINATE)
        assert (await server.completion(session))["FinalTaskStatus"] == "Success"
        assert mux.nops == 0


async def test_ends_of_connections_are_passed_on(server: FakeServer, node: Agent) -> None:
    received: list[bytes] = []

    async def answer_and_close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(bytes(300_000))
        await writer.drain()
        writer.write_eof()
        received.append(await reader.read())

    async with listening(answer_and_close) as number:
        session = await server.start_session(node.instance_id, forwarding(number))
        await session.shaken()
        mux = Mux(session)
        await mux.open(3)
        await session.until(lambda: 3 in mux.closed, "the end of the connection")
        assert mux.streams[3] == bytes(300_000)
        await mux.open(5)
        await mux.send(5, b"last words")
        await mux.put(FIN, 5)
        await eventually(lambda: len(received) == 2)
        assert received == [b"", b"last words"]


async def test_a_closed_port_is_told_and_the_session_goes_on(server: FakeServer, node: Agent) -> None:
    number = unused_port()
    session = await server.start_session(node.instance_id, forwarding(number))
    await session.shaken()
    mux = Mux(session)
    await mux.open(3)
    await session.until(lambda: 3 in mux.closed, "the end of the stream")
    assert session.flags == [CONNECT_FAILED]
    async with listening(echo, number):
        await mux.open(5)
        await mux.send(5, b"hello")
        await session.until(lambda: mux.streams[5] == b"hello", "the echo")
    await session.send(1, b"\x07 no smux")
    assert "smux" in (await server.completion(session))["Output"]

    session = await server.start_session(node.instance_id, port(unused_port()))
    completion = await server.completion(session)
    assert completion["FinalTaskStatus"] == "Failed"
    assert "Connection refused" in completion["Output"]


async def test_one_raw_connection(server: FakeServer, node: Agent) -> None:
    """As for ssh: the bytes of one connection, in both directions, until the node's side closes."""
    given = os.urandom(500_000)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-test\r\n")
        writer.write(hashlib.sha256(await reader.readexactly(len(given))).hexdigest().encode())
        await writer.drain()

    async with listening(serve) as number:
        session = await server.start_session(node.instance_id, port(number))
        await session.shows("SSH-2.0-test\r\n")
        await session.send_all(1, given, 1024)
        completion = await server.completion(session)
        assert session.output.decode().splitlines()[1] == hashlib.sha256(given).hexdigest()
        assert (completion["FinalTaskStatus"], completion["Output"]) == ("Success", "")


async def test_raw_connections_one_after_the_other(server: FakeServer, node: Agent) -> None:
    """Clients without smux: the next bytes after a disconnect dial anew."""
    count = 0

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        count += 1
        writer.write(b"number %d: " % count)
        await echo(reader, writer)

    async with listening(greet) as number:
        session = await server.start_session(node.instance_id, forwarding(number), client={"ClientVersion": "1.0.0.0"})
        await session.shaken()
        await session.type("one\n")
        await session.shows("number 1: one\n")
        await session.flag(DISCONNECT)
        await session.type("two\n")
        await session.shows("number 2: two\n")
        await session.flag(TERMINATE)
        await server.completion(session)


async def test_a_destination_that_does_not_read_costs_no_memory(server: FakeServer, node: Agent) -> None:
    """Much for a connection that takes nothing: the client is held back, another connection's end is still seen."""
    go_on = asyncio.Event()
    digest = hashlib.sha256()
    seen = 0

    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal seen
        await go_on.wait()
        while data := await reader.read(65_536):
            digest.update(data)
            seen += len(data)

    given = os.urandom(16_000_000)  # the kernel takes some of it
    async with listening(late) as number:
        session = await server.start_session(node.instance_id, forwarding(number), client=OURS)
        await session.shaken()
        mux = Mux(session, 16_384)
        await mux.open(3)
        async with asyncio.TaskGroup() as group:
            group.create_task(mux.send(3, given))
            await session.until(lambda: session.in_flight > 900_000, "a full window")
            go_on.set()
        await mux.put(FIN, 3)
        await session.until(lambda: session.in_flight == 0, "all acknowledgements")
        await eventually(lambda: seen == len(given))
        assert digest.digest() == hashlib.sha256(given).digest()


async def test_where_no_tunnel_goes(server: FakeServer, node: Agent) -> None:
    for host in (
        "169.254.169.254",
        "[::ffff:169.254.169.254]",
        "fe80::1%lo",
        "fd00:ec2::254",
        "0.0.0.0",
        "no.such.host.invalid",
    ):
        session = await server.start_session(node.instance_id, port(80, host=host))
        completion = await server.completion(session)
        assert completion["FinalTaskStatus"] == "Failed", host
        assert "Unable to connect" in completion["Output"]
    async with listening(echo) as number:
        session = await server.start_session(node.instance_id, port(number, host="127.0.0.1"))
        await session.shaken()
        await session.type("there")
        await session.shows("there")
