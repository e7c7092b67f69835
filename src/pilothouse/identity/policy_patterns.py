"""The texts of a policy that match other texts: wildcards, variables, ARNs.

`*` is any run of characters, `?` any one. Matching goes once over the text: the pieces between stars are searched from
left to right, and none is tried again. A `${key}` is replaced by the value the request gives for a condition key; what
comes from the request is taken literally, whatever wildcards it holds.
"""

import re
from collections.abc import Callable
from typing import Final, Literal

Value = str | tuple[str, ...]
Lookup = Callable[[str], Value | None]
"""A condition key, lower case, to its value in the request; None: the request has no such key."""
Match = Callable[[str], bool]

# What stands for wildcards once variables are replaced; Unicode promises that no text has these characters.
_STAR: Final = "\ufdd0"
_ANY: Final = "\ufdd1"
_MARKS: Final = re.compile(f"[{_STAR}{_ANY}]")
_VARIABLE: Final = re.compile(r"\$\{(?:([*?$])|([^{}'\",]+?)\s*(?:,\s*(?:'([^']*)'|\"([^\"]*)\"))?)\s*\}")
_ARN_PARTS: Final = 6


class MalformedPolicy(Exception):
    """The document is not a policy.

    `reason` is what IAM says of such documents, as far as it is known; `detail` where and what, for the user.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason} {detail}".strip())
        self.reason = reason
        self.detail = detail


SYNTAX: Final = "Syntax errors in policy."


def wildcards(text: str) -> str:
    """The text with its `*` and `?` as wildcards, for `matcher`."""
    return text.replace("*", _STAR).replace("?", _ANY)


def matcher(pattern: str) -> Match:
    """Whether a whole text fits the pattern (of `wildcards`)."""
    first, *more = pattern.split(_STAR)
    if _ANY in pattern:
        return _matcher_of_pieces(_Piece(first), [_Piece(piece) for piece in more])
    if not more:
        return first.__eq__
    *middle, last = more
    if any(middle):
        return _matcher_of_pieces(_Piece(first), [_Piece(piece) for piece in more])
    if not last:
        return (lambda text: text.startswith(first)) if first else _always
    least = len(first) + len(last)
    return lambda text: len(text) >= least and text.startswith(first) and text.endswith(last)


def _always(text: str) -> bool:
    return True


def _never(text: str) -> bool:
    return False


def _matcher_of_pieces(first: "_Piece", more: list["_Piece"]) -> Match:
    """Each piece between stars is taken where it is found first: no later place leaves more room for the next ones."""
    if not more:
        return lambda text: len(text) == first.length and first.stands_at(text, 0)
    *middle, last = more
    middle = [piece for piece in middle if piece.length]

    def fits(text: str) -> bool:
        end = len(text) - last.length
        at = first.length
        if end < at or not first.stands_at(text, 0) or not last.stands_at(text, end):
            return False
        for piece in middle:
            at = piece.end(text, at, end)
            if at < 0:
                return False
        return True

    return fits


class _Piece:
    """A run of characters, some of which may be any."""

    __slots__ = ("_fixed", "_masks", "_places", "_text", "length")

    def __init__(self, text: str) -> None:
        self._text = text
        self.length = len(text)
        self._fixed = _ANY not in text
        self._places = [(at, character) for at, character in enumerate(text) if character != _ANY]
        self._masks: tuple[dict[str, int], int] | None = None

    def stands_at(self, text: str, at: int) -> bool:
        """Whether it is there; the text is long enough."""
        if self._fixed:
            return text.startswith(self._text, at)
        return all(text[at + place] == character for place, character in self._places)

    def end(self, text: str, start: int, end: int) -> int:
        """Where its first occurrence between start and end ends; below 0: there is none.

        With characters that may be any, all begun occurrences are followed at once, each a bit of one number.
        """
        if self._fixed:
            found = text.find(self._text, start, end)
            return found + self.length if found >= 0 else -1
        masks, anything = self._bits()
        whole = 1 << (self.length - 1)
        begun = 0
        for at in range(start, end):
            begun = (begun << 1 | 1) & masks.get(text[at], anything)
            if begun & whole:
                return at + 1
        return -1

    def _bits(self) -> tuple[dict[str, int], int]:
        """For each character the places that it may stand at, and those that any may."""
        if self._masks is None:
            anything = sum(1 << at for at, character in enumerate(self._text) if character == _ANY)
            masks: dict[str, int] = {}
            for at, character in self._places:
                masks[character] = masks.get(character, anything) | 1 << at
            self._masks = masks, anything
        return self._masks


class Template:
    """A text of a policy with wildcards and variables, or without.

    `literal`: its wildcards are plain characters (StringEquals).
    """

    __slots__ = ("_parts", "fixed")

    def __init__(self, text: str, *, variables: bool, literal: bool = False) -> None:
        if _MARKS.search(text):
            raise MalformedPolicy(SYNTAX, "a text holds a character that is none (U+FDD0 or U+FDD1)")
        keep: Callable[[str], str] = str if literal else wildcards
        self._parts: list[str | tuple[str, str | None]] = []
        """Texts, and (condition key, default) of variables."""
        if not variables:
            self._parts.append(keep(text))
        else:
            self._read(text, keep)
        self.fixed = None if any(isinstance(part, tuple) for part in self._parts) else "".join(map(str, self._parts))
        """The text if no part of it comes from the request."""

    def _read(self, text: str, keep: Callable[[str], str]) -> None:
        at = 0
        for found in _VARIABLE.finditer(text):
            self._plain(text[at : found.start()], keep)
            at = found.end()
            if found[1]:
                self._parts.append(found[1])
            else:
                default = found[3] if found[3] is not None else found[4]
                self._parts.append((found[2].strip().lower(), default))
        self._plain(text[at:], keep)

    def _plain(self, text: str, keep: Callable[[str], str]) -> None:
        if "${" in text:
            raise MalformedPolicy(SYNTAX, f"a variable is not closed or malformed: {text}")
        if text:
            self._parts.append(keep(text))

    def text(self, lookup: Lookup) -> str | None:
        """With the values of the request. None: one is missing or has several values, so this equals nothing."""
        if self.fixed is not None:
            return self.fixed
        made = []
        for part in self._parts:
            if isinstance(part, str):
                made.append(part)
                continue
            value = lookup(part[0])
            if value is None:
                value = part[1]
            if not isinstance(value, str) or _MARKS.search(value):
                return None
            made.append(value)
        return "".join(made)


class Pattern:
    """A text of a policy to be matched as a whole."""

    __slots__ = ("_kind", "_match", "_template")

    def __init__(self, text: str, *, variables: bool, kind: Literal["text", "arn"] = "text") -> None:
        self._template = Template(text, variables=variables)
        self._kind = kind
        fixed = self._template.fixed
        self._match = None if fixed is None else self._compiled(fixed)

    def _compiled(self, pattern: str) -> Match:
        return arn_matcher(pattern) if self._kind == "arn" else matcher(pattern)

    def fits(self, text: str, lookup: Lookup) -> bool:
        """Whether the text is one that the pattern means in this request."""
        if self._match is not None:
            return self._match(text)
        pattern = self._template.text(lookup)
        return pattern is not None and self._compiled(pattern)(text)


def arn_matcher(pattern: str) -> Match:
    """Whether an ARN fits: each of its six parts by itself, so that a wildcard does not reach over a colon, but for
    the last. A lone `*` is every text."""
    if pattern == _STAR:
        return _always
    parts = pattern.split(":", _ARN_PARTS - 1)
    if len(parts) < _ARN_PARTS:
        return _never
    front, last = parts[:-1], parts[-1]
    if not any(_STAR in part or _ANY in part for part in front):
        return matcher(pattern)  # colons of the front are fixed: the parts cannot shift
    fronts = [(at, matcher(part)) for at, part in enumerate(front) if part != _STAR]
    fits_last = matcher(last)

    def fits(text: str) -> bool:
        given = text.split(":", _ARN_PARTS - 1)
        return (
            len(given) == _ARN_PARTS and all(fits_part(given[at]) for at, fits_part in fronts) and fits_last(given[-1])
        )

    return fits
