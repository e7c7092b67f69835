"""Event patterns: JSON that says which events are wanted, in the form EventBridge has made known.

A pattern is compiled once into a function. Every rule of it looks at an event in time linear in the event's text;
there are no regular expressions of users here.
"""

import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final

MOST_CHARACTERS: Final = 4096
MOST_DEPTH: Final = 16
_MOST_NUMBER: Final = 5_000_000_000
_COMPARE: Final[dict[str, Callable[[float, float], bool]]] = {
    "=": lambda found, wanted: found == wanted,
    "<": lambda found, wanted: found < wanted,
    "<=": lambda found, wanted: found <= wanted,
    ">": lambda found, wanted: found > wanted,
    ">=": lambda found, wanted: found >= wanted,
}

Rule = Callable[[Any], bool]
"""Looks at one value that is there: a text, a number, true, false or null."""


class MalformedPattern(Exception):
    """The pattern is not one; the text says what and where."""


class Pattern:
    """A compiled pattern. Make it with `parse`."""

    def __init__(self, matches: Callable[[Mapping[str, Any]], bool]) -> None:
        self._matches = matches

    def matches(self, event: Mapping[str, Any]) -> bool:
        """Whether the event (an envelope, decoded) is wanted."""
        return self._matches(event)


@lru_cache(maxsize=1024)
def parse(text: str) -> Pattern:
    """The pattern of a text; an empty text wants every event. Raises MalformedPattern."""
    if not text:
        return Pattern(lambda event: True)
    if len(text) > MOST_CHARACTERS:
        raise MalformedPattern(f"a pattern has {MOST_CHARACTERS} characters at most")
    try:
        found = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise MalformedPattern("it is not JSON") from error
    return Pattern(_object(found, "the pattern", 0))


def _no_constant(name: str) -> Any:
    raise ValueError(name)


def _object(found: Any, where: str, depth: int) -> Callable[[Mapping[str, Any]], bool]:
    if not isinstance(found, dict) or not found:
        raise MalformedPattern(f"{where} must be an object with members")
    if depth > MOST_DEPTH:
        raise MalformedPattern(f"objects may be nested {MOST_DEPTH} deep")
    members = [_member(name, rule, where, depth) for name, rule in found.items()]
    return lambda event: all(member(event) for member in members)


def _member(name: str, rule: Any, where: str, depth: int) -> Callable[[Mapping[str, Any]], bool]:
    here = f"{where}.{name}" if depth else name
    if name == "$or" and isinstance(rule, list):
        if len(rule) < 2:
            raise MalformedPattern(f"{here} needs two alternatives at least")
        ways = [_object(each, here, depth + 1) for each in rule]
        return lambda event: any(way(event) for way in ways)
    if isinstance(rule, dict):
        inner = _object(rule, here, depth + 1)
        return lambda event: _nested(event.get(name), inner)
    if isinstance(rule, list) and rule:
        present = [test for test in (_present(each, here) for each in rule) if test is not None]
        absent = any(isinstance(each, dict) and each.get("exists") is False for each in rule)
        return lambda event: _leaf(event, name, present, absent)
    raise MalformedPattern(f"{here} must be a list of what is wanted, or an object")


def _nested(found: Any, inner: Callable[[Mapping[str, Any]], bool]) -> bool:
    if isinstance(found, list):
        objects = [each for each in found if isinstance(each, dict)]
        return any(inner(each) for each in objects) if objects else inner({})
    return inner(found if isinstance(found, dict) else {})


def _leaf(event: Mapping[str, Any], name: str, present: list[Rule], absent: bool) -> bool:
    values = list(_values(event[name])) if name in event else []
    if not values:
        return absent
    return any(test(value) for value in values for test in present)


def _values(found: Any) -> Any:
    """The plain values of a member: itself, or those in its lists. Objects are none."""
    if isinstance(found, list):
        for each in found:
            yield from _values(each)
    elif not isinstance(found, dict):
        yield found


def _present(wanted: Any, where: str) -> Rule | None:
    """The rule for values that are there; None for one that wants them absent."""
    if isinstance(wanted, list):
        raise MalformedPattern(f"{where} holds a list in a list")
    if not isinstance(wanted, dict):
        return _equal(wanted)
    if len(wanted) != 1:
        raise MalformedPattern(f"{where} holds an object that is not one rule")
    [(kind, value)] = wanted.items()
    if kind == "exists":
        if not isinstance(value, bool):
            raise MalformedPattern(f"{where}: exists is true or false")
        return (lambda found: True) if value else None
    if kind == "numeric":
        return _numeric(value, where)
    if kind == "anything-but":
        return _anything_but(value, where)
    return _text_rule(kind, value, where)


