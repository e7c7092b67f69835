"""End-to-end encryption of a session whose document names a KMS key: the server between the ends reads nothing."""

import base64
import json
import os
from collections.abc import Callable
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE: Final = 12
_HALF: Final = 32


class Unsealed(Exception):
    """A message has not the key that it should have."""


class Cipher:
    """Two keys, one for each direction."""

    def __init__(self, keys: bytes) -> None:
        self._theirs, self._ours = AESGCM(keys[:_HALF]), AESGCM(keys[_HALF:])

    def encrypt(self, data: bytes) -> bytes:
        nonce = os.urandom(_NONCE)
        return nonce + self._ours.encrypt(nonce, data, None)

    def decrypt(self, data: bytes) -> bytes:
        """Raises Unsealed."""
        try:
            return self._theirs.decrypt(data[:_NONCE], data[_NONCE:], None)
        except (InvalidTag, ValueError) as error:
            raise Unsealed("a message of the node cannot be decrypted") from error

    def answered(self, payload: bytes) -> bytes:
        """The agent's challenge, decrypted and encrypted again. Raises Unsealed."""
        try:
            asked = base64.b64decode(json.loads(payload)["Challenge"])
        except (ValueError, KeyError, TypeError) as error:
            raise Unsealed("the node's challenge cannot be read") from error
        return json.dumps({"Challenge": base64.b64encode(self.encrypt(self.decrypt(asked))).decode()}).encode()


Keys = Callable[[str, dict[str, str]], tuple[bytes, str]]
"""(key id, encryption context) to 64 bytes and their wrapped form in base64. Blocks; raises Failed."""


def data_keys(kms: Any, key_id: str, context: dict[str, str]) -> tuple[bytes, str]:
    """As `Keys`, of a KMS client."""
    made = kms.generate_data_key(KeyId=key_id, NumberOfBytes=2 * _HALF, EncryptionContext=context)
    return made["Plaintext"], base64.b64encode(made["CiphertextBlob"]).decode()
