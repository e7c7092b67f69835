"""Values of the Advanced tier in the message format of the AWS Encryption SDK, version 2. No I/O.

Suite 0x0478: AES-256-GCM, keys derived by HKDF-SHA-512, with key commitment and without a signature. The message holds
one frame, and its data key encrypted under one KMS key.
"""

import hmac
import struct
from collections.abc import Mapping
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

MESSAGE_ID_BYTES: Final = 32
_FRONT: Final = b"\x02\x04\x78"
_SUITE: Final = b"\x04\x78"
_FRAMED: Final = b"\x02"
_PROVIDER: Final = b"aws-kms"
_TAG: Final = 16
_COMMITMENT: Final = 32
_HEADER_IV: Final = bytes(12)
_FINAL: Final = struct.pack(">II", 0xFFFFFFFF, 1) + (1).to_bytes(12, "big")
_FINAL_FRAME: Final = b"AWSKMSEncryptionClient Final Frame"


class BrokenEnvelope(Exception):
    """The message is cut, altered, or not of the form that is made here."""


class Envelope(NamedTuple):
    """A message taken apart: what is needed to open it once its data key is known."""

    message_id: bytes
    context: dict[str, str]
    key_arn: str
    encrypted_data_key: bytes
    header: bytes
    commitment: bytes
    header_tag: bytes
    ciphertext: bytes


def is_envelope(stored: bytes) -> bool:
    """Whether a stored value is such a message; otherwise it was encrypted under the key itself."""
    return stored.startswith(_FRONT)


def close(
    plaintext: bytes,
    data_key: bytes,
    encrypted_data_key: bytes,
    key_arn: str,
    context: Mapping[str, str],
    message_id: bytes,
) -> bytes:
    """The message. `message_id` is 32 random bytes, `data_key` is used for this message alone."""
    encryption_key, commitment = _derived(data_key, message_id)
    front = b"".join(
        [
            _FRONT,
            message_id,
            _block(_context_bytes(context)),
            struct.pack(">H", 1),
            _block(_PROVIDER),
            _block(key_arn.encode()),
            _block(encrypted_data_key),
            _FRAMED,
            struct.pack(">I", len(plaintext)),
        ]
    )
    header = front + commitment
    cipher = AESGCM(encryption_key)
    header_tag = cipher.encrypt(_HEADER_IV, b"", header)
    body = cipher.encrypt(_FINAL[8:], plaintext, _body_data(message_id, len(plaintext)))
    return header + header_tag + _FINAL + struct.pack(">I", len(plaintext)) + body


def take_apart(message: bytes) -> Envelope:
    """Raises BrokenEnvelope."""
    reader = _Reader(message)
    try:
        if reader.take(len(_FRONT)) != _FRONT:
            raise BrokenEnvelope
        message_id = reader.take(MESSAGE_ID_BYTES)
        context = _context(reader.block())
        count = reader.number(2)
        provider, key_arn, encrypted = reader.block(), reader.block(), reader.block()
        content, frame = reader.take(1), reader.number(4)
        commitment = reader.take(_COMMITMENT)
        header = message[: reader.at]
        header_tag = reader.take(_TAG)
        opening, length = reader.take(len(_FINAL)), reader.number(4)
        ciphertext = reader.take(length + _TAG)
        arn = key_arn.decode()
    except (IndexError, UnicodeDecodeError) as error:
        raise BrokenEnvelope from error
    if (count, provider, content, opening) != (1, _PROVIDER, _FRAMED, _FINAL) or reader.rest or frame != length:
        raise BrokenEnvelope
    return Envelope(message_id, context, arn, encrypted, header, commitment, header_tag, ciphertext)


def open_with(data_key: bytes, envelope: Envelope) -> bytes:
    """The plaintext. Raises BrokenEnvelope."""
    encryption_key, commitment = _derived(data_key, envelope.message_id)
    if not hmac.compare_digest(commitment, envelope.commitment):
        raise BrokenEnvelope
    cipher = AESGCM(encryption_key)
    length = len(envelope.ciphertext) - _TAG
    try:
        cipher.decrypt(_HEADER_IV, envelope.header_tag, envelope.header)
        return cipher.decrypt(_FINAL[8:], envelope.ciphertext, _body_data(envelope.message_id, length))
    except InvalidTag as error:
        raise BrokenEnvelope from error


class _Reader:
    """Takes a message from front to end. Raises IndexError where it is too short."""

    def __init__(self, message: bytes) -> None:
        self._message = message
        self.at = 0

    def take(self, count: int) -> bytes:
        taken = self._message[self.at : self.at + count]
        if len(taken) != count:
            raise IndexError
        self.at += count
        return taken

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def block(self) -> bytes:
        return self.take(self.number(2))

    @property
    def rest(self) -> bytes:
        return self._message[self.at :]


def _derived(data_key: bytes, message_id: bytes) -> tuple[bytes, bytes]:
    def derive(info: bytes) -> bytes:
        return HKDF(algorithm=SHA512(), length=32, salt=message_id, info=info).derive(data_key)

    return derive(_SUITE + b"DERIVEKEY"), derive(b"COMMITKEY")


def _block(part: bytes) -> bytes:
    return struct.pack(">H", len(part)) + part


def _context_bytes(context: Mapping[str, str]) -> bytes:
    pairs = sorted((key.encode(), value.encode()) for key, value in context.items())
    return struct.pack(">H", len(pairs)) + b"".join(_block(key) + _block(value) for key, value in pairs)


def _context(packed: bytes) -> dict[str, str]:
    reader = _Reader(packed)
    return {reader.block().decode(): reader.block().decode() for _ in range(reader.number(2))}


def _body_data(message_id: bytes, length: int) -> bytes:
    return message_id + _FINAL_FRAME + struct.pack(">IQ", 1, length)
