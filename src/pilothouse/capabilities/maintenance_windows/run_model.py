"""How executions go: windows, their tasks, and the invocations of those. What may follow what, and what follows.

Pure. `plan` says what is to be done with an execution at a moment; whoever does it asks again until nothing is left.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final

from pilothouse.capabilities.maintenance_windows.model import INSTANCE, RUN_COMMAND, Pairs, TaskTerms

MOST_DETAILS: Final = 250
NO_TASKS: Final = "No tasks to execute."
NO_TARGETS: Final = "No targets to run on."
AT_CUTOFF: Final = "Cancelled at the cutoff of the maintenance window."
NOT_STARTED: Final = "The maintenance window ended before it was started."
ASKED: Final = "Cancelled by CancelMaintenanceWindowExecution."
TOO_MANY_ERRORS: Final = "Not started: more errors than MaxErrors allows."


class Status(StrEnum):
    """Of executions of windows and tasks, and of invocations."""

    PENDING = "PENDING"
    IN_PROGRESS = "IN_PROGRESS"
    SUCCESS = "SUCCESS"
    FAILED = "FAILED"
    TIMED_OUT = "TIMED_OUT"
    CANCELLING = "CANCELLING"
    CANCELLED = "CANCELLED"
    SKIPPED_OVERLAPPING = "SKIPPED_OVERLAPPING"


S = Status
_ENDS: Final = frozenset({S.SUCCESS, S.FAILED, S.TIMED_OUT, S.CANCELLED})
MOVES: Mapping[Status, frozenset[Status]] = {
    S.PENDING: frozenset({S.IN_PROGRESS, S.SKIPPED_OVERLAPPING}) | _ENDS,
    S.IN_PROGRESS: frozenset({S.CANCELLING}) | _ENDS,
    S.CANCELLING: _ENDS,
}  # a status without a row is final
FINAL: Final = frozenset(status for status in Status if status not in MOVES)


def may_move(was: Status, to: Status) -> bool:
    """Whether one may follow the other."""
    return to in MOVES.get(was, frozenset())


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How far something is, and why."""

    status: Status = Status.PENDING
    details: str = ""
    started_at: int | None = None
    ended_at: int | None = None

    @property
    def final(self) -> bool:
        return self.status in FINAL

    @property
    def begun(self) -> bool:
        """It was started, and goes on."""
        return self.status in (Status.IN_PROGRESS, Status.CANCELLING)

    def moved(self, to: Status, at: int, details: str | None = None) -> "Standing":
        """After a move; itself where that is not legal, so what is final stays."""
        if not may_move(self.status, to):
            return self
        started = self.started_at
        if started is None and to is Status.IN_PROGRESS:
            started = at
        return Standing(
            status=to,
            details=self.details if details is None else details[:MOST_DETAILS],
            started_at=started,
            ended_at=at if to in FINAL else None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """For whom an invocation is: a registered target, nodes that the task names, or one resource of either."""

    window_target_id: str = ""
    resource_type: str = INSTANCE
    owner: str = ""
    targets: Pairs = field(default_factory=list)
    target_id: str = ""
    """Of one resource the id, of what is in a group the ARN; empty where it is for all that fit the targets."""
    resource_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """One piece of a task's work: a command, a call."""

    invocation_id: str
    task_execution_id: str
    execution_id: str
    window_id: str
    account_id: str
    region: str
    position: int
    kind: str
    batch: Batch
    parameters: str = field(default="", repr=False)
    outside_id: str = ""
    """The id of what does the work, such as a command's."""
    at: Standing = field(default_factory=Standing)
    call_at: int | None = None
    """When somebody is to be called for it (again)."""
    calls: int = 0
    """Calls that were tried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRun:
    """One run of a task, by what the task said when the execution began."""

    task_execution_id: str
    execution_id: str
    window_id: str
    window_task_id: str
    account_id: str
    region: str
    position: int
    task: TaskTerms
    batches: list[Batch]
    at: Standing = field(default_factory=Standing)


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """One run of a window."""

    execution_id: str
    window_id: str
    account_id: str
    region: str
    due_at: int | None
    late_ms: int = 0
    asked_by: str = ""
    cutoff_at: int
    ends_at: int
    cancel_asked: bool = False
    at: Standing = field(default_factory=Standing)

    def look_at(self, now: int) -> int | None:
        """When something is to be done because of the time alone."""
        if self.at.final:
            return None
        return next((moment for moment in (self.cutoff_at, self.ends_at) if moment > now), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be done with the tasks of an execution; empty where one has to wait."""

    end: Mapping[str, tuple[Status, str]] = field(default_factory=dict)
    """Tasks that will not be started any more."""
    start: Sequence[str] = ()
    stop: Mapping[str, str] = field(default_factory=dict)
    """Tasks whose work is to be cancelled, and why."""


def plan(execution: Execution, tasks: Sequence[TaskRun], now: int) -> Plan:
    """By the statuses of the tasks and the time. Of tasks that have ended nothing is said."""
    pending = [each for each in tasks if each.at.status is Status.PENDING]
    running = [each for each in tasks if each.at.status is Status.IN_PROGRESS]
    if execution.cancel_asked:
        return Plan(
            end={each.task_execution_id: (Status.CANCELLED, ASKED) for each in pending},
            stop={each.task_execution_id: ASKED for each in running},
        )
    if now >= execution.cutoff_at:
        late = pending if now >= execution.ends_at else []
        stop = {each.task_execution_id: AT_CUTOFF for each in running if each.task.cancels_at_cutoff}
        return Plan(end={each.task_execution_id: (Status.TIMED_OUT, NOT_STARTED) for each in late}, stop=stop)
    if any(each.at.begun for each in tasks) or not pending:
        return Plan()
    first = min(each.task.priority for each in pending)
    return Plan(start=[each.task_execution_id for each in pending if each.task.priority == first])


def to_start(execution: Execution, run: TaskRun, invocations: Sequence[Invocation], now: int) -> list[Invocation]:
    """Which of a task's invocations may be started now. Commands keep their own limits, so all of them may."""
    if execution.cancel_asked or now >= execution.cutoff_at or run.at.status is not Status.IN_PROGRESS:
        return []
    waiting = [each for each in invocations if each.at.status is Status.PENDING]
    if run.task.kind == RUN_COMMAND:
        return waiting
    if too_many_errors(run, invocations):
        return []
    room = limit(run.task.max_concurrency or "1", len(invocations), at_least=1)
    return waiting[: max(0, room - sum(each.at.begun for each in invocations))]


def too_many_errors(run: TaskRun, invocations: Sequence[Invocation]) -> bool:
    """Whether nothing more is started; commands see to that themselves."""
    if run.task.kind == RUN_COMMAND or not run.task.targets:
        return False
    failed = sum(each.at.status in (Status.FAILED, Status.TIMED_OUT) for each in invocations)
    return failed > limit(run.task.max_errors or "0", len(invocations), at_least=0)


def limit(written: str, of: int, *, at_least: int) -> int:
    """A number or a percentage as a number."""
    if not written.endswith("%"):
        return max(at_least, int(written))
    share = int(written[:-1]) * of
    return max(at_least, -(-share // 100) if at_least else share // 100)


def outcome(standings: Iterable[Standing]) -> Status | None:
    """Of a whole by its parts, once all of them have ended."""
    found = {each.status for each in standings}
    if not found <= FINAL:
        return None
    for status in (Status.FAILED, Status.TIMED_OUT, Status.CANCELLED):
        if status in found:
            return status
    return Status.SUCCESS


_PSEUDO = re.compile(r"\{\{\s*([A-Z_]+)\s*\}\}")


@dataclass(frozen=True, slots=True)
class Pseudo:
    """What stands for the pseudo parameters of an invocation. Nothing else between braces is touched."""

    values: Mapping[str, str]

    @classmethod
    def of(cls, run: TaskRun, invocation: Invocation) -> "Pseudo":
        values = {
            "WINDOW_ID": run.window_id,
            "WINDOW_TASK_ID": run.window_task_id,
            "WINDOW_TARGET_ID": invocation.batch.window_target_id,
            "WINDOW_EXECUTION_ID": run.execution_id,
            "TASK_EXECUTION_ID": run.task_execution_id,
            "INVOCATION_ID": invocation.invocation_id,
            "TARGET_TYPE": invocation.batch.resource_type,
        }
        if run.task.kind != RUN_COMMAND:
            values |= {"TARGET_ID": invocation.batch.target_id, "RESOURCE_ID": invocation.batch.resource_id}
        return cls(values)

    def filled(self, value: Any) -> Any:
        """The value with all texts in it filled."""
        if isinstance(value, str):
            return _PSEUDO.sub(lambda found: self.values.get(found[1], found[0]), value)
        if isinstance(value, Mapping):
            return {key: self.filled(each) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [self.filled(each) for each in value]
        return value


def ended(invocation: Invocation, status: Status, at: int, details: str = "") -> Invocation:
    """The invocation after its end. What was being cancelled at the cutoff has timed out, unless it succeeded."""
    standing = invocation.at
    if standing.status is Status.CANCELLING and standing.details == AT_CUTOFF and status is Status.CANCELLED:
        return replace(invocation, at=standing.moved(Status.TIMED_OUT, at), call_at=None)
    return replace(invocation, at=standing.moved(status, at, details), call_at=None)
