"""The program in which a script runs: it shuts itself in, and then runs the script. It uses nothing but Python itself.

It is started with the numbers of two pipes as arguments: what it says to the server, and what the server says, first
the script and its bounds, and then answers. All of it is lines of JSON. When the script begins, the process has
namespaces of its own (no network, no other process, a file system of Python's library, read-only, and an empty /tmp),
no privileges, no way to get any, bounds on memory, processor, files and threads, and a list of system calls beyond
which it fails. Where any of that cannot be had, no script runs.

For a script of PowerShell it becomes that program at last, which takes over the pipe to the server.
"""

import ctypes
import importlib
import importlib.util
import json
import os
import resource
import signal
import sys
import traceback
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from types import ModuleType, TracebackType
from typing import Any, NoReturn, cast

NOBODY = 65534
REFUSED = 77
"""Exit status where the process cannot be shut in."""
_NEWNS, _NEWCGROUP, _NEWUTS, _NEWIPC, _NEWUSER, _NEWPID, _NEWNET = (
    0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000
)  # fmt: skip
_MS_BIND, _MS_REC, _MS_PRIVATE, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 0x1000, 0x4000, 0x40000, 2, 4, 8
_MNT_DETACH = 2
_MOUNT_SETATTR = 442
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
_READ_ONLY, _NO_SUID, _NO_DEV, _NO_EXEC = 1, 2, 4, 8
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 1, 4, 22, 24, 38
_SECCOMP_MODE_FILTER = 2
_CAPABILITIES = 41
_ROOT = "/proc"
"""Where the new root is put together: a directory that is everywhere, and under which no library lies."""


OWN = "/tmp/"  # noqa: S108 - of the shut-in file system
SCRIPT, ARCHIVE = f"{OWN}script.py", f"{OWN}attachment"
_POWERSHELL_SCRIPT, _RUNNER = f"{OWN}script.ps1", f"{OWN}run.ps1"
_DEVICES = ("/dev/null", "/dev/urandom")


class Refused(Exception):
    """The kernel does not let this process shut itself in."""


