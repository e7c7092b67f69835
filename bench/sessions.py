"""Sessions through server and our own agent: what an echo waits, what a forwarded port carries, what a session costs.

Also both ends of sessions in one light process (`bench.session_ends`), where an echo waits for the server alone.
Against bare asyncio relays: one between client and echo, and a chain of three in as many processes as the tunnel has
(command, server, agent), once over plain TCP and once with TLS where the tunnel has it. Output is recorded as usual.
"""

import asyncio
import contextlib
import os
import pwd
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import uvloop

from bench.get_parameter import client
from bench.processes import PILOTHOUSE, Measured, free_port, pilothouse
from bench.session_ends import Node
from bench.tcp_peers import ASKED, BLOCK
from pilothouse.cli.connections import Clients, Side
from pilothouse.cli.link.channel import Channel, held
from pilothouse.cli.link.opening import Opening
from pilothouse.gateway.session_messages import DATA

_AGENT = [sys.executable, "-m", "pilothouse_agent"]
_TYPED_EVERY = 0.1
"""Seconds between the keys of one session, on average."""
_MEGABYTE = 1_000_000

Echo = Callable[[], Awaitable[None]]
"""Sends a byte, and returns when it is back."""


@dataclass(frozen=True)
class Place:
    """A server and a node with an agent, and one whose sessions have both ends here."""

    server: Measured
    values: dict[str, str]
    node_id: str
    node: Node


def measure(rounds: int, seconds: float, many: int, megabytes: int) -> dict[str, float]:
    """Medians of all rounds."""
    found: dict[str, list[float]] = {}
    with _place() as place:
        for _ in range(rounds):
            for count in (1, many):
                for name, value in _echoes(place, count, seconds).items():
                    found.setdefault(name, []).append(value)
            for name, value in _throughput(place, megabytes).items():
                found.setdefault(name, []).append(value)
    return {name: statistics.median(values) for name, values in found.items()}


@contextlib.contextmanager
def _place() -> Iterator[Place]:
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server, values = stack.enter_context(pilothouse(folder / "data"))
        url = f"https://127.0.0.1:{server.tls_port}"
        ssm = client(values, "ssm")
        made = ssm.create_activation(IamRole="node-role", DefaultInstanceName="bench")
        state = ["--state", str(folder / "agent")]
        subprocess.run(
            [*_AGENT, "register", "--url", url, "--ca", str(folder / "data" / "ca.pem"), "--activation-id",
             made["ActivationId"], "--activation-code", made["ActivationCode"], *state],
            check=True, capture_output=True,
        )  # fmt: skip
        own = os.environ | {"PILOTHOUSE_AGENT_SESSION_USER": pwd.getpwuid(os.geteuid()).pw_name}
        agent = subprocess.Popen([*_AGENT, "run", *state], stderr=subprocess.DEVNULL, env=own)
        stack.callback(_ended, agent)
        (node,) = ssm.describe_instance_information()["InstanceInformationList"]
        node_id = node["InstanceId"]
        _until(lambda: bool(ssm.get_connection_status(Target=node_id)["Status"] == "connected"))
        trusting = {"AWS_ENDPOINT_URL": url, "AWS_CA_BUNDLE": str(folder / "data" / "ca.pem")}
        with _environment(values | trusting):
            yield Place(server, values | trusting, node_id, Node(server, values, folder / "data" / "ca.pem"))


