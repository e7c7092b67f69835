"""Events, the places of readers among them, what a reader wants, and how a webhook fares. No input or output."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import msgspec

from pilothouse.errors import ApiError
from pilothouse.scheduling.retries import is_given_up, next_try

MINUTE_MS: Final = 60_000
HOUR_MS: Final = 60 * MINUTE_MS
DAY_MS: Final = 24 * HOUR_MS

MOST_WEBHOOKS: Final = 100
"""In one account and region."""
OLD_SECRET_MS: Final = DAY_MS
"""How long deliveries are signed with the secret before a rotation as well."""

ACTIVE: Final = "Active"
RETRYING: Final = "Retrying"
FAILING: Final = "Failing"
DISABLED: Final = "Disabled"


class WebhookNotFoundException(ApiError):
    """No such webhook in this account and region."""


class WebhookLimitExceededException(ApiError):
    """There are as many webhooks as there may be."""


class InvalidEventPatternException(ApiError):
    """The pattern is not one; the text says where."""


class InvalidWebhookUrlException(ApiError):
    """The URL is malformed, or leads where this server does not call."""


class EventCursorExpiredException(ApiError):
    """Events after the cursor are no longer kept."""

    http_status = 410


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event as it is told and stored."""

    account_id: str
    region: str
    event_id: str
    at_ms: int
    source: str
    detail_type: str
    name: str
    """The parameter that it is about; empty for events about other things."""
    envelope: str
    """JSON in one line."""
    place: int = 0

    @classmethod
    def made(
        cls,
        event_id: str,
        at_ms: int,
        *,
        account_id: str,
        region: str,
        source: str,
        detail_type: str,
        resources: Sequence[str],
        detail: Mapping[str, Any],
    ) -> "Event":
        """The event with its envelope."""
        about = {
            "version": "0",
            "id": event_id,
            "detail-type": detail_type,
            "source": source,
            "account": account_id,
            "time": _second(at_ms),
            "region": region,
            "resources": list(resources),
            "detail": dict(detail),
        }
        return cls(
            account_id=account_id,
            region=region,
            event_id=event_id,
            at_ms=at_ms,
            source=source,
            detail_type=detail_type,
            name=_name_in(source, detail),
            envelope=msgspec.json.encode(about).decode(),
        )

    @property
    def cursor(self) -> "Cursor":
        """The place of a reader that has had this event."""
        return Cursor(self.place, self.event_id[:8])


class Told(NamedTuple):
    """What differs between events of one moment and kind."""

    event_id: str
    name: str
    envelope: str


def made_together(
    at_ms: int,
    each: Iterable[tuple[str, Mapping[str, Any]]],
    *,
    account_id: str,
    region: str,
    source: str,
    detail_type: str,
) -> list[Told]:
    """Events with their envelopes, as `Event.made` makes one, by their ids and what differs: resources and detail.

    What they share is encoded once.
    """
    encoded = msgspec.json.encode
    shared = {
        "detail-type": detail_type, "source": source, "account": account_id, "time": _second(at_ms), "region": region,
    }  # fmt: skip
    middle = f'",{encoded(shared).decode()[1:-1]},"resources":'
    return [
        Told(
            event_id,
            _name_in(source, facts["detail"]),
            f'{{"version":"0","id":"{event_id}{middle}{encoded(facts["resources"]).decode()}'
            f',"detail":{encoded(facts["detail"]).decode()}}}',
        )
        for event_id, facts in each
    ]


