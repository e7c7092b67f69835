"""Floods, slow readers and those who never begin, on real sockets; and that the others do not notice."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.errors import ThrottlingException
from pilothouse.runtime.metrics import render
from pilothouse.runtime.peers import Proxies
from pilothouse.runtime.settings import LimitSettings, Settings
from pilothouse.wire.asgi import WireApplication
from pilothouse.wire.front import Front
from pilothouse.wire.http import Request, Response
from pilothouse.wire.server import Listener, serve, tls_context
from pilothouse.wire.shares import NODE, Shares
from tests.capabilities.access.policies import User, allow
from tests.conftest import Aws, Server
from tests.wire.test_server import self_signed

LARGE = 24 << 20
MOST = 4
LIMITS = LimitSettings(connections_per_address=MOST, head_seconds=0.6, body_seconds=2, stall_seconds=0.6)
GOOD = b"POST / HTTP/1.1\r\nHost: x\r\nX-Good: yes\r\nContent-Length: 0\r\n\r\n"
OK = b"HTTP/1.1 200 OK"
TOO_LARGE = b"HTTP/1.1 413 Request Entity Too Large"
HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 100
BAD = GOOD.replace(b"X-Good", b"X-Other")


class Door:
    """Knows good callers by a header; answers with as much as is asked for."""

    told: tuple[str, bool] = "", False
    size = 0

    async def knows(self, request: Request) -> bool:
        return "x-known" in request.headers

    async def respond(self, request: Request, named: tuple[str, str] | None = None) -> Response:
        self.size = len(request.body)
        if "x-tell" in request.headers:
            self.told = request.peer, request.secure
            return Response(200, {}, b"")
        signed = "x-good" in request.headers
        status = 200 if signed or "x-unsigned" in request.headers else 403
        return Response(status, {}, b"x" * int(request.headers.get("x-size", "2")), signed=signed)


class Ports:
    """The two listeners, and the clients that are still to be closed."""

    def __init__(self, plain: int, secure: int, door: Door) -> None:
        self.plain, self.secure, self.door = plain, secure, door
        self.clients: list[Client] = []

    async def connected(self, address: str = "127.0.0.1", *, secure: bool = False, **more: Any) -> "Client":
        port = self.secure if secure else self.plain
        made = Client(*await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0), **more))
        self.clients.append(made)
        return made


@pytest.fixture
async def ports(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Ports]:
    """A server with small limits, or those of the parameter; 127.0.0.9 is a trusted proxy."""
    limits, proxies, door = getattr(request, "param", LIMITS), Proxies(["127.0.0.9/32"]), Door()
    listeners = [Listener("127.0.0.1", 0), Listener("127.0.0.1", 0, tls_context(*self_signed(tmp_path)))]
    stopping: asyncio.Event = asyncio.Event()
    started: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    application = WireApplication(Front(door), None, limits, proxies)  # type: ignore[arg-type]
    task = asyncio.create_task(
        serve(
            application, listeners, stopping=stopping, started=started.set_result, limits=limits, proxies=proxies,
        )
    )  # fmt: skip
    plain, secure = await started
    opened = Ports(plain[1], secure[1], door)
    yield opened
    for client in opened.clients:
        await client.close()
    stopping.set()
    await task


class Client:
    """A connection that is kept."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def ask(self, request: bytes) -> bytes:
        """The status line, or nothing if the server closed."""
        with contextlib.suppress(ConnectionError):
            self.writer.write(request)
            await self.writer.drain()
            head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 20)
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            await self.reader.readexactly(length)
            return head.partition(b"\r\n")[0]
        return b""

    async def is_closed(self) -> bool:
        try:
            return await asyncio.wait_for(self.reader.read(1), 20) == b""
        except ConnectionError:
            return True

    async def close(self) -> None:
        self.writer.transport.abort()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()


async def asked(client: Client, request: bytes) -> bytes:
    try:
        return await client.ask(request)
    except asyncio.IncompleteReadError:
        return b""


