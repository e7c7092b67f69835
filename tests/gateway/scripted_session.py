"""Both ends of a session without any program: the client's side of the plugin, and the agent's of its session worker.

They number, acknowledge, repeat and reorder messages as the official ones do, with their habits: only the oldest
message is repeated, a client acknowledges nothing that it had before, an agent that is told to wait sends nothing, and
who loses its connection without `channel_closed` opens another. Cuts, lost acknowledgements and junk can be ordered.
"""

import asyncio
import contextlib
import hashlib
import json
import ssl
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

import websockets.asyncio.client
from tests.gateway.scripted_agent import Identity

from pilothouse.gateway.edge import Edge
from pilothouse.gateway.frames import Frame, decode, encode
from pilothouse.wire.asgi import CONNECTION
from pilothouse.wire.http import Request

DATA, SIZE, REQUEST, RESPONSE, COMPLETE, FLAG = 1, 3, 5, 6, 7, 10
TICK = 0.1
RTO = 0.2


class Closed(Exception):
    """The other side is gone."""


class Socket(Protocol):
    """A websocket."""

    async def send(self, message: bytes | str) -> None: ...

    async def receive(self) -> bytes:
        """Raises Closed."""

    async def receive_any(self) -> bytes | str:
        """Raises Closed."""

    async def close(self) -> None:
        """Drop the connection, without a word."""


Dial = Callable[[str, dict[str, str]], Awaitable[Socket]]
"""(path with query, headers) to a socket. Raises Closed, OSError."""
Post = Callable[[str, dict[str, str], bytes], Awaitable[tuple[int, bytes]]]
"""(path, headers, body) of a POST to status and body."""


class _InProcess:
    """A websocket of an edge in this process and event loop."""

    def __init__(self) -> None:
        self.to_server: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.to_peer: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.task: asyncio.Task[None] | None = None
        self._hearing: tuple[Callable[[bytes], None], Callable[[], None], Callable[[int], None] | None] | None = None
        self._is_held = False

    def hear(
        self, heard: Callable[[bytes], None], ended: Callable[[], None], answered: Callable[[int], None] | None = None
    ) -> None:
        self._hearing = heard, ended, answered
        self.hold(False)

    def hear_no_more(self) -> None:
        self._hearing = None

    def hold(self, held: bool) -> None:
        self._is_held = held
        while not (self._is_held or self._hearing is None or self.to_server.empty()):
            self._give(self.to_server.get_nowait())

    def write(self, message: bytes) -> None:
        self.to_peer.put_nowait({"type": "websocket.send", "bytes": message})

    unsent = 0

    def _to_server(self, event: dict[str, Any]) -> None:
        if self._hearing is None or self._is_held:
            self.to_server.put_nowait(event)
        else:
            self._give(event)

    def _give(self, event: dict[str, Any]) -> None:
        assert self._hearing is not None
        heard, ended, answered = self._hearing
        if event["type"] == "websocket.disconnect":
            ended()
        elif "pong" in event:
            if answered is not None:
                answered(event["pong"])
        else:
            heard(event["text"].encode() if event.get("bytes") is None else event["bytes"])

    def probe(self, number: int) -> None:
        self.to_peer.put_nowait({"type": "ping", "number": number})

    def shown(self) -> None:
        """Who it is; nobody counts here."""

    async def from_server(self, message: dict[str, Any]) -> None:
        self.to_peer.put_nowait(message)

    async def send(self, message: bytes | str) -> None:
        kind = "text" if isinstance(message, str) else "bytes"
        self._to_server({"type": "websocket.receive", kind: message})

    async def receive(self) -> bytes:
        message = await self.receive_any()
        return message if isinstance(message, bytes) else message.encode()

    async def receive_any(self) -> bytes | str:
        while True:
            message = await self.to_peer.get()
            if message["type"] == "ping":
                self._to_server({"type": "websocket.receive", "pong": message["number"]})
            elif message["type"] == "websocket.send":
                return bytes(message["bytes"]) if "bytes" in message else str(message["text"])
            else:
                raise Closed(message.get("code"), message.get("reason"))

    async def close(self) -> None:
        self._to_server({"type": "websocket.disconnect", "code": 1006})
        if self.task is not None:
            await self.task


@dataclass(frozen=True)
class Way:
    """How to get to a server, and under which name agents sign for it."""

    dial: Dial
    post: Post
    origin: str = "https://ssmmessages.pilothouse.test"


