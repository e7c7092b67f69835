"""What is wrong with a runbook: each problem with its place, the step, and why.

`documents` has seen to the form of the whole (members, parameters, unique names). Here is what needs to know actions,
references and the ways that steps may go. Nothing is looked up: the same is said by CreateDocument and by
`pilothouse runbook check`, which knows no server.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any, Final

from pilothouse.capabilities.automation.actions import ACTIONS
from pilothouse.capabilities.automation.actions.branch import targets as branch_targets
from pilothouse.capabilities.automation.actions.interface import Action, Kind, literal
from pilothouse.capabilities.automation.actions.update_variable import FRONT
from pilothouse.capabilities.automation.filling import NotOfKind, of_kind
from pilothouse.capabilities.automation.references import AUTOMATIONS, GLOBALS, LOOPS, references
from pilothouse.capabilities.automation.runbooks import LOOP
from pilothouse.capabilities.automation.selecting import TYPES, SelectorInvalid, check, typed

_PROPERTIES: Final = frozenset({
    "name", "action", "inputs", "maxAttempts", "timeoutSeconds", "onFailure", "onCancel", "nextStep", "isEnd",
    "isCritical", "outputs", "description",
})  # fmt: skip
_NOT_FOR_CLEANUP: Final = frozenset({
    "aws:approve", "aws:copyImage", "aws:createImage", "aws:createStack", "aws:createTags", "aws:pause",
    "aws:runInstances", "aws:sleep",
})  # fmt: skip
_WITH_OUTPUTS: Final = frozenset({
    "aws:executeAwsApi", "aws:executeScript", "aws:invokeLambdaFunction", "aws:executeStateMachine",
    "aws:invokeWebhook",
})  # fmt: skip
_NOT_IN_LOOPS: Final = frozenset({"aws:approve", "aws:pause"})
_MOST_ATTEMPTS: Final = 100
_LONGEST: Final = 30 * 24 * 3600
_NESTED: Final = re.compile(r"\{\{[^}]*\{\{")
_ROLE: Final = re.compile(r"arn:[a-z0-9-]+:iam::[0-9]{12}:role/.+")


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is wrong with a runbook."""

    place: str
    """Such as `mainSteps[2].inputs.Duration`."""
    reason: str
    step: str = ""

    def __str__(self) -> str:
        return f"{f'step {self.step}: ' if self.step else ''}{self.place}: {self.reason}."


@dataclass(frozen=True, slots=True, kw_only=True)
class _Around:
    """What is known where a step stands."""

    parameters: frozenset[str]
    variables: frozenset[str]
    steps: Mapping[str, Mapping[str, Any]]
    """Every step of the runbook, also those of loops, by name."""
    beside: frozenset[str]
    """Names of the steps that it may go to."""
    depth: int = 0
    """How many loops are around it."""


def problems(content: Mapping[str, Any]) -> Iterator[Problem]:
    """Everything that is wrong with the content, whose form `documents` has seen to."""
    steps = content.get("mainSteps") or []
    every = dict(_every(steps))
    around = _Around(
        parameters=frozenset(content.get("parameters") or {}),
        variables=frozenset(content.get("variables") or {}),
        steps=every,
        beside=frozenset(str(each.get("name")) for each in steps),
    )
    yield from _role(content.get("assumeRole"), around)
    yield from _variables(content.get("variables") or {})
    yield from _attachments(content.get("files"), every)
    names: set[str] = set()
    yield from _steps("mainSteps", steps, around, names)
    for number, said in enumerate(content.get("outputs") or ()):
        text = str(said).strip().removeprefix("{{").removesuffix("}}").strip()
        for reason in _reference(text, around, own=""):
            yield Problem(f"outputs[{number}]", reason)