async def test_an_address_has_so_many_connections_that_show_nothing(ports: Ports) -> None:
    idle = [await ports.connected() for _ in range(MOST)]
    for _ in range(3):
        assert await asked(await ports.connected(), GOOD) == b""
    other = await ports.connected("127.0.0.2")
    assert await other.ask(GOOD) == b"HTTP/1.1 200 OK"
    await idle.pop().close()
    for _ in range(100):  # the server may see the end a moment later
        if await asked(await ports.connected(), GOOD) == b"HTTP/1.1 200 OK":
            break
    else:
        raise AssertionError("the place of a connection that ended was not given free")


async def test_connections_with_good_signatures_do_not_count(ports: Ports) -> None:
    kept = []
    for _ in range(MOST * 5):
        kept.append(await ports.connected())
        assert await kept[-1].ask(GOOD) == b"HTTP/1.1 200 OK"
    for client in kept:
        assert await client.ask(GOOD) == b"HTTP/1.1 200 OK"


async def test_a_refusal_shows_nothing(ports: Ports) -> None:
    kept = [await ports.connected() for _ in range(MOST)]
    for client in kept:
        assert await client.ask(BAD) == b"HTTP/1.1 403 Forbidden"
    assert await asked(await ports.connected(), GOOD) == b""
    assert await kept[0].ask(GOOD) == b"HTTP/1.1 200 OK"
    assert await (await ports.connected()).ask(GOOD) == b"HTTP/1.1 200 OK"


async def test_a_good_answer_to_an_unsigned_call_shows_nothing(ports: Ports) -> None:
    kept = [await ports.connected() for _ in range(MOST)]
    for client in kept:
        assert await client.ask(GOOD.replace(b"X-Good", b"X-Unsigned")) == b"HTTP/1.1 200 OK"
    assert await asked(await ports.connected(), GOOD) == b""


async def test_large_bodies_show_as_small_ones_do(ports: Ports) -> None:
    body = b"x" * 300_000
    request = GOOD.replace(b"Length: 0", b"Length: %d" % len(body)) + body
    for _ in range(MOST * 2):
        assert await (await ports.connected()).ask(request) == b"HTTP/1.1 200 OK"


async def test_who_does_not_begin_tls_counts_for_its_address_and_is_cut_off(ports: Ports, tmp_path: Path) -> None:
    silent = [await ports.connected("127.0.0.2", secure=True) for _ in range(MOST)]
    silent[0].writer.write(HELLO[:30])
    assert await (await ports.connected("127.0.0.2", secure=True)).is_closed()
    trusting = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
    good = await ports.connected(ssl=trusting, secure=True)
    assert await good.ask(GOOD) == b"HTTP/1.1 200 OK"
    for client in silent:
        assert await client.is_closed()


async def test_tls_that_comes_in_small_pieces_is_taken(ports: Ports, tmp_path: Path) -> None:
    coming, going = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = ssl.create_default_context(cafile=str(tmp_path / "cert.pem")).wrap_bio(
        coming, going, server_hostname="127.0.0.1"
    )
    client = await ports.connected(secure=True)
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    hello = going.read()
    for at in range(0, len(hello), 100):
        client.writer.write(hello[at : at + 100])
        await client.writer.drain()
        await asyncio.sleep(0.01)
    while True:
        coming.write(await asyncio.wait_for(client.reader.read(1 << 16), 20))
        with contextlib.suppress(ssl.SSLWantReadError):
            tls.do_handshake()
            break
    assert tls.version() == "TLSv1.3"


@pytest.mark.parametrize("said", [GOOD, HELLO[:40], b"\x16\x03\x01\xff\xff" + b"x" * 300])
async def test_what_is_no_tls_ends_without_harm(ports: Ports, said: bytes) -> None:
    client = await ports.connected(secure=True)
    client.writer.write(said)
    client.writer.write_eof()
    assert await client.is_closed() or True  # an alert, or nothing


