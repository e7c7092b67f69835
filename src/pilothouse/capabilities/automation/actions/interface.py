"""What an action is: the one thing that a step of a runbook does, such as `aws:sleep`. Each is one file beside this.

A step lives as rows, so an action holds nothing between its calls: what it must know again it gives as `state`, a JSON
value. The engine writes the intent (the step with its inputs, its attempt, its state) and the outcome; an action does
neither. It is asked in this order:

1. When a document is made: `inputs` says which there are, `check` what else is wrong with them. Inputs with `{{ … }}`
   in them are looked at when they are filled.
2. `begin`, in the transaction that makes the step a row, with inputs that are filled and of their kinds. What it asks
   of this server by `step.ask` is part of that transaction, so it happens exactly once, whatever is killed.
   It waits for nothing but the transaction, and gives an outcome:
   - `Done`, `Failed`: the step has ended.
   - `WaitUntil`, `WaitFor`: `resume` is called when the time has come, or when somebody has told that what the key
     names has happened (`automation.happened`). Thousands may wait; a waiting step is a row.
   - `Perform`: something that is no part of a transaction: another machine is called, a program runs. The intent is
     made durable, then `perform` is called once, outside of any transaction, in a process with the role `scheduler`.
     Its outcome is taken as that of `begin` is.
3. `cancel`, in a transaction, when the execution or the step is stopped or the step's time is over. None: nothing goes
   on any more. `WaitUntil` or `WaitFor`: it goes on for a while, and `resume` will say when it has ended; how it
   ended is then of no interest. While `perform` goes on it is `perform` that is cancelled (asyncio.CancelledError).

A process that dies while it performs leaves an intent without an outcome. Such a step is performed again only if its
`Perform` says that it is `repeatable` (a question, or a call that carries `step.token`); otherwise it fails, and the
message says that nobody knows whether it took effect. `begin` and `resume` need no such care: their transaction is
there as a whole or not at all.

Whoever raises `StepFailed`, or the ApiError of something that it asked, fails the step: permission and throttling are
told apart by the error's code. Attempts, timeouts, `onFailure` and the like are the engine's: an action knows of none.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Literal, Protocol

from pilothouse.call import House, Shape
from pilothouse.identity.principals import Principal
from pilothouse.storage import Transaction

HOUR: Final = 3600
Values = Mapping[str, Any]
"""A JSON object."""


class Kind(StrEnum):
    """What an input is once it is filled. What is written otherwise is turned into it where nothing is lost."""

    TEXT = "a text"
    NUMBER = "a whole number"
    TRUTH = "true or false"
    TEXTS = "a list of texts"
    LIST = "a list"
    MAP = "an object"
    MAPS = "a list of objects"
    ANY = "a value"
    RAW = "a value that is not filled"
    """The action fills it itself, or does not want it filled (the steps of a loop)."""


@dataclass(frozen=True, slots=True)
class Input:
    """One input of an action."""

    kind: Kind = Kind.TEXT
    required: bool = False
    choices: tuple[str, ...] = ()
    """The only texts that there may be."""


class FailureType(StrEnum):
    """FailureDetails of a step: why it failed."""

    ACTION = "Action"
    PERMISSION = "Permission"
    THROTTLING = "Throttling"
    VERIFICATION = "Verification"
    INTERNAL = "Internal"


_PERMISSION: Final = frozenset({
    "AccessDeniedException", "AccessDenied", "UnauthorizedOperation", "AuthFailure", "NotAuthorized",
})  # fmt: skip
_THROTTLING: Final = frozenset({"ThrottlingException", "Throttling", "RequestLimitExceeded", "TooManyUpdates"})


def type_of(code: str) -> FailureType:
    """What kind of failure an error of an API is, by its code."""
    if code in _PERMISSION:
        return FailureType.PERMISSION
    return FailureType.THROTTLING if code in _THROTTLING else FailureType.ACTION


Stage = Literal["InputValidation", "PreVerification", "Invocation", "PostVerification"]


class StepFailed(Exception):
    """The step cannot be done; the text says why, and what to do about it. It holds no secret."""

    def __init__(
        self, message: str, kind: FailureType = FailureType.ACTION, stage: Stage = "Invocation"
    ) -> None:  # fmt: skip
        super().__init__(message)
        self.message, self.kind, self.stage = message, kind, stage


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """The step did what it was to do."""

    outputs: Values = field(default_factory=dict)
    """By name, as JSON values: texts, numbers, lists, objects."""
    payload: Any = None
    """What the selectors of outputs that the document declares are applied to; None where there is nothing such."""
    response: str = ""
    response_code: str = ""
    warning: str = ""
    goes_to: str | None = None
    """The step that comes next, whatever the document says; empty for the end. For `aws:branch`."""
    assign: Values = field(default_factory=dict)
    """Variables of the execution by name, with their new values. For `aws:updateVariable`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The step tried and failed."""

    message: str
    kind: FailureType = FailureType.ACTION
    stage: Stage = "Invocation"
    outputs: Values = field(default_factory=dict)
    response: str = ""
    response_code: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitUntil:
    """`resume` at this moment, epoch milliseconds."""

    at: int
    state: Values = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitFor:
    """`resume` once one of these keys was told as happened, or at the moment if there is one, whichever comes first.

    Keys are of the form `command:ID`; it does no harm if one is told twice, or if nothing has happened after all.
    """

    keys: Sequence[str] = ()
    state: Values = field(default_factory=dict)
    at: int | None = None
    for_people: bool = False
    """Somebody has to say something first: step and execution are Waiting meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Perform:
    """`perform` with this state, outside of any transaction."""

    state: Values
    repeatable: bool
    """It does no harm to do it twice."""


