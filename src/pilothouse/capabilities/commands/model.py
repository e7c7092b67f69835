"""Commands and invocations: their statuses, the legal moves between them, and the rules of rate control.

Pure: no I/O. Times are epoch milliseconds. A command's status follows from counts of its invocations; an invocation
never leaves a final status.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple

from pilothouse.errors import ApiError


class InvalidCommandId(ApiError):
    """The id is not a command's, or there is no such command."""


class InvocationDoesNotExist(ApiError):
    """The command was not sent to this node."""

    def __init__(
        self, message: str = "The command ID and managed node ID you specified did not match any invocations."
    ) -> None:
        super().__init__(message)


class InvalidPluginName(ApiError):
    """The document has no such step."""


class InvalidOutputFolder(ApiError):
    """The bucket for output is not a bucket's name."""


class InvalidRole(ApiError):
    """The role for notifications is missing or not the ARN of a role."""


class InvalidNotificationConfig(ApiError):
    """The notification settings do not fit together."""


class UnsupportedPlatformType(ApiError):
    """The document runs on none of the nodes."""


class InvalidFilterKey(ApiError):
    """A filter that the list does not know."""


class InvalidNextToken(ApiError):
    """The page token is not of this list."""


class Details(StrEnum):
    """StatusDetails of an invocation; `STATUS` gives the coarser Status."""

    __hash__ = str.__hash__
    """An enumeration's own is not in C, and each look into a table of moves takes it."""

    PENDING = "Pending"
    IN_PROGRESS = "InProgress"
    DELAYED = "Delayed"
    CANCELLING = "Cancelling"
    SUCCESS = "Success"
    FAILED = "Failed"
    EXECUTION_TIMED_OUT = "ExecutionTimedOut"
    DELIVERY_TIMED_OUT = "DeliveryTimedOut"
    CANCELLED = "Cancelled"
    TERMINATED = "Terminated"
    UNDELIVERABLE = "Undeliverable"
    INVALID_PLATFORM = "InvalidPlatform"
    ACCESS_DENIED = "AccessDenied"


D = Details

STATUS: Mapping[Details, str] = {
    D.PENDING: "Pending",
    D.IN_PROGRESS: "InProgress",
    D.DELAYED: "Delayed",
    D.CANCELLING: "Cancelling",
    D.SUCCESS: "Success",
    D.FAILED: "Failed",
    D.EXECUTION_TIMED_OUT: "TimedOut",
    D.DELIVERY_TIMED_OUT: "TimedOut",
    D.CANCELLED: "Cancelled",
    D.TERMINATED: "Failed",
    D.UNDELIVERABLE: "Failed",
    D.INVALID_PLATFORM: "Failed",
    D.ACCESS_DENIED: "Failed",
}

_RESULTS = frozenset({D.SUCCESS, D.FAILED, D.CANCELLED, D.EXECUTION_TIMED_OUT})
_ENDS = _RESULTS | {D.DELIVERY_TIMED_OUT, D.UNDELIVERABLE}

MOVES: Mapping[Details, frozenset[Details]] = {
    D.PENDING: frozenset({D.IN_PROGRESS, D.TERMINATED}) | _ENDS,
    D.IN_PROGRESS: frozenset({D.DELAYED, D.CANCELLING}) | _ENDS,
    D.DELAYED: frozenset({D.IN_PROGRESS, D.CANCELLING, D.TERMINATED}) | _ENDS,
    D.CANCELLING: _ENDS,
}  # details without a row are final

FINAL = frozenset(details for details in Details if details not in MOVES)


def may_move(was: Details, to: Details) -> bool:
    """Whether an invocation may go from one to the other."""
    return to in MOVES.get(was, frozenset())


RESULT_OF: Mapping[str, Details] = {
    "Success": D.SUCCESS,
    "Failed": D.FAILED,
    "Cancelled": D.CANCELLED,
    "TimedOut": D.EXECUTION_TIMED_OUT,
}
"""`documentStatus` of a reply to the invocation's end; every other one means that it is in progress."""


