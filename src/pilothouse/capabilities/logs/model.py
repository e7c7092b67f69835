"""Log groups, streams, events and chunks: what they are, what a batch must keep to, and how places compare."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, NamedTuple

from pilothouse.errors import ApiError, InvalidParameterException

DAY_MS: Final = 86_400_000
MINUTE_MS: Final = 60_000
OVERHEAD: Final = 26
"""Bytes that each event counts beside its message."""
BATCH_BYTES: Final = 1_048_576
PAGE_BYTES: Final = 1_048_576
PAGE_EVENTS: Final = 10_000
TOO_OLD_MS: Final = 14 * DAY_MS
TOO_NEW_MS: Final = 2 * 3_600_000
RETENTIONS: Final = (1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288,
                     3653)  # fmt: skip
CHUNK_BYTES: Final = 256 << 10
"""Of messages; a larger event has a chunk of its own."""
_PUT_DIGITS: Final = 22
_NUMBER_BITS: Final = 14
_PUT_BITS: Final = 4 * _PUT_DIGITS
_INGESTED_BITS: Final = 42
LAST: Final = 1 << 62
"""Later than any time."""


class ResourceNotFoundException(ApiError):
    """No such group or stream."""


class ResourceAlreadyExistsException(ApiError):
    """The name is taken."""


class LimitExceededException(ApiError):
    """More of something than there may be."""


class TooManyTagsException(ApiError):
    """More tags than a group may have."""


class InvalidOperationException(ApiError):
    """Not on this resource."""


class SessionTimeoutException(ApiError):
    """A session of live tail was open for as long as one may be."""


def no_group() -> ResourceNotFoundException:
    """In the words of the service."""
    return ResourceNotFoundException("The specified log group does not exist.")


def no_stream() -> ResourceNotFoundException:
    """In the words of the service."""
    return ResourceNotFoundException("The specified log stream does not exist.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A log group."""

    group_id: str
    account_id: str
    region: str
    name: str
    kind: str
    """STANDARD, INFREQUENT_ACCESS …"""
    created_at: int
    retention_days: int = 0
    """0: for ever."""
    protected: bool = False
    stored: int = 0
    """Bytes of its events."""
    kms_key: str = ""
    """The ARN of the KMS key that the key of its events lies under; empty: it is sealed by the vault."""
    kms_blob: bytes | None = None
    sealed_key: bytes | None = None
    """One of the two holds the key of its events."""

    def kept_from(self, now: int) -> int:
        """Events before this time are expired."""
        return now - self.retention_days * DAY_MS if self.retention_days else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """A log stream; times are 0 while it has no events."""

    stream_id: str
    account_id: str
    region: str
    group_id: str
    name: str
    created_at: int
    first_at: int = 0
    last_at: int = 0
    ingested_at: int = 0


class Event(NamedTuple):
    """One event as it is put."""

    at: int
    message: str


class Place(NamedTuple):
    """Where an event stands among all of a group: by its time, its ingestion, its put, and its number in that.

    Two places never are the same; any order of reading is the order of places.
    """

    at: int
    ingested_at: int = 0
    put: str = ""
    number: int = -1
    """-1 stands before every event of the put."""

    def event_id(self) -> str:
        """The service's form: 56 digits, in which the time comes first."""
        times = self.at << _INGESTED_BITS | self.ingested_at
        return f"{(times << _PUT_BITS | int(self.put, 16)) << _NUMBER_BITS | self.number:056d}"


AFTER_ALL: Final = Place(LAST)


class Kept(NamedTuple):
    """An event as it is read."""

    place: Place
    stream_id: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Events of one put in one stream and one minute, in the order of their times."""

    account_id: str
    region: str
    group_id: str
    stream_id: str
    put: str
    start: int
    """The number of its first event in the put."""
    ingested_at: int
    first_at: int
    last_at: int
    stored: int
    """Bytes as the service counts them."""

    @property
    def chunk_id(self) -> str:
        """Of the put and the number of its first event."""
        return chunk_id(self.put, self.start)

    @property
    def context(self) -> str:
        """What the seal of its body is bound to."""
        return seal_context(
            self.account_id, self.region, self.group_id, self.stream_id, self.chunk_id, self.ingested_at
        )


def chunk_id(put: str, start: int) -> str:
    """Of the chunk of a put that begins with the event of that number."""
    return f"{put}{start:04x}"


def put_and_start(of: str) -> tuple[str, int]:
    """The way back."""
    return of[:_PUT_DIGITS], int(of[_PUT_DIGITS:], 16)


def put_id(digest: bytes) -> str:
    """The id of a put, from a digest of what makes it this one."""
    return digest.hex()[:_PUT_DIGITS]


def seal_context(account_id: str, region: str, group_id: str, stream_id: str, chunk: str, ingested_at: int) -> str:
    """What the seal of a chunk's body is bound to."""
    return f"log:{account_id}:{region}:{group_id}:{stream_id}:{chunk}:{ingested_at}"


class Accepted(NamedTuple):
    """Which events of a batch are kept, by number: from `first` up to `end`; and why the others are not."""

    first: int
    end: int
    too_old: int | None = None
    """The end of those too old."""
    expired: int | None = None
    """The end of those older than the group keeps."""
    too_new: int | None = None
    """The first of those too new."""


def accepted(events: Sequence[Event], group: Group, now: int) -> Accepted:
    """What of a batch is kept. Raises InvalidParameterException for a batch that is no good as a whole."""
    total = 0
    for event in events:
        size = len(event.message.encode("utf-8", "surrogatepass")) + OVERHEAD
        if size > BATCH_BYTES:
            raise InvalidParameterException(f"Log event too large: {size} bytes exceeds limit of {BATCH_BYTES}")
        total += size
    if total > BATCH_BYTES:
        raise InvalidParameterException(f"Upload too large: {total} bytes exceeds limit of {BATCH_BYTES}")
    if any(later.at < event.at for event, later in pairwise(events)):
        raise InvalidParameterException("Log events in a single PutLogEvents request must be in chronological order.")
    kept_from = group.kept_from(now)
    old = sum(event.at < now - TOO_OLD_MS for event in events)
    expired = sum(event.at < kept_from for event in events)
    end = len(events) - sum(event.at > now + TOO_NEW_MS for event in events)
    first = max(old, expired)
    if first < end and events[end - 1].at - events[first].at > DAY_MS:
        raise InvalidParameterException(
            "The batch of log events in a single PutLogEvents request cannot span more than 24 hours."
        )
    return Accepted(first, end, old or None, expired if expired > old else None, end if end < len(events) else None)


def divided(events: Sequence[Event]) -> list[tuple[int, int]]:
    """The batch cut into chunks, as (start, end): each within one minute and of bounded size."""
    cuts: list[tuple[int, int]] = []
    start = size = 0
    for number, event in enumerate(events):
        length = len(event.message)
        new_minute = event.at // MINUTE_MS != events[start].at // MINUTE_MS
        if number > start and (new_minute or size + length > CHUNK_BYTES):
            cuts.append((start, number))
            start, size = number, 0
        size += length
    if events:
        cuts.append((start, len(events)))
    return cuts


def group_arn(account_id: str, region: str, name: str) -> str:
    """Without the `:*` that policies have at its end."""
    return f"arn:aws:logs:{region}:{account_id}:log-group:{name}"


def after_prefix(prefix: str) -> str:
    """The first text that is greater than all that begin with the prefix."""
    return prefix + "\U0010ffff"
