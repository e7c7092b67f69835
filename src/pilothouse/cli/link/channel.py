"""The data channel of a session: a websocket, opened again by ResumeSession whenever it breaks.

No byte is lost or doubled. Sending never waits: who has much to send asks `room()` first. What comes is acknowledged
when it was made use of, and an agent of our own sends no more than its window beyond that: whoever is slow here slows
the program down there.
"""

import asyncio
import contextlib
import json
import ssl
import time
import uuid
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import websockets.asyncio.client
from websockets.exceptions import InvalidHandshake, InvalidURI, WebSocketException

from pilothouse.cli.link import handshake, reliable
from pilothouse.cli.link.encryption import Cipher, Unsealed
from pilothouse.cli.link.handshake import Agent, HandshakeFailed
from pilothouse.cli.shared import Failed
from pilothouse.gateway.frames import Frame, FrameInvalid, decode
from pilothouse.gateway.session_messages import (
    ACKNOWLEDGE,
    CHANNEL_CLOSED,
    DATA,
    EXIT_CODE,
    FLAG,
    HANDSHAKE_COMPLETE,
    HANDSHAKE_REQUEST,
    HANDSHAKE_RESPONSE,
    OUTPUT,
    STDERR,
    read_closed,
)

CHALLENGE_REQUEST, CHALLENGE_RESPONSE = 8, 9
_TICK: Final = 0.1
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0
_PATIENCE: Final = 600.0
"""Seconds without a connection before it is given up."""
_FIRST_PATIENCE: Final = 60.0
"""The server waits no longer for the first one."""
_DIAL_SECONDS: Final = 15.0
_PING_SECONDS, _PONG_SECONDS = 15.0, 20.0
_POLICY: Final = 1008
_MOST_REFUSALS: Final = 5
_LARGEST: Final = 512 * 1024
END_SESSION, NO_CONNECTION = 2, 3
"""Flags."""


class SessionOver(Exception):
    """The session has ended; the text says why, if somebody said so."""


@dataclass(frozen=True, slots=True)
class Started:
    """What StartSession answered."""

    session_id: str
    token: str
    url: str
    target: str

    def __repr__(self) -> str:
        return f"Started({self.session_id!r})"


class Server(Protocol):
    """What the channel asks the server; both block."""

    def resume(self, session_id: str) -> str | None:
        """Another token; None: the session is over. Raises OSError while nobody answers, Failed for a refusal."""

    def keys(self, key_id: str, context: dict[str, str]) -> tuple[bytes, str]:
        """A data key, plain and wrapped. Raises Failed."""


Take = Callable[[int, bytes, Callable[[], None]], None]
"""What the command does with a message (payload type, payload, what to call when it is used)."""


