"""The vault: seals values with AES-256-GCM under keys derived from the installation's master key.

Each value is bound to a context (account, kind, name, version …) as associated data: a ciphertext moved to another
row, or an older row put back under a newer version, opens with an error, never to a plaintext. The master key wraps the
accounts' KMS keys (`capabilities/keys`); those, not the master key, encrypt users' values.
"""

import hmac
import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_VERSION = b"\x01"
_NONCE = 12


class SealBroken(Exception):
    """The sealed value was altered, moved to another place, or sealed under another master key."""


class Vault:
    """Holds the master key in memory. Its repr shows nothing."""

    def __init__(self, master_key: bytes) -> None:
        if len(master_key) != 32:
            raise ValueError("a master key has 32 bytes")
        self.__master = master_key
        self._seal = AESGCM(self.subkey("seal"))

    def subkey(self, purpose: str) -> bytes:
        """32 bytes for one purpose (page tokens, key check …); the same on every process of the installation."""
        return HKDF(algorithm=SHA256(), length=32, salt=b"pilothouse", info=purpose.encode()).derive(self.__master)

    def fingerprint(self) -> str:
        """Tells master keys apart without telling anything about them."""
        return hmac.digest(self.subkey("fingerprint"), b"master key", "sha256").hex()[:32]

    def seal(self, plaintext: bytes, context: str) -> bytes:
        """Version byte, nonce, ciphertext with tag."""
        nonce = secrets.token_bytes(_NONCE)
        return _VERSION + nonce + self._seal.encrypt(nonce, plaintext, context.encode())

    def open(self, sealed: bytes, context: str) -> bytes:
        """The plaintext. Raises SealBroken."""
        if sealed[:1] != _VERSION:
            raise SealBroken("sealed by an unknown version")
        try:
            return self._seal.decrypt(sealed[1 : 1 + _NONCE], sealed[1 + _NONCE :], context.encode())
        except (InvalidTag, ValueError) as error:
            raise SealBroken("the sealed value does not open in this place") from error
