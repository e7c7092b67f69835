"""What the child of a file session does, as the session's user: answers one request after the other.

A name below the path never leads through a link; each part is opened from the directory before it.
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import signal
import socket
import stat
import struct
from collections.abc import Callable, Iterator
from typing import Any

from pilothouse_agent.sessions.users import Account

OPERATIONS = ("get", "put")

_LARGEST = 256 * 1024
_READ = 1024 * 1024
_OFFSET = struct.Struct(">Q")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class Refused(Exception):
    """A request that cannot be fulfilled: a code, and a sentence."""

    def __init__(self, code: int | str, message: str = "") -> None:
        super().__init__(message or (os.strerror(code) if isinstance(code, int) else code))
        self.code = errno.errorcode.get(code, "EIO") if isinstance(code, int) else code


class Gone(Exception):
    """Nobody is at the other end any more."""


Request = dict[str, Any]


class Work:
    """The child's whole life."""

    def __init__(self, link: socket.socket, account: Account, operation: str, path: str, chunk: int) -> None:
        self._link = link
        self._account = account
        self._operation = operation
        self._path = path
        self._chunk = chunk - 1 - _OFFSET.size
        self._root = ""

    def serve(self) -> None:
        os.setsid()
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        self._link.setblocking(True)
        self._account.become()
        self._root = os.path.realpath(self._expanded())
        with contextlib.suppress(Gone):
            while self._answer(self._next()):
                pass

    def _expanded(self) -> str:
        if self._path == "~" or self._path.startswith("~/"):
            return self._account.home + self._path[1:]
        return os.path.join(self._account.home, self._path)

    # -- messages

    def _receive(self) -> bytes:
        data = self._link.recv(_LARGEST)
        if not data:
            raise Gone
        return data

    def _next(self) -> Request:
        """The next request; data that belong to none are passed over."""
        while True:
            data = self._receive()
            if data[:1] == b"J":
                return _object(data)

    def _send(self, answer: dict[str, Any]) -> None:
        self._send_bytes(b"J" + json.dumps(answer, separators=(",", ":")).encode())

    def _send_bytes(self, data: bytes) -> None:
        try:
            self._link.send(data)
        except OSError as error:
            raise Gone from error

    def _answer(self, request: Request) -> bool:
        """Whether there may be more."""
        does: dict[object, Callable[[Request], None]] = {"stat": self._stat, "list": self._list}
        does |= {"get": self._get} if self._operation == "get" else {"make": self._make, "put": self._put}
        what = request.get("do")
        if what == "end":
            self._send({"done": {}})
            return False
        try:
            if not isinstance(what, str) or what not in does:
                raise Refused("EPROTO", "there is no such request in this session")
            does[what](request)
        except Refused as error:
            self._send({"error": {"code": error.code, "message": str(error)}})
        except OSError as error:
            code = errno.errorcode.get(error.errno or 0, "EIO")
            self._send({"error": {"code": code, "message": error.strerror or "it failed"}})
        return True

    # -- names

    @contextlib.contextmanager
    def _place(self, request: Request) -> Iterator[tuple[int, str]]:
        """The directory of what the request names, and its name there."""
        name = request.get("name", "")
        if not isinstance(name, str) or not is_name(name):
            raise Refused("EPROTO", "name must be a text that a file can have as its name")
        parts = name.split("/") if name else []
        if any(part in ("", ".", "..") for part in parts):
            raise Refused("EPROTO", "name must be relative, without empty parts, . and ..")
        if not parts:
            parent, last = os.path.split(self._root)
            held = os.open(parent, _DIRECTORY)
        else:
            held, last = os.open(self._root, _DIRECTORY), parts[-1]
        try:
            for part in parts[:-1]:
                inner = _open_directory(part, held)
                os.close(held)
                held = inner
            yield held, last or "."
        finally:
            os.close(held)

    # -- requests

    def _stat(self, request: Request) -> None:
        with self._place(request) as (held, name):
            found = os.stat(name, dir_fd=held, follow_symlinks=False)
            self._send({"entry": _entry(str(request.get("name", "")), found)})

    def _list(self, request: Request) -> None:
        with self._place(request) as (held, name):
            directory = _open_directory(name, held)
            try:
                count = 0
                for each in sorted(os.listdir(directory)):
                    with contextlib.suppress(FileNotFoundError):  # it went meanwhile
                        entry = _entry(each, os.stat(each, dir_fd=directory, follow_symlinks=False))
                        self._send({"entry": entry})
                        count += 1
            finally:
                os.close(directory)
        self._send({"done": {"count": count}})

    def _make(self, request: Request) -> None:
        mode = _number(request, "mode", 0o777)
        with self._place(request) as (held, name):
            try:
                os.mkdir(name, 0o700, dir_fd=held)
            except FileExistsError:
                if not stat.S_ISDIR(os.stat(name, dir_fd=held, follow_symlinks=not request.get("name")).st_mode):
                    raise
            else:
                made = _open_directory(name, held)
                os.fchmod(made, mode)
                os.close(made)
        self._send({"done": {}})

    def _get(self, request: Request) -> None:
        offset, given = _number(request, "offset", 1 << 62), request.get("sha256", "")
        with self._place(request) as (held, name):
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
            descriptor = os.open(name, flags, dir_fd=held)
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            before = os.fstat(descriptor)
            _need_file(before)
            digest = hashlib.sha256()
            if offset > before.st_size or _hash(file.read, offset, digest) != offset or digest.hexdigest() != given:
                offset, digest = 0, hashlib.sha256()
                file.seek(0)
            size, at = before.st_size, offset
            about = _entry("", before)
            self._send(
                {"begin": {"offset": offset, "size": size, "mode": about["mode"], "modified": about["modified"]}}
            )
            while at < size:
                block = file.read(min(_READ, size - at))
                if not block:
                    break
                digest.update(block)
                for start in range(0, len(block), self._chunk):
                    piece = block[start : start + self._chunk]
                    self._send_bytes(b"D" + _OFFSET.pack(at + start) + piece)
                at += len(block)
            after = os.fstat(descriptor)
        if at != size or (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
            raise Refused(errno.ESTALE, "the file changed while it was read")
        self._send({"end": {"size": size, "sha256": digest.hexdigest()}})

    def _put(self, request: Request) -> None:
        size, mode = _number(request, "size", 1 << 62), _number(request, "mode", 0o777)
        wanted = request.get("sha256")
        if not isinstance(wanted, str) or not _SHA256.match(wanted):
            raise Refused("EPROTO", "sha256 must be a digest")
        with self._place(request) as (held, name):
            if name == ".":
                raise Refused(errno.EISDIR)
            with contextlib.suppress(FileNotFoundError):
                there = os.stat(name, dir_fd=held, follow_symlinks=False)
                if not stat.S_ISLNK(there.st_mode):
                    _need_file(there)
            part = f".{os.fsencode(name)[:200].decode('utf-8', 'ignore')}.{wanted[:16]}.part"
            descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=held)
            try:
                self._receive_into(descriptor, size, wanted, lambda: os.unlink(part, dir_fd=held))
                os.fchmod(descriptor, mode)
                if "modified" in request:
                    moment = _number(request, "modified", 1 << 53) * 1_000_000
                    os.utime(descriptor, ns=(moment, moment))
                os.fsync(descriptor)
                os.rename(part, name, src_dir_fd=held, dst_dir_fd=held)
                os.fsync(held)
            finally:
                os.close(descriptor)
        self._send({"done": {"size": size, "sha256": wanted}})

    def _receive_into(self, descriptor: int, size: int, wanted: str, give_up: Callable[[], None]) -> None:
        """All of the content into the file, which may have some of it."""
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_nlink != 1:
            raise Refused(errno.EPERM, "the partial file beside the target is not the user's own")
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Refused(errno.EBUSY, "the same file is being sent by another session") from error
        if found.st_size > size:
            os.ftruncate(descriptor, 0)
        digest = hashlib.sha256()
        at = _hash(lambda count: os.read(descriptor, count), size, digest)
        self._send({"begin": {"offset": at, "sha256": digest.hexdigest()}})
        go = self._next().get("go")
        offset = go.get("offset") if isinstance(go, dict) else None
        if offset == 0 and at:
            os.ftruncate(descriptor, 0)
            os.lseek(descriptor, 0, os.SEEK_SET)
            at, digest = 0, hashlib.sha256()
        elif offset != at:
            raise Refused("EPROTO", "go must name the offset of begin, or 0")
        while at < size:
            data = self._receive()
            if data[:1] != b"D" or len(data) <= 1 + _OFFSET.size or _OFFSET.unpack_from(data, 1) != (at,):
                raise Refused("EPROTO", f"the bytes from {at} were due")
            block = memoryview(data)[1 + _OFFSET.size :]
            if at + len(block) > size:
                raise Refused("EPROTO", "there are more bytes than were announced")
            digest.update(block)
            at += len(block)
            while block:
                block = block[os.write(descriptor, block) :]
        if digest.hexdigest() != wanted:
            give_up()
            raise Refused(errno.EBADMSG, "the content does not have the digest that was announced")


