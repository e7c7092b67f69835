"""Tunnels: the bytes of one TCP connection, or of many in smux (session-protocol 5.3)."""

import asyncio
import contextlib
import ipaddress
import os
import socket
from collections.abc import Callable

from pilothouse_agent import log
from pilothouse_agent.link.https import Unreachable, addresses_of
from pilothouse_agent.sessions import smux
from pilothouse_agent.sessions.activity import CONNECT_FAILED, DISCONNECT, TERMINATE, Ending, Scene, flag, flag_of
from pilothouse_agent.sessions.channel import FLAG, OUTPUT, SessionOver
from pilothouse_agent.sessions.streams import Sink, Source, pieces

LOCAL = "LocalPortForwarding"
_PATIENCE = 30.0  # seconds to connect
_KEEP_ALIVE = 10.0
_MOST_STREAMS = 1_000

_REFUSED = tuple(
    ipaddress.ip_network(each)
    for each in ("169.254.0.0/16", "fe80::/10", "fd00:ec2::/32", "224.0.0.0/4", "ff00::/8", "0.0.0.0/32", "::/128")
)
"""Where a tunnel never goes: the cloud's metadata, name and time services, and what is no single host."""


class NoConnection(Exception):
    """The destination cannot be reached, or must not be; the text is for the user."""


def is_refused(address: str) -> bool:
    """Whether a tunnel may not go there. Raises ValueError for what is no address."""
    found = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(found, "ipv4_mapped", None) or getattr(found, "sixtofour", None)
    return any(each in network for network in _REFUSED for each in (found, mapped) if each is not None)


class _Over(Exception):
    """The client ends the session."""


