"""Key references, ciphertext blobs, key states. No I/O.

A ciphertext blob is format byte (2), a byte that is 1 for a multi-region key, account (8 bytes), key id (16), material
version (4), place (16), nonce (12), AES-256-GCM ciphertext with its tag. Everything before the nonce and the caller's
encryption context are associated data. Blobs of format 1 have neither the second byte nor the account.
"""

import hashlib
import hmac
import re
import struct
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import Final, NamedTuple

import msgspec

from pilothouse.capabilities.keys.errors import (
    DisabledException,
    InvalidCiphertextException,
    InvalidKeyUsageException,
    KMSInvalidStateException,
    NotFoundException,
)
from pilothouse.errors import ValidationException

SERVICE_ALIASES: Final = {
    "alias/aws/ssm": "Default key that protects my SSM parameters when no other key is defined",
    "alias/aws/secretsmanager": "Default key that protects my Secrets Manager data when no other key is defined",
}
"""Aliases whose key is made at first use, and the key's description."""

_ALIAS: Final = re.compile(r"alias/[a-zA-Z0-9/_-]+")
_ARN: Final = re.compile(r"arn:[a-z-]+:kms:([a-z0-9-]+):(\d{12}):(?:key/([^:]+)|(alias/[^:]+))")
_KEY_ID: Final = re.compile(
    r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}|mrk-[0-9a-fA-F]{32}"
)
_MULTI_REGION: Final = "mrk-"
_HEADER: Final = struct.Struct(">BBQ16sI16s")
_FIRST_HEADER: Final = struct.Struct(">B16sI16s")
_FORMATS: Final = {b"\x01": _FIRST_HEADER, b"\x02": _HEADER}
_NONCE: Final = 12
_TAG: Final = 16
_FORMAT: Final = 2


class KeyState(StrEnum):
    """What may be done with a key: only an enabled one encrypts, decrypts, signs."""

    CREATING = "Creating"
    ENABLED = "Enabled"
    DISABLED = "Disabled"
    PENDING_DELETION = "PendingDeletion"
    PENDING_IMPORT = "PendingImport"
    PENDING_REPLICA_DELETION = "PendingReplicaDeletion"


class KeyUsage(StrEnum):
    """What a key is for."""

    ENCRYPT_DECRYPT = "ENCRYPT_DECRYPT"
    SIGN_VERIFY = "SIGN_VERIFY"
    GENERATE_VERIFY_MAC = "GENERATE_VERIFY_MAC"
    KEY_AGREEMENT = "KEY_AGREEMENT"
    ENCAPSULATE_DECAPSULATE = "ENCAPSULATE_DECAPSULATE"


class Origin(StrEnum):
    """Where a key's material comes from."""

    AWS_KMS = "AWS_KMS"
    EXTERNAL = "EXTERNAL"
    AWS_CLOUDHSM = "AWS_CLOUDHSM"
    EXTERNAL_KEY_STORE = "EXTERNAL_KEY_STORE"


RESOURCE_TYPE: Final = "kms-key"
"""What the tags capability knows keys as."""
SYMMETRIC: Final = "SYMMETRIC_DEFAULT"
"""The key spec of AES-256-GCM keys."""

_ENCRYPT, _SIGN, _MAC, _AGREE, _ENCAPSULATE = KeyUsage
_OAEP: Final = ("RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256")
_RSA_SIGNING: Final = (
    "RSASSA_PKCS1_V1_5_SHA_256",
    "RSASSA_PKCS1_V1_5_SHA_384",
    "RSASSA_PKCS1_V1_5_SHA_512",
    "RSASSA_PSS_SHA_256",
    "RSASSA_PSS_SHA_384",
    "RSASSA_PSS_SHA_512",
)
_RSA: Final = {_ENCRYPT: _OAEP, _SIGN: _RSA_SIGNING}

