"""The checksums of contents that S3 knows: made while a content passes, and those of parts put together.

They find accidents, not attackers. A checksum is written as base64 of its bytes, big-endian.
"""

import hashlib
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final, Protocol
from zlib import crc32


class _Running(Protocol):
    def update(self, piece: bytes, /) -> None: ...
    def digest(self) -> bytes: ...


class _Crc:
    """A cyclic redundancy check with the interface of hashlib's objects."""

    __slots__ = ("_function", "_size", "_value")

    def __init__(self, function: Callable[[bytes, int], int], size: int) -> None:
        self._function = function
        self._size = size
        self._value = 0

    def update(self, piece: bytes, /) -> None:
        self._value = self._function(piece, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(self._size, "big")


def _crc32c(piece: bytes, value: int) -> int:
    from awscrt import checksums  # when the first object comes: it takes some MiB

    found: int = checksums.crc32c(piece, value)
    return found


def _crc64nvme(piece: bytes, value: int) -> int:
    from awscrt import checksums

    found: int = checksums.crc64nvme(piece, value)
    return found


def _md5() -> Any:
    return hashlib.md5(usedforsecurity=False)


_MAKERS: Final[dict[str, Callable[[], Any]]] = {
    "CRC32": lambda: _Crc(crc32, 4),
    "CRC32C": lambda: _Crc(_crc32c, 4),
    "CRC64NVME": lambda: _Crc(_crc64nvme, 8),
    "SHA1": lambda: hashlib.sha1(usedforsecurity=False),
    "SHA256": hashlib.sha256,
    "SHA512": hashlib.sha512,
    "MD5": _md5,
}
ALGORITHMS: Final = tuple(_MAKERS)
"""Those that are made and compared here."""
DEFAULT: Final = "CRC64NVME"
"""What S3 makes of a content that came with none."""
SIZES: Final = {name: len(make().digest()) for name, make in _MAKERS.items()}
"""Bytes of each."""
_POLYNOMIALS: Final = {"CRC32": 0xEDB88320, "CRC32C": 0x82F63B78, "CRC64NVME": 0x9A6C9329AC4BC9B5}
"""Of those that can be put together from those of the parts, with their bits reversed."""
WHOLE: Final = frozenset(_POLYNOMIALS)


class Digests:
    """The checksums of one content while it passes: MD5 in any case, and what else is asked for."""

    def __init__(self, *algorithms: str) -> None:
        self.size = 0
        self._running: dict[str, _Running] = {"MD5": _md5()}
        for algorithm in algorithms:
            self.want(algorithm)

    def want(self, algorithm: str) -> None:
        """Make this one as well; to be said before the first piece. Raises KeyError for one that is not known."""
        if algorithm not in self._running:
            self._running[algorithm] = _MAKERS[algorithm]()

    def update(self, piece: bytes) -> None:
        """Take the next piece."""
        self.size += len(piece)
        for each in self._running.values():
            each.update(piece)

    def md5(self) -> bytes:
        return self._running["MD5"].digest()

    def value(self, algorithm: str) -> str:
        """The checksum in base64."""
        return b64encode(self._running[algorithm].digest()).decode()

    def values(self) -> dict[str, str]:
        """All but MD5, which is in any case, by algorithm."""
        return {name: self.value(name) for name in self._running if name != "MD5"}


def is_checksum(algorithm: str, text: str) -> bool:
    """Whether the text can be a checksum of the algorithm."""
    try:
        return len(b64decode(text, validate=True)) == SIZES[algorithm]
    except (NotBase64, ValueError):
        return False


def composite(algorithm: str, parts: Sequence[str]) -> str:
    """The checksum of the checksums of the parts, as S3 writes it: with their number behind."""
    whole = Digests(algorithm)
    whole.update(b"".join(b64decode(part) for part in parts))
    return f"{whole.value(algorithm)}-{len(parts)}"


def combined(algorithm: str, parts: Sequence[tuple[str, int]]) -> str:
    """The checksum of the whole content from those of its parts, each with its size in bytes; of WHOLE only."""
    bits = SIZES[algorithm] * 8
    value = 0
    for text, size in parts:
        value = _after_zeros(value, size, _POLYNOMIALS[algorithm], bits) ^ int.from_bytes(b64decode(text), "big")
    return b64encode(value.to_bytes(bits // 8, "big")).decode()


def _after_zeros(value: int, size: int, polynomial: int, bits: int) -> int:
    """What a check becomes by `size` bytes of zeros: a multiplication by a power of x, modulo the polynomial."""
    return _times(value, _power(size, polynomial, bits), polynomial, bits)


@lru_cache(maxsize=256)  # all parts but the last have one size, mostly
def _power(size: int, polynomial: int, bits: int) -> int:
    power = 1 << (bits - 1)  # x to the power 0; the highest bit stands for the lowest power
    base = _times(1 << (bits - 2), 1 << (bits - 1), polynomial, bits)  # x
    left = size * 8
    while left:
        if left & 1:
            power = _times(power, base, polynomial, bits)
        base = _times(base, base, polynomial, bits)
        left >>= 1
    return power


def _times(left: int, right: int, polynomial: int, bits: int) -> int:
    product = 0
    mask = 1 << (bits - 1)
    while mask:
        if left & mask:
            product ^= right
        right = (right >> 1) ^ (polynomial if right & 1 else 0)
        mask >>= 1
    return product
