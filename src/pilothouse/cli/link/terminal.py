"""This side's terminal: raw while a session has it, and always as it was afterwards."""

import contextlib
import os
import termios
import tty
from collections.abc import Iterator
from typing import Any, Final

_USUAL: Final = (80, 24)


@contextlib.contextmanager
def raw(descriptor: int) -> Iterator[None]:
    """Every key is passed on as it is; what is typed does not show by itself."""
    before = termios.tcgetattr(descriptor)
    try:
        tty.setraw(descriptor, termios.TCSADRAIN)  # what was typed ahead is kept
        yield
    finally:
        with contextlib.suppress(termios.error):  # the terminal is gone
            termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def size(descriptor: int) -> tuple[int, int]:
    """Columns and rows."""
    try:
        found = os.get_terminal_size(descriptor)
    except OSError:
        return _USUAL
    return (found.columns, found.lines) if found.columns and found.lines else _USUAL


def shape(descriptor: int) -> dict[str, Any]:
    """Columns and rows as sessions say them."""
    columns, rows = size(descriptor)
    return {"cols": columns, "rows": rows}


class Escape:
    """Finds `~.` at the beginning of a line, by which a user leaves."""

    def __init__(self) -> None:
        self._begins = True
        self._held = b""

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """What is to be sent, and whether the user leaves."""
        out = bytearray()
        for number in range(len(data)):
            byte = data[number : number + 1]
            if self._held:
                self._held = b""
                if byte == b".":
                    return bytes(out), True
                out += b"~" if byte != b"~" else b""
                out += byte
                self._begins = byte in b"\r\n"
            elif byte == b"~" and self._begins:
                self._held = byte
                self._begins = False
            else:
                out += byte
                self._begins = byte in b"\r\n"
        return bytes(out), False
