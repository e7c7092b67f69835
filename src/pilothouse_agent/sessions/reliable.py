"""Order and repetition of stream messages: what is sent until it is acknowledged, what came until it is its turn.

Rules: session-protocol 4. Nothing here waits or sends; time is an argument, in seconds.
"""

import json
import os
import re
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pilothouse_agent.link.frames import Frame, encode

OUTPUT = "output_stream_data"
INPUT = "input_stream_data"
ACKNOWLEDGE = "acknowledge"

SYN = 1
SYN_FIN = 3

_FIRST_RTT = 0.1
_FIRST_TIMEOUT = 0.2
_SHORTEST_TIMEOUT = _FIRST_TIMEOUT
"""What is measured on a quick network says little once 2 MiB wait before a client, and some take a repeated message for
a new one. The cloud's agent has no such bound, and no more under way than its clients take at once."""
_LONGEST_TIMEOUT = 1.0
_GRANULARITY = 0.01

WINDOW = 2 * 1024 * 1024
"""Bytes that may be under way without an acknowledgement; then nothing more is read from the program."""

MOST_STORED = 8 * 1024 * 1024
"""Bytes that came too early and wait for those before them. What does not fit is repeated by the client."""

MOST_AHEAD = 100_000


@dataclass(slots=True)
class _Sent:
    data: bytes
    at: float  # when it was last sent; -1: not yet
    repeated: bool = False


class Outgoing:
    """The agent's stream messages."""

    def __init__(self) -> None:
        self._next = 0
        self._waiting: dict[int, _Sent] = {}
        self._bytes = 0
        self._ids = uuid.UUID(bytes=os.urandom(8) + bytes(8), version=4).int
        self._rtt, self._variation, self.timeout = _FIRST_RTT, 0.0, _FIRST_TIMEOUT
        self._latest = -1  # the highest number that was acknowledged
        self._moved_at = 0.0  # when the oldest message was
        self.acknowledged = 0
        """How many messages were; grows while the client makes progress."""

    @property
    def has_room(self) -> bool:
        return self._bytes < WINDOW

    @property
    def is_empty(self) -> bool:
        return not self._waiting

    def put(self, payload_type: int, payload: bytes, created_at: int, now: float) -> bytes:
        """The next message, encoded. now is when it is sent; -1: it cannot be sent yet."""
        number = self._next
        frame = Frame(
            kind=OUTPUT,
            message_id=uuid.UUID(int=self._ids | number),
            created_at=created_at,
            payload=payload,
            sequence=number,
            flags=0 if number else SYN,
            payload_type=payload_type,
        )
        data = encode(frame)
        self._next = number + 1
        self._waiting[number] = _Sent(data, now)
        self._bytes += len(data)
        return data

    def acknowledge(self, number: int, now: float) -> bytes | None:
        """The client has it. What is to be repeated at once, if a message that was lost has just arrived."""
        oldest = next(iter(self._waiting), None)
        sent = self._waiting.pop(number, None)
        if sent is None:
            return None
        self._bytes -= len(sent.data)
        self.acknowledged += 1
        self._latest = max(self._latest, number)
        if number == oldest:
            self._moved_at = now
        if not sent.repeated and sent.at >= 0:
            self._measured(now - sent.at)
            return None
        return self._lost_as_well(now)

    def _measured(self, seconds: float) -> None:
        self._variation = 0.75 * self._variation + 0.25 * abs(self._rtt - seconds)
        self._rtt = 0.875 * self._rtt + 0.125 * seconds
        expected = self._rtt + max(_GRANULARITY, 4 * self._variation)
        self.timeout = min(_LONGEST_TIMEOUT, max(_SHORTEST_TIMEOUT, expected))

    def repetition(self, now: float) -> bytes | None:
        """The oldest message, if neither it nor the one before it was acknowledged in time.

        Whoever acknowledges one after the other, however slowly, has lost nothing.
        """
        return self._oldest_if_late(now, self._moved_at)

    def _lost_as_well(self, now: float) -> bytes | None:
        """The oldest message, if one behind it has arrived and it has not."""
        oldest = next(iter(self._waiting), self._latest)
        return self._oldest_if_late(now, 0.0) if oldest < self._latest else None

    def _oldest_if_late(self, now: float, since: float) -> bytes | None:
        for sent in self._waiting.values():
            if sent.at >= 0 and now - max(sent.at, since) <= self.timeout:
                return None
            sent.repeated = sent.repeated or sent.at >= 0
            sent.at = now
            return sent.data
        return None

    def unsent(self, now: float) -> Iterator[bytes]:
        """What was put while nothing could be sent."""
        for sent in self._waiting.values():
            if sent.at < 0:
                sent.at = now
                yield sent.data

    def everything(self, now: float) -> Iterator[bytes]:
        """All that is not acknowledged, in order: a new connection begins with it."""
        for sent in self._waiting.values():
            sent.repeated = sent.repeated or sent.at >= 0
            sent.at = now
            yield sent.data


