"""One package on this node: its unpacked versions, which one is installed, and what is still to be done.

packages/<name>/
    lock            held while something is done with it
    state.json      installed version; target and actions that are left
    versions/<v>/   content of a version
"""

import fcntl
import hashlib
import os
import re
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from pilothouse_agent.plugins.download_content.places import Place, Unsafe, parts_of
from pilothouse_agent.plugins.supervisor import WorkFailed
from pilothouse_agent.state import files

Action = tuple[str, str]
"""Name of a script without its ending, and the version it belongs to."""

_LINK = 0o120000


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What is known of the package. todo is done from its front; what is done is taken off before the next begins."""

    installed: str = ""
    sha256: str = ""  # of the file the installed version came from
    target: str = ""
    previous: str = ""  # installed when this began: what to go back to
    todo: list[Action] = field(default_factory=list)
    rolling_back: bool = False


class Repository:
    """The package's directory. Use it inside `locked`."""

    def __init__(self, root: Path, name: str) -> None:
        short = re.sub(r"[^A-Za-z0-9_.-]", "_", name.rpartition("/")[2])[:60]
        self._root = files.make_private(root / f"{short}-{hashlib.sha256(name.encode()).hexdigest()[:12]}")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Two commands for one package do it one after the other."""
        lock = os.open(self._root / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def state(self) -> State:
        stored = files.read_json(self._root / "state.json")
        if not isinstance(stored, dict):
            return State()
        found = files.known(State, stored)
        return replace(found, todo=[(action, version) for action, version in found.todo])

    def store(self, state: State) -> State:
        files.write_json(self._root / "state.json", asdict(state))
        return state

    def directory(self, version: str) -> Path:
        return self._root / "versions" / version

    def has(self, version: str, sha256: str) -> bool:
        """Whether the version is unpacked here, from that file."""
        mark = self.directory(version).with_name(f"{version}.sha256")
        return self.directory(version).is_dir() and mark.exists() and mark.read_text() == sha256

    def unpack(self, archive: Path, version: str, sha256: str, most_bytes: int) -> None:
        """All or nothing. Raises WorkFailed for an archive that is none, or would write elsewhere."""
        fresh = self.directory(version).with_name(f".{version}.new")
        shutil.rmtree(fresh, ignore_errors=True)
        place = Place(fresh, most_bytes)
        try:
            with zipfile.ZipFile(archive) as packed:
                for entry in packed.infolist():
                    if entry.is_dir():
                        continue
                    if (entry.external_attr >> 16) & 0o170000 == _LINK:
                        raise Unsafe(f"the package holds a link: {entry.filename[:200]!r}")
                    with packed.open(entry) as content:
                        place.write(parts_of(entry.filename), iter(lambda opened=content: opened.read(65_536), b""))  # type: ignore[misc]
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
            raise WorkFailed(f"the file of the package is no zip archive that can be unpacked: {error}") from error
        self.remove(version)
        fresh.rename(self.directory(version))
        files.write(self.directory(version).with_name(f"{version}.sha256"), sha256.encode())

    def remove(self, version: str) -> None:
        self.directory(version).with_name(f"{version}.sha256").unlink(missing_ok=True)
        shutil.rmtree(self.directory(version), ignore_errors=True)
