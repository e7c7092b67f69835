"""Buckets and objects: what they are, which names they may have, which part of a content is asked for, and when a
condition of a request holds."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, NamedTuple

from pilothouse.capabilities.objects.errors import (
    BadRequest,
    InvalidRange,
    InvalidTag,
    KeyTooLongError,
    MetadataTooLarge,
    NotModified,
    PreconditionFailed,
)

MOST_AT_ONCE: Final = 5 << 30
"""Bytes that one request may bring."""
LEAST_PART: Final = 5 << 20
MOST_OBJECT_TAGS: Final = 10
MOST_PARTS: Final = 10_000
DEFAULT_TYPE: Final = "binary/octet-stream"
_KEY_BYTES: Final = 1024
_METADATA_BYTES: Final = 2048
_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]|\.(?!\.))*[a-z0-9]")
_ADDRESS: Final = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+")
_RANGE: Final = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")
_TAG: Final = re.compile(r"[\w\s+\-=.:/@]*")
_RESERVED: Final = ("xn--", "sthree-", "amzn-s3-demo-", "aws:")
INBOX: Final = "pilothouse-inbox."
"""How the names of buckets begin in which nodes leave what is then read by other ways. With the dot in it agents name
the bucket in the path of an URL, so it needs no name in DNS."""
_RESERVED_ENDS: Final = ("-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """A bucket. Its name is nobody else's in the whole installation."""

    name: str
    account_id: str
    region: str
    created_at: int
    policy: str = ""
    """Empty: none."""
    tags: Mapping[str, str] = field(default_factory=dict)
    lifecycle: "Sequence[Rule]" = ()

    @property
    def arn(self) -> str:
        return f"arn:aws:s3:::{self.name}"

    def arn_of(self, key: str) -> str:
        return f"{self.arn}/{key}"

    @property
    def is_inbox(self) -> bool:
        """Whether nodes leave things in it, and nobody else does anything to it."""
        return self.name.startswith(INBOX)


