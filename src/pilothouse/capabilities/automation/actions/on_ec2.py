"""What the actions on machines have in common: EC2's operations, of this server's machines or of an endpoint.

Machines of this server's connections are asked about in the transaction of the step, so what is asked happens once.
Where an account has no connection in the region, and an endpoint is configured for ec2, that is called, outside of any
transaction. An action says in `go` what comes next; it is the same in both cases.
"""

from abc import abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pilothouse.call import House
from pilothouse.capabilities import machines
from pilothouse.capabilities.automation import elsewhere
from pilothouse.capabilities.automation.actions.interface import (
    Action,
    Errand,
    Outcome,
    Perform,
    Step,
    StepFailed,
    Values,
    WaitUntil,
)

SERVICE: Final = "ec2"
_FIRST_PAUSE_MS: Final = 2_000
_LONGEST_PAUSE_MS: Final = 30_000
Ask = Callable[[str, Mapping[str, Any]], Awaitable[Mapping[str, Any]]]
"""(operation of EC2, request) to the answer."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of an action."""

    ask: Ask
    inputs: Values
    state: Values
    now: int
    token: str

    def later(self, **state: Any) -> WaitUntil:
        """Go on after a pause, which grows with each."""
        turns = int(self.state.get("turns", 0))
        pause = min(_LONGEST_PAUSE_MS, _FIRST_PAUSE_MS << min(turns // 3, 8))
        return WaitUntil(at=self.now + pause, state={**self.state, **state, "turns": turns + 1})

    def members(self, **names: str) -> dict[str, Any]:
        """Inputs that are there, as members of a request: `Description="ImageDescription"`."""
        return {member: self.inputs[name] for member, name in names.items() if self.inputs.get(name) is not None}


def is_elsewhere(house: House, account_id: str, region: str) -> bool:
    """Whether EC2 is that of an endpoint. Raises StepFailed where there is neither."""
    if machines.has_place(house, account_id, region):
        return False
    if SERVICE in elsewhere.endpoints(house.settings):
        return True
    raise StepFailed(
        f"There are no machines: account {account_id} has no connection in {region} ([machines] connections names "
        "them), and no endpoint is configured for ec2: add [ec2] to the file that [automation] endpoints names."
    )


class OnEc2(Action):
    """An action that asks EC2, and then looks until what was asked has come about."""

    asks_once = False
    """Whether the first turn does something that must not be done twice and carries no token."""

    @abstractmethod
    async def go(self, turn: Turn) -> Outcome:
        """The next turn; the state is empty at first."""

    async def begin(self, step: Step) -> Outcome:
        return await self._turn(step, {})

    async def resume(self, step: Step, state: Values) -> Outcome:
        return await self._turn(step, state)

    async def _turn(self, step: Step, state: Values) -> Outcome:
        if is_elsewhere(step.house, step.account_id, step.region):
            return Perform(state=state, repeatable=bool(state) or not self.asks_once)

        async def ask(name: str, request: Mapping[str, Any]) -> Mapping[str, Any]:
            return await step.ask(SERVICE, name, dict(request))

        return await self.go(Turn(ask, step.inputs, state, step.now, step.token))

    async def perform(self, errand: Errand) -> Outcome:
        async def ask(name: str, request: Mapping[str, Any]) -> Mapping[str, Any]:
            return await elsewhere.call(errand, SERVICE, name, request)

        return await self.go(Turn(ask, errand.inputs, errand.state, errand.house.clock.millis(), errand.token))