class Destination:
    """Where the tunnel goes."""

    def __init__(self, scene: Scene) -> None:
        """Raises ValueError."""
        properties = scene.order.properties
        host = properties.get("host")
        self.host = host.strip() if isinstance(host, str) and host.strip() else "localhost"
        try:
            self.port = int(str(properties.get("portNumber") or ""))
        except ValueError:
            self.port = 0
        if not 0 < self.port < 65_536:
            raise ValueError("portNumber must be a number from 1 to 65535")

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    async def connect(self) -> socket.socket:
        """A connection, non-blocking. The name is looked up once: what was checked is what is dialled."""
        reason: object = "it has no address"
        try:
            async with asyncio.timeout(_PATIENCE):
                addresses = await addresses_of(self.host, self.port)
                for address in addresses:
                    if is_refused(address):
                        reason = f"{address} is not allowed as the destination of a tunnel"
                        continue
                    try:
                        return await self._dial(address)
                    except OSError as error:
                        reason = os.strerror(error.errno) if error.errno else error
        except TimeoutError:
            reason = f"no answer within {_PATIENCE:g} s"
        except (OSError, Unreachable, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
        raise NoConnection(f"Unable to connect to {self}: {reason}")

    async def _dial(self, address: str) -> socket.socket:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        made = socket.socket(family, socket.SOCK_STREAM)
        try:
            made.setblocking(False)
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await asyncio.get_running_loop().sock_connect(made, (address, self.port))
        except BaseException:
            made.close()
            raise
        return made


class Connection:
    """One TCP connection to the destination."""

    def __init__(self, made: socket.socket, scene: Scene, emit: Callable[[bytes], None]) -> None:
        self._socket = made
        self._emit = emit
        self._muted = False
        self.sink = Sink(made.fileno(), scene.channel.backlog)
        self.source = Source(made.fileno(), scene.channel, self._read)

    def _read(self, data: bytes) -> None:
        if not self._muted:
            self._emit(data)

    async def finish(self) -> None:
        """The client has closed: what it sent before still arrives, and is not torn away by a reset."""
        self._muted = True
        self.sink.end()
        with contextlib.suppress(TimeoutError, OSError):
            async with asyncio.timeout(_PATIENCE):
                await self.sink.over.wait()
                self._socket.shutdown(socket.SHUT_WR)
                await self.source.over.wait()

    def close(self) -> None:
        self.source.stop()
        self.sink.stop()
        self._socket.close()


class RawPort:
    """One connection: its bytes are the payloads. AWS-StartSSHSession, and clients without smux."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._destination = Destination(scene)
        self._redials = scene.order.properties.get("type") == LOCAL
        self._connection: Connection | None = None
        self._wanted = asyncio.Event()
        self._dropped = asyncio.Event()
        self._over = asyncio.Event()
        scene.channel.take = self._take

    async def run(self) -> Ending:
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(self._serve())
            watching = group.create_task(self._over.wait())
            await asyncio.wait((serving, watching), return_when=asyncio.FIRST_COMPLETED)
            ending = serving.result() if serving.done() else Ending()
            serving.cancel()
            watching.cancel()
        return ending

    async def _serve(self) -> Ending:
        while True:
            try:
                made = await self._destination.connect()
            except NoConnection as error:
                if not self._redials:
                    return Ending(status="Failed", output=str(error))
                log.event("tunnel.not_connected", session_id=self._scene.order.session_id, reason=error)
                self._scene.channel.put(FLAG, flag(CONNECT_FAILED))
            else:
                await self._one(made)
                if not self._redials:
                    return Ending()
            self._wanted.clear()
            await self._wanted.wait()

    async def _one(self, made: socket.socket) -> None:
        connection = Connection(made, self._scene, self._emit)
        self._dropped.clear()
        self._connection = connection
        self._scene.channel.ready()
        try:
            await first_of(connection.source.over, self._dropped)
            if self._dropped.is_set():
                await connection.finish()
        finally:
            self._connection = None
            connection.close()

    def _emit(self, data: bytes) -> None:
        self._scene.channel.put(OUTPUT, *pieces(data, self._scene.client.chunk))

    def _take(self, payload_type: int, payload: bytes) -> bool:
        if payload_type == FLAG:
            if flag_of(payload) == TERMINATE:
                self._over.set()
            elif flag_of(payload) == DISCONNECT:
                self._dropped.set()
            return True
        if payload_type != OUTPUT:
            return True
        if self._connection is None or self._dropped.is_set():
            self._wanted.set()
            return False
        self._connection.sink.put(payload)
        return True

    async def end(self) -> None:
        if self._connection is not None:
            self._connection.close()


class MuxPort:
    """Many connections in smux: the client opens streams, the agent dials for each."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._destination = Destination(scene)
        self._decoder = smux.Decoder()
        self._early: dict[int, list[bytes | memoryview]] = {}  # of streams whose connection is not there yet
        self._streams: dict[int, Connection] = {}
        self._finished: dict[int, asyncio.Event] = {}
        self._opened: asyncio.Queue[int] = asyncio.Queue()
        self._over = asyncio.Event()
        self._room = scene.client.chunk - smux.HEADER.size
        scene.channel.take = self._take

    async def run(self) -> Ending:
        self._scene.channel.ready()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._dial_all(group))
                group.create_task(self._keep_alive())
                await self._over.wait()
                raise _Over
        except* _Over:
            pass
        return Ending()

    async def _dial_all(self, group: asyncio.TaskGroup) -> None:
        while True:
            group.create_task(self._stream(await self._opened.get()))

    async def _keep_alive(self) -> None:
        """For clients that would otherwise take silence for an end."""
        while self._scene.client.wants_keep_alive:
            await asyncio.sleep(_KEEP_ALIVE)
            self._put(smux.NOP, 0)

    async def _stream(self, number: int) -> None:
        finished = self._finished[number]
        made: socket.socket | None = None
        try:
            made = await self._destination.connect()
        except NoConnection as error:
            log.event("tunnel.not_connected", session_id=self._scene.order.session_id, reason=error)
            self._scene.channel.put(FLAG, flag(CONNECT_FAILED))
        connection: Connection | None = None
        if made is not None:
            connection = Connection(made, self._scene, lambda data: self._emit(number, data))
            self._streams[number] = connection
        for data in self._early.pop(number, ()):
            self._scene.channel.backlog.less(len(data))
            if connection is not None:
                connection.sink.put(data)
        if connection is not None:
            try:
                await first_of(connection.source.over, finished)
                if finished.is_set():
                    await connection.finish()
            finally:
                del self._streams[number]
                connection.close()
        del self._finished[number]
        if not finished.is_set():
            self._put(smux.FIN, number)

    def _emit(self, number: int, data: bytes) -> None:
        self._scene.channel.put(OUTPUT, *smux.messages(number, data, self._scene.client.chunk))

    def _put(self, command: int, number: int) -> None:
        self._scene.channel.put(OUTPUT, smux.encode(command, number))

    def _take(self, payload_type: int, payload: bytes) -> bool:
        if payload_type == FLAG:
            if flag_of(payload) == TERMINATE:
                self._over.set()
            return True
        if payload_type != OUTPUT:
            return True
        try:
            for piece in self._decoder.feed(payload):
                self._piece(piece)
        except smux.MalformedStream as error:
            raise SessionOver("The client sent what is no smux of version 1.") from error
        return True

    def _piece(self, piece: smux.Piece) -> None:
        number = piece.stream
        if piece.command == smux.SYN and number not in self._finished:
            if len(self._finished) >= _MOST_STREAMS:
                self._put(smux.FIN, number)
                return
            self._finished[number] = asyncio.Event()
            self._early[number] = []
            self._opened.put_nowait(number)
        elif piece.command == smux.FIN and number in self._finished:
            self._finished[number].set()
        elif piece.command == smux.PSH and number in self._early:
            self._early[number].append(piece.data)
            self._scene.channel.backlog.add(len(piece.data))
        elif piece.command == smux.PSH and number in self._streams and not self._finished[number].is_set():
            self._streams[number].sink.put(piece.data)

    async def end(self) -> None:
        for connection in list(self._streams.values()):
            connection.close()


async def first_of(*events: asyncio.Event) -> None:
    """Until one of them is set."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(event.wait()) for event in events]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()


def tunnel(scene: Scene) -> RawPort | MuxPort:
    """Raises ValueError."""
    if scene.order.properties.get("type") == LOCAL and scene.client.multiplexes:
        return MuxPort(scene)
    return RawPort(scene)
