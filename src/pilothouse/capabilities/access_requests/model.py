"""Requests for access to a node: their statuses, and who may decide.

Times are epoch milliseconds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Final

from pilothouse.errors import ApiError, ValidationException

HOUR_MS: Final = 3_600_000
AUTOMATIC_HOURS: Final = 1
UNDECIDED_MS: Final = 7 * 24 * HOUR_MS
"""After this long a request that nobody decided about is over."""
TOKEN_MS: Final = HOUR_MS
KEPT_MS: Final = 90 * 24 * HOUR_MS
MOST_PENDING: Final = 100
"""Requests of one person that wait."""


class ResourceNotFoundException(ApiError):
    """There is no such node, or no such request."""


class ServiceQuotaExceededException(ApiError):
    """Too many requests of one person wait."""


class Status(Enum):
    """As clients know them."""

    PENDING = "Pending"
    APPROVED = "Approved"
    REJECTED = "Rejected"
    REVOKED = "Revoked"
    EXPIRED = "Expired"


MOVES: Final[Mapping[Status, frozenset[Status]]] = {
    Status.PENDING: frozenset({Status.APPROVED, Status.REJECTED, Status.REVOKED, Status.EXPIRED}),
    Status.APPROVED: frozenset({Status.REVOKED, Status.EXPIRED}),
}
"""A status without a row is final."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Approver:
    """Somebody who may decide."""

    kind: str
    """`user`, `group`, `role`"""
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Who asks or decides, as far as rules look at it."""

    arn: str
    user_id: str
    name: str
    """Of a user."""
    role: str
    """Name of the role of a session."""
    groups: frozenset[str]
    is_root: bool

    def is_one_of(self, level: Sequence[Approver]) -> bool:
        """Whether the person is among these."""
        return any(
            (each.kind == "user" and each.name == self.name)
            or (each.kind == "role" and each.name == self.role)
            or (each.kind == "group" and each.name in self.groups)
            for each in level
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What somebody said."""

    decision: str
    """`Approve`, `Reject`, `Revoke`"""
    level: int
    by_arn: str
    by_id: str
    comment: str
    at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessRequest:
    """Somebody wants access to a node."""

    request_id: str
    account_id: str
    region: str
    node_id: str
    reason: str
    requester_arn: str
    requester_id: str
    requester_name: str
    status: Status
    policy: str
    """Name of the document by which it is decided."""
    levels: Sequence[Sequence[Approver]] = ()
    topic_arn: str = ""
    access_hours: int
    created_at: int
    changed_at: int
    ends_at: int | None = None

    @property
    def arn(self) -> str:
        return f"arn:aws:ssm:{self.region}:{self.account_id}:opsitem/{self.request_id}"

    def standing(self, now: int) -> Status:
        """Its status at this moment: what has run out is over before somebody has written that down."""
        over = self.ends_at is not None and self.ends_at <= now
        return Status.EXPIRED if over and self.status in MOVES else self.status

    def moved(self, to: Status, now: int) -> "AccessRequest":
        """With another status. Raises ValidationException for a move that there is not."""
        if to not in MOVES.get(self.status, frozenset()):
            raise ValidationException(f"The access request {self.request_id} is {self.status.value}.")
        ends = now + self.access_hours * HOUR_MS if to is Status.APPROVED else self.ends_at
        return replace(self, status=to, changed_at=now, ends_at=ends)


def level_for(request: AccessRequest, person: Person, decisions: Sequence[Decision]) -> int:
    """The level on which the person can approve now. Raises ValidationException.

    Levels come one after the other, and each person approves on one. Root stands for everybody.
    """
    done = [each for each in decisions if each.decision == "Approve"]
    level = len(done)
    if any(each.by_id == person.user_id for each in done) and not person.is_root:
        raise ValidationException("You have approved this access request before.")
    if not person.is_root and not person.is_one_of(request.levels[level]):
        raise ValidationException(f"You are no approver of level {level + 1} of this access request.")
    return level


def decides(request: AccessRequest, person: Person) -> bool:
    """Whether the person may decide on some level. Nobody decides about what they asked for themselves."""
    if person.user_id == request.requester_id:
        return False
    return person.is_root or any(person.is_one_of(level) for level in request.levels)


def levels_of(found: Sequence[Sequence[Mapping[str, Any]]]) -> tuple[tuple[Approver, ...], ...]:
    """As a table or a document has them."""
    return tuple(tuple(Approver(kind=each["type"], name=each["name"]) for each in level) for level in found)
