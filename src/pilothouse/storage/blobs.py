"""Blobs: contents too large for the database, each written once under an id that is never used again.

A blob is there whole or not at all: `finish` returns once it is durable, and the row that names it is written after
that. A blob that no row names is left over from a crash or a refused request, and its owner sweeps it. What is in a
blob is its owner's business: here it is bytes, sealed before they come.
Kept in a directory (one file each), or in any S3 bucket.
"""

import asyncio
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Protocol, TypeVar
from urllib.parse import urlsplit

from pilothouse.runtime.files import sync_folder
from pilothouse.storage import StorageUnavailable

FOLDERS: Final = tuple(f"{number:02x}" for number in range(256))
"""A blob lies in the folder of its id's first two digits."""
_ID: Final = re.compile(r"[0-9a-f]{32}")
_INCOMING: Final = "incoming"
_SYNCED_AT: Final = 64 << 20
"""Bytes after which a file under way is synced, so that the end of a large one takes no longer than that of a small."""
_REMOTE_PIECE: Final = 8 << 20
"""Bytes of the parts that a large blob is sent to a bucket in."""

T = TypeVar("T")


class BlobMissing(Exception):
    """There is no such blob, or it is shorter than what was asked for."""


class BlobWriter(Protocol):
    """A blob that is being written; as a block, it is discarded at its end unless it was finished."""

    async def write(self, piece: bytes) -> None:
        """Add to it. Raises StorageUnavailable."""

    async def finish(self) -> None:
        """Return once the blob is durable. Raises StorageUnavailable."""

    async def __aenter__(self) -> "BlobWriter": ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Blobs(Protocol):
    """Where blobs are."""

    def writer(self, blob: str) -> BlobWriter:
        """Begin a blob with a new id: 32 hexadecimal digits."""

    async def read(self, blob: str, start: int, count: int) -> bytes:
        """`count` bytes from `start`. Raises BlobMissing, StorageUnavailable."""

    async def delete(self, blobs: Sequence[str]) -> None:
        """Remove those that are there. Raises StorageUnavailable."""

    async def written_before(self, folder: str, moment: int) -> list[str]:
        """The blobs of one of FOLDERS that are older than the moment (epoch milliseconds)."""


def open_blobs(url: str, data: Path) -> Blobs:
    """The blobs of an installation: `s3://bucket/prefix`, or by default the directory `blobs` in its data directory.

    Raises StorageUnavailable.
    """
    if not url:
        return FolderBlobs(data / "blobs")
    parts = urlsplit(url)
    if parts.scheme == "file":
        return FolderBlobs(Path(parts.path))
    if parts.scheme != "s3" or not parts.netloc:
        raise StorageUnavailable(f"blobs cannot be kept at {url}: use s3://bucket/prefix or file:///directory")
    return BucketBlobs(url)


def _checked(blob: str) -> str:
    if not _ID.fullmatch(blob):
        raise ValueError("a blob's id has 32 hexadecimal digits")
    return blob


async def _off_loop(work: Callable[..., T], *args: Any) -> T:
    try:
        return await asyncio.to_thread(work, *args)
    except FileNotFoundError as error:
        raise BlobMissing("there is no such blob") from error
    except OSError as error:
        raise StorageUnavailable(f"the blobs' directory: {error.strerror or error}") from error


