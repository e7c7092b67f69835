"""Associations: what they say, when they run, and how executions and their runs on nodes stand.

Pure: no I/O. Times are epoch milliseconds. An execution is one round of an association; a run is what becomes of it on
one node. The statuses of associations and executions follow from counts, which are kept and never recounted.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final

from pilothouse.errors import ApiError
from pilothouse.scheduling.timetables import Cron, Rate, ScheduleInvalid, Timetable, parse, shortest_gap

SHORTEST_SECONDS: Final = 30 * 60
LONGEST_SECONDS: Final = 31 * 86_400
_EVERY_MONTH: Final = (1 << 13) - 2


class AssociationDoesNotExist(ApiError):
    """No such association."""

    def __init__(self, message: str = "The specified association does not exist.") -> None:
        super().__init__(message)


class AssociationAlreadyExists(ApiError):
    """The node has an association with this document, made with its id."""

    def __init__(self, message: str = "The specified association already exists.") -> None:
        super().__init__(message)


class AssociationLimitExceeded(ApiError):
    """The account has as many associations as it may have."""


class AssociationVersionLimitExceeded(ApiError):
    """The association has as many versions as it may have."""


class AssociatedInstances(ApiError):
    """The document is associated, and so cannot be deleted."""


class AssociationExecutionDoesNotExist(ApiError):
    """The association has no such execution."""

    def __init__(self, message: str = "The specified execution ID does not exist.") -> None:
        super().__init__(message)


class InvalidAssociation(ApiError):
    """The association cannot be started."""


class InvalidAssociationVersion(ApiError):
    """Not the version that the association has."""

    def __init__(self, message: str = "The version you specified is not valid.") -> None:
        super().__init__(message)


class InvalidSchedule(ApiError):
    """The schedule cannot be one of an association; the text says why."""


class InvalidTarget(ApiError):
    """The targets cannot be those of an association."""


class InvalidTargetMaps(ApiError):
    """TargetMaps that cannot be."""


class InvalidOutputLocation(ApiError):
    """The place for output cannot be one."""


class InvalidUpdate(ApiError):
    """The update cannot be made."""


class StatusUnchanged(ApiError):
    """The status is what it was."""


class UnsupportedPlatformType(ApiError):
    """The document does not run on the node's platform."""


class InvalidNextToken(ApiError):
    """The page token is not of this list."""


class ResourceNotFoundException(ApiError):
    """Of our own operations: no such association."""


class Status(StrEnum):
    """Of a run, a node's association, and an execution."""

    PENDING = "Pending"
    IN_PROGRESS = "InProgress"
    SUCCESS = "Success"
    FAILED = "Failed"
    TIMED_OUT = "TimedOut"
    CANCELLED = "Cancelled"
    SKIPPED = "Skipped"


ASSOCIATED: Final = "Associated"
"""DetailedStatus on a node that has the association and has not run it."""
RATE_EXCEEDED: Final = "RateExceeded"
"""DetailedStatus of what MaxErrors stopped."""


class State(StrEnum):
    """How far a run is."""

    HELD = "held"
    """Waits for others to end, by MaxConcurrency."""
    LET_GO = "let go"
    """The node shall run it as soon as it asks."""
    RUNNING = "running"
    ENDED = "ended"


MOVES: Mapping[State, frozenset[State]] = {
    State.HELD: frozenset({State.LET_GO, State.RUNNING, State.ENDED}),
    State.LET_GO: frozenset({State.RUNNING, State.ENDED}),
    State.RUNNING: frozenset({State.LET_GO, State.ENDED}),  # back, where a reboot of the node took it away
    State.ENDED: frozenset({State.ENDED}),  # once: a node's word replaces what the server assumed
}


