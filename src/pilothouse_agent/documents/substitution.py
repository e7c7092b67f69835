"""Placeholders in documents: `{{ name }}` for parameters, `{{ssm:name}}` for the parameter store.

Nothing is evaluated: one pass over the text, and what a value contains is never looked at again.
Rules: agent-protocol 6.2.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

Value = object
"""Whatever JSON can hold."""

_NAME = r"[a-zA-Z0-9]+"
_WHOLE = re.compile(rf"\{{\{{\s*({_NAME})\s*\}}\}}\Z")
_PLACEHOLDER = re.compile(r"\{\{\s*([^\s{}]+)\s*\}\}")
_REFERENCE = re.compile(r"\{\{\s*ssm:([^\s{}:]+)(?::([0-9]+))?\s*\}\}")
VALID_NAME = re.compile(rf"{_NAME}\Z")


class UnresolvedReference(Exception):
    """A reference to the parameter store that has no usable value here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredParameter:
    """A parameter of the store. The type is its wire name: String or StringList."""

    kind: str
    value: str


NOTHING: Mapping[str, StoredParameter] = {}


def fill(value: Value, parameters: Mapping[str, Value], stored: Mapping[str, StoredParameter] = NOTHING) -> Value:
    """The value with its placeholders and references replaced.

    A text that is one placeholder becomes the parameter's value and keeps its type. Inside a longer
    text a value is written as text, others than strings as JSON; there, `$$` in it becomes `$`.
    Placeholders of unknown parameters stay as they are. A list element that is one reference to a
    StringList becomes its items. Raises UnresolvedReference for references that are not in stored,
    and for a StringList inside a longer text.
    """
    if isinstance(value, str):
        return _fill_text(value, parameters, stored)
    if isinstance(value, list):
        items: list[Value] = []
        for item in value:
            found = _REFERENCE.fullmatch(item) if isinstance(item, str) else None
            if found and _stored(found, stored).kind == "StringList":
                items += _stored(found, stored).value.split(",")
            else:
                items.append(fill(item, parameters, stored))
        return items
    if isinstance(value, dict):
        return {key: fill(item, parameters, stored) for key, item in value.items()}
    return value


def _fill_text(text: str, parameters: Mapping[str, Value], stored: Mapping[str, StoredParameter]) -> Value:
    whole = _WHOLE.match(text)
    if whole:
        return parameters.get(whole.group(1), text)

    def written(found: re.Match[str]) -> str:
        reference = _REFERENCE.fullmatch(found.group(0))
        if reference:
            parameter = _stored(reference, stored)
            if parameter.kind == "StringList" and found.group(0) != text:
                name = _reference_name(reference)
                raise UnresolvedReference(f"parameter {name} is a StringList inside a longer text")
            return parameter.value
        if found.group(1) not in parameters:
            return found.group(0)
        value = parameters[found.group(1)]
        return (value if isinstance(value, str) else json.dumps(value)).replace("$$", "$")

    return _PLACEHOLDER.sub(written, text)


def names_parameter(text: str, parameters: Mapping[str, Value]) -> bool:
    """Whether the text has a placeholder of one of the parameters."""
    return any(found.group(1) in parameters for found in _PLACEHOLDER.finditer(text))


def references(value: Value) -> Iterator[str]:
    """Names as GetParameters takes them (`name` or `name:version`) of all references in the value."""
    if isinstance(value, str):
        for found in _REFERENCE.finditer(value):
            yield _reference_name(found)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from references(item)


def _stored(found: re.Match[str], stored: Mapping[str, StoredParameter]) -> StoredParameter:
    name = _reference_name(found)
    if name not in stored:
        raise UnresolvedReference(f"parameter {name} could not be read")
    return stored[name]


def _reference_name(found: re.Match[str]) -> str:
    return found.group(1) if found.group(2) is None else f"{found.group(1)}:{found.group(2)}"