class Channel:
    """One session's channel."""

    def __init__(
        self, started: Started, server: Server, trust: ssl.SSLContext | None, offer: Mapping[str, Any]
    ) -> None:
        self._started = started
        self._server = server
        self._trust = trust
        self._offer = offer
        self._client_id = str(uuid.uuid4())
        self._socket: websockets.asyncio.client.ClientConnection | None = None
        self._unwritten: deque[bytes] = deque()
        self._written = asyncio.Event()
        self._outgoing = reliable.Outgoing()
        self._incoming = reliable.Incoming(self._deliver, self._acknowledge)
        self._moved = asyncio.Event()
        self._early: list[tuple[int, bytes, Callable[[], None]]] = []
        self._take: Take | None = None
        self._cipher: Cipher | None = None
        self._asked: Agent | None = None
        self._heard = False
        self.agent = Agent()
        self.ready = asyncio.Event()
        """The session has begun: the handshake is done, or the first output came without one."""
        self.over = asyncio.Event()
        self.reason = ""
        self.is_connected = False
        self.connections = 0
        self.told: Callable[[str], None] = lambda _text: None
        """Something that the user should read."""
        self.linked: Callable[[bool], None] = lambda _there: None
        """The connection is there, or was lost."""

    # For the command

    @property
    def session_id(self) -> str:
        return self._started.session_id

    @property
    def has_room(self) -> bool:
        return self._outgoing.has_room

    def put(self, payload_type: int, payload: bytes) -> None:
        """Send one message, whose payload is not empty."""
        counts = payload_type == DATA
        if self._cipher is not None and counts:
            payload = self._cipher.encrypt(payload)
        now = time.monotonic()
        self._write(self._outgoing.put(payload_type, payload, _now_ms(), now, counts=counts))

    def send(self, data: bytes) -> None:
        """Send bytes as messages of the size that the agent takes."""
        chunk = self.agent.chunk
        for start in range(0, len(data), chunk):
            self.put(DATA, data[start : start + chunk])

    def flag(self, number: int) -> None:
        self.put(FLAG, number.to_bytes(4, "big"))

    async def room(self) -> None:
        """Wait until more may be sent. Raises SessionOver."""
        while not self._outgoing.has_room:
            await self._next_move()

    async def drained(self) -> None:
        """Wait until the agent has everything. Raises SessionOver."""
        while not self._outgoing.is_empty:
            await self._next_move()

    async def _next_move(self) -> None:
        if self.over.is_set():
            raise SessionOver(self.reason)
        self._moved.clear()
        await self._moved.wait()

    async def begun(self, take: Take) -> Agent:
        """Wait until the session has begun; what comes goes to `take` from here on. Raises SessionOver."""
        while not self.ready.is_set():
            await self._next_move()
        self._take = take
        early, self._early = self._early, []
        for each in early:
            take(*each)
        return self.agent

    # The connection

    async def hold(self) -> None:
        """Open it, serve it, open it again, until the session is over. Raises Failed."""
        token: str | None = self._started.token
        pause, refused, last_good = _FIRST_PAUSE, 0, time.monotonic()
        while True:
            why = ""
            self._heard = False
            try:
                if token is None:
                    token = await asyncio.to_thread(self._server.resume, self.session_id)
                    if token is None:
                        self._end(self.reason or "it timed out, or was ended, while the connection was lost")
                        return
                used, token = token, None
                why = await self._served(used)
            except (OSError, TimeoutError, WebSocketException) as error:
                if isinstance(error, ssl.SSLCertVerificationError | InvalidURI):
                    raise Failed(_untrusted(error)) from error
                if isinstance(error, InvalidHandshake) and not self.connections:
                    why = f"the server refused the connection ({error})"
            finally:
                self._lost()
            if self.over.is_set():
                return
            now = time.monotonic()
            if self._heard:
                pause, refused, last_good = _FIRST_PAUSE, 0, now
            refused += bool(why)
            if refused >= _MOST_REFUSALS:
                raise Failed(f"the connection of session {self.session_id} was refused: {why}")
            if now - last_good > (_PATIENCE if self.connections else _FIRST_PATIENCE):
                raise Failed(f"{self._started.url.partition('?')[0]} could not be reached; given up")
            await asyncio.sleep(pause)
            pause = min(_LONGEST_PAUSE, pause * 2)

    async def _served(self, token: str) -> str:
        """Serve one connection; why the server ended it, if that was a refusal."""
        is_tls = self._started.url.startswith("wss:")
        async with websockets.asyncio.client.connect(
            self._started.url, ssl=self._trust if is_tls else None, compression=None, max_size=_LARGEST,
            open_timeout=_DIAL_SECONDS, ping_interval=_PING_SECONDS, ping_timeout=_PONG_SECONDS, close_timeout=1,
            max_queue=64,
        ) as socket:  # fmt: skip
            opening = {
                "MessageSchemaVersion": "1.0", "RequestId": str(uuid.uuid4()), "TokenValue": token,
                "ClientId": self._client_id, "ClientVersion": "1.2.804.0", "AcknowledgesAgain": True,
            }  # fmt: skip
            await socket.send(json.dumps(opening))
            self._unwritten.clear()
            self._unwritten.extend(self._outgoing.everything(time.monotonic()))
            self._written.set()
            self._socket, self.is_connected = socket, True
            self.connections += 1
            self.linked(True)
            try:
                async with asyncio.TaskGroup() as group:
                    beside = group.create_task(self._write_all(socket)), group.create_task(self._repeat())
                    try:
                        return await self._read(socket)
                    finally:
                        for task in beside:
                            task.cancel()
            finally:
                self._socket = None

    async def _read(self, socket: websockets.asyncio.client.ClientConnection) -> str:
        try:
            while not self.over.is_set():
                self._receive(await socket.recv())
                if self._asked is not None:
                    asked, self._asked = self._asked, None
                    await self._shake(asked)
        except websockets.ConnectionClosed as closed:
            if closed.rcvd is not None and closed.rcvd.code == _POLICY:
                return closed.rcvd.reason or "the server did not understand it"
        return ""

    async def _write_all(self, socket: websockets.asyncio.client.ClientConnection) -> None:
        with contextlib.suppress(WebSocketException, OSError):  # whoever reads notices as well
            while True:
                while self._unwritten:
                    await socket.send(self._unwritten.popleft())
                self._written.clear()
                await self._written.wait()

    async def _repeat(self) -> None:
        while True:
            await asyncio.sleep(_TICK)
            again = self._outgoing.repetition(time.monotonic())
            if again is not None:
                self._write(again)

    def _write(self, message: bytes) -> None:
        if self._socket is not None:
            self._unwritten.append(message)
            self._written.set()

    def _lost(self) -> None:
        self._socket = None
        if self.is_connected:
            self.is_connected = False
            self.linked(False)

    def _end(self, reason: str) -> None:
        self.reason = reason
        self.over.set()
        self._moved.set()

    # What comes

    def _receive(self, message: bytes | str) -> None:
        if isinstance(message, str):
            message = message.encode()
        try:
            frame = decode(message, digested=True)
        except FrameInvalid:
            return  # it is repeated
        self._heard = True
        if frame.message_type == OUTPUT:
            self._incoming.receive(frame)
        elif frame.message_type == ACKNOWLEDGE:
            number = reliable.acknowledged_number(frame.payload)
            again = None if number is None else self._outgoing.acknowledge(number, time.monotonic())
            if again is not None:
                self._write(again)
            self._moved.set()
        elif frame.message_type == CHANNEL_CLOSED:
            self._end(read_closed(frame.payload).output)

    def _acknowledge(self, frame: Frame) -> None:
        self._write(reliable.acknowledgement(frame, _now_ms()))

    def _deliver(self, frame: Frame, used: Callable[[], None]) -> None:
        kind, payload = frame.payload_type, frame.payload
        if kind in (HANDSHAKE_REQUEST, CHALLENGE_REQUEST, HANDSHAKE_COMPLETE):
            used()
            self._shaken(kind, payload)
            return
        if self._cipher is not None and kind in (DATA, STDERR, EXIT_CODE):
            payload = self._cipher.decrypt(payload)
        if not self.ready.is_set():
            self.ready.set()
            self._moved.set()
        if self._take is not None:
            self._take(kind, payload, used)
        else:
            self._early.append((kind, payload, used))

    def _shaken(self, kind: int, payload: bytes) -> None:
        if kind == HANDSHAKE_REQUEST:
            self._asked = handshake.read_request(payload)
        elif kind == CHALLENGE_REQUEST and self._cipher is not None:
            self.put(CHALLENGE_RESPONSE, self._cipher.answered(payload))
        elif kind == HANDSHAKE_COMPLETE:
            said = handshake.read_complete(payload)
            if said:
                self.told(said)
            self.ready.set()
            self._moved.set()

    async def _shake(self, agent: Agent) -> None:
        keys, trouble = None, ""
        if agent.key_id:
            context = {"aws:ssm:SessionId": self.session_id, "aws:ssm:TargetId": self._started.target}
            if agent.challenge:
                context["aws:ssm:RandomChallenge"] = agent.challenge
            try:
                keys = await asyncio.to_thread(self._server.keys, agent.key_id, context)
            except (Failed, OSError) as error:
                trouble = str(error)
        self.agent = agent
        self._outgoing.window = agent.window or reliable.PLAIN_WINDOW
        offer = self._offer if any(agent.takes(name) for name in self._offer) else {}
        self.put(HANDSHAKE_RESPONSE, handshake.answer(agent, offer, keys[1] if keys else None, trouble))
        self._cipher = Cipher(keys[0]) if keys else None


@contextlib.asynccontextmanager
async def held(channel: Channel) -> AsyncIterator[Channel]:
    """The channel, connected and connected again while the block runs. Raises what the block raises, and Failed."""
    caught: Exception | None = None
    try:
        async with asyncio.TaskGroup() as group:
            holding = group.create_task(channel.hold())
            try:
                yield channel
            except Exception as error:
                caught = error
            finally:
                holding.cancel()
    except* (Failed, HandshakeFailed, Unsealed) as failed:
        caught = Failed(str(_first(failed)))
    if caught is not None:
        raise caught


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _untrusted(error: BaseException) -> str:
    return (
        f"the server's certificate is not trusted ({error}); name its authority: AWS_CA_BUNDLE=DIR/ca.pem,"
        ' or eval "$(pilothouse env --https)"'
    )
