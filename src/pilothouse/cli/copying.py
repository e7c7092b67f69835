"""What `pilothouse cp` does with one node: files and directories, there or back, over as many sessions as it takes."""

import asyncio
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from pilothouse.cli.link.channel import Channel, SessionOver, held
from pilothouse.cli.link.files import OFFER, Content, Entry, Files, Refused, as_refused, content_of
from pilothouse.cli.link.opening import Opening
from pilothouse.cli.link.running import farewell
from pilothouse.cli.shared import Failed

PUT, GET = "Pilothouse-PutFiles", "Pilothouse-GetFiles"
_TRIES: Final = 4
_PAUSE: Final = 2.0
_AGAIN: Final = frozenset({"EBUSY", "ESTALE"})
"""Worth another try: the session before still holds the file, or it changed just then."""
_PLAIN: Final = re.compile(r"(?!\.)[A-Za-z0-9._-]{1,100}")


@dataclass(slots=True)
class Copied:
    """What came of one file."""

    node: str
    source: str
    target: str
    status: str = "Copied"
    size: int = 0
    sha256: str = ""
    held: int = 0
    error: str = ""

    def told(self) -> dict[str, Any]:
        """For --output json."""
        names = {"node": "InstanceId", "held": "ResumedFrom", "sha256": "Sha256"}
        return {names.get(name, name.capitalize()): value for name, value in asdict(self).items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is to be copied, the same for all nodes."""

    sources: tuple[str, ...]
    target: str
    recursive: bool
    times: bool
    reason: str | None
    nodes: int
    contents: dict[Path, Content] = field(default_factory=dict)
    reading: asyncio.Lock = field(default_factory=asyncio.Lock)


class Node:
    """One node, and what came of it."""

    def __init__(
        self, opening: Opening, node_id: str, name: str, wish: Wish, progress: Callable[[int, int], None]
    ) -> None:
        """`progress`: told of more bytes that are there, and of more that there are to be."""
        self._opening = opening
        self.node_id = node_id
        self.name = name
        self._wish = wish
        self._progress = progress
        self.copied: dict[str, Copied] = {}
        self.error = ""

    async def put(self) -> None:
        """Copy the local sources to the node."""
        await self._tried(PUT, self._wish.target, self._put)

    async def get(self) -> None:
        """Copy the node's sources here."""
        for source in self._wish.sources:
            await self._tried(GET, source, partial(self._get, source))
            if self.error:
                return

    async def _tried(self, document: str, path: str, work: Callable[[Files], Any]) -> None:
        """Do it in a session, and in another if that one breaks."""
        for rest in reversed(range(_TRIES)):
            try:
                await self._in_session(document, path, work)
            except SessionOver as over:
                self.error = str(over).strip() or "the session ended before all was copied"
            except Refused as refused:
                self.error = str(refused)
                if refused.code not in _AGAIN:
                    return
            except Failed as failed:
                self.error = str(failed)
                return
            else:
                self.error = ""
                return
            if rest:
                await asyncio.sleep(_PAUSE)

    async def _in_session(self, document: str, path: str, work: Callable[[Files], Any]) -> None:
        given = {"path": [path]}
        started = await asyncio.to_thread(self._opening.start, self.node_id, document, given, self._wish.reason)
        channel = Channel(started, self._opening, self._opening.trust, OFFER)
        try:
            async with held(channel):
                files = Files(channel)
                await files.begin()
                await work(files)
                await files.end()
                await farewell(channel)
        finally:
            if not channel.over.is_set():
                await asyncio.to_thread(self._opening.terminate, started.session_id)

    # One file, there or back

    async def _one(self, source: str, target: str, size: int, copy: Callable[[Callable[[int], None]], Any]) -> None:
        if source in self.copied and self.copied[source].status == "Copied":
            return
        found = self.copied[source] = Copied(self.node_id, source, target, "Failed")
        self._progress(0, size)
        done = 0

        def progress(count: int) -> None:
            nonlocal done
            done += count
            self._progress(count, 0)

        try:
            content: Content = await copy(progress)
        except BaseException as error:
            found.error = str(error)
            self._progress(-done, -size)
            if isinstance(error, Refused) and error.code not in _AGAIN:
                return  # the others may be copied all the same
            raise
        found.status, found.error = "Copied", ""
        found.size, found.sha256, found.held = content.size, content.sha256, content.held

    def _skip(self, source: str, target: str, why: str) -> None:
        self.copied[source] = Copied(self.node_id, source, target, "Skipped", error=why)

    # To the node

    async def _put(self, files: Files) -> None:
        root = await files.stat()
        is_directory = root is not None and root.kind == "directory"
        if not is_directory and (len(self._wish.sources) > 1 or self._wish.target.endswith("/")):
            raise Refused("ENOTDIR", f"{self._wish.target} is no directory on the node")
        for source in self._wish.sources:
            path = Path(source)
            name = path.resolve().name if is_directory else ""
            if path.is_dir():
                await self._put_tree(files, path, name)
            else:
                await self._put_file(files, path, name)

    async def _put_tree(self, files: Files, path: Path, name: str) -> None:
        await files.make(name, path.stat().st_mode & 0o777)
        for inner, kind in _tree(path):
            below = "/".join(part for part in (name, inner.relative_to(path).as_posix()) if part)
            if kind == "directory":
                await files.make(below, inner.stat().st_mode & 0o777)
            elif kind == "file":
                await self._put_file(files, inner, below)
            else:
                self._skip(str(inner), self._there(below), f"it is a {kind}")

    async def _put_file(self, files: Files, path: Path, name: str) -> None:
        async def copy(progress: Callable[[int], None]) -> Content:
            with as_refused(str(path)):
                about = path.stat()
                content = await self._content(path)
                modified = about.st_mtime_ns // 1_000_000 if self._wish.times else None
                return await files.put(name, path, content, about.st_mode & 0o777, modified, progress)

        with as_refused(str(path)):
            size = path.stat().st_size
        await self._one(str(path), self._there(name), size, copy)

    async def _content(self, path: Path) -> Content:
        """Read once for all nodes."""
        async with self._wish.reading:
            if path not in self._wish.contents:
                self._wish.contents[path] = await asyncio.to_thread(content_of, path)
            return self._wish.contents[path]

    def _there(self, name: str) -> str:
        return f"{self._wish.target.rstrip('/')}/{name}" if name else self._wish.target

    # From the node

    async def _get(self, source: str, files: Files) -> None:
        root = await files.stat()
        if root is None:
            raise Refused("ENOENT", f"{source}: there is no such file on the node")
        target, last = self._here(), source.rstrip("/").rpartition("/")[2]
        if (target.is_dir() or len(self._wish.sources) > 1) and last not in ("", "~", ".", ".."):
            target = target / last
        with as_refused(str(target)):
            if root.kind == "directory":
                if not self._wish.recursive:
                    raise Refused("EISDIR", f"{source} is a directory; add -r")
                await self._get_tree(files, source.rstrip("/"), "", target, root)
            elif root.kind == "file":
                await self._get_file(files, source, "", target, root)
            else:
                raise Refused("EINVAL", f"{source} is neither file nor directory")

    def _here(self) -> Path:
        """Where this node's files go: below its name, if there are several nodes."""
        target = Path(self._wish.target)
        if self._wish.nodes > 1:
            target = target / (self.name if _PLAIN.fullmatch(self.name) else self.node_id)
            target.mkdir(parents=True, exist_ok=True)
        elif self._wish.target.endswith("/") and not target.is_dir():
            raise Refused("ENOTDIR", f"{self._wish.target} is no directory here")
        return target

    async def _get_tree(self, files: Files, source: str, name: str, target: Path, root: Entry) -> None:
        target.mkdir(mode=0o700, exist_ok=True)
        for entry in await files.entries(name):
            below = f"{name}/{entry.name}" if name else entry.name
            there, here = f"{source}/{entry.name}", target / entry.name
            if entry.kind == "directory":
                await self._get_tree(files, there, below, here, entry)
            elif entry.kind == "file":
                await self._get_file(files, there, below, here, entry)
            else:
                self._skip(there, str(here), f"it is a {entry.kind}")
        target.chmod(root.mode & 0o777 | 0o700)

    async def _get_file(self, files: Files, source: str, name: str, target: Path, entry: Entry) -> None:
        async def copy(progress: Callable[[int], None]) -> Content:
            with as_refused(str(target)):
                return await files.get(name, target, times=self._wish.times, progress=progress)

        if target.is_dir():
            raise Refused("EISDIR", f"{target} is a directory here")
        await self._one(source, str(target), entry.size, copy)


def _tree(root: Path) -> Iterator[tuple[Path, str]]:
    """Everything below a directory, each directory before what is in it. Links are named, not followed."""
    for each in sorted(os.scandir(root), key=lambda entry: entry.name):
        path = Path(each.path)
        if each.is_symlink():
            yield path, "link"
        elif each.is_dir():
            yield path, "directory"
            yield from _tree(path)
        else:
            yield path, "file" if each.is_file() else "special file"
