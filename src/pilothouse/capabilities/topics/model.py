"""Topics, who is subscribed to them and how that fares, messages, and the errors about them. No input or output."""

import re
from dataclasses import dataclass, field
from typing import Any, Final

from pilothouse.errors import ApiError
from pilothouse.scheduling.retries import is_given_up, next_try

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS
TOKEN_MS: Final = 2 * DAY_MS
"""How long a subscription can be confirmed, or one that was ended taken up again."""
MESSAGE_BYTES: Final = 256 * 1024
"""Of a message with its attributes, and of a whole batch."""
TRIES: Final = 4
"""Times that a message is sent which the receiver says is bad, before the next one has its turn."""

PROTOCOLS: Final = ("http", "https")

ACTIVE: Final = "Active"
RETRYING: Final = "Retrying"
FAILING: Final = "Failing"
DISABLED: Final = "Disabled"

NOTIFICATION: Final = "notification"
SUBSCRIBED: Final = "subscribed"
UNSUBSCRIBED: Final = "unsubscribed"

BY_ATTRIBUTES: Final = "MessageAttributes"
BY_BODY: Final = "MessageBody"

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,256}")
_ARN: Final = re.compile(r"arn:[a-z0-9-]+:sns:([a-z0-9-]+):([0-9]{12}):([A-Za-z0-9_-]{1,256})(?::([0-9a-f-]{36}))?")
_GONE: Final = 410
_COME_AGAIN: Final = frozenset({408, 425, 429})


class InvalidParameterException(ApiError):
    """A member is not what it may be; the text names it."""

    def __init__(self, name: str, reason: str = "") -> None:
        super().__init__(f"Invalid parameter: {name}" + (f" Reason: {reason}" if reason else ""))


class InvalidParameterValueException(ApiError):
    """A message attribute is not one."""


class NotFoundException(ApiError):
    """No such topic or subscription."""


class ResourceNotFoundException(ApiError):
    """No such topic, of the operations on tags."""

    def __init__(self, message: str = "Resource does not exist") -> None:
        super().__init__(message)


class TagLimitExceededException(ApiError):
    """More tags than a topic may have."""


class EmptyBatchRequestException(ApiError):
    """A batch without messages."""


class TooManyEntriesInBatchRequestException(ApiError):
    """A batch of more messages than it may have."""


class BatchEntryIdsNotDistinctException(ApiError):
    """Two messages of a batch have the same id."""


class InvalidBatchEntryIdException(ApiError):
    """The id of a message in a batch has other characters than it may have, or too many."""


class BatchRequestTooLongException(ApiError):
    """The messages of a batch are together larger than they may be."""


def no_topic() -> NotFoundException:
    """The error for a topic that is not there."""
    return NotFoundException("Topic does not exist")


def no_subscription() -> NotFoundException:
    """The error for a subscription that is not there."""
    return NotFoundException("Subscription does not exist")


@dataclass(frozen=True, slots=True)
class Place:
    """What an ARN names: a topic, or one of its subscriptions."""

    region: str
    account_id: str
    topic: str
    subscription_id: str = ""

    @property
    def arn(self) -> str:
        """Of the topic."""
        return f"arn:aws:sns:{self.region}:{self.account_id}:{self.topic}"


def place_of(arn: str, member: str, *, subscription: bool = False) -> Place:
    """The topic, or the subscription, that the ARN in a request names. Raises InvalidParameterException."""
    parts = arn.split(":")
    if len(parts) < 6:
        raise InvalidParameterException(member, f"An ARN must have at least 6 elements, not {len(parts)}")
    found = _ARN.fullmatch(arn)
    if found is None or bool(found[4]) is not subscription:
        raise InvalidParameterException(member)
    return Place(found[1], found[2], found[3], found[4] or "")


def checked_name(name: str) -> str:
    """The name that a topic may have. Raises InvalidParameterException."""
    if name.endswith(".fifo"):
        raise no_fifo()
    if not _NAME.fullmatch(name):
        raise InvalidParameterException("Topic Name")
    return name


