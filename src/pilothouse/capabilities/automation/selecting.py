"""Selectors: JSONPath on the response of an API, and the type that an output has.

Patterns within selectors are left out: Python's own can be made to take for ever.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import jsonpath
import msgspec

TYPES: Final = ("String", "StringList", "Integer", "Boolean", "StringMap", "MapList")
_MOST: Final = 1000
"""Matches of one selector."""


class SelectorInvalid(ValueError):
    """The text is no selector, or what it selects is not of the type that is declared."""


def _environment() -> jsonpath.JSONPathEnvironment:
    environment = jsonpath.JSONPathEnvironment()
    for name in ("match", "search"):
        environment.function_extensions.pop(name)
    return environment


_ENVIRONMENT: Final = _environment()


@lru_cache(maxsize=1024)
def _compiled(selector: str) -> tuple[Any, bool]:
    if not selector.startswith("$"):
        raise SelectorInvalid("a selector begins with $, as $.Parameter.Value")
    if "=~" in selector:
        raise SelectorInvalid("patterns (=~) are not for selectors")
    try:
        found = _ENVIRONMENT.compile(selector)
    except (jsonpath.JSONPathError, RecursionError) as error:
        raise SelectorInvalid(str(error).partition("\n")[0]) from error
    return found, isinstance(found, jsonpath.JSONPath) and found.singular_query()


def check(selector: str) -> None:
    """Raises SelectorInvalid."""
    _compiled(selector)


def select(selector: str, value: Any) -> Any:
    """What the selector finds: the value itself where it can be one only, else a list. Raises SelectorInvalid."""
    compiled, single = _compiled(selector)
    found = []
    try:
        for match in compiled.finditer(value):
            found.append(match.obj)
            if len(found) > _MOST:
                raise SelectorInvalid(f"it finds more than {_MOST} values")
    except (jsonpath.JSONPathError, RecursionError) as error:
        raise SelectorInvalid(str(error).partition("\n")[0]) from error
    if not single:
        return found
    if not found:
        raise SelectorInvalid("the response has nothing there")
    return found[0]


def typed(kind: str, value: Any) -> Any:
    """The value as one of the type. Raises SelectorInvalid."""
    made = _MAKERS[kind](value)
    if made is None:
        raise SelectorInvalid(f"it is not of type {kind}")
    return made


def as_text(value: Any) -> str:
    """A value within a text: lists and objects as JSON."""
    if isinstance(value, str):
        return value
    return msgspec.json.encode(value).decode()


def parsed(value: Any) -> Any:
    """What a text of JSON is; anything else as it is."""
    if not isinstance(value, str):
        return value
    try:
        return msgspec.json.decode(value)
    except (ValueError, RecursionError):
        return value


def _one(value: Any) -> Any:
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _integer(value: Any) -> int | None:
    value = _one(value)
    if isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            return None
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _boolean(value: Any) -> bool | None:
    value = _one(value)
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    return value if isinstance(value, bool) else None


def _texts(value: Any) -> list[str] | None:
    parts = value if isinstance(value, list) else parsed(value)
    return [as_text(each) for each in (parts if isinstance(parts, list) else [value])]


def _map(value: Any) -> dict[str, Any] | None:
    found = parsed(_one(value))
    return dict(found) if isinstance(found, Mapping) else None


def _maps(value: Any) -> list[dict[str, Any]] | None:
    parts = parsed(value)
    parts = [parsed(each) for each in (parts if isinstance(parts, list) else [parts])]
    return [dict(each) for each in parts] if all(isinstance(each, Mapping) for each in parts) else None


_MAKERS: Final[Mapping[str, Any]] = {
    "String": lambda value: as_text(_one(value)),
    "StringList": _texts,
    "Integer": _integer,
    "Boolean": _boolean,
    "StringMap": _map,
    "MapList": _maps,
}


def shown(value: Any) -> list[str]:
    """A value as the API shows it among outputs, parameters and variables: a list of texts."""
    return [as_text(each) for each in (value if isinstance(value, list) else [value])]
