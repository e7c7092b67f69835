"""Items of inventory and their rules, and what of an entry is shared by nodes. Times are epoch milliseconds."""

import hashlib
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from pilothouse.capabilities.inventory.built_in import BUILT_IN
from pilothouse.errors import ApiError

Entry = dict[str, str]

ITEM_BYTES: Final = 3 << 20
NODE_BYTES: Final = 10 << 20
MOST_ATTRIBUTES: Final = 50
_CUSTOM: Final = re.compile(r"Custom:[A-Za-z0-9_\-.]{1,93}", re.ASCII)
_CUT: Final = 500
"""Characters of a value that the index knows."""

_read_content = msgspec.json.Decoder(list[Entry]).decode
_encoder = msgspec.json.Encoder(order="deterministic")


class InvalidInstanceId(ApiError):
    """No such node here."""


class InvalidTypeNameException(ApiError):
    """A type that is not there, or that cannot be sent or deleted."""


class InvalidItemContentException(ApiError):
    """An item without content that could be taken."""


class ItemSizeLimitExceededException(ApiError):
    """An item that is too large."""


class TotalSizeLimitExceededException(ApiError):
    """More than a node may have."""


class ItemContentMismatchException(ApiError):
    """The content that is said to be unchanged is not what is stored."""


class CustomSchemaCountLimitExceededException(ApiError):
    """As many custom types as there may be."""


class SubTypeCountLimitExceededException(ApiError):
    """More attributes than a type may have."""


class UnsupportedInventorySchemaVersionException(ApiError):
    """A version of a built-in type that is not known."""


class UnsupportedInventoryItemContextException(ApiError):
    """A context where the type has none."""


class InvalidInventoryItemContextException(ApiError):
    """A context that says not what it must."""


class InvalidFilter(ApiError):
    """A filter that cannot be asked for."""


class InvalidNextToken(ApiError):
    """The page token is not of this list."""


class InvalidAggregatorException(ApiError):
    """Counts that cannot be made."""


class InvalidInventoryGroupException(ApiError):
    """A group that cannot be counted."""


class InvalidResultAttributeException(ApiError):
    """A type that cannot be shown."""


class InvalidDeletionIdException(ApiError):
    """No such deletion."""


class InvalidOptionException(ApiError):
    """An option that is not known."""


class InvalidDeleteInventoryParametersException(ApiError):
    """Options that do not go together."""


class ResourceDataSyncAlreadyExistsException(ApiError):
    """A sync has the name."""


class ResourceDataSyncCountExceededException(ApiError):
    """As many syncs as there may be."""


class ResourceDataSyncInvalidConfigurationException(ApiError):
    """A sync that cannot work."""


class ResourceDataSyncNotFoundException(ApiError):
    """No such sync."""


class ResourceDataSyncConflictException(ApiError):
    """Somebody else changes the sync."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A type as an account has it in a region."""

    kind_id: int
    type_name: str
    version: str
    """The newest that was sent."""
    attributes: tuple[str, ...]
    """Of a custom type."""
    disabled: tuple[str, ...]
    """Versions that are taken no more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """What a node said of a type."""

    node_id: str
    schema_version: str
    capture_time: str
    content_hash: str
    content: bytes = field(repr=False)
    """Packed; see `unpacked`."""
    entries: int
    bytes: int
    number: int
    changed_at: int


@dataclass(frozen=True, slots=True)
class Shared:
    """An entry without what differs from node to node."""

    digest: bytes
    content: str
    moment: str


def packed(content: Sequence[Entry]) -> tuple[bytes, int]:
    """Entries as they are stored, and their size as JSON."""
    text = msgspec.json.encode(content)
    return zlib.compress(text, 3), len(text)


def unpacked(content: bytes) -> list[Entry]:
    """The entries of an item."""
    return _read_content(zlib.decompress(content))


def shared(type_name: str, content: Sequence[Entry]) -> set[Shared]:
    """What of the entries the index keeps."""
    built_in = BUILT_IN.get(type_name)
    moment = None if built_in is None else built_in.moment
    found = set()
    for entry in content:
        at = entry.get(moment, "") if moment is not None else ""
        if 0 < len(at) <= _CUT:
            text = _encoder.encode({name: value for name, value in entry.items() if name != moment})
        else:  # none, or one that stays where it is
            at, text = "", _encoder.encode(entry)
        found.add(Shared(hashlib.sha256(text).digest()[:16], text.decode(), at))
    return found


def moment_of(type_name: str) -> str | None:
    """The attribute that is kept beside the shared part."""
    built_in = BUILT_IN.get(type_name)
    return None if built_in is None else built_in.moment


def is_indexed(type_name: str, attribute: str) -> bool:
    """Whether entries are found by the attribute."""
    built_in = BUILT_IN.get(type_name)
    return built_in is None or attribute not in (*built_in.text_only, built_in.moment)


def cut(value: str) -> str:
    """What the index knows of a value."""
    return value[:_CUT]


def is_cut(value: str) -> bool:
    return len(value) >= _CUT


def check_type(type_name: str) -> None:
    """Raises InvalidTypeNameException for what is no type."""
    if type_name not in BUILT_IN and not _CUSTOM.fullmatch(type_name):
        raise InvalidTypeNameException(f"There is no inventory type {type_name}.")


def is_custom(type_name: str) -> bool:
    return type_name.startswith("Custom:")


def check_sent(type_name: str, schema_version: str) -> None:
    """Whether nodes send it. Raises InvalidTypeNameException, UnsupportedInventorySchemaVersionException."""
    check_type(type_name)
    built_in = BUILT_IN.get(type_name)
    if built_in is None:
        return
    if built_in.served and type_name != "AWS:ComplianceItem":
        raise InvalidTypeNameException(f"The inventory type {type_name} is kept by the server.")
    if schema_version.partition(".")[0] != built_in.version.partition(".")[0]:
        raise UnsupportedInventorySchemaVersionException(
            f"The version {schema_version} of {type_name} is not known; the newest is {built_in.version}."
        )


def version_key(version: str) -> tuple[int, ...]:
    """Orders schema versions."""
    return tuple(int(part) for part in version.split("."))


def widened(known: Sequence[str], content: Sequence[Mapping[str, str]]) -> tuple[str, ...]:
    """The attributes of a custom type after this content. Raises SubTypeCountLimitExceededException."""
    names = dict.fromkeys(known)
    for entry in content:
        names.update(dict.fromkeys(entry))
    if len(names) > MOST_ATTRIBUTES:
        raise SubTypeCountLimitExceededException(
            f"The type would have {len(names)} attributes; {MOST_ATTRIBUTES} are allowed."
        )
    return tuple(names)
