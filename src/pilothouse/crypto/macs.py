"""HMAC-SHA256 under a key that many messages are signed with."""

from functools import lru_cache
from hashlib import sha256


class Mac:
    """Both pads of the key are hashed beforehand: half the time of a one-shot HMAC, and short texts keep the GIL."""

    __slots__ = ("_inner", "_outer")

    def __init__(self, key: bytes) -> None:
        """`key` has 64 bytes at most."""
        padded = key.ljust(64, b"\0")
        self._inner = sha256(bytes(byte ^ 0x36 for byte in padded))
        self._outer = sha256(bytes(byte ^ 0x5C for byte in padded))

    def digest(self, message: bytes) -> bytes:
        """The MAC of a message."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(message)
        outer.update(inner.digest())
        return outer.digest()

    def sign(self, message: bytes) -> str:
        """The same in hexadecimal."""
        return self.digest(message).hex()


@lru_cache(maxsize=16)
def mac(key: bytes) -> Mac:
    """The one of a key; for keys of the installation, which are few."""
    return Mac(key)