@pytest.mark.parametrize("ports", [replace(LIMITS, connections=6)], indirect=True)
async def test_when_all_places_are_taken_the_crowd_makes_room_and_who_is_known_stays(ports: Ports) -> None:
    known = [await ports.connected("127.0.0.2") for _ in range(2)]
    for client in known:
        assert await client.ask(GOOD) == b"HTTP/1.1 200 OK"
    crowd = [await ports.connected("127.0.0.3") for _ in range(MOST)]
    assert await crowd[0].ask(BAD) == b"HTTP/1.1 403 Forbidden"
    other = await ports.connected("127.0.0.4")
    assert await other.ask(GOOD) == b"HTTP/1.1 200 OK"
    assert await crowd[-1].is_closed()
    for client in (*known, other):
        assert await client.ask(GOOD) == b"HTTP/1.1 200 OK"
    assert await crowd[0].ask(BAD) == b"HTTP/1.1 403 Forbidden"


@pytest.mark.parametrize("ports", [replace(LIMITS, connections=3)], indirect=True)
async def test_when_all_are_known_the_newest_is_refused(ports: Ports) -> None:
    known = [await ports.connected() for _ in range(3)]
    for client in known:
        assert await client.ask(GOOD) == b"HTTP/1.1 200 OK"
    assert await (await ports.connected("127.0.0.2")).is_closed()
    assert await known[0].ask(GOOD) == b"HTTP/1.1 200 OK"


async def test_a_trusted_proxy_speaks_for_its_clients_and_nobody_else_does(ports: Ports) -> None:
    ask = GOOD.replace(b"X-Good", b"X-Tell: 1\r\nX-Forwarded-For: 203.0.113.7\r\nX-Forwarded-Proto: https\r\nX-Other")
    assert await (await ports.connected("127.0.0.9")).ask(ask) == b"HTTP/1.1 200 OK"
    assert ports.door.told == ("203.0.113.7", True)
    assert await (await ports.connected("127.0.0.8")).ask(ask) == b"HTTP/1.1 200 OK"
    assert ports.door.told == ("127.0.0.8", False)
    kept = [await ports.connected("127.0.0.9") for _ in range(MOST * 2)]
    for client in kept:
        assert await client.ask(BAD) == b"HTTP/1.1 403 Forbidden"
    ask = ask.replace(b"POST / ", b"POST /?x=1 ").replace(b"203.0.113.7", b"198.51.100.1, 203.0.113.8")
    assert await kept[0].ask(ask) == OK  # not the short way
    assert ports.door.told == ("203.0.113.8", True)


@pytest.mark.parametrize("known", [True, False])
async def test_large_bodies_are_held_for_known_callers_alone(ports: Ports, known: bool) -> None:
    body = b"x" * (3 << 20)
    more = b"X-Amz-Target: AmazonSSM.PutParameter\r\n" + (b"X-Known: 1\r\n" if known else b"")
    request = GOOD.replace(b"X-Good", more + b"X-Good").replace(b"Length: 0", b"Length: %d" % len(body)) + body
    assert await (await ports.connected()).ask(request) == b"HTTP/1.1 200 OK"
    assert ports.door.size == (len(body) if known else 0)


@pytest.mark.parametrize("ports", [replace(LIMITS, body_mib=2)], indirect=True)
async def test_bodies_under_way_have_so_much_memory(ports: Ports) -> None:
    begun = GOOD.replace(b"Length: 0", b"Length: 500001") + b"x" * 500_000
    first = await ports.connected("127.0.0.2")
    first.writer.write(begun)
    await first.writer.drain()
    for _ in range(100):  # until the server has taken it
        if await (await ports.connected("127.0.0.2")).ask(begun + b"x") == b"HTTP/1.1 503 Service Unavailable":
            break
    else:
        raise AssertionError("an address had more than its part")
    assert await (await ports.connected("127.0.0.3")).ask(begun + b"x") == OK
    assert await first.ask(b"x") == OK
    assert await (await ports.connected("127.0.0.2")).ask(begun + b"x") == OK


