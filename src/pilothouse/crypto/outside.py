"""What the master keys outside this machine have in common: bounded calls on threads, tried again, and their address.

The operator names the address, so private ones are fine. Plain HTTP goes to loopback only: what is wrapped travels as
plaintext.
"""

import asyncio
import hashlib
import ipaddress
from collections.abc import Callable
from typing import Final, TypeVar
from urllib.parse import SplitResult, urlsplit

from pilothouse.crypto.master_key import MasterKeyUnreachable, MasterKeyUnusable
from pilothouse.runtime.clock import SystemClock

T = TypeVar("T")

CONNECT_SECONDS: Final = 3
READ_SECONDS: Final = 5
_CALL_SECONDS: Final = 15.0
_WAITS: Final = (0.3, 1.0, 2.0)
"""Seconds before each further try."""


async def ask(where: str, call: Callable[[], T]) -> T:
    """Run the blocking call on a thread; one that cannot reach the place is tried again. Raises MasterKeyUnusable."""
    for wait in (*_WAITS, None):
        try:
            async with asyncio.timeout(_CALL_SECONDS):
                return await asyncio.to_thread(call)
        except (MasterKeyUnreachable, TimeoutError) as error:
            if wait is None:
                if isinstance(error, MasterKeyUnreachable):
                    raise
                raise MasterKeyUnreachable(f"{where} did not answer in {_CALL_SECONDS:.0f} s") from error
            await SystemClock().sleep(wait)
    raise AssertionError("the last try returns or raises")


def checked_address(text: str) -> SplitResult:
    """An `https://` address, or an `http://` one on loopback. Raises MasterKeyUnusable."""
    split = urlsplit(text)
    if "@" in split.netloc:
        raise MasterKeyUnusable("master_key: the address holds a name or a password; leave them out")
    if split.scheme not in {"https", "http"} or not split.hostname or split.query or split.fragment:
        raise MasterKeyUnusable(f"master_key: {text!r} is no https:// address")
    if split.scheme == "http" and not _is_loopback(split.hostname):
        raise MasterKeyUnusable(f"master_key: {text!r} is not on this machine; use https:// for it")
    return split


def fingerprint_of_place(*parts: str) -> str:
    """32 hex digits that stand for a key kept elsewhere."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