@dataclass(slots=True, kw_only=True)
class Counts:
    """What a command counts of its invocations; kept with it, never recounted."""

    target_count: int
    started: int = 0
    """1 once anything was transmitted."""
    waiting: int = 0
    slots: int = 0
    ended: dict[Details, int] = field(default_factory=dict)

    def of(self, *details: Details) -> int:
        """Invocations that ended so."""
        return sum(self.ended.get(each, 0) for each in details)

    @property
    def completed(self) -> int:
        return sum(self.ended.values())

    @property
    def errors(self) -> int:
        return self.of(D.FAILED, D.EXECUTION_TIMED_OUT)

    @property
    def never_reached(self) -> int:
        return self.of(D.UNDELIVERABLE, D.INVALID_PLATFORM, D.ACCESS_DENIED)

    def end(self, details: Details, count: int = 1) -> None:
        """So many more have ended."""
        if count:
            self.ended[details] = self.ended.get(details, 0) + count


@dataclass(frozen=True, slots=True)
class CommandStatus:
    """Status and StatusDetails of a command."""

    status: str
    details: str

    @property
    def final(self) -> bool:
        return self.status not in ("Pending", "InProgress", "Cancelling")


def command_status(counts: Counts, error_limit: int, *, cancel_asked: bool) -> CommandStatus:
    """The status of a command by its counts; once all have ended, the first rule that fits."""
    if counts.target_count == 0:
        return CommandStatus("Success", "NoInstancesInTag")
    if counts.completed < counts.target_count:
        if cancel_asked:
            return CommandStatus("Cancelling", "Cancelling")
        open_ = "InProgress" if counts.started or counts.completed else "Pending"
        return CommandStatus(open_, open_)
    if cancel_asked and counts.of(D.CANCELLED):
        return CommandStatus("Cancelled", "Cancelled")
    if counts.errors > error_limit:
        if counts.errors == counts.of(D.EXECUTION_TIMED_OUT):
            return CommandStatus("TimedOut", "ExecutionTimedOut")
        return CommandStatus("Failed", "Failed")
    if counts.never_reached == counts.target_count:
        denied = counts.of(D.ACCESS_DENIED) == counts.target_count
        return CommandStatus("Failed", "AccessDenied" if denied else "Failed")
    if counts.of(D.DELIVERY_TIMED_OUT) > error_limit:
        return CommandStatus("TimedOut", "DeliveryTimedOut")
    if counts.of(D.SUCCESS) + counts.never_reached == counts.target_count:
        return CommandStatus("Success", "Success")
    return CommandStatus("Failed", "Incomplete")


