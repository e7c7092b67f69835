"""Associations on disk: what the server wants of this node, what was run of it, and reports on their way.

associations/kept/<id>.json        an association with its document, and the latest time of its schedule that was run
associations/runs/<run id>/        one run, as commands have it; it is the mark that this run was begun
associations/reports/<number>.json one report, until the server has it
"""

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pilothouse_agent.state import files

_ID = re.compile(r"[0-9A-Za-z-]{8,64}\Z")
_DONE_MOST = 100


@dataclass(slots=True, kw_only=True)
class Kept:
    """One association that this node keeps to."""

    association_id: str
    name: str
    document_version: str
    checksum: str
    content: str = field(repr=False)
    parameters: dict[str, list[str]] = field(repr=False)
    bucket: str = ""
    key_prefix: str = ""
    timetable: dict[str, Any] | None = None
    last_due: int = 0  # of its schedule, begun or to be passed over
    pending: dict[str, Any] | None = None  # what the server wants run now: execution and the time that it is for
    done: list[str] = field(default_factory=list)  # executions that were begun

    def begun(self, execution_id: str, due_at: int | None) -> None:
        """This one need not be begun again."""
        self.done = [*self.done[-_DONE_MOST:], execution_id]
        self.last_due = max(self.last_due, due_at or 0)
        self.pending = None


class KeptAssociations:
    """All associations of this node, as the server told them last."""

    def __init__(self, root: Path) -> None:
        self._root = files.make_private(root)
        self.all: dict[str, Kept] = {}
        for path in sorted(root.glob("*.json")):
            stored = files.read_json(path)
            if isinstance(stored, dict):
                kept = files.known(Kept, stored)
                self.all[kept.association_id] = kept

    def keep(self, kept: Kept) -> None:
        """Durable when this returns."""
        files.write_json(self._path(kept.association_id), asdict(kept))
        self.all[kept.association_id] = kept

    def drop(self, association_id: str) -> None:
        """The node keeps to it no more."""
        if self.all.pop(association_id, None) is not None:
            self._path(association_id).unlink(missing_ok=True)

    def _path(self, association_id: str) -> Path:
        if not _ID.match(association_id):
            raise ValueError(f"{association_id!r} is no id")
        return self._root / f"{association_id}.json"


class ReportQueue:
    """Reports in the order in which they were made."""

    def __init__(self, root: Path) -> None:
        self._root = files.make_private(root)
        self._last = max((int(path.stem) for path in root.glob("*.json")), default=0)

    def put(self, request: dict[str, Any]) -> None:
        """Durable when this returns."""
        self._last += 1
        files.write_json(self._root / f"{self._last:012d}.json", request)

    def waiting(self) -> Iterator[tuple[Path, dict[str, Any]]]:
        """Each with its file, which is to be removed when the server has it. Broken files go at once."""
        for path in sorted(self._root.glob("*.json")):
            stored = files.read_json(path)
            if isinstance(stored, dict):
                yield path, stored
            else:
                path.unlink(missing_ok=True)
