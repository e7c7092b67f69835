"""Accepting connections: each has a place from its first moment on, or is closed before anything is spent on it.

A TLS client of which the first record is not there whole has a socket and nothing else: no buffers, no cryptography.
"""

import asyncio
import contextlib
import errno
import socket
import ssl
from collections.abc import Callable
from typing import Final

import structlog

from pilothouse.runtime.metrics import CONNECTIONS_DROPPED
from pilothouse.wire.handshakes import Handshakes
from pilothouse.wire.places import Place, Places
from pilothouse.wire.reading import Reader

log = structlog.get_logger()

AT_ONCE: Final = 64
"""Connections taken in one turn of the event loop, by a process that alone accepts them; others take one, and leave the
next to whoever has time for it."""
_EXHAUSTED: Final = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_REST_SECONDS: Final = 0.25
"""Pause after the system had nothing left for a further connection."""
_RECORD_HEAD: Final = 5
_RECORD_BYTES: Final = 16 << 10
_HANDSHAKE: Final = 22
"""Type of the records that TLS begins with."""

Protocol = Callable[[Place], asyncio.Protocol]


class Acceptor:
    """One listening socket; stands where uvicorn keeps the servers of the event loop."""

    def __init__(
        self,
        listening: socket.socket,
        protocol: Protocol,
        group: asyncio.TaskGroup,
        places: Places,
        *,
        tls: ssl.SSLContext | None,
        handshakes: Handshakes,
        head_seconds: float,
        at_once: int = AT_ONCE,
    ) -> None:
        self._listening = listening
        self._protocol = protocol
        self._group = group
        self._places = places
        self._tls = tls
        self._handshakes = handshakes
        self._head_seconds = head_seconds
        self._at_once = at_once
        self._loop = asyncio.get_running_loop()
        self._beginning: set[_Hello] = set()
        self._shaking: set[asyncio.Task[None]] = set()
        self._is_closed = False

    def start(self) -> None:
        """Take connections from now on."""
        if not self._is_closed:
            self._loop.add_reader(self._listening.fileno(), self.accept)

    def close(self) -> None:
        """Take no more, and let go of those that have not come as far as a protocol."""
        if self._is_closed:
            return
        self._is_closed = True
        self._loop.remove_reader(self._listening.fileno())
        for hello in list(self._beginning):
            hello.drop()
        for task in self._shaking:
            task.cancel()

    async def wait_closed(self) -> None:
        """Nothing is left to wait for: the group waits for the tasks."""

    def accept(self) -> None:
        for _ in range(self._at_once):
            try:
                opened, address = self._listening.accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionAbortedError:
                continue
            except OSError as error:
                if error.errno not in _EXHAUSTED:
                    raise
                log.error("server.cannot_accept", error=error.strerror)
                self._loop.remove_reader(self._listening.fileno())
                self._loop.call_later(_REST_SECONDS, self.start)
                return
            self._take(opened, address[0])

    def _take(self, opened: socket.socket, peer: str) -> None:
        place = self._places.take(peer)
        if place is None:
            opened.close()
            return
        opened.setblocking(False)
        if self._tls is None:
            self._serve(opened, place, None)
        else:
            self._beginning.add(_Hello(self, opened, place, self._head_seconds))

    def greeted(self, hello: "_Hello") -> None:
        """The first record of a TLS client is there."""
        self._handshakes.add(hello.place.address, hello.begin)

    def left(self, hello: "_Hello") -> None:
        """The client is no longer one that begins."""
        self._beginning.discard(hello)

    def serve_tls(self, opened: socket.socket, place: Place, seconds: float) -> None:
        """Shake hands, then serve."""
        self._serve(opened, place, seconds)

    def _serve(self, opened: socket.socket, place: Place, seconds: float | None) -> None:
        task = self._group.create_task(
            self._served_plainly(opened, place) if seconds is None else self._served(opened, place, seconds)
        )
        if seconds is not None:
            place.end = task.cancel
            self._shaking.add(task)
            task.add_done_callback(self._shaking.discard)

    async def _served_plainly(self, opened: socket.socket, place: Place) -> None:
        """Give a connection without TLS its protocol.

        That is a matter of two turns of the loop, and is not broken off: where it is, the loop closes the connection
        and does not tell the protocol, which may have been told of its beginning.
        """
        is_over = False

        def end() -> None:
            nonlocal is_over
            is_over = True

        place.end = end
        try:
            transport, _ = await self._loop.connect_accepted_socket(lambda: self._protocol(place), opened)
        except OSError:
            place.free()
            return
        if is_over or self._is_closed:  # whoever ended the others did not see this one
            transport.abort()

    async def _served(self, opened: socket.socket, place: Place, seconds: float) -> None:
        """Give a connection its protocol after the handshake."""
        try:
            await self._loop.connect_accepted_socket(
                lambda: Reader(self._protocol(place)), opened, ssl=self._tls, ssl_handshake_timeout=seconds
            )
        except (OSError, ssl.SSLError, TimeoutError):  # the client's: it left, took too long, or speaks no TLS
            CONNECTIONS_DROPPED.labels("tls").inc()
            place.free()
        except asyncio.CancelledError:
            place.free()
            raise
        finally:
            self._handshakes.done(place.address)


