"""Who stands behind an address: the site that limits count, and the client that a trusted proxy speaks for."""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final

from pilothouse.runtime.outbound import networks

_SITE: Final = 64
"""Bits of an IPv6 address that name a site; its machines choose the rest, and may choose anew for each connection."""


@lru_cache(maxsize=4096)
def site_of(address: str) -> str:
    """What is counted in the place of an address: an IPv6 address's first 64 bits, an IPv4 address itself.

    Text that is no address stands for itself.
    """
    try:
        found = ip_address(address)
    except ValueError:
        return address
    if not isinstance(found, IPv6Address):
        return address
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ip_network((int(found), _SITE), strict=False).network_address) + f"/{_SITE}"


class Proxies:
    """The reverse proxies that are believed. What anybody else writes into the same headers says nothing."""

    def __init__(self, texts: Iterable[str] = ()) -> None:
        """`texts`: networks such as `10.1.0.0/16`. Raises ValueError with a sentence for the user."""
        try:
            self._networks = networks(texts)
        except ValueError as error:
            raise ValueError(f"trusted_proxies: {error}") from error
        self._known = lru_cache(maxsize=4096)(self._looked_up)

    def __contains__(self, address: str) -> bool:
        return bool(self._networks) and self._known(address)

    def origin(self, peer: str, secure: bool, headers: Mapping[str, str]) -> tuple[str, bool]:
        """Address of the client, and whether it came over TLS, of a request that `peer` brought.

        Names in `headers` are lower-case, repeated ones joined by commas. The client is the rightmost hop that is no
        trusted proxy: what stands left of it, anybody may have written.
        """
        if peer not in self:
            return peer, secure
        protocols = headers.get("x-forwarded-proto")
        if protocols is not None:
            secure = all(each.strip().lower() == "https" for each in protocols.split(","))
        client = peer
        for hop in reversed(headers.get("x-forwarded-for", "").split(",")):
            address = _address(hop)
            if address is None:  # nonsense: the nearest hop that is known speaks for itself
                break
            client = address
            if address not in self:
                break
        return client, secure

    def _looked_up(self, text: str) -> bool:
        address = _parsed(text)
        return address is not None and any(address in network for network in self._networks)


def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    try:
        found = ip_address(text)
    except ValueError:
        return None
    return found.ipv4_mapped or found if isinstance(found, IPv6Address) else found


def _address(hop: str) -> str | None:
    """The address of a hop as proxies write it: with blanks around it, in brackets, with a port behind it."""
    hop = hop.strip()
    if hop.startswith("["):
        hop = hop[1:].partition("]")[0]
    elif hop.count(":") == 1:
        hop = hop.partition(":")[0]
    found = _parsed(hop)
    return None if found is None else str(found)
