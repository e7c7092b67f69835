"""`pilothouse ssh`: a shell on a node, in this terminal."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Annotated

import typer
from botocore.exceptions import BotoCoreError, ClientError

from pilothouse.cli import whom
from pilothouse.cli.connections import Clients, Side, told
from pilothouse.cli.link import running, terminal
from pilothouse.cli.link.channel import Channel, SessionOver, held
from pilothouse.cli.link.opening import Opening
from pilothouse.cli.link.streams import Intake, Outlet
from pilothouse.cli.shared import DataOption, Failed
from pilothouse.gateway.session_messages import DATA, EXIT_CODE, SIZE, STDERR

NodeArgument = Annotated[str, typer.Argument(metavar="NODE", help="Id or name of the node.")]
ReasonOption = Annotated[str | None, typer.Option("--reason", help="Why; kept with the session.")]
RegionOption = Annotated[str | None, typer.Option("--region", help="Default: the region of the AWS settings.")]
ProfileOption = Annotated[str | None, typer.Option("--profile", help="A profile of the AWS settings.")]
EndpointOption = Annotated[str | None, typer.Option("--endpoint-url", help="Default: AWS_ENDPOINT_URL.")]


def ssh(
    node: NodeArgument,
    document: Annotated[
        str | None, typer.Option("--document", help="Another session document than the account's preferences.")
    ] = None,
    parameter: Annotated[
        list[str] | None, typer.Option("--parameter", help="NAME=VALUE for the document; can be repeated.")
    ] = None,
    reason: ReasonOption = None,
    region: RegionOption = None,
    profile: ProfileOption = None,
    endpoint_url: EndpointOption = None,
    data: DataOption = None,
) -> None:
    """Open a shell on a node. `exit` ends it; Enter, then ~. leaves at once.

    Needs neither session-manager-plugin nor an open port on the node. A lost connection is taken up again. Exit code 0:
    the shell has ended. 255: the session failed, or was ended from outside; standard error says why.
    """
    if not sys.stdin.isatty():
        raise Failed("ssh needs a terminal; for pipes and scripts: pilothouse exec NODE -- CMD", running.FAILED)
    clients = Clients(Side(profile=profile, endpoint_url=endpoint_url, region=region, data=data))
    with failing():
        opening = Opening(clients)
        target = whom.one(clients.service("ssm"), node)
        code = running.run(_shell(opening, target, document, parameters_of(parameter or []), reason))
    raise typer.Exit(code)


@contextlib.contextmanager
def failing(code: int = running.FAILED) -> Iterator[None]:
    """Faults become sentences, and this exit code."""
    try:
        yield
    except (BotoCoreError, ClientError) as error:
        raise Failed(str(told(error)), code) from error
    except Failed as error:
        raise Failed(str(error), code) from error


def parameters_of(given: list[str]) -> dict[str, list[str]]:
    """NAME=VALUE, by name. Raises Failed."""
    found: dict[str, list[str]] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise Failed(f"--parameter {text}: write NAME=VALUE")
        found.setdefault(name, []).append(value)
    return found


async def _shell(
    opening: Opening, target: str, document: str | None, parameters: dict[str, list[str]], reason: str | None
) -> int:
    started = await asyncio.to_thread(opening.start, target, document, parameters, reason)
    channel = Channel(started, opening, opening.trust, {})
    running.says_when_lost(channel, "Enter, then ~. leaves.", "\r\n")
    shell = Shell(channel)
    try:
        with terminal.raw(sys.stdin.fileno()):
            async with held(channel):
                await shell.run()
    finally:
        if not channel.over.is_set():
            await asyncio.to_thread(opening.terminate, started.session_id)
    if shell.leaving.is_set():
        running.say(f"Left. Session {started.session_id} is ended.")
        return 128 + shell.leaving.number if shell.leaving.number else 0
    reason_said = f": {channel.reason.strip()}" if channel.reason.strip() else "."
    running.say(f"Session {started.session_id} has ended{reason_said}")
    return running.FAILED if channel.reason.strip() else shell.code


class Shell:
    """The terminal here and the one there."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._outlet = Outlet()
        self.leaving = running.Leaving()
        self.code = 0

    async def run(self) -> None:
        """Until the session is over, or the user leaves."""
        channel, outlet = self._channel, self._outlet
        resized = running.heeded(signal.SIGWINCH, done=lambda _number: self._resize())
        with resized, running.heeded(*running.ENDS, done=self.leaving.by):
            async with asyncio.TaskGroup() as group:
                typing = group.create_task(self._type())
                await running.first_of(channel.over, self.leaving, outlet.broken)
                typing.cancel()
        if not self.leaving.is_set():
            await outlet.emptied()

    async def _type(self) -> None:
        escape, intake = terminal.Escape(), Intake(sys.stdin.fileno())
        with contextlib.suppress(SessionOver):
            async with asyncio.TaskGroup() as group:
                beginning = group.create_task(self._begin())
                while True:
                    data, leaves = escape.feed(typed := await intake.next())
                    if leaves or not typed:
                        self.leaving.by(0 if leaves else signal.SIGHUP)
                        return
                    await beginning
                    await self._channel.room()
                    self._channel.send(data)

    async def _begin(self) -> None:
        with contextlib.suppress(SessionOver):
            await self._channel.begun(self._take)
            self._resize()

    def _resize(self) -> None:
        if self._channel.ready.is_set():
            self._channel.put(SIZE, json.dumps(terminal.shape(sys.stdout.fileno())).encode())

    def _take(self, kind: int, payload: bytes, used: Callable[[], None]) -> None:
        if kind in (DATA, STDERR):
            self._outlet.put(sys.stdout.fileno(), payload, used)
            return
        if kind == EXIT_CODE:
            self.code = exit_code(payload)
        used()


def exit_code(payload: bytes) -> int:
    """Of `EXIT_CODE: 3`."""
    text = payload.rpartition(b":")[2].strip()
    return int(text) & 0xFF if text.isdigit() else running.FAILED


def term() -> str:
    """What kind of terminal this is."""
    return os.environ.get("TERM") or "xterm-256color"
