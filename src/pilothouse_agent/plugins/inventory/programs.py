"""Programs that gatherers ask: found or not, bounded in time and size, never with a shell."""

import os
import shutil
import subprocess

_PATIENCE = 120.0
_MOST = 64 * 1024 * 1024


def output_of(*command: str) -> str | None:
    """What the program says; None if it is not here or fails."""
    program = shutil.which(command[0])
    if program is None:
        return None
    try:
        done = subprocess.run(  # noqa: S603 -- our own words only
            [program, *command[1:]],
            env={**os.environ, "LC_ALL": "C", "LANGUAGE": "C"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_PATIENCE,
            check=False,
        )
    except (subprocess.TimeoutExpired, OSError):
        return None
    if done.returncode != 0 or len(done.stdout) > _MOST:
        return None
    return done.stdout.decode("utf-8", "replace")