@contextlib.contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update({name: value for name, value in values.items() if name.startswith("AWS_")})
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _ended(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(10)
    process.kill()
    process.wait()


def _until(look: Callable[[], bool]) -> None:
    for _ in range(600):
        if look():
            return
        time.sleep(0.05)
    raise SystemExit("the sessions' node did not come")


# Echo


def _echoes(place: Place, count: int, seconds: float) -> dict[str, float]:
    resident = place.server.resident_mib()
    ours, held_mib, cpu = _run(_through_sessions(place, count, seconds))
    alone, alone_cpu = _run(_through_server(place, count, seconds))
    sessions = f"{count} session{'s' if count > 1 else ''}"
    with _peer("echo") as echo, _peer("relay", echo) as relay:
        bare = _run(_through_relay(relay, count, seconds))
    p99, bare_p99 = _p99(ours), _p99(bare)
    figures = {
        f"echo p50 ms, {sessions}": statistics.median(ours) * 1e3,
        f"echo p99 ms, {sessions}": p99 * 1e3,
        f"bare relay p99 ms, {sessions}": bare_p99 * 1e3,
        f"added p99 ms, {sessions}": max(p99 - bare_p99, 1e-6) * 1e3,
        f"server CPU us per echo, {sessions}": cpu / len(ours) * 1e6,
        f"server alone: echo p99 ms, {sessions}": _p99(alone) * 1e3,
        f"server alone: added p99 ms, {sessions}": max(_p99(alone) - bare_p99, 1e-6) * 1e3,
        f"server alone: CPU us per echo, {sessions}": alone_cpu / len(alone) * 1e6,
    }
    if count > 1:
        figures["sessions held at once"] = count
        figures["server KiB per held session"] = max(held_mib - resident, 0.001) * 1024 / count
    return figures


def _p99(values: list[float]) -> float:
    return sorted(values)[max(0, round(len(values) * 0.99) - 1)]


async def _through_sessions(place: Place, count: int, seconds: float) -> tuple[list[float], float, float]:
    """Round trips, and resident memory of the server and its CPU time while all sessions were there."""
    opening = Opening(Clients(Side()))
    async with contextlib.AsyncExitStack() as stack:
        echoes = [await stack.enter_async_context(_cat(opening, place.node_id)) for _ in range(count)]
        cpu = place.server.cpu_seconds()
        found = await _typed(echoes, seconds)
        return found, place.server.resident_mib(), place.server.cpu_seconds() - cpu


async def _through_server(place: Place, count: int, seconds: float) -> tuple[list[float], float]:
    """Round trips of sessions whose ends are both here, and the server's CPU time meanwhile."""
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(place.node.there())
        sessions = [await stack.enter_async_context(place.node.session()) for _ in range(count)]
        for each in sessions:
            await each.echo()
        cpu = place.server.cpu_seconds()
        found = await _typed([each.echo for each in sessions], seconds)
        return found, place.server.cpu_seconds() - cpu


@contextlib.asynccontextmanager
async def _cat(opening: Opening, node_id: str) -> AsyncIterator[Echo]:
    given = {"command": ["cat"]}
    started = await asyncio.to_thread(opening.start, node_id, "Pilothouse-RunProgram", given, None)
    channel = Channel(started, opening, opening.trust, {"exec": 1})
    back = asyncio.Event()

    def take(kind: int, _payload: bytes, used: Callable[[], None]) -> None:
        used()
        if kind == DATA:
            back.set()

    async def echo() -> None:
        back.clear()
        channel.send(b"x")
        await back.wait()

    try:
        async with held(channel):
            await channel.begun(take)
            await echo()
            yield echo
    finally:
        await asyncio.to_thread(opening.terminate, started.session_id)


async def _through_relay(port: int, count: int, seconds: float) -> list[float]:
    async with contextlib.AsyncExitStack() as stack:
        return await _typed([await stack.enter_async_context(_line(port)) for _ in range(count)], seconds)


@contextlib.asynccontextmanager
async def _line(port: int) -> AsyncIterator[Echo]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def echo() -> None:
        writer.write(b"x")
        await reader.readexactly(1)

    yield echo
    writer.close()


async def _typed(echoes: list[Echo], seconds: float) -> list[float]:
    """All of them typed into at the pace of people, each at its own moments: a key's moment does not depend on when the
    echo of the one before came, or sessions whose echoes come together would type together from then on."""
    found: list[float] = []
    began = time.perf_counter()
    until = began + max(seconds, 3 * _TYPED_EVERY)

    async def one(number: int, echo: Echo) -> None:
        chance = random.Random(number)
        due = began + _TYPED_EVERY * chance.random()
        while due < until:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            await echo()
            found.append(time.perf_counter() - max(due, began))
            due += _TYPED_EVERY * chance.uniform(0.5, 1.5)

    async with asyncio.TaskGroup() as group:
        for number, echo in enumerate(echoes):
            group.create_task(one(number, echo))
    return found


T = TypeVar("T")


def _run(work: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


# A forwarded port


def _throughput(place: Place, megabytes: int) -> dict[str, float]:
    figures: dict[str, float] = {}
    data = str(Path(place.values["AWS_CA_BUNDLE"]).parent)
    with _peer("bytes") as service:
        with _forwarding(place, service) as port:
            ours = _rates(port, megabytes)
        with _chain(service, "relay", "relay", "relay") as first:
            bare = _rates(first, megabytes)
        with _chain(service, "sealing", "resealing", "opening", data=data) as first:
            sealed = _rates(first, megabytes)
    for way, rate, plain, tls in zip(("from", "to"), ours, bare, sealed, strict=True):
        figures[f"forwarded MB per second {way} the node"] = rate
        figures[f"three bare relays, MB per second {way} the node"] = plain
        figures[f"three bare relays with TLS, MB per second {way} the node"] = tls
        figures[f"share of the bare relays, {way} the node"] = rate / plain
        figures[f"share of the bare relays with TLS, {way} the node"] = rate / tls
    return figures


@contextlib.contextmanager
def _chain(service: int, *roles: str, data: str = "") -> Iterator[int]:
    """Relays one behind the other, the last before the service; the port of the first."""
    with contextlib.ExitStack() as stack:
        port = service
        for role in reversed(roles):
            port = stack.enter_context(_peer(role, port, data))
        yield port


def _rates(port: int, megabytes: int) -> tuple[float, float]:
    """MB per second down and up, one connection, after a first megabyte."""
    size = megabytes * _MEGABYTE
    with socket.create_connection(("127.0.0.1", port), 60) as line:
        _down(line, _MEGABYTE)
        _up(line, _MEGABYTE)
        began = time.perf_counter()
        _down(line, size)
        between = time.perf_counter()
        _up(line, size)
        ended = time.perf_counter()
    return megabytes / (between - began), megabytes / (ended - between)


def _down(line: socket.socket, count: int) -> None:
    line.sendall(ASKED.pack(b"d", count))
    while count > 0:
        data = line.recv(4 * BLOCK)
        if not data:
            raise SystemExit("the tunnel broke off")
        count -= len(data)


def _up(line: socket.socket, count: int) -> None:
    line.sendall(ASKED.pack(b"u", count))
    line.sendall(bytes(count))
    if line.recv(1) != b"!":
        raise SystemExit("the tunnel broke off")


@contextlib.contextmanager
def _forwarding(place: Place, service: int) -> Iterator[int]:
    words = ["forward", place.node_id, str(service), "--local-port", "0"]
    process = subprocess.Popen([*PILOTHOUSE, *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        assert process.stdout is not None
        line = process.stdout.readline().decode()
        yield int(line.partition(" ")[0].rpartition(":")[2])
    finally:
        _ended(process)


@contextlib.contextmanager
def _peer(role: str, target: int = 0, data: str = "") -> Iterator[int]:
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "bench.tcp_peers", role, str(port), str(target), data])
    try:
        _until(lambda: _listens(port))
        yield port
    finally:
        _ended(process)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