Outcome = Done | Failed | WaitUntil | WaitFor | Perform


class Step(Protocol):
    """The step that is being done, as its action sees it in a transaction."""

    house: House
    tx: Transaction
    execution_id: str
    step_execution_id: str
    """The same for every attempt."""
    name: str
    attempt: int
    """1 at first."""
    account_id: str
    region: str
    now: int
    """Epoch milliseconds."""
    deadline: int | None
    """When the time of this attempt is over; the engine sees to it."""
    inputs: Values
    """Filled; also for `resume` and `cancel`."""
    definition: Values
    """The step as the document has it, not filled."""

    @property
    def token(self) -> str:
        """A UUID that belongs to this attempt: the client token of what it asks."""

    async def actor(self) -> Principal:
        """As whom the step acts: the role that the runbook assumes, else who started the execution.

        Raises StepFailed (Permission) where there is nobody (any more).
        """

    async def ask(self, service: str, name: str, request: Shape) -> Shape:
        """The answer of an operation of this server to the actor: allowed and recorded as from outside.

        It is part of the transaction. Raises the ApiError that the operation answers; nothing of it is written then.
        """

    def answers(self, service: str, name: str) -> bool:
        """Whether this server has the operation."""

    def fill(self, value: Any) -> Any:
        """A value with its `{{ references }}` filled, for inputs of the kind RAW. Raises StepFailed."""


class Errand(Protocol):
    """The step that is being performed, outside of any transaction."""

    house: House
    execution_id: str
    step_execution_id: str
    name: str
    attempt: int
    account_id: str
    region: str
    deadline: int | None
    inputs: Values
    definition: Values
    state: Values
    who: Principal
    """As whom the step acts."""

    @property
    def token(self) -> str:
        """As of a step."""


class Action:
    """One type of action; a subclass says what is different from this one. It has no state of its own."""

    name: str = ""
    """Such as `aws:sleep`."""
    inputs: Mapping[str, Input] = {}
    more_inputs: bool = False
    """Whether there may be others: the parameters of an API."""
    timeout_seconds: int | None = HOUR
    """Where the document does not say: mostly an hour. None: it has no end."""
    mutating: bool | None = True
    """For previews: whether it changes something; None: that depends."""

    def check(self, inputs: Values) -> Iterator[tuple[str, str]]:
        """What is wrong with the inputs of a document beyond `inputs`: (place within the inputs, reason)."""
        yield from ()

    async def begin(self, step: Step) -> Outcome:
        raise NotImplementedError(f"{self.name} does nothing")

    async def resume(self, step: Step, state: Values) -> Outcome:
        raise NotImplementedError(f"{self.name} does not wait")

    async def cancel(self, step: Step, state: Values) -> WaitUntil | WaitFor | None:
        return None

    async def perform(self, errand: Errand) -> Outcome:
        raise NotImplementedError(f"{self.name} performs nothing")


def literal(value: Any) -> bool:
    """Whether nothing in the value is to be filled, so that it can be judged when a document is made."""
    if isinstance(value, str):
        return "{{" not in value
    if isinstance(value, Mapping):
        return all(map(literal, value.values()))
    return not isinstance(value, list) or all(map(literal, value))
