"""Lines: the websockets of data channels, as a pair uses them."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final, Protocol

from pilothouse.runtime.clock import Clock
from pilothouse.runtime.memory import keep_room_for_messages

BACKLOG: Final = 8 << 20
"""Bytes that may wait for a peer that reads too slowly; beyond, its connection is closed."""
FAREWELL_SECONDS: Final = 1.0
"""How long a peer that was told of the end may take to leave."""

Send = Callable[[dict[str, Any]], Awaitable[None]]
Ping = Callable[[int], None]
"""Sends a ping; the pong comes as a message whose `pong` is this number."""


class Socket(Protocol):
    """A websocket of this process that is written to, and heard, without a task or an event for each message."""

    def hear(
        self, heard: Callable[[bytes], None], ended: Callable[[], None], answered: Callable[[int], None] | None
    ) -> None:
        """Call `heard` with each message from now on, `ended` when no more come, `answered` with pongs of probes."""

    def hear_no_more(self) -> None:
        """Give what comes to `receive` again."""

    def hold(self, held: bool) -> None:
        """Whether to read no further for now."""

    def write(self, message: bytes) -> None:
        """Send a binary message; returns at once, also if the connection has ended."""

    def probe(self, number: int) -> None:
        """Send a ping."""

    @property
    def unsent(self) -> int:
        """Bytes that wait for a peer which reads too slowly."""


class SocketLine:
    """One websocket. Its frames leave in order: at once where it is one of this process, else by a task that lives
    only while some wait."""

    def __init__(
        self,
        send: Send,
        ping: Ping | None,
        clock: Clock,
        group: asyncio.TaskGroup,
        name: str,
        socket: Socket | None = None,
    ) -> None:
        self._send = send
        self._socket = socket
        self._ping = ping
        self._clock = clock
        self._group = group
        self._name = name
        self._waiting: deque[bytes | str | int] = deque()
        """Messages, and the numbers of pings."""
        self._pings = 0
        self._bytes = 0
        self._writing = False
        self._finishing = False
        self._last = ""
        self.closing = asyncio.Event()
        self.why = ""
        self.code = 1000
        self.is_moved = False
        """It is closed here to be served elsewhere."""
        self.pair: object = None
        """What it belongs to."""

    def put(self, message: bytes) -> None:
        if self.closing.is_set() or self._finishing:
            return
        if self._socket is not None:
            if self._socket.unsent > BACKLOG:
                self.close("the peer does not read")
            else:
                self._socket.write(message)
            return
        self._bytes += len(message)
        if self._bytes > BACKLOG:
            self.close("the peer does not read")
            return
        self._queue(message)

    def put_text(self, message: str) -> None:
        """Send a text message."""
        if not (self.closing.is_set() or self._finishing):
            self._queue(message)

    def close_when_sent(self, why: str) -> None:
        """Close once all that waits is sent."""
        if not self._finishing:
            self._finishing = True
            self._last = why
            self._queue("")

    def probe(self) -> int | None:
        if self._ping is None or self._finishing or self.closing.is_set():
            return None
        self._pings += 1
        if self._socket is not None:
            self._ping(self._pings)
        else:
            self._queue(self._pings)
        return self._pings

    def hold(self, held: bool) -> None:
        """Whether to read no further for now, where that can be said."""
        if self._socket is not None:
            self._socket.hold(held)

    def finish(self, message: bytes) -> None:
        if not self._finishing:
            self.put(message)
            self._finishing = True
            self._group.create_task(self._leave_alone(), name=f"farewell to {self._name}")

    def close(self, why: str, code: int = 1000) -> None:
        """Ask the connection's own task to close it."""
        if not self.closing.is_set():
            self.why, self.code = why, code
            self.closing.set()

    def _queue(self, message: bytes | str | int) -> None:
        self._waiting.append(message)
        if not self._writing:
            self._writing = True
            self._group.create_task(self._write(), name=f"frames to {self._name}")

    def move(self) -> None:
        """Give the connection up, which another process serves from here on."""
        if not self.closing.is_set():
            self.is_moved = True
            self.close("another server joins the session now")

    async def _leave_alone(self) -> None:
        await self._clock.sleep(FAREWELL_SECONDS)
        self.close("the session has ended")

    async def _write(self) -> None:
        try:
            while self._waiting and not self.closing.is_set():
                message = self._waiting.popleft()
                if isinstance(message, bytes):
                    await self._send({"type": "websocket.send", "bytes": message})
                    self._bytes -= len(message)
                elif isinstance(message, str):
                    if self._last and not message:
                        self.close(self._last)
                    else:
                        await self._send({"type": "websocket.send", "text": message})
                elif self._ping is not None:
                    self._ping(message)
        except OSError:  # uvicorn's word for a peer that has gone
            self.close("the peer has gone")
        finally:
            self._writing = False


class OpenLines:
    """Those of one process. While there are some, it keeps memory for their messages."""

    def __init__(self) -> None:
        self._open: set[SocketLine] = set()

    def __iter__(self) -> Iterator[SocketLine]:
        """As they are now: each may be closed meanwhile."""
        return iter(tuple(self._open))

    def add(self, line: SocketLine) -> None:
        if not self._open:
            keep_room_for_messages(True)
        self._open.add(line)

    def discard(self, line: SocketLine) -> None:
        self._open.discard(line)
        if not self._open:
            keep_room_for_messages(False)
