"""Message authentication codes under HMAC keys. No I/O. Keys are raw bytes as long as the hash."""

import hmac
from typing import Final

from pilothouse.capabilities.keys.errors import KMSInvalidMacException

KEY_BYTES: Final = {"HMAC_224": 28, "HMAC_256": 32, "HMAC_384": 48, "HMAC_512": 64}
"""Length of the key by key spec."""

_DIGESTS: Final = {
    "HMAC_SHA_224": "sha224",
    "HMAC_SHA_256": "sha256",
    "HMAC_SHA_384": "sha384",
    "HMAC_SHA_512": "sha512",
}


def authenticate(key: bytes, algorithm: str, message: bytes) -> bytes:
    """The MAC, as long as the hash."""
    return hmac.digest(key, message, _DIGESTS[algorithm])


def verify(key: bytes, algorithm: str, message: bytes, mac: bytes) -> None:
    """Raises KMSInvalidMacException. Takes as long for a near miss as for a far one."""
    if not hmac.compare_digest(authenticate(key, algorithm, message), mac):
        raise KMSInvalidMacException("")
