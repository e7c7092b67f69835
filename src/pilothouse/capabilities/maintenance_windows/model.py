"""Maintenance windows, their targets and tasks: what they say, and when windows are due.

Pure: no I/O. Times are epoch milliseconds, those that users wrote stay as they were written.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from typing import Any, Final

from pilothouse.errors import ApiError, ValidationException
from pilothouse.runtime.clock import from_millis, to_millis
from pilothouse.scheduling.timetables import Cron, Rate, ScheduleInvalid, Timetable, parse, shortest_gap
from pilothouse.scheduling.zones import zone_named

SHORTEST_SECONDS: Final = 5 * 60
"""Between two starts of a window."""
HOUR_MS: Final = 3_600_000

INSTANCE: Final = "INSTANCE"
RESOURCE_GROUP: Final = "RESOURCE_GROUP"

RUN_COMMAND: Final = "RUN_COMMAND"
AUTOMATION: Final = "AUTOMATION"
LAMBDA: Final = "LAMBDA"
STEP_FUNCTIONS: Final = "STEP_FUNCTIONS"

CANCEL_TASK: Final = "CANCEL_TASK"
CONTINUE_TASK: Final = "CONTINUE_TASK"

BY_TARGET: Final = "WindowTargetIds"
BY_NODE: Final = "InstanceIds"
GROUP_NAME: Final = "resource-groups:Name"
GROUP_TYPES: Final = "resource-groups:ResourceTypeFilters"

Pairs = list[tuple[str, list[str]]]
"""Keys of targets, each with its values."""


class DoesNotExistException(ApiError):
    """No such window, target, task or execution."""


class IdempotentParameterMismatch(ApiError):
    """The client token was used for something else."""

    def __init__(
        self, message: str = "The ClientToken was used before for a request that said something else."
    ) -> None:
        super().__init__(message)


class ResourceLimitExceededException(ApiError):
    """There are as many as there may be."""


class TargetInUseException(ApiError):
    """A task is for the target."""


class FeatureNotAvailableException(ApiError):
    """Nothing here can run tasks of that type."""


class ResourceNotFoundException(ApiError):
    """Of our own operations: no such window."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowTerms:
    """What a window says."""

    name: str
    schedule: str
    duration: int
    cutoff: int
    unassociated: bool
    """Tasks may be for nodes that are no registered targets."""
    description: str | None = None
    zone: str | None = None
    offset: int | None = None
    start: str | None = None
    end: str | None = None

    def planned_as(self, other: "WindowTerms") -> bool:
        """Whether both are due at the same times."""
        names = ("schedule", "zone", "offset", "start", "end")
        return all(getattr(self, name) == getattr(other, name) for name in names)


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A maintenance window."""

    window_id: str
    account_id: str
    region: str
    terms: WindowTerms
    enabled: bool
    since: int
    """When its schedule was set: what was due before is not due any more, and rates count from here."""
    created_at: int
    modified_at: int
    client_token: str = ""
    digest: str = ""
    """Of the request that made it."""

    @property
    def timetable(self) -> Timetable:
        terms = self.terms
        zone = zone_named(terms.zone or "UTC")
        start = None if terms.start is None else moment_of_text(terms.start, zone, "StartDate")
        expression = parse(terms.schedule)
        return Timetable(
            expression=expression,
            since=start if start is not None and isinstance(expression, Rate) else self.since,
            zone=zone,
            offset_days=terms.offset or 0,
            start=start,
            end=None if terms.end is None else moment_of_text(terms.end, zone, "EndDate"),
        )

    def next_after(self, moment: int) -> int | None:
        """When it is due next; never while it is disabled."""
        if not self.enabled:
            return None
        table = self.timetable
        if isinstance(table.expression, Rate) and table.start is None:
            moment = max(moment, self.since)  # the first run is one period later
        return table.next_after(moment)


def whole_seconds(moment: int) -> int:
    """The moment without its fraction of a second."""
    return moment // 1000 * 1000


def moment_of_text(text: str, zone: tzinfo, member: str) -> int:
    """A time in ISO 8601; one without an offset is local time in the zone. Raises ValidationException."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValidationException(f"{member} must be a time in ISO 8601 such as 2026-03-10T12:00:00Z.") from error
    return to_millis(moment if moment.tzinfo else moment.replace(tzinfo=zone))


