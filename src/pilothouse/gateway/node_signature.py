"""The signature of a node's own key: RSASSA-PSS with SHA-256, MGF1 of SHA-256 and 32 bytes of salt.

It stands where the HMAC of a SigV4 header stands and covers the same string-to-sign. Whose key it is, and what the
string-to-sign is, others know.
"""

from functools import lru_cache

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

MIN_KEY_BITS = 2048
MAX_KEY_BITS = 8192
"""Larger keys would make each check expensive for us and cheap for the sender."""

_PADDING = PSS(mgf=MGF1(SHA256()), salt_length=32)


class NotAnRsaKey(Exception):
    """The bytes are no DER SubjectPublicKeyInfo of an RSA key within the allowed sizes."""


@lru_cache(maxsize=4096)
def read_public_key(public_key_der: bytes) -> RSAPublicKey:
    """The key in a DER SubjectPublicKeyInfo. Raises NotAnRsaKey."""
    try:
        key = load_der_public_key(public_key_der)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise NotAnRsaKey("not a DER public key") from error
    if not isinstance(key, RSAPublicKey):
        raise NotAnRsaKey("not an RSA key")
    if not MIN_KEY_BITS <= key.key_size <= MAX_KEY_BITS:
        raise NotAnRsaKey(f"an RSA key of {key.key_size} bits")
    return key


def verify(public_key_der: bytes, string_to_sign: bytes, signature: bytes) -> bool:
    """Whether the signature is the key's over the string. Raises NotAnRsaKey for a bad key only."""
    try:
        read_public_key(public_key_der).verify(signature, string_to_sign, _PADDING, SHA256())
    except InvalidSignature:
        return False
    return True
