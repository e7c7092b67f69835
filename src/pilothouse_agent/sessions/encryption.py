"""Encryption between agent and client with a key of KMS (session-protocol 6).

The client has the data key made and sends it wrapped; the node has it unwrapped under its own role.
"""

import base64
import binascii
import hmac
import os
from typing import Any

from pilothouse_agent.link.api import KMS, ApiError, NodeApi
from pilothouse_agent.link.https import Unreachable
from pilothouse_agent.sessions.handshake import Answer, HandshakeFailed, Question

KEY_BYTES = 64
_NONCE = 12
_CHALLENGE = 64


class Unsealed(Exception):
    """A message that the client's key did not make."""


class Cipher:
    """Both directions: the agent encrypts with the first half of the key, the client with the second."""

    def __init__(self, key: bytes) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self._ours, self._theirs = AESGCM(key[:32]), AESGCM(key[32:])
        self._counter = int.from_bytes(os.urandom(_NONCE), "little")

    def encrypt(self, data: bytes) -> bytes:
        nonce = self._counter.to_bytes(_NONCE, "little")
        self._counter = (self._counter + 1) % (1 << 8 * _NONCE)
        return nonce + self._ours.encrypt(nonce, data, None)

    def decrypt(self, data: bytes) -> bytes:
        """Raises Unsealed."""
        from cryptography.exceptions import InvalidTag

        try:
            return self._theirs.decrypt(data[:_NONCE], data[_NONCE:], None)
        except (InvalidTag, ValueError) as error:
            raise Unsealed("a message that does not decrypt") from error


class Challenge:
    """Random bytes that the client must decrypt and encrypt with its own half."""

    def __init__(self, cipher: Cipher) -> None:
        self._cipher = cipher
        self._bytes = os.urandom(_CHALLENGE)
        self.text = base64.b64encode(cipher.encrypt(self._bytes)).decode()

    def check(self, answer: str) -> None:
        """Raises HandshakeFailed."""
        try:
            same = hmac.compare_digest(self._cipher.decrypt(base64.b64decode(answer, validate=True)), self._bytes)
        except (Unsealed, binascii.Error):
            same = False
        if not same:
            raise HandshakeFailed("Client and node do not have the same data key.")


async def unwrap(api: NodeApi, session_id: str, question: Question, answer: Answer) -> Cipher:
    """The data key, as KMS gives it to the node. Raises HandshakeFailed."""
    context = {"aws:ssm:SessionId": session_id, "aws:ssm:TargetId": api.instance_id}
    if answer.challenge_acknowledged:
        context["aws:ssm:RandomChallenge"] = question.challenge
    request: dict[str, Any] = {
        "CiphertextBlob": answer.wrapped_key,
        "KeyId": question.key_id,
        "EncryptionContext": context,
    }
    try:
        plain = base64.b64decode((await api.call(KMS, "Decrypt", request))["Plaintext"], validate=True)
    except (ApiError, Unreachable, KeyError, TypeError, binascii.Error) as error:
        raise HandshakeFailed(f"The node could not decrypt the data key of the session: {error}") from error
    if len(plain) != KEY_BYTES:
        raise HandshakeFailed(f"The data key of the session has {len(plain)} bytes, not {KEY_BYTES}.")
    return Cipher(plain)
