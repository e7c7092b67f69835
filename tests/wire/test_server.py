"""The server on real sockets: limits, awkward clients, TLS, shutting down."""

import asyncio
import contextlib
import json
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
import websockets
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from pilothouse.runtime.settings import LimitSettings
from pilothouse.wire.asgi import WireApplication
from pilothouse.wire.front import Front
from pilothouse.wire.http import Request, Response
from pilothouse.wire.server import CannotListen, Listener, PortInUse, bound, serve, tls_context

LIMITS = LimitSettings(head_seconds=0.6, body_seconds=0.6)


@dataclass
class Running:
    """A server under test, its address, and the way to stop it."""

    port: int
    secure_port: int
    stopping: asyncio.Event
    ended: asyncio.Task[None]
    certificate: Path
    entered: asyncio.Event
    go_on: asyncio.Event
    left: asyncio.Event

    async def say(self, *parts: bytes, pause: float = 0.0, secure: bool = False) -> bytes:
        """Send the parts, and what comes back until the server closes or falls silent."""
        tls = ssl.create_default_context(cafile=str(self.certificate)) if secure else None
        port = self.secure_port if secure else self.port
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls)
        try:
            async with asyncio.TaskGroup() as group:
                heard = group.create_task(read_until_quiet(reader))
                for part in parts:
                    if writer.transport.is_closing():
                        break
                    writer.write(part)
                    with contextlib.suppress(ConnectionError):
                        await writer.drain()
                    if pause:
                        await asyncio.sleep(pause)
            return heard.result()
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                await writer.wait_closed()


async def read_until_quiet(reader: asyncio.StreamReader, seconds: float = 2.0) -> bytes:
    """All bytes until the end, or until nothing came for a while."""
    got = b""
    with contextlib.suppress(TimeoutError, ConnectionError):
        while True:
            async with asyncio.timeout(seconds):
                part = await reader.read(65_536)
            if not part:
                break
            got += part
    return got


def self_signed(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, SHA256())
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    (folder / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return folder / "cert.pem", folder / "key.pem"


async def echo_socket(
    scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
) -> None:
    """A websocket that says its own query and then what it hears."""
    await receive()
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "text": scope["query_string"].decode()})
    while (heard := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "bytes": heard.get("bytes") or heard["text"].encode()})


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    entered, go_on, left = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def told(request: Request) -> Response:
        seen = {
            "method": request.method,
            "path": request.path,
            "query": request.query,
            "size": len(request.body),
            "peer": request.peer,
            "secure": request.secure,
            "headers": dict(request.headers),
        }
        return Response(200, {"content-type": "application/json"}, json.dumps(seen).encode())

    async def slow(request: Request) -> Response:
        entered.set()
        await go_on.wait()
        return Response(200, {}, b"finished")

    async def patient(request: Request) -> Response:
        entered.set()
        assert request.gone is not None
        await request.gone()
        left.set()
        return Response(200, {}, b"to nobody")

    async def broken(request: Request) -> Response:
        raise RuntimeError("secret details")

    class NoCalls:
        async def knows(self, request: Request) -> bool:
            return True

        async def respond(self, request: Request) -> Response:
            return await told(request)

    front = Front(
        NoCalls(), {"/slow": slow, "/broken": broken, "/patient": patient}, {"/v1/": told, "/v1/deeper/": slow}
    )  # type: ignore[arg-type]
    application = WireApplication(front, {"/v1/control-channel/": echo_socket}, LIMITS)
    certificate, key = self_signed(tmp_path)
    addresses: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    stopping = asyncio.Event()
    listeners = [Listener("127.0.0.1", 0), Listener("127.0.0.1", 0, tls_context(certificate, key))]
    async with asyncio.TaskGroup() as group:
        ended = group.create_task(
            serve(application, listeners, stopping=stopping, started=addresses.set_result, limits=LIMITS)
        )
        (_, port), (_, secure_port) = await addresses
        yield Running(port, secure_port, stopping, ended, certificate, entered, go_on, left)
        go_on.set()
        stopping.set()


def body_of(answer: bytes) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(answer.split(b"\r\n\r\n", 1)[1])
    return told


CLOSE = b"Host: x\r\nConnection: close\r\n"


async def test_a_request_reaches_the_front_as_sent(running: Running) -> None:
    answer = await running.say(b"GET /v1/a%20b/%2F?x=%20y&z HTTP/1.1\r\nX-Up: Two  Blanks\r\n" + CLOSE + b"\r\n")

    told = body_of(answer)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert (told["path"], told["query"], told["peer"], told["secure"]) == (
        "/v1/a%20b/%2F",
        "x=%20y&z",
        "127.0.0.1",
        False,
    )
    assert told["headers"]["x-up"] == "Two  Blanks"
    assert b"\r\nserver:" not in answer.lower()
    assert b"\r\ndate:" in answer.lower()


