"""Automation documents (runbooks): schema 0.3. Nodes never see them; whoever runs one looks closer at its actions."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from pilothouse.capabilities.documents.definitions import AUTOMATION_NAME, check_bounds
from pilothouse.capabilities.documents.places import (
    PLACEHOLDER,
    STEP_NAME,
    at,
    known_names,
    mapping,
    optional_mapping,
    optional_text,
    strings,
    text,
)

_TOP: Final = frozenset({
    "schemaVersion", "description", "parameters", "mainSteps", "assumeRole", "outputs", "variables", "files",
    "emergencyChange", "autoApprovable", "templateInformation", "executableRunBooks",
})  # fmt: skip
_TYPE: Final = re.compile(
    r"String|StringList|Integer|Boolean|StringMap|MapList|(AWS::[A-Za-z0-9]+::[A-Za-z0-9:]+)|List<AWS::[A-Za-z0-9:]+>"
)


def check(content: Mapping[str, Any]) -> None:
    """Raises InvalidDocumentContent."""
    known_names("", content, _TOP, others=False)
    for name in ("description", "assumeRole"):
        optional_text(name, content.get(name))
    parameters = optional_mapping("parameters", content.get("parameters"))
    for name, definition in parameters.items():
        place = f"parameters.{name}"
        if not AUTOMATION_NAME.fullmatch(name):
            raise at(place, "a parameter's name has letters, digits, _, . and - only")
        if not _TYPE.fullmatch(str(mapping(place, definition).get("type"))):
            raise at(f"{place}.type", "there is no such type")
        optional_text(f"{place}.description", definition.get("description"))
        check_bounds(place, definition, pattern=False)
    variables = optional_mapping("variables", content.get("variables"))
    for name, definition in variables.items():
        mapping(f"variables.{name}", definition)
    steps = content.get("mainSteps")
    if not isinstance(steps, list) or not steps:
        raise at("mainSteps", "it must be a list of steps that is not empty")
    names: set[str] = set()
    for number, step in enumerate(steps):
        place = f"mainSteps[{number}]"
        text(f"{place}.action", mapping(place, step).get("action"), empty=False)
        name = text(f"{place}.name", step.get("name"))
        if not STEP_NAME.fullmatch(name):
            raise at(f"{place}.name", "it must have 1 to 128 letters, digits, _ and -")
        if name in names:
            raise at(f"{place}.name", f"another step is named {name}")
        names.add(name)
        optional_mapping(f"{place}.inputs", step.get("inputs"))
        for found in _references(step):
            if found not in parameters:
                raise at(place, f"the document has no parameter named {found}")


def _references(step: Mapping[str, Any]) -> Iterator[str]:
    """The parameters that a step names: not outputs of steps (`step.output`), not `global:DATE` and its like."""
    for written in strings(step):
        for name in PLACEHOLDER.findall(written):
            if AUTOMATION_NAME.fullmatch(name) and "." not in name:
                yield name
