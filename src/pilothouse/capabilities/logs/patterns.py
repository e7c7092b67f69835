"""Filter patterns: terms, `{ $.a = 1 }` for JSON, `[a, b = 4*, ...]` for words, and regular expressions.

A pattern is compiled once to a function from a message to whether it fits. Regular expressions run on RE2, so no
pattern makes matching slow.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from pilothouse.capabilities.logs.expressions import Comparison, Expression, Unary, compiled_value, parsed
from pilothouse.capabilities.logs.expressions import regular_expression as regex
from pilothouse.errors import InvalidParameterException

Fits = Callable[[str], bool]

_TERM: Final = re.compile(r'\s*([-?]?)\s*(?:"((?:[^"\\]|\\.)*)"|%([^%]*)%|([^\s"%]+))(?=\s|$)')
_BARE: Final = re.compile(r"\w+")
_BLANKS: Final = re.compile(r"\s*")
_WORD: Final = re.compile(r"\S+")
_CLOSING: Final = {'"': '"', "[": "]"}
_MOST_REGEXES: Final = 2
_ELLIPSIS: Final = "..."


def invalid(why: str = "") -> InvalidParameterException:
    """The refusal of a pattern."""
    return InvalidParameterException(f"Invalid filter pattern{': ' if why else ''}{why}")


def compiled(pattern: str) -> Fits:
    """Raises InvalidParameterException."""
    text = pattern.strip()
    if not text:
        return lambda message: True
    if text.startswith("{") and text.endswith("}"):
        return _json(text[1:-1])
    if text.startswith("[") and text.endswith("]"):
        return _delimited(text[1:-1])
    return _terms(text)


def _terms(text: str) -> Fits:
    """Every term is there, none that is excluded, or one of those with a question mark if there are no others."""
    wanted: dict[str, list[Fits]] = {"": [], "-": [], "?": []}
    at = 0
    while at < len(text):
        found = _TERM.match(text, at)
        if found is None:
            raise invalid()
        sign, quoted, expression, bare = found.groups()
        if bare is not None and not _BARE.fullmatch(bare):
            raise InvalidParameterException(f"Invalid character(s) in term '{bare}'")
        wanted[sign].append(regex(expression) if expression is not None else _holds(quoted, bare))
        at = found.end()
        while at < len(text) and text[at].isspace():
            at += 1
    there, absent, some = wanted[""], wanted["-"], wanted["?"]
    if some and not there and not absent:
        return lambda message: any(each(message) for each in some)
    return lambda message: all(each(message) for each in there) and not any(each(message) for each in absent)


def _holds(quoted: str | None, bare: str | None) -> Fits:
    text = bare if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
    assert text is not None
    return lambda message: text in message


def _json(text: str) -> Fits:
    expression, end = parsed(text, 0, json=True)
    if text[end:].strip():
        raise invalid()
    _check_regexes(expression)
    decide = _decider(expression, lambda left: _selector(left, text))

    def fits(message: str) -> bool:
        try:
            document = msgspec.json.decode(message)
        except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
            return False
        return isinstance(document, dict | list) and decide(document)

    return fits


Values = Callable[[Any], Iterator[Any]]
"""The values that a name stands for in a document."""
_STEP: Final = re.compile(r"""\.?\[(?:"([^"]*)"|'([^']*)'|(\d+)|(\*))\]|\.([^\s.\[\]]+)""")
MISSING: Final = object()


def _selector(left: str, text: str) -> Values:
    steps: list[str | int | None] = []
    at = 1
    while at < len(left):
        found = _STEP.match(left, at)
        if found is None:
            raise invalid(f"property selector '{left}'")
        double, single, number, star, name = found.groups()
        if number is not None:
            steps.append(int(number))
        else:
            named = [each for each in (double, single, name) if each is not None]
            steps.append(None if star or name == "*" else named[0])
        at = found.end()
    return lambda document: _walk(document, steps, 0)


def _walk(value: Any, steps: Sequence[str | int | None], at: int) -> Iterator[Any]:
    """Where a step leads nowhere: MISSING, once."""
    if at == len(steps):
        yield value
        return
    step = steps[at]
    inner: list[Any] = []
    if step is None:
        inner = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    elif isinstance(step, int):
        inner = value[step : step + 1] if isinstance(value, list) else []
    elif isinstance(value, dict) and step in value:
        inner = [value[step]]
    if not inner:
        yield MISSING
    for each in inner:
        yield from _walk(each, steps, at + 1)


