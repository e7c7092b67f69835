"""`pilothouse exec`: a program on a node, as if it ran here: its streams apart, its exit code ours."""

import asyncio
import contextlib
import json
import shlex
import signal
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

from pilothouse.cli import whom
from pilothouse.cli.connections import Clients, Side
from pilothouse.cli.link import running, terminal
from pilothouse.cli.link.channel import Channel, SessionOver, held
from pilothouse.cli.link.opening import Opening
from pilothouse.cli.link.streams import Intake, Outlet
from pilothouse.cli.shared import DataOption, Failed
from pilothouse.cli.ssh import (
    EndpointOption,
    NodeArgument,
    ProfileOption,
    ReasonOption,
    RegionOption,
    exit_code,
    failing,
    term,
)
from pilothouse.gateway.session_messages import DATA, EXIT_CODE, SIZE, STDERR

DOCUMENT = "Pilothouse-RunProgram"
_END_OF_INPUT, _SIGNAL = 0x5048_0001, 0x5048_0100
"""Flags of the extension `exec`."""
_PATIENCE = 5.0
"""Seconds that a program may go on after it was told to end."""
_STDOUT, _STDERR = 1, 2


def exec(
    node: NodeArgument,
    words: Annotated[list[str], typer.Argument(metavar="CMD ARGS…", help="The program; write -- before it.")],
    tty: Annotated[bool, typer.Option("--tty", "-t", help="Give it a terminal: editors, top, prompts.")] = False,
    no_stdin: Annotated[bool, typer.Option("--no-stdin", "-n", help="It gets no standard input.")] = False,
    document: Annotated[
        str, typer.Option("--document", help="Another document; it must have the parameter command.")
    ] = DOCUMENT,
    reason: ReasonOption = None,
    region: RegionOption = None,
    profile: ProfileOption = None,
    endpoint_url: EndpointOption = None,
    data: DataOption = None,
) -> None:
    """Run a program on a node, with standard input, output and error as they are, byte for byte.

    The words are the program and its arguments: no shell looks at them. For a script: exec NODE -- sh -c 'a | b'. The
    exit code is the program's own; 128 + n if signal n ended it, 127 if there is no such program, 255 if the session
    failed.
    """
    if tty and not sys.stdin.isatty():
        raise Failed("--tty needs a terminal here", running.FAILED)
    clients = Clients(Side(profile=profile, endpoint_url=endpoint_url, region=region, data=data))
    with failing():
        opening = Opening(clients)
        target = whom.one(clients.service("ssm"), node)
        code = running.run(_run(opening, target, document, words, reason, tty=tty, gives=not no_stdin))
    raise typer.Exit(code)


async def _run(
    opening: Opening, target: str, document: str, words: list[str], reason: str | None, *, tty: bool, gives: bool
) -> int:
    given = {"command": [shlex.join(words)]}
    started = await asyncio.to_thread(opening.start, target, document, given, reason)
    offer: dict[str, Any] = {"exec": 1}
    if tty:
        offer |= {"tty": True, "term": term(), **terminal.shape(_STDOUT)}
    channel = Channel(started, opening, opening.trust, offer)
    running.says_when_lost(channel, "Ctrl-C leaves." if not tty else "Enter, then ~. leaves.", "\r\n" if tty else "\n")
    program = Program(channel, tty=tty, gives=gives)
    try:
        with terminal.raw(0) if tty else contextlib.nullcontext():
            async with held(channel):
                await program.run()
    finally:
        if not channel.over.is_set():
            await asyncio.to_thread(opening.terminate, started.session_id)
    if program.code is not None:
        return program.code
    if program.trouble:
        raise Failed(program.trouble)
    if program.leaving.is_set():
        running.say(f"Left; session {started.session_id} is ended.")
        return 128 + program.leaving.number
    if program.is_unread:
        return 128 + signal.SIGPIPE
    raise Failed(channel.reason.strip() or f"session {started.session_id} ended without an exit code of the program")


class Program:
    """The program there, and this process's streams."""

    def __init__(self, channel: Channel, *, tty: bool, gives: bool) -> None:
        self._channel = channel
        self._tty = tty
        self._gives = gives
        self._outlet = Outlet()
        self._ended, self._written = asyncio.Event(), asyncio.Event()
        self._ours = False
        self.leaving = running.Leaving()
        self.code: int | None = None
        self.trouble = ""

    @property
    def is_unread(self) -> bool:
        """Nobody reads what it writes."""
        return self._outlet.broken.is_set()

    async def run(self) -> None:
        """Until it has ended, or somebody wants to leave."""
        channel = self._channel
        changed = (signal.SIGWINCH,) if self._tty else ()
        with running.heeded(*running.ENDS, done=self._signalled):
            with running.heeded(*changed, done=lambda _number: self._resize()):
                async with asyncio.TaskGroup() as group:
                    feeding = group.create_task(self._feed())
                    await running.first_of(self._ended, channel.over, self.leaving, self._outlet.broken)
                    feeding.cancel()
            if self.code is None or self.is_unread:
                return
            async with asyncio.TaskGroup() as group:
                written = group.create_task(self._outlet.emptied())
                written.add_done_callback(lambda _task: self._written.set())
                await running.first_of(self._written, self.leaving)
                written.cancel()
            await running.farewell(self._channel)

    def _take(self, kind: int, payload: bytes, used: Callable[[], None]) -> None:
        if kind in (DATA, STDERR):
            self._outlet.put(_STDERR if kind == STDERR else _STDOUT, payload, used)
            return
        if kind == EXIT_CODE:
            self.code = exit_code(payload)
            self._ended.set()
        used()

    async def _feed(self) -> None:
        """What comes in here goes there."""
        with contextlib.suppress(SessionOver):
            agent = await self._channel.begun(self._take)
            self._ours = agent.takes("exec")
            if not self._ours:
                await self._feed_none()
                return
            escape = terminal.Escape()
            intake = Intake(0) if self._gives else None
            while intake is not None and (data := await intake.next()):
                if self._tty:
                    data, leaves = escape.feed(data)
                    if leaves:
                        self.leaving.by(signal.SIGHUP)
                await self._channel.room()
                self._channel.send(data)
            self._channel.flag(_END_OF_INPUT)

    async def _feed_none(self) -> None:
        """The official agent gives programs no input: bytes must not be lost in silence."""
        if self._tty:
            self._fail("--tty")
        elif self._gives and not sys.stdin.isatty() and await Intake(0).next():
            self._fail("standard input; leave it out with --no-stdin")

    def _fail(self, what: str) -> None:
        self.trouble = (
            f"the agent of this node is amazon-ssm-agent {self._channel.agent.version}, which runs programs without"
            f" {what}. pilothouse-agent has it"
        )
        self.leaving.by(0)

    def _signalled(self, number: int) -> None:
        """The first Ctrl-C is the program's; whoever does not end by it is ended."""
        if number != signal.SIGINT or not self._channel.ready.is_set() or not self._channel.is_connected:
            self.leaving.by(number)
            return
        if self._ours:
            self._channel.flag(_SIGNAL + number)
        else:
            self._channel.send(b"\x03")
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, self.leaving.by, number)
        asyncio.get_running_loop().call_later(_PATIENCE, self.leaving.by, number)

    def _resize(self) -> None:
        if self._channel.ready.is_set():
            self._channel.put(SIZE, json.dumps(terminal.shape(_STDOUT)).encode())
