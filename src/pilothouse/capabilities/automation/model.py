"""What a runbook does next: a function of the document and of what was done so far, and of nothing else.

Whoever knows the document and the steps that were done, with how they ended, comes to the same decision as the engine
did: `decide` is called at each turn, and recorded histories are replayed by it in tests.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from pilothouse.errors import ApiError

CLEANUP_MS: Final = 120_000
"""How long the steps may take that follow a cancelled one by its `onCancel`."""
MOST_STEPS: Final = 10_000
"""Of one execution; a runbook that goes back and back again ends then."""


class Status(StrEnum):
    """Of executions and of steps."""

    PENDING = "Pending"
    IN_PROGRESS = "InProgress"
    WAITING = "Waiting"
    SUCCESS = "Success"
    TIMED_OUT = "TimedOut"
    CANCELLING = "Cancelling"
    CANCELLED = "Cancelled"
    FAILED = "Failed"

    @property
    def final(self) -> bool:
        return self in _FINAL


_FINAL: Final = frozenset({Status.SUCCESS, Status.TIMED_OUT, Status.CANCELLED, Status.FAILED})
_LIVE: Final = frozenset({Status.IN_PROGRESS, Status.WAITING, Status.CANCELLING})
MOVES: Final[Mapping[Status, frozenset[Status]]] = {
    Status.PENDING: frozenset(Status) - {Status.PENDING},
    Status.IN_PROGRESS: _FINAL | _LIVE - {Status.IN_PROGRESS},
    Status.WAITING: _FINAL | _LIVE - {Status.WAITING},
    Status.CANCELLING: _FINAL,
}
"""A status without a row is final."""
BAD: Final = frozenset({Status.FAILED, Status.TIMED_OUT})


class Stop(StrEnum):
    """StopAutomationExecution."""

    NO = ""
    CANCEL = "Cancel"
    """The step that goes on is cancelled, and its `onCancel` heeded."""
    COMPLETE = "Complete"
    """The step that goes on may end; no other begins."""


class AutomationDefinitionNotFoundException(ApiError):
    """There is no such runbook."""


class AutomationDefinitionVersionNotFoundException(ApiError):
    """The runbook has no such version."""


class AutomationExecutionNotFoundException(ApiError):
    """There is no such execution."""


class AutomationStepNotFoundException(ApiError):
    """The execution has no such step."""


class AutomationExecutionLimitExceededException(ApiError):
    """As many executions go on as may."""


class InvalidAutomationExecutionParametersException(ApiError):
    """The parameters do not fit the runbook."""


class InvalidAutomationSignalException(ApiError):
    """The execution is not where the signal would mean something."""


class InvalidAutomationStatusUpdateException(ApiError):
    """The execution has ended."""


class IdempotentParameterMismatch(ApiError):
    """The client token was used for another request."""


class InvalidTarget(ApiError):
    """The targets cannot be resolved."""


class InvalidFilterKey(ApiError):
    """A filter that the list does not know."""


class InvalidFilterValue(ApiError):
    """A filter whose value is none of its kind."""


class InvalidNextToken(ApiError):
    """The page token is not of this list."""


class ResourceNotFoundException(ApiError):
    """There is no such preview."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selected:
    """An output that the document declares for a step."""

    name: str
    selector: str
    kind: str = "String"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A step as the document has it."""

    name: str
    action: str
    inputs: Mapping[str, Any] = field(default_factory=dict)
    max_attempts: int = 1
    timeout_seconds: int | None = None
    """None where the document does not say."""
    on_failure: str = "Abort"
    on_cancel: str = "Abort"
    next_step: str | None = None
    is_end: bool = False
    is_critical: bool = True
    outputs: tuple[Selected, ...] = ()
    within: "Flow | None" = None
    """The steps of a loop."""

    @property
    def on_failure_step(self) -> str | None:
        return self.on_failure[5:] if self.on_failure.startswith("step:") else None

    @property
    def on_cancel_step(self) -> str | None:
        return self.on_cancel[5:] if self.on_cancel.startswith("step:") else None


@dataclass(frozen=True, slots=True)
class Flow:
    """Steps in the order of the document."""

    steps: tuple[Plan, ...]
    places: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, steps: Iterable[Plan]) -> "Flow":
        given = tuple(steps)
        return cls(given, {each.name: number for number, each in enumerate(given)})

    def named(self, name: str) -> Plan | None:
        number = self.places.get(name)
        return None if number is None else self.steps[number]

    def after(self, plan: Plan) -> str | None:
        """What comes after a step that says nothing else and went well; None for the end."""
        if plan.is_end:
            return None
        if plan.next_step is not None:
            return plan.next_step
        following = self.places[plan.name] + 1
        return self.steps[following].name if following < len(self.steps) else None


@dataclass(frozen=True, slots=True)
class Ran:
    """A step that was begun."""

    name: str
    status: Status
    goes_to: str | None = None
    """What the step itself said that comes next; empty for the end."""


@dataclass(frozen=True, slots=True)
class Go:
    """Begin the step."""

    name: str


@dataclass(frozen=True, slots=True)
class Wait:
    """The last step goes on."""


@dataclass(frozen=True, slots=True)
class End:
    """Nothing more is to be done."""

    status: Status
    cause: str = ""
    """The step because of which it is not a success."""


Decision = Go | Wait | End


def decide(flow: Flow, ran: Sequence[Ran], stop: Stop = Stop.NO) -> Decision:
    """What comes next. Steps are done one after another: only the last of `ran` may not have ended."""
    if not ran:
        return End(Status.CANCELLED) if stop is not Stop.NO else Go(flow.steps[0].name)
    last = ran[-1]
    if not last.status.final:
        return Wait()
    cancelled = next((each for each in ran if each.status is Status.CANCELLED), None)
    if cancelled is not None:
        return _after_cancel(flow, ran, cancelled)
    if stop is not Stop.NO:
        return _stopped(flow, ran, last, stop)
    following = _following(flow, last)
    return Go(following) if following is not None else _end(flow, ran)


def _stopped(flow: Flow, ran: Sequence[Ran], last: Ran, stop: Stop) -> Decision:
    """No step was cancelled, for the last one had ended by then. That was the end anyway, or it is now."""
    if stop is Stop.CANCEL and _following(flow, last) is None:
        return _end(flow, ran)
    return End(Status.CANCELLED)


def _after_cancel(flow: Flow, ran: Sequence[Ran], cancelled: Ran) -> Decision:
    """The steps of `onCancel`, each once, then the end."""
    cleanup = ran[[each is cancelled for each in ran].index(True) + 1 :]
    if not cleanup:
        plan = flow.named(cancelled.name)
        following = None if plan is None else plan.on_cancel_step
    else:
        following = _following(flow, cleanup[-1]) if cleanup[-1].status is not Status.CANCELLED else None
        if following in {each.name for each in cleanup}:
            following = None
    return Go(following) if following is not None else End(Status.CANCELLED, cancelled.name)


def _following(flow: Flow, last: Ran) -> str | None:
    """What comes after a step that has ended; None for the end."""
    plan = flow.named(last.name)
    if plan is None:
        return None
    if last.status is Status.SUCCESS:
        if last.goes_to is not None:
            return last.goes_to or None
        return flow.after(plan)
    if plan.on_failure == "Abort" or plan.is_end:
        return None
    return plan.on_failure_step or flow.after(plan)


def _end(flow: Flow, ran: Sequence[Ran]) -> End:
    """Failed if a critical step failed; TimedOut if that is the last one, it timed out, and its failure was the end."""
    last = ran[-1]
    plans = {each.name: flow.named(each.name) for each in ran}

    def counts(each: Ran) -> bool:
        plan = plans[each.name]
        return each.status in BAD and (plan is None or plan.is_critical)

    bad = [each for each in ran if counts(each)]
    if not bad:
        return End(Status.SUCCESS)
    plan = plans[last.name]
    if counts(last) and last.status is Status.TIMED_OUT and plan is not None and plan.on_failure == "Abort":
        return End(Status.TIMED_OUT, last.name)
    return End(Status.FAILED, (last if counts(last) else bad[-1]).name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Children:
    """How the executions stand that one with targets has started."""

    total: int
    """So many are there to be started."""
    started: int = 0
    live: int = 0
    errors: int = 0
    """Failed or timed out."""


def to_start(children: Children, concurrency: int, most_errors: int, stop: Stop) -> int:
    """How many more may be started now."""
    if stop is not Stop.NO or children.errors > most_errors:
        return 0
    return max(0, min(concurrency - children.live, children.total - children.started))


def end_of_children(children: Children, most_errors: int, stop: Stop) -> Status | None:
    """How the execution with targets ended; None while it goes on."""
    too_many = children.errors > most_errors
    if children.live or (children.started < children.total and stop is Stop.NO and not too_many):
        return None
    if stop is not Stop.NO:
        return Status.CANCELLED
    return Status.FAILED if too_many else Status.SUCCESS
