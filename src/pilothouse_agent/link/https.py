"""A small HTTPS client: one request, one connection, bounded in time and size.

The agent makes a request every few minutes; a connection pool would cost more memory than it saves.
"""

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_MAX_BODY = 8 * 1024 * 1024
_MAX_HEADER_LINES = 200
_PATIENCE = 4.0  # seconds for an address while there is another one to try


class Unreachable(Exception):
    """No complete answer: name, network, TLS or protocol trouble, or out of time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """An answer, read whole. Header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Endpoint:
    """The server: where it is and which certificate authority vouches for it."""

    def __init__(self, host: str, port: int, ca_file: Path | None) -> None:
        """Without ca_file the machine's own authorities count. Raises ssl.SSLError or OSError for a bad CA file."""
        self.host = host
        self.port = port
        self.tls = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
        self.tls.set_alpn_protocols(["http/1.1"])

    @property
    def authority(self) -> str:
        """The Host header, port included as the protocol asks."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == 443 else f"{host}:{self.port}"

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A TLS connection whose certificate names the host. Raises Unreachable."""
        try:
            addresses = await addresses_of(self.host, self.port)
            for address in addresses[:-1]:
                with contextlib.suppress(TimeoutError, ConnectionError):
                    async with asyncio.timeout(_PATIENCE):
                        return await self._connect_to(address)
            return await self._connect_to(addresses[-1])
        except ssl.SSLCertVerificationError as error:
            raise Unreachable(
                f"the certificate of {self.authority} is not trusted: {error.verify_message}; "
                "check that the CA file is the server's own ca.pem and that the URL's host is in the certificate"
            ) from error
        except OSError as error:
            raise Unreachable(f"cannot reach {self.authority}: {error}") from error

    async def _connect_to(self, address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(
            address, self.port, ssl=self.tls, server_hostname=self.host, ssl_handshake_timeout=15.0
        )

    async def request(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes, *, timeout: float = 20.0
    ) -> Response:
        """Send one request and read the whole answer. Raises Unreachable."""
        lines = [f"{method} {target} HTTP/1.1", f"host: {self.authority}", "connection: close"]
        lines += [f"{name}: {value}" for name, value in headers.items() if name != "host"]
        if "content-length" not in headers:
            lines.append(f"content-length: {len(body)}")
        try:
            async with asyncio.timeout(timeout):
                reader, writer = await self.connect()
                try:
                    writer.write("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
                    await writer.drain()
                    return await _read_response(reader)
                finally:
                    writer.transport.abort()
        except TimeoutError as error:
            raise Unreachable(f"no answer from {self.authority} within {timeout:g} s") from error
        except (OSError, EOFError, ValueError) as error:
            raise Unreachable(f"broken answer from {self.authority}: {error}") from error


async def addresses_of(host: str, port: int) -> list[str]:
    """Addresses of the host, at least one. Raises OSError.

    The look-up has a thread of its own that ends with it, so that forks find a process without
    threads; a daemon, so that a slow name server does not hold up the agent's end.
    """
    if host.replace(".", "").isdigit() or ":" in host:
        return [host]
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[list[str]] = loop.create_future()

    def settle(found: list[str], error: OSError | None) -> None:
        if answer.done():
            return  # nobody waits any more
        if error is None:
            answer.set_result(found)
        else:
            answer.set_exception(error)

    def look_up() -> None:
        found: list[str] = []
        trouble: OSError | None = None
        try:
            entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            found = list(dict.fromkeys(str(entry[4][0]) for entry in entries))
        except OSError as error:
            trouble = error
        with contextlib.suppress(RuntimeError):  # the loop is closed: the agent has ended meanwhile
            loop.call_soon_threadsafe(settle, found, trouble)

    threading.Thread(target=look_up, name="name-look-up", daemon=True).start()
    return await answer


async def _read_response(reader: asyncio.StreamReader) -> Response:
    while True:
        status, headers = await _read_head(reader)
        if status >= 200:  # 1xx announces another answer
            break
    if headers.get("transfer-encoding", "").lower() == "chunked":
        body = await _read_chunks(reader)
    elif "content-length" in headers:
        length = int(headers["content-length"])
        if not 0 <= length <= _MAX_BODY:
            raise ValueError(f"a body of {length} bytes")
        body = await reader.readexactly(length)
    elif status == 204:
        body = b""
    else:
        body = await reader.read(_MAX_BODY)
    return Response(status=status, headers=headers, body=body)


async def _read_head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    start = (await reader.readuntil(b"\n")).split()
    if len(start) < 2 or not start[0].startswith(b"HTTP/1."):
        raise ValueError("not HTTP/1.1")
    headers: dict[str, str] = {}
    for _ in range(_MAX_HEADER_LINES):
        line = (await reader.readuntil(b"\n")).strip()
        if not line:
            return int(start[1]), headers
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.strip().lower()] = value.strip()
    raise ValueError("too many header lines")


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    body = bytearray()
    while True:
        size = int((await reader.readuntil(b"\n")).split(b";")[0], 16)
        if size < 0 or len(body) + size > _MAX_BODY:
            raise ValueError("a chunked body that is too large")
        if size == 0:
            while (await reader.readuntil(b"\n")).strip():
                pass
            return bytes(body)
        body += await reader.readexactly(size)
        await reader.readexactly(2)
