"""Runs a script of a runbook in a program that shut itself in, and hears what it says.

The program is this Python with `launcher`: no shell, no environment, no open files but its pipes. For a script of
PowerShell it becomes that once it is shut in. Whatever it says is bounded and taken as text or JSON. It is ended when
its time is over, or when whoever waits for it goes away.
"""

import asyncio
import io
import os
import sys
from base64 import b64encode
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from sysconfig import get_path
from typing import Any, Final

import msgspec

from pilothouse.capabilities.automation.scripts import powershell
from pilothouse.capabilities.automation.scripts.filter import FilterUnavailable, instructions

MEMORY_MIB: Final = 512
TEMPORARY_MIB: Final = 64
MOST_OUTPUT: Final = 256 << 10
"""Bytes that a script prints and that are kept; what comes after is thrown away."""
MOST_LINE: Final = 1 << 20
"""Bytes of one thing that it says: its result, or a call."""
MOST_CALLS: Final = 1000
_MOST_REASON: Final = 2000
_THREADS: Final = 512
"""Of all scripts together, where they run as the same user: more than one needs."""
_NOT_HERE: Final = (
    "scripts cannot be run on this server: the kernel does not let it shut them in ({}). It must run as root with "
    "CAP_SYS_ADMIN, or be allowed to make user namespaces (the settings kernel.unprivileged_userns_clone, "
    "kernel.apparmor_restrict_unprivileged_userns and user.max_user_namespaces of the kernel)"
)
_LAUNCHER: Final = Path(__file__).with_name("launcher.py")
_LIBRARIES: Final = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/share/zoneinfo")
Ask = Callable[[str, str, Mapping[str, Any], str | None], Awaitable[Mapping[str, Any]]]
"""(service, operation in either spelling, request, region) to the answer, or to {"error": {Code, Message}}."""


class CannotShutIn(Exception):
    """This machine has not what it takes to shut a script in; the text says what, and what to do."""


class ScriptFailed(Exception):
    """The script raised something, was ended, or said what it may not."""

    def __init__(self, message: str, output: str = "") -> None:
        super().__init__(message)
        self.output = output


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """What is to be run."""

    text: str = field(repr=False)
    handler: str = ""
    module: str = "script"
    """How the file is called, without its ending; of an archive the module with the handler."""
    archive: bytes = field(default=b"", repr=False)
    """A zip file that is unpacked, in place of the text."""
    events: Any = field(repr=False)
    context: Mapping[str, Any] = field(default_factory=dict)
    seconds: int = 600
    powershell: str = ""
    """The program of PowerShell that runs it, in place of this Python; there is no handler then."""


@dataclass(frozen=True, slots=True)
class Ran:
    """What came of it."""

    result: Any
    output: str


def _job(script: Script) -> bytes:
    try:
        seccomp = instructions(powershell=bool(script.powershell))
    except FilterUnavailable as error:
        raise CannotShutIn(f"scripts cannot be run on this server: {error}") from error
    special: dict[str, Any] = {"program": None, "folder": None, "bounds": {"AS": MEMORY_MIB << 20, "NOFILE": 64}}
    if script.powershell:
        events = msgspec.json.encode(script.events).decode()
        special = powershell.job(script.powershell, script.text, events)
    own = [get_path("stdlib"), f"{sys.base_prefix}/lib", *([special["folder"]] if special["folder"] else [])]
    return msgspec.json.encode(
        {
            "script": script.text,
            "handler": script.handler,
            "module": script.module,
            "archive": b64encode(script.archive).decode(),
            "events": script.events,
            "context": script.context,
            "program": special["program"],
            "bounds": {
                "CPU": script.seconds + 1,
                "FSIZE": TEMPORARY_MIB << 20,
                "NPROC": _THREADS,
                "CORE": 0,
                "MEMLOCK": 0,
                "MSGQUEUE": 0,
                **special["bounds"],
            },
            "temporary_mib": TEMPORARY_MIB,
            "filter": b64encode(seccomp).decode(),
            "libraries": _outermost([*_LIBRARIES, *own]),
        }
    )


def _outermost(paths: list[str]) -> list[str]:
    """Those that lie in no other one."""
    found: list[str] = []
    for each in sorted(dict.fromkeys(os.path.normpath(path) for path in paths)):
        if not any(each == known or each.startswith(f"{known}/") for known in found):
            found.append(each)
    return found


