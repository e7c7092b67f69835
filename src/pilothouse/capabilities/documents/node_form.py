"""The form in which agents get a document: every member of the type that their parsers want, scripts made safe.

A value of a parameter with `interpolationType: ENV_VAR` reaches a script as the environment variable SSM_NAME. Agents
that do not know this would put the value's text into the script; so the script's placeholders become references to the
variable here, and the step's own environment sets it. No value is ever in the text that a shell parses, whichever agent
it is; what the rewriting does to quotes is a matter of the script's meaning alone.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pilothouse.capabilities.documents.definitions import from_text
from pilothouse.capabilities.documents.inputs import PLUGINS
from pilothouse.capabilities.documents.model import ON_NODES, Document
from pilothouse.capabilities.documents.places import LONE, scalar_text, whole_number
from pilothouse.capabilities.documents.shell_words import refer_in_powershell, refer_in_shell

_COUNTS: Final = ("minItems", "maxItems", "minChars", "maxChars")
_TEXTS_BY_DEFAULT: Final = frozenset({"String", "Integer", "Boolean"})
_REWRITE: Final = {"aws:runShellScript": refer_in_shell, "aws:runPowerShellScript": refer_in_powershell}

Parameters = Mapping[str, Mapping[str, Any]]


def for_node(document: Document) -> Any:
    """The document's content as nodes get it."""
    if document.kind != "Session" and document.kind not in ON_NODES:
        return document.content
    content = {name: value for name, value in document.members.items() if value is not None}
    content["schemaVersion"] = document.schema_version
    if "parameters" in content:
        content["parameters"] = {name: _definition(each) for name, each in content["parameters"].items()}
    parameters: Parameters = content.get("parameters") or {}
    if "mainSteps" in content:
        content["mainSteps"] = [_step(each, parameters) for each in content["mainSteps"]]
    if "runtimeConfig" in content:
        content["runtimeConfig"] = {
            action: _plugin(action, each, parameters) for action, each in content["runtimeConfig"].items()
        }
    if document.kind == "Session" and isinstance(content.get("properties"), Mapping):
        content["properties"] = {name: _shell(each) for name, each in content["properties"].items()}
    return content


def _shell(part: Any) -> Any:
    """What a session runs on one platform, as one text."""
    commands = part.get("commands") if isinstance(part, Mapping) else None
    return {**part, "commands": "\n".join(commands)} if isinstance(commands, list) else part


def _definition(definition: Mapping[str, Any]) -> dict[str, Any]:
    found = {name: value for name, value in definition.items() if value is not None}
    for name in _COUNTS:
        if name in found:
            found[name] = whole_number(found[name])
    if "allowedValues" in found:
        found["allowedValues"] = [scalar_text(each) for each in found["allowedValues"]]
    if "default" in found:
        found["default"] = _default(str(found.get("type")), found["default"])
    return found


def _default(kind: str, default: Any) -> Any:
    if kind in _TEXTS_BY_DEFAULT:
        return scalar_text(default)
    if kind == "StringList":
        return [scalar_text(each) for each in (default if isinstance(default, list) else [default])]
    return from_text(default)


def _step(step: Mapping[str, Any], parameters: Parameters) -> dict[str, Any]:
    found = {name: value for name, value in step.items() if value is not None}
    for name in ("timeoutSeconds", "maxAttempts"):
        if name in found:
            found[name] = whole_number(found[name])
    if "precondition" in found:
        found["precondition"] = {
            operator: [scalar_text(each) for each in operands] for operator, operands in found["precondition"].items()
        }
    found["inputs"] = _inputs(step["action"], step.get("inputs") or {}, parameters)
    return found


def _plugin(action: str, plugin: Mapping[str, Any], parameters: Parameters) -> dict[str, Any]:
    found = {name: value for name, value in plugin.items() if value is not None}
    properties = found.get("properties")
    if isinstance(properties, list):
        found["properties"] = [_inputs(action, each, parameters) for each in properties]
    elif isinstance(properties, Mapping):
        found["properties"] = _inputs(action, properties, parameters)
    return found


def _inputs(action: str, given: Mapping[str, Any], parameters: Parameters) -> dict[str, Any]:
    plugin = PLUGINS[action]
    found = dict(given)
    for name in plugin.texts:
        if found.get(name) is not None:
            found[name] = scalar_text(found[name])
    for name in plugin.lists:
        if found.get(name) is not None:
            found[name] = _list(found[name], parameters)
    environment = found.get("environment")
    if isinstance(environment, Mapping):
        found["environment"] = {name: scalar_text(value) for name, value in environment.items()}
    return _safe(action, found, parameters) if action in _REWRITE else found


def _list(value: Any, parameters: Parameters) -> Any:
    """Texts; a parameter that is a list takes the place of the whole."""
    only = value[0] if isinstance(value, list) and len(value) == 1 else value
    lone = LONE.fullmatch(only) if isinstance(only, str) else None
    if lone and parameters.get(lone[1], {}).get("type") == "StringList":
        return only
    return [scalar_text(each) for each in (value if isinstance(value, list) else [value])]


def _safe(action: str, found: dict[str, Any], parameters: Parameters) -> dict[str, Any]:
    """The inputs of a script with references to variables in place of the values that must not be in its text."""
    apart = [name for name, each in parameters.items() if each.get("interpolationType") == "ENV_VAR"]
    lines = found.get("runCommand")
    if not apart or not isinstance(lines, list):
        return found
    environment = found.get("environment") or {}
    if not isinstance(environment, Mapping):  # it is a parameter's whole value: nothing can be added to it
        return {**found, "runCommand": _plain(lines, apart)}
    ours = {f"SSM_{name}": f"{{{{ {name} }}}}" for name in apart}
    return {**found, "runCommand": _REWRITE[action](lines, apart), "environment": {**ours, **environment}}


def _plain(lines: Sequence[str], names: Sequence[str]) -> list[str]:
    """The lines with placeholders that agents leave alone: such a step fails to do its work rather than run a value."""
    pattern = re.compile(rf"\{{\{{\s*({'|'.join(names)})\s*\}}\}}")
    return [pattern.sub(r"${SSM_\1}", line) for line in lines]
