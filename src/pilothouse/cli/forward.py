"""`pilothouse forward`: ports of this machine that lead to a node, or through it."""

import asyncio
import contextlib
import errno
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import typer

from pilothouse.cli import whom
from pilothouse.cli.connections import Clients, Side
from pilothouse.cli.link import running
from pilothouse.cli.link.channel import END_SESSION, Channel, Started, held
from pilothouse.cli.link.handshake import Agent
from pilothouse.cli.link.mux import Tunnel
from pilothouse.cli.link.opening import Opening
from pilothouse.cli.shared import DataOption, Failed
from pilothouse.cli.ssh import EndpointOption, NodeArgument, ProfileOption, ReasonOption, RegionOption, failing

_HERE = "127.0.0.1"
_TO_NODE, _THROUGH_NODE = "AWS-StartPortForwardingSession", "AWS-StartPortForwardingSessionToRemoteHost"
_MULTIPLEXING = (3, 0, 196, 0)
"""Agents after this one carry many connections in one session."""


@dataclass(frozen=True, slots=True)
class Way:
    """From a local port to a port of the node, or of a host that the node reaches."""

    local: int
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host or 'localhost'}:{self.port}"


def forward(
    node: NodeArgument,
    ways: Annotated[
        list[str],
        typer.Argument(metavar="PORT[:HOST:PORT]…", help="A port of the node; or local port, host and port beyond it."),
    ],
    local_port: Annotated[
        int | None, typer.Option("--local-port", min=0, max=65535, help="Another local port; 0: any free one.")
    ] = None,
    bind: Annotated[str, typer.Option("--bind", help="The local address that is listened on.")] = _HERE,
    reason: ReasonOption = None,
    region: RegionOption = None,
    profile: ProfileOption = None,
    endpoint_url: EndpointOption = None,
    data: DataOption = None,
) -> None:
    """Forward local ports. forward db-1 5432 leads to the node's own port 5432.

    forward web-1 15432:db.internal:5432 leads through web-1 to db.internal. Any number of connections share one
    session; Ctrl-C ends it. Needs no session-manager-plugin.
    """
    wanted = [_way(text) for text in ways]
    if local_port is not None:
        if len(wanted) > 1:
            raise Failed("--local-port is for one port; with several write LOCAL:HOST:PORT")
        wanted = [Way(local_port, wanted[0].host, wanted[0].port)]
    clients = Clients(Side(profile=profile, endpoint_url=endpoint_url, region=region, data=data))
    with failing(1):
        opening = Opening(clients)
        target = whom.one(clients.service("ssm"), node)
        doors = [(way, _listening(bind, way.local)) for way in wanted]
        code = running.run(_forward(opening, target, node, doors, reason))
    raise typer.Exit(code)


def _way(text: str) -> Way:
    first, _, rest = text.partition(":")
    host, _, port = rest.rpartition(":") if rest else ("", "", first)
    are_numbers = first.isdecimal() and port.isdecimal() and int(first) < 65536 and 0 < int(port) < 65536
    if not are_numbers or (rest and not host):
        raise Failed(f"{text}: write PORT, or LOCAL-PORT:HOST:PORT")
    return Way(int(first), host.strip("[]"), int(port))


def _listening(bind: str, port: int) -> socket.socket:
    """A socket that is bound. Raises Failed."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(bind, port, type=socket.SOCK_STREAM)[0]
        with contextlib.ExitStack() as stack:
            made = stack.enter_context(socket.socket(family, kind, protocol))
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind(address)
            made.listen(128)
            stack.pop_all()
            return made
    except OSError as error:
        place = f"{bind}:{port}"
        if error.errno == errno.EADDRINUSE:
            raise Failed(f"{place} is in use on this machine; add --local-port 0 for any free port") from error
        if error.errno == errno.EACCES:
            raise Failed(f"{place} may only be listened on by root; add --local-port {port + 10000}") from error
        raise Failed(f"{place} cannot be listened on: {error.strerror or error}") from error


async def _forward(
    opening: Opening, target: str, node: str, doors: Sequence[tuple[Way, socket.socket]], reason: str | None
) -> int:
    leaving = running.Leaving()
    failed: list[str] = []

    async def one(way: Way, door: socket.socket) -> None:
        try:
            said = await _one(opening, target, node, way, door, reason, leaving)
        except Failed as error:
            said = str(error)
        if said:
            running.say(f"{way}: {said}")
            failed.append(said)

    with running.heeded(*running.ENDS, done=leaving.by):
        async with asyncio.TaskGroup() as group:
            for way, door in doors:
                group.create_task(one(way, door))
    return 1 if failed else 0


async def _one(
    opening: Opening, target: str, node: str, way: Way, door: socket.socket, reason: str | None,
    leaving: running.Leaving,
) -> str:  # fmt: skip
    """Why it ended, if the user did not end it."""
    given = {"portNumber": [str(way.port)], "localPortNumber": [str(way.local)]}
    given |= {"host": [way.host]} if way.host else {}
    document = _THROUGH_NODE if way.host else _TO_NODE
    started: Started = await asyncio.to_thread(opening.start, target, document, given, reason)
    channel = Channel(started, opening, opening.trust, {})
    running.says_when_lost(channel, "Ctrl-C leaves.")
    try:
        async with held(channel):
            await _serve(channel, target, node, way, door, leaving)
    finally:
        door.close()
        if not channel.over.is_set():
            await asyncio.to_thread(opening.terminate, started.session_id)
    return "" if leaving.is_set() else channel.reason.strip() or f"session {started.session_id} has ended"


async def _serve(
    channel: Channel, target: str, node: str, way: Way, door: socket.socket, leaving: running.Leaving
) -> None:  # fmt: skip
    def unreachable() -> None:
        running.say(f"{node} cannot connect to {way}; is something listening there?")

    tunnel = Tunnel(channel, unreachable)
    async with asyncio.TaskGroup() as group:
        beginning = group.create_task(_begin(channel, tunnel))
        await running.first_of(channel.ready, channel.over, leaving)
        if channel.over.is_set() or leaving.is_set():
            beginning.cancel()
            return
        await beginning
        server = await asyncio.get_running_loop().create_server(tunnel.stream, sock=door)
        flowing = group.create_task(tunnel.run())
        host, port = door.getsockname()[:2]
        typer.echo(f"{host}:{port} -> {way} at {node if node == target else f'{node} ({target})'}")
        await running.first_of(channel.over, leaving)
        flowing.cancel()
        server.close()
        tunnel.close()
    if leaving.is_set() and channel.is_connected:
        channel.flag(END_SESSION)
        await running.farewell(channel)
    running.say(f"{way}: {tunnel.connections} connections, {tunnel.sent} bytes sent, {tunnel.received} received")


async def _begin(channel: Channel, tunnel: Tunnel) -> None:
    _check(await channel.begun(tunnel.take))


def _check(agent: Agent) -> None:
    parts = agent.version.split(".")
    if not all(part.isdigit() for part in parts) or tuple(map(int, parts)) <= _MULTIPLEXING:
        raise Failed(f"the agent of this node ({agent.version}) is too old to forward many connections; update it")
