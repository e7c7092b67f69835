"""A pair: the two ends of one session, joined. Frames go through as they are; counting is between the ends.

Client and agent number, acknowledge and repeat their stream messages end to end, so a byte is lost only if both the
sender and the pair forget it, and doubled never. The pair keeps what the other end has not acknowledged, so that it can
be given again at once when that end returns; what a killed process kept, the senders still have.

A client does not acknowledge what it had before. So where its acknowledgement got lost on the way, the agent would
repeat that message for ever and send nothing else again. The pair finds out by a ping behind the message: clients
answer pings in the order in which they read, so a message that stays unacknowledged when the pong comes was there
already, and the pair acknowledges it to the agent. This holds once the client is known to take what it gets, by an
acknowledgement or by input; before that it may hold data back.

What is recorded goes on only when it is durable, in the order of its numbers, each number once.
"""

from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from pilothouse.gateway.frames import Frame, FrameInvalid, decode
from pilothouse.gateway.session_keeper import Tape, TapeEvent, Terms, Use
from pilothouse.gateway.session_messages import (
    ACKNOWLEDGE,
    CHANNEL_CLOSED,
    DATA,
    FLAG,
    HANDSHAKE_COMPLETE,
    HANDSHAKE_RESPONSE,
    INPUT,
    OUTPUT,
    PAUSE,
    SESSION_STATE,
    SIZE,
    START,
    STDERR,
    about,
    acknowledging,
    apart,
    closed,
    is_activity,
    multiplexes,
    read_acknowledge,
    read_state,
)
from pilothouse.gateway.underway import Direction, Kept

CROWDED: Final = 1 << 20
"""Bytes of unacknowledged output from which on the agent is not read from, while a client is there; and of input from
which on the client is not: some clients send without a window and nothing twice."""
REPEAT_MS: Final = 1000
"""How long the agent may leave a message unacknowledged before the pair sends it again: longer than clients wait."""
_REPEATED_FRAMES: Final = 64
_REPEATED_BYTES: Final = 64 << 10
"""Sent again at once, at most."""


class Line(Protocol):
    """A connection to one of the ends. Everything returns at once."""

    def hold(self, held: bool) -> None:
        """Whether to read no further for now, where that can be said."""

    def put(self, message: bytes) -> None:
        """Send a frame."""

    def probe(self) -> int | None:
        """Send a ping; its number, which `Pair.answered` will be told. None if that cannot be done."""

    def finish(self, message: bytes) -> None:
        """Send this last frame, and close when the peer has left, or after a moment."""

    def close(self, why: str) -> None:
        """Close."""


class Told(Protocol):
    """What a pair tells whoever owns it. Everything returns at once."""

    def message_id(self) -> str: ...

    def now(self) -> int: ...

    def tape(self, tape: Tape, done: Callable[[bool], None]) -> None:
        """Make it durable, then call `done` with whether it is."""

    def ending(self) -> None:
        """The agent says that the session ends."""

    def settled(self) -> None:
        """The client takes what it gets."""

    def waits(self) -> None:
        """Messages are on their way to the agent: `Pair.repeat` is to be called once a second while it says so."""

    def cannot_record(self) -> None:
        """What must be recorded cannot be."""


