"""Runbooks: a document's content, read. Whether it is right was seen when it was made (`checking`)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

import msgspec

from pilothouse.capabilities.automation.model import Flow, Plan, Selected
from pilothouse.capabilities.automation.selecting import parsed

LOOP: Final = "aws:loop"
LISTS: Final = frozenset({"StringList"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Runbook:
    """What the engine needs of a document."""

    flow: Flow
    parameters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    variables: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    outputs: tuple[str, ...] = ()
    assume_role: str = ""


@lru_cache(maxsize=256)
def read(text: str) -> Runbook:
    """The runbook of a text of JSON; each text once."""
    return runbook_of(msgspec.json.decode(text))


def runbook_of(content: Mapping[str, Any]) -> Runbook:
    """Of a document's content."""
    return Runbook(
        flow=_flow(content.get("mainSteps") or ()),
        parameters=content.get("parameters") or {},
        variables=content.get("variables") or {},
        outputs=tuple(_output(each) for each in content.get("outputs") or ()),
        assume_role=str(content.get("assumeRole") or ""),
    )


def _output(said: Any) -> str:
    """`step.Output` or `variable:name`, with or without braces."""
    text = str(said).strip()
    return text[2:-2].strip() if text.startswith("{{") and text.endswith("}}") else text


def _flow(steps: Any) -> Flow:
    return Flow.of(_plan(each) for each in steps)


def _plan(step: Mapping[str, Any]) -> Plan:
    inputs = step.get("inputs") or {}
    return Plan(
        name=str(step["name"]),
        action=str(step["action"]),
        inputs=inputs,
        max_attempts=_whole(step.get("maxAttempts")) or 1,
        timeout_seconds=_whole(step.get("timeoutSeconds")),
        on_failure=str(step.get("onFailure") or "Abort"),
        on_cancel=str(step.get("onCancel") or "Abort"),
        next_step=None if step.get("nextStep") is None else str(step["nextStep"]),
        is_end=truth(step.get("isEnd"), default=False),
        is_critical=truth(step.get("isCritical"), default=True),
        outputs=tuple(
            Selected(name=str(each["Name"]), selector=str(each["Selector"]), kind=str(each.get("Type") or "String"))
            for each in step.get("outputs") or ()
        ),
        within=_flow(inputs.get("Steps") or ()) if step["action"] == LOOP else None,
    )


def _whole(value: Any) -> int | None:
    return None if value is None else int(value)


def truth(value: Any, *, default: bool) -> bool:
    """A truth value, also one written as a text."""
    return default if value is None else str(value).lower() == "true"


def is_list(kind: str) -> bool:
    """Whether values of a parameter's type are lists of texts."""
    return kind in LISTS or kind.startswith("List<")


def typed_parameter(definition: Mapping[str, Any], given: list[str]) -> Any:
    """A parameter's value as references take it on, from the list of texts that the API has."""
    kind = str(definition.get("type") or "String")
    if is_list(kind):
        return list(given)
    first = given[0] if given else ""
    if kind == "Integer":
        return int(first) if first else first
    if kind == "Boolean":
        return first.lower() == "true"
    if kind == "MapList":
        parts = [parsed(each) for each in given]
        return parts[0] if len(parts) == 1 and isinstance(parts[0], list) else parts
    return parsed(first) if kind == "StringMap" else first
