"""Key references, ciphertext blobs, key states. No I/O.

A ciphertext blob is version byte, key id (16 bytes), material version (4), place (16), nonce (12), AES-256-GCM
ciphertext with its tag. Everything before the nonce and the caller's encryption context are associated data.
"""

import hashlib
import re
import struct
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Final, NamedTuple

import msgspec

from pilothouse.errors import ApiError

SERVICE_ALIASES: Final = {
    "alias/aws/ssm": "Default key that protects SecureString parameters when no other key is given",
    "alias/aws/secretsmanager": "Default key that protects secrets when no other key is given",
}
"""Aliases whose key is made at first use, and the key's description."""

_ALIAS: Final = re.compile(r"alias/[a-zA-Z0-9/_-]+")
_ARN: Final = re.compile(r"arn:[a-z-]+:kms:([a-z0-9-]+):(\d{12}):(?:key/([^:]+)|(alias/[^:]+))")
_HEADER: Final = struct.Struct(">B16sI16s")
_NONCE: Final = 12
_TAG: Final = 16
_FORMAT: Final = 1


class KeyState(StrEnum):
    """What may be done with a key: only an enabled one encrypts and decrypts."""

    ENABLED = "Enabled"
    DISABLED = "Disabled"
    PENDING_DELETION = "PendingDeletion"


class NotFoundException(ApiError):
    """No such key or alias in this account and region."""


class DisabledException(ApiError):
    """The key is disabled."""


class KMSInvalidStateException(ApiError):
    """The key's state does not allow its use."""


class InvalidCiphertextException(ApiError):
    """The blob is not ours, was altered, or was made under another encryption context or for another place."""


@dataclass(frozen=True, slots=True)
class KeyReference:
    """A KeyId of a request: a key id or an alias, never both."""

    key_id: str | None = None
    alias: str | None = None


def parse_reference(text: str, account_id: str, region: str) -> KeyReference:
    """Read a key id, key ARN, `alias/name` or alias ARN. Raises NotFoundException for one that cannot exist here."""
    key_id, alias = text, None
    if text.startswith("arn:"):
        match = _ARN.fullmatch(text)
        if match is None or (match[1], match[2]) != (region, account_id):
            raise NotFoundException(f"Invalid arn {text}")
        key_id, alias = match[3], match[4]
    elif text.startswith("alias/"):
        alias = text
    if alias is not None:
        if not _ALIAS.fullmatch(alias):
            raise NotFoundException(f"Alias {alias_arn(account_id, region, alias)} is not found.")
        return KeyReference(alias=alias)
    try:
        return KeyReference(key_id=str(uuid.UUID(key_id)))
    except ValueError as error:
        raise NotFoundException(f"Invalid keyId '{text}'") from error


def key_arn(account_id: str, region: str, key_id: str) -> str:
    """`arn:aws:kms:REGION:ACCOUNT:key/ID`"""
    return f"arn:aws:kms:{region}:{account_id}:key/{key_id}"


def alias_arn(account_id: str, region: str, alias: str) -> str:
    """`arn:aws:kms:REGION:ACCOUNT:alias/NAME`"""
    return f"arn:aws:kms:{region}:{account_id}:{alias}"


def check_usable(state: str, arn: str) -> None:
    """Raises DisabledException or KMSInvalidStateException unless a key in this state may be used."""
    if state == KeyState.ENABLED:
        return
    if state == KeyState.DISABLED:
        raise DisabledException(f"{arn} is disabled.")
    if state == KeyState.PENDING_DELETION:
        raise KMSInvalidStateException(f"{arn} is pending deletion.")
    raise KMSInvalidStateException(f"{arn} is in state {state}.")


class Blob(NamedTuple):
    """A ciphertext blob taken apart."""

    key_id: str
    material_version: int
    place: bytes
    header: bytes
    nonce: bytes
    ciphertext: bytes


def header(key_id: str, material_version: int, place: bytes) -> bytes:
    """The authenticated front of a blob. `place` is from `digest`."""
    return _HEADER.pack(_FORMAT, uuid.UUID(key_id).bytes, material_version, place)


def take_apart(blob: bytes) -> Blob:
    """The parts of a blob. Raises InvalidCiphertextException."""
    if len(blob) < _HEADER.size + _NONCE + _TAG:
        raise InvalidCiphertextException("The ciphertext is not valid.")
    form, key_id, material_version, place = _HEADER.unpack_from(blob)
    if form != _FORMAT:
        raise InvalidCiphertextException("The ciphertext is not valid.")
    end = _HEADER.size + _NONCE
    return Blob(_dashed(key_id), material_version, place, blob[: _HEADER.size], blob[_HEADER.size : end], blob[end:])


@lru_cache(maxsize=1024)
def _dashed(key_id: bytes) -> str:
    return str(uuid.UUID(bytes=key_id))


def digest(place: str) -> bytes:
    """16 bytes that stand for the place a ciphertext was made for (a row and its version)."""
    return hashlib.sha256(place.encode()).digest()[:16]


def associated_data(front: bytes, context: Mapping[str, str]) -> bytes:
    """What a blob is bound to: its front and the encryption context as canonical JSON."""
    return front + msgspec.json.encode(context, order="sorted")
