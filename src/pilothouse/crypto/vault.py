"""The vault: seals values with AES-256-GCM under keys derived from the installation's root keys.

Each value is bound to a context (account, kind, name, version …) as associated data: a ciphertext moved to another
row, or an older row put back under a newer version, opens with an error, never to a plaintext. The root keys wrap the
accounts' KMS keys (`capabilities/keys`); those, not the root keys, encrypt users' values.

Root keys have versions (`crypto/ring`). A value is sealed under the newest that every process holds, and opens under
any. Its front names the version: byte 1 alone stands for version 1, byte 2 is followed by the version in four bytes.
"""

import hmac
import secrets
import struct
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_FIRST = b"\x01"
_LATER = struct.Struct(">BI")
_LATER_FORM = 2
_NONCE = 12
_KEY_BYTES = 32


class SealBroken(Exception):
    """The sealed value was altered, moved to another place, or sealed under a key that is not held."""


class UnknownVersion(SealBroken):
    """The value names a root key that is newer than those held; it may have been made a moment ago."""


def front(version: int) -> bytes:
    """The bytes that every value sealed under the version begins with. Fronts compare as their versions do."""
    return _FIRST if version == 1 else _LATER.pack(_LATER_FORM, version)


def derived(key: bytes, purpose: str) -> bytes:
    """32 bytes of a key for one purpose; they tell nothing about the key nor about other purposes."""
    return HKDF(algorithm=SHA256(), length=_KEY_BYTES, salt=b"pilothouse", info=purpose.encode()).derive(key)


def fingerprint_of(key: bytes) -> str:
    """Tells keys apart without telling anything about them."""
    return hmac.digest(derived(key, "fingerprint"), b"master key", "sha256").hex()[:32]


@dataclass(frozen=True, slots=True, repr=False)
class _Held:
    """The root keys of one moment; replaced as a whole."""

    roots: Mapping[int, bytes]
    ciphers: Mapping[int, AESGCM]
    newest: int
    settled: int
    subkeys: dict[str, tuple[bytes, ...]] = field(default_factory=dict)


class Vault:
    """Holds the root keys in memory. Its repr shows nothing."""

    def __init__(self, roots: bytes | Mapping[int, bytes]) -> None:
        """`roots`: root keys of 32 bytes by version; bare bytes are version 1."""
        self._again: Callable[[], Awaitable[None]] | None = None
        self.hold({1: roots} if isinstance(roots, bytes) else roots)

    def hold(self, roots: Mapping[int, bytes], *, settled: int | None = None) -> None:
        """Take these root keys instead of those held.

        `settled` is the newest version that every process of the installation holds by now (default: the newest).
        """
        if not roots or any(len(key) != _KEY_BYTES for key in roots.values()):
            raise ValueError("a root key has 32 bytes")
        ciphers = {version: AESGCM(derived(key, "seal")) for version, key in roots.items()}
        newest = max(roots)
        held = _Held(dict(roots), ciphers, newest, newest if settled is None else settled)
        self.__held = held
        self._ciphers = ciphers
        self._first = ciphers.get(1)
        self._front = front(held.settled)
        self._current = ciphers[held.settled]

    def ask_again(self, reload: Callable[[], Awaitable[None]]) -> None:
        """`reload` is called when a value names a root key newer than those held; it calls `hold`."""
        self._again = reload

    @property
    def newest(self) -> int:
        """The newest version held."""
        return self.__held.newest

    @property
    def settled(self) -> int:
        """The version that values are sealed under, and that `subkey` is of."""
        return self.__held.settled

    @property
    def versions(self) -> tuple[int, ...]:
        """Every version held, ascending."""
        return tuple(sorted(self.__held.roots))

    def root(self, version: int) -> bytes:
        """A root key itself, for wrapping it anew. Raises KeyError."""
        return self.__held.roots[version]

    def subkey(self, purpose: str) -> bytes:
        """32 bytes for one purpose (page tokens, key check …); the same on every process of the installation."""
        return self.subkeys(purpose)[0]

    def subkeys(self, purpose: str) -> tuple[bytes, ...]:
        """The purpose's key of every version: first the one to use now, then those under which older things count."""
        held = self.__held
        known = held.subkeys.get(purpose)
        if known is not None:
            return known
        order = sorted(held.roots, key=lambda version: (version != held.settled, -version))
        made = held.subkeys[purpose] = tuple(derived(held.roots[version], purpose) for version in order)
        return made

    def fingerprint(self) -> str:
        """Tells the root keys in use apart without telling anything about them."""
        return fingerprint_of(self.__held.roots[self.settled])

    def seal(self, plaintext: bytes, context: str) -> bytes:
        """Front, nonce, ciphertext with tag."""
        nonce = secrets.token_bytes(_NONCE)
        return self._front + nonce + self._current.encrypt(nonce, plaintext, context.encode())

    def open(self, sealed: bytes, context: str) -> bytes:
        """The plaintext. Raises SealBroken, UnknownVersion."""
        start = 1
        cipher = self._first
        if sealed[:1] != _FIRST:
            start = _LATER.size
            cipher = self._ciphers.get(self._version(sealed))
        if cipher is None:
            raise SealBroken("sealed under a root key that is no longer held")
        try:
            return cipher.decrypt(sealed[start : start + _NONCE], sealed[start + _NONCE :], context.encode())
        except (InvalidTag, ValueError) as error:
            raise SealBroken("the sealed value does not open in this place") from error

    async def opened(self, sealed: bytes, context: str) -> bytes:
        """The plaintext, after asking for root keys made meanwhile if the value names one. Raises SealBroken."""
        try:
            return self.open(sealed, context)
        except UnknownVersion:
            await self.meet(sealed)
            return self.open(sealed, context)

    async def meet(self, sealed: bytes) -> None:
        """Ask for the root keys again if the value, or the beginning of one, names a newer one than those held."""
        try:
            if sealed[:1] != _FIRST:
                self._version(sealed)
        except UnknownVersion:
            if self._again is not None:
                await self._again()
        except SealBroken:
            return

    def _version(self, sealed: bytes) -> int:
        """The version of a value that does not begin as version 1 does."""
        if len(sealed) < _LATER.size or sealed[0] != _LATER_FORM:
            raise SealBroken("sealed by an unknown version")
        version: int = _LATER.unpack_from(sealed)[1]
        if version < 2:
            raise SealBroken("sealed by an unknown version")
        if version > self.__held.newest:
            raise UnknownVersion("sealed under a newer root key than those held")
        return version
