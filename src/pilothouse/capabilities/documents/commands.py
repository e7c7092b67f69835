"""Command and Policy documents, as agents parse and run them: schemas 1.2 (runtimeConfig), 2.0 and 2.2 (mainSteps)."""

from collections.abc import Mapping
from typing import Any, Final

from pilothouse.capabilities.documents import definitions, inputs
from pilothouse.capabilities.documents.model import PLATFORMS
from pilothouse.capabilities.documents.places import (
    LONE,
    PLACEHOLDER,
    STEP_NAME,
    STORED,
    at,
    known_names,
    mapping,
    optional_mapping,
    optional_text,
    scalar_text,
    text,
    whole_number,
)

_TOP: Final = frozenset({"schemaVersion", "description", "parameters"})
_STEP: Final = frozenset({
    "action", "name", "inputs", "precondition", "settings", "timeoutSeconds", "maxAttempts", "onFailure",
})  # fmt: skip
_PLUGIN: Final = frozenset({"settings", "properties", "description"})
_LARGEST: Final = 2**31 - 1

Parameters = Mapping[str, Mapping[str, Any]]


def check(content: Mapping[str, Any]) -> None:
    """Raises InvalidDocumentContent for a document that an agent could not parse, or whose steps must fail."""
    schema = scalar_text(content.get("schemaVersion"))
    body = "runtimeConfig" if schema == "1.2" else "mainSteps"
    known_names("", content, _TOP | {body}, others=False)
    optional_text("description", content.get("description"))
    parameters = definitions.check(content.get("parameters"))
    if schema == "1.2":
        _check_plugins(content.get(body), parameters)
    else:
        _check_steps(content.get(body), str(schema), parameters)


def _check_plugins(config: Any, parameters: Parameters) -> None:
    if not mapping("runtimeConfig", config):
        raise at("runtimeConfig", "it must hold a plugin")
    for action, plugin in config.items():
        place = f"runtimeConfig.{action}"
        inputs.check_action(place, action)
        known_names(place, mapping(place, plugin), _PLUGIN, others=True)
        optional_text(f"{place}.description", plugin.get("description"))
        properties = plugin.get("properties")
        if isinstance(properties, list):
            if not properties:
                raise at(f"{place}.properties", "it must not be empty")
            for number, part in enumerate(properties):
                _check_part(f"{place}.properties[{number}]", action, part, parameters)
        elif action != "aws:cloudWatch":  # its settings may be a text
            _check_part(f"{place}.properties", action, properties, parameters)


def _check_part(place: str, action: str, part: Any, parameters: Parameters) -> None:
    optional_text(f"{place}.id", mapping(place, part).get("id"))
    inputs.check(place, action, part, parameters)


def _check_steps(steps: Any, schema: str, parameters: Parameters) -> None:
    if not isinstance(steps, list) or not steps:
        raise at("mainSteps", "it must be a list of steps that is not empty")
    names: set[str] = set()
    for number, step in enumerate(steps):
        place = f"mainSteps[{number}]"
        known_names(place, mapping(place, step), _STEP, others=True)
        inputs.check_action(f"{place}.action", text(f"{place}.action", step.get("action")))
        name = text(f"{place}.name", step.get("name"))
        if not STEP_NAME.fullmatch(name):
            raise at(f"{place}.name", "it must have 1 to 128 letters, digits, _ and -")
        if name in names:
            raise at(f"{place}.name", f"another step is named {name}")
        names.add(name)
        for member in ("timeoutSeconds", "maxAttempts"):
            value = step.get(member)
            number_of = whole_number(value)
            if value is not None and (number_of is None or abs(number_of) > _LARGEST):
                raise at(f"{place}.{member}", "it must be a whole number")
        optional_text(f"{place}.onFailure", step.get("onFailure"))
        _check_precondition(f"{place}.precondition", step.get("precondition"), schema, parameters)
        given = optional_mapping(f"{place}.inputs", step.get("inputs"))
        inputs.check(f"{place}.inputs", step["action"], given, parameters)
        inputs.check_flow(f"{place}.inputs", given, last=number == len(steps) - 1)


def _check_precondition(place: str, precondition: Any, schema: str, parameters: Parameters) -> None:
    given = optional_mapping(place, precondition)
    if not given:
        return
    if schema != "2.2":
        raise at(place, "preconditions need schemaVersion 2.2")
    if set(given) != {"StringEquals"}:
        raise at(place, "the only operator is StringEquals")
    place = f"{place}.StringEquals"
    listed = given["StringEquals"]
    if not isinstance(listed, list) or len(listed) != 2 or any(scalar_text(each) is None for each in listed):
        raise at(place, "it must be a list of two texts")
    one, other = (str(scalar_text(each)) for each in listed)
    if one == other:
        raise at(place, "it must not compare a text with itself")
    if STORED.search(one) or STORED.search(other):
        raise at(place, "it must not refer to stored parameters")
    if "platformType" in (one, other):
        platform = other if one == "platformType" else one
        if platform.lower() not in {each.lower() for each in PLATFORMS}:
            raise at(place, f"a platformType is one of {', '.join(PLATFORMS)}")
        return
    named = {name for operand in (one, other) for name in PLACEHOLDER.findall(operand)}
    if not named & set(parameters):
        raise at(place, "it must name platformType or a parameter of the document")
    for operand in (one, other):
        lone = LONE.fullmatch(operand)
        kind = parameters.get(lone[1], {}).get("type", "String") if lone else "String"
        if kind != "String":
            raise at(place, f"the parameter {lone[1] if lone else ''} must be of type String")
