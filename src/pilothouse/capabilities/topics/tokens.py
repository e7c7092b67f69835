"""Tokens with which a receiver confirms its subscription: made of the subscription and a time, and stored nowhere."""

import hmac
from collections.abc import Sequence
from typing import Final

from pilothouse.call import House

_PURPOSE: Final = "subscription tokens"
_ID: Final = 32
_TIME: Final = 16
_MAC: Final = 64


def token_of(house: House, subscription_id: str, ends_at: int) -> str:
    """Hexadecimal; it counts until `ends_at`, epoch milliseconds."""
    said = f"{subscription_id.replace('-', '')}{ends_at:016x}"
    return said + _mac(house.vault.subkeys(_PURPOSE)[0], said)


def read(house: House, token: str) -> tuple[str, int]:
    """(subscription id, end) of a token that this installation made. Raises ValueError."""
    if len(token) != _ID + _TIME + _MAC or not token.isascii():
        raise ValueError("not a token")
    said, mac = token[: _ID + _TIME], token[_ID + _TIME :]
    if not _fits(house.vault.subkeys(_PURPOSE), said, mac):
        raise ValueError("not a token of this installation")
    digits = said[:_ID]
    subscription_id = "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
    return subscription_id, int(said[_ID:], 16)


def _fits(keys: Sequence[bytes], said: str, mac: str) -> bool:
    return any(hmac.compare_digest(_mac(key, said), mac) for key in keys)


def _mac(key: bytes, said: str) -> str:
    return hmac.digest(key, said.encode(), "sha256").hex()
