"""Records of the trail, and the seals that make an edit of it visible."""

import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import msgspec

from pilothouse.crypto.macs import mac
from pilothouse.errors import ApiError

DAY_MS: Final = 86_400_000
NO_LINK: Final = bytes(32)
"""What the first record of a trail is linked to."""


class InvalidLookupAttributesException(ApiError):
    """More than one attribute, or a value that the attribute cannot have."""


class InvalidTimeRangeException(ApiError):
    """The end lies before the start."""


class InvalidMaxResultsException(ApiError):
    """More to a page than there may be."""


class InvalidNextTokenException(ApiError):
    """The token is not ours, or of another lookup."""


class InvalidEventCategoryException(ApiError):
    """A category that is not kept here."""


class Record(msgspec.Struct, kw_only=True):
    """One record of the trail. `body` is the CloudTrail event; the other fields are what it is looked up by."""

    event_id: str
    account_id: str
    region: str
    at: int
    event_source: str
    event_name: str
    username: str
    access_key_id: str
    read_only: int
    names: str
    """JSON list of the canonical names of the resources, which are looked up in a table of their own, and of their
    types behind a slash, with which no canonical name begins."""
    body: str
    mac: bytes = b""
    seq: int | None = None
    link: bytes | None = None

    def sealed(self, key: bytes) -> "Record":
        """Itself, with its MAC over every field but those of the chain."""
        self.mac = mac_of(key, self)
        return self


@dataclass(frozen=True, slots=True)
class Chain:
    """Where the trail begins and ends. What lies before `first_seq` was pruned."""

    first_seq: int = 1
    first_link: bytes = NO_LINK
    """The link before the first record."""
    last_seq: int = 0
    last_link: bytes = NO_LINK

    def mac(self, key: bytes) -> bytes:
        """Over all of it."""
        said = [self.first_seq, self.first_link, self.last_seq, self.last_link]
        return hmac.digest(key, b"chain" + msgspec.msgpack.encode(said), "sha256")


_packed = msgspec.msgpack.Encoder().encode


def mac_of(key: bytes, record: Record) -> bytes:
    """The MAC that the record must have."""
    fields = (
        record.event_id,
        record.account_id,
        record.region,
        record.at,
        record.event_source,
        record.event_name,
        record.username,
        record.access_key_id,
        record.read_only,
        record.names,
        record.body,
    )
    return mac(key).digest(b"record" + _packed(fields))


def link_of(key: bytes, before: bytes, seq: int, of_record: bytes) -> bytes:
    """The link of a record to all that were sealed before it."""
    return mac(key).digest(b"link" + before + seq.to_bytes(8) + of_record)


def canonical(name: str) -> str:
    """One form for an ARN, a name and a path of the same resource."""
    tail = name
    if name.startswith("arn:"):
        parts = name.split(":", 5)
        tail = parts[5] if len(parts) == 6 else name
        if parts[2] == "secretsmanager":
            return tail.removeprefix("secret:").lstrip("/")
        if parts[2] == "logs":
            return tail.removeprefix("log-group:").partition(":log-stream:")[0].removesuffix(":*").lstrip("/")
        kind, slash, rest = tail.partition("/")
        tail = rest if slash else kind
        if parts[2] == "iam":
            tail = tail.rpartition("/")[2]
    return tail.lstrip("/")


def names_of(arns: Iterable[str]) -> list[str]:
    """Under which canonical names the resources are found; a secret also without the six letters that end its ARN."""
    found: dict[str, None] = {}
    for arn in arns:
        name = canonical(arn)
        found[name] = None
        if ":secretsmanager:" in arn and len(name) > 7 and name[-7] == "-":
            found[name[:-7]] = None
    return [name for name in found if name and name != "*"]
