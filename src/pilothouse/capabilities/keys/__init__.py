"""Keys: the accounts' KMS keys, under which users' values are encrypted.

Owns the tables kms_key, kms_material and kms_alias. Material never leaves: it is wrapped by the installation's master
key at rest, and other capabilities hand in plaintexts and blobs.
"""

from pilothouse.call import Capability
from pilothouse.capabilities.keys.encryption import Decryption, decrypt, encrypt
from pilothouse.capabilities.keys.model import (
    DisabledException,
    InvalidCiphertextException,
    KMSInvalidStateException,
    NotFoundException,
)

__all__ = [
    "CAPABILITY",
    "Decryption",
    "DisabledException",
    "InvalidCiphertextException",
    "KMSInvalidStateException",
    "NotFoundException",
    "decrypt",
    "encrypt",
]

CAPABILITY = Capability.of("keys")