def _second(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms // 1000, UTC).isoformat()[:19]}Z"


def _name_in(source: str, detail: Mapping[str, Any]) -> str:
    if source != "aws.ssm":
        return ""
    name: str = detail.get("name") or detail.get("parameter-name") or ""
    return name


@dataclass(frozen=True, slots=True)
class Cursor:
    """Up to where a reader has read: the place of an event, and the begin of its id.

    The id tells a database that was put back to an earlier state: there the place may hold another event.
    """

    place: int
    mark: str


@dataclass(frozen=True, slots=True)
class Kept:
    """The first and the last event that are kept; 0 for none."""

    first: int
    last: int

    @property
    def beginning(self) -> Cursor:
        """Before the first of them."""
        return Cursor(max(self.first - 1, 0), "")


def resumed(cursor: Cursor, kept: Kept, mark: str | None) -> Cursor | None:
    """From where a reader goes on; None if what comes next is no longer kept.

    `mark`: of the event that is at the cursor's place now, None if there is none. Where the history after the cursor
    is another one than the reader saw, it begins anew: twice is allowed, never is not.
    """
    if mark is not None:
        return cursor if mark == cursor.mark or not cursor.mark else kept.beginning
    if cursor.place > kept.last:
        return kept.beginning
    return cursor if cursor.place >= kept.beginning.place else None


@dataclass(frozen=True, slots=True)
class Watch:
    """Which events a reader wants."""

    path: str = ""
    """Parameters at or below it; empty: events about anything."""
    detail_types: Collection[str] = ()
    sources: Collection[str] = ()

    def wants(self, event: Event) -> bool:
        """Whether the event is one of them."""
        if self.detail_types and event.detail_type not in self.detail_types:
            return False
        if self.sources and event.source not in self.sources:
            return False
        return is_below(self.path, event.name)


def is_below(path: str, name: str) -> bool:
    """Whether a parameter is at or below a path; every event is below the empty one, every parameter below `/`.

    A parameter `x` is at `/x`: both are its names.
    """
    if not path:
        return True
    whole = path.rstrip("/")
    if not name.startswith("/"):
        name = name and f"/{name}"
    return bool(name) and (not whole or name == whole or name.startswith(f"{whole}/"))


def sse(event: Event, token: str) -> bytes:
    """The event as a server-sent event; `token` is the cursor after it."""
    return f"id: {token}\nevent: {event.detail_type}\ndata: {event.envelope}\n\n".encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """A webhook as it is stored. Times are epoch milliseconds."""

    webhook_id: str
    account_id: str
    region: str
    url: str
    pattern: str
    path: str
    description: str
    secret: bytes = field(repr=False)
    """Sealed, as is the one before it."""
    old_secret: bytes | None = field(repr=False)
    old_until: int | None
    state: str
    created_at: int
    updated_at: int
    generation: int
    """Counts up when somebody changes where or how it delivers; who delivers for an older one stops."""
    place: int
    mark: str
    missed: int
    """Events that went before they were delivered."""
    failures: int
    failing_since: int | None
    next_at: int
    last_error: str
    last_status: int | None
    last_success_at: int | None
    last_event_id: str | None
    holder: str | None
    held_until: int | None

    @property
    def cursor(self) -> Cursor:
        """Up to where it has delivered."""
        return Cursor(self.place, self.mark)

    def is_free_for(self, process_id: str, now: int) -> bool:
        """Whether no other process holds it."""
        return self.holder is None or self.holder == process_id or (self.held_until or 0) < now


@dataclass(frozen=True, slots=True)
class Setback:
    """What follows from one more failure."""

    state: str
    next_at: int
    error: str


def setback(webhook: Webhook, failures: int, now: int, chance: float, error: str) -> Setback:
    """`failures`: in a row, with this one; `chance`: random, from 0 to 1. Waits an hour once it is Failing."""
    since = webhook.failing_since if webhook.failing_since is not None else now
    next_at = next_try(failures, since, now, chance)
    if is_given_up(since, now):
        text = (
            f"{error}. Deliveries have failed for {(now - since) // HOUR_MS} hours; they are tried each hour now. "
            "Nothing is lost while events are kept: when the receiver answers again, or after UpdateWebhook, "
            "it gets them from where it stopped."
        )
        return Setback(FAILING, next_at, text)
    return Setback(RETRYING, next_at, error)


def seal_context(webhook_id: str) -> str:
    """What a webhook's sealed secret is bound to."""
    return f"webhook/{webhook_id}"
