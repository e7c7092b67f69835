"""What parameters of a document may be, beyond allowedPattern: kinds, allowedValues, sizes.

The server checks them before it sends a command. Documents that a step starts are checked here.
"""

import json
from collections.abc import Mapping
from typing import Any


class OutOfLimits(Exception):
    """A value is not what the document allows; the text names parameter and rule, never the value."""


_KINDS: Mapping[str, type | tuple[type, ...]] = {
    "String": str,
    "StringList": list,
    "Integer": int,
    "Boolean": bool,
    "StringMap": (dict, str),
    "MapList": list,
}


def check(definitions: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    """Raises OutOfLimits."""
    missing = sorted(set(definitions) - set(values))
    if missing:
        raise OutOfLimits(f"parameter {', '.join(missing)} is needed and has no value")
    for name, definition in definitions.items():
        _check_kind(name, definition, values[name])
        _check_allowed(name, definition, values[name])
        _check_sizes(name, definition, values[name])


def _check_kind(name: str, definition: Mapping[str, Any], value: Any) -> None:
    kind = definition.get("type")
    expected = _KINDS.get(kind) if isinstance(kind, str) else None
    if expected is None:
        raise OutOfLimits(f"the type {kind!r} of parameter {name} is not known")
    if not isinstance(value, expected) or (kind == "Integer" and isinstance(value, bool)):
        raise OutOfLimits(f"the value of parameter {name} is no {kind}")
    items: list[Any] = value if isinstance(value, list) else []
    if kind == "StringList" and not all(isinstance(item, str) for item in items):
        raise OutOfLimits(f"an item of parameter {name} is no text")


def _check_allowed(name: str, definition: Mapping[str, Any], value: Any) -> None:
    allowed = definition.get("allowedValues")
    if not allowed:
        return
    if not isinstance(allowed, list):
        raise OutOfLimits(f"allowedValues of parameter {name} is no list")
    texts = [_as_text(item) for item in allowed]
    given: list[Any] = value if isinstance(value, list) else [value]
    if any(_as_text(item) not in texts for item in given):
        raise OutOfLimits(f"the value of parameter {name} is not among its allowedValues")


def _check_sizes(name: str, definition: Mapping[str, Any], value: Any) -> None:
    sizes = [("Items", len(value))] if isinstance(value, list | dict) else []
    texts: list[Any] = value if isinstance(value, list) else [value]
    sizes += [("Chars", len(text)) for text in texts if isinstance(text, str)]
    for what, size in sizes:
        least, most = _number(name, definition, f"min{what}"), _number(name, definition, f"max{what}")
        if least is not None and size < least:
            raise OutOfLimits(f"the value of parameter {name} is shorter than its min{what}, {least}")
        if most is not None and size > most:
            raise OutOfLimits(f"the value of parameter {name} is longer than its max{what}, {most}")


def _number(name: str, definition: Mapping[str, Any], member: str) -> int | None:
    found = definition.get(member)
    if found in (None, ""):
        return None
    try:
        return int(found)
    except (TypeError, ValueError) as error:
        raise OutOfLimits(f"{member} of parameter {name} is no number") from error


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
