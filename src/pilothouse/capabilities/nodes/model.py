"""What an activation and a node are, and the rules that need no storage.

Times are epoch milliseconds.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

import msgspec

from pilothouse.errors import ApiError, ValidationException
from pilothouse.gateway.node_signature import NotAnRsaKey, read_public_key
from pilothouse.identity.principals import Principal

ACTIVATION_LIFE_MS = 24 * 3600 * 1000
"""How long an activation is good when its maker names no date."""
ACTIVATION_LIFE_MAX_MS = 30 * 24 * 3600 * 1000

RESOURCE_TYPE = "ManagedInstance"
"""The only resource type there is yet: every node comes from an activation. Tags hang on it under this name too."""
SOURCE_TYPE = "AWS::SSM::ManagedInstance"

_ROLE = re.compile(r"/?(?:[!-.0-~]+/)*[A-Za-z0-9_+=,.@-]+")
_ACTIVATION_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_NODE_ID = re.compile(r"(?:mi-[A-Za-z0-9_]{17}|i-[A-Za-z0-9_]{8}|i-[A-Za-z0-9_]{17})")
_TEXT = re.compile(r"[^\x00-\x1f\x7f]*")


class InvalidActivation(ApiError):
    """No such activation, or the code does not fit its id."""


class ActivationExpired(ApiError):
    """The activation is past its expiration date."""


class RegistrationLimitExceeded(ApiError):
    """The activation has registered as many nodes as it may."""


class InvalidPublicKey(ApiError):
    """The key is not base64, not RSA, or of a size that is not taken."""


class PublicKeyAlreadyRegistered(ApiError):
    """Another node has this key."""


class MachineFingerprintDoesNotMatch(ApiError):
    """The machine is not the one that registered: a copied disk, or new hardware below it."""


class InvalidInstanceInformationValue(ApiError):
    """A node says something about itself that cannot be."""


class InvalidInstanceId(ApiError):
    """No such node here, for a reason that the text names."""


class DuplicateInstanceId(ApiError):
    """The same node is named more than once."""


class InvalidActivationId(ApiError):
    """A text that cannot be the id of an activation."""


class InvalidParameters(ApiError):
    """An activation with these values cannot be made."""


class InvalidFilter(ApiError):
    """A filter that the list does not know."""


class InvalidFilterKey(ApiError):
    """A filter key that the list does not know."""


class InvalidInstanceInformationFilterValue(ApiError):
    """A filter value that the key cannot have."""


class InvalidInstancePropertyFilterValue(ApiError):
    """A filter value that the key cannot have."""


class InvalidAggregatorException(ApiError):
    """A summary that cannot be made."""


class ResourceDataSyncNotFoundException(ApiError):
    """No such resource data sync."""


class InvalidNextToken(ApiError):
    """The page token is not of this list."""


class ResourceNotFoundException(ApiError):
    """No such package, or no such cloud connector."""


class ConflictException(ApiError):
    """Another cloud connector has the name."""


class ServiceQuotaExceededException(ApiError):
    """As many cloud connectors as there may be."""


class PingStatus(Enum):
    """Whether a node answers, as lists show it. `Inactive` exists on the wire and no node has it."""

    ONLINE = "Online"
    CONNECTION_LOST = "ConnectionLost"


@dataclass(frozen=True, slots=True, kw_only=True)
class Activation:
    """The right to register nodes: a code, a limit, a date, and what the nodes get from it."""

    activation_id: str
    account_id: str
    region: str
    code_hash: bytes = field(repr=False)
    iam_role: str
    description: str | None
    default_instance_name: str | None
    registration_limit: int
    registrations_count: int
    expires_at: int
    created_at: int
    tags: Mapping[str, str]
    registration_metadata: Mapping[str, str]

    def expired(self, now_ms: int) -> bool:
        return now_ms >= self.expires_at


class Node(msgspec.Struct, frozen=True):
    """A managed machine. `name` is its Name tag if it has one, else the name that its activation gave."""

    node_id: str
    account_id: str
    region: str
    activation_id: str
    iam_role: str
    name: str | None
    fingerprint: str
    registered_at: int
    last_contact_at: int | None
    """The last signed UpdateInstanceInformation or GetMessages; None before the first."""
    agent_name: str | None
    agent_version: str | None
    platform_type: str | None
    platform_name: str | None
    platform_version: str | None
    ip_address: str | None
    computer_name: str | None
    availability_zone: str | None
    availability_zone_id: str | None
    connection_channel: str | None
    agent_status: str | None
    association_status: str | None = None
    """How its associations stand on it, taken together; None if it has none."""
    association_counts: Mapping[str, int] = msgspec.field(default_factory=dict)
    associations_ran_at: int | None = None
    associations_succeeded_at: int | None = None
    resource_type: str = RESOURCE_TYPE
    source_type: str = SOURCE_TYPE

    @property
    def principal(self) -> Principal:
        """Who the node is when it signs with its own key; role credentials carry the same arn and id."""
        return Principal(
            kind="node",
            account_id=self.account_id,
            arn=f"arn:aws:sts::{self.account_id}:assumed-role/{role_name(self.iam_role)}/{self.node_id}",
            user_id=f"{role_id(self.account_id, self.iam_role)}:{self.node_id}",
            access_key_id=self.node_id,
            node_id=self.node_id,
            region=self.region,
        )


@dataclass(frozen=True, slots=True)
class Sighting:
    """What is known about a node's life at one moment."""

    status: PingStatus
    last_ping_at: int