ALGORITHMS: Final[Mapping[str, Mapping[KeyUsage, tuple[str, ...]]]] = {
    SYMMETRIC: {_ENCRYPT: (SYMMETRIC,)},
    "RSA_2048": _RSA,
    "RSA_3072": _RSA,
    "RSA_4096": _RSA,
    "ECC_NIST_P256": {_SIGN: ("ECDSA_SHA_256",), _AGREE: ("ECDH",)},
    "ECC_NIST_P384": {_SIGN: ("ECDSA_SHA_384",), _AGREE: ("ECDH",)},
    "ECC_NIST_P521": {_SIGN: ("ECDSA_SHA_512",), _AGREE: ("ECDH",)},
    "ECC_SECG_P256K1": {_SIGN: ("ECDSA_SHA_256",)},
    "ECC_NIST_EDWARDS25519": {_SIGN: ("ED25519_SHA_512", "ED25519_PH_SHA_512")},
    "HMAC_224": {_MAC: ("HMAC_SHA_224",)},
    "HMAC_256": {_MAC: ("HMAC_SHA_256",)},
    "HMAC_384": {_MAC: ("HMAC_SHA_384",)},
    "HMAC_512": {_MAC: ("HMAC_SHA_512",)},
    "ML_DSA_44": {_SIGN: ("ML_DSA_SHAKE_256",)},
    "ML_DSA_65": {_SIGN: ("ML_DSA_SHAKE_256",)},
    "ML_DSA_87": {_SIGN: ("ML_DSA_SHAKE_256",)},
    "ML_KEM_512": {_ENCAPSULATE: ("ML_KEM",)},
    "ML_KEM_768": {_ENCAPSULATE: ("ML_KEM",)},
    "ML_KEM_1024": {_ENCAPSULATE: ("ML_KEM",)},
    "SM2": {_ENCRYPT: ("SM2PKE",), _SIGN: ("SM2DSA",), _AGREE: ("ECDH",)},
}
"""Of each key spec the usages it can have, and the algorithms of each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A key as it stands in its table. Times are epoch milliseconds."""

    account_id: str
    region: str
    key_id: str
    state: KeyState
    manager: str
    """`AWS` for the keys behind `alias/aws/...`, else `CUSTOMER`."""
    description: str
    material_version: int
    """The version of the material that encrypts now; 0 while there is none."""
    created_at: int
    key_spec: str = SYMMETRIC
    key_usage: KeyUsage = KeyUsage.ENCRYPT_DECRYPT
    origin: Origin = Origin.AWS_KMS
    primary_region: str | None = None
    """Where the primary of a multi-region key lies; None for a key of one region."""
    deletion_at: int | None = None
    pending_days: int | None = None
    rotation_days: int | None = None
    """Days between rotations; None while the key does not rotate by itself."""
    rotated_at: int | None = None
    """The last rotation."""
    next_rotation_at: int | None = None
    on_demand_rotations: int = 0
    policy: str = ""
    """The key policy; empty for the default one."""
    expiration_model: str | None = None
    valid_to: int | None = None

    @property
    def arn(self) -> str:
        return key_arn(self.account_id, self.region, self.key_id)

    @property
    def multi_region(self) -> bool:
        return self.primary_region is not None

    @property
    def is_primary(self) -> bool:
        return self.primary_region == self.region

    @property
    def algorithms(self) -> tuple[str, ...]:
        return ALGORITHMS[self.key_spec][self.key_usage]

    def check_state(self) -> None:
        """Raises DisabledException or KMSInvalidStateException unless the key may be used."""
        check_usable(self.state, self.arn)

    def check_usage(self, wanted: KeyUsage, operation: str) -> None:
        """Raises InvalidKeyUsageException unless the key is for `operation` (its wire name)."""
        if self.key_usage is not wanted:
            raise InvalidKeyUsageException(
                f"{self.arn} key usage is {self.key_usage} which is not valid for {operation}."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """One version of a key's material; `wrapped` is empty where an imported one was deleted."""

    version: int
    created_at: int
    wrapped: bytes = field(default=b"", repr=False)
    material_id: str = ""
    rotation_type: str | None = None
    """AUTOMATIC or ON_DEMAND; None for the first material."""
    rotated_at: int | None = None
    import_state: str | None = None
    """IMPORTED or PENDING_IMPORT; None for material that was made here."""
    expiration_model: str | None = None
    valid_to: int | None = None
    description: str = ""


def material_id(key_id: str, material: bytes) -> str:
    """64 hex digits that name a material: the same material of the same key has the same."""
    return hmac.digest(material, f"key material id {key_id}".encode(), "sha256").hex()


def check_spec_and_usage(key_spec: str, usage: str | None) -> KeyUsage:
    """The usage of a new key. Raises ValidationException, UnsupportedOperationException."""
    if usage is None:
        if key_spec != SYMMETRIC:
            raise ValidationException(
                "You must specify a KeyUsage value for all KMS keys except for symmetric encryption keys."
            )
        return KeyUsage.ENCRYPT_DECRYPT
    if usage not in ALGORITHMS[key_spec]:
        raise ValidationException(f"KeyUsage {usage} is not compatible with KeySpec {key_spec}")
    return KeyUsage(usage)


@dataclass(frozen=True, slots=True)
class KeyReference:
    """A KeyId of a request: a key id or an alias, never both, and whose."""

    account_id: str
    key_id: str | None = None
    alias: str | None = None


def parse_reference(text: str, account_id: str, region: str) -> KeyReference:
    """Read a key id, key ARN, `alias/name` or alias ARN. Raises NotFoundException for one that cannot exist here."""
    key_id, alias, owner = text, None, account_id
    if text.startswith("arn:"):
        match = _ARN.fullmatch(text)
        if match is None:
            raise NotFoundException(f"Invalid arn {text}")
        if match[1] != region:
            raise NotFoundException(f"Invalid arn {match[1]}")
        owner, key_id, alias = match[2], match[3], match[4]
    elif text.startswith("alias/"):
        alias = text
    if alias is not None:
        if not _ALIAS.fullmatch(alias):
            raise NotFoundException(f"Alias {alias_arn(owner, region, alias)} is not found.")
        return KeyReference(owner, alias=alias)
    if not _KEY_ID.fullmatch(key_id):
        raise NotFoundException(f"Invalid keyId '{key_id}'")
    return KeyReference(owner, key_id=key_id.lower())


def is_key_id(text: str) -> bool:
    """Whether a text has the form of a key id."""
    return _KEY_ID.fullmatch(text) is not None


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
    raise KMSInvalidStateException(f"{arn} is {_STATES_IN_WORDS[KeyState(state)]}.")


_STATES_IN_WORDS: Final = {
    KeyState.CREATING: "creating",
    KeyState.PENDING_DELETION: "pending deletion",
    KeyState.PENDING_IMPORT: "pending import",
    KeyState.PENDING_REPLICA_DELETION: "pending replica deletion",
}


class Blob(NamedTuple):
    """A ciphertext blob taken apart."""

    account_id: str
    """Whose the key is; empty in blobs of the first format, which are always of the account that has them."""
    key_id: str
    material_version: int
    place: bytes
    header: bytes
    nonce: bytes
    ciphertext: bytes


def header(account_id: str, key_id: str, material_version: int, place: bytes) -> bytes:
    """The authenticated front of a blob. `place` is from `digest`."""
    multi_region = key_id.startswith(_MULTI_REGION)
    digits = bytes.fromhex(key_id[len(_MULTI_REGION) :]) if multi_region else uuid.UUID(key_id).bytes
    return _HEADER.pack(_FORMAT, int(multi_region), int(account_id), digits, material_version, place)


def take_apart(blob: bytes) -> Blob:
    """The parts of a blob. Raises InvalidCiphertextException."""
    form = _FORMATS.get(blob[:1])
    if form is None or len(blob) < form.size + _NONCE + _TAG:
        raise InvalidCiphertextException
    account_id, multi_region = "", 0
    if form is _HEADER:
        _, multi_region, owner, digits, material_version, place = form.unpack_from(blob)
        account_id = f"{owner:012}"
    else:
        _, digits, material_version, place = form.unpack_from(blob)
    end = form.size + _NONCE
    return Blob(
        account_id, _key_id(digits, multi_region), material_version, place,
        blob[: form.size], blob[form.size : end], blob[end:],
    )  # fmt: skip


@lru_cache(maxsize=1024)
def _key_id(digits: bytes, multi_region: int) -> str:
    return _MULTI_REGION + digits.hex() if multi_region else str(uuid.UUID(bytes=digits))


def digest(place: str) -> bytes:
    """16 bytes that stand for the place a ciphertext was made for (a row and its version)."""
    return hashlib.sha256(place.encode()).digest()[:16]


def associated_data(front: bytes, context: Mapping[str, str]) -> bytes:
    """What a blob is bound to: its front and the encryption context as canonical JSON."""
    return front + msgspec.json.encode(context, order="sorted")
