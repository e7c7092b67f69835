"""A slow reading of documents as the official agent's structures take them, made apart from the server's own rules.

Types are as strict as a decoder of a language with static types is: a number is no text, a missing object that is
pointed to stops the program, member names fit whatever their case. It says no with `Refused`.
"""

import json
from typing import Any

import re2

SCHEMAS = {"1.0", "1.2", "2.0", "2.0.1", "2.0.2", "2.0.3", "2.2"}
KNOWN = {
    "aws:applications", "aws:cloudWatch", "aws:configureDaemon", "aws:configureDocker", "aws:configurePackage",
    "aws:domainJoin", "aws:downloadContent", "aws:psModule", "aws:refreshAssociation", "aws:runDockerAction",
    "aws:runDocument", "aws:runPowerShellScript", "aws:runShellScript", "aws:softwareInventory", "aws:updateAgent",
    "aws:updateSsmAgent",
}  # fmt: skip


class Refused(Exception):
    """The agent would not take this."""


def _object(value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Refused(f"{value!r} is no object")
    return value


def _string(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise Refused(f"{value!r} is no text")
    return value


def _integer(value: Any) -> int:
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) >= 2**63:
        raise Refused(f"{value!r} is no whole number")
    return value


def _number(value: Any) -> None:
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return
    if not isinstance(value, str) or not re2.fullmatch(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?", value):
        raise Refused(f"{value!r} is no number")


def _strings(value: Any) -> list[str]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise Refused(f"{value!r} is no list")
    return [_string(each) for each in value]


def _anything(value: Any) -> Any:
    return value


def _struct(value: Any, **members: Any) -> dict[str, Any]:
    """The members by their own names; of several that differ by case alone the last counts."""
    found: dict[str, Any] = {}
    for name, given in _object(value).items():
        for known, read in members.items():
            if known.casefold() == name.casefold():
                found[known] = read(given)
    return found


def _parameter(value: Any) -> dict[str, Any]:
    if value is None:
        raise Refused("a parameter points to nothing")
    return _struct(
        value, default=_anything, description=_string, type=_string, allowedValues=_strings, allowedPattern=_string,
        minChars=_number, maxChars=_number, minItems=_number, maxItems=_number,
    )  # fmt: skip


def _step(value: Any) -> dict[str, Any]:
    if value is None:
        raise Refused("a step points to nothing")
    return _struct(
        value, action=_string, inputs=_anything, maxAttempts=_integer, name=_string, onFailure=_string,
        settings=_anything, timeoutSeconds=_integer,
        precondition=lambda given: {key: _strings(each) for key, each in _object(given).items()},
    )  # fmt: skip


def _plugin(value: Any) -> dict[str, Any]:
    if value is None:
        raise Refused("a plugin points to nothing")
    return _struct(value, settings=_anything, properties=_anything, description=_string)


def parse(content: Any, given: dict[str, Any]) -> list[tuple[str, str, Any]]:
    """The runs of a document: (name, plugin, inputs with the values in place). Raises Refused."""
    content = json.loads(json.dumps(content))
    document = _struct(
        content, schemaVersion=_string, description=_string,
        runtimeConfig=lambda found: {key: _plugin(each) for key, each in _object(found).items()},
        mainSteps=lambda found: [_step(each) for each in (found or [])] if isinstance(found, list | None) else _no(),
        parameters=lambda found: {key: _parameter(each) for key, each in _object(found).items()},
    )  # fmt: skip
    schema = document.get("schemaVersion", "")
    if schema not in SCHEMAS:
        raise Refused(f"schema {schema}")
    definitions = document.get("parameters", {})
    values = {name: value for name, value in given.items() if re2.fullmatch("[a-zA-Z0-9]+", name)}
    for name, definition in definitions.items():
        values.setdefault(name, definition.get("default"))
    for name, definition in definitions.items():
        _check_pattern(definition, values[name])
    if schema in ("1.0", "1.2"):
        runs = _of_plugins(document.get("runtimeConfig", {}), values)
    else:
        runs = _of_steps(document.get("mainSteps", []), schema, values)
    if not runs:
        raise Refused("nothing to run")
    for _, action, inputs in runs:
        _check_inputs(action, inputs)
    return runs


def _no() -> Any:
    raise Refused("no list")


def _of_plugins(config: dict[str, Any], values: dict[str, Any]) -> list[tuple[str, str, Any]]:
    runs = []
    for action, plugin in config.items():
        filled = _fill(plugin.get("properties"), values)
        parts = filled if isinstance(filled, list) else [filled]
        if not parts:
            raise Refused("no properties")
        runs += [(action, action, part) for part in parts]
    return runs


def _of_steps(steps: list[Any], schema: str, values: dict[str, Any]) -> list[tuple[str, str, Any]]:
    runs = []
    names = set()
    for step in steps:
        name = step.get("name", "")
        if name in names or not re2.fullmatch("[a-zA-Z0-9_-]{1,128}", name):
            raise Refused(f"the name {name!r}")
        names.add(name)
        _check_precondition(step.get("precondition", {}), schema, values)
        runs.append((name, step.get("action", ""), _fill(step.get("inputs"), values)))
    return runs


def _check_pattern(definition: dict[str, Any], value: Any) -> None:
    pattern = definition.get("allowedPattern")
    if not pattern or "{{ssm:" in json.dumps(value):  # what the store holds is only known on the node
        return
    options = re2.Options()
    options.log_errors = False
    try:
        compiled = re2.compile(pattern, options)
    except re2.error as error:
        raise Refused("the pattern") from error
    texts = [value] if isinstance(value, str | dict) else value
    if not isinstance(texts, list):
        raise Refused(f"a value {value!r} that no pattern is compared with")
    for each in texts:
        written = each if isinstance(each, str) else json.dumps(each, sort_keys=True, separators=(",", ":"))
        if compiled.search(written) is None:
            raise Refused("the pattern does not fit")


def _check_precondition(precondition: dict[str, list[str]], schema: str, values: dict[str, Any]) -> None:
    if precondition and schema != "2.2":
        raise Refused("no preconditions in this schema")
    for operator, operands in precondition.items():
        if operator != "StringEquals" or len(operands) != 2 or operands[0] == operands[1]:
            raise Refused("the precondition")
        filled = [_fill(each, values) for each in operands]
        if not all(isinstance(each, str) for each in filled):
            raise Refused("the agent's program stops here")
        if any("{{ssm" in each.replace(" ", "") for each in operands):
            raise Refused("a stored parameter")
        if "platformType" in operands:
            other = operands[1] if operands[0] == "platformType" else operands[0]
            if str(_fill(other, values)).lower() != other.lower():
                raise Refused("a platform from a parameter")
        elif filled == operands:
            raise Refused("a precondition of no parameter")


def _fill(value: Any, values: dict[str, Any]) -> Any:
    if isinstance(value, list):
        return [_fill(each, values) for each in value]
    if isinstance(value, dict):
        return {key: _fill(each, values) for key, each in value.items()}
    if not isinstance(value, str):
        return value
    for name, found in values.items():
        if re2.fullmatch(r"\{\{\s*" + name + r"\s*\}\}", value):
            return found
    for name, found in values.items():
        written = found if isinstance(found, str) else json.dumps(found)
        pieces = re2.split(r"\{\{\s*" + name + r"\s*\}\}", value)
        value = written.replace("$$", "$").join(pieces)
    return value


def _check_inputs(action: str, inputs: Any) -> None:
    if action not in KNOWN:
        raise Refused(f"no plugin {action}")
    if action in ("aws:runShellScript", "aws:runPowerShellScript"):
        found = _struct(
            inputs, runCommand=_strings, workingDirectory=_string, id=_string, timeoutSeconds=_anything,
            environment=lambda given: {key: _string(each) for key, each in _object(given).items()},
        )  # fmt: skip
        if "runCommand" not in found:
            raise Refused("no script")
    elif action == "aws:configurePackage":
        _struct(inputs, name=_string, version=_string, action=_string, installationType=_string, repository=_string)
    elif action == "aws:downloadContent":
        _struct(inputs, sourceType=_string, destinationPath=_string)
    elif action == "aws:runDocument":
        _struct(inputs, documentType=_string, documentPath=_string)
    elif action == "aws:refreshAssociation":
        _struct(inputs, associationIds=_strings)
