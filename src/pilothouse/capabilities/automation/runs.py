"""Executions and their steps as they stand: what the engine changes, and the store keeps."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from pilothouse.capabilities.automation.actions.interface import Values
from pilothouse.capabilities.automation.model import MOVES, Ran, Status, Stop

RUNBOOK: Final = "runbook"
TARGETS: Final = "targets"
LOCATIONS: Final = "locations"
INTERACTIVE: Final = "Interactive"


@dataclass(slots=True, kw_only=True)
class Contents:
    """What is sealed of an execution."""

    who: Values = field(default_factory=dict)
    """The caller (`access.kept_caller`)."""
    role: str = ""
    """ARN of the role that the runbook assumes; empty: steps act as the caller."""
    parameters: dict[str, list[str]] = field(default_factory=dict)
    """As they were given, with defaults; stored parameters in them were looked up."""
    variables: dict[str, Any] = field(default_factory=dict)
    outputs: dict[str, list[str]] = field(default_factory=dict)
    failure: str = ""
    terms: Values = field(default_factory=dict)
    """What else the request said, by the names of the API."""
    target: str = ""
    """Which target of its parent's it is for."""
    children: list[Values] = field(default_factory=list)
    """What an execution with targets or locations starts: for each its target, and what is different in it."""
    change: Values = field(default_factory=dict)
    """Of a change or access request: its name, its scheduled time, its runbooks."""


@dataclass(slots=True, kw_only=True)
class Execution:
    """One run of a runbook."""

    execution_id: str
    account_id: str
    region: str
    parent_id: str = ""
    parent_step_id: str = ""
    position: int = 0
    kind: str = RUNBOOK
    status: Status = Status.PENDING
    started_at: int
    ended_at: int | None = None
    document_name: str
    document_version: str
    digest: str
    mode: str = "Auto"
    current_step: str = ""
    current_action: str = ""
    granted_step: str = ""
    """In interactive mode: the step that somebody let begin."""
    stop_asked: Stop = Stop.NO
    stop_at: int | None = None
    cross_account: bool = False
    subtype: str = ""
    association_id: str = ""
    ops_item_id: str = ""
    resource_group: str = ""
    contents: Contents = field(default_factory=Contents)

    def move(self, to: Status, now: int) -> bool:
        """Whether the status is another than before."""
        if to is self.status:
            return False
        if to not in MOVES.get(self.status, frozenset()):
            raise ValueError(f"an execution does not go from {self.status} to {to}")
        self.status = to
        if to.final:
            self.ended_at = now
        return True


Turn = Literal["", "again", "stop", "cancel", "timeout"]
"""What is to become of a step that goes on: it begins once more (`again`), somebody wants it stopped (`stop`), or it is
being stopped, because of a cancellation or because its time is over."""


@dataclass(slots=True, kw_only=True)
class StepContents:
    """What is sealed of a step."""

    inputs: dict[str, Any] = field(default_factory=dict)
    outputs: dict[str, Any] = field(default_factory=dict)
    state: Values = field(default_factory=dict)
    response: str = ""
    response_code: str = ""
    failure: str = ""
    failure_stage: str = ""
    failure_type: str = ""
    warning: str = ""
    iterator_value: str = ""
    """Of the iteration that it belongs to, as text."""


@dataclass(slots=True, kw_only=True)
class StepRun:
    """A step that was begun. A step of a loop is one in each iteration."""

    step_id: str
    execution_id: str
    position: int
    name: str
    action: str
    parent_step_id: str = ""
    iteration: int = 0
    status: Status = Status.IN_PROGRESS
    started_at: int
    ended_at: int | None = None
    attempt: int = 1
    turn: Turn = ""
    goes_to: str | None = None
    due_at: int | None = None
    deadline: int | None = None
    call_at: int | None = None
    calls: int = 0
    contents: StepContents = field(default_factory=StepContents)
    wait_keys: Sequence[str] | None = None
    """What it waits for from now on; None: as before."""
    stored: bool = False
    """Whether there is a row of it."""

    @property
    def ran(self) -> Ran:
        return Ran(self.name, self.status, self.goes_to)

    def move(self, to: Status, now: int) -> bool:
        """Whether the status is another than before."""
        if to is self.status:
            return False
        if to not in MOVES.get(self.status, frozenset()):
            raise ValueError(f"a step does not go from {self.status} to {to}")
        self.status = to
        if to.final:
            self.ended_at = now
            self.due_at = self.deadline = self.call_at = None
            self.wait_keys = ()
        return True
