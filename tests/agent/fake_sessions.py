"""The other end of a session: gateway and client in one, as the protocol describes both.

It keeps order, acknowledges, repeats, answers the handshake, and can be told to misbehave. Frames are put
together and taken apart by hand.
"""

import asyncio
import base64
import contextlib
import hashlib
import json
import struct
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from websockets.exceptions import InvalidState

OUTPUT, SIZE, FLAG, STDERR, EXIT_CODE = 1, 3, 10, 11, 12
PLUGIN = {"ClientVersion": "1.2.677.0"}
OURS: dict[str, Any] = {"ClientVersion": "1.2.804.0", "Extensions": {"chunk": 16384}}


class FakeSession:
    """One session as its client sees it."""

    def __init__(
        self,
        session_id: str,
        instance_id: str,
        *,
        wake: Callable[[], Awaitable[None]],
        until: Callable[..., Awaitable[None]],
    ) -> None:
        self.session_id = session_id
        self.instance_id = instance_id
        self.token = ""
        self.refusals = 0
        """So many CreateDataChannel are answered with 503 first."""
        self.is_over = False
        self.client: dict[str, Any] = PLUGIN
        self.wrapped: str | None = None
        """The data key of KMS that the client sends."""
        self.keys: tuple[AESGCM, AESGCM] | None = None  # what the agent encrypts with, and what the client does
        self.closes_at_once = False
        """Whether channel_closed answers Terminating, as a gateway's does."""
        self.acknowledges = True
        self.repeats = True
        self.lose: Callable[[int], bool] = lambda _number: False
        """Whether an acknowledgement is lost."""
        self.output = bytearray()
        self.errors = bytearray()
        self.payloads: list[tuple[int, bytes]] = []
        """As they were on the wire."""
        self.codes: list[str] = []
        self.flags: list[int] = []
        self.states: list[str] = []
        self.arrived: list[int] = []
        """Sequence numbers of all stream messages, repetitions included."""
        self.request: dict[str, Any] = {}
        self.complete: dict[str, Any] = {}
        self.connections = 0
        self.largest = 0
        self.on_output: Callable[[bytes], None] | None = None
        self._wake = wake
        self._until = until
        self._channel: Any = None
        self._expected = 0
        self._early: dict[int, tuple[int, bytes]] = {}
        self._next = 0
        self._unacknowledged: dict[int, tuple[bytes, int]] = {}
        self._unsent: list[bytes] = []

    def __repr__(self) -> str:
        return f"session {self.session_id}: {bytes(self.output[-300:])!r} {bytes(self.errors[-300:])!r} {self.codes}"

    # -- what a test does

    async def until(self, condition: Callable[[], bool], what: str = "", timeout: float = 90.0) -> None:
        try:
            await self._until(condition, what, timeout)
        except AssertionError as error:
            raise AssertionError(f"{self}; {error}") from None

    async def shows(self, text: str | bytes, timeout: float = 90.0) -> None:
        wanted = text.encode() if isinstance(text, str) else text
        await self.until(lambda: wanted in self.output, f"{wanted!r}", timeout)

    async def connected(self, number: int = 1) -> "FakeSession":
        await self.until(lambda: self.connections >= number and self._channel is not None, "the data channel")
        return self

    async def shaken(self) -> "FakeSession":
        await self.until(lambda: bool(self.complete), "the end of the handshake")
        return self

    async def type(self, text: str | bytes) -> None:
        await self.send(OUTPUT, text.encode() if isinstance(text, str) else text)

    async def resize(self, rows: int, columns: int) -> None:
        await self.send(SIZE, json.dumps({"cols": columns, "rows": rows}).encode())

    async def flag(self, number: int) -> None:
        await self.send(FLAG, struct.pack(">I", number))

    async def send(self, payload_type: int, payload: bytes) -> None:
        if self.keys is not None and payload_type == OUTPUT:
            nonce = uuid.uuid4().bytes[:12]
            payload = nonce + self.keys[1].encrypt(nonce, payload, None)
        data = frame("input_stream_data", payload, sequence=self._next, payload_type=payload_type)
        self._unacknowledged[self._next] = (data, len(payload))
        self._next += 1
        await self.raw(data)

    async def send_all(self, payload_type: int, data: bytes, size: int = 16_384, window: int = 1_048_576) -> None:
        """Much, within a window."""
        for start in range(0, len(data), size):
            await self.until(lambda: self.in_flight < window, "acknowledgements", 60)
            await self.send(payload_type, data[start : start + size])

    @property
    def in_flight(self) -> int:
        return sum(size for _, size in self._unacknowledged.values())

    async def raw(self, data: bytes) -> None:
        if self._channel is not None:
            with contextlib.suppress(OSError, InvalidState):
                await self._channel.send(data)

    async def tell(self, kind: str, payload: dict[str, Any]) -> None:
        """A message of the gateway."""
        await self.raw(frame(kind, json.dumps(payload).encode(), flags=3))

    async def pause(self) -> None:
        await self.tell("pause_publication", {"SessionId": self.session_id})

    async def go_on(self) -> None:
        await self.tell("start_publication", {"SessionId": self.session_id})

    async def close(self, output: str = "") -> None:
        await self.tell("channel_closed", self.closing(output))

    def closing(self, output: str) -> dict[str, Any]:
        return {
            "MessageId": str(uuid.uuid4()),
            "CreatedDate": "2026-01-01T00:00:00.000Z",
            "DestinationId": self.instance_id,
            "SessionId": self.session_id,
            "MessageType": "channel_closed",
            "SchemaVersion": 1,
            "Output": output,
        }

    def cut(self) -> None:
        """Break the connection as a network does; what was under way is gone."""
        if self._channel is not None:
            self._channel.writer.transport.abort()
            self._channel = None

    # -- the connection

    async def serve(self, channel: Any) -> None:
        if self._channel is not None:
            self._channel.writer.transport.abort()
        self._channel = channel
        self.connections += 1
        await self._wake()
        for data, _ in list(self._unacknowledged.values()):
            await channel.send(data)
        try:
            async with asyncio.TaskGroup() as group:
                repeating = group.create_task(self._repeat(channel))
                async for message in channel.messages():
                    if self._channel is channel:
                        await self._receive(message)
                        await self._wake()
                repeating.cancel()
        except* OSError:
            pass  # cut
        if self._channel is channel:
            self._channel = None
        await self._wake()

    async def _repeat(self, channel: Any) -> None:
        while True:
            await asyncio.sleep(0.1)
            if self.repeats and self._unacknowledged and self._channel is channel:
                with contextlib.suppress(OSError, InvalidState):
                    await channel.send(next(iter(self._unacknowledged.values()))[0])

    async def _receive(self, data: bytes) -> None:
        kind, message_id, sequence, payload_type, flags, payload = parse(data)
        if kind == "acknowledge":
            members = json.loads(payload)
            assert flags == 3
            assert members["AcknowledgedMessageType"] == "input_stream_data"
            assert members["IsSequentialMessage"] is True
            self._unacknowledged.pop(members["AcknowledgedMessageSequenceNumber"], None)
        elif kind == "agent_session_state":
            members = json.loads(payload)
            assert members["SessionId"] == self.session_id
            self.states.append(members["SessionState"])
            if self.closes_at_once and members["SessionState"] == "Terminating":
                await self.close()
        else:
            assert kind == "output_stream_data", kind
            assert flags == (1 if sequence == 0 else 0)
            assert payload
            await self._stream(message_id, sequence, payload_type, payload)

    async def _stream(self, message_id: str, sequence: int, payload_type: int, payload: bytes) -> None:
        self.arrived.append(sequence)
        if not self.acknowledges or self.lose(sequence):
            if not self.acknowledges:
                return
        else:
            acknowledgement = {
                "AcknowledgedMessageType": "output_stream_data",
                "AcknowledgedMessageId": message_id,
                "AcknowledgedMessageSequenceNumber": sequence,
                "IsSequentialMessage": True,
            }
            await self.tell("acknowledge", acknowledgement)
        if sequence >= self._expected:
            self._early.setdefault(sequence, (payload_type, payload))
        while self._expected in self._early:
            kind, data = self._early.pop(self._expected)
            self._expected += 1
            await self._deliver(kind, data)

    async def _deliver(self, payload_type: int, payload: bytes) -> None:
        self.largest = max(self.largest, len(payload))
        self.payloads.append((payload_type, payload))
        if self.keys is not None and payload_type in (OUTPUT, STDERR, EXIT_CODE):
            payload = self.keys[0].decrypt(payload[:12], payload[12:], None)
        if payload_type == 5:
            self.request = json.loads(payload)
            await self._answer_handshake()
        elif payload_type == 8:
            await self._answer_challenge(json.loads(payload)["Challenge"])
        elif payload_type == 7:
            self.complete = json.loads(payload)
        elif payload_type == FLAG:
            self.flags.append(*struct.unpack(">I", payload))
        elif payload_type == STDERR:
            self.errors += payload
        elif payload_type == EXIT_CODE:
            self.codes.append(payload.decode())
        else:
            assert payload_type == OUTPUT
            if self.on_output is not None:
                self.on_output(payload)
            else:
                self.output += payload

    async def _answer_handshake(self) -> None:
        done = []
        for action in self.request["RequestedClientActions"]:
            result = None
            if action["ActionType"] == "KMSEncryption":
                result = {"KMSCipherTextKey": self.wrapped, "KMSCipherTextHash": None}
            done.append({"ActionType": action["ActionType"], "ActionStatus": 1, "ActionResult": result, "Error": ""})
        await self.send(6, json.dumps({**self.client, "ProcessedClientActions": done, "Errors": None}).encode())

    async def _answer_challenge(self, sealed: str) -> None:
        assert self.pending_keys is not None
        ours, theirs = self.pending_keys
        data = base64.b64decode(sealed)
        nonce = uuid.uuid4().bytes[:12]
        plain = b"wrong" if self.refuse_challenge else ours.decrypt(data[:12], data[12:], None)
        again = nonce + theirs.encrypt(nonce, plain, None)
        await self.send(9, json.dumps({"Challenge": base64.b64encode(again).decode()}).encode())
        self.keys = self.pending_keys

    pending_keys: tuple[AESGCM, AESGCM] | None = None
    """The keys that the client has from KMS."""
    refuse_challenge = False


def frame(
    kind: str, payload: bytes, *, sequence: int = 0, flags: int = 0, payload_type: int = 0, created: int | None = None
) -> bytes:
    message_id = uuid.uuid4().bytes
    return (
        struct.pack(">I", 116)
        + kind.encode().ljust(32)
        + struct.pack(">IQqQ", 1, int(time.time() * 1000) if created is None else created, sequence, flags)
        + message_id[8:]
        + message_id[:8]
        + hashlib.sha256(payload).digest()
        + struct.pack(">II", payload_type, len(payload))
        + payload
    )


def parse(data: bytes) -> tuple[str, str, int, int, int, bytes]:
    """Type, message id, sequence number, payload type, flags, payload; strict."""
    header_length, kind, version, created, sequence, flags = struct.unpack_from(">I32sIQqQ", data)
    payload_type, length = struct.unpack_from(">II", data, 112)
    payload = data[120:]
    assert (header_length, version, length) == (116, 1, len(payload))
    assert created
    assert data[80:112] == hashlib.sha256(payload).digest()
    return (
        kind.decode().rstrip(" "),
        str(uuid.UUID(bytes=data[72:80] + data[64:72])),
        sequence,
        payload_type,
        flags,
        payload,
    )
