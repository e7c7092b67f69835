"""Files over a session of our own agent: one request after the other, answered in order (type Pilothouse_File).

What a transfer leaves unfinished stays in a file beside the target, and the next try goes on from there if the
content is still the same: the beginning is compared by its SHA-256, and so is the whole.
"""

import asyncio
import contextlib
import fcntl
import hashlib
import json
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pilothouse.cli.link.channel import Channel, SessionOver
from pilothouse.gateway.session_messages import DATA

OFFER: Final = {"file": 1}
_OFFSET: Final = struct.Struct(">Q")
_BLOCK: Final = 256 * 1024
_NOT_THERE: Final = "the agent of this node does not copy files over sessions; pilothouse-agent does"
Progress = Callable[[int], None]
"""Told how many more bytes are there."""


class Refused(Exception):
    """A request that was not fulfilled: the name of an errno, and a sentence."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Entry:
    """Something at the node. `kind` is file, directory, link or other."""

    name: str
    kind: str
    size: int
    mode: int
    modified: int


@dataclass(frozen=True, slots=True)
class Content:
    """A file's content. `held`: so many bytes of it were there from an earlier try."""

    size: int
    sha256: str
    held: int = 0


class Files:
    """What can be asked of one session."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._answers: asyncio.Queue[tuple[bytes, Callable[[], None]]] = asyncio.Queue()

    async def begin(self) -> None:
        """Raises SessionOver, and Refused by an agent that has no such sessions."""
        try:
            agent = await self._channel.begun(self._take)
        except SessionOver as over:
            if "Pilothouse_File" in str(over):  # the official agent knows no such type
                raise Refused("ENOTSUP", _NOT_THERE) from over
            raise
        if not agent.takes("file"):
            raise Refused("ENOTSUP", _NOT_THERE)

    def _take(self, kind: int, payload: bytes, used: Callable[[], None]) -> None:
        if kind == DATA:
            self._answers.put_nowait((payload, used))
        else:
            used()

    async def _next(self) -> tuple[bytes, Callable[[], None]]:
        if self._answers.empty():
            async with asyncio.TaskGroup() as group:
                coming = group.create_task(self._answers.get())
                ending = group.create_task(self._channel.over.wait())
                await asyncio.wait((coming, ending), return_when=asyncio.FIRST_COMPLETED)
                coming.cancel()
                ending.cancel()
            if coming.done() and not coming.cancelled():
                return coming.result()
            raise SessionOver(self._channel.reason)
        return self._answers.get_nowait()

    async def _said(self) -> dict[str, Any]:
        """The next answer that is an object. Raises Refused."""
        data, used = await self._next()
        used()
        try:
            answer = json.loads(data[1:]) if data[:1] == b"J" else None
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise Refused("EPROTO", "the node's answer cannot be read")
        if "error" in answer:
            raise Refused(str(answer["error"].get("code")), str(answer["error"].get("message")))
        return answer

    def _ask(self, **request: Any) -> None:
        self._channel.put(DATA, b"J" + json.dumps(request, separators=(",", ":")).encode())

    async def stat(self, name: str = "") -> Entry | None:
        """None if it is not there. Raises Refused."""
        self._ask(do="stat", name=name)
        try:
            return _entry((await self._said())["entry"])
        except Refused as refused:
            if refused.code == "ENOENT":
                return None
            raise

    async def entries(self, name: str) -> list[Entry]:
        """What is in a directory. Raises Refused."""
        self._ask(do="list", name=name)
        found = []
        while "entry" in (answer := await self._said()):
            entry = _entry(answer["entry"])
            if not _is_plain(entry.name):
                raise Refused("EPROTO", f"the node names an entry {entry.name!r}")
            found.append(entry)
        return found

    async def make(self, name: str, mode: int) -> None:
        """A directory, if it is not there. Raises Refused."""
        self._ask(do="make", name=name, mode=mode)
        await self._said()

    async def end(self) -> None:
        """Say that it was all."""
        self._ask(do="end")
        await self._said()

    async def put(
        self, name: str, source: Path, content: Content, mode: int, modified: int | None, progress: Progress
    ) -> Content:
        """Send a file. Raises Refused, OSError."""
        stamp = {} if modified is None else {"modified": modified}
        self._ask(do="put", name=name, size=content.size, sha256=content.sha256, mode=mode, **stamp)
        there = (await self._said())["begin"]
        with source.open("rb") as file:
            offset = int(there["offset"])
            if await asyncio.to_thread(_digest, file, offset) != there["sha256"]:
                offset = 0
            self._ask(go={"offset": offset})
            file.seek(offset)
            progress(offset)
            at, size = offset, self._channel.agent.chunk - 1 - _OFFSET.size
            while at < content.size and self._answers.empty():
                block = file.read(min(_BLOCK, content.size - at))
                if not block:
                    raise Refused("ESTALE", "it became shorter while it was read")
                for start in range(0, len(block), size):
                    await self._channel.room()
                    self._channel.put(DATA, b"D" + _OFFSET.pack(at + start) + block[start : start + size])
                at += len(block)
                progress(len(block))
        done = (await self._said())["done"]
        return Content(int(done["size"]), str(done["sha256"]), offset)

    async def get(self, name: str, target: Path, *, times: bool, progress: Progress) -> Content:
        """Receive a file. Raises Refused, OSError."""
        part = target.with_name(f".{target.name}.pilothouse-part")
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "r+b", buffering=0) as file:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Refused("EBUSY", f"{target} is being received by another process") from None
            digest, held = await asyncio.to_thread(_whole, file)
            self._ask(do="get", name=name, offset=held, sha256=digest.hexdigest())
            there = (await self._said())["begin"]
            if int(there["offset"]) != held:
                held, digest = 0, hashlib.sha256()
                file.seek(0)
            os.ftruncate(descriptor, held)
            progress(held)
            at = await self._receive(file, digest, held, int(there["size"]), progress)
            end = (await self._said())["end"]
            if (at, digest.hexdigest()) != (int(end["size"]), end["sha256"]):
                os.ftruncate(descriptor, 0)
                raise Refused("EBADMSG", "the content does not have the SHA-256 that the node says")
            os.fchmod(descriptor, int(there["mode"]) & 0o777)
            if times:
                os.utime(descriptor, ns=(int(there["modified"]) * 1_000_000,) * 2)
            await asyncio.to_thread(os.fsync, descriptor)
            part.replace(target)
        return Content(at, digest.hexdigest(), held)

    async def _receive(self, file: Any, digest: Any, at: int, size: int, progress: Progress) -> int:
        while at < size:
            data, used = await self._next()
            if data[:1] != b"D":
                self._answers.put_nowait((data, used))  # an error: there is nothing behind it
                await self._said()
            if _OFFSET.unpack_from(data, 1) != (at,):
                raise Refused("EPROTO", f"the bytes from {at} were due")
            block = memoryview(data)[1 + _OFFSET.size :]
            digest.update(block)
            at += len(block)
            progress(len(block))
            while block:
                block = block[file.write(block) :]
            used()
        return at


def _entry(said: dict[str, Any]) -> Entry:
    return Entry(str(said["name"]), str(said["kind"]), int(said["size"]), int(said["mode"]), int(said["modified"]))


def _is_plain(name: str) -> bool:
    """Whether a name that a node gives stays in its directory."""
    return name not in ("", ".", "..") and "/" not in name and "\0" not in name


def _digest(file: Any, count: int) -> str:
    found = hashlib.sha256()
    while count and (block := file.read(min(_BLOCK, count))):
        found.update(block)
        count -= len(block)
    return found.hexdigest()


def _whole(file: Any) -> tuple[Any, int]:
    found, size = hashlib.sha256(), 0
    while block := file.read(_BLOCK):
        found.update(block)
        size += len(block)
    return found, size


def content_of(path: Path) -> Content:
    """Size and digest of a local file. Raises OSError."""
    with path.open("rb") as file:
        digest, size = _whole(file)
    return Content(size, digest.hexdigest())


@contextlib.contextmanager
def as_refused(what: str) -> Any:
    """Faults of local files, said like those of the node."""
    try:
        yield
    except OSError as error:
        raise Refused("EIO", f"{what}: {error.strerror or error}") from error