def is_name(text: str) -> bool:
    """Whether the text can be part of a path."""
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False


def _object(data: bytes) -> Request:
    try:
        found = json.loads(data[1:])
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _number(request: Request, name: str, most: int) -> int:
    value = request.get(name, 0)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise Refused("EPROTO", f"{name} must be a number from 0 to {most}")
    return value


def _hash(read: Callable[[int], bytes], count: int, digest: Any) -> int:
    """Put so many bytes into the digest; how many there were."""
    done = 0
    while done < count:
        block = read(min(_READ, count - done))
        if not block:
            break
        digest.update(block)
        done += len(block)
    return done


def _open_directory(name: str, held: int) -> int:
    try:
        return os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=held)
    except NotADirectoryError:
        if stat.S_ISLNK(os.stat(name, dir_fd=held, follow_symlinks=False).st_mode):
            raise Refused(errno.ELOOP, f"{name} is a link, which is not followed") from None
        raise


def _need_file(found: os.stat_result) -> None:
    if stat.S_ISDIR(found.st_mode):
        raise Refused(errno.EISDIR)
    if not stat.S_ISREG(found.st_mode):
        raise Refused(errno.EINVAL, "it is neither file nor directory")


def _entry(name: str, found: os.stat_result) -> dict[str, Any]:
    kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "link"}
    readable = name.isprintable() or name.encode("utf-8", "replace") == os.fsencode(name)
    return {
        "name": name.encode("utf-8", "replace").decode(),
        "kind": kinds.get(stat.S_IFMT(found.st_mode), "other") if readable else "other",
        "size": found.st_size,
        "mode": found.st_mode & 0o777,
        "modified": found.st_mtime_ns // 1_000_000,
    }
