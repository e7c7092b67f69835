"""References to variables in scripts: `{{ name }}` becomes a word that stands for the whole value where it is.

What is put in is fixed text. So a wrong guess of the quotes around a place changes what a script means, and never makes
a value part of what is parsed.
"""

import re
from collections.abc import Sequence
from typing import Final

_END: Final = "\0"
"""Between the lines of a script, which hold no NUL: a placeholder does not go from one to the next."""
_HERE: Final = re.compile(r"<<(?!<)(-?)[ \t]*(?:'([^'\n\0]+)'|\"([^\"\n\0]+)\"|(\\?[A-Za-z0-9_.]+))")


def refer_in_shell(lines: Sequence[str], names: Sequence[str]) -> list[str]:
    """Lines for sh. The value is one word, in quotes of either kind too; in a here-document it is the bare value."""
    return _Scan(_END.join(lines), _placeholders(names)).rewritten().split(_END) if lines else []


def refer_in_powershell(lines: Sequence[str], names: Sequence[str]) -> list[str]:
    """Lines for PowerShell, where a variable is one word everywhere but in single quotes."""
    found = _placeholders(names)
    return [found.sub(lambda match: f"${{env:SSM_{match[1]}}}", line) for line in lines]


def _placeholders(names: Sequence[str]) -> re.Pattern[str]:
    return re.compile(rf"\{{\{{\s*({'|'.join(map(re.escape, names))})\s*\}}\}}")


class _Scan:
    """One pass over a script, with what is known of where it is."""

    def __init__(self, script: str, found: re.Pattern[str]) -> None:
        self._script = script
        self._found = found
        self._at = 0
        self._quote = ""
        self._made: list[str] = []
        self._here: list[str] = []
        """The ends of the here-documents that begin with the next line."""

    def rewritten(self) -> str:
        """The script without placeholders of these names."""
        while self._at < len(self._script):
            match = self._found.match(self._script, self._at)
            if match:
                self._made.append(self._word(f"${{SSM_{match[1]}}}"))
                self._at = match.end()
            elif not (self._escaped() or self._ignored() or self._here_document()):
                letter = self._script[self._at]
                if letter in ("'", '"'):
                    self._quote = "" if self._quote == letter else self._quote or letter
                self._take(self._at + 1)
                if letter in f"\n{_END}" and not self._quote:
                    self._bodies()
        return self._found.sub(lambda match: f"${{SSM_{match[1]}}}", "".join(self._made))  # where none was expected

    def _word(self, variable: str) -> str:
        if self._quote == '"':
            return variable
        return f"'\"{variable}\"'" if self._quote else f'"{variable}"'

    def _take(self, end: int) -> None:
        self._made.append(self._script[self._at : end])
        self._at = end

    def _escaped(self) -> bool:
        """A backslash, with the letter after it unless a placeholder begins there."""
        if self._script[self._at] != "\\" or self._quote == "'":
            return False
        self._take(self._at + (1 if self._found.match(self._script, self._at + 1) else 2))
        return True

    def _ignored(self) -> bool:
        """A comment, up to the end of its line."""
        before = self._script[self._at - 1] if self._at else "\n"
        if self._script[self._at] != "#" or self._quote or before not in f" \t\n;&|({_END}":
            return False
        self._made.append(self._plainly(self._line_end()))
        return True

    def _here_document(self) -> bool:
        found = None if self._quote else _HERE.match(self._script, self._at)
        if found is None or self._script[self._at - 1 : self._at] == "<":
            return False
        self._here.append((found[2] or found[3] or found[4]).removeprefix("\\"))
        self._take(found.end())
        return True

    def _bodies(self) -> None:
        """The here-documents whose bodies begin at this place."""
        for end in self._here:
            while self._at < len(self._script):
                stop = self._line_end()
                last = self._script[self._at : stop].lstrip("\t") == end
                self._made.append(self._plainly(stop))
                if self._at < len(self._script):
                    self._take(self._at + 1)
                if last:
                    break
        self._here = []

    def _line_end(self) -> int:
        ends = [self._script.find(each, self._at) for each in ("\n", _END)]
        return min((end for end in ends if end >= 0), default=len(self._script))

    def _plainly(self, end: int) -> str:
        """The script up to there, with bare references; never in the middle of a placeholder."""
        for match in self._found.finditer(self._script, self._at):
            if match.start() >= end:
                break
            end = max(end, match.end())
        text = self._script[self._at : end]
        self._at = end
        return self._found.sub(lambda match: f"${{SSM_{match[1]}}}", text)