async def counted(ports: Ports) -> Callable[[], dict[str, float]]:
    """A function that tells by how much which counters of refusals have grown since."""

    def now() -> dict[str, float]:
        lines = [line for line in render().decode().splitlines() if line.startswith("pilothouse_") and "_total" in line]
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}

    before = now()
    return lambda: {name: value - before.get(name, 0) for name, value in now().items() if value > before.get(name, 0)}


async def test_refusals_are_counted(ports: Ports) -> None:
    grown = await counted(ports)
    length = GOOD.replace(b"Length: 0", b"Length: %d")
    assert await (await ports.connected()).ask(length % (2 << 20) + b"x" * (2 << 20)) == TOO_LARGE
    packed = GOOD.replace(b"X-Good", b"Content-Encoding: gzip\r\nX-Good")
    assert await (await ports.connected()).ask(packed) == b"HTTP/1.1 415 Unsupported Media Type"
    long = GOOD.replace(b"yes", b"y" * 70_000)
    assert await (await ports.connected()).ask(long) == b"HTTP/1.1 431 Request Header Fields Too Large"
    assert await (await ports.connected()).ask(length % 10) == b"HTTP/1.1 408 Request Timeout"
    idle = await ports.connected()
    assert await idle.is_closed()
    for _ in range(MOST + 1):
        last = await ports.connected("127.0.0.5")
    assert await last.is_closed()
    assert grown() == {
        **{f'pilothouse_requests_refused_total{{status="{status}"}}': 1 for status in (408, 413, 415, 431)},
        'pilothouse_connections_dropped_total{reason="head"}': 1,
        'pilothouse_connections_refused_total{limit="address"}': 1,
    }


@pytest.mark.parametrize("close", [b"", b"Connection: close\r\n"])
async def test_who_does_not_read_the_answer_is_cut_off(ports: Ports, close: bytes) -> None:
    size = b"X-Size: %d\r\n" % LARGE
    lazy = await ports.connected(limit=1 << 10)
    lazy.writer.write(GOOD.replace(b"Content", close + size + b"Content"))
    other = await ports.connected()
    for _ in range(30):  # longer than the server waits
        assert await other.ask(GOOD) == b"HTTP/1.1 200 OK"
        await asyncio.sleep(0.1)
    got = 0
    with contextlib.suppress(ConnectionError):
        while piece := await lazy.reader.read(1 << 20):
            got += len(piece)
    assert 0 < got < LARGE


async def test_who_reads_slowly_gets_the_whole_answer(ports: Ports) -> None:
    size = b"X-Size: %d\r\n" % LARGE
    slow = await ports.connected(limit=1 << 10)
    slow.writer.write(GOOD.replace(b"Content", size + b"Content"))
    got = 0
    while got < LARGE:
        piece = await slow.reader.read(1 << 20)
        assert piece, "the server closed on a client that reads"
        got += len(piece)
        await asyncio.sleep(0.002)
    assert got >= LARGE


