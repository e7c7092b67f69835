"""Imported key material: tokens, unwrapping, and what material fits which key. No I/O.

An import token is the private half of a one-time wrapping key with what it is for, sealed by the vault: nothing is kept
between GetParametersForImport and ImportKeyMaterial.
"""

from dataclasses import dataclass, field
from typing import Final

import msgspec
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap_with_padding

from pilothouse.capabilities.keys import asymmetric, mac
from pilothouse.capabilities.keys.errors import (
    ExpiredImportTokenException,
    IncorrectKeyMaterialException,
    InvalidCiphertextException,
    InvalidImportTokenException,
    UnsupportedOperationException,
)
from pilothouse.capabilities.keys.model import SYMMETRIC

TOKEN_MILLIS: Final = 24 * 3600 * 1000
"""How long an import token can be used."""
SYMMETRIC_BYTES: Final = 32

_WRAP: Final = "RSA_AES_KEY_WRAP_"
_AES_BYTES: Final = (16, 24, 32)


@dataclass(frozen=True, slots=True)
class ImportToken:
    """What one GetParametersForImport promised."""

    key_arn: str
    algorithm: str
    valid_to: int
    """Milliseconds since 1970."""
    private_key: bytes = field(repr=False)
    """PKCS#8 DER of the wrapping key."""


def token_place(key_arn: str) -> str:
    """What the vault binds a token to: sealed for one key, it opens for no other."""
    return f"kms import token|{key_arn}"


def pack(token: ImportToken) -> bytes:
    """To be sealed."""
    return msgspec.msgpack.encode(token)


def unpack(opened: bytes, at: int) -> ImportToken:
    """The token that was sealed. Raises InvalidImportTokenException, ExpiredImportTokenException."""
    try:
        token = msgspec.msgpack.decode(opened, type=ImportToken)
    except msgspec.MsgspecError as error:
        raise InvalidImportTokenException("The import token is not valid.") from error
    if at >= token.valid_to:
        raise ExpiredImportTokenException("The import token has expired.")
    return token


def check_wrapping(spec: str, algorithm: str, wrapping_spec: str) -> None:
    """Refuse a wrapping in which no material of the key could arrive. Raises UnsupportedOperationException."""
    if wrapping_spec not in asymmetric.RSA or algorithm in ("RSAES_PKCS1_V1_5", "SM2PKE"):
        raise UnsupportedOperationException(
            f"Wrapping algorithm {algorithm} with wrapping key spec {wrapping_spec} is not supported."
        )
    if spec in asymmetric.RSA and not algorithm.startswith(_WRAP):
        raise UnsupportedOperationException(f"Wrapping algorithm {algorithm} cannot wrap key material of {spec}.")


def unwrap(private_key: bytes, algorithm: str, wrapped: bytes) -> bytes:
    """The key material in the clear. Raises InvalidCiphertextException, without a word on why."""
    key = asymmetric.load(private_key)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise AssertionError("wrapping keys are RSA keys")
    try:
        if not algorithm.startswith(_WRAP):
            return key.decrypt(wrapped, asymmetric.oaep(algorithm))
        size = key.key_size // 8
        aes = key.decrypt(wrapped[:size], asymmetric.oaep(f"RSAES_OAEP_{algorithm.removeprefix(_WRAP)}"))
        if len(aes) not in _AES_BYTES:
            raise ValueError("not an AES key")
        return aes_key_unwrap_with_padding(aes, wrapped[size:])
    except (ValueError, InvalidUnwrap) as error:
        raise InvalidCiphertextException("") from error


def fitting(spec: str, plaintext: bytes) -> bytes:
    """The material as keys of the spec keep it: raw, or PKCS#8 DER. Raises IncorrectKeyMaterialException.

    Checking an RSA key takes some hundred milliseconds.
    """
    length = SYMMETRIC_BYTES if spec == SYMMETRIC else mac.KEY_BYTES.get(spec)
    if length is not None:
        if len(plaintext) != length:
            raise IncorrectKeyMaterialException(f"Key material of {spec} has {length} bytes.")
        return plaintext
    try:
        return asymmetric.private_bytes(asymmetric.load_foreign(plaintext, spec))
    except ValueError as error:
        raise IncorrectKeyMaterialException(f"The key material is not a valid key of {spec}.") from error