class _Hello:
    """A TLS client that has been accepted, until its first record is there whole and its turn has come."""

    __slots__ = ("_acceptor", "_deadline", "_is_over", "_loop", "_opened", "_seconds", "_wanted", "place")

    def __init__(self, acceptor: Acceptor, opened: socket.socket, place: Place, seconds: float) -> None:
        self._acceptor = acceptor
        self._opened = opened
        self._is_over = False
        self._wanted = 1
        self._loop = asyncio.get_running_loop()
        self._seconds = self._loop.time() + seconds
        self.place = place
        place.end = self.drop
        self._deadline = self._loop.call_later(seconds, self._too_slow)
        self._loop.add_reader(opened.fileno(), self._readable)

    def drop(self) -> None:
        """Let go of the client."""
        if not self._is_over:
            self._end()
            self._opened.close()
            self.place.free()

    def begin(self) -> bool:
        """Shake hands; False if the client has gone."""
        if self._is_over:
            return False
        self._end()
        with contextlib.suppress(OSError):
            self._opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
        self._acceptor.serve_tls(self._opened, self.place, max(self._seconds - self._loop.time(), 0.1))
        return True

    def _end(self) -> None:
        self._is_over = True
        self._deadline.cancel()
        self._loop.remove_reader(self._opened.fileno())
        self._acceptor.left(self)

    def _too_slow(self) -> None:
        CONNECTIONS_DROPPED.labels("tls").inc()
        self.drop()

    def _readable(self) -> None:
        """Look at what has come, and leave it where it is."""
        try:
            seen = self._opened.recv(_RECORD_HEAD + _RECORD_BYTES, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            seen = b""
        if not seen:
            self.drop()
            return
        wanted = _RECORD_HEAD
        if len(seen) >= _RECORD_HEAD:
            wanted += int.from_bytes(seen[3:5])
        if len(seen) >= wanted or not self._waits_for(wanted) or seen[0] != _HANDSHAKE:
            self._loop.remove_reader(self._opened.fileno())
            self._acceptor.greeted(self)

    def _waits_for(self, wanted: int) -> bool:
        """Sleep until so many bytes are there; False if that is not to be had, or was waited for in vain.

        A peer that has ended, and a system that wakes up sooner, give less than was asked for: TLS itself then sees.
        """
        if wanted == self._wanted or wanted > _RECORD_HEAD + _RECORD_BYTES:
            return False
        self._wanted = wanted
        try:
            self._opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, wanted)
        except OSError:
            return False
        return True
