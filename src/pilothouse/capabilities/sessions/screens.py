"""Recorded output as lines of plain text, without what moves and colours it."""

import re
from typing import Final, NamedTuple

import msgspec

_ESCAPE: Final = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[PX^_][^\x1b]*\x1b\\|[ -/]*[0-~])"
)
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_LINE_MOST: Final = 64 << 10
"""Characters after which a line ends that has no end."""
_read_line: Final = msgspec.json.Decoder(tuple[float, str, str]).decode


class Shown(NamedTuple):
    """A line, and the second of the session at which it began."""

    at: float
    text: str


class Screen:
    """Puts lines together from events of an asciicast."""

    def __init__(self, at: float = 0.0, held: str = "") -> None:
        """`held`: a line that has begun before, at the second `at`."""
        self._at = at
        self._held = held

    @property
    def begun(self) -> tuple[float, str]:
        """The line that has no end yet, and when it began."""
        return self._at, self._held

    def shown(self, lines: bytes) -> list[Shown]:
        """The lines that end within these events."""
        done = []
        for each in lines.splitlines():
            at, kind, data = _read_line(each)
            if kind != "o":
                continue
            if not self._held:
                self._at = at
            *whole, self._held = (self._held + data).split("\n")
            if len(self._held) > _LINE_MOST:
                whole.append(self._held)
                self._held = ""
            for text in whole:
                done.append(Shown(self._at, plain(text)))
                self._at = at
        return done

    def rest(self) -> list[Shown]:
        """The last line, if it has no end."""
        return [Shown(self._at, plain(self._held))] if self._held else []


def plain(text: str) -> str:
    """Output without escape sequences and control characters."""
    return _CONTROL.sub("", _ESCAPE.sub("", text)).replace("\r", "")
