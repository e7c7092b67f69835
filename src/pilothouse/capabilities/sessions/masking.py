"""Known values are replaced in what is recorded of a session, also where they come in pieces.

Output comes in pieces of any size, and a terminal shows more than the text: escape sequences may stand in the midst of
a value. So a value is looked for among the bytes as they are, and among those that are text. The end of what came may
be the beginning of a value: it is held back until it is known, and kept beside the recording meanwhile.
"""

import json
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import Any, Final

import ahocorasick_rs
import msgspec

MASK: Final = b"********"
SHORTEST: Final = 4
"""Bytes. What is shorter stands in any output, and is not looked for."""
_SHORTEST_LINE: Final = 8
_PIECE: Final = 512
"""Longer values are looked for in pieces, so that little is held back."""
_HELD_MOST: Final = 8192

_BESIDE_TEXT: Final = re.compile(
    rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b\n]*(?:\x07|\x1b\\)|[PX^_][^\x1b\n]*\x1b\\|[ -/]*[0-~])"
    rb"|[\x00-\x08\x0b-\x1f\x7f]| \r(?!\n)"
)
"""What a terminal does not show: escape sequences, control characters, and the space with which shells wrap a line."""
_BEGUN: Final = re.compile(
    rb"(?:\x1b(?:\[[0-?]*[ -/]*|\][^\x07\x1b\n]*\x1b?|[PX^_][^\x1b\n]*\x1b?|[ -/]*)| \r?)\Z"
)  # fmt: skip
"""The beginning of such, at the end of what came."""


class Masks:
    """The values of one list, ready to be found. They are in no `repr` and no log."""

    def __init__(self, values: Iterable[bytes]) -> None:
        patterns = sorted({form for value in values for form in _forms(value)})
        self._patterns = patterns
        self._finder = ahocorasick_rs.BytesAhoCorasick(patterns) if patterns else None
        self._longest = max(map(len, patterns), default=0)
        self._beginnings = frozenset(each[:SHORTEST] for each in patterns)
        firsts = b"".join(re.escape(bytes([each])) for each in sorted({each[0] for each in patterns}))
        self._first = re.compile(b"[" + firsts + b"]") if patterns else None

    def __repr__(self) -> str:
        return f"Masks({len(self._patterns)} patterns)"

    def feed(self, held: bytes, new: bytes) -> tuple[bytes, bytes]:
        """What may be recorded of the bytes held before and the new ones, and what is held from here on."""
        text = held + new
        if self._finder is None:
            return text, b""
        text_of = _Text(text)
        cover, ends = self._covered(text_of)
        start = 0
        while True:
            pending = self._pending(text_of, start)
            across = [end for begin, end in ends if begin < pending < end]
            if not across:
                break
            start = max(across)
        if len(text) - pending <= _HELD_MOST:
            return _without(text[:pending], cover, ends), text[pending:]
        return self._given_up(text_of, cover, ends, pending)

    def rest(self, held: bytes) -> bytes:
        """What may be recorded of the held bytes when nothing follows: most of a value is not."""
        return held if len(held) < SHORTEST else MASK

    def _given_up(
        self, text_of: "_Text", cover: bytearray, ends: list[tuple[int, int]], pending: int
    ) -> tuple[bytes, bytes]:
        """Too much stands in the midst of what may be a value: its beginning counts as one."""
        for number in range(len(text_of.shown)):
            at = text_of.place(number)
            if at >= pending:
                cover[at] = 1
        raw = self._pending_in(text_of.whole, pending + 1)
        return _without(text_of.whole[:raw], cover, [*ends, (pending, pending + 1)]), text_of.whole[raw:]

    def _covered(self, text_of: "_Text") -> tuple[bytearray, list[tuple[int, int]]]:
        """Which bytes are of values, and from where to where these go."""
        assert self._finder is not None
        cover = bytearray(len(text_of.whole))
        ends = []
        for _, begin, end in self._finder.find_matches_as_indexes(text_of.whole, overlapping=True):
            cover[begin:end] = b"\x01" * (end - begin)
            ends.append((begin, end))
        if text_of.is_mixed:
            for _, begin, end in self._finder.find_matches_as_indexes(text_of.shown, overlapping=True):
                places = [text_of.place(number) for number in range(begin, end)]
                for at in places:
                    cover[at] = 1
                ends.append((places[0], places[-1] + 1))
        return cover, ends

    def _pending(self, text_of: "_Text", start: int) -> int:
        """Where the end begins that may be the beginning of a value, at `start` or behind it; else the length."""
        found = self._pending_in(text_of.whole, start)
        if text_of.is_mixed:
            begin = self._pending_in(text_of.shown, text_of.number(start))
            if begin < len(text_of.shown):
                found = min(found, text_of.place(begin))
        return found

    def _pending_in(self, text: bytes, start: int) -> int:
        assert self._first is not None
        for match in self._first.finditer(text, max(start, len(text) - self._longest + 1)):
            at = match.start()
            if len(text) - at >= SHORTEST and text[at : at + SHORTEST] not in self._beginnings:
                continue
            tail = text[at:]
            following = bisect_right(self._patterns, tail)
            if following < len(self._patterns) and self._patterns[following].startswith(tail):
                return at
        return len(text)