class Pair:
    """One session on one process."""

    def __init__(self, terms: Terms, told: Told) -> None:
        self.terms = terms
        self._told = told
        self.client: Line | None = None
        self.agent: Line | None = None
        self._is_held = False
        """The agent is not read from, for the sake of a slow client."""
        self._is_client_held = False
        """The client is not read from, for the sake of a slow agent."""
        self._epoch = 0
        self._out = Direction(next=terms.next_output)
        self._in = Direction(next=terms.next_input)
        self._queue: deque[tuple[str, Kept]] = deque()
        """What waits to be recorded, with its direction, in the order in which it came."""
        self._events: list[TapeEvent] = []
        """What is recorded besides, as soon as may be."""
        self._taping = self._is_waiting = False
        self._unrecorded = terms.taping == "no"
        self._input_counted = terms.input_taped
        self._paused = False
        self._settled = terms.settled
        self._is_raw = terms.may_be_raw
        self._probes: dict[int, list[int]] = {}
        self._highest_taken = -1
        """Of ordinary data, what the client acknowledged."""
        self._end_of_client: str | None = None
        self._end_of_all: str | None = None
        self._client_knows_end = False
        self.active_at = 0
        self._sent = 0
        self._received = 0

    # The ends come and go

    def client_came(self, line: Line) -> None:
        """This is the client's connection now; what it has not acknowledged is given again."""
        older, self.client = self.client, line
        self._is_client_held = False
        if older is not None and older is not line:
            older.close("a newer connection of the client has opened")
        self._epoch += 1
        self._probes.clear()
        self._client_knows_end = False
        if self._end_of_client is not None and not self._queue:
            self._say_end()
            return
        if self.agent is not None and self._paused:
            self._paused = False
            self.agent.put(self._apart(START))
        for sequence in sorted(self._out.unacknowledged):
            self._forward(self._out.unacknowledged[sequence])
        self._give_again_to_agent()

    def client_left(self, line: Line) -> None:
        """The client's connection has ended; another may have taken its place."""
        if self.client is line:
            self.client = None
            self._probes.clear()
            self.read_on()
            self._pause()

    def agent_came(self, line: Line) -> None:
        """This is the agent's connection now."""
        older, self.agent = self.agent, line
        self._is_held = False
        if older is not None:
            older.close("a newer connection of the agent has opened")
        self._paused = False
        if self._end_of_all is not None:
            line.finish(self._closed(self._end_of_all))
        elif self.client is None:
            self._pause()
        else:
            self._give_again_to_agent()

    def agent_left(self, line: Line) -> None:
        """The agent's connection has ended."""
        if self.agent is line:
            self.agent = None

    def position_of_client(self) -> tuple[int, int, bool]:
        """For a client of our own that takes over: the output that it expects next, the number of its next input, and
        whether that number is from before a restart."""
        pending = [*self._out.unacknowledged, *self._out.waiting]
        ahead = self._out.highest + 1 if self._unrecorded else self._out.next
        is_rejoined = self._in.highest < 0 and self.terms.next_input > 0
        return min(pending, default=ahead), max(self._in.highest + 1, self.terms.next_input), is_rejoined

    @property
    def is_position_known(self) -> bool:
        """Whether `position_of_client` is right: not after a restart, if nobody counted its input."""
        return self.terms.is_new or self._in.highest >= 0 or self.terms.next_input > 0

    def counts_input(self) -> None:
        """From here on, how far input has come is durable before the agent sees it."""
        if not self._unrecorded and not self._input_counted:
            self._input_counted = True
            self._in.next = max(self._in.next, self._in.highest + 1)

    def read_on(self) -> None:
        """Read from both ends again, if that was put off: also from time to time while the other is slow, for there
        are pings and acknowledgements among what they send."""
        if self._is_held:
            self._is_held = False
            if self.agent is not None:
                self.agent.hold(False)
        self._read_client_on()

    def _read_client_on(self) -> None:
        if self._is_client_held:
            self._is_client_held = False
            if self.client is not None:
                self.client.hold(False)

    def end(self, reason: str, *, client_only: bool = False) -> None:
        """Tell the ends that it is over, once all that came before is recorded and sent."""
        if self._end_of_client is None:
            self._end_of_client = reason
        if not client_only and self._end_of_all is None:
            self._end_of_all = reason
        self._say_end()

    def use(self) -> Use | None:
        """What went through since this was asked last."""
        if not self.active_at and not self._sent and not self._received:
            return None
        found = Use(self.active_at, self._sent, self._received)
        self.active_at = self._sent = self._received = 0
        return found

    # From the agent

    def from_agent(self, message: bytes) -> None:
        """Raises FrameInvalid, or ValueError, for what is no message of the protocol."""
        frame = decode(message, digested=True)
        if frame.message_type == OUTPUT:
            self._output(frame, message)
            if self._out.bytes > CROWDED and not self._is_held and self.client is not None and self.agent is not None:
                self._is_held = True
                self.agent.hold(True)
                self._read_client_on()  # its acknowledgements are what the agent waits for: never are both held
        elif frame.message_type == ACKNOWLEDGE:
            said = read_acknowledge(frame.payload)
            if said.message_type == INPUT:
                self._in.acknowledged(said.sequence)
                if self._in.bytes <= CROWDED:
                    self._read_client_on()
                if self.client is not None:
                    self.client.put(message)
        elif frame.message_type == SESSION_STATE and read_state(frame.payload).state == "Terminating":
            self._told.ending()
            self.end("", client_only=True)

    def _output(self, frame: Frame, message: bytes) -> None:
        sequence, out = _sequence(frame), self._out
        kept = Kept(message, frame)
        if sequence in out.unacknowledged:
            kept.epoch = out.unacknowledged[sequence].epoch
            out.keep(sequence, kept)
            if self.client is not None:
                self._forward(kept)
                self._probe()
        elif sequence in out.done:
            self._acknowledge_for_client(sequence, frame.message_id)
        elif sequence in out.waiting or not out.has_room(len(message)):
            return
        else:
            is_new = sequence > out.highest
            if is_new:
                out.highest = sequence
                self._note(frame)
                self._received += len(frame.payload)
            if self._unrecorded or sequence < out.next:
                out.keep(sequence, kept)
                self._forward(kept)
                if not is_new or sequence < self.terms.next_output:
                    self._probe()
            else:
                out.wait(sequence, kept)
                self._queue_in_order(OUTPUT, out)

    def _forward(self, kept: Kept) -> None:
        if self.client is not None and not self._client_knows_end:
            kept.epoch = self._epoch
            self.client.put(kept.raw)

    def _acknowledge_for_client(self, sequence: int, message_id: str) -> None:
        """Any acknowledgement would set an agent going that was told to wait, so without a client it gets none."""
        if self.agent is not None and self.client is not None:
            answer = acknowledging(OUTPUT, message_id, sequence, self._told.message_id(), self._told.now())
            self.agent.put(answer)

    def _probe(self) -> None:
        """Ask for a sign behind all that was sent to the client. One at a time is enough."""
        if not self._settled or self._probes or self.client is None:
            return
        number = self.client.probe()
        if number is not None:
            sent = [sequence for sequence, kept in self._out.unacknowledged.items() if kept.epoch == self._epoch]
            self._probes[number] = sent

    def answered(self, line: Line, number: int) -> None:
        """The client has read all that was sent to it before this ping."""
        if line is not self.client:
            return
        for sequence in self._probes.pop(number, ()):
            kept = self._out.unacknowledged.get(sequence)
            if kept is None or kept.epoch != self._epoch or (self._is_raw and sequence > self._highest_taken):
                continue
            self._out.acknowledged(sequence)
            self._acknowledge_for_client(sequence, kept.frame.message_id)
        if self._out.bytes <= CROWDED:
            self.read_on()

    # From the client

    def from_client(self, message: bytes) -> None:
        """Raises FrameInvalid, or ValueError, for what is no message of the protocol."""
        frame = decode(message, digested=True)
        if frame.message_type == INPUT:
            self._input(frame, message)
            if self._in.bytes > CROWDED and not (self._is_held or self._is_client_held) and self.client is not None:
                self._is_client_held = True
                self.client.hold(True)
        elif frame.message_type == ACKNOWLEDGE:
            said = read_acknowledge(frame.payload)
            if said.message_type == OUTPUT and not self._is_yet_to_come(said.sequence):
                self._taken(said.sequence)
                if self.agent is not None:
                    self.agent.put(message)

    def _is_yet_to_come(self, sequence: int) -> bool:
        """Whether a client cannot have output of this number: some acknowledge acknowledgements as if they were output.
        What an earlier process passed on is not known here."""
        return self.terms.is_new and sequence > self._out.highest

    def _taken(self, sequence: int) -> None:
        kept = self._out.acknowledged(sequence)
        if kept is None:
            return
        if self._is_held and self._out.bytes <= CROWDED:
            self.read_on()
        kind = kept.frame.payload_type
        if kind in (DATA, STDERR):
            self._highest_taken = max(self._highest_taken, sequence)
        if kind in (DATA, STDERR, HANDSHAKE_COMPLETE):
            self._settle()

    def _settle(self) -> None:
        if not self._settled:
            self._settled = True
            self._told.settled()

    def _input(self, frame: Frame, message: bytes) -> None:
        sequence, into = _sequence(frame), self._in
        kept = Kept(message, frame)
        if sequence in into.unacknowledged:
            into.keep(sequence, kept)
            self._to_agent(kept)
        elif sequence in into.done:
            self._to_agent(kept)
        elif sequence in into.waiting or not into.has_room(len(message)):
            return
        else:
            if sequence > into.highest:
                into.highest = sequence
                self._note(frame)
                self._sent += len(frame.payload)
                self._look_at_input(frame)
            if self._unrecorded or not self._input_counted or sequence < into.next:
                into.keep(sequence, kept)
                self._to_agent(kept)
            else:
                into.wait(sequence, kept)
                self._queue_in_order(INPUT, into)

    def _look_at_input(self, frame: Frame) -> None:
        """A client that has input, or a terminal, took what came first, though its acknowledgement may be lost."""
        if frame.payload_type in (DATA, SIZE, FLAG):
            self._settle()
        if frame.payload_type == HANDSHAKE_RESPONSE:
            self._is_raw = self._is_raw and not multiplexes(frame.payload)
        elif frame.payload_type == SIZE and not self._unrecorded:
            self._events.append(TapeEvent(self._told.now(), "r", frame.payload))
            self._record()

    def _to_agent(self, kept: Kept) -> None:
        """Without a client nothing is sent: it would set an agent going that was told to wait."""
        if self.agent is not None and self.client is not None:
            kept.sent_at = self._told.now()
            self.agent.put(kept.raw)
            if not self._is_waiting:
                self._is_waiting = True
                self._told.waits()

    def repeat(self) -> bool:
        """Send again what the agent has not acknowledged for long; whether there is more to wait for.

        The official agent turns away what comes before its shell is there, and there are clients that send nothing
        twice. Both agents know by the number what they had.
        """
        can = self.agent is not None and self.client is not None
        if can:
            for kept in list(self._in.late(self._told.now() - REPEAT_MS, _REPEATED_FRAMES, _REPEATED_BYTES)):
                self._to_agent(kept)
        self._is_waiting = can and bool(self._in.unacknowledged)
        return self._is_waiting

    def _give_again_to_agent(self) -> None:
        for sequence in sorted(self._in.unacknowledged):
            self._to_agent(self._in.unacknowledged[sequence])

    # Recording

    def _queue_in_order(self, kind: str, direction: Direction) -> None:
        while direction.next in direction.waiting:
            self._queue.append((kind, direction.waiting[direction.next]))
            direction.next += 1
        self._record()

    def _record(self) -> None:
        if self._taping or not (self._queue or self._events):
            return
        batch, now = list(self._queue), self._told.now()
        tape = Tape(self.terms, self._events, self._out.next, self._in.next)
        self._events = []
        for kind, kept in batch:
            if kept.frame.payload_type in (DATA, STDERR) and (kind == OUTPUT or self.terms.input_taped):
                tape.events.append(TapeEvent(now, "o" if kind == OUTPUT else "i", kept.frame.payload))
        self._taping = True
        self._told.tape(tape, lambda durable: self._recorded(len(batch), durable))

    def _recorded(self, count: int, durable: bool) -> None:
        self._taping = False
        if not durable and self.terms.taping == "needed":
            self._queue.clear()
            self._told.cannot_record()
            return
        for _ in range(count):
            kind, kept = self._queue.popleft()
            direction = self._out if kind == OUTPUT else self._in
            direction.keep(kept.frame.sequence, kept)
            if kind == OUTPUT:
                self._forward(kept)
            else:
                self._to_agent(kept)
        self._record()
        self._say_end()

    # Words of our own

    def _say_end(self) -> None:
        if self._queue:
            return
        if self._end_of_client is not None and self.client is not None and not self._client_knows_end:
            self._client_knows_end = True
            self.client.finish(self._closed(self._end_of_client))
        if self._end_of_all is not None and self.agent is not None:
            self.agent.finish(self._closed(self._end_of_all))

    def _pause(self) -> None:
        if self.agent is not None and self.client is None and self.terms.pausable and not self._paused:
            self._paused = True
            self.agent.put(self._apart(PAUSE))

    def _apart(self, kind: str) -> bytes:
        return apart(kind, self._told.message_id(), self._told.now(), about(self.terms.session_id))

    def _closed(self, reason: str) -> bytes:
        message_id, now = self._told.message_id(), self._told.now()
        payload = closed(self.terms.session_id, self.terms.node_id, message_id, now, reason)
        return apart(CHANNEL_CLOSED, message_id, now, payload)

    def _note(self, frame: Frame) -> None:
        if is_activity(frame.payload_type, frame.payload):
            self.active_at = self._told.now()


def _sequence(frame: Frame) -> int:
    if frame.sequence < 0:
        raise FrameInvalid("SequenceNumber is negative")
    return frame.sequence
