"""Order and repetition of stream messages, the client's end: sent until acknowledged, delivered once and in order.

Nothing here waits or sends; time is an argument, in seconds.
"""

import re
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from pilothouse.gateway.frames import Frame, encode
from pilothouse.gateway.session_messages import INPUT, OUTPUT, acknowledging

PLAIN_WINDOW: Final = 256 * 1024
"""Bytes that may be under way to an agent that names no window."""
MOST_AHEAD: Final = 10_000
_AHEAD_BYTES: Final = 16 << 20
"""What came too early and waits for those before it. What does not fit is repeated by the agent."""
_FIRST_RTT: Final = 0.1
_FIRST_TIMEOUT: Final = 0.2
_LONGEST_TIMEOUT: Final = 1.0
_GRANULARITY: Final = 0.01
_SYN: Final = 1


@dataclass(slots=True)
class _Sent:
    message: bytes
    counts: int
    at: float
    repeated: bool = False


class Outgoing:
    """The client's stream messages."""

    def __init__(self) -> None:
        self._next = 0
        self._waiting: dict[int, _Sent] = {}
        self._bytes = 0
        self._rtt, self._variation, self.timeout = _FIRST_RTT, 0.0, _FIRST_TIMEOUT
        self.window = PLAIN_WINDOW

    @property
    def has_room(self) -> bool:
        return self._bytes < self.window

    @property
    def is_empty(self) -> bool:
        return not self._waiting

    def put(self, payload_type: int, payload: bytes, now_ms: int, now: float, *, counts: bool) -> bytes:
        """The next message, encoded. `counts`: it takes up room in the window."""
        number = self._next
        frame = Frame(INPUT, str(uuid.uuid4()), now_ms, payload, number, 0 if number else _SYN, payload_type)
        message = encode(frame)
        self._next = number + 1
        self._waiting[number] = _Sent(message, len(payload) if counts else 0, now)
        self._bytes += len(payload) if counts else 0
        return message

    def acknowledge(self, number: int, now: float) -> bytes | None:
        """The agent has it. What is to be repeated at once, if a message that was lost has just arrived."""
        sent = self._waiting.pop(number, None)
        if sent is None:
            return None
        self._bytes -= sent.counts
        if sent.repeated:
            return self.repetition(now)
        seconds = now - sent.at
        self._variation = 0.75 * self._variation + 0.25 * abs(self._rtt - seconds)
        self._rtt = 0.875 * self._rtt + 0.125 * seconds
        self.timeout = min(_LONGEST_TIMEOUT, self._rtt + max(_GRANULARITY, 4 * self._variation))
        return None

    def repetition(self, now: float) -> bytes | None:
        """The oldest message, if it was not acknowledged in time."""
        for sent in self._waiting.values():
            if now - sent.at <= self.timeout:
                return None
            sent.repeated, sent.at = True, now
            return sent.message
        return None

    def everything(self, now: float) -> Iterator[bytes]:
        """All that is not acknowledged, in order: a new connection begins with it."""
        for sent in self._waiting.values():
            sent.repeated, sent.at = True, now
            yield sent.message


Deliver = Callable[[Frame, Callable[[], None]], None]
"""Takes the next message, and what to call when it has been made use of."""


class Incoming:
    """The agent's stream messages. Each is acknowledged when it was made use of, and again whenever it comes again."""

    def __init__(self, deliver: Deliver, acknowledge: Callable[[Frame], None]) -> None:
        self._deliver = deliver
        self._acknowledge = acknowledge
        self._expected = 0
        self._ahead: dict[int, Frame] = {}
        self._ahead_bytes = 0
        self._in_use: set[int] = set()

    def receive(self, frame: Frame) -> None:
        number = frame.sequence
        if number < self._expected:
            if number not in self._in_use:
                self._acknowledge(frame)
        elif number > self._expected:
            fits = len(self._ahead) < MOST_AHEAD and self._ahead_bytes + len(frame.payload) <= _AHEAD_BYTES
            if number not in self._ahead and fits:
                self._ahead[number] = frame
                self._ahead_bytes += len(frame.payload)
        else:
            self._take(frame)
            while (following := self._ahead.pop(self._expected, None)) is not None:
                self._ahead_bytes -= len(following.payload)
                self._take(following)

    def _take(self, frame: Frame) -> None:
        self._expected += 1
        self._in_use.add(frame.sequence)

        def used() -> None:
            if frame.sequence in self._in_use:
                self._in_use.discard(frame.sequence)
                self._acknowledge(frame)

        self._deliver(frame, used)


def acknowledgement(frame: Frame, now_ms: int) -> bytes:
    """The message that says that a stream message was made use of."""
    return acknowledging(OUTPUT, frame.message_id, frame.sequence, str(uuid.uuid4()), now_ms)


_NUMBER = re.compile(rb'"AcknowledgedMessageSequenceNumber"\s*:\s*([0-9]{1,18})(?=[\s,}])')


def acknowledged_number(payload: bytes) -> int | None:
    """The sequence number that an acknowledgement is about; looked for, not parsed, for there is one per message."""
    found = _NUMBER.search(payload)
    return int(found[1]) if found else None