class _Filter(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


class _MountAttributes(ctypes.Structure):
    _fields_ = (
        ("set", ctypes.c_uint64),
        ("clear", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns", ctypes.c_uint64),
    )


class _Libc:
    """Calls of the C library, checked."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)

    def call(self, name: str, *arguments: Any) -> None:
        if getattr(self._libc, name)(*arguments) != 0:
            raise Refused(f"{name}: {os.strerror(ctypes.get_errno())}")

    def mount(self, source: str, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
        encoded = [None if each is None else each.encode() for each in (source, target, kind, options)]
        self.call("mount", encoded[0], encoded[1], encoded[2], ctypes.c_ulong(flags), encoded[3])

    def restrict(self, target: str, attributes: int, *, deep: bool) -> None:
        """Let a mount have these attributes from now on."""
        wanted = _MountAttributes(attributes, 0, 0, 0)
        number, size = ctypes.c_long(_MOUNT_SETATTR), ctypes.c_size_t(ctypes.sizeof(wanted))
        flags = ctypes.c_uint(_AT_RECURSIVE if deep else 0)
        self.call("syscall", number, ctypes.c_int(_AT_FDCWD), target.encode(), flags, ctypes.byref(wanted), size)

    def pivot(self) -> None:
        """The working directory becomes the root, and the old root is no more."""
        number = _PIVOT_ROOT.get(os.uname().machine)
        if number is None:
            raise Refused(f"machines of the kind {os.uname().machine} are not known")
        self.call("syscall", ctypes.c_long(number), b".", b".")
        self.call("umount2", b".", _MNT_DETACH)

    def prctl(self, option: int, *arguments: Any) -> None:
        words = [each if isinstance(each, ctypes.c_void_p) else ctypes.c_ulong(each) for each in arguments]
        self.call("prctl", option, *words, *[ctypes.c_ulong(0)] * (4 - len(words)))


def shut_in(job: dict[str, Any]) -> None:
    """After this the process reaches nothing; it is another process then. Raises Refused."""
    libc, is_root = _Libc(), os.geteuid() == 0
    seccomp = b64decode(job["filter"])
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    spaces = _NEWNS | _NEWCGROUP | _NEWUTS | _NEWIPC | _NEWPID | _NEWNET
    if is_root:
        libc.call("unshare", spaces)
    else:
        _own_user(libc, spaces)
    _follow(os.fork(), libc)  # who is in the new space for processes is a child
    _follow(os.fork(), libc)  # the first one there cannot be ended by signals, so it only waits
    _own_root(libc, job)
    _bound(job["bounds"])
    for each in range(_CAPABILITIES):
        libc.prctl(_PR_CAPBSET_DROP, each)
    if is_root:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    _no_capabilities(libc)
    libc.prctl(_PR_SET_DUMPABLE, 0)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # what changes a user takes it away
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1)
    code = ctypes.create_string_buffer(seccomp, len(seccomp))
    wanted = _Filter(len(seccomp) // 8, ctypes.cast(code, ctypes.c_void_p))
    libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.cast(ctypes.byref(wanted), ctypes.c_void_p))


def _own_user(libc: _Libc, spaces: int) -> None:
    """The server's own user is nobody in there, and nobody else is known."""
    user, group = os.geteuid(), os.getegid()
    libc.call("unshare", _NEWUSER | spaces)
    for name, text in (("setgroups", "deny"), ("uid_map", f"{NOBODY} {user} 1"), ("gid_map", f"{NOBODY} {group} 1")):
        try:
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
        except OSError as error:
            raise Refused(f"{name}: {error.strerror}") from error


def _follow(child: int, libc: _Libc) -> None:
    """Go on in the child; the parent does nothing but wait for it, and ends as it does."""
    if child == 0:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        return
    while True:
        ended, status = os.wait()
        if ended == child:
            os._exit(os.waitstatus_to_exitcode(status) & 0x7F or (1 if status else 0))


def _own_root(libc: _Libc, job: dict[str, Any]) -> None:
    """A file system of the libraries, which cannot be changed, and an empty /tmp.

    Another program than this one sees itself in /proc.
    """
    libc.mount("none", "/", None, _MS_REC | _MS_PRIVATE)
    safe = _MS_NOSUID | _MS_NODEV
    libc.mount("tmpfs", _ROOT, "tmpfs", safe, "size=1m,mode=755")
    _directory("/tmp")  # noqa: S108 - that of the new root
    options = f"size={job['temporary_mib']}m,nr_inodes=4096,mode=1777"
    libc.mount("tmpfs", f"{_ROOT}/tmp", "tmpfs", safe | _MS_NOEXEC, options)  # noqa: S108 - the same
    for each in job["libraries"]:
        if os.path.islink(each):
            _directory(os.path.dirname(each))
            os.symlink(os.readlink(each), _ROOT + each)
        elif os.path.exists(each):
            _bind(libc, each, _READ_ONLY | _NO_SUID | _NO_DEV)
    if job["program"]:
        for each in _DEVICES:
            _bind(libc, each, _NO_SUID | _NO_EXEC)
        _directory("/proc")
        libc.mount("proc", f"{_ROOT}/proc", "proc", safe | _MS_NOEXEC, "hidepid=invisible,subset=pid")
    os.chdir(_ROOT)
    libc.pivot()
    os.chdir("/")
    libc.restrict("/", _READ_ONLY | _NO_SUID | _NO_DEV | _NO_EXEC, deep=False)
    os.chdir("/tmp")  # noqa: S108 - the same


def _bind(libc: _Libc, path: str, attributes: int) -> None:
    """A directory or a file, at the same place in the new root."""
    if os.path.isdir(path):
        _directory(path)
    else:
        _directory(os.path.dirname(path))
        os.close(os.open(_ROOT + path, os.O_CREAT | os.O_WRONLY, 0o444))
    libc.mount(path, _ROOT + path, None, _MS_BIND | _MS_REC)
    libc.restrict(_ROOT + path, attributes, deep=True)


def _directory(path: str) -> None:
    os.makedirs(_ROOT + path, mode=0o755, exist_ok=True)


def _bound(bounds: dict[str, int]) -> None:
    """Bounds of the process, which it cannot lift."""
    for name, most in bounds.items():
        which = getattr(resource, f"RLIMIT_{name}")
        hard = resource.getrlimit(which)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(which, (most, most))


def _no_capabilities(libc: _Libc) -> None:
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    nothing = (ctypes.c_uint32 * 6)()
    libc.call("capset", ctypes.byref(header), ctypes.byref(nothing))


class _Server:
    """Lines to and from the server."""

    def __init__(self, say: int, hear: int) -> None:
        self._say = os.fdopen(say, "wb", buffering=0)
        self._hear = os.fdopen(hear, "rb")

    def job(self) -> dict[str, Any]:
        """The first thing that the server says."""
        return cast(dict[str, Any], json.loads(self._hear.readline()))

    def alone(self) -> int:
        """The pipe to the server, for a program that is not answered."""
        os.set_inheritable(self._hear.fileno(), False)
        return self._say.fileno()

    def say(self, what: dict[str, Any]) -> None:
        left = memoryview(json.dumps(what, default=_plain, allow_nan=False).encode() + b"\n")
        while left:
            left = left[self._say.write(left) :]

    def ask(self, service: str, name: str, request: dict[str, Any], region: str | None) -> Any:
        """The answer of an operation. Raises ClientError."""
        self.say({"call": {"service": service, "name": name, "request": request, "region": region}})
        line = self._hear.readline()
        if not line:
            raise ConnectionError("the server answers no more")
        answer = json.loads(line, object_hook=_rich)
        if "error" in answer:
            raise ClientError(answer["error"], name)
        return answer["answer"]


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.timestamp()
    if isinstance(value, bytes | bytearray):
        return b64encode(value).decode()
    if isinstance(value, set | frozenset | tuple):
        return list(value)
    raise TypeError(f"a value of the type {type(value).__name__} is none of JSON")


def _rich(value: dict[str, Any]) -> Any:
    if set(value) == {"$time"}:
        return datetime.fromisoformat(value["$time"])
    if set(value) == {"$bytes"}:
        return b64decode(value["$bytes"])
    return value


class ClientError(Exception):
    """As that of botocore."""

    def __init__(self, error: dict[str, str], operation_name: str) -> None:
        super().__init__(
            f"An error occurred ({error['Code']}) when calling the {operation_name} operation: {error['Message']}"
        )
        self.response = {"Error": error}
        self.operation_name = operation_name


class _Client:
    """A client as boto3's, of which every call is made by the server, as the role of the execution."""

    def __init__(self, server: _Server, service: str, region: str | None) -> None:
        self._server, self._service, self._region = server, service, region
        self.exceptions = _Exceptions()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)

        def call(**request: Any) -> Any:
            return self._server.ask(self._service, name, request, self._region)

        return call

    def get_paginator(self, name: str) -> "_Paginator":
        return _Paginator(getattr(self, name))


class _Exceptions:
    def __getattr__(self, name: str) -> type[ClientError]:
        return ClientError


class _Paginator:
    def __init__(self, call: Any) -> None:
        self._call = call

    def paginate(self, **request: Any) -> Iterator[Any]:
        request.pop("PaginationConfig", None)
        while True:
            page = self._call(**request)
            yield page
            token = page.get("NextToken")
            if not token:
                return
            request["NextToken"] = token


def _modules(server: _Server) -> None:
    """`import boto3` and botocore's exceptions."""
    boto3, botocore, exceptions = ModuleType("boto3"), ModuleType("botocore"), ModuleType("botocore.exceptions")

    def client(service_name: str, region_name: str | None = None, **_: Any) -> _Client:
        return _Client(server, service_name, region_name)

    boto3.client = client  # type: ignore[attr-defined]
    exceptions.ClientError = ClientError  # type: ignore[attr-defined]
    exceptions.BotoCoreError = ConnectionError  # type: ignore[attr-defined]
    botocore.exceptions = exceptions  # type: ignore[attr-defined]
    sys.modules.update({"boto3": boto3, "botocore": botocore, "botocore.exceptions": exceptions})


def run(job: dict[str, Any], server: _Server) -> None:
    """Run the script's handler, and say what it gives."""
    module = _unpacked(job) if job["archive"] else _written(job)
    handler = getattr(module, job["handler"], None)
    if not callable(handler):
        raise LookupError(f"the script has no function named {job['handler']}")
    server.say({"result": handler(job["events"], job["context"])})


def _written(job: dict[str, Any]) -> ModuleType:
    """The module of one file."""
    with open(SCRIPT, "w", encoding="utf-8") as file:
        file.write(job["script"])
    spec = importlib.util.spec_from_file_location(job["module"], SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[job["module"]] = module
    spec.loader.exec_module(module)
    return module


def _unpacked(job: dict[str, Any]) -> ModuleType:
    """The module of an archive, whose files are where it begins."""
    _unpack(job["archive"])
    sys.path.insert(0, ARCHIVE)
    return importlib.import_module(job["module"])


def _unpack(encoded: str) -> None:
    """The files of an archive are where the script begins."""
    import io
    import zipfile

    with zipfile.ZipFile(io.BytesIO(b64decode(encoded))) as archive:
        archive.extractall(ARCHIVE)
    os.chdir(ARCHIVE)


def become(job: dict[str, Any], server: _Server) -> NoReturn:
    """Become the program that runs the script, and that says what comes of it."""
    program = job["program"]
    if job["archive"]:
        _unpack(job["archive"])
    script = _POWERSHELL_SCRIPT if program["script"] else _first_script()
    for path, text in ((_POWERSHELL_SCRIPT, program["script"]), (_RUNNER, program["runner"])):
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    arguments = [program["path"], *program["arguments"], _RUNNER, "-Say", str(server.alone()), "-Path", script]
    try:
        os.execve(program["path"], arguments, program["environment"])  # noqa: S606 - there is no shell to be had
    except OSError as error:
        raise OSError(f"{program['path']} cannot be run here: {error.strerror}") from error


def _first_script() -> str:
    """The script of an archive that is run: Main.ps1, or the only one at its top."""
    scripts = sorted(each for each in os.listdir(ARCHIVE) if each.lower().endswith(".ps1"))
    scripts = [each for each in scripts if each.lower() == "main.ps1"] or scripts
    if len(scripts) != 1:
        raise LookupError("the archive has no Main.ps1 at its top, nor one script alone")
    return f"{ARCHIVE}/{scripts[0]}"


def _own_part(trace: TracebackType | None) -> TracebackType | None:
    """What the script itself did."""
    while trace is not None and not trace.tb_frame.f_code.co_filename.startswith(OWN):
        trace = trace.tb_next
    return trace


def main() -> NoReturn:
    server = _Server(int(sys.argv[1]), int(sys.argv[2]))
    job = server.job()
    try:
        shut_in(job)
    except (Refused, OSError) as error:
        server.say({"refused": str(error)})
        os._exit(REFUSED)
    status = 1
    try:
        if job["program"]:
            become(job, server)
        _modules(server)
        run(job, server)
        status = 0
    except BaseException as error:
        traceback.print_exception(error.with_traceback(_own_part(error.__traceback__)))
        text = "".join(traceback.format_exception_only(error)).strip()
        with suppress(OSError):
            server.say({"failed": text[:2000]})
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    main()
