"""The data channel of a session: a websocket, opened again whenever it breaks. Nothing is lost or doubled.

Sending never waits: the window bounds what is kept. Whoever reads from a program asks has_room first, and
is woken when there is room again. What comes for the program is counted in the backlog; the larger it
is, the later it is acknowledged, and in the end the connection is not read any more.
"""

import asyncio
import json
import random
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from pilothouse_agent import log
from pilothouse_agent.endings import Strayed, apart, end_if_cancelled
from pilothouse_agent.link.api import EXPIRED, ApiError, NodeApi
from pilothouse_agent.link.frames import Frame, MalformedFrame, decode, payload_if
from pilothouse_agent.link.https import Unreachable
from pilothouse_agent.link.websocket import Websocket
from pilothouse_agent.sessions import reliable
from pilothouse_agent.sessions.encryption import Cipher, Unsealed
from pilothouse_agent.sessions.reliable import Incoming, Outgoing
from pilothouse_agent.settings import Settings
from pilothouse_agent.times import now_ms

OUTPUT, SIZE, FLAG, STDERR, EXIT_CODE = 1, 3, 10, 11, 12
HANDSHAKE_REQUEST, HANDSHAKE_RESPONSE, HANDSHAKE_COMPLETE = 5, 6, 7
CHALLENGE_REQUEST, CHALLENGE_RESPONSE = 8, 9
_ENCRYPTED = frozenset({OUTPUT, STDERR, EXIT_CODE})

_ACKNOWLEDGE = reliable.ACKNOWLEDGE.encode()
_TICK = 0.1  # seconds between looks at the oldest message
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 2.0
_QUIET = 1024 * 1024  # bytes that wait for the program before acknowledgements are held back
_FULL = 4 * 1024 * 1024  # and before the connection is not read any more
_OVERFULL = 32 * 1024 * 1024  # and before messages are dropped, to be repeated by the client
_MOST_UNWRITTEN = 8 * 1024 * 1024  # acknowledgements beyond it are left out: the message will be repeated
_LINGER_LOOK = 0.05


class SessionOver(Exception):
    """The session ends; the text says why, if that is for the user."""


class Backlog:
    """Bytes that wait for the program. changed wakes whoever holds something back because of them."""

    def __init__(self) -> None:
        self.size = 0
        self.eased: list[Callable[[], None]] = []

    def add(self, count: int) -> None:
        self.size += count

    def less(self, count: int) -> None:
        self.size -= count
        if self.size <= _QUIET:
            for each in self.eased:
                each()


Take = Callable[[int, bytes], bool]
"""What the session does with a message of the client (payload type, payload); false: not now."""


@dataclass(slots=True)
class Numbers:
    """What is counted, for the log."""

    connections: int = 0
    sent: int = 0
    received: int = 0
    dropped: dict[str, int] = field(default_factory=dict)


