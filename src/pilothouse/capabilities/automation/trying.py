"""A dry run: which steps would be done in which order, with the inputs as far as they are known beforehand.

Nothing is asked and nothing is done. Each step is taken to succeed; where a branch depends on what only a real run
gives, every way is followed.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pilothouse.capabilities.automation.conditions import ConditionInvalid, holds
from pilothouse.capabilities.automation.drawing import ways
from pilothouse.capabilities.automation.model import Flow, Plan
from pilothouse.capabilities.automation.references import Known, ReferenceInvalid, fill
from pilothouse.capabilities.automation.runbooks import Runbook, typed_parameter


@dataclass(frozen=True, slots=True)
class Tried:
    """A step that would be done."""

    depth: int
    """How many undecided branches and loops lead to it."""
    name: str
    action: str
    inputs: Mapping[str, Any] = field(default_factory=dict)
    """References that are not known beforehand stand as they are written."""
    note: str = ""


def tried(
    runbook: Runbook, parameters: Mapping[str, list[str]], *, account_id: str, region: str, now: datetime
) -> Iterator[Tried]:
    """The steps in the order in which they would be done."""
    known = Known(
        account_id=account_id,
        region=region,
        execution_id="00000000-0000-0000-0000-000000000000",
        now=now,
        parameters={
            name: typed_parameter(runbook.parameters.get(name, {}), list(given)) for name, given in parameters.items()
        },
    )
    yield from _walk(runbook.flow, runbook.flow.steps[0].name, known, 0, set())


def _walk(flow: Flow, name: str | None, known: Known, depth: int, seen: set[str]) -> Iterator[Tried]:
    while name:
        plan = flow.named(name)
        if plan is None or name in seen:
            yield Tried(depth, name, "", note="as above")
            return
        seen.add(name)
        if plan.action == "aws:branch":
            chosen = _chosen(plan, known)
            if chosen is None:
                yield Tried(depth, name, plan.action, note="depends on what a real run gives: every way is shown")
                for way in ways(flow):
                    if way.start == name and way.to and not way.why.startswith("on "):
                        yield Tried(depth + 1, way.to, "", note=way.why)
                        yield from _walk(flow, way.to, known, depth + 1, seen)
                return
            yield Tried(depth, name, plan.action, note=f"goes to {chosen or 'the end'}")
            name = chosen
            continue
        inputs = {key: value for key, value in plan.inputs.items() if key != "Steps"}
        yield Tried(depth, name, plan.action, _filled(inputs, known))
        if plan.within is not None and plan.within.steps:
            yield from _walk(plan.within, plan.within.steps[0].name, known, depth + 1, set())
        name = flow.after(plan)


def _chosen(plan: Plan, known: Known) -> str | None:
    """Where a branch goes; None where that is not known beforehand."""
    for choice in plan.inputs.get("Choices") or ():
        condition = {key: value for key, value in choice.items() if key != "NextStep"}
        try:
            if holds(fill(condition, known.value)):
                return str(choice["NextStep"])
        except (ReferenceInvalid, ConditionInvalid):
            return None
    return str(plan.inputs.get("Default") or "")


def _filled(value: Any, known: Known) -> Any:
    if isinstance(value, Mapping):
        return {key: _filled(each, known) for key, each in value.items()}
    if isinstance(value, list):
        return [_filled(each, known) for each in value]
    try:
        return fill(value, known.value)
    except ReferenceInvalid:
        return value