def _equal(wanted: Any) -> Rule:
    if wanted is None or isinstance(wanted, bool):
        return lambda found: found is wanted
    if isinstance(wanted, str):
        return lambda found: isinstance(found, str) and found == wanted
    return lambda found: _is_number(found) and found == wanted


def _is_number(found: Any) -> bool:
    return isinstance(found, int | float) and not isinstance(found, bool)


def _text_rule(kind: str, value: Any, where: str) -> Rule:
    if kind in {"prefix", "suffix"} and isinstance(value, dict) and list(value) == ["equals-ignore-case"]:
        folded = _text(value["equals-ignore-case"], kind, where).casefold()
        if kind == "prefix":
            return lambda found: isinstance(found, str) and found.casefold().startswith(folded)
        return lambda found: isinstance(found, str) and found.casefold().endswith(folded)
    if kind == "prefix":
        prefix = _text(value, kind, where)
        return lambda found: isinstance(found, str) and found.startswith(prefix)
    if kind == "suffix":
        suffix = _text(value, kind, where)
        return lambda found: isinstance(found, str) and found.endswith(suffix)
    if kind == "equals-ignore-case":
        same = _text(value, kind, where).casefold()
        return lambda found: isinstance(found, str) and found.casefold() == same
    if kind == "wildcard":
        parts = _wildcard(_text(value, kind, where), where)
        return lambda found: isinstance(found, str) and _fits(parts, found)
    raise MalformedPattern(f"{where}: there is no rule {kind!r}")


def _text(value: Any, kind: str, where: str) -> str:
    if not isinstance(value, str) or not value:
        raise MalformedPattern(f"{where}: {kind} takes a text that is not empty")
    return value


def _numeric(value: Any, where: str) -> Rule:
    """`["=", 5]`, or a range from below to above: `[">", 0, "<=", 5]`."""
    problem = MalformedPattern(f'{where}: numeric takes a comparison such as [">", 0, "<=", 5]')
    if not isinstance(value, list) or len(value) not in (2, 4):
        raise problem
    signs, limits = value[::2], value[1::2]
    for sign, limit in zip(signs, limits, strict=True):
        if sign not in _COMPARE or not _is_number(limit) or abs(limit) > _MOST_NUMBER:
            raise problem
    if len(signs) == 2 and not (signs[0] in (">", ">=") and signs[1] in ("<", "<=") and limits[0] < limits[1]):
        raise problem
    tests = [(_COMPARE[sign], limit) for sign, limit in zip(signs, limits, strict=True)]
    return lambda found: _is_number(found) and all(compare(found, limit) for compare, limit in tests)


def _anything_but(value: Any, where: str) -> Rule:
    """No value of a list, or none that one text rule (of one text or several) fits."""
    refused: list[Rule]
    if isinstance(value, dict):
        if len(value) != 1:
            raise MalformedPattern(f"{where}: anything-but takes one rule")
        [(kind, texts)] = value.items()
        refused = [_text_rule(kind, text, where) for text in (texts if isinstance(texts, list) else [texts])]
    else:
        several = value if isinstance(value, list) else [value]
        if any(not isinstance(each, str) and not _is_number(each) for each in several):
            raise MalformedPattern(f"{where}: anything-but takes texts or numbers")
        refused = [_equal(each) for each in several]
    if not refused:
        raise MalformedPattern(f"{where}: anything-but of nothing")
    return lambda found: not any(test(found) for test in refused)


def _wildcard(text: str, where: str) -> list[str]:
    r"""What stands between the stars; `\*` and `\\` are a star and a backslash themselves."""
    parts = [""]
    characters = iter(text)
    for each in characters:
        if each == "\\":
            escaped = next(characters, "")
            if escaped not in ("*", "\\"):
                raise MalformedPattern(rf"{where}: in a wildcard a backslash stands before * or \ only")
            parts[-1] += escaped
        elif each == "*":
            if len(parts) > 1 and not parts[-1]:
                raise MalformedPattern(f"{where}: two stars side by side")
            parts.append("")
        else:
            parts[-1] += each
    return parts


def _fits(parts: list[str], found: str) -> bool:
    if len(parts) == 1:
        return found == parts[0]
    first, *middle, last = parts
    if len(found) < len(first) + len(last) or not found.startswith(first) or not found.endswith(last):
        return False
    at, end = len(first), len(found) - len(last)
    for part in middle:
        at = found.find(part, at, end)
        if at < 0:
            return False
        at += len(part)
    return True