def _delimited(text: str) -> Fits:
    """Fields by their place; with an ellipsis those before it count from the left, those behind it from the right."""
    fields: list[tuple[str, Expression | None]] = []
    at = 0
    while True:
        name, expression, at = _field(text, at)
        fields.append((name, expression))
        if at >= len(text):
            break
        at += 1  # the comma
    gaps = [number for number, (name, _) in enumerate(fields) if name == _ELLIPSIS]
    if len(gaps) > 1:
        raise invalid("more than one ellipsis")
    conditions = [expression for _, expression in fields if expression is not None]
    for each in conditions:
        _check_regexes(each)
    if sum(_regexes(each) for each in conditions) > _MOST_REGEXES:
        raise invalid(f"more than {_MOST_REGEXES} regular expressions")
    decides = [_decider(each, _named) for each in conditions]
    names = [name for name, _ in fields]

    def fits(message: str) -> bool:
        values = _placed(names, gaps[0] if gaps else None, list(_words(message)))
        return values is not None and all(decide(values) for decide in decides)

    return fits


def _field(text: str, at: int) -> tuple[str, Expression | None, int]:
    """Name, condition, and where the comma or the end is."""
    found = re.compile(r"\s*(\.\.\.|…|[\w$.-]*)\s*").match(text, at)
    assert found is not None
    name, end = found[1].replace("…", _ELLIPSIS), found.end()
    if end >= len(text) or text[end] == ",":
        return name, None, end
    expression, end = parsed(text, at, json=False)
    while end < len(text) and text[end].isspace():
        end += 1
    if end < len(text) and text[end] != ",":
        raise invalid()
    return name, expression, end


def _words(message: str) -> Iterator[str]:
    """Words between blanks; what stands in quotes or brackets is one. An opening one without an end is as any other."""
    at, last = 0, {closing: message.rfind(closing) for closing in _CLOSING.values()}
    while (at := _BLANKS.match(message, at).end()) < len(message):  # type: ignore[union-attr]
        closing = _CLOSING.get(message[at])
        if closing is not None and last[closing] > at:
            end = message.index(closing, at + 1)
            yield message[at + 1 : end]
            at = end + 1
        else:
            found = _WORD.match(message, at)
            assert found is not None
            yield found[0]
            at = found.end()


def _placed(names: Sequence[str], gap: int | None, words: Sequence[str]) -> Mapping[str, str] | None:
    if gap is None:
        return dict(zip(names, words, strict=True)) if len(names) == len(words) else None
    behind = len(names) - gap - 1
    if len(words) < gap + behind:
        return None
    last = dict(zip(names[gap + 1 :], words[len(words) - behind :], strict=True))
    return dict(zip(names[:gap], words[:gap], strict=True)) | last


def _named(left: str) -> Values:
    def values(fields: Mapping[str, str]) -> Iterator[Any]:
        yield fields.get(left, MISSING)

    return values


def _regexes(expression: Expression) -> int:
    if isinstance(expression, Comparison):
        return int(expression.kind == "regex")
    return 0 if isinstance(expression, Unary) else sum(_regexes(each) for each in expression.parts)


def _check_regexes(expression: Expression) -> None:
    if _regexes(expression) > _MOST_REGEXES:
        raise invalid(f"more than {_MOST_REGEXES} regular expressions")


def _decider(expression: Expression, values_of: Callable[[str], Values]) -> Callable[[Any], bool]:
    if isinstance(expression, Unary):
        return _of_unary(expression, values_of(expression.left))
    if isinstance(expression, Comparison):
        values, keeps = values_of(expression.left), compiled_value(expression)
        return lambda document: any(_is_value(each) and keeps(each) for each in values(document))
    parts = [_decider(each, values_of) for each in expression.parts]
    if expression.any:
        return lambda document: any(part(document) for part in parts)
    return lambda document: all(part(document) for part in parts)


def _is_value(value: Any) -> bool:
    return value is not MISSING and value is not None and not isinstance(value, dict | list)


def _of_unary(expression: Unary, values: Values) -> Callable[[Any], bool]:
    if expression.what == "NOT EXISTS":
        return lambda document: all(each is MISSING for each in values(document))
    wanted = {"IS NULL": None, "IS TRUE": True, "IS FALSE": False}[expression.what]
    return lambda document: any(each is wanted for each in values(document))
