"""Page tokens: opaque, signed, bound to the query, and naming the last key of the page (never an offset)."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

_MAC = 16


class InvalidPageToken(Exception):
    """The token is not ours, was altered, or belongs to another query."""


class Pages:
    """Makes and reads page tokens with the installation's keys."""

    def __init__(self, keys: bytes | Callable[[], Sequence[bytes]]) -> None:
        """`keys`: one key, or what gives them at each use: first the one that signs, then older ones that count."""
        self._keys = (lambda: (keys,)) if isinstance(keys, bytes) else keys

    def token(self, query: Any, position: list[str | int]) -> str:
        """A token that continues `query` (any JSON-like value that identifies it) after the key `position`."""
        body = msgspec.msgpack.encode(position)
        return base64.urlsafe_b64encode(_mac(self._keys()[0], query, body) + body).decode().rstrip("=")

    def position(self, query: Any, token: str) -> list[Any]:
        """The key after which the page starts. Raises InvalidPageToken."""
        try:
            raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError) as error:
            raise InvalidPageToken from error
        mac, body = raw[:_MAC], raw[_MAC:]
        if not any(hmac.compare_digest(mac, _mac(key, query, body)) for key in self._keys()):
            raise InvalidPageToken
        position: list[Any] = msgspec.msgpack.decode(body)
        return position


def _mac(key: bytes, query: Any, body: bytes) -> bytes:
    bound = msgspec.json.encode(query, order="deterministic")
    return hmac.digest(key, hashlib.sha256(bound).digest() + body, "sha256")[:_MAC]
