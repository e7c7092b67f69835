"""Whether a step is to run here (agent-protocol 6.3)."""

from collections.abc import Mapping
from enum import Enum

from pilothouse_agent.documents import substitution

PLATFORM = "linux"


class Verdict(Enum):
    """What a precondition says about its step."""

    RUN = "run"
    SKIP = "skip"
    FAIL = "fail"


def judge(precondition: object, schema: str, parameters: Mapping[str, object], step: str) -> tuple[Verdict, str]:
    """The verdict, with a text for the user unless the step runs."""
    if not precondition:
        return Verdict.RUN, ""
    if schema != "2.2":
        return Verdict.FAIL, f"Preconditions need schema version 2.2. Step name: {step}"
    if not isinstance(precondition, dict) or list(precondition) != ["StringEquals"]:
        return Verdict.FAIL, f"The precondition has an operator other than StringEquals. Step name: {step}"
    arguments = precondition["StringEquals"]
    if not isinstance(arguments, list) or len(arguments) != 2 or not all(isinstance(text, str) for text in arguments):
        return Verdict.FAIL, f"The precondition StringEquals needs exactly two texts. Step name: {step}"
    first, second = arguments
    if first == second:
        return Verdict.FAIL, f"The precondition compares a text with itself. Step name: {step}"
    if any(substitution.references(arguments)):
        return Verdict.FAIL, f"A precondition cannot refer to the parameter store. Step name: {step}"
    if "platformType" in arguments:
        other = second if first == "platformType" else first
        met = str(substitution.fill(other, parameters)).lower() == PLATFORM
    elif any(substitution.names_parameter(text, parameters) for text in arguments):
        met = substitution.fill(first, parameters) == substitution.fill(second, parameters)
    else:
        return Verdict.FAIL, f"The precondition names neither platformType nor a parameter. Step name: {step}"
    if met:
        return Verdict.RUN, ""
    return (
        Verdict.SKIP,
        f"Step execution skipped due to unsatisfied precondition: StringEquals [{first}, {second}]. Step name: {step}",
    )
