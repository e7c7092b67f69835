"""The conditions in JSON and space-delimited patterns: `left op value`, put together with &&, || and parentheses."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

import re2

from pilothouse.errors import InvalidParameterException

_SELECTOR: Final = re.compile(r"""\$(?:\.?\[(?:"[^"]*"|'[^']*'|\d+|\*)\]|\.[^\s.\[\]=!<>()&|,"%]+)*""")
_NAME: Final = re.compile(r"[\w$.-]+")
_UNARY: Final = re.compile(r"(IS\s+NULL|IS\s+TRUE|IS\s+FALSE|NOT\s+EXISTS)(?![\w])")
_OPERATOR: Final = re.compile(r"!=|=!|<=|>=|=|<|>")
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\.)*)"')
_REGEX: Final = re.compile(r"%([^%]*)%")
_BARE: Final = re.compile(r'[^\s()=!<>,&|"%]+')
_NUMBER: Final = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?")
_ALLOWED: Final = re.compile(r"[A-Za-z0-9:_#=@/;,\-^$?\[\]{}|\\*+.\s]*")
_DEEPEST: Final = 50


@dataclass(frozen=True, slots=True)
class Comparison:
    """One condition on a value."""

    left: str
    operator: str
    value: str
    kind: Literal["text", "number", "regex"]


@dataclass(frozen=True, slots=True)
class Unary:
    """IS NULL, IS TRUE, IS FALSE, NOT EXISTS."""

    left: str
    what: str


@dataclass(frozen=True, slots=True)
class Compound:
    """All of the parts, or any of them."""

    any: bool
    parts: "tuple[Expression, ...]"


Expression = Comparison | Unary | Compound


def parsed(text: str, at: int, *, json: bool) -> tuple[Expression, int]:
    """The condition that begins there, and where it ends. Raises InvalidParameterException."""
    reader = _Reader(text, at, json)
    expression = reader.either(0)
    return expression, reader.at


class _Reader:
    def __init__(self, text: str, at: int, json: bool) -> None:
        self._text, self.at, self._json = text, at, json

    def either(self, depth: int) -> Expression:
        parts = [self._both(depth)]
        while self._take("||"):
            parts.append(self._both(depth))
        return parts[0] if len(parts) == 1 else Compound(True, tuple(parts))

    def _both(self, depth: int) -> Expression:
        parts = [self._one(depth)]
        while self._take("&&"):
            parts.append(self._one(depth))
        return parts[0] if len(parts) == 1 else Compound(False, tuple(parts))

    def _one(self, depth: int) -> Expression:
        if depth > _DEEPEST:
            raise _invalid("nested too deep")
        if self._take("("):
            inner = self.either(depth + 1)
            if not self._take(")"):
                raise _invalid("a parenthesis is not closed")
            return inner
        left = self._match(_SELECTOR if self._json else _NAME)
        if left is None:
            raise _invalid()
        what = self._match(_UNARY) if self._json else None
        if what is not None:
            return Unary(left[0], " ".join(what[0].split()))
        operator = self._match(_OPERATOR)
        if operator is None:
            raise _invalid()
        value, kind = self._value()
        if kind != "number" and operator[0] not in ("=", "!=", "=!"):
            raise _invalid(f"'{operator[0]}' needs a number")
        return Comparison(left[0], "!=" if operator[0] == "=!" else operator[0], value, kind)

    def _value(self) -> tuple[str, Literal["text", "number", "regex"]]:
        found = self._match(_QUOTED)
        if found is not None:
            return re.sub(r"\\(.)", r"\1", found[1]), "text"
        found = self._match(_REGEX)
        if found is not None:
            regular_expression(found[1])
            return found[1], "regex"
        found = self._match(_BARE)
        if found is None:
            raise _invalid()
        return found[0], "number" if _NUMBER.fullmatch(found[0]) else "text"

    def _match(self, wanted: re.Pattern[str]) -> re.Match[str] | None:
        self._skip()
        found = wanted.match(self._text, self.at)
        if found is not None:
            self.at = found.end()
        return found

    def _take(self, token: str) -> bool:
        self._skip()
        if self._text.startswith(token, self.at):
            self.at += len(token)
            return True
        return False

    def _skip(self) -> None:
        while self.at < len(self._text) and self._text[self.at].isspace():
            self.at += 1


def compiled_value(comparison: Comparison) -> Callable[[Any], bool]:
    """From a text, number or truth value to whether it keeps the condition."""
    keeps = _equal(comparison)
    if comparison.operator == "=":
        return keeps
    if comparison.operator == "!=":
        return lambda value: not keeps(value)
    wanted, operator = float(comparison.value), comparison.operator

    def compare(value: Any) -> bool:
        number = _number(value)
        if number is None:
            return False
        if operator == "<":
            return number < wanted
        if operator == "<=":
            return number <= wanted
        return number > wanted if operator == ">" else number >= wanted

    return compare


def _equal(comparison: Comparison) -> Callable[[Any], bool]:
    value = comparison.value
    if comparison.kind == "regex":
        search = regular_expression(value)
        return lambda found: search(_text(found))
    if comparison.kind == "number":
        wanted = float(value)

        def same(found: Any) -> bool:
            number = _number(found)
            return _text(found) == value if number is None else number == wanted

        return same
    if value == "*":
        return lambda found: True
    front, behind = value.startswith("*"), value.endswith("*")
    inner = value[int(front) : len(value) - int(behind)]
    if front and behind:
        return lambda found: inner in _text(found)
    if front:
        return lambda found: _text(found).endswith(inner)
    if behind:
        return lambda found: _text(found).startswith(inner)
    return lambda found: _text(found) == inner


def _number(value: Any) -> float | int | None:
    """A number of JSON, or a field that is written as one."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return value
    return float(value) if isinstance(value, str) and _NUMBER.fullmatch(value) else None


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def regular_expression(text: str) -> Callable[[str], bool]:
    """Whether a message holds what fits. Raises InvalidParameterException."""
    if not _ALLOWED.fullmatch(text):
        raise _invalid("a character that regular expressions may not have")
    options = re2.Options()
    options.log_errors = False
    try:
        search = re2.compile(text, options).search
    except re2.error as error:
        raise _invalid("the regular expression is not valid") from error
    return lambda message: search(message) is not None


def _invalid(why: str = "") -> InvalidParameterException:
    return InvalidParameterException(f"Invalid filter pattern{': ' if why else ''}{why}")
