"""The open control channels of this process, and the frames that go out on them."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping

import structlog

from pilothouse.call import Extension, House
from pilothouse.gateway.delivery import Outgoing
from pilothouse.gateway.frames import MAX_FRAME, Frame, encode
from pilothouse.gateway.payloads import AGENT_JOB, AgentJob, write

log = structlog.get_logger()

BACKLOG = 8 * 1024 * 1024
"""Bytes that may wait for a node that reads too slowly; beyond, its channel is closed."""

_IDS = 256

Send = Callable[[dict[str, object]], Awaitable[None]]


class MessageIds:
    """Ids of frames: randomness is drawn for many at once, a system call for each would cost more than the frame."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._drawn: list[str] = []

    def next(self) -> str:
        """A random UUID."""
        if not self._drawn:
            drawn = self._house.ids.random_bytes(16 * _IDS).hex()
            self._drawn = [drawn[start : start + 32] for start in range(0, len(drawn), 32)]
        digits = self._drawn.pop()
        variant = "89ab"[int(digits[16], 16) & 3]
        return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


class Channel:
    """One node's control channel. Its frames leave in order, by a task that lives only while some wait."""

    def __init__(
        self, node_id: str, account_id: str, region: str, channel_id: str, send: Send, ids: MessageIds
    ) -> None:
        self.node_id = node_id
        self.account_id = account_id
        self.region = region
        self.channel_id = channel_id
        self._send = send
        self._ids = ids
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._writing = False
        self._owner: asyncio.TaskGroup | None = None
        self.closing = asyncio.Event()
        self.why = ""
        self.offered = False
        """Whether everything that waited for the node was sent on it: until then nothing goes out by itself, or what
        becomes due in the meantime would be sent twice."""
        self.extensions: Mapping[str, Extension] = {}
        """Those that both sides know."""

    def owned_by(self, group: asyncio.TaskGroup) -> None:
        """The task group in which frames are written; it ends with the connection."""
        self._owner = group

    def put(self, message_type: str, payload: bytes, house: House) -> None:
        """Send a frame; returns at once. What does not reach the node is sent again by the redelivery rules."""
        if self.closing.is_set() or self._owner is None:
            return
        frame = encode(Frame(message_type, self._ids.next(), house.clock.millis(), payload))
        self._bytes += len(frame)
        if self._bytes > BACKLOG:
            self.close("the node does not read")
            return
        self._waiting.append(frame)
        if not self._writing:
            self._writing = True
            self._owner.create_task(self._write(), name=f"frames to {self.node_id}")

    def close(self, why: str) -> None:
        """Ask the connection's own task to close it."""
        if not self.closing.is_set():
            self.why = why
            self.closing.set()

    async def _write(self) -> None:
        try:
            while self._waiting:
                frame = self._waiting.popleft()
                await self._send({"type": "websocket.send", "bytes": frame})
                self._bytes -= len(frame)
        except OSError:  # uvicorn's word for a peer that has gone
            self.close("the node has gone")
        finally:
            self._writing = False


class Channels:
    """Node id to its open channel in this process."""

    def __init__(self) -> None:
        self._open: dict[str, Channel] = {}

    def __len__(self) -> int:
        return len(self._open)

    def __contains__(self, node_id: str) -> bool:
        return node_id in self._open

    def __iter__(self) -> Iterator[Channel]:
        return iter(list(self._open.values()))

    def enter(self, channel: Channel) -> None:
        """The node's channel is this one now; an older one closes."""
        older = self._open.get(channel.node_id)
        self._open[channel.node_id] = channel
        if older is not None:
            older.close("a newer control channel has opened")

    def leave(self, channel: Channel) -> None:
        """The channel is closed."""
        if self._open.get(channel.node_id) is channel:
            del self._open[channel.node_id]

    def get(self, node_id: str) -> Channel | None:
        """The node's channel, if this process holds it."""
        return self._open.get(node_id)

    def send(self, house: House, message: Outgoing) -> None:
        """Write a job on the node's channel; if that is gone, redelivery brings the message when the node returns."""
        channel = self._open.get(message.node_id)
        if channel is None:
            return
        payload = write(AgentJob(1, message.wire_id, message.topic, message.content))
        if len(payload) > MAX_FRAME - 256:
            log.error("channel.message_too_large", wire_id=message.wire_id, bytes=len(payload))
            return
        channel.put(AGENT_JOB, payload, house)
