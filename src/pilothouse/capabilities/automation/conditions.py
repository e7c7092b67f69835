"""Conditions of branches and loops: a variable, compared with a value by one operator, joined by And, Or and Not."""

from collections.abc import Iterator, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from pilothouse.capabilities.automation.selecting import as_text

_DEEPEST: Final = 20
_TEXTS: Final[Mapping[str, Any]] = {
    "StringEquals": lambda value, wanted: value == wanted,
    "EqualsIgnoreCase": lambda value, wanted: value.lower() == wanted.lower(),
    "StartsWith": lambda value, wanted: value.startswith(wanted),
    "EndsWith": lambda value, wanted: value.endswith(wanted),
    "Contains": lambda value, wanted: wanted in value,
}
_NUMBERS: Final[Mapping[str, Any]] = {
    "NumericEquals": lambda value, wanted: value == wanted,
    "NumericGreater": lambda value, wanted: value > wanted,
    "NumericLesser": lambda value, wanted: value < wanted,
    "NumericGreaterOrEquals": lambda value, wanted: value >= wanted,
    "NumericLesserOrEquals": lambda value, wanted: value <= wanted,
}
OPERATORS: Final = frozenset({*_TEXTS, *_NUMBERS, "BooleanEquals"})
_JOINS: Final = frozenset({"And", "Or", "Not"})


class ConditionInvalid(ValueError):
    """It is no condition, or its values cannot be compared."""


def problems(condition: Any, others: frozenset[str] = frozenset(), depth: int = 0) -> Iterator[tuple[str, str]]:
    """What is wrong with a condition of a document: (place within it, reason). `others`: what else may stand there."""
    if not isinstance(condition, Mapping):
        yield "", "it must be an object with a condition"
        return
    if depth > _DEEPEST:
        yield "", "it is nested too deeply"
        return
    for name in condition:
        if name not in OPERATORS | _JOINS | others | {"Variable"}:
            yield name, f"there is no such operator; there are {', '.join(sorted(OPERATORS | _JOINS))}"
    found = [name for name in condition if name in OPERATORS | _JOINS]
    if len(found) != 1:
        yield "", "it needs one operator"
        return
    name = found[0]
    if name == "Not":
        for place, reason in problems(condition[name], depth=depth + 1):
            yield _joined("Not", place), reason
    elif name in _JOINS:
        parts = condition[name]
        if not isinstance(parts, list) or not parts:
            yield name, "it must be a list of conditions"
            return
        for number, part in enumerate(parts):
            for place, reason in problems(part, depth=depth + 1):
                yield _joined(f"{name}[{number}]", place), reason
    elif "Variable" not in condition:
        yield "", "it needs a Variable"


def _joined(front: str, place: str) -> str:
    return f"{front}.{place}" if place and not place.startswith("[") else front + place


def holds(condition: Any, depth: int = 0) -> bool:
    """Whether the condition, filled, is true. Raises ConditionInvalid."""
    if not isinstance(condition, Mapping) or depth > _DEEPEST:
        raise ConditionInvalid("it is no condition")
    if "Not" in condition:
        return not holds(condition["Not"], depth + 1)
    for name, join in (("And", all), ("Or", any)):
        if name in condition:
            parts = condition[name]
            if not isinstance(parts, list) or not parts:
                raise ConditionInvalid(f"{name} needs a list of conditions")
            return join([holds(part, depth + 1) for part in parts])
    operator = next((each for each in condition if each in OPERATORS), None)
    if operator is None:
        raise ConditionInvalid("it has no operator")
    return _compare(operator, condition.get("Variable"), condition[operator])


def _compare(name: str, value: Any, wanted: Any) -> bool:
    if name in _TEXTS:
        if name == "Contains" and isinstance(value, list):
            return as_text(wanted) in [as_text(each) for each in value]
        return bool(_TEXTS[name](as_text(value), as_text(wanted)))
    if name in _NUMBERS:
        return bool(_NUMBERS[name](_number(value), _number(wanted)))
    return _truth(value) is _truth(wanted)


def _number(value: Any) -> Decimal:
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    try:
        if isinstance(value, bool) or (isinstance(value, str) and len(value) > 40):
            raise ConditionInvalid(f"{as_text(value)[:40]} is not a number")
        found = Decimal(as_text(value).strip())
    except InvalidOperation as error:
        raise ConditionInvalid(f"{as_text(value)[:40]} is not a number") from error
    if not found.is_finite():
        raise ConditionInvalid(f"{as_text(value)[:40]} is not a number")
    return found


def _truth(value: Any) -> bool:
    text = as_text(value).strip().lower()
    if text not in ("true", "false"):
        raise ConditionInvalid(f"{text[:40]} is neither true nor false")
    return text == "true"