class Incoming:
    """The client's stream messages, each delivered once and in order."""

    def __init__(self, deliver: Callable[[Frame], bool], acknowledge: Callable[[Frame], None]) -> None:
        """deliver says whether it took the message; one that it did not take comes again."""
        self._deliver = deliver
        self._acknowledge = acknowledge
        self._expected = 0
        self._early: dict[int, Frame] = {}
        self._early_bytes = 0
        self._unacknowledged: dict[int, Frame] = {}
        self.hold = False
        """What is delivered in turn is acknowledged later, by release(): there is no room for more."""

    def receive(self, frame: Frame) -> None:
        number = frame.sequence
        if number < self._expected:
            if number not in self._unacknowledged:
                self._acknowledge(frame)  # the first acknowledgement was lost
        elif number == self._expected:
            if self._deliver(frame):
                self._expected += 1
                self._taken(frame)
                self.advance()
        elif number not in self._early:
            if number - self._expected > MOST_AHEAD or self._early_bytes + len(frame.payload) > MOST_STORED:
                return
            self._early[number] = frame
            self._early_bytes += len(frame.payload)
            self._acknowledge(frame)
        else:
            self._acknowledge(frame)

    def advance(self) -> None:
        """Deliver what came early and whose turn it is."""
        while (frame := self._early.get(self._expected)) is not None:
            if not self._deliver(frame):
                return
            del self._early[self._expected]
            self._early_bytes -= len(frame.payload)
            self._expected += 1

    def release(self) -> None:
        """There is room again."""
        self.hold = False
        frames, self._unacknowledged = self._unacknowledged, {}
        for frame in frames.values():
            self._acknowledge(frame)

    def _taken(self, frame: Frame) -> None:
        if self.hold:
            self._unacknowledged[frame.sequence] = frame
        else:
            self._acknowledge(frame)


def acknowledgement(frame: Frame, created_at: int) -> bytes:
    """The message that says that a stream message has come."""
    payload = {
        "AcknowledgedMessageType": frame.kind,
        "AcknowledgedMessageId": str(frame.message_id),
        "AcknowledgedMessageSequenceNumber": frame.sequence,
        "IsSequentialMessage": True,
    }
    return message(ACKNOWLEDGE, payload, created_at)


def message(kind: str, payload: dict[str, object], created_at: int) -> bytes:
    """A message that is no part of the stream: neither acknowledged nor repeated."""
    data = json.dumps(payload, separators=(",", ":")).encode()
    frame = Frame(kind=kind, message_id=uuid.uuid4(), created_at=created_at, payload=data, flags=SYN_FIN)
    return encode(frame)


_NUMBER = re.compile(rb'"AcknowledgedMessageSequenceNumber"\s*:\s*([0-9]{1,18})(?=[\s,}])')


def acknowledged_number(payload: bytes) -> int | None:
    """The sequence number that an acknowledgement of the client is about; None if it is none of ours.

    Looked for, not parsed: there is one for each message that is sent.
    """
    found = _NUMBER.search(payload)
    return int(found[1]) if found and payload[:1] == b"{" else None