async def test_chunked_bodies_are_taken(running: Running) -> None:
    head = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" + CLOSE + b"\r\n"

    answer = await running.say(head, b"5\r\nhello\r\n", b"6\r\n world\r\n0\r\n\r\n", pause=0.05)

    assert body_of(answer)["size"] == 11


async def test_pipelined_requests_are_answered_in_order(running: Running) -> None:
    one = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s"

    answer = await running.say(
        b"".join(one % (size, b"a" * size) for size in range(1, 9)) + b"GET /v1/last HTTP/1.1\r\n" + CLOSE + b"\r\n"
    )

    bodies = [json.loads(part.split(b"\r\n\r\n", 1)[1]) for part in answer.split(b"HTTP/1.1 200 OK\r\n")[1:]]
    assert [told["size"] for told in bodies] == [*range(1, 9), 0]
    assert bodies[-1]["path"] == "/v1/last"


@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize(
    ("target", "size", "status"),
    [
        (b"AmazonSSM.GetParameter", 1 << 20, 200),
        (b"AmazonSSM.GetParameter", (1 << 20) + 1, 413),
        (b"AmazonSSM.PutParameter", 5 << 20, 200),
        (b"AmazonSSM.PutParameter", (5 << 20) + 1, 413),
        (b"AmazonSSM.PutInventory", 5 << 20, 200),
        (b"AmazonSSM.PutInventory", (5 << 20) + 1, 413),
        (b"AmazonSSM.GetParameter", 7 << 20, 413),
    ],
)
async def test_bodies_have_a_limit(running: Running, target: bytes, size: int, status: int, declared: bool) -> None:
    head = b"POST / HTTP/1.1\r\nX-Amz-Target: " + target + b"\r\n" + CLOSE
    if declared:
        answer = await running.say(head + b"Content-Length: %d\r\n\r\n" % size + b"a" * size)
    else:
        chunks = b"%x\r\n" % size + b"a" * size + b"\r\n0\r\n\r\n"
        answer = await running.say(head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks)

    assert answer.startswith(b"HTTP/1.1 %d " % status)


@pytest.mark.parametrize("encoding", [b"gzip", b"br", b"aws-chunked", b"identity, gzip"])
async def test_compressed_bodies_are_refused(running: Running, encoding: bytes) -> None:
    answer = await running.say(
        b"POST / HTTP/1.1\r\nContent-Encoding: " + encoding + b"\r\nContent-Length: 1\r\n" + CLOSE + b"\r\na"
    )

    assert answer.startswith(b"HTTP/1.1 415 ")


async def test_a_head_that_takes_too_long_is_cut_off(running: Running) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
    async with asyncio.timeout(20):
        nothing = await reader.read()
    writer.close()
    half = await running.say(b"GET /v1/a HTTP/1.1\r\nHost:", b" x\r\n", b"X: ", b"y\r\n", b"\r\n", pause=0.3)

    assert (nothing, half) == (b"", b"")


async def test_a_slow_head_on_a_kept_connection_is_cut_off_too(running: Running) -> None:
    first = b"GET /v1/a HTTP/1.1\r\nHost: x\r\n\r\n"

    answer = await running.say(first, b"GET /v1/b HTTP/1.1\r\n", b"Host: ", b"x\r\n", b"\r\n", pause=0.35)

    assert answer.count(b"HTTP/1.1 200 OK") == 1


