"""AWS:Process: programs that run, from /proc. Arguments are left out: people put secrets there."""

import contextlib
import os
import pwd
import time
from pathlib import Path

from pilothouse_agent.plugins.inventory import Entry


def processes(proc: Path = Path("/proc")) -> list[Entry]:
    """One entry for each program and user, with when the first of them began."""
    booted = _booted(proc)
    found: dict[tuple[str, str], Entry] = {}
    for path in sorted((each for each in proc.glob("[0-9]*") if each.name.isdigit()), key=lambda each: int(each.name)):
        with contextlib.suppress(OSError, ValueError, IndexError):
            program = os.readlink(path / "exe").removesuffix(" (deleted)")
            user = _user(path.stat().st_uid)
            ticks = int((path / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()[19])
            began = booted + ticks / os.sysconf("SC_CLK_TCK")
            found.setdefault(
                (program, user),
                {
                    "FileName": os.path.basename(program),
                    "InstalledDir": os.path.dirname(program),
                    "CommandLine": program,
                    "User": user,
                    "StartTime": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(began)),
                },
            )
    return [found[key] for key in sorted(found)]


def _booted(proc: Path) -> float:
    for line in (proc / "stat").read_text().splitlines():
        if line.startswith("btime "):
            return float(line.split()[1])
    return 0.0


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