class Reason(StrEnum):
    """Why an execution was begun."""

    CREATED = "created"
    CHANGED = "changed"
    SCHEDULE = "schedule"
    JOINED = "joined"
    """Nodes fit the targets that did not before."""
    ASKED = "asked"
    """StartAssociationsOnce."""
    NODE = "node"
    """A node began by itself: somebody ran aws:refreshAssociation there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What an association says: all that a version of it consists of."""

    document: str
    document_version: str | None = None
    parameters: dict[str, list[str]] = field(default_factory=dict, repr=False)
    targets: list[dict[str, Any]] = field(default_factory=list)
    schedule: str | None = None
    output: dict[str, Any] | None = None
    association_name: str | None = None
    automation_parameter: str | None = None
    max_errors: str | None = None
    max_concurrency: str | None = None
    severity: str | None = None
    sync_compliance: str | None = None
    only_at_interval: bool = False
    calendars: list[str] = field(default_factory=list)
    schedule_offset: int | None = None
    duration: int | None = None
    alarm: dict[str, Any] | None = None
    target_locations: list[dict[str, Any]] = field(default_factory=list)
    target_maps: list[dict[str, list[str]]] = field(default_factory=list)
    dispatch_role: str | None = None
    runbook: bool = False
    """The document is one that the server runs, not nodes."""

    def timetable(self, since: int) -> Timetable | None:
        """When it is due by its schedule; None if it has none. `since`: when this version was made."""
        if self.schedule is None:
            return None
        return Timetable(expression=parse(self.schedule), since=since, offset_days=self.schedule_offset or 0)

    @property
    def server_decides(self) -> bool:
        """Whether a node may not run it at its due times without having asked: limits or calendars are in the way."""
        return bool(self.calendars or self.max_errors is not None or (self.max_concurrency or "100%") != "100%")


def _not_a_schedule(why: str) -> InvalidSchedule:
    return InvalidSchedule(f"ScheduleExpression: {why}")