@given(
    st.integers(1, 40),
    st.lists(st.tuples(st.sampled_from("abcde"), st.booleans()), max_size=300),
)
def test_shares_are_fair_and_nobody_alone_is_held_back(most: int, steps: list[tuple[str, bool]]) -> None:
    shares, held = Shares(most), dict.fromkeys("abcde", 0)
    for who, takes in steps:
        if not takes:
            if held[who]:
                shares.free(who, is_node=False)
                held[who] -= 1
            continue
        others = sum(1 for each, count in held.items() if count and each != who)
        fair = max(4, most // (others + 1))
        full = sum(held.values()) >= most
        try:
            shares.take(who, is_node=False)
        except ThrottlingException:
            assert full
            assert others
            assert held[who] >= fair
        else:
            assert not (full and others and held[who] >= fair)
            held[who] += 1
    for who, count in held.items():
        for _ in range(count):
            shares.free(who, is_node=False)
    for _ in range(most + 1):
        shares.take("a", is_node=False)


def test_nodes_are_counted_apart() -> None:
    shares = Shares(4)
    for _ in range(NODE):
        shares.take("node", is_node=True)
    with pytest.raises(ThrottlingException):
        shares.take("node", is_node=True)
    for name in ("a", "b", "c"):
        for _ in range(4):
            shares.take(name, is_node=False)
    shares.free("node", is_node=True)
    shares.take("node", is_node=True)


@pytest.fixture
def settings_of_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shares count from eight calls on; an address may sign badly ten times in a minute."""
    limits = LimitSettings(in_flight=8, failures_per_minute=10)
    monkeypatch.setattr("tests.conftest.Settings", lambda **given: Settings(**{**given, "limits": limits}))


async def _hold(server: Server, held: asyncio.Event, go_on: asyncio.Event) -> None:
    account = server.application.root.account_id
    async with server.application.house.database.transaction() as tx:
        await tx.lock("iam users", account)
        held.set()
        await go_on.wait()


@pytest.mark.usefixtures("settings_of_server")
def test_who_has_many_calls_in_work_leaves_room_for_others(aws: Aws, server: Server) -> None:
    one, other = User(aws, "one"), User(aws, "other")
    for user in (one, other):
        user.may(allow("iam:*"))
    held, go_on = asyncio.Event(), asyncio.Event()
    holding = asyncio.run_coroutine_threadsafe(_hold(server, held, go_on), server._loop)
    server.run(_waited(held))
    greedy, modest = one("iam"), other("iam")
    with ThreadPoolExecutor(60) as pool:
        modestly = [pool.submit(modest.create_user, UserName="m1")]
        greedily = [pool.submit(greedy.create_user, UserName=f"g{number}") for number in range(30)]
        done, _ = wait(greedily, timeout=60, return_when=FIRST_EXCEPTION)
        modestly.append(pool.submit(modest.create_user, UserName="m2"))
        server._loop.call_soon_threadsafe(go_on.set)
        holding.result(30)
        assert all(each.result(60)["User"] for each in modestly)
        wait(greedily, timeout=60)
    refused = [each.exception() for each in greedily if each.exception() is not None]
    assert done
    assert {str(each).rpartition(": ")[2] for each in refused} == {"Rate exceeded"}
    assert len(greedily) - len(refused) >= 4
    greedy.create_user(UserName="afterwards")


async def _waited(event: asyncio.Event) -> None:
    await asyncio.wait_for(event.wait(), 20)


def _code(ask: Callable[[], Any]) -> str:
    with pytest.raises(ClientError) as refused:
        ask()
    return str(refused.value.response["Error"]["Code"])


@pytest.mark.usefixtures("settings_of_server")
def test_an_address_signs_badly_so_often_and_its_good_neighbours_go_on(aws: Aws, server: Server) -> None:
    good, new = User(aws, "good"), User(aws, "new")
    for user in (good, new):
        user.may(allow("ssm:DescribeParameters"))
    good("ssm").describe_parameters()
    stranger = {"access_key": "AKIANOBODYNOBODYNOBO", "secret": "guessed"}
    codes = [_code(aws("ssm", **stranger).describe_parameters) for _ in range(11)]
    assert codes == ["UnrecognizedClientException"] * 10 + ["ThrottlingException"]
    assert _code(aws("sts", **stranger).get_caller_identity) == "Throttling"
    assert _code(new("ssm").describe_parameters) == "ThrottlingException"
    good("ssm").describe_parameters()
    made = aws("sts").get_session_token()["Credentials"]
    session = {"access_key": made["AccessKeyId"], "secret": made["SecretAccessKey"], "token": made["SessionToken"]}
    aws("ssm", **session).describe_parameters()
    server.advance(seconds=60)
    new("ssm").describe_parameters()
    assert _code(aws("ssm", **stranger).describe_parameters) == "UnrecognizedClientException"