def in_process(edge: Edge) -> Way:
    """To this edge."""

    async def dial(path: str, headers: dict[str, str]) -> Socket:
        made = _InProcess()
        path, _, query = path.partition("?")
        scope = {
            "type": "websocket", "scheme": "wss", "path": path, "raw_path": path.encode(),
            "query_string": query.encode(), "client": ("127.0.0.1", 1), CONNECTION: made,
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        }  # fmt: skip
        made.task = asyncio.get_running_loop().create_task(
            edge.websocket(scope, made.to_server.get, made.from_server)
        )  # fmt: skip
        made.to_server.put_nowait({"type": "websocket.connect"})
        if (await made.to_peer.get())["type"] != "websocket.accept":
            raise Closed("not accepted")
        return made

    async def post(path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        answer = await edge.data.create(Request("POST", path, "", headers, body, "127.0.0.1", True))
        return answer.status, answer.body

    return Way(dial, post)


class _Network:
    def __init__(self, socket: websockets.asyncio.client.ClientConnection) -> None:
        self._socket = socket

    async def send(self, message: bytes | str) -> None:
        try:
            await self._socket.send(message)
        except websockets.ConnectionClosed as error:
            raise Closed from error

    async def receive(self) -> bytes:
        message = await self.receive_any()
        return message if isinstance(message, bytes) else message.encode()

    async def receive_any(self) -> bytes | str:
        try:
            return await self._socket.recv()
        except websockets.ConnectionClosed as error:
            raise Closed(error.rcvd.code if error.rcvd else None) from error

    async def close(self) -> None:
        self._socket.transport.abort()


def over_network(address: str, trust: ssl.SSLContext) -> Way:
    """To a server's TLS listener."""

    async def dial(path: str, headers: dict[str, str]) -> Socket:
        headers = {name: value for name, value in headers.items() if name != "host"}
        try:
            return _Network(
                await websockets.asyncio.client.connect(
                    f"wss://{address}{path}", ssl=trust, additional_headers=headers, compression=None, max_size=None,
                    ping_interval=None,
                )
            )  # fmt: skip
        except websockets.InvalidHandshake as error:
            raise Closed from error

    async def post(path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        host, _, port = address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port), ssl=trust)
        headers = headers | {"content-length": str(len(body)), "connection": "close"}
        lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        writer.write("\r\n".join(lines).encode() + body)
        answer = await reader.read()
        writer.close()
        if not answer:
            raise OSError("no answer")
        return int(answer.split(b" ", 2)[1]), answer

    return Way(dial, post, f"https://{address}")


