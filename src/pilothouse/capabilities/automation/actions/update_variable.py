"""`aws:updateVariable`: a variable of the runbook takes another value."""

from collections.abc import Iterator, Mapping

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

FRONT = "variable:"


class UpdateVariable(Action):
    """The engine turns the value into one of the variable's type."""

    name = "aws:updateVariable"
    inputs: Mapping[str, Input] = {
        "Name": Input(required=True), "Value": Input(Kind.ANY, required=True),
    }  # fmt: skip
    mutating = False

    def check(self, inputs: Values) -> Iterator[tuple[str, str]]:
        name = inputs.get("Name")
        if isinstance(name, str) and not name.startswith(FRONT):
            yield "Name", f"it must be {FRONT}NAME, with the name of a declared variable"

    async def begin(self, step: Step) -> Outcome:
        name = str(step.inputs["Name"])
        if not name.startswith(FRONT):
            raise StepFailed(f"{name} is not the name of a variable.", stage="InputValidation")
        return Done(assign={name.removeprefix(FRONT): step.inputs["Value"]})