async def run(script: Script, ask: Ask) -> Ran:
    """What the script's handler gives. `ask` answers its calls. Raises CannotShutIn, ScriptFailed."""
    job = _job(script)
    heard_from, says = os.pipe()
    printed_from, prints = os.pipe()
    hears, told_by = os.pipe()
    talk = _Talk((heard_from, printed_from), told_by, ask)
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-S", "-B", "-X", "utf8", "-u", str(_LAUNCHER), str(says), str(hears),
            stdin=asyncio.subprocess.DEVNULL, stdout=prints, stderr=prints,
            env={"LC_ALL": "C.UTF-8"}, cwd="/", pass_fds=(says, hears), start_new_session=True,
        )  # fmt: skip
    except BaseException:
        talk.close()
        raise
    finally:
        for each in (says, prints, hears):
            os.close(each)
    try:
        async with asyncio.timeout(script.seconds):
            return await talk.held(process, job)
    except TimeoutError as error:
        text = f"the script was ended: it ran for more than {script.seconds} seconds"
        raise ScriptFailed(text, talk.output()) from error
    finally:
        if process.returncode is None:
            process.kill()  # with it go all that it has started: they die with their parent
        talk.close()
        await asyncio.shield(process.wait())


class _Talk:
    """With the program of one script."""

    def __init__(self, from_it: tuple[int, int], told_by: int, ask: Ask) -> None:
        """`from_it`: pipes of what it says, and of what it prints."""
        self._from_it = [os.fdopen(each, "rb", buffering=0) for each in from_it]
        self._told_by = told_by
        self._ask = ask
        self._printed = bytearray()
        self._transports: list[asyncio.BaseTransport] = []

    async def held(self, process: asyncio.subprocess.Process, job: bytes) -> Ran:
        """What came of it, once it has ended, or has said what it may not."""
        says, prints = [await self._reader(each) for each in self._from_it]
        async with asyncio.TaskGroup() as group:
            printing = group.create_task(self._keep_printed(prints), name="output of a script")
            telling = group.create_task(asyncio.to_thread(_write_all, self._told_by, job + b"\n"), name="a script")
            try:
                said = await self._said(says)
            except ScriptFailed as error:
                said = {"failed": str(error)}
                process.kill()
            status = await process.wait()
            await printing
            await telling
        return self._told(said, status)

    async def _reader(self, pipe: io.FileIO) -> asyncio.StreamReader:
        reader = asyncio.StreamReader(limit=MOST_LINE)
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
        self._transports.append(transport)
        return reader

    def _told(self, said: Mapping[str, Any] | None, status: int) -> Ran:
        output = self.output()
        if said is None:
            raise ScriptFailed(_end_of(status), output)
        if "refused" in said:
            raise CannotShutIn(_NOT_HERE.format(said["refused"]))
        if "failed" in said:
            raise ScriptFailed(str(said["failed"])[:_MOST_REASON], output)
        return Ran(said.get("result"), output)

    async def _said(self, reader: asyncio.StreamReader) -> Mapping[str, Any] | None:
        """Answer its calls; the last thing that it says."""
        for _ in range(MOST_CALLS):
            try:
                line = await reader.readline()
            except ValueError as error:
                raise ScriptFailed(f"the script said more than {MOST_LINE} bytes at once") from error
            if not line:
                return None
            try:
                said = msgspec.json.decode(line, type=dict[str, Any])
            except (msgspec.DecodeError, RecursionError) as error:
                raise ScriptFailed("the script wrote to the server what is no JSON") from error
            call = said.get("call")
            if not isinstance(call, dict):
                return said
            await self._answer(call)
        raise ScriptFailed(f"the script made more than {MOST_CALLS} calls")

    async def _answer(self, call: Mapping[str, Any]) -> None:
        service, name, request, region = (call.get(each) for each in ("service", "name", "request", "region"))
        if not isinstance(service, str) or not isinstance(name, str) or not isinstance(request, dict):
            raise ScriptFailed("the script asked the server for what is no call")
        answer = await self._ask(service, name, request, region if isinstance(region, str) else None)
        line = msgspec.json.encode(answer, enc_hook=str) + b"\n"
        await asyncio.to_thread(_write_all, self._told_by, line)

    async def _keep_printed(self, prints: asyncio.StreamReader) -> None:
        while piece := await prints.read(1 << 16):
            room = MOST_OUTPUT - len(self._printed)
            self._printed += piece[: max(0, room)]

    def output(self) -> str:
        """What it printed so far."""
        return self._printed.decode("utf-8", "replace")

    def close(self) -> None:
        """Nobody listens any more."""
        for transport in self._transports:
            transport.close()
        for pipe in self._from_it:
            pipe.close()
        os.close(self._told_by)


def _write_all(descriptor: int, data: bytes) -> None:
    left = memoryview(data)
    try:
        while left:
            left = left[os.write(descriptor, left) :]
    except BrokenPipeError:
        return


def _end_of(status: int) -> str:
    if status == 9 or status < 0:
        return "the script was ended: it used more processor time or memory than it may, or ended itself"
    return f"the script ended itself with status {status}, without a result"