class Checksum(NamedTuple):
    """A checksum of a whole content, or of its parts' checksums."""

    algorithm: str
    value: str
    kind: str
    """`FULL_OBJECT` or `COMPOSITE`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Object:
    """What is known of an object, without its content."""

    key: str
    version: str
    """The content's id; another content has another."""
    size: int
    etag: str
    """Without quotes."""
    modified_at: int
    headers: Mapping[str, str] = field(default_factory=dict)
    """Those of `KEPT_HEADERS` that it was put with, by the names of the list."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    checksum: Checksum | None = None
    parts: int = 0
    """0 if it was put at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A part of a content: in the row itself if it is small, else in a blob under a key of its own."""

    version: str
    number: int
    size: int
    md5: str
    """Hexadecimal."""
    checksums: Mapping[str, str]
    modified_at: int = 0
    blob: str | None = None
    sealed_key: bytes | None = field(default=None, repr=False)
    sealed_content: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A content that comes in parts, until it is completed or aborted."""

    upload_id: str
    key: str
    initiated_at: int
    initiator: str
    headers: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    algorithm: str
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What becomes of objects by their age."""

    identifier: str
    prefix: str
    enabled: bool
    days: int | None = None
    """After which objects go."""
    abort_days: int | None = None
    """After which uploads that were not completed go."""
    tags: Mapping[str, str] = field(default_factory=dict)
    larger_than: int | None = None
    smaller_than: int | None = None
    form: str = "filter"
    """How it was written: `filter`, `prefix` (the older form), or `and`."""

    def fits(self, found: Object) -> bool:
        return (
            found.key.startswith(self.prefix)
            and all(found.tags.get(key) == value for key, value in self.tags.items())
            and (self.larger_than is None or found.size > self.larger_than)
            and (self.smaller_than is None or found.size < self.smaller_than)
        )


_DAY_MS: Final = 86_400_000


def ends_at(modified_at: int, days: int) -> int:
    """When so many days are over, as S3 counts: at the midnight (UTC) after them."""
    whole, rest = divmod(modified_at + days * _DAY_MS, _DAY_MS)
    return (whole + (1 if rest else 0)) * _DAY_MS


def expiry(found: Object, rules: Sequence[Rule]) -> tuple[int, str] | None:
    """When an object goes, and by which rule; the earliest, if several fit."""
    due = [
        (ends_at(found.modified_at, rule.days), rule.identifier)
        for rule in rules
        if rule.enabled and rule.days is not None and rule.fits(found)
    ]
    return min(due, default=None)


def is_name(name: str) -> bool:
    """Whether a bucket may have this name."""
    return (
        3 <= len(name) <= 63
        and _NAME.fullmatch(name) is not None
        and not _ADDRESS.fullmatch(name)
        and not name.startswith(_RESERVED)
        and not name.endswith(_RESERVED_ENDS)
        and ".-" not in name
        and "-." not in name
    )


def check_key(key: str) -> None:
    """Raises KeyTooLongError."""
    size = len(key.encode())
    if size > _KEY_BYTES:
        raise KeyTooLongError(size)


def check_metadata(metadata: Mapping[str, str]) -> None:
    """Raises MetadataTooLarge."""
    size = sum(len(name) + len(value) for name, value in metadata.items())
    if size > _METADATA_BYTES:
        raise MetadataTooLarge(size)


def checked_tags(pairs: Sequence[tuple[str, str]], most: int) -> dict[str, str]:
    """Raises InvalidTag."""
    tags = dict(pairs)
    if len(tags) != len(pairs):
        raise InvalidTag("Cannot provide multiple Tags with the same key")
    if len(tags) > most:
        if most == MOST_OBJECT_TAGS:
            raise BadRequest("Object tags cannot be greater than 10")
        raise InvalidTag(f"Bucket tag count cannot be greater than {most}")
    for key, value in tags.items():
        if not 1 <= len(key) <= 128 or not _TAG.fullmatch(key):
            raise InvalidTag("The TagKey you have provided is invalid", key)
        if key.lower().startswith("aws:"):
            if most == MOST_OBJECT_TAGS:
                raise InvalidTag("Your TagKey cannot be prefixed with aws:", key)
            raise InvalidTag("System tags cannot be added/updated by requester", key)
        if len(value) > 256 or not _TAG.fullmatch(value):
            raise InvalidTag("The TagValue you have provided is invalid", key)
    return tags


def place_of(account_id: str, bucket: str, key: str) -> str:
    """A name for where an object is, of one length."""
    digest = hashlib.sha256()
    for part in (account_id, bucket, key):
        digest.update(f"{len(part)}:{part}".encode())
    return digest.hexdigest()


def context_of(place: str, version: str, number: int, what: str) -> str:
    """What a sealed piece, or the key of one, is bound to."""
    return f"objects:{what}:{place}:{version}:{number}"


def etag_of_parts(md5s: Sequence[str]) -> str:
    """The ETag of what came in parts."""
    whole = hashlib.md5(b"".join(bytes.fromhex(each) for each in md5s), usedforsecurity=False)
    return f"{whole.hexdigest()}-{len(md5s)}"


def span(asked: str | None, size: int) -> tuple[int, int] | None:
    """First byte and the one after the last, of what a Range header asks for; None for all: no range, or one that
    means nothing here. Raises InvalidRange."""
    match = _RANGE.fullmatch(asked.strip()) if asked else None
    if match is None or (not match[1] and not match[2]):
        return None
    if not match[1]:
        count = int(match[2])
        if not count or not size:
            raise InvalidRange(asked or "", size)
        return max(0, size - count), size
    start = int(match[1])
    end = min(int(match[2]) + 1, size) if match[2] else size
    if match[2] and int(match[2]) < start:
        return None
    if start >= size:
        raise InvalidRange(asked or "", size)
    return start, end


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """Under which a request is to be answered; times count in whole seconds, as in headers."""

    if_match: str | None = None
    if_none_match: str | None = None
    if_modified_since: datetime | None = None
    if_unmodified_since: datetime | None = None

    def check(self, etag: str, modified: datetime, *, copying: bool = False) -> None:
        """Raises PreconditionFailed, and NotModified (when copying that is a failed condition as well)."""
        modified = modified.replace(microsecond=0)
        if self.if_match is not None:
            if not _names(self.if_match, etag):
                raise PreconditionFailed("If-Match")
        elif self.if_unmodified_since is not None and modified > self.if_unmodified_since:
            raise PreconditionFailed("If-Unmodified-Since")
        if self.if_none_match is not None:
            if _names(self.if_none_match, etag):
                raise PreconditionFailed("If-None-Match") if copying else NotModified(etag=f'"{etag}"')
        elif self.if_modified_since is not None and modified <= self.if_modified_since:
            raise PreconditionFailed("If-Modified-Since") if copying else NotModified(etag=f'"{etag}"')

    def check_write(self, etag: str | None) -> bool:
        """Whether an object may be put where one with this ETag is (None: none is); False if If-Match wants one.

        Raises PreconditionFailed.
        """
        if self.if_none_match is not None and etag is not None and _names(self.if_none_match, etag):
            raise PreconditionFailed("If-None-Match")
        if self.if_match is not None:
            if etag is None:
                return False
            if not _names(self.if_match, etag):
                raise PreconditionFailed("If-Match")
        return True


def _names(header: str, etag: str) -> bool:
    """Whether a list of ETags, quoted or not, or `*`, has this one in it."""
    listed = [each.strip().removeprefix("W/").strip('"') for each in header.split(",")]
    return "*" in listed or etag in listed
