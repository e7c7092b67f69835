"""An agent on trial: one that was started by an update, and must show that it reaches the server.

update/ in the state directory: trial.json holds the word of the trial, alive the word of the agent
that reached the server. An agent that was running before the trial began never says its word.
"""

import fcntl
import os
import signal
from pathlib import Path

from pilothouse_agent.state import files

RESTART = signal.SIGUSR2
"""The agent ends what it does and starts itself anew from its file."""


def begin(state: Path, word: str) -> None:
    """Whoever starts from now on is on trial."""
    files.write_json(state / "update" / "trial.json", {"word": word})


def end(state: Path) -> None:
    for name in ("trial.json", "alive", "swap.json"):
        (state / "update" / name).unlink(missing_ok=True)


def word(state: Path) -> str | None:
    """The word to say, for an agent that starts; None if there is no trial."""
    stored = files.read_json(state / "update" / "trial.json")
    return str(stored["word"]) if isinstance(stored, dict) and "word" in stored else None


def say(state: Path, its_word: str) -> None:
    """The agent has reached the server."""
    files.write(state / "update" / "alive", its_word.encode())


def said(state: Path, its_word: str) -> bool:
    path = state / "update" / "alive"
    return path.exists() and path.read_text() == its_word


def running_agent(state: Path) -> int | None:
    """The pid of the agent that holds the state directory; None if there is none."""
    try:
        lock = os.open(state / "run.lock", os.O_RDWR)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = os.pread(lock, 32, 0)
        return int(pid) if pid.isdigit() else None
    else:
        return None
    finally:
        os.close(lock)