@pytest.mark.parametrize("begun", [b"abc", b""])
async def test_a_body_that_takes_too_long_is_answered_408(running: Running, begun: bytes) -> None:
    answer = await running.say(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n" + begun)

    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close" in answer.lower()


@pytest.mark.parametrize("count", [1, 700])
async def test_large_heads_are_refused(running: Running, count: int) -> None:
    headers = b"".join(b"X-%d: %s\r\n" % (number, b"a" * (70_000 // count)) for number in range(count))

    answer = await running.say(b"GET /v1/a HTTP/1.1\r\n" + headers + CLOSE + b"\r\n")

    assert answer.startswith(b"HTTP/1.1 431 ")


async def test_a_header_that_never_ends_is_refused_before_it_fills_the_memory(running: Running) -> None:
    answer = await running.say(b"GET /v1/a HTTP/1.1\r\nX: ", *[b"a" * 16_384] * 8, pause=0.01)

    assert answer.startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"0\r\n\r\nGET /v1/smuggled HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0x4\r\n\r\nabcd",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX : y\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
async def test_ambiguous_and_broken_requests_are_refused(running: Running, request_bytes: bytes) -> None:
    answer = await running.say(request_bytes)

    assert b" 200 OK" not in answer
    assert b"smuggled" not in answer


@pytest.mark.parametrize("name", [b"Host", b"Authorization", b"Content-Type", b"X-Amz-Date", b"X-Amz-Target"])
async def test_headers_that_count_may_be_given_once(running: Running, name: bytes) -> None:
    answer = await running.say(b"GET /v1/a HTTP/1.1\r\n" + 2 * (name + b": x\r\n") + CLOSE + b"\r\n")

    assert answer.startswith(b"HTTP/1.1 400 ")


async def test_other_repeated_headers_are_joined(running: Running) -> None:
    answer = await running.say(b"GET /v1/a HTTP/1.1\r\nAccept: a\r\nAccept: b\r\n" + CLOSE + b"\r\n")

    assert body_of(answer)["headers"]["accept"] == "a,b"


async def test_unknown_paths_and_failing_routes(running: Running) -> None:
    nothing = await running.say(b"GET /nothing HTTP/1.1\r\n" + CLOSE + b"\r\n")
    broken = await running.say(b"GET /broken HTTP/1.1\r\n" + CLOSE + b"\r\n")

    assert nothing.startswith(b"HTTP/1.1 404 ")
    assert broken.startswith(b"HTTP/1.1 500 ")
    assert b"secret details" not in broken


async def test_tls_speaks_http_1_1_only_and_nothing_below_1_2(running: Running) -> None:
    answer = await running.say(b"GET /v1/a HTTP/1.1\r\n" + CLOSE + b"\r\n", secure=True)
    context = ssl.create_default_context(cafile=str(running.certificate))
    context.set_alpn_protocols(["h2", "http/1.1"])
    _, writer = await asyncio.open_connection("127.0.0.1", running.secure_port, ssl=context)
    chosen = writer.get_extra_info("ssl_object").selected_alpn_protocol()
    writer.close()
    await writer.wait_closed()
    old = ssl.create_default_context(cafile=str(running.certificate))
    old.set_ciphers("DEFAULT:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1

    assert body_of(answer)["secure"] is True
    assert chosen == "http/1.1"
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await asyncio.open_connection("127.0.0.1", running.secure_port, ssl=old)


async def test_websockets_go_to_their_table(running: Running) -> None:
    url = f"ws://127.0.0.1:{running.port}"
    async with websockets.connect(f"{url}/v1/control-channel/mi-1?role=subscribe", proxy=None) as opened:
        assert await opened.recv() == "role=subscribe"
        await opened.send(b"x" * 200_000)
        assert await opened.recv() == b"x" * 200_000
        await opened.send(b"x" * 300_000)
        with pytest.raises(websockets.ConnectionClosed):
            await opened.recv()
    with pytest.raises(websockets.InvalidStatus):
        await websockets.connect(f"{url}/v1/elsewhere", proxy=None)


async def test_stopping_finishes_what_runs_and_takes_nothing_new(running: Running) -> None:
    async with asyncio.TaskGroup() as group:
        slow = group.create_task(running.say(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n"))
        await running.entered.wait()
        running.stopping.set()
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", running.port)
            except ConnectionRefusedError:
                break
            writer.close()
            await asyncio.sleep(0.05)
        running.go_on.set()

    assert slow.result().endswith(b"finished")
    await running.ended


async def test_stopping_does_not_wait_for_websockets_that_stay_open(
    running: Running, caplog: pytest.LogCaptureFixture
) -> None:  # fmt: skip
    tls = ssl.create_default_context(cafile=str(running.certificate))
    loop = asyncio.get_running_loop()
    with socket.create_connection(("127.0.0.1", running.secure_port)) as plain:
        opened = await asyncio.to_thread(tls.wrap_socket, plain, server_hostname="127.0.0.1")
        with opened:
            opened.sendall(
                b"GET /v1/control-channel/mi-1?x HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
            )
            assert (await loop.run_in_executor(None, opened.recv, 4096)).startswith(b"HTTP/1.1 101 ")
            running.stopping.set()
            await running.ended

    assert "graceful shutdown exceeded" not in caplog.text


async def test_stopping_does_not_wait_for_clients_that_say_no_farewell(
    running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    tls = ssl.create_default_context(cafile=str(running.certificate))

    def used_once() -> ssl.SSLSocket:
        """A connection as a client keeps it for its next request: nobody reads from it."""
        kept = tls.wrap_socket(
            socket.create_connection(("127.0.0.1", running.secure_port)), server_hostname="127.0.0.1"
        )
        kept.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        assert kept.recv(65_536).startswith(b"HTTP/1.1 200")
        return kept

    with await asyncio.to_thread(used_once):
        running.stopping.set()
        await running.ended
    assert "graceful shutdown exceeded" not in caplog.text


async def test_a_request_tells_when_its_client_has_left(running: Running) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", running.port)
    writer.write(b"GET /patient HTTP/1.1\r\nHost: x\r\n\r\n")
    await running.entered.wait()
    writer.close()
    await running.left.wait()


async def test_a_port_in_use_is_named(running: Running) -> None:
    with pytest.raises(PortInUse) as refused:
        await serve(None, [Listener("127.0.0.1", running.port)], stopping=asyncio.Event())

    assert (refused.value.host, refused.value.port) == ("127.0.0.1", running.port)
    assert str(running.port) in str(refused.value)


def test_an_address_of_another_machine_cannot_be_listened_on() -> None:
    with pytest.raises(CannotListen):
        bound(Listener("192.0.2.1", 0))
    with pytest.raises(CannotListen):
        bound(Listener("no-such-host.invalid", 0))
