"""Where the whole output of one run goes, as it is stored beside the run until everything is sent."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from pilothouse_agent.state import files
from pilothouse_agent.state.commands import Job

STREAMS = ("stdout", "stderr")
_FILE = "sending.json"
_SENT = "sent"
_NOT_IN_GROUP = re.compile(r"[^A-Za-z0-9_\-/.#]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One run's output: where it lies, where it goes, and how far it went. Empty bucket or log_group: not there."""

    directory: str  # of the run: the streams, and this
    bucket: str
    key: str  # the stream's name comes after it
    log_group: str
    log_stream: str
    notes: tuple[str, str] | None = None  # what the agent adds to stdout and stderr; None while the run goes on
    logged: Mapping[str, int] = field(default_factory=dict)  # bytes of each stream that are in the log
    uploaded: bool = False

    @property
    def wants_upload(self) -> bool:
        return bool(self.bucket) and not self.uploaded

    def store(self) -> "Target":
        files.write_json(files.make_private(Path(self.directory)) / _FILE, asdict(self), durable=False)
        return self

    def changed(self, **members: Any) -> "Target":
        """With other members, stored."""
        return replace(self, **members).store()

    def done(self) -> None:
        """Everything is where it belongs."""
        directory = Path(self.directory)
        (directory / _SENT).touch()
        (directory / _FILE).unlink(missing_ok=True)

    def resumed(self) -> "Target | None":
        """As an earlier life of the agent left it; None if that sent everything, or left it to be tried again."""
        directory = Path(self.directory)
        if (directory / _SENT).exists():
            return None
        stored = load(directory)
        if stored is None:
            return self
        return stored if stored.notes is None else None


def load(directory: Path) -> Target | None:
    """What is still to be sent of the run in the directory; None if nothing is."""
    stored = files.read_json(directory / _FILE)
    if not isinstance(stored, dict):
        return None
    if stored.get("notes") is not None:
        stored["notes"] = tuple(stored["notes"])
    return files.known(Target, {**stored, "directory": str(directory)})  # it may have been moved aside


class Content:
    """One stream of a run as it is sent: the file up to the limit, and the agent's note once the run has ended."""

    def __init__(self, path: Path, limit: int, note: str | None) -> None:
        """note is None while the run goes on."""
        self._path = path
        self.ended = note is not None
        self.of_file = min(path.stat().st_size, limit) if path.exists() else 0
        self.ending = _on_its_own_line(path, self.of_file, note) if note else b""

    @property
    def length(self) -> int:
        return self.of_file + len(self.ending)

    def read(self, offset: int, size: int) -> bytes:
        """At most size bytes."""
        data = b""
        if offset < self.of_file:
            with self._path.open("rb") as file:
                file.seek(offset)
                data = file.read(min(size, self.of_file - offset))
        rest = max(offset + len(data) - self.of_file, 0)
        return data + self.ending[rest : rest + size - len(data)] if offset + len(data) >= self.of_file else data


def _on_its_own_line(path: Path, length: int, note: str) -> bytes:
    if not length:
        return note.encode()
    with path.open("rb") as file:
        file.seek(length - 1)
        gap = b"" if file.read(1) == b"\n" else b"\n"
    return gap + note.encode()


def target_of(job: Job, directory: Path, plugin: str, step: str, part: str) -> Target | None:
    """Where the job wants the output of a run. step is the step's name, part its (or the run's) name in keys."""
    if not job.bucket and not job.logs:
        return None
    node = job.job_id.rpartition(".")[2]
    place = (job.place,) if job.place else (job.key_prefix.strip("/"), job.command_id, node)
    parts = (*place, plugin.replace(":", ""), part.replace(":", ""))
    group = job.log_group or f"/aws/ssm/{_NOT_IN_GROUP.sub('.', job.document_name)}"
    return Target(
        directory=str(directory),
        bucket=job.bucket,
        key="/".join(part for part in parts if part),
        log_group=group if job.logs else "",
        log_stream=f"{job.command_id}/{node}/{step.replace(':', '-').replace('*', '-')}",
    )