class _End:
    """What both ends do alike."""

    stream = ""
    heard = ""

    def __init__(self) -> None:
        self.socket: Socket | None = None
        self.sent: dict[int, tuple[bytes, float]] = {}
        self.next = 0
        self.expected = 0
        self.ahead: dict[int, Frame] = {}
        self.received = bytearray()
        self.repeats = 0
        self.repeats_nothing = False
        """As clients of others, that rely on the gateway and the agent."""
        self.turns_away = 0
        """So many messages are neither taken nor acknowledged: what they are for is not there yet."""
        self.lose_acks = 0
        """So many acknowledgements get lost on the way."""
        self.other: list[Frame] = []
        """What came besides stream messages and acknowledgements."""
        self.over = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def say(self, payload: bytes, kind: int = DATA) -> None:
        """Send a stream message."""
        sequence, self.next = self.next, self.next + 1
        frame = Frame(self.stream, str(uuid.uuid4()), 1_764_000_000_000, payload, sequence, int(sequence == 0), kind)
        self.sent[sequence] = (encode(frame), time.monotonic())
        await self.write(self.sent[sequence][0])

    async def write(self, message: bytes | str) -> None:
        """Send bytes as they are; where nobody is there they are lost."""
        if self.socket is not None:
            with contextlib.suppress(Closed, OSError):
                await self.socket.send(message)

    async def cut(self) -> None:
        """Lose the connection."""
        if self.socket is not None:
            await self.socket.close()

    async def _repeat(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            if self.sent and self._may_send() and not self.repeats_nothing:
                sequence = min(self.sent)
                message, at = self.sent[sequence]
                if time.monotonic() - at > RTO:
                    self.repeats += 1
                    await self.write(message)

    def _may_send(self) -> bool:
        return True

    async def _acknowledge(self, frame: Frame) -> None:
        if self.lose_acks:
            self.lose_acks -= 1
            return
        text = json.dumps({
            "AcknowledgedMessageType": self.heard, "AcknowledgedMessageId": frame.message_id,
            "AcknowledgedMessageSequenceNumber": frame.sequence, "IsSequentialMessage": True,
        })  # fmt: skip
        made = Frame("acknowledge", str(uuid.uuid4()), 1_764_000_000_000, text.encode(), 0, 3)
        await self.write(encode(made))

    async def _hear(self, message: bytes) -> None:
        frame = decode(message, digested=True)
        if frame.message_type == "acknowledge":
            self.sent.pop(json.loads(frame.payload)["AcknowledgedMessageSequenceNumber"], None)
        elif frame.message_type == self.heard:
            await self._stream(frame)
        else:
            self.other.append(frame)
            if frame.message_type == "channel_closed":
                self.over.set()

    async def _stream(self, frame: Frame) -> None:
        if self.turns_away:
            self.turns_away -= 1
        elif frame.sequence > self.expected:
            self.ahead[frame.sequence] = frame
            await self._acknowledge(frame)
        elif frame.sequence == self.expected:
            await self._acknowledge(frame)
            await self._take(frame)
        else:
            await self._had(frame)

    async def _take(self, frame: Frame) -> None:
        while True:
            self.expected += 1
            if frame.payload_type == DATA:
                self.received += frame.payload
                await self.got(frame.payload)
            else:
                await self.got_besides(frame)
            if self.expected not in self.ahead:
                return
            frame = self.ahead.pop(self.expected)

    async def _had(self, frame: Frame) -> None:
        """It came before."""

    async def got(self, payload: bytes) -> None:
        """Ordinary data."""

    async def got_besides(self, frame: Frame) -> None:
        """Other payloads."""

    async def _reopened(self) -> bool:
        """Whether there is a connection again; False: the session is over."""
        raise NotImplementedError

    async def _live(self) -> None:
        repeating = asyncio.get_running_loop().create_task(self._repeat())
        try:
            while await self._reopened():
                assert self.socket is not None
                with contextlib.suppress(Closed, OSError):
                    while True:
                        await self._hear(await self.socket.receive())
                self.socket = None
                if self.over.is_set():
                    return
        finally:
            self.over.set()
            repeating.cancel()

    def start(self) -> None:
        """Come and stay until the session is over."""
        self._task = asyncio.get_running_loop().create_task(self._live())

    async def stop(self) -> None:
        """Go away for good, as a killed program."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self.cut()
        self.socket = None

    async def ended(self) -> None:
        """Wait until it has left by itself."""
        assert self._task is not None
        await self._task


Resume = Callable[[], Awaitable[str | None]]
"""ResumeSession: the new token, None if the session is over. Raises OSError while nobody answers."""


class ScriptedClient(_End):
    """The plugin's side. `start` with what StartSession answered."""

    stream, heard = "input_stream_data", "output_stream_data"

    def __init__(self, way: Way, started: dict[str, Any], resume: Resume) -> None:
        super().__init__()
        self.session_id: str = started["SessionId"]
        self._path = "/" + started["StreamUrl"].partition("//")[2].partition("/")[2]
        self._token: str | None = started["TokenValue"]
        self._way = way
        self._resume = resume
        self._client_id = str(uuid.uuid4())
        self.away = asyncio.Event()
        """Cleared: it stays away after a cut."""
        self.acknowledges_again = False
        """It acknowledges what it had before too, and says so, as clients of our own do."""
        self.away.set()
        self.resumed = 0
        self.headers: dict[str, str] = {}

    async def _reopened(self) -> bool:
        while True:
            await self.away.wait()
            try:
                if self._token is None:
                    self._token = await self._resume()
                    self.resumed += 1
                    if self._token is None:
                        return False
                token, self._token = self._token, None
                self.socket = await self._way.dial(self._path, self.headers)
                await self.socket.send(opening(token, self._client_id, again=self.acknowledges_again))
            except (OSError, Closed):
                await asyncio.sleep(TICK)
            else:
                return True

    async def _had(self, frame: Frame) -> None:
        if self.acknowledges_again:
            await self._acknowledge(frame)

    async def got_besides(self, frame: Frame) -> None:
        if frame.payload_type == REQUEST:
            actions = [
                {"ActionType": each["ActionType"], "ActionStatus": 1, "ActionResult": None, "Error": ""}
                for each in json.loads(frame.payload)["RequestedClientActions"]
            ]
            answer = {"ClientVersion": "1.2.804.0", "ProcessedClientActions": actions, "Errors": None}
            await self.say(json.dumps(answer).encode(), RESPONSE)

    @property
    def farewell(self) -> str | None:
        """What channel_closed said; None while the session goes on."""
        said = [json.loads(each.payload)["Output"] for each in self.other if each.message_type == "channel_closed"]
        return said[0] if said else None


def opening(token: str, client_id: str, *, again: bool = False) -> str:
    """The text that opens a client's channel."""
    return json.dumps({
        "MessageSchemaVersion": "1.0", "RequestId": str(uuid.uuid4()), "TokenValue": token, "ClientId": client_id,
        "ClientVersion": "1.2.0.0", **({"AcknowledgesAgain": True} if again else {}),
    })  # fmt: skip


class ScriptedWorker(_End):
    """An agent's side of one session. What it answers to input is up to `answer`; by default it echoes."""

    stream, heard = "output_stream_data", "input_stream_data"

    def __init__(
        self, way: Way, who: Identity, session_id: str, *, handshake: bool = False,
        answer: Callable[["ScriptedWorker", bytes], Awaitable[None]] | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self._way, self._who = way, who
        self.session_id = session_id
        self.paused = False
        self.pauses = 0
        self.handshake = handshake
        self.shaken = not handshake
        self._answer = answer
        self.withheld: list[tuple[bytes, int]] = []
        """What it would have sent while it was told to wait."""

    async def say(self, payload: bytes, kind: int = DATA) -> None:
        if self.paused:
            self.withheld.append((payload, kind))
        else:
            await super().say(payload, kind)

    def _may_send(self) -> bool:
        return not self.paused

    async def state(self, state: str) -> None:
        """Say how the session stands."""
        text = json.dumps({"SchemaVersion": 1, "SessionState": state, "SessionId": self.session_id}).encode()
        await self.write(encode(Frame("agent_session_state", str(uuid.uuid4()), 1_764_000_000_000, text, 0, 3)))

    async def exit(self) -> None:
        """The shell ends: say so, and leave once everything was acknowledged or after two seconds."""
        for _ in range(20):
            if not self.sent:
                break
            await asyncio.sleep(TICK)
        await self.state("Terminating")
        self.over.set()
        await asyncio.sleep(TICK)
        await self.cut()

    async def create(self) -> tuple[int, bytes]:
        """CreateDataChannel."""
        path = f"/v1/data-channel/{self.session_id}"
        body = json.dumps({"MessageSchemaVersion": "1.0", "RequestId": str(uuid.uuid4()), "ClientId": ""}).encode()
        headers = self._who.signed(
            "POST", self._way.origin + path, body, "ssmmessages", content_type="application/json"
        )  # fmt: skip
        return await self._way.post(path, headers, body)

    async def _reopened(self) -> bool:
        first = self.next == 0 and not self.withheld
        while True:
            try:
                status, body = await self.create()
                if b"Session is already terminated" in body:
                    return False
                if status == 201:
                    token = body.decode().partition("<TokenValue>")[2].partition("</TokenValue>")[0]
                    self.socket = await self.open(token)
                    break
            except (OSError, Closed):
                pass
            await asyncio.sleep(TICK)
        if first:
            await self.state("Connected")
            if self.handshake:
                action = {"SessionType": "Port", "Properties": {"portNumber": "22"}}
                request = {
                    "AgentVersion": "3.3.0.0",
                    "RequestedClientActions": [{"ActionType": "SessionType", "ActionParameters": action}],
                }
                await super().say(json.dumps(request).encode(), REQUEST)
        return True

    async def open(self, token: str) -> Socket:
        """OpenDataChannel."""
        path = f"/v1/data-channel/{self.session_id}"
        query = "role=publish_subscribe"
        headers = self._who.signed("GET", f"{self._way.origin}{path}?{query}", b"", "ssmmessages")
        socket = await self._way.dial(f"{path}?{query}", headers)
        shown = {
            "MessageSchemaVersion": "1.0", "RequestId": str(uuid.uuid4()), "TokenValue": token,
            "ClientInstanceId": self._who.node_id, "ClientId": "",
        }  # fmt: skip
        await socket.send(json.dumps(shown))
        self.paused = False
        return socket

    async def _hear(self, message: bytes) -> None:
        frame = decode(message)
        if frame.message_type == "pause_publication":
            self.paused = True
            self.pauses += 1
        elif frame.message_type in ("start_publication", "input_stream_data", "acknowledge"):
            await self._go_on()
        await super()._hear(message)

    async def _go_on(self) -> None:
        if self.paused:
            self.paused = False
            withheld, self.withheld = self.withheld, []
            for payload, kind in withheld:
                await super().say(payload, kind)

    async def _had(self, frame: Frame) -> None:
        await self._acknowledge(frame)

    async def got(self, payload: bytes) -> None:
        if self._answer is not None:
            await self._answer(self, payload)
        else:
            await self.say(payload)

    async def got_besides(self, frame: Frame) -> None:
        if frame.payload_type == RESPONSE:
            await self.say(json.dumps({"HandshakeTimeToComplete": 1122880, "CustomerMessage": ""}).encode(), COMPLETE)
            self.shaken = True


def pattern(length: int, seed: int = 0) -> bytes:
    """Bytes that show whether any were lost, doubled or moved."""
    blocks = [hashlib.sha256(f"{seed}:{number}".encode()).hexdigest().encode() for number in range(length // 64 + 1)]
    return b"".join(blocks)[:length]