def _every(steps: Iterable[Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for step in steps:
        if isinstance(step, Mapping):
            yield str(step.get("name")), step
            within = (step.get("inputs") or {}).get("Steps") if step.get("action") == LOOP else None
            if isinstance(within, list):
                yield from _every(within)


def _attachments(files: Any, steps: Mapping[str, Mapping[str, Any]]) -> Iterator[Problem]:
    """Where a runbook says which files it brings along, steps use no others."""
    if not isinstance(files, Mapping):
        return
    for name, step in steps.items():
        inputs = step.get("inputs")
        file = inputs.get("Attachment") if isinstance(inputs, Mapping) else None
        if isinstance(file, str) and literal(file) and file not in files:
            yield Problem("files", f"it has no {file}, which the step uses", name)


def _role(role: Any, around: _Around) -> Iterator[Problem]:
    if not role:
        return
    found = [name for _, name in references(role)]
    if not found and not _ROLE.fullmatch(str(role)):
        yield Problem("assumeRole", "it must be the ARN of a role, or a reference to a parameter")
    for name in found:
        if name not in around.parameters:
            yield Problem("assumeRole", f"the document has no parameter named {name}")


def _variables(variables: Mapping[str, Any]) -> Iterator[Problem]:
    for name, definition in variables.items():
        kind = definition.get("type")
        if kind not in TYPES:
            yield Problem(f"variables.{name}.type", f"it must be one of {', '.join(TYPES)}")
        elif definition.get("default") is not None:
            try:
                typed(kind, definition["default"])
            except SelectorInvalid as error:
                yield Problem(f"variables.{name}.default", str(error))


def _steps(place: str, steps: Any, around: _Around, names: set[str]) -> Iterator[Problem]:
    if not isinstance(steps, list) or not steps:
        yield Problem(place, "it must be a list of steps that is not empty")
        return
    for number, step in enumerate(steps):
        where = f"{place}[{number}]"
        if not isinstance(step, Mapping):
            yield Problem(where, "it must be an object")
            continue
        name = str(step.get("name") or "")
        for each in _step(where, step, around, names):
            yield each if each.step else replace(each, step=name)


def _step(where: str, step: Mapping[str, Any], around: _Around, names: set[str]) -> Iterator[Problem]:
    name = str(step.get("name") or "")
    if not re.fullmatch(r"[a-zA-Z0-9_-]{1,128}", name):
        yield Problem(f"{where}.name", "it must have 1 to 128 letters, digits, _ and -")
    if name in names:
        yield Problem(f"{where}.name", f"another step is named {name}")
    names.add(name)
    for each in step:
        if each not in _PROPERTIES:
            yield Problem(f"{where}.{each}", f"steps have no such property; they have {', '.join(sorted(_PROPERTIES))}")
    yield from _ways(where, step, around)
    yield from _numbers(where, step)
    for said in ("name", "action", "maxAttempts", "timeoutSeconds", "onFailure", "onCancel", "nextStep", "isEnd"):
        if "{{" in str(step.get(said, "")):
            yield Problem(f"{where}.{said}", "references stand in inputs only")
    action = ACTIONS.get(str(step.get("action")))
    if action is None:
        near = get_close_matches(str(step.get("action")), ACTIONS, 1)
        hint = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(sorted(ACTIONS))}"
        yield Problem(f"{where}.action", f"there is no action {step.get('action')}{hint}".rstrip("?"))
        return
    if around.depth and action.name in _NOT_IN_LOOPS:
        yield Problem(f"{where}.action", f"{action.name} cannot stand in a loop")
    yield from _inputs(where, step, action, around)
    yield from _outputs(where, step)
    if action.name == LOOP:
        yield from _loop(where, step, around, names)


def _ways(where: str, step: Mapping[str, Any], around: _Around) -> Iterator[Problem]:
    """Where it may go."""
    for said, allowed in (("onFailure", ("Abort", "Continue")), ("onCancel", ("Abort",))):
        value = step.get(said)
        if value is None or value in allowed:
            continue
        target = str(value).removeprefix("step:") if str(value).startswith("step:") else None
        if target is None:
            yield Problem(f"{where}.{said}", f"it must be {', '.join(allowed)} or step:NAME")
        elif target not in around.beside:
            yield Problem(f"{where}.{said}", f"there is no step named {target}")
        elif said == "onCancel" and around.steps[target].get("action") in _NOT_FOR_CLEANUP:
            yield Problem(f"{where}.{said}", f"it cannot go to {around.steps[target]['action']}")
    following = step.get("nextStep")
    if following is not None and following not in around.beside:
        yield Problem(f"{where}.nextStep", f"there is no step named {following}")
    if step.get("action") == LOOP and step.get("onCancel") not in (None, "Abort"):
        yield Problem(f"{where}.onCancel", "a loop has none; the steps within may have one")
    for said in ("isEnd", "isCritical"):
        if said in step and str(step[said]).lower() not in ("true", "false"):
            yield Problem(f"{where}.{said}", "it must be true or false")


def _numbers(where: str, step: Mapping[str, Any]) -> Iterator[Problem]:
    for said, most in (("maxAttempts", _MOST_ATTEMPTS), ("timeoutSeconds", _LONGEST)):
        value = step.get(said)
        if value is None or "{{" in str(value):
            continue
        if isinstance(value, bool) or not re.fullmatch(r"[0-9]{1,9}", str(value)) or not 1 <= int(value) <= most:
            yield Problem(f"{where}.{said}", f"it must be a whole number from 1 to {most}")


def _inputs(where: str, step: Mapping[str, Any], action: Action, around: _Around) -> Iterator[Problem]:
    inputs = step.get("inputs") or {}
    place = f"{where}.inputs"
    if not isinstance(inputs, Mapping):
        yield Problem(place, "it must be an object")
        return
    for name in inputs:
        if name not in action.inputs and not action.more_inputs:
            known = ", ".join(sorted(action.inputs)) or "none"
            yield Problem(f"{place}.{name}", f"{action.name} has no such input; there are {known}")
    for name, wanted in action.inputs.items():
        if wanted.required and inputs.get(name) in (None, ""):
            yield Problem(place, f"{action.name} needs the input {name}")
        elif inputs.get(name) is not None and literal(inputs[name]) and wanted.kind is not Kind.RAW:
            try:
                of_kind(wanted, inputs[name])
            except NotOfKind as error:
                yield Problem(f"{place}.{name}", str(error))
    for within, reason in action.check(inputs):
        yield Problem(f"{place}.{within}" if within else place, reason)
    for within, target in branch_targets(inputs) if action.name == "aws:branch" else ():
        if target not in around.beside:
            yield Problem(f"{place}.{within}", f"there is no step named {target}")
    if action.name == "aws:updateVariable" and isinstance(inputs.get("Name"), str):
        variable = inputs["Name"].removeprefix(FRONT)
        if inputs["Name"].startswith(FRONT) and variable not in around.variables:
            yield Problem(f"{place}.Name", f"the document has no variable named {variable}")
    looked_at = {name: value for name, value in inputs.items() if not (action.name == LOOP and name == "Steps")}
    yield from _references(place, looked_at, around, str(step.get("name")))


def _references(place: str, inputs: Mapping[str, Any], around: _Around, own: str) -> Iterator[Problem]:
    for within, text in _texts(inputs):
        if _NESTED.search(text):
            yield Problem(f"{place}.{within}", "a reference cannot stand within another")
            return
    for within, name in references(inputs):
        if within.endswith("{}"):
            yield Problem(f"{place}.{within[:-2].lstrip('.')}", "references stand in values only, not in names")
            continue
        for reason in _reference(name, around, own):
            yield Problem(f"{place}.{within}", reason)


def _texts(value: Any, place: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, Mapping):
        for name, each in value.items():
            yield from _texts(each, f"{place}.{name}" if place else str(name))
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from _texts(each, f"{place}[{number}]")


def _reference(name: str, around: _Around, own: str) -> Iterator[str]:
    """What is wrong with a reference."""
    space, colon, rest = (part.strip() for part in name.partition(":"))
    if colon:
        if space in ("ssm", "ssm-secure"):
            yield "stored parameters can be named in defaults of parameters only, not in inputs of steps"
        elif space == "variable":
            if re.split(r"[.\[]", rest)[0] not in around.variables and rest not in around.variables:
                yield f"the document has no variable named {rest}"
        elif rest not in {"global": GLOBALS, "automation": AUTOMATIONS}.get(space, frozenset()):
            yield f"there is nothing named {name}"
        return
    if name in around.parameters:
        return
    head = re.split(r"[.\[]", name)[0]
    if head == "loop":
        if not around.depth:
            yield "loop values are known within loops only"
        elif re.split(r"[.\[]", name.partition(".")[2])[0] not in LOOPS:
            yield f"a loop has {', '.join(sorted(LOOPS))}"
    elif head in around.steps:
        yield from _of_step(name, head, around, own)
    elif head not in around.parameters and not any(name.startswith(f"{each}.") for each in around.parameters):
        if "." in name:
            yield f"there is no step named {head}"
        else:
            yield f"the document has no parameter named {name}"


def _of_step(name: str, head: str, around: _Around, own: str) -> Iterator[str]:
    step = around.steps[head]
    output = name.removeprefix(head).lstrip(".")
    if head == own and step.get("action") != LOOP:
        yield "a step cannot refer to its own outputs"
    if not output:
        yield f"which output of the step {head} is meant?"
    if step.get("action") == "aws:executeAwsApi":
        declared = {str(each.get("Name")) for each in step.get("outputs") or () if isinstance(each, Mapping)}
        first = re.split(r"[.\[]", output)[0]
        if first != "OutputPayload" and not any(output == each or first == each for each in declared):
            yield f"the step {head} declares no output named {first}"


def _outputs(where: str, step: Mapping[str, Any]) -> Iterator[Problem]:
    given = step.get("outputs")
    if given is None:
        return
    if not isinstance(given, list):
        yield Problem(f"{where}.outputs", "it must be a list")
        return
    if given and step.get("action") not in _WITH_OUTPUTS:
        yield Problem(f"{where}.outputs", f"{step.get('action')} declares none: what it gives is fixed")
    for number, each in enumerate(given):
        place = f"{where}.outputs[{number}]"
        if not isinstance(each, Mapping) or not each.get("Name") or not each.get("Selector"):
            yield Problem(place, "it must have Name and Selector")
            continue
        if str(each.get("Type") or "String") not in TYPES:
            yield Problem(f"{place}.Type", f"it must be one of {', '.join(TYPES)}")
        try:
            check(str(each["Selector"]))
        except SelectorInvalid as error:
            yield Problem(f"{place}.Selector", str(error))


def _loop(where: str, step: Mapping[str, Any], around: _Around, names: set[str]) -> Iterator[Problem]:
    steps = (step.get("inputs") or {}).get("Steps")
    if around.depth > 1:
        yield Problem(f"{where}.action", "loops can be nested once")
        return
    within = frozenset(str(each.get("name")) for each in steps if isinstance(each, Mapping)) if steps else frozenset()
    inner = replace(around, beside=within, depth=around.depth + 1)
    yield from _steps(f"{where}.inputs.Steps", steps, inner, names)
