"""A small HTTPS client: one request, one connection, bounded in time and size.

The agent makes a request every few minutes; a connection pool would cost more memory than it saves.
"""

import asyncio
import ssl
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from socket import SOCK_STREAM

_MAX_BODY = 8 * 1024 * 1024
_MAX_HEADER_LINES = 200


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
            reached: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
            trouble: OSError | None = None
            for address in await _addresses(self.host, self.port):
                try:
                    reached = await asyncio.open_connection(
                        address, self.port, ssl=self.tls, server_hostname=self.host, ssl_handshake_timeout=15.0
                    )
                    break
                except ssl.SSLError:
                    raise
                except OSError as error:
                    trouble = error
            if reached is None:
                raise Unreachable(f"cannot reach {self.authority}: {trouble or 'the name has no address'}")
            return reached
        except ssl.SSLCertVerificationError as error:
            raise Unreachable(
                f"the certificate of {self.authority} is not trusted: {error.verify_message}; "
                "check that the CA file is the server's own ca.pem and that the URL's host is in the certificate"
            ) from error
        except OSError as error:
            raise Unreachable(f"cannot reach {self.authority}: {error}") from error

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


async def _addresses(host: str, port: int) -> list[str]:
    """Addresses of the host. The look-up's thread ends with it, so that forks find a process without threads."""
    if host.replace(".", "").isdigit() or ":" in host:
        return [host]
    import socket

    with ThreadPoolExecutor(1, thread_name_prefix="name-look-up") as pool:
        found = await asyncio.get_running_loop().run_in_executor(
            pool, lambda: socket.getaddrinfo(host, port, type=SOCK_STREAM)
        )
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


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