class DataChannel:
    """One session's channel."""

    def __init__(self, api: NodeApi, session_id: str, settings: Settings) -> None:
        self._api = api
        self._session_id = session_id
        self._settings = settings
        self._socket: Websocket | None = None
        self._paused = False
        self._outgoing = Outgoing()
        self._incoming = Incoming(self._deliver, self._acknowledge)
        self._waiters: list[Callable[[], None]] = []
        self._moved = asyncio.Event()
        self._opened = asyncio.Event()
        self.backlog = Backlog()
        self.backlog.eased.append(self._eased)
        self.take: Take = lambda _type, _payload: False
        self.cipher: Cipher | None = None
        self.numbers = Numbers()

    # -- for the session

    @property
    def has_room(self) -> bool:
        return self._outgoing.has_room and not self._paused

    def when_room(self, wake: Callable[[], None]) -> None:
        """Call once when there is room again."""
        self._waiters.append(wake)

    async def room(self) -> None:
        while not self.has_room:
            event = asyncio.Event()
            self.when_room(event.set)
            await event.wait()

    def put(self, payload_type: int, *payloads: bytes) -> None:
        """Send payloads, none of them empty, in order; now, or as soon as that is possible."""
        sendable = self._socket is not None and not self._paused
        now, created_at = time.monotonic() if sendable else -1.0, now_ms()
        frames = []
        for payload in payloads:
            self.numbers.sent += len(payload)
            if self.cipher is not None and payload_type in _ENCRYPTED:
                payload = self.cipher.encrypt(payload)
            frames.append(self._outgoing.put(payload_type, payload, created_at, now))
        if sendable:
            self._write(frames)
        if not self._outgoing.has_room:
            self._moved.set()  # acknowledgements are wanted now, also from behind much else

    def ready(self) -> None:
        """The session takes messages that it did not take before."""
        self._incoming.advance()

    async def opened(self) -> None:
        """Wait for the first connection."""
        await self._opened.wait()

    async def drained(self, patience: float) -> bool:
        """Wait until the client has everything; false if it made no progress for so many seconds."""
        before, since = self._outgoing.acknowledged, time.monotonic()
        while not self._outgoing.is_empty:
            self._moved.clear()
            try:
                async with asyncio.timeout(since + patience - time.monotonic()):
                    await self._moved.wait()
            except TimeoutError:
                return False
            if self._outgoing.acknowledged != before:
                before, since = self._outgoing.acknowledged, time.monotonic()
        return True

    def say_state(self, state: str) -> None:
        """agent_session_state, for the gateway."""
        payload: dict[str, object] = {"SchemaVersion": 1, "SessionState": state, "SessionId": self._session_id}
        if self._socket is not None:
            self._write([reliable.message("agent_session_state", payload, now_ms())])

    async def flushed(self) -> None:
        """Wait a moment until what was put has left this process."""
        deadline = time.monotonic() + 1.0
        while self._socket is not None and self._socket.unwritten and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(_LINGER_LOOK)

    # -- the connection

    async def hold(self) -> None:
        """Open it, serve it, open it again. Raises SessionOver."""
        failures, last_good = 0, time.monotonic()
        while True:
            try:
                await apart(self._serve_once())
            except* (Unreachable, Strayed) as errors:
                reason: BaseException = errors.exceptions[0]
            except* ApiError as errors:
                reason = errors.exceptions[0]
                _look_for_the_end(reason)
            end_if_cancelled()
            if self.numbers.connections and self._opened_once_more:
                failures, last_good = 0, time.monotonic()
            if time.monotonic() - last_good > self._settings.session_patience:
                raise SessionOver("The node could not reach the server any more.")
            pause = random.uniform(0.0, min(_FIRST_PAUSE * 2.0**failures, _LONGEST_PAUSE))  # noqa: S311 -- spreading load
            failures += 1
            log.event("data_channel.closed", session_id=self._session_id, reason=_first(reason), retry_seconds=pause)
            await asyncio.sleep(pause)

    async def _serve_once(self) -> None:
        self._opened_once_more = False
        token = await self._api.create_data_channel(self._session_id)
        target, headers = await self._api.data_channel_request(self._session_id)
        socket = await Websocket.connect(self._api.endpoint, target, headers)
        try:
            opening = {
                "MessageSchemaVersion": "1.0",
                "RequestId": str(uuid.uuid4()),
                "TokenValue": token,
                "ClientInstanceId": self._api.instance_id,
                "ClientId": "",
            }
            await socket.send_text(json.dumps(opening))
            self._connected(socket)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._ping(socket))
                group.create_task(self._repeat())
                async for data in socket.messages():
                    self._receive(data)
                    if self._stuffed:
                        await self._until_eased()
                raise Unreachable("closed by the server")
        finally:
            self._socket = None
            await socket.close()

    _opened_once_more = False

    def _connected(self, socket: Websocket) -> None:
        """Begin with the state and all that was not acknowledged."""
        self._socket, self._paused, self._opened_once_more = socket, False, True
        self.numbers.connections += 1
        log.event("data_channel.opened", session_id=self._session_id, connection=self.numbers.connections)
        if self.numbers.connections == 1:
            self.say_state("Connected")
        self._write(self._outgoing.everything(time.monotonic()))
        self._opened.set()
        self._wake()

    async def _ping(self, socket: Websocket) -> None:
        while True:
            await asyncio.sleep(self._settings.ping_interval)
            try:
                await socket.ping(b"keepalive", self._settings.pong_timeout)
            except Unreachable:
                if socket.is_broken or not self._stuffed:  # while the connection is not read no pong can be seen
                    raise

    async def _repeat(self) -> None:
        while True:
            await asyncio.sleep(_TICK)
            if not self._paused and not self._outgoing.is_empty:
                again = self._outgoing.repetition(time.monotonic())
                if again is not None:
                    self._write([again])

    def _write(self, frames: Iterable[bytes]) -> None:
        if self._socket is None:
            return
        try:
            self._socket.put(frames)
        except Unreachable:
            self._socket = None  # whoever reads it notices as well, and opens another one

    # -- what comes

    def _receive(self, data: bytes) -> None:
        acknowledged = payload_if(_ACKNOWLEDGE, data)
        if acknowledged is not None:
            self._acknowledged(acknowledged)
            return
        try:
            frame = decode(data)
        except MalformedFrame as error:
            self._drop(str(error))
            return
        if frame.kind == reliable.INPUT:
            if frame.created_at == 0:
                self._drop("a message without a date")
                return
            self._resume()
            self._incoming.receive(frame)
        elif frame.kind == reliable.ACKNOWLEDGE:
            self._acknowledged(frame.payload)
        elif frame.kind == "pause_publication":
            self._paused = True
        elif frame.kind == "start_publication":
            self._resume()
        elif frame.kind == "channel_closed":
            raise SessionOver("")
        else:
            self._drop(f"a message of type {frame.kind}")

    def _drop(self, what: str) -> None:
        """Said once for each kind of trouble: whoever sends junk shall not fill the disk."""
        count = self.numbers.dropped.get(what, 0)
        if count or len(self.numbers.dropped) < 20:
            self.numbers.dropped[what] = count + 1
            if not count:
                log.event("data_channel.dropped", level="warning", session_id=self._session_id, reason=what)

    def _acknowledged(self, payload: bytes) -> None:
        number = reliable.acknowledged_number(payload)
        if number is None:
            self._drop("an acknowledgement that cannot be read")
            return
        self._resume()
        again = self._outgoing.acknowledge(number, time.monotonic())
        if again is not None:
            self._write([again])
        self._moved.set()
        if self._waiters and self.has_room:
            self._wake()

    def _resume(self) -> None:
        if self._paused:
            self._paused = False
            self._write(self._outgoing.unsent(time.monotonic()))
            self._wake()

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for wake in waiters:
            wake()

    def _deliver(self, frame: Frame) -> bool:
        payload = frame.payload
        if self.backlog.size > _OVERFULL:
            return False
        if self.cipher is not None and frame.payload_type == OUTPUT:
            try:
                payload = self.cipher.decrypt(payload)
            except Unsealed as error:
                raise SessionOver("A message of the client could not be decrypted.") from error
        taken = self.take(frame.payload_type, payload)
        if taken:
            self.numbers.received += len(payload)
            self._incoming.hold = self.backlog.size > _QUIET
        return taken

    def _acknowledge(self, frame: Frame) -> None:
        if self._socket is not None and self._socket.unwritten < _MOST_UNWRITTEN:
            self._write([reliable.acknowledgement(frame, now_ms())])

    def _eased(self) -> None:
        if self._incoming.hold:
            self._incoming.release()
            self._incoming.advance()
        self._moved.set()

    @property
    def _stuffed(self) -> bool:
        """The program is far behind, and not because its own output is stuck here."""
        return self.backlog.size > _FULL and self.has_room

    async def _until_eased(self) -> None:
        while self._stuffed and self._socket is not None:
            self._moved.clear()
            await self._moved.wait()


def _look_for_the_end(error: BaseException) -> None:
    """Raises SessionOver if the server says that the session has ended."""
    first = _first(error)
    if not isinstance(first, ApiError):
        return
    if first.status == 410 or "already terminated" in first.message:
        raise SessionOver("")
    if first.code not in EXPIRED and first.status in (403, 404):
        log.event("data_channel.refused", level="warning", reason=first)


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