def check_schedule(terms: Terms) -> None:
    """Raises InvalidSchedule with a text that names what is wrong."""
    if terms.schedule is None:
        if terms.only_at_interval or terms.schedule_offset:
            raise InvalidSchedule("ApplyOnlyAtCronInterval and ScheduleOffset need a ScheduleExpression.")
        return
    try:
        expression = parse(terms.schedule)
    except ScheduleInvalid as error:
        raise _not_a_schedule(str(error)) from error
    gap = shortest_gap(expression)
    if gap is not None and gap < SHORTEST_SECONDS:
        raise _not_a_schedule("An association runs at most every 30 minutes.")
    if isinstance(expression, Rate):
        if expression.seconds >= LONGEST_SECONDS:
            raise _not_a_schedule("The rate of an association is less than 31 days.")
        if terms.only_at_interval:
            raise InvalidSchedule("ApplyOnlyAtCronInterval is not supported with a rate expression.")
    if isinstance(expression, Cron):
        if expression.seconds != 1:
            raise _not_a_schedule("The field Seconds of an association's cron expression can only be 0.")
        if expression.months != _EVERY_MONTH:
            raise _not_a_schedule("The field Month of an association's cron expression can only be '*'.")
    if terms.schedule_offset and not (isinstance(expression, Cron) and terms.only_at_interval):
        raise InvalidSchedule("ScheduleOffset needs a cron expression and ApplyOnlyAtCronInterval.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Association:
    """One association in its latest version."""

    association_id: str
    account_id: str
    region: str
    version: int
    instance_id: str
    """Of those made with a node's id in place of targets; empty for the others."""
    terms: Terms
    created_at: int
    updated_at: int
    status: str = Status.PENDING
    counts: dict[str, int] = field(default_factory=dict)
    """Nodes by the status that it has on them."""
    last_execution_at: int | None = None
    last_success_at: int | None = None
    last_due_at: int | None = None
    """The latest time of the schedule that was dealt with."""
    paused_at: int | None = None
    paused_by: str = ""
    legacy_status: dict[str, Any] | None = None

    @property
    def arn(self) -> str:
        return f"arn:aws:ssm:{self.region}:{self.account_id}:association/{self.association_id}"

    @property
    def timetable(self) -> Timetable | None:
        return self.terms.timetable(self.updated_at)

    def next_due(self, now: int) -> int | None:
        """When it is due next; None while it is paused."""
        table = self.timetable
        if table is None or self.paused_at is not None:
            return None
        return table.next_after(max(now, self.last_due_at or 0))

    def current(self) -> str:
        """What the counts say."""
        if any(self.counts.get(each) for each in (Status.FAILED, Status.TIMED_OUT, Status.CANCELLED)):
            return Status.FAILED
        if not self.counts or self.counts.get(Status.PENDING) or self.counts.get(Status.IN_PROGRESS):
            return Status.PENDING
        return Status.SUCCESS


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One version of an association."""

    number: int
    created_at: int
    terms: Terms


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How something stands on a node, as it is shown."""

    status: str
    details: str
    executed_at: int | None = None
    summary: str = ""
    error_code: str = ""
    output_url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OnNode:
    """An association on a node that it is for."""

    association_id: str
    node_id: str
    result: Result
    since: int
    execution_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What becomes of an execution on one node."""

    execution_id: str
    node_id: str
    association_id: str
    state: State
    result: Result
    changed_at: int
    by_node: bool = False
    """The end is the node's own word."""


@dataclass(slots=True, kw_only=True)
class Execution:
    """One round of an association on some or all of its nodes, with its counts."""

    execution_id: str
    association_id: str
    account_id: str
    region: str
    version: int
    reason: Reason
    created_at: int
    due_at: int | None = None
    late_ms: int = 0
    status: str = Status.PENDING
    details: str = Status.PENDING
    target_count: int = 0
    held: int = 0
    slots: int = 0
    running: int = 0
    begun: int = 0
    ended: dict[str, int] = field(default_factory=dict)
    concurrency_limit: int = 1
    error_limit: int | None = None
    executed_at: int | None = None
    ends_at: int | None = None
    """When what has not begun is given up, by Duration."""
    run_seconds: int = 3600
    """How long the document may run on a node."""

    @property
    def errors(self) -> int:
        return self.ended.get(Status.FAILED, 0) + self.ended.get(Status.TIMED_OUT, 0)

    @property
    def too_many_errors(self) -> bool:
        return self.error_limit is not None and self.errors > self.error_limit

    @property
    def room(self) -> int:
        """How many held runs may go now."""
        return 0 if self.too_many_errors else max(0, self.concurrency_limit - self.slots)

    @property
    def final(self) -> bool:
        return sum(self.ended.values()) >= self.target_count

    def add(self, run: Run) -> None:
        """One more run."""
        self.target_count += 1
        self._count(run, 1)

    def moved(self, run: Run, state: State, result: Result, *, at: int, by_node: bool = False) -> Run:
        """The run after a move; itself if that is not legal, or if it has ended by its node's word."""
        if state not in MOVES[run.state] or run.by_node:
            return run
        after = replace(run, state=state, result=result, changed_at=at, by_node=by_node and state is State.ENDED)
        self._count(run, -1)
        self._count(after, 1)
        if state is State.RUNNING or (by_node and run.state is not State.RUNNING):
            self.begun = 1
        if result.executed_at is not None:
            self.executed_at = max(self.executed_at or 0, result.executed_at)
        return after

    def _count(self, run: Run, by: int) -> None:
        if run.state is State.HELD:
            self.held += by
        elif run.state is State.ENDED:
            left = self.ended.get(run.result.status, 0) + by
            self.ended[run.result.status] = left
            if not left:
                del self.ended[run.result.status]
        else:
            self.slots += by
            self.running += by if run.state is State.RUNNING else 0

    def settle(self) -> None:
        """Status and details by the counts."""
        self.status, self.details = self._standing()

    def _standing(self) -> tuple[str, str]:
        if not self.final:
            begun = Status.IN_PROGRESS if self.begun or self.ended else Status.PENDING
            return begun, begun
        if self.errors:
            stopped = self.too_many_errors and self.ended.get(Status.CANCELLED)
            return Status.FAILED, RATE_EXCEEDED if stopped else Status.FAILED
        if self.ended.get(Status.CANCELLED):
            return Status.CANCELLED, Status.CANCELLED
        return Status.SUCCESS, Status.SUCCESS

    def by_status(self) -> dict[str, int]:
        """Runs by status, those that have not ended too."""
        counts = dict(self.ended)
        for status, count in (
            (Status.IN_PROGRESS, self.running),
            (Status.PENDING, self.held + self.slots - self.running),
        ):
            if count:
                counts[status] = count
        return counts


def node_status(statuses: Mapping[str, int]) -> str | None:
    """AssociationStatus of a node by the statuses of its associations; None if it has none."""
    if not statuses:
        return None
    for status in (Status.FAILED, Status.TIMED_OUT, Status.CANCELLED):
        if statuses.get(status):
            return Status.FAILED
    for status in (Status.IN_PROGRESS, Status.PENDING):
        if statuses.get(status):
            return status
    return Status.SUCCESS
