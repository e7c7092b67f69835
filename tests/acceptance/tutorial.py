"""A tutorial's own text, typed into a shell as a reader would: what it shows is what is run, and what comes out."""

import os
import re
import signal
import subprocess
import threading
from pathlib import Path
from typing import NamedTuple

_BLOCK = re.compile(r"^```(sh|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_END = "end of the block"
_FAILED = "a command failed"
_SECONDS = 180
"""For one block; what takes longer fails."""


class Block(NamedTuple):
    """Lines that a reader types, and what they say: None where the page shows nothing."""

    lines: str
    shown: str | None


def blocks(page: Path, **changes: str) -> list[Block]:
    """What a page lets its reader type; `changes`: words of it that are others here, such as ports."""
    text = page.read_text()
    for word, other in changes.items():
        assert word in text, word
        text = text.replace(word, other)
    found: list[Block] = []
    for kind, content in _BLOCK.findall(text):
        if kind == "sh":
            found.append(Block(content, None))
        else:
            found[-1] = found[-1]._replace(shown=content)
    return found


class Terminal:
    """One bash that keeps its variables from block to block; a command that fails ends it."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._log = folder / "terminal.log"
        self._block = folder / "block.sh"
        with self._log.open("wb") as log:
            self._bash = subprocess.Popen(
                ["bash", "-e", "-o", "pipefail"], cwd=folder, env=environment, stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True,
            )  # fmt: skip

        assert self._bash.stdin is not None
        self._bash.stdin.write(f"trap 'echo {_FAILED}' EXIT\n")

    def type(self, lines: str) -> str:
        """What they print. Fails with what was said when one of them fails."""
        assert self._bash.stdin is not None
        assert self._bash.stdout is not None
        self._block.write_text(lines)
        self._bash.stdin.write(f". {self._block} </dev/null; echo '{_END}'\n")
        self._bash.stdin.flush()
        said = []
        limit = threading.Timer(_SECONDS, os.killpg, (self._bash.pid, signal.SIGKILL))
        limit.start()
        try:
            for line in self._bash.stdout:
                if line == f"{_END}\n":
                    return "".join(said)
                if line == f"{_FAILED}\n":  # what was started in the background still holds the pipe
                    break
                said.append(line)
        finally:
            limit.cancel()
        raise AssertionError(f"{lines}\nsaid {''.join(said)}\nand {self._log.read_text()[-4000:]}")

    def close(self) -> None:
        """Its background jobs end by themselves, with the machines they run in."""
        self._bash.communicate(timeout=30)


def surroundings(**more: str) -> dict[str, str]:
    """What a login leaves, with nothing of this machine's AWS settings."""
    return {"PATH": os.environ["PATH"], "HOME": more.pop("HOME"), "AWS_PAGER": "", "LC_ALL": "C.UTF-8", **more}
