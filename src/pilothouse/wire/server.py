"""The HTTP server: uvicorn on connections that we accept, with limits of our own on slow and large request heads."""

import asyncio
import contextlib
import errno
import socket
import ssl
from asyncio import TimerHandle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn

from pilothouse.runtime.metrics import CONNECTIONS_DROPPED, REQUESTS_REFUSED
from pilothouse.runtime.peers import Proxies
from pilothouse.runtime.settings import LimitSettings
from pilothouse.wire.accepting import AT_ONCE, Acceptor, Protocol
from pilothouse.wire.asgi import CONNECTION
from pilothouse.wire.direct import DirectHttp
from pilothouse.wire.handshakes import Handshakes
from pilothouse.wire.places import Place, Places
from pilothouse.wire.websocket import WebSocket
from pilothouse.wire.writes import GatheredTransport, Turn

HEAD_BYTES = 64 << 10
"""Request line and headers together."""
READ_BYTES = 16 << 10
"""What a client with full buffers must take within `stall_seconds` to go on."""
WEBSOCKET_BYTES = 256 << 10
BACKLOG = 2048
GRACE_SECONDS = 10
FAREWELL_SECONDS = 2.0
"""What an idle client over TLS has for its end of the farewell when the server stops."""


class PortInUse(Exception):
    """Another process listens there already."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(f"port {port} on {host} is in use by another program")
        self.host = host
        self.port = port


class CannotListen(Exception):
    """The address is not this machine's, or may not be bound."""


@dataclass(frozen=True, slots=True)
class Listener:
    """Where to listen, and the TLS context to listen with (None: plain HTTP)."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None


def tls_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """TLS 1.2 and later, HTTP/1.1 only: websockets of the agents need it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    context.load_cert_chain(certificate, key)
    return context