def sighting(node: Node, channel_seen_at: int | None, now_ms: int, online_seconds: int) -> Sighting:
    """Online while the control channel is open, or within `online_seconds` of the last contact.

    `channel_seen_at`: last sign of life on the open control channel, None if there is no open one.
    """
    contacts = [at for at in (node.last_contact_at, channel_seen_at) if at is not None]
    if not contacts:
        return Sighting(PingStatus.CONNECTION_LOST, node.registered_at)
    last = max(contacts)
    online = channel_seen_at is not None or last > now_ms - online_seconds * 1000
    return Sighting(PingStatus.ONLINE if online else PingStatus.CONNECTION_LOST, last)


def hash_code(code: str) -> bytes:
    """What is stored of an activation code. A fast hash does: 20 random characters cannot be tried through."""
    return hashlib.sha256(code.encode()).digest()


def code_fits(code: str, code_hash: bytes) -> bool:
    return hmac.compare_digest(hash_code(code), code_hash)


class WrongCodes:
    """Counts wrong codes for each activation, in this process: after 100 within an hour no code is looked at.

    The code cannot be guessed anyway; this ends the trying and the load of it, and is forgotten at a restart.
    """

    LIMIT = 100
    WINDOW_MS = 3600 * 1000
    _REMEMBERED = 10_000

    def __init__(self) -> None:
        self._since: OrderedDict[str, tuple[int, int]] = OrderedDict()

    def blocked(self, activation_id: str, now_ms: int) -> bool:
        start, count = self._since.get(activation_id, (now_ms, 0))
        return count >= self.LIMIT and now_ms - start < self.WINDOW_MS

    def add(self, activation_id: str, now_ms: int) -> None:
        start, count = self._since.pop(activation_id, (now_ms, 0))
        if now_ms - start >= self.WINDOW_MS:
            start, count = now_ms, 0
        self._since[activation_id] = (start, count + 1)
        if len(self._since) > self._REMEMBERED:
            self._since.popitem(last=False)


def checked_role(iam_role: str, account_id: str) -> str:
    """A role's name, with or without its path. Raises ValidationException."""
    if len(iam_role) > 64 or not _ROLE.fullmatch(iam_role):
        raise ValidationException(
            "Nonexistent role or missing ssm service principal in trust policy: "
            f"arn:aws:iam::{account_id}:role/{iam_role.removeprefix('/')}"
        )
    return iam_role


def role_name(iam_role: str) -> str:
    """The name without its path."""
    return iam_role.rpartition("/")[2]


def role_id(account_id: str, iam_role: str) -> str:
    """`AROA` and 17 characters that are always the same for a role name of an account."""
    digest = hashlib.sha256(f"{account_id}/{role_name(iam_role)}".encode()).digest()
    return "AROA" + base64.b32encode(digest).decode()[:17]


def expiration(asked_ms: int | None, now_ms: int) -> int:
    """When an activation made now ends. Raises InvalidParameters."""
    if asked_ms is None:
        return now_ms + ACTIVATION_LIFE_MS
    if asked_ms <= now_ms:
        raise InvalidParameters("The ExpirationDate of an activation must be in the future.")
    if asked_ms > now_ms + ACTIVATION_LIFE_MAX_MS:
        raise InvalidParameters("The ExpirationDate of an activation can be at most 30 days ahead.")
    return asked_ms


def checked_public_key(text: str) -> bytes:
    """The DER bytes of a base64 SubjectPublicKeyInfo. Raises InvalidPublicKey."""
    try:
        der = base64.b64decode(text, validate=True)
        read_public_key(der)
    except (binascii.Error, ValueError) as error:
        raise InvalidPublicKey("The public key is not base64.") from error
    except NotAnRsaKey as error:
        raise InvalidPublicKey(f"The public key must be RSA with 2048 to 8192 bits; this is {error}.") from error
    return der


def public_key_hash(der: bytes) -> str:
    return hashlib.sha256(der).hexdigest()


def is_node_id(text: str) -> bool:
    """Whether the text has the form of a node id; tells nothing about whether there is such a node."""
    return _NODE_ID.fullmatch(text) is not None


def is_activation_id(text: str) -> bool:
    """Whether the text has the form of an activation id."""
    return _ACTIVATION_ID.fullmatch(text) is not None


_PLATFORM_TYPES = {"linux": "Linux", "windows": "Windows", "macos": "MacOS"}
_LIMITS = {
    "agent_name": 64,
    "agent_version": 64,
    "agent_status": 64,
    "platform_name": 120,
    "platform_version": 120,
    "ip_address": 46,
    "computer_name": 255,
    "availability_zone": 120,
    "availability_zone_id": 120,
    "connection_channel": 32,
}


def checked_information(given: Mapping[str, str | None]) -> dict[str, str]:
    """What a node says about itself, by column; what it leaves out or leaves empty is not in it.

    Raises InvalidInstanceInformationValue.
    """
    told: dict[str, str] = {}
    for column, value in given.items():
        if not value:
            continue
        if column == "platform_type":
            if value.lower() not in _PLATFORM_TYPES:
                raise InvalidInstanceInformationValue("The platform type must be Linux, Windows or MacOS.")
            told[column] = _PLATFORM_TYPES[value.lower()]
            continue
        if len(value) > _LIMITS[column] or not _TEXT.fullmatch(value):
            raise InvalidInstanceInformationValue(
                f"The {column.replace('_', ' ')} must have at most {_LIMITS[column]} characters, all of them printable."
            )
        told[column] = value
    return told