def text_of_moment(moment: int) -> str:
    """As times of windows are written: no seconds where there are none."""
    at = from_millis(moment).astimezone(UTC)
    return at.strftime("%Y-%m-%dT%H:%M:%SZ" if at.second else "%Y-%m-%dT%H:%MZ")


def check_terms(terms: WindowTerms, now: int, before: WindowTerms | None = None) -> None:
    """`before`: what the window said so far. Raises ValidationException."""
    if terms.cutoff >= terms.duration:
        raise ValidationException("Cutoff must be less than Duration.")
    if before is not None and terms.planned_as(before):
        return
    try:
        expression = parse(terms.schedule)
        zone = zone_named(terms.zone or "UTC")
    except ScheduleInvalid as error:
        raise ValidationException(f"Schedule: {error}") from error
    gap = shortest_gap(expression)
    if gap is not None and gap < SHORTEST_SECONDS:
        raise ValidationException("Schedule: a maintenance window starts at most every 5 minutes.")
    if terms.offset is not None and not isinstance(expression, Cron):
        raise ValidationException("ScheduleOffset needs a cron expression.")
    start = None if terms.start is None else moment_of_text(terms.start, zone, "StartDate")
    end = None if terms.end is None else moment_of_text(terms.end, zone, "EndDate")
    if start is not None and start <= now and (before is None or before.start != terms.start):
        raise ValidationException("StartDate must be in the future.")
    if end is not None and end <= (start if start is not None else 0):
        raise ValidationException("EndDate must be after StartDate.")
    if end is not None and end <= now and (before is None or before.end != terms.end):
        raise ValidationException("EndDate must be in the future.")


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetTerms:
    """What a registered target says."""

    resource_type: str
    targets: Pairs
    owner: str | None = None
    name: str | None = None
    description: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowTarget:
    """A registered target of a window."""

    window_target_id: str
    window_id: str
    account_id: str
    region: str
    terms: TargetTerms
    created_at: int
    client_token: str = ""
    digest: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskTerms:
    """What a task says. The members of `invocation` and `logging` are kept as they came."""

    kind: str
    task_arn: str
    targets: Pairs = field(default_factory=list)
    role_arn: str | None = None
    parameters: dict[str, dict[str, list[str]]] | None = field(default=None, repr=False)
    invocation: dict[str, Any] | None = field(default=None, repr=False)
    priority: int = 0
    max_concurrency: str | None = None
    max_errors: str | None = None
    logging: dict[str, Any] | None = None
    name: str | None = None
    description: str | None = None
    cutoff_behavior: str | None = None
    alarm: dict[str, Any] | None = None

    @property
    def cancels_at_cutoff(self) -> bool:
        """Calls cannot be taken back, so tasks that make them go on."""
        return self.cutoff_behavior == CANCEL_TASK and self.kind in (RUN_COMMAND, AUTOMATION)

    def values_of(self, key: str) -> list[str]:
        """What its targets name under the key."""
        return [value for name, values in self.targets if name == key for value in values]


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowTask:
    """A task of a window."""

    window_task_id: str
    window_id: str
    account_id: str
    region: str
    terms: TaskTerms
    created_at: int
    client_token: str = ""
    digest: str = ""


def window_missing(window_id: str) -> DoesNotExistException:
    return DoesNotExistException(f"Maintenance window {window_id} does not exist")


def merged(before: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """A patch: what the request does not say stays; an empty text takes away."""
    return {**before, **{name: None if value == "" else value for name, value in given.items() if value is not None}}
