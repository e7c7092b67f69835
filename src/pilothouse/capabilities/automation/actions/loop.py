"""`aws:loop`: the engine does it (`looping`); here is what it is told."""

from collections.abc import Iterator, Mapping
from typing import Any

from pilothouse.capabilities.automation.actions.interface import Action, Input, Kind, Values
from pilothouse.capabilities.automation.conditions import problems


class Loop(Action):
    """Steps within a step, again and again."""

    name = "aws:loop"
    inputs: Mapping[str, Input] = {
        "Iterators": Input(Kind.LIST),
        "IteratorDataType": Input(choices=("String", "Integer", "Boolean", "StringMap")),
        "LoopCondition": Input(Kind.RAW),
        "MaxIterations": Input(Kind.NUMBER),
        "Steps": Input(Kind.RAW, required=True),
    }
    timeout_seconds = None
    mutating = None

    def check(self, inputs: Values) -> Iterator[tuple[str, str]]:
        if ("Iterators" in inputs) == ("LoopCondition" in inputs):
            yield "", "it needs either Iterators or LoopCondition"
        if "LoopCondition" in inputs:
            for place, reason in problems(inputs["LoopCondition"]):
                yield f"LoopCondition.{place}" if place else "LoopCondition", reason
            yield from _count(inputs.get("MaxIterations"))
        elif isinstance(inputs.get("Iterators"), list) and len(inputs["Iterators"]) > 100:
            yield "Iterators", "there may be 100 at most"


def _count(most: Any) -> Iterator[tuple[str, str]]:
    if isinstance(most, int) and not 1 <= most <= 100:
        yield "MaxIterations", "it must be from 1 to 100"
