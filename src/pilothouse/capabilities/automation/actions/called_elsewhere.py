"""What actions have in common that begin something at a configured endpoint, and look until it has ended."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Final

from pilothouse.capabilities.automation import elsewhere
from pilothouse.capabilities.automation.actions.interface import (
    Action,
    Errand,
    Outcome,
    Perform,
    Step,
    Values,
    WaitUntil,
)

_FIRST_PAUSE_MS: Final = 2_000
_LONGEST_PAUSE_MS: Final = 30_000


class CalledElsewhere(Action):
    """Each turn is a call or several, outside of any transaction; they carry tokens, so they may be repeated."""

    service: ClassVar[str] = ""
    first: ClassVar[str] = ""
    """The operation that begins it."""

    @abstractmethod
    async def turn(self, errand: Errand, state: Values) -> Outcome:
        """The next turn; the state is empty at first."""

    async def begin(self, step: Step) -> Outcome:
        elsewhere.operation_named(step.house.settings, self.service, self.first)  # else it says what to configure
        return Perform(state={}, repeatable=True)

    async def resume(self, step: Step, state: Values) -> Outcome:
        return Perform(state=state, repeatable=True)

    async def perform(self, errand: Errand) -> Outcome:
        return await self.turn(errand, errand.state)

    async def call(self, errand: Errand, name: str, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """The answer. Raises StepFailed."""
        return await elsewhere.call(errand, self.service, name, request)


def later(errand: Errand, **state: Any) -> WaitUntil:
    """Look again after a pause, which grows with each."""
    turns = int(errand.state.get("turns", 0))
    pause = min(_LONGEST_PAUSE_MS, _FIRST_PAUSE_MS << min(turns // 3, 8))
    at = errand.house.clock.millis() + pause
    return WaitUntil(at=at, state={**errand.state, **state, "turns": turns + 1})


def given(errand: Errand, *names: str) -> dict[str, Any]:
    """Inputs that are there."""
    return {name: errand.inputs[name] for name in names if errand.inputs.get(name) is not None}