def no_fifo() -> InvalidParameterException:
    """FIFO topics are refused."""
    return InvalidParameterException("FifoTopic", "there are no FIFO topics here")


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """A topic as it is stored. Texts that were not set are empty."""

    account_id: str
    region: str
    name: str
    display_name: str = ""
    policy: str = ""
    delivery_policy: str = ""
    signature_version: str = ""
    created_at: int = 0

    @property
    def arn(self) -> str:
        return Place(self.region, self.account_id, self.name).arn


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """A subscription as it is stored. Times are epoch milliseconds."""

    subscription_id: str
    account_id: str
    region: str
    topic: str
    protocol: str
    endpoint: str
    server: str
    """Where the subscriber reaches this server: scheme and host."""
    raw: int
    filter_policy: str
    filter_scope: str
    delivery_policy: str
    created_at: int
    asked_at: int
    """When its confirmation was asked for the last time."""
    confirmed_at: int | None = None
    authenticated: int = 0
    """Whether only a signed call may end it."""
    left_at: int | None = None
    state: str = ACTIVE
    generation: int = 1
    """Counts up when somebody changes where or how it is delivered to; who delivers for an older one stops."""
    failures: int = 0
    failing_since: int | None = None
    next_at: int = 0
    last_error: str = ""
    last_status: int | None = None
    last_success_at: int | None = None
    dropped: int = 0
    """Messages that were given up."""
    holder: str | None = None
    held_until: int | None = None

    @property
    def topic_arn(self) -> str:
        return Place(self.region, self.account_id, self.topic).arn

    @property
    def arn(self) -> str:
        return f"{self.topic_arn}:{self.subscription_id}"

    @property
    def is_confirmed(self) -> bool:
        """Whether it gets what the topic is told."""
        return self.confirmed_at is not None and self.left_at is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What a topic is told."""

    message_id: str
    at: int
    message: str = field(repr=False)
    subject: str | None = field(default=None, repr=False)
    structured: bool = False
    """Whether the text is JSON with a text for each protocol."""
    attributes: dict[str, Any] = field(default_factory=dict, repr=False)
    """Name to type and text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """What one subscriber is to get next."""

    number: int
    kind: str
    message_id: str
    at: int
    refusals: int
    """How often the receiver said that it is bad."""
    message: Message | None
    """None where the server itself has something to say."""


@dataclass(frozen=True, slots=True)
class Setback:
    """What follows from one more failure."""

    state: str
    next_at: int
    error: str
    bad: bool = False
    """Whether the receiver said that the message is bad."""
    drops: bool = False
    """Whether the message is given up."""


def setback(
    subscription: Subscription,
    delivery: Delivery,
    failures: int,
    now: int,
    chance: float,
    error: str,
    status: int | None,
) -> Setback:
    """`failures`: in a row, with this one; `chance`: random, from 0 to 1; `status`: of the answer, if one came.

    410 ends the deliveries. Other statuses of 400 to 499 say that the message is bad, which another try seldom mends:
    it is given up after some. Whatever else fails holds up the messages behind it, for as long as they are kept.
    """
    if status == _GONE:
        text = f"{error}: it wants no more; Subscribe or SetSubscriptionAttributes begin anew"
        return Setback(DISABLED, 0, text)
    bad = status is not None and 400 <= status < 500 and status not in _COME_AGAIN
    since = subscription.failing_since if subscription.failing_since is not None else now
    next_at = next_try(failures, since, now, chance)
    if bad and delivery.refusals + 1 >= TRIES:
        return Setback(RETRYING, now, f"{error}; the message {delivery.message_id} was given up", bad, drops=True)
    if is_given_up(since, now):
        text = f"{error}. Deliveries have failed for {(now - since) // HOUR_MS} hours; they are tried each hour now"
        return Setback(FAILING, next_at, text, bad)
    return Setback(RETRYING, next_at, error, bad)
