"""Commands on disk. A directory per command id; it is the mark that the command was accepted, and stays 14 days.

commands/<command id>/
    command.json        the job and its plan, durable before the server hears "accepted"
    cancelled           somebody asked for an end
    finished            the server has acknowledged the final reply, or will never hear it
    downloads/          working directory of scripts
    steps/<n>/<run>/    script, lock of its supervisor, result.json, stdout, stderr
"""

import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pilothouse_agent.documents.plan import Plan
from pilothouse_agent.state import files

ASSOCIATION = "association"
"""In place of a channel: nothing is replied to by whom it came."""

_COMMAND_ID = re.compile(r"[A-Za-z0-9-]{8,64}\Z")


def command_id_of(job_id: str) -> str | None:
    """The second last part of a job id; None if it is no id (it becomes a directory name)."""
    parts = job_id.split(".")
    if len(parts) < 2 or not _COMMAND_ID.match(parts[-2]):
        return None
    return parts[-2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A command as it was accepted."""

    command_id: str
    job_id: str
    channel: str  # "mgs" or "mds": how it came, and how its replies go back
    document_name: str
    bucket: str
    key_prefix: str
    accepted_at: int
    logs: bool = False  # whether output goes to a log group
    log_group: str = ""  # empty: one named after the document
    place: str = ""  # where output goes in the bucket; empty: below prefix, command and node
    association_id: str = ""
    execution_id: str = ""  # of an association
    due_at: int | None = None  # the time of its schedule that it is for


class CommandDirectory:
    """One command on disk."""

    def __init__(self, root: Path, *, downloads: Path | None = None) -> None:
        self.root = root
        self.downloads = downloads or root / "downloads"

    def create(self, job: Job, plan: Plan) -> None:
        """Durable when this returns."""
        files.make_private(self.downloads)
        files.write_json(self.root / "command.json", {"job": asdict(job), "plan": plan.to_json()})
        files.sync_directory(self.root.parent)

    def load(self) -> tuple[Job, Plan] | None:
        """None if the command was never accepted: the agent ended before it was written."""
        stored: dict[str, Any] | None = files.read_json(self.root / "command.json")
        return (files.known(Job, stored["job"]), Plan.from_json(stored["plan"])) if stored else None

    def run_directory(self, step: int, run: int) -> Path:
        return self.root / "steps" / str(step) / str(run)

    @property
    def cancelled(self) -> bool:
        return (self.root / "cancelled").exists()

    def mark_cancelled(self) -> None:
        files.write(self.root / "cancelled", b"")

    @property
    def finished(self) -> bool:
        return (self.root / "finished").exists()

    def mark_finished(self) -> None:
        files.write(self.root / "finished", b"", durable=False)


class Commands:
    """All commands this node has accepted, and the cancel jobs it has seen."""

    def __init__(self, commands: Path, cancels: Path) -> None:
        self._commands = files.make_private(commands)
        self._cancels = files.make_private(cancels)

    def directory(self, command_id: str) -> CommandDirectory:
        return CommandDirectory(self._commands / command_id)

    def accepted(self, command_id: str) -> bool:
        """Whether the id was accepted before, in this life of the agent or an earlier one."""
        return (self._commands / command_id / "command.json").exists()

    def unfinished(self) -> Iterator[CommandDirectory]:
        """Commands an earlier life of the agent left behind, oldest first."""
        for root in sorted(self._commands.iterdir(), key=lambda entry: entry.stat().st_mtime):
            directory = CommandDirectory(root)
            if not directory.finished and directory.load():
                yield directory

    def cancel_seen(self, cancel_id: str) -> bool:
        """Whether this cancel job came before; if not it is marked as seen."""
        mark = self._cancels / cancel_id
        if mark.exists():
            return True
        mark.touch(mode=0o600)
        return False

    def prune(self, keep_seconds: float, now: float | None = None) -> int:
        """Remove finished commands and cancel marks that are older; how many commands went."""
        limit = (time.time() if now is None else now) - keep_seconds
        removed = 0
        for root in list(self._commands.iterdir()):
            mark = root / "finished" if (root / "command.json").exists() else root  # never accepted: nothing runs it
            if mark.exists() and mark.stat().st_mtime < limit:
                shutil.rmtree(root)
                removed += 1
        for seen in list(self._cancels.iterdir()):
            if seen.stat().st_mtime < limit:
                seen.unlink()
        return removed
