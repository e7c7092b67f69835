"""The models' regular expressions and enumerations: how they are matched, and how AWS prints them.

Patterns are written for Java and match the whole value, but for those that bind only its beginning. They run on RE2,
which knows Unicode classes and cannot be made to take exponential time; the few that RE2 refuses (look-ahead, `\\u`
escapes, long repetitions) run on `re`: they come from the published models, never from a user, and have no nested
repetition.
"""

import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import re2

_PRINTED_BARE = frozenset({"ParameterStringFilterKey"})
"""Shapes whose pattern AWS prints without the `^(` and `)$` around it (parameter-store recordings)."""


@cache
def full_match(pattern: str) -> Callable[[str], Any]:
    """A function that says whether a whole string fits; compiled at its first call, not when a model is loaded."""
    compiled: list[Callable[[str], Any]] = []

    def fits(value: str) -> Any:
        if not compiled:
            compiled.append(_compile(pattern))
        return compiled[0](value)

    return fits


def _compile(pattern: str) -> Callable[[str], Any]:
    options = re2.Options()
    options.log_errors = False
    try:
        on_re2: Callable[[str], Any] = re2.compile(pattern, options).fullmatch
    except re2.error:
        # Java reads the minus after a class as itself; `re` wants it escaped. Classes are ASCII in both.
        compiled = re.compile(pattern.replace(r"\w-", r"\w\-"), re.ASCII)
        if pattern.startswith("^") and not pattern.endswith("$"):  # `^(?!\s*$).+` says not blank, and nothing of lines
            return compiled.match
        return compiled.fullmatch
    return on_re2


def printed_pattern(shape: str, pattern: str) -> str:
    """The pattern as it stands in violation texts."""
    return pattern[2:-2] if shape in _PRINTED_BARE else pattern


def printed_enum(values: Sequence[str]) -> list[str]:
    """The values in the order in which AWS prints a set: by Java's string hash in a table of 32 places.

    This order gives every recorded text of up to some twenty values, for example `[SecureString, StringList, String]`.
    """
    places = 32
    while places < len(values) * 4 // 3:
        places *= 2
    return sorted(values, key=lambda value: _java_hash(value) % places)


def _java_hash(text: str) -> int:
    number = 0
    for character in text:
        number = (31 * number + ord(character)) & 0xFFFFFFFF
    return number
