"""The open control channels of this process, and the frames that go out on them."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

import structlog

from pilothouse.call import Extension, House
from pilothouse.gateway.delivery import Outgoing
from pilothouse.gateway.frames import MAX_FRAME, encode_plain, uuid_of
from pilothouse.gateway.payloads import AGENT_JOB, job
from pilothouse.runtime.metrics import CHANNELS

log = structlog.get_logger()

BACKLOG = 8 * 1024 * 1024
"""Bytes that may wait for a node that reads too slowly; beyond, its channel is closed."""

_IDS = 256
_RANDOM_VERSION = bytes(0x40 | byte & 0x0F for byte in range(256))
_VARIANT = bytes(0x80 | byte & 0x3F for byte in range(256))


class MessageIds:
    """Ids of frames: randomness is drawn for many at once, a system call for each would cost more than the frame."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._drawn: list[bytes] = []

    def raw(self) -> bytes:
        """A random UUID as a frame's header has it, its halves in each other's place."""
        if not self._drawn:
            drawn = bytearray(self._house.ids.random_bytes(16 * _IDS))
            drawn[0::16] = drawn[0::16].translate(_VARIANT)
            drawn[14::16] = drawn[14::16].translate(_RANDOM_VERSION)
            self._drawn = [bytes(drawn[start : start + 16]) for start in range(0, len(drawn), 16)]
        return self._drawn.pop()

    def next(self) -> str:
        """A random UUID."""
        return uuid_of(self.raw())


class Connection(Protocol):
    """The websocket under a channel."""

    def hear(self, heard: Callable[[bytes], None], ended: Callable[[], None]) -> None:
        """Call `heard` with each message from now on, and `ended` when no more come."""

    def hold(self, held: bool) -> None:
        """Whether to read no further for now."""

    def write(self, message: bytes) -> None:
        """Send a binary message; returns at once, also if the connection has ended."""

    @property
    def unsent(self) -> int:
        """Bytes that wait for a peer which reads too slowly."""


class Channel:
    """One node's control channel."""

    def __init__(
        self, node_id: str, account_id: str, region: str, channel_id: str, connection: Connection, ids: MessageIds
    ) -> None:
        self.node_id = node_id
        self.account_id = account_id
        self.region = region
        self.channel_id = channel_id
        self.connection = connection
        self._ids = ids
        self.closing = asyncio.Event()
        self.why = ""
        self.heard = False
        """What the node says is heard, and what is put is sent."""
        self.offered = False
        """Whether everything that waited for the node was sent on it: until then nothing goes out by itself, or what
        becomes due in the meantime would be sent twice."""
        self.extensions: Mapping[str, Extension] = {}
        """Those that both sides know."""

    @property
    def is_ready(self) -> bool:
        """Whether what is put is sent: not yet while its connection is being opened."""
        return self.heard and not self.closing.is_set()

    def put(self, message_type: str, payload: bytes, house: House) -> None:
        """Send a frame; returns at once. What does not reach the node is sent again by the redelivery rules."""
        if not self.is_ready:
            return
        if self.connection.unsent > BACKLOG:
            self.close("the node does not read")
            return
        self.connection.write(encode_plain(message_type, self._ids.raw(), house.clock.millis(), payload))

    def close(self, why: str) -> None:
        """Ask the connection's own task to close it."""
        if not self.closing.is_set():
            self.why = why
            self.closing.set()


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
        CHANNELS.set(len(self._open))
        if older is not None:
            older.close("a newer control channel has opened")

    def leave(self, channel: Channel) -> None:
        """The channel is closed."""
        if self._open.get(channel.node_id) is channel:
            del self._open[channel.node_id]
            CHANNELS.set(len(self._open))

    def get(self, node_id: str) -> Channel | None:
        """The node's channel, if this process holds it."""
        return self._open.get(node_id)

    def send(self, house: House, message: Outgoing) -> None:
        """Write a job on the node's channel; if that is gone, redelivery brings the message when the node returns."""
        channel = self._open.get(message.node_id)
        if channel is None:
            return
        payload = job(message.wire_id, message.topic, message.content)
        if len(payload) > MAX_FRAME - 256:
            log.error("channel.message_too_large", wire_id=message.wire_id, bytes=len(payload))
            return
        channel.put(AGENT_JOB, payload, house)
