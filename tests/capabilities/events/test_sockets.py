"""The stream on a socket: readers that read nothing, and what they cost others."""

import asyncio
import socket
from collections.abc import Iterator
from concurrent.futures import Future

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from pilothouse.call import Call
from pilothouse.capabilities.events import streaming
from pilothouse.capabilities.events.model import Cursor, Event
from pilothouse.runtime.settings import LimitSettings
from pilothouse.wire.asgi import WireApplication
from pilothouse.wire.server import Listener, serve
from pilothouse.wire.server import _LimitedHttp as LimitedHttp
from tests.capabilities.events.conftest import PATH, REGION, Reader, eventually
from tests.conftest import Server

EVENTS, SIZE = 2000, 10_000
END = b"\r\n0\r\n\r\n"
"""Of an answer that is whole."""


@pytest.fixture
def port(server: Server, request: pytest.FixtureRequest) -> Iterator[int]:
    """Where the server listens; the parameter says how many seconds a client may leave its buffers full."""
    limits = LimitSettings(stall_seconds=getattr(request, "param", 30))
    found: Future[int] = Future()
    stopping = asyncio.Event()

    async def listen() -> None:
        await serve(
            WireApplication(server.application.front, limits=limits),
            [Listener("127.0.0.1", 0)],
            stopping=stopping,
            started=lambda bound: found.set_result(bound[0][1]),
        )

    serving = asyncio.run_coroutine_threadsafe(listen(), server._loop)
    yield found.result(20)
    server._loop.call_soon_threadsafe(server.application.drain)
    server._loop.call_soon_threadsafe(stopping.set)
    serving.result(20)


def connected(server: Server, port: int) -> socket.socket:
    """A client that has sent its request for all that is kept, and has a small buffer."""
    root = server.application.root
    signed = AWSRequest("GET", f"http://127.0.0.1:{port}{PATH}?from=beginning")
    SigV4Auth(Credentials(root.access_key_id, root.secret), "pilothouse", REGION).add_auth(signed)
    head = "".join(f"{name}: {value}\r\n" for name, value in signed.headers.items())
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    made.settimeout(20)
    made.connect(("127.0.0.1", port))
    made.sendall(f"GET {PATH}?from=beginning HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n{head}\r\n".encode())
    return made


def rest(client: socket.socket) -> bytes:
    """The end of what comes until the server has no more."""
    heard = b""
    with client:
        while not heard.endswith(END) and (part := client.recv(1 << 20)):
            heard = (heard + part)[-64:]
    return heard


async def fill(server: Server) -> None:
    """Twenty megabytes of events: more than what lies between two ends of a connection."""
    house, account = server.application.house, server.application.root.account_id
    async with house.database.transaction() as tx:
        for n in range(EVENTS):
            await house.tell(
                tx, "event", account_id=account, region=REGION, source="aws.ssm", detail_type="Parameter Store Change",
                resources=[], detail={"name": f"/{n}", "description": "x" * SIZE},
            )  # fmt: skip


@pytest.mark.parametrize("port", [3.0], indirect=True)
def test_a_reader_that_reads_nothing_costs_little_and_is_left(
    server: Server, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: dict[str, int] = {}
    page = streaming._page

    async def counted(call: Call, cursor: Cursor) -> list[Event]:
        found = await page(call, cursor)
        taken[call.request_id] = taken.get(call.request_id, 0) + len(found)
        return found

    monkeypatch.setattr(streaming, "_page", counted)
    server.run(fill(server))
    silent = connected(server, port)
    streams = server.application.streams
    eventually(lambda: taken)
    [first] = taken
    other = Reader(server, **{"from": "beginning"})
    eventually(lambda: len(other.events) == EVENTS)
    other.leave()
    eventually(lambda: streams.open == 0)
    assert 0 < taken[first] < EVENTS * 0.9  # it was not read ahead for it
    assert not rest(silent).endswith(END)


@pytest.mark.parametrize("port", [4.0], indirect=True)
def test_a_stream_ends_when_its_key_is_disabled_even_if_nobody_reads(
    server: Server, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[object] = []

    def abort(connection: LimitedHttp) -> None:
        left.append(connection)
        connection.transport.abort()

    monkeypatch.setattr(LimitedHttp, "abort", abort)
    reading = connected(server, port)
    eventually(lambda: server.application.streams.open == 1)
    server.run(fill(server))
    silent = connected(server, port)
    eventually(lambda: server.application.streams.open == 2)
    house, key = server.application.house, server.application.root.access_key_id

    async def disable() -> None:
        async with house.database.transaction() as tx:
            await tx.execute("update access_key set status = 'Inactive' where access_key_id = :key", key=key)

    server.run(disable())
    server.advance(seconds=60)
    assert rest(reading).endswith(END)
    eventually(lambda: left)
    assert server.application.streams.open == 0
    assert not rest(silent).endswith(END)