class _Text:
    """Bytes of a terminal, and those of them that are text."""

    def __init__(self, whole: bytes) -> None:
        self.whole = whole
        begun = _BEGUN.search(whole)
        end = len(whole) if begun is None else begun.start()
        spans, at = list[tuple[int, int]](), 0
        for match in _BESIDE_TEXT.finditer(whole, 0, end):
            if match.start() > at:
                spans.append((at, match.start()))
            at = match.end()
        self.is_mixed = at > 0 or begun is not None
        if at < end:
            spans.append((at, end))
        self.shown = b"".join(whole[begin:end] for begin, end in spans) if self.is_mixed else whole
        self._places = [at for span in spans for at in range(*span)] if self.is_mixed else None

    def place(self, number: int) -> int:
        """Where a byte of the text stands."""
        return number if self._places is None else self._places[number]

    def number(self, place: int) -> int:
        """The first byte of the text that stands there or behind."""
        return place if self._places is None else bisect_right(self._places, place - 1)


def _without(text: bytes, cover: bytearray, ends: list[tuple[int, int]]) -> bytes:
    """The text with each covered run replaced; what goes on behind an escape sequence is one with what began before."""
    if not ends:
        return text
    begins = sorted({begin for begin, _ in ends})
    parts, at = [], 0
    for run in re.finditer(rb"\x01+", cover[: len(text)]):
        parts.append(text[at : run.start()])
        following = bisect_right(begins, run.start() - 1)
        if following < len(begins) and begins[following] < run.end():
            parts.append(MASK)
        at = run.end()
    return b"".join([*parts, text[at:]])


def _forms(value: bytes) -> Iterator[bytes]:
    """How a value may stand in output: as it is, as text, by lines, in JSON, and the texts that it holds as JSON."""
    texts = [value, *_leaves(value)]
    for text in tuple(texts):
        texts += _in_json(text)
        lines = re.split(rb"[\r\n]+", text)
        texts += [line for line in lines if len(line) >= _SHORTEST_LINE] if len(lines) > 1 else []
    for text in texts:
        for form in (text, _BESIDE_TEXT.sub(b"", text)):
            stripped = form.strip(b"\r\n")
            if len(stripped) >= SHORTEST:
                yield from _pieces(stripped)


def _pieces(text: bytes) -> Iterator[bytes]:
    count = -(-len(text) // _PIECE)
    start = 0
    for number in range(1, count + 1):
        end = len(text) * number // count
        while end < len(text) and text[end] & 0xC0 == 0x80:  # not in the midst of a character
            end += 1
        yield text[start:end]
        start = end


def _leaves(value: bytes) -> list[bytes]:
    """The texts in a JSON object or list."""
    if value[:1] not in (b"{", b"["):
        return []
    try:
        return [text.encode() for text in _texts(msgspec.json.decode(value))]
    except (msgspec.MsgspecError, RecursionError):
        return []


def _texts(found: Any) -> Iterator[str]:
    if isinstance(found, str):
        yield found
    elif isinstance(found, dict | list):
        for part in found.values() if isinstance(found, dict) else found:
            yield from _texts(part)


def _in_json(text: bytes) -> list[bytes]:
    """As programs print it that print JSON."""
    try:
        plain = text.decode()
    except UnicodeDecodeError:
        return []
    written = {msgspec.json.encode(plain)[1:-1], json.dumps(plain)[1:-1].encode()}
    return sorted(written - {text})
