"""The one client for HTTP requests that the server makes to others: webhooks, key services.

A name is resolved once for each connection; when any of its addresses may not be called, none is. The connection goes
to the very address that was checked, while Host and TLS keep the name. No redirect is followed, no proxy of the
environment is used, and TLS is always verified.
"""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpcore

SECONDS = 10.0
"""For one request, from the name's resolution to the end of the answer."""
MOST_BYTES = 5 << 20
_RECEIPT_BYTES = 64 << 10
"""Of what a receiver answers, which nobody looks at."""
_CONNECTIONS = 64
_KEPT_SECONDS = 30.0

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""(host, port) to addresses in text. Raises OSError."""

_NEVER: tuple[Network, ...] = tuple(
    ipaddress.ip_network(each)
    for each in (
        "168.63.129.16/32",  # a cloud's machine agent behind a public address
        "192.0.0.0/24",  # set apart for protocols; a cloud's metadata is in it
        "::/96",  # IPv4 in IPv6, the old way
        "64:ff9b::/96",  # IPv4 behind a translator
        "64:ff9b:1::/48",
        "2001::/32",  # Teredo, which holds an IPv4 address
        "2002::/16",  # 6to4, the same
    )
)


class OutboundFailed(Exception):
    """No whole answer came; the text is a sentence that names no more than the host."""


class NotReached(OutboundFailed):
    """No connection was made, so nothing was asked."""


class AddressRefused(OutboundFailed):
    """The URL leads to an address that this server does not call."""


class Refused(Exception):
    """A receiver did not take what was delivered to it; the text says why."""

    def __init__(self, why: str, status: int | None = None) -> None:
        super().__init__(why)
        self.status = status


class InvalidUrl(OutboundFailed):
    """The URL is none that this client takes."""


@dataclass(frozen=True, slots=True)
class OutboundAnswer:
    """What came back. Redirects are answers like others."""

    status: int
    headers: Mapping[str, str]
    """Lower-case names; of a repeated one the last."""
    body: bytes = field(repr=False)


def networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Networks of a setting. Raises ValueError."""
    return tuple(ipaddress.ip_network(text) for text in texts)


def may_call(address: Address, allowed: Iterable[Network]) -> bool:
    """Whether the address is public, or in a network that the operator allows."""
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if any(address in network for network in allowed):
        return True
    public = address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)
    return public and not any(address in network for network in _NEVER)


def check_url(url: str, allowed: Iterable[Network] = ()) -> None:
    """Raises InvalidUrl, and AddressRefused for a host that is such an address already. Nothing is resolved."""
    try:
        split = urlsplit(url)
        port = split.port
    except ValueError as error:
        raise InvalidUrl("the URL is malformed") from error
    if split.scheme not in {"http", "https"} or not split.hostname or port == 0:
        raise InvalidUrl("the URL must be http:// or https:// with a host")
    if split.username is not None or split.password is not None:
        raise InvalidUrl("the URL must not hold credentials")
    if not url.isascii() or any(each <= " " or each in '\\"<>^`{|}\x7f' for each in url):
        raise InvalidUrl("the URL holds a character that must be percent-encoded")
    try:
        address = ipaddress.ip_address(split.hostname.partition("%")[0])
    except ValueError:
        address = None
    if "[" in split.netloc and not isinstance(address, ipaddress.IPv6Address):
        raise InvalidUrl("the URL is malformed")
    if address is None:
        return
    if not may_call(address, allowed):
        raise AddressRefused(_refusal(split.hostname))


async def _resolved(host: str, port: int) -> Sequence[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for _, _, _, _, address in found]


