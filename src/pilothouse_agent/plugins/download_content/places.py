"""Where downloaded content goes: below one directory, whatever names and links the content brings.

Every directory on the way is opened without following links, so neither a name nor a link that came
with an earlier file leads outside. What is written replaces what was there in one step.
"""

import contextlib
import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from pilothouse_agent.plugins.supervisor import WorkFailed

MOST_FILES = 100_000
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_MODE = 0o700  # as the official agent leaves them: scripts are to be run

Parts = tuple[str, ...]


class Unsafe(WorkFailed):
    """A name or a link that would lead out of the destination."""


def parts_of(name: str) -> Parts:
    """The parts of a relative path with slashes. Raises Unsafe."""
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if not parts or name.startswith("/") or ".." in parts or "\0" in name or any(len(part) > 255 for part in parts):
        raise Unsafe(f"the content has a name that is not allowed: {name[:200]!r}")
    return parts


def leads_outside(link: Parts, target: str) -> bool:
    """Whether a link at that place, counted from the destination, points out of it."""
    if not target or target.startswith("/"):
        return True
    depth = len(link) - 1
    for part in target.split("/"):
        if part == "..":
            depth -= 1
        elif part not in ("", "."):
            depth += 1
        if depth < 0:
            return True
    return False


class Place:
    """A directory that content is written to, and how much of it there may be."""

    def __init__(self, root: Path, most_bytes: int) -> None:
        self.root = root
        self._left = most_bytes
        self._most = most_bytes
        self._files = 0
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._root = os.open(root, os.O_RDONLY | os.O_DIRECTORY)  # its own path may have links: the user named it

    def write(self, parts: Parts, content: Iterable[bytes]) -> None:
        """Write a file. Raises WorkFailed when it is too much, Unsafe when it would land outside."""
        self._count_file()
        with self._directory(parts[:-1]) as directory:
            fresh = f".{secrets.token_hex(8)}.new"
            opened = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, _MODE, dir_fd=directory)
            try:
                with os.fdopen(opened, "wb") as file:
                    for piece in content:
                        self.count(len(piece))
                        file.write(piece)
                self._replace(directory, fresh, directory, parts[-1])
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(fresh, dir_fd=directory)
                raise

    def adopt(self, tree: Path) -> None:
        """Move all entries of a tree of the same disk here. Links that point out of the tree are refused."""
        for parts, entry in _walk(tree, ()):
            if entry.is_symlink():
                target = os.readlink(entry.path)
                if leads_outside(parts, target):
                    raise Unsafe(f"the link {'/'.join(parts)} points out of the content: {target[:200]!r}")
            elif entry.is_file(follow_symlinks=False):
                self.count(entry.stat(follow_symlinks=False).st_size)
                os.chmod(entry.path, _MODE)
            elif not entry.is_dir(follow_symlinks=False):
                raise Unsafe(f"{'/'.join(parts)} is neither file nor directory nor link")
            self._count_file()
        self._move(tree, ())

    def _move(self, tree: Path, parts: Parts) -> None:
        source = os.open(tree, _DIRECTORY)
        try:
            with self._directory(parts) as directory:
                for entry in list(os.scandir(tree)):
                    if entry.is_dir(follow_symlinks=False):
                        self._move(Path(entry.path), (*parts, entry.name))
                    else:
                        self._replace(source, entry.name, directory, entry.name)
        finally:
            os.close(source)

    def count(self, size: int) -> None:
        """That many more bytes. Raises WorkFailed when they are too many."""
        self._left -= size
        if self._left < 0:
            raise WorkFailed(f"the content is larger than {self._most} bytes, the most that this node takes")

    def _count_file(self) -> None:
        self._files += 1
        if self._files > MOST_FILES:
            raise WorkFailed(f"the content has more than {MOST_FILES} files")

    @contextlib.contextmanager
    def _directory(self, parts: Parts) -> Iterator[int]:
        """The directory below the root, made if missing. Raises Unsafe if a link or a file is in the way."""
        directory = os.dup(self._root)
        try:
            for part in parts:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, 0o700, dir_fd=directory)
                try:
                    inner = os.open(part, _DIRECTORY, dir_fd=directory)
                except OSError as error:
                    raise Unsafe(f"{'/'.join(parts)} is not a directory of its own: {error.strerror}") from error
                os.close(directory)
                directory = inner
            yield directory
        finally:
            os.close(directory)

    @staticmethod
    def _replace(source: int, fresh: str, directory: int, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            if stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
                raise Unsafe(f"{name} is a directory already, and a file in the content")
        os.replace(fresh, name, src_dir_fd=source, dst_dir_fd=directory)


def _walk(tree: Path, parts: Parts) -> Iterator[tuple[Parts, os.DirEntry[str]]]:
    for entry in os.scandir(tree):
        inner = (*parts, entry.name)
        yield inner, entry
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(Path(entry.path), inner)