class FolderBlobs:
    """A file for each blob, in 256 folders."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def writer(self, blob: str) -> BlobWriter:
        return _FileWriter(self._root, _checked(blob))

    async def read(self, blob: str, start: int, count: int) -> bytes:
        found = await _off_loop(_read, self._path(blob), start, count)
        if len(found) != count:
            raise BlobMissing("the blob is shorter than what was asked for")
        return found

    async def delete(self, blobs: Sequence[str]) -> None:
        await _off_loop(_remove, [self._path(blob) for blob in blobs])

    async def written_before(self, folder: str, moment: int) -> list[str]:
        await _off_loop(_remove, await _off_loop(_older, self._root / _INCOMING, moment))
        return [path.name for path in await _off_loop(_older, self._root / folder, moment)]

    def _path(self, blob: str) -> Path:
        return _path(self._root, _checked(blob))


def _path(root: Path, blob: str) -> Path:
    return root / blob[:2] / blob


def _read(path: Path, start: int, count: int) -> bytes:
    with path.open("rb", buffering=0) as opened:
        parts = []
        while count and (part := os.pread(opened.fileno(), count, start)):
            parts.append(part)
            start += len(part)
            count -= len(part)
    return b"".join(parts)


def _remove(paths: Sequence[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _older(folder: Path, moment: int) -> list[Path]:
    try:
        found = [(path, path.stat(follow_symlinks=False).st_mtime_ns // 1_000_000) for path in folder.iterdir()]
    except FileNotFoundError:  # nothing was written there yet, or one was removed meanwhile
        return []
    return [path for path, at in found if at < moment and _ID.fullmatch(path.name)]


class _FileWriter:
    """Writes beside the blobs' folders; the finished and synced file is moved to its place in one step."""

    def __init__(self, root: Path, blob: str) -> None:
        self._place = _path(root, blob)
        self._incoming = root / _INCOMING / blob
        self._descriptor = -1
        self._unsynced = 0

    async def write(self, piece: bytes) -> None:
        await _off_loop(self._write, piece)

    async def finish(self) -> None:
        await _off_loop(self._finish)

    async def __aenter__(self) -> "_FileWriter":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._descriptor >= 0:
            await asyncio.shield(asyncio.to_thread(self._discard))

    def _write(self, piece: bytes) -> None:
        if self._descriptor < 0:
            self._open()
        rest = memoryview(piece)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]
        self._unsynced += len(piece)
        if self._unsynced >= _SYNCED_AT:
            os.fdatasync(self._descriptor)
            self._unsynced = 0

    def _open(self) -> None:
        self._incoming.parent.parent.mkdir(mode=0o700, exist_ok=True)
        self._incoming.parent.mkdir(mode=0o700, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        self._descriptor = os.open(self._incoming, flags, 0o600)

    def _finish(self) -> None:
        if self._descriptor < 0:
            self._open()
        os.fsync(self._descriptor)
        made = not self._place.parent.exists()
        self._place.parent.mkdir(mode=0o700, exist_ok=True)
        self._incoming.rename(self._place)
        descriptor, self._descriptor = self._descriptor, -1
        os.close(descriptor)
        sync_folder(self._place.parent)
        if made:
            sync_folder(self._place.parent.parent)
            sync_folder(self._place.parent.parent.parent)

    def _discard(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        os.close(descriptor)
        self._incoming.unlink(missing_ok=True)


class BucketBlobs:
    """An object for each blob in a bucket; credentials, region and endpoint as the AWS_… variables say."""

    def __init__(self, url: str) -> None:
        import obstore  # only here: most installations keep their blobs in a directory
        from obstore.exceptions import BaseError

        self._obstore = obstore
        self._failures = (BaseError, OSError, ValueError)
        try:
            self._store: Any = obstore.store.from_url(url)
        except self._failures as error:
            raise StorageUnavailable(f"the blobs' bucket: {error}") from error

    def writer(self, blob: str) -> BlobWriter:
        return _BucketWriter(self, _key(blob))

    async def open_writer(self, key: str) -> Any:
        """A file of the library's that is written to the bucket part by part."""
        return self._obstore.open_writer_async(self._store, key, buffer_size=_REMOTE_PIECE, max_concurrency=2)

    async def read(self, blob: str, start: int, count: int) -> bytes:
        if not count:
            return b""
        found = await self.done(self._obstore.get_range_async(self._store, _key(blob), start=start, length=count))
        if len(found) != count:
            raise BlobMissing("the blob is shorter than what was asked for")
        return bytes(found)

    async def delete(self, blobs: Sequence[str]) -> None:
        if blobs:
            await self.done(self._obstore.delete_async(self._store, [_key(blob) for blob in blobs]))

    async def written_before(self, folder: str, moment: int) -> list[str]:
        async def names() -> list[str]:
            found = []
            async for entries in self._obstore.list(self._store, folder, chunk_size=1000):
                for entry in entries:
                    name = entry["path"].rpartition("/")[2]
                    if entry["last_modified"].timestamp() * 1000 < moment and _ID.fullmatch(name):
                        found.append(name)
            return found

        found: list[str] = await self.done(names())
        return found

    async def done(self, work: Any) -> Any:
        """What the library answers, with its failures as ours."""
        try:
            return await work
        except FileNotFoundError as error:
            raise BlobMissing("there is no such blob") from error
        except self._failures as error:
            raise StorageUnavailable("the blobs' bucket did not take or give what was asked") from error


def _key(blob: str) -> str:
    return f"{_checked(blob)[:2]}/{blob}"


class _BucketWriter:
    def __init__(self, blobs: BucketBlobs, key: str) -> None:
        self._blobs = blobs
        self._key = key
        self._file: Any = None

    async def write(self, piece: bytes) -> None:
        if self._file is None:
            self._file = await self._blobs.open_writer(self._key)
        await self._blobs.done(self._file.write(piece))

    async def finish(self) -> None:
        if self._file is None:
            self._file = await self._blobs.open_writer(self._key)
        await self._blobs.done(self._file.close())

    async def __aenter__(self) -> "_BucketWriter":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """What was not closed never becomes an object; the parts already sent are for the bucket's own rules."""