def concurrency_limit(written: str, target_count: int) -> int:
    """MaxConcurrency as a number: a percentage is rounded up, and is at least 1."""
    if written.endswith("%"):
        return max(1, -(-int(written[:-1]) * target_count // 100))
    return max(1, int(written))


def error_limit(written: str, target_count: int) -> int:
    """MaxErrors as a number of tolerated errors: a percentage is rounded down."""
    return int(written[:-1]) * target_count // 100 if written.endswith("%") else int(written)


class StepStatus(StrEnum):
    """Status of a plugin within an invocation."""

    PENDING = "Pending"
    IN_PROGRESS = "InProgress"
    SUCCESS = "Success"
    TIMED_OUT = "TimedOut"
    CANCELLED = "Cancelled"
    FAILED = "Failed"


STEP_RESULT: Mapping[str, tuple[StepStatus, str]] = {
    "Success": (StepStatus.SUCCESS, "Success"),
    "Skipped": (StepStatus.SUCCESS, "Skipped"),
    "Failed": (StepStatus.FAILED, "Failed"),
    "Cancelled": (StepStatus.CANCELLED, "Cancelled"),
    "TimedOut": (StepStatus.TIMED_OUT, "ExecutionTimedOut"),
}
"""`status` in `runtimeStatus` to Status and StatusDetails; every other one means that the step is in progress."""


def step_without_result(invocation: Details) -> tuple[StepStatus, str]:
    """What a step is shown as whose result never came, by what became of the invocation."""
    if invocation not in FINAL:
        return StepStatus.PENDING, "Pending"
    if invocation is D.CANCELLED:
        return StepStatus.CANCELLED, "Cancelled"
    if invocation is D.DELIVERY_TIMED_OUT:
        return StepStatus.TIMED_OUT, "DeliveryTimedOut"
    return StepStatus.FAILED, "Failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """What a node reported of one step. `status` and `details` as they are shown."""

    name: str
    status: StepStatus
    details: str
    code: int = -1
    started_at: int | None = None
    finished_at: int | None = None
    output: str = field(default="", repr=False)
    standard_output: str = field(default="", repr=False)
    standard_error: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """A step of the command's document. `folders`: places in a bucket of its parts, below command and node."""

    name: str
    folders: tuple[str, ...]

    @property
    def folder(self) -> str:
        """That of the first part."""
        return self.folders[0]


class Invocation(NamedTuple):
    """One command on one node."""

    command_id: str
    node_id: str
    account_id: str
    region: str
    node_name: str
    document_name: str
    requested_at: int
    details: Details
    on_node: bool = False
    """Transmitted, and not refused since: the node may be running it."""
    slot: bool = False
    """Counts against MaxConcurrency: from the first transmission to the end."""
    trace: str = ""
    finished_at: int | None = None

    def __repr__(self) -> str:
        return f"Invocation({self.command_id!r}, {self.node_id!r}, {self.details.value})"

    @property
    def final(self) -> bool:
        return self.details in FINAL

    @property
    def status(self) -> str:
        return STATUS[self.details]

    @property
    def waits(self) -> bool:
        """Open, and not on the node."""
        return not self.final and not self.on_node

    def moved(
        self, to: Details, counts: Counts, *, at: int, on_node: bool | None = None, trace: str = ""
    ) -> "Invocation":  # fmt: skip
        """The invocation after a move (itself if that is not legal), with the command's counts brought along."""
        if not may_move(self.details, to) and to is not self.details:
            return self
        if self.final:
            return self
        final = to in FINAL
        stays = self.on_node if on_node is None else on_node
        on_node = stays and not final
        slot = (self.slot or stays) and not final
        after = Invocation._make((  # `_replace` takes three times as long
            *self[:_DETAILS_AT], to, on_node, slot, trace or self.trace, at if final else None,
        ))  # fmt: skip
        counts.waiting += after.waits - self.waits
        counts.slots += after.slot - self.slot
        if after.on_node:
            counts.started = 1
        if final:
            counts.end(to)
        return after


_DETAILS_AT: Final = Invocation._fields.index("details")


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One SendCommand, as it was asked for and as it stands."""

    command_id: str
    account_id: str
    region: str
    document_name: str
    document_version: str
    comment: str
    parameters: Mapping[str, list[str]] = field(repr=False)
    instance_ids: list[str]
    targets: list[dict[str, object]]
    settings: Mapping[str, object]
    """Members of the request that answers show again: output, notification, log and alarm settings."""
    steps: tuple[PlannedStep, ...]
    requested_at: int
    start_deadline: int
    expires_at: int
    timeout_seconds: int
    max_concurrency: str
    max_errors: str
    concurrency_limit: int
    error_limit: int
    cancel_asked: bool
    counts: Counts
    status: str
    details: str

    def current(self) -> CommandStatus:
        """What the counts say."""
        return command_status(self.counts, self.error_limit, cancel_asked=self.cancel_asked)

    @property
    def too_many_errors(self) -> bool:
        """MaxErrors is exceeded: nothing more is sent."""
        return self.counts.errors > self.error_limit

    @property
    def room(self) -> int:
        """How many more may be sent now."""
        if self.too_many_errors or self.cancel_asked:
            return 0
        return max(0, self.concurrency_limit - self.counts.slots)
