"""Programs of the system that the payload runs, without a shell, in the C locale. Under Python 3.6."""

import os
import subprocess
import sys
from typing import Iterable, List, Optional, Sequence, Tuple

_GRACE = 30


class ToolFailed(Exception):
    """The package manager could not do what was asked; nothing is to be reported."""


def run(
    argv: Sequence[str], seconds: int = 3600, good: Optional[Iterable[int]] = (0,), shown: bool = False
) -> Tuple[int, str]:
    """Exit code and standard output. `good`: the codes that are no failure, None for all; `shown`: pass it on as well.

    A program that does not end in time is ended, it alone: what it started may be at work on packages.
    Raises ToolFailed.
    """
    environment = dict(os.environ, LC_ALL="C", LANG="C", DEBIAN_FRONTEND="noninteractive")
    environment.pop("LANGUAGE", None)
    try:
        child = subprocess.Popen(
            list(argv), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
        )
    except FileNotFoundError:
        raise ToolFailed(f"{argv[0]} is not there")
    try:
        told, complained = child.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        _end(child)
        raise ToolFailed(f"{argv[0]} did not end within {seconds} seconds")
    out, err = told.decode("utf-8", "replace"), complained.decode("utf-8", "replace")
    failed = good is not None and child.returncode not in good
    if shown or failed:
        sys.stdout.write(out if shown else "")
        sys.stderr.write(err)
    if failed:
        raise ToolFailed("{} ended with exit code {}".format(" ".join(argv[:3]), child.returncode))
    return child.returncode, out


def _end(child: "subprocess.Popen[bytes]") -> None:
    """Without reading on: what the child started may hold its streams for as long as it likes."""
    child.terminate()
    try:
        child.wait(_GRACE)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait(_GRACE)
    for stream in (child.stdout, child.stderr):
        if stream is not None:
            stream.close()


def found(*names: str) -> Optional[str]:
    """The first of the programs that is there."""
    places = os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").split(":")
    for name in names:
        if any(os.access(os.path.join(place, name), os.X_OK) for place in places):
            return name
    return None


def chunks(names: Sequence[str], size: int = 400) -> Iterable[List[str]]:
    """The names in pieces that fit a command line."""
    return (list(names[start : start + size]) for start in range(0, len(names), size))
