"""Addresses as limits count them, and as trusted proxies tell them."""

import pytest

from pilothouse.runtime.peers import Proxies, site_of


@pytest.mark.parametrize(
    ("address", "site"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("", ""),
        ("no address", "no address"),
    ],
)
def test_an_ipv6_site_counts_as_one(address: str, site: str) -> None:
    assert site_of(address) == site


TRUSTED = Proxies(["10.0.0.0/8", "2001:db8:5::/48"])


@pytest.mark.parametrize(
    ("peer", "header", "client"),
    [
        ("10.1.1.1", "203.0.113.7", "203.0.113.7"),
        ("10.1.1.1", "198.51.100.1, 203.0.113.7", "203.0.113.7"),  # the left one is what a client made up
        ("10.1.1.1", "10.9.9.9, 203.0.113.7, 10.2.2.2", "203.0.113.7"),
        ("::ffff:10.1.1.1", "203.0.113.7", "203.0.113.7"),
        ("2001:db8:5::1", "2001:db8:9::1", "2001:db8:9::1"),
        ("10.1.1.1", "203.0.113.7:5123", "203.0.113.7"),
        ("10.1.1.1", "[2001:db8:9::1]:5123", "2001:db8:9::1"),
        ("10.1.1.1", "::ffff:203.0.113.7", "203.0.113.7"),
        ("10.1.1.1", "10.3.3.3, 10.2.2.2", "10.3.3.3"),
        ("10.1.1.1", "203.0.113.7, unknown", "10.1.1.1"),
        ("10.1.1.1", "unknown, 10.2.2.2", "10.2.2.2"),
        ("10.1.1.1", "", "10.1.1.1"),
        ("203.0.113.9", "203.0.113.7", "203.0.113.9"),  # nobody's proxy
        ("", "203.0.113.7", ""),
    ],
)
def test_the_client_is_the_rightmost_hop_that_is_no_trusted_proxy(peer: str, header: str, client: str) -> None:
    assert TRUSTED.origin(peer, True, {"x-forwarded-for": header}) == (client, True)


@pytest.mark.parametrize(
    ("peer", "secure", "header", "is_secure"),
    [
        ("10.1.1.1", False, "https", True),
        ("10.1.1.1", True, "http", False),
        ("10.1.1.1", True, "https, http", False),
        ("10.1.1.1", True, None, True),
        ("203.0.113.9", False, "https", False),
        ("203.0.113.9", True, "http", True),
    ],
)
def test_tls_is_what_a_trusted_proxy_says(peer: str, secure: bool, header: str | None, is_secure: bool) -> None:
    headers = {} if header is None else {"x-forwarded-proto": header}
    assert TRUSTED.origin(peer, secure, headers) == (peer, is_secure)


def test_nobody_is_trusted_unless_named() -> None:
    assert Proxies().origin("127.0.0.1", False, {"x-forwarded-for": "203.0.113.7"}) == ("127.0.0.1", False)
    with pytest.raises(ValueError, match="host bits"):
        Proxies(["10.0.0.1/8"])
