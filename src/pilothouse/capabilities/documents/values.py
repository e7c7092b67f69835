"""Parameter values: whether they fit a document's definitions, what they refer to, and their form on the way to a node.

Values stay as written: nodes replace `{{ name }}` and fetch `{{ssm:name}}` themselves. A value with such a reference
cannot be judged before that, so only its name and its type are.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import re2

from pilothouse.capabilities.documents.definitions import LISTS, compiled
from pilothouse.capabilities.documents.model import Document, InvalidParameters
from pilothouse.capabilities.documents.places import scalar_text

Values = Mapping[str, Sequence[str]]
"""As the API takes them: each a list, also of parameters that are not lists."""

_REFERENCE = re.compile(r"\{\{\s*ssm:([^{}\s]+?)\s*\}\}")
_MAPS = frozenset({"StringMap", "MapList"})


def check_values(document: Document, values: Values) -> None:
    """Raises InvalidParameters for a name that the document does not have, a missing one, a value that does not fit."""
    definitions = document.parameters
    if unknown := sorted(set(values) - set(definitions)):
        raise InvalidParameters(f"The document {document.name} has no parameter named {', '.join(unknown)}.")
    missing = [
        name for name, definition in definitions.items() if definition.get("default") is None and not values.get(name)
    ]
    if missing:
        raise InvalidParameters(f"The document {document.name} needs a value for: {', '.join(sorted(missing))}.")
    for name, definition in definitions.items():
        given = values.get(name)
        if not given and (given is None or definition.get("type") not in LISTS):
            given = _default(definition)
        _check_value(name, definition, given)


def references(document: Document, values: Values) -> set[str]:
    """The stored parameters that `{{ssm:...}}` names in values, defaults or anywhere in the document, as written."""
    found = set(_REFERENCE.findall(document.text))
    for given in values.values():
        for item in given:
            found.update(_REFERENCE.findall(item))
    return found


def to_node(document: Document, values: Values) -> dict[str, Any]:
    """The values in the form that agents take: text, a list of texts, or what the JSON text of a MapList holds.

    A StringMap goes as its text: the official agent drops `additionalArguments` that are no text (its
    configurepackage.go), and takes a map's text wherever it takes a map.
    """
    sent: dict[str, Any] = {}
    for name, given in values.items():
        kind = document.parameters[name].get("type", "String")
        if kind in LISTS:
            sent[name] = list(given)
        elif given:
            sent[name] = _parsed(given[0]) if kind == "MapList" else given[0]
    return sent


def _parsed(text: str) -> Any:
    try:
        value = msgspec.json.decode(text)
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, dict | list) else text


def _check_value(name: str, definition: Mapping[str, Any], given: Sequence[str]) -> None:
    kind = definition.get("type", "String")
    if kind not in LISTS and len(given) > 1:
        raise InvalidParameters(f"The parameter {name} is of type {kind} and takes one value, not {len(given)}.")
    if any(_REFERENCE.search(item) for item in given):
        return
    if kind in LISTS:
        _check_count(name, definition, len(given), "items", "minItems", "maxItems")
    for item in given:
        _check_item(name, kind, definition, item)


def _default(definition: Mapping[str, Any]) -> Sequence[str]:
    """The default as a caller would give it."""
    default = definition["default"]
    if definition.get("type") in LISTS and isinstance(default, list):
        return [scalar_text(each) or "" for each in default]
    written = scalar_text(default)
    return [msgspec.json.encode(default).decode() if written is None else written]


def _check_item(name: str, kind: str, definition: Mapping[str, Any], item: str) -> None:
    if kind == "Integer" and not re.fullmatch(r"[+-]?[0-9]{1,18}", item):
        raise InvalidParameters(f"The parameter {name} must be a whole number.")
    if kind == "Boolean" and item.lower() not in {"true", "false"}:
        raise InvalidParameters(f"The parameter {name} must be true or false.")
    allowed = definition.get("allowedValues")
    if allowed and item not in {_text(each) for each in allowed}:
        raise InvalidParameters(f"The parameter {name} must be one of: {', '.join(map(_text, allowed))}.")
    pattern = definition.get("allowedPattern")
    if pattern and not all(_fits(str(pattern), each) for each in (_as_agents_see(item) if kind in _MAPS else [item])):
        raise InvalidParameters(f"The parameter {name} does not fit the pattern {pattern}.")
    _check_count(name, definition, len(item), "characters", "minChars", "maxChars")


def _check_count(
    name: str, definition: Mapping[str, Any], count: int, what: str, least_name: str, most_name: str
) -> None:  # fmt: skip
    least, most = definition.get(least_name), definition.get(most_name)
    if least is not None and count < int(least):
        raise InvalidParameters(f"The parameter {name} needs at least {least} {what}.")
    if most is not None and count > int(most):
        raise InvalidParameters(f"The parameter {name} may have at most {most} {what}.")


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _fits(pattern: str, item: str) -> bool:
    """Whether the pattern, RE2 like the agents', is found in the text; a stored pattern compiles."""
    try:
        return compiled(pattern).search(item) is not None
    except re2.error as error:
        raise InvalidParameters(f"The document's pattern {pattern} cannot be used.") from error


_ESCAPED = str.maketrans({each: f"\\u{ord(each):04x}" for each in "<>&\u2028\u2029"})


def _as_agents_see(item: str) -> list[str]:
    """The texts of a map, or of each map in a list, that agents compare with the pattern: JSON as Go writes it."""
    value = _parsed(item)
    if not isinstance(value, dict | list):
        return [item]
    parts = [value] if isinstance(value, dict) else value
    return [
        part if isinstance(part, str) else msgspec.json.encode(part, order="sorted").decode().translate(_ESCAPED)
        for part in parts
    ]


def shown_default(definition: Mapping[str, Any]) -> str | None:
    """A default as DescribeDocument shows it: lists and maps as JSON text."""
    default = definition.get("default")
    if default is None:
        return None
    return default if isinstance(default, str) else msgspec.json.encode(default).decode()
