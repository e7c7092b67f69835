"""`aws:branch`: the first choice that holds says which step comes next."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from pilothouse.capabilities.automation.actions.interface import (
    Action,
    Done,
    Input,
    Kind,
    Outcome,
    Step,
    StepFailed,
    Values,
)
from pilothouse.capabilities.automation.conditions import ConditionInvalid, holds, problems

_OTHERS: Final = frozenset({"NextStep"})


class Branch(Action):
    """Goes to one of several steps. Where no choice holds and there is no Default, the execution ends here."""

    name = "aws:branch"
    inputs: Mapping[str, Input] = {"Choices": Input(Kind.RAW, required=True), "Default": Input(Kind.RAW)}
    mutating = False

    def check(self, inputs: Values) -> Iterator[tuple[str, str]]:
        choices = inputs.get("Choices")
        if not isinstance(choices, list) or not choices:
            yield "Choices", "it must be a list of choices that is not empty"
            return
        for number, choice in enumerate(choices):
            place = f"Choices[{number}]"
            for within, reason in problems(choice, _OTHERS):
                yield f"{place}.{within}" if within else place, reason
            if isinstance(choice, Mapping) and not isinstance(choice.get("NextStep"), str):
                yield f"{place}.NextStep", "it must be the name of a step"
        if "Default" in inputs and not isinstance(inputs["Default"], str):
            yield "Default", "it must be the name of a step"

    async def begin(self, step: Step) -> Outcome:
        for number, choice in enumerate(step.inputs["Choices"]):
            if self._holds(step, number, choice):
                return Done(goes_to=str(choice["NextStep"]))
        return Done(goes_to=str(step.inputs.get("Default") or ""))

    def _holds(self, step: Step, number: int, choice: Mapping[str, Any]) -> bool:
        condition = {name: value for name, value in choice.items() if name not in _OTHERS}
        try:
            return holds(step.fill(condition))
        except ConditionInvalid as error:
            raise StepFailed(
                f"The choice {number + 1} cannot be looked at: {error}.", stage="InputValidation"
            ) from error


def targets(inputs: Values) -> Iterator[tuple[str, str]]:
    """The steps that it may go to, with their places."""
    choices = inputs.get("Choices")
    for number, choice in enumerate(choices if isinstance(choices, list) else ()):
        if isinstance(choice, Mapping) and isinstance(choice.get("NextStep"), str):
            yield f"Choices[{number}].NextStep", choice["NextStep"]
    if isinstance(inputs.get("Default"), str):
        yield "Default", inputs["Default"]
