"""Requests to others go where they may, over the address that was checked, and end."""

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pilothouse.crypto.certificates import ensure_certificates
from pilothouse.runtime.outbound import AddressRefused, InvalidUrl, Outbound, OutboundFailed
from pilothouse.wire.server import tls_context

LOOPBACK = ("127.0.0.1/32",)

REFUSED_HOSTS = [
    "127.0.0.1", "127.1", "2130706433", "0x7f000001", "0x7f.0.0.1", "0177.0.0.1", "017700000001", "0", "0.0.0.0",
    "localhost", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "100.100.100.200", "169.254.169.254",
    "0xa9fea9fe", "2852039166", "168.63.129.16", "192.0.0.192", "198.18.0.1", "224.0.0.1", "239.1.1.1", "240.0.0.1",
    "255.255.255.255", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::ffff:169.254.169.254]",
    "[::127.0.0.1]", "[64:ff9b::7f00:1]", "[64:ff9b::a9fe:a9fe]", "[2002:7f00:1::]", "[2001:0:7f00:1::]", "[fe80::1]",
    "[fc00::1]", "[fd00:ec2::254]", "[ff02::1]", "[100::1]", "[2001:db8::1]",
]  # fmt: skip


class Site:
    """What the handler of a test's server needs to know, and what it saw."""

    def __init__(self) -> None:
        self.hosts: list[str] = []
        self.location = ""
        self.size = 2
        self.port = 0


@contextmanager
def site(tls: ssl.SSLContext | None = None) -> Iterator[Site]:
    """A server on the loopback address."""
    known = Site()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            known.hosts.append(self.headers["host"])
            self.send_response(302 if known.location else 200)
            if known.location:
                self.send_header("location", known.location)
            self.send_header("content-length", str(known.size))
            self.end_headers()
            self.wfile.write(b"x" * known.size)

        def setup(self) -> None:
            with contextlib.suppress(OSError):
                getattr(self.request, "do_handshake", lambda: None)()
            super().setup()

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if tls is not None:  # a handshake that is broken off ends in the thread of its connection
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    known.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield known
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


@pytest.mark.parametrize("host", REFUSED_HOSTS)
async def test_no_form_of_a_private_address_is_called(host: str) -> None:
    client = Outbound()
    try:
        with pytest.raises(OutboundFailed) as raised:
            await client.send("GET", f"http://{host}:9/")
        # what the resolver of the machine does not take for an address cannot be reached either
        assert isinstance(raised.value, AddressRefused) or "cannot be resolved" in str(raised.value)
    finally:
        await client.close()


@pytest.mark.parametrize(
    "answer", [["10.0.0.5"], ["93.184.216.34", "127.0.0.1"], ["::ffff:10.0.0.1"], ["fe80::1%eth0"], ["169.254.169.254"]]
)
async def test_a_name_that_leads_inside_is_refused_whatever_else_it_leads_to(answer: list[str]) -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        return answer

    client = Outbound(resolve=resolve)
    try:
        with pytest.raises(AddressRefused, match=r"inside\.example is not a public address"):
            await client.send("GET", "http://inside.example/")
    finally:
        await client.close()


async def test_a_name_is_resolved_once_and_the_connection_goes_to_what_was_checked() -> None:
    """A name that leads elsewhere at the second question (rebinding) finds no second question."""
    asked: list[str] = []

    async def resolve(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["169.254.169.254"]

    client = Outbound(LOOPBACK, resolve=resolve)
    try:
        with site() as known:
            for _ in range(2):  # the second goes over the connection that is there
                answer = await client.send("GET", f"http://receiver.example:{known.port}/")
                assert (answer.status, answer.body) == (200, b"xx")
        assert asked == ["receiver.example"]
        assert known.hosts == [f"receiver.example:{known.port}"] * 2
    finally:
        await client.close()


async def test_a_name_that_moved_inside_is_refused_at_its_next_connection() -> None:
    asked: list[str] = []

    async def resolve(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["127.0.0.2"]

    client = Outbound(LOOPBACK, resolve=resolve)
    try:
        with site() as known:
            await client.send("GET", f"http://receiver.example:{known.port}/")
            await client.close()
            with pytest.raises(AddressRefused):
                await client.send("GET", f"http://receiver.example:{known.port}/")
        assert len(known.hosts) == 1
    finally:
        await client.close()


async def test_a_redirect_is_an_answer_and_is_not_followed() -> None:
    client = Outbound(LOOPBACK)
    try:
        with site() as known:
            known.location = f"http://127.0.0.1:{known.port}/elsewhere"
            answer = await client.send("GET", f"http://127.0.0.1:{known.port}/")
        assert answer.status == 302
        assert len(known.hosts) == 1
    finally:
        await client.close()


async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    client = Outbound(LOOPBACK)
    try:
        with site() as known:
            assert (await client.send("GET", f"http://127.0.0.1:{known.port}/")).status == 200
    finally:
        await client.close()


async def test_a_large_answer_is_cut_off() -> None:
    client = Outbound(LOOPBACK)
    try:
        with site() as known:
            known.size = 100_000
            with pytest.raises(OutboundFailed, match="more than 1000 bytes"):
                await client.send("GET", f"http://127.0.0.1:{known.port}/", most=1000)
    finally:
        await client.close()


async def test_a_receiver_that_says_nothing_is_left() -> None:
    came, ended = asyncio.Event(), asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.set()
        await reader.read()
        writer.close()
        ended.set()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    client = Outbound(LOOPBACK)
    try:
        with pytest.raises(OutboundFailed, match=r"did not answer within 1 s"):
            await client.send("GET", f"http://127.0.0.1:{port}/", seconds=1)
    finally:
        await client.close()
        server.close()
        if came.is_set():
            await ended.wait()


@pytest.mark.parametrize(
    "url",
    ["ftp://example.com/", "file:///etc/passwd", "http://", "//example.com", "http://user:word@example.com/",
     "http://exa mple.com/", "http://example.com:99999/", "http://[::1", "gopher://x", "http://ex\u00e4mple.com/"],
)  # fmt: skip
async def test_what_is_no_url_is_refused_before_anything_is_asked(url: str) -> None:
    with pytest.raises(InvalidUrl):
        await Outbound().send("GET", url)


async def _on_loopback(host: str, port: int) -> Sequence[str]:
    return ["127.0.0.1"]


async def test_tls_is_verified_by_known_authorities_and_by_name(tmp_path: Path) -> None:
    """The connection goes to an address; the certificate is still held to the name of the URL."""
    chain, key = ensure_certificates(tmp_path, ("receiver.example",), datetime.now(UTC))
    authority = str(tmp_path / "ca.pem")
    ours, strangers = Outbound(LOOPBACK, authority, _on_loopback), Outbound(LOOPBACK, resolve=_on_loopback)
    try:
        with site(tls_context(chain, key)) as known:
            assert (await ours.send("GET", f"https://receiver.example:{known.port}/")).status == 200
            with pytest.raises(
                OutboundFailed, match=r"certificate of receiver\.example cannot be verified: self-signed"
            ):
                await strangers.send("GET", f"https://receiver.example:{known.port}/")
            with pytest.raises(
                OutboundFailed, match=r"certificate of other\.example cannot be verified: Hostname mism"
            ):
                await ours.send("GET", f"https://other.example:{known.port}/")
        assert known.hosts == [f"receiver.example:{known.port}"]
    finally:
        await ours.close()
        await strangers.close()
