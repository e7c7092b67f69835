"""Who stands behind an address, as far as limits go."""

from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Final

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
