"""Definitions of parameters: which types there are, and what they may say of their values."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import msgspec
import re2

from pilothouse.capabilities.documents.places import (
    STORED,
    at,
    known_names,
    mapping,
    optional_text,
    scalar_text,
    whole_number,
)

MOST: Final = 200
"""In one document."""
NAME: Final = re.compile(r"[a-zA-Z0-9]+")
"""Agents drop values of parameters with other names without a word."""
AUTOMATION_NAME: Final = re.compile(r"[a-zA-Z0-9_.-]+")
TYPES: Final = frozenset({"String", "StringList", "Integer", "Boolean", "StringMap", "MapList"})
LISTS: Final = frozenset({"StringList"})
_MEMBERS: Final = frozenset({
    "type", "description", "default", "allowedValues", "allowedPattern", "displayType", "minItems", "maxItems",
    "minChars", "maxChars", "interpolationType",
})  # fmt: skip
_LARGEST: Final = 2**31 - 1
_NOT_FOR_ALL_AGENTS: Final = re.compile(r"\\C|\(\?<[A-Za-z_]")
"""What RE2 takes and the agents' expressions do not."""


def check(parameters: Any) -> Mapping[str, Mapping[str, Any]]:
    """The definitions of a document that agents read. Raises InvalidDocumentContent."""
    if parameters is None:
        return {}
    found = mapping("parameters", parameters)
    if len(found) > MOST:
        raise at("parameters", f"there may be at most {MOST}")
    for name, definition in found.items():
        place = f"parameters.{name}"
        if not NAME.fullmatch(name):
            raise at(place, "a parameter's name has letters and digits only")
        _check_definition(place, mapping(place, definition))
    return found


def _check_definition(place: str, definition: Mapping[str, Any]) -> None:
    known_names(place, definition, _MEMBERS, others=True)
    kind = definition.get("type")
    if not isinstance(kind, str) or kind not in TYPES:
        raise at(f"{place}.type", f"it must be one of {', '.join(sorted(TYPES))}")
    optional_text(f"{place}.description", definition.get("description"))
    _check_default(f"{place}.default", kind, definition.get("default"))
    check_bounds(place, definition)
    display = definition.get("displayType")
    if display is not None and display not in ("textfield", "textarea"):
        raise at(f"{place}.displayType", "it must be textfield or textarea")
    if definition.get("interpolationType") is not None:
        if definition["interpolationType"] != "ENV_VAR":
            raise at(f"{place}.interpolationType", "it must be ENV_VAR")
        if kind != "String":
            raise at(f"{place}.interpolationType", "it is for parameters of type String")


def check_bounds(place: str, definition: Mapping[str, Any], *, pattern: bool = True) -> None:
    """What limits values: a list of them, a pattern, lengths. Raises InvalidDocumentContent.

    `pattern`: the pattern must be one that agents understand.
    """
    allowed = definition.get("allowedValues")
    if allowed is not None and (
        not isinstance(allowed, list) or not allowed or any(scalar_text(each) is None for each in allowed)
    ):
        raise at(f"{place}.allowedValues", "it must be a list of texts")
    written = definition.get("allowedPattern")
    optional_text(f"{place}.allowedPattern", written)
    if pattern and written and (_NOT_FOR_ALL_AGENTS.search(written) or not compiles(written)):
        raise at(f"{place}.allowedPattern", "it must be a regular expression of RE2, as agents have them")
    for least_name, most_name in (("minItems", "maxItems"), ("minChars", "maxChars")):
        least, most = (_count(place, definition, name) for name in (least_name, most_name))
        if least is not None and most is not None and least > most:
            raise at(f"{place}.{most_name}", f"it must not be less than {least_name}")


def _count(place: str, definition: Mapping[str, Any], name: str) -> int | None:
    value = definition.get(name)
    if value is None:
        return None
    number = whole_number(value)
    if number is None or not 0 <= number <= _LARGEST:
        raise at(f"{place}.{name}", f"it must be a whole number from 0 to {_LARGEST}")
    return number


def _check_default(place: str, kind: str, default: Any) -> None:
    """Whether it is of the type; whether it fits the other rules is seen when it is used."""
    if default is None:
        return
    if kind == "StringList":
        if isinstance(default, str) and STORED.search(default):
            return
        if not isinstance(default, list) or any(scalar_text(each) is None for each in default):
            raise at(place, "it must be a list of texts")
    elif kind == "StringMap":
        if not isinstance(from_text(default), Mapping):
            raise at(place, "it must be an object")
    elif kind == "MapList":
        maps = from_text(default)
        if not isinstance(maps, list) or not all(isinstance(each, Mapping) for each in maps):
            raise at(place, "it must be a list of objects")
    elif scalar_text(default) is None:
        raise at(place, "it must be a text")
    elif kind == "Integer" and whole_number(default) is None:
        raise at(place, "it must be a whole number")
    elif kind == "Boolean" and str(scalar_text(default)).lower() not in ("true", "false"):
        raise at(place, "it must be true or false")


def from_text(value: Any) -> Any:
    """What a default of objects is, which may be written as a text of JSON."""
    if not isinstance(value, str):
        return value
    try:
        return msgspec.json.decode(value)
    except (ValueError, RecursionError):
        return value


def compiles(pattern: str) -> bool:
    """Whether it is a pattern of RE2."""
    try:
        compiled(pattern)
    except re2.error:
        return False
    return True


@lru_cache(maxsize=1024)
def compiled(pattern: str) -> Any:
    """The pattern, ready to search. Raises re2.error."""
    options = re2.Options()
    options.log_errors = False
    return re2.compile(pattern, options)