class _LimitedHttp(DirectHttp):
    """uvicorn's protocol, with limits on the time and the size of a request's head.

    A timer runs only while a head is incomplete; a head that comes in one piece, as nearly all do, costs none.
    """

    head_seconds: float
    stall_seconds: float
    turn: Turn | None = None
    place: Place
    """What the connection holds of all that may be open; set once it is made."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._in_head = True
        self._begun = False
        self._earlier = 0
        """Bytes of the current head that came before the piece being read."""
        self._piece = 0
        self._too_large = False
        self._head_deadline: TimerHandle | None = None
        self._stalled: TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        if self.turn is None:  # of the class of one listener, and so of one loop
            type(self).turn = Turn(self.loop, self.stall_seconds)
        self.place.end = transport.abort
        super().connection_made(GatheredTransport(transport, self.turn, self.place))  # type: ignore[arg-type]
        self._head_deadline = self.loop.call_later(self.head_seconds, self._head_too_slow)

    def connection_lost(self, exc: Exception | None) -> None:
        self.place.free()
        self._end_deadline()
        self._end_stall()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._begun = False
        self._piece = len(data)
        super().data_received(data)
        if not self._in_head:
            self._end_deadline()
            return
        # Where a head began within this piece, what stands before it belongs to another request and is let pass.
        self._earlier = 0 if self._begun else self._earlier + self._piece
        if self._earlier > HEAD_BYTES and not self.transport.is_closing():
            self._too_large = True
            self.send_400_response("The request's headers are too large.")
        elif self._head_deadline is None:
            self._head_deadline = self.loop.call_later(self.head_seconds, self._head_too_slow)

    def on_message_begin(self) -> None:
        self._in_head = self._begun = True
        self._earlier = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        if self._earlier + self._piece > HEAD_BYTES:  # perhaps only because a body follows
            size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
            if size > HEAD_BYTES:
                self._too_large = True
                raise ValueError("the request's headers are too large")  # the parser turns it into send_400_response
        self.scope[CONNECTION] = self  # type: ignore[literal-required]
        super().on_headers_complete()

    def shutdown(self) -> None:
        """The server stops. Most clients do not look at a connection before they use it again, and say no farewell."""
        super().shutdown()
        if self.transport.is_closing():
            self.loop.call_later(FAREWELL_SECONDS, self.transport.abort)

    def shown(self) -> None:
        self.place.shown()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_reader()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._end_stall()

    def _watch_reader(self) -> None:
        self._stalled = self.loop.call_later(
            self.stall_seconds, self._look_at_reader, self.transport.get_write_buffer_size()
        )

    def _look_at_reader(self, before: int) -> None:
        if before - self.transport.get_write_buffer_size() >= READ_BYTES:
            self._watch_reader()
        else:
            CONNECTIONS_DROPPED.labels("unread").inc()
            self.abort()

    def _end_stall(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def abort(self) -> None:
        """Let go of the connection and of what waits to be written on it."""
        self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        if not self._too_large:
            REQUESTS_REFUSED.labels("400").inc()
            super().send_400_response(msg)
            return
        REQUESTS_REFUSED.labels("431").inc()
        text = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        self.transport.write(text)
        self.transport.close()

    def _end_deadline(self) -> None:
        if self._head_deadline is not None:
            self._head_deadline.cancel()
            self._head_deadline = None

    def _head_too_slow(self) -> None:
        self._head_deadline = None
        if not self.transport.is_closing():
            CONNECTIONS_DROPPED.labels("head").inc()
            self.transport.close()


class _Server(uvicorn.Server):
    """uvicorn's server without its signal handlers, which are the CLI's, and with an acceptor of our own."""

    def __init__(self, config: uvicorn.Config, accepting: Callable[[Protocol, socket.socket], Acceptor]) -> None:
        super().__init__(config)
        self._accepting = accepting
        self.accepting = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's own, but for who accepts connections."""
        assert sockets is not None
        config, loop = self.config, asyncio.get_running_loop()

        def protocol(place: Place) -> asyncio.Protocol:
            made = config.http_protocol_class(  # type: ignore[call-arg]
                config=config, server_state=self.server_state, app_state={}, _loop=loop
            )
            assert isinstance(made, _LimitedHttp)
            made.place = place
            return made

        acceptors = [self._accepting(protocol, each) for each in sockets]
        self.servers = acceptors  # type: ignore[assignment]
        for each in acceptors:
            each.start()
        self.started = True
        self.accepting.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def bound(listener: Listener) -> socket.socket:
    """A socket bound to the listener's address, not yet listening. Raises PortInUse, CannotListen."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            listener.host, listener.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        opened = socket.socket(family, kind, protocol)
    except OSError as error:
        raise CannotListen(f"cannot listen on {listener.host}: {error.strerror or error}") from error
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        opened.bind(address)
        opened.listen(BACKLOG)
    except OSError as error:
        opened.close()
        if error.errno == errno.EADDRINUSE:
            raise PortInUse(listener.host, listener.port) from error
        text = f"cannot listen on {listener.host} port {listener.port}: {error.strerror or error}"
        raise CannotListen(text) from error
    opened.setblocking(False)
    return opened


def _server(
    application: Any, limits: LimitSettings, accepting: Callable[[Protocol, socket.socket], Acceptor]
) -> _Server:
    direct = getattr(application, "direct", None)  # other applications have their ASGI side only
    answer = None if direct is None else staticmethod(direct)
    own = {"head_seconds": limits.head_seconds, "stall_seconds": limits.stall_seconds, "answer": answer}
    protocol = type("LimitedHttp", (_LimitedHttp,), own)
    config = uvicorn.Config(
        application,
        http=protocol,
        ws=WebSocket,
        ws_max_size=WEBSOCKET_BYTES,
        ws_per_message_deflate=False,
        lifespan="off",
        log_config=None,
        log_level="error",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=limits.idle_seconds,
        timeout_graceful_shutdown=GRACE_SECONDS,
        backlog=BACKLOG,
    )
    config.load()
    return _Server(config, accepting)


async def serve(
    application: Any,
    listeners: Sequence[Listener],
    *,
    stopping: asyncio.Event,
    started: Callable[[Sequence[tuple[str, int]]], None] | None = None,
    limits: LimitSettings | None = None,
    proxies: Proxies | None = None,
    shared: Sequence[socket.socket] | None = None,
) -> None:
    """Serve an ASGI application on all listeners until `stopping` is set; then finish what runs, for a while.

    `started` gets the addresses really bound, in the order of the listeners, once connections are accepted. All ports
    are bound before anything is served. `shared`: sockets bound for the listeners, on which other processes accept as
    well. Raises PortInUse, CannotListen.
    """
    limits = limits or LimitSettings()
    sockets: list[socket.socket] = list(shared or ())
    try:
        for listener in listeners[len(sockets) :]:
            sockets.append(bound(listener))
        places = Places(limits.connections, limits.connections_per_address, proxies)
        handshakes = Handshakes(asyncio.get_running_loop(), limits.handshakes)
        async with asyncio.TaskGroup() as group:
            servers = []
            for listener, opened in zip(listeners, sockets, strict=True):
                accepting = partial(
                    _acceptor, group=group, places=places, tls=listener.tls, handshakes=handshakes,
                    head_seconds=limits.head_seconds, at_once=AT_ONCE if shared is None else 1,
                )  # fmt: skip
                servers.append(_server(application, limits, accepting))
                group.create_task(servers[-1].serve(sockets=[opened]))
            for server in servers:
                await server.accepting.wait()
            if started is not None:
                started([opened.getsockname()[:2] for opened in sockets])
            await stopping.wait()
            for server in servers:
                server.should_exit = True
    finally:
        for opened in sockets:
            opened.close()


def _acceptor(protocol: Protocol, listening: socket.socket, **more: Any) -> Acceptor:
    return Acceptor(listening, protocol, **more)
