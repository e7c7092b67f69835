"""A step as its action sees it (`actions.interface.Step` and `Errand`)."""

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from pilothouse.call import House, Shape
from pilothouse.capabilities.automation.actions.interface import StepFailed, Values
from pilothouse.capabilities.automation.model import Plan
from pilothouse.capabilities.automation.references import ReferenceInvalid, fill
from pilothouse.capabilities.automation.runs import Execution, StepRun
from pilothouse.identity.principals import Principal
from pilothouse.storage import Transaction


def uuid_of(*parts: str) -> str:
    """A UUID that is always the same for the same parts."""
    digits = hashlib.sha256("\0".join(parts).encode()).hexdigest()
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-5{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:32]}"


def definition_of(plan: Plan) -> Values:
    """What actions may want to know of the document's step."""
    return {
        "name": plan.name,
        "action": plan.action,
        "outputs": [{"name": each.name, "selector": each.selector, "type": each.kind} for each in plan.outputs],
    }


@dataclass(slots=True, kw_only=True)
class PerformedStep:
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

    @property
    def token(self) -> str:
        return uuid_of(self.step_execution_id, str(self.attempt))


@dataclass(slots=True, kw_only=True)
class DoneStep:
    """The step that is being done, in a transaction."""

    house: House
    tx: Transaction
    execution_id: str
    step_execution_id: str
    name: str
    attempt: int
    account_id: str
    region: str
    now: int
    deadline: int | None
    inputs: Values
    definition: Values
    look: Callable[[str], Any]
    who: Callable[[], Awaitable[Principal]]

    @property
    def token(self) -> str:
        return uuid_of(self.step_execution_id, str(self.attempt))

    async def actor(self) -> Principal:
        return await self.who()

    async def ask(self, service: str, name: str, request: Shape) -> Shape:
        return await self.house.inside.asked(self.tx, await self.who(), self.region, (service, name), request)

    def answers(self, service: str, name: str) -> bool:
        return self.house.inside.answers(service, name)

    def fill(self, value: Any) -> Any:
        try:
            return fill(value, self.look)
        except ReferenceInvalid as error:
            raise StepFailed(f"{error}.", stage="InputValidation") from error


def common(execution: Execution, run: StepRun, plan: Plan) -> dict[str, Any]:
    """What both have in common."""
    return {
        "execution_id": execution.execution_id, "step_execution_id": run.step_id, "name": run.name,
        "attempt": run.attempt, "account_id": execution.account_id, "region": execution.region,
        "deadline": run.deadline, "inputs": run.contents.inputs, "definition": definition_of(plan),
    }  # fmt: skip