class _Pinned(httpcore.AsyncNetworkBackend):
    """Connects to addresses that were checked, never to a name."""

    def __init__(self, allowed: tuple[Network, ...], resolve: Resolve) -> None:
        self._allowed = allowed
        self._resolve = resolve
        self._inner = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        failed: Exception = OutboundFailed(f"{host} has no address")
        for address in await checked(self._resolve, self._allowed, host, port):
            try:
                return await self._inner.connect_tcp(address, port, timeout, None, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failed = error
        raise failed

    async def connect_unix_socket(self, *_: Any, **__: Any) -> httpcore.AsyncNetworkStream:
        raise AddressRefused("sockets of this machine are not called")

    async def sleep(self, seconds: float) -> None:
        await self._inner.sleep(seconds)


async def checked(resolve: Resolve, allowed: tuple[Network, ...], host: str, port: int) -> list[str]:
    """The addresses of a host, each of which may be called. Raises OutboundFailed, AddressRefused."""
    try:
        texts = await resolve(host, port)
    except (OSError, UnicodeError) as error:
        raise NotReached(f"the host {host} cannot be resolved") from error
    addresses = [text.partition("%")[0] for text in dict.fromkeys(texts)]
    for text in addresses:
        if not may_call(ipaddress.ip_address(text), allowed):
            raise AddressRefused(_refusal(host))
    if not addresses:
        raise NotReached(f"{host} has no address")
    return addresses


class Outbound:
    """The client; it makes its connections at first use. Close it at the end."""

    def __init__(self, allow: Iterable[str] = (), ca_file: str = "", resolve: Resolve = _resolved) -> None:
        """`allow`: networks that may be called although they are not public. Raises ValueError for a malformed one."""
        self.allowed = networks(allow)
        self._ca_file = ca_file
        self._resolve = resolve
        self._pool: httpcore.AsyncConnectionPool | None = None

    async def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        seconds: float = SECONDS,
        most: int = MOST_BYTES,
    ) -> OutboundAnswer:
        """The answer to one request, of any status. Raises OutboundFailed."""
        check_url(url, self.allowed)
        host = urlsplit(url).hostname
        try:
            async with asyncio.timeout(seconds):
                return await self._sent(method, url, dict(headers or {}), body, most)
        except (TimeoutError, httpcore.TimeoutException) as error:
            raise OutboundFailed(f"{host} did not answer within {seconds:g} s") from error
        except httpcore.ConnectError as error:
            raise NotReached(_connect_failure(host or "", error)) from error
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.UnsupportedProtocol, OSError) as error:
            raise OutboundFailed(f"{host} broke off or did not speak HTTP") from error

    async def deliver(self, url: str, *, headers: Mapping[str, str], body: bytes) -> int:
        """POST to a receiver that takes what it answers with 2xx; the status. Raises Refused."""
        try:
            answer = await self.send("POST", url, headers=headers, body=body, most=_RECEIPT_BYTES)
        except OutboundFailed as error:
            raise Refused(str(error)) from error
        if not 200 <= answer.status < 300:
            hint = "; redirects are not followed" if 300 <= answer.status < 400 else ""
            raise Refused(f"the receiver answered {answer.status}{hint}", answer.status)
        return answer.status

    async def close(self) -> None:
        """End the connections."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.aclose()

    async def addresses(self, host: str, port: int) -> list[str]:
        """Where a host is, for those who speak something else than HTTP there. Raises OutboundFailed."""
        return await checked(self._resolve, self.allowed, host, port)

    async def _sent(self, method: str, url: str, headers: dict[str, str], body: bytes, most: int) -> OutboundAnswer:
        size = 0
        parts = []
        async with self._connections().stream(method, url, headers=list(headers.items()), content=body) as response:
            async for part in response.aiter_stream():
                size += len(part)
                if size > most:
                    raise OutboundFailed(f"{urlsplit(url).hostname} answered with more than {most} bytes")
                parts.append(part)
        named = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
        return OutboundAnswer(response.status, named, b"".join(parts))

    def _connections(self) -> httpcore.AsyncConnectionPool:
        if self._pool is None:
            context = ssl.create_default_context()
            if self._ca_file:
                context.load_verify_locations(self._ca_file)
            self._pool = httpcore.AsyncConnectionPool(
                ssl_context=context,
                max_connections=_CONNECTIONS,
                keepalive_expiry=_KEPT_SECONDS,
                network_backend=_Pinned(self.allowed, self._resolve),
            )
        return self._pool


def _refusal(host: str) -> str:
    return f"{host} is not a public address; the setting [outbound] allow names the private networks that may be called"


def _connect_failure(host: str, error: Exception) -> str:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"the certificate of {host} cannot be verified: {cause.verify_message}"
        cause = cause.__cause__ or cause.__context__
    return f"cannot connect to {host}"
