"""Page tokens: opaque, signed, bound to the query, and naming the last key of the page (never an offset)."""

import base64
import binascii
import hashlib
import hmac
from typing import Any

import msgspec

_MAC = 16


class InvalidPageToken(Exception):
    """The token is not ours, was altered, or belongs to another query."""


class Pages:
    """Makes and reads page tokens with one installation key."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def token(self, query: Any, position: list[str | int]) -> str:
        """A token that continues `query` (any JSON-like value that identifies it) after the key `position`."""
        body = msgspec.msgpack.encode(position)
        return base64.urlsafe_b64encode(self._mac(query, body) + body).decode().rstrip("=")

    def position(self, query: Any, token: str) -> list[Any]:
        """The key after which the page starts. Raises InvalidPageToken."""
        try:
            raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError) as error:
            raise InvalidPageToken from error
        mac, body = raw[:_MAC], raw[_MAC:]
        if not hmac.compare_digest(mac, self._mac(query, body)):
            raise InvalidPageToken
        position: list[Any] = msgspec.msgpack.decode(body)
        return position

    def _mac(self, query: Any, body: bytes) -> bytes:
        bound = msgspec.json.encode(query, order="deterministic")
        return hmac.digest(self._key, hashlib.sha256(bound).digest() + body, "sha256")[:_MAC]
