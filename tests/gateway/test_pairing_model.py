"""A pair between a client and an agent that come, go, repeat, wait and lose acknowledgements: bytes out are bytes in.

The peers are models of the official ones: only the oldest message is repeated, a client acknowledges nothing that it
had before (one of our own does), an agent that is told to wait sends nothing. A network line delivers in order, and
loses what is under way when it is cut. The server may be killed at any moment; then what was recorded stays.
"""

import itertools
import json
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pilothouse.gateway.frames import Frame, decode, encode
from pilothouse.gateway.pairing import Pair
from pilothouse.gateway.session_keeper import Tape, Terms
from pilothouse.gateway.session_messages import (
    ACKNOWLEDGE,
    DATA,
    INPUT,
    OUTPUT,
    PAUSE,
    START,
    acknowledging,
)

NOW = 1_764_000_000_000
_ids = (f"00000000-0000-4000-8000-{number:012x}" for number in itertools.count())


class Wire:
    """A connection of an end: what goes to the peer, and what comes from it. A `Line` of the pair."""

    def __init__(self) -> None:
        self.down: deque[bytes | int] = deque()
        self.up: deque[bytes | int] = deque()
        self.is_open = True
        self._pings = itertools.count()

    def put(self, message: bytes) -> None:
        if self.is_open:
            self.down.append(message)

    def hold(self, held: bool) -> None:
        """The model's peers come in any order anyway."""

    def probe(self) -> int | None:
        number = next(self._pings)
        self.down.append(number)
        return number

    def finish(self, message: bytes) -> None:
        self.put(message)

    def close(self, why: str) -> None:
        self.is_open = False


class Peer:
    """What both ends do alike."""

    stream, heard = "", ""

    def __init__(self) -> None:
        self.wire: Wire | None = None
        self.said = bytearray()
        self.received = bytearray()
        self.unacknowledged: dict[int, bytes] = {}
        self.next = self.expected = 0
        self.ahead: dict[int, Frame] = {}
        self.loses = 0
        """So many acknowledgements do not go out."""
        self.doubles = False
        self.turns_away = 0
        """So many messages are read, and neither taken nor acknowledged: its program is not there yet."""

    def say(self, data: bytes) -> None:
        self.said += data
        self.send(data)

    def send(self, data: bytes) -> None:
        frame = Frame(self.stream, next(_ids), NOW, data, self.next, int(self.next == 0), DATA)
        self.unacknowledged[self.next] = encode(frame)
        self._write(self.unacknowledged[self.next])
        self.next += 1

    def repeat(self) -> None:
        if self.unacknowledged:
            self._write(self.unacknowledged[min(self.unacknowledged)])

    def hear(self, message: bytes | int) -> None:
        if isinstance(message, int):
            self._write(message)  # a pong
            return
        frame = decode(message, digested=True)
        if frame.message_type == ACKNOWLEDGE:
            self.unacknowledged.pop(json.loads(frame.payload)["AcknowledgedMessageSequenceNumber"], None)
        elif frame.message_type == self.heard:
            self._stream(frame)

    def _stream(self, frame: Frame) -> None:
        if self.turns_away:
            self.turns_away -= 1
            return
        if frame.sequence < self.expected:
            self.had(frame)
            return
        self.acknowledge(frame)
        self.ahead[frame.sequence] = frame
        while self.expected in self.ahead:
            self.received += self.ahead.pop(self.expected).payload
            self.expected += 1

    def had(self, frame: Frame) -> None:
        """It came before."""

    def acknowledge(self, frame: Frame) -> None:
        if self.loses:
            self.loses -= 1
            return
        for _ in range(2 if self.doubles else 1):
            self._write(acknowledging(self.heard, frame.message_id, frame.sequence, next(_ids), NOW))

    def _write(self, message: bytes | int) -> None:
        if self.wire is not None and self.wire.is_open:
            self.wire.up.append(message)


class Client(Peer):
    stream, heard = INPUT, OUTPUT

    def __init__(self, *, again: bool, repeats: bool) -> None:
        super().__init__()
        self._again = again
        self.repeats = repeats

    def repeat(self) -> None:
        """There are clients that send nothing twice; such stay, for they would lose what is under way."""
        if self.repeats:
            super().repeat()

    def had(self, frame: Frame) -> None:
        if self._again:
            self.acknowledge(frame)


class Agent(Peer):
    stream, heard = OUTPUT, INPUT

    def __init__(self) -> None:
        super().__init__()
        self.paused = False
        self.withheld: deque[bytes] = deque()

    def send(self, data: bytes) -> None:
        if self.paused:
            self.withheld.append(data)
        else:
            super().send(data)

    def repeat(self) -> None:
        if not self.paused:
            super().repeat()

    def hear(self, message: bytes | int) -> None:
        if isinstance(message, bytes):
            kind = decode(message).message_type
            if kind == PAUSE:
                self.paused = True
            elif kind in (START, INPUT, ACKNOWLEDGE):
                self.go_on()
        super().hear(message)

    def go_on(self) -> None:
        self.paused = False
        while self.withheld:
            super().send(self.withheld.popleft())

    def had(self, frame: Frame) -> None:
        self.acknowledge(frame)


class Told:
    """The owner of the pair. What is to be recorded waits here until it is durable."""

    def __init__(self) -> None:
        self.waiting: deque[tuple[Tape, Callable[[bool], None]]] = deque()
        self.is_settled = False
        self.is_asked_to_repeat = False
        self.time = NOW

    def message_id(self) -> str:
        return next(_ids)

    def now(self) -> int:
        return self.time

    def waits(self) -> None:
        self.is_asked_to_repeat = True

    def tape(self, tape: Tape, done: Callable[[bool], None]) -> None:
        self.waiting.append((tape, done))

    def ending(self) -> None:
        raise AssertionError("nobody ends")

    def settled(self) -> None:
        self.is_settled = True

    def cannot_record(self) -> None:
        raise AssertionError("everything is recorded")


class Pairing(RuleBasedStateMachine):
    client: Client
    agent: Agent
    pair: Pair
    told: Told
    terms: Terms

    @initialize(
        taping=st.sampled_from(["no", "wanted", "needed"]), input_taped=st.booleans(), pausable=st.booleans(),
        again=st.booleans(), repeats=st.booleans(), first=st.permutations(["client", "agent"]),
    )  # fmt: skip
    def begin(
        self, taping: Any, input_taped: bool, pausable: bool, again: bool, repeats: bool, first: list[str]
    ) -> None:
        self.terms = Terms(
            session_id="s", account_id="1", region="r", node_id="mi-1", pausable=pausable, taping=taping,
            input_taped=input_taped and taping != "no",
        )  # fmt: skip
        self.client, self.agent = Client(again=again, repeats=repeats), Agent()
        self.recorded = {"o": bytearray(), "i": bytearray()}
        self.is_settled = False
        self._serve()
        for end in first:
            self.come(end)

    def _serve(self) -> None:
        self.told = Told()
        self.pair = Pair(self.terms, self.told)

    # The ends

    @rule(end=st.sampled_from(["client", "agent"]))
    def come(self, end: str) -> None:
        """Also while it is there: a newer connection."""
        if end == "client" and self.client.wire is not None and not self.client.repeats:
            return
        wire = Wire()
        if end == "client":
            self.client.wire = wire
            self.pair.client_came(wire)
        else:
            self.agent.wire, self.agent.paused = wire, False
            self.pair.agent_came(wire)
            self.agent.go_on()

    @rule(end=st.sampled_from(["client", "agent"]))
    def go(self, end: str) -> None:
        peer = self.client if end == "client" else self.agent
        if peer is self.client and not self.client.repeats:
            return
        wire, peer.wire = peer.wire, None
        if wire is not None:
            (self.pair.client_left if end == "client" else self.pair.agent_left)(wire)

    @rule(end=st.sampled_from(["client", "agent"]), data=st.binary(min_size=1, max_size=4))
    def say(self, end: str, data: bytes) -> None:
        if end == "agent" or self.client.repeats or self.client.wire is not None:
            (self.client if end == "client" else self.agent).say(data)

    @rule(end=st.sampled_from(["client", "agent"]))
    def repeat(self, end: str) -> None:
        (self.client if end == "client" else self.agent).repeat()

    @rule(end=st.sampled_from(["client", "agent"]), count=st.integers(0, 3), doubles=st.booleans())
    def mistreat_acknowledgements(self, end: str, count: int, doubles: bool) -> None:
        peer = self.client if end == "client" else self.agent
        peer.loses, peer.doubles = count, doubles

    @rule(end=st.sampled_from(["client", "agent"]), count=st.integers(1, 4))
    def is_not_ready(self, end: str, count: int) -> None:
        """A client that turns away what it gets is not known: it would never be given that again."""
        if end == "agent":
            self.agent.turns_away = count

    @rule(seconds=st.integers(0, 2))
    def time_passes(self, seconds: int) -> None:
        self.told.time += 1000 * seconds
        if self.told.is_asked_to_repeat:
            self.told.is_asked_to_repeat = self.pair.repeat()

    # The network

    @rule(end=st.sampled_from(["client", "agent"]), count=st.integers(1, 9))
    def deliver_to(self, end: str, count: int) -> None:
        peer = self.client if end == "client" else self.agent
        while count and peer.wire is not None and peer.wire.down:
            peer.hear(peer.wire.down.popleft())
            count -= 1

    @rule(end=st.sampled_from(["client", "agent"]), count=st.integers(1, 9))
    def deliver_from(self, end: str, count: int) -> None:
        peer = self.client if end == "client" else self.agent
        while count and peer.wire is not None and peer.wire.is_open and peer.wire.up:
            message = peer.wire.up.popleft()
            if isinstance(message, int):
                self.pair.answered(peer.wire, message)
            else:
                (self.pair.from_client if end == "client" else self.pair.from_agent)(message)
            count -= 1

    @rule(rounds=st.integers(1, 3), commits=st.booleans())
    def flow(self, rounds: int, commits: bool) -> None:
        """For a while all goes well."""
        for _ in range(rounds):
            for end in ("client", "agent"):
                self.deliver_from(end, 9)
            for end in ("client", "agent"):
                self.deliver_to(end, 9)
            while commits and self.told.waiting:
                self.commit()

    @rule(end=st.sampled_from(["client", "agent"]), data=st.binary(min_size=1, max_size=3), loses=st.integers(0, 2))
    def say_through(self, end: str, data: bytes, loses: int) -> None:
        """Something goes all the way, and the acknowledgement perhaps not."""
        hearer = self.agent if end == "client" else self.client
        self.say(end, data)
        hearer.loses = loses
        self.flow(2, True)
        hearer.loses = 0

    # The server

    @rule()
    @precondition(lambda self: self.told.waiting)
    def commit(self) -> None:
        self._durable(*self.told.waiting.popleft())

    def _durable(self, tape: Tape, done: Callable[[bool], None]) -> None:
        self._write(tape)
        done(True)

    def _write(self, tape: Tape) -> None:
        for event in tape.events:
            self.recorded[event.kind] += event.data
        self.terms = replace(
            self.terms, next_output=max(self.terms.next_output, tape.next_output),
            next_input=max(self.terms.next_input, tape.next_input),
        )  # fmt: skip

    @rule(committed=st.booleans())
    @precondition(lambda self: self.client.repeats)
    def kill(self, committed: bool) -> None:
        """Killed with `kill -9`: perhaps just after a commit of which nobody heard."""
        if committed and self.told.waiting:
            self._write(self.told.waiting.popleft()[0])
        settled = self.is_settled = self.is_settled or self.told.is_settled
        self.terms = replace(self.terms, is_new=self.terms.is_new and self.agent.wire is None, settled=settled)
        self.client.wire = self.agent.wire = None
        self._serve()

    # What must hold

    @invariant()
    def nothing_is_lost_or_doubled_or_moved(self) -> None:
        if not hasattr(self, "client"):
            return
        assert self.client.received == self.agent.said[: len(self.client.received)]
        assert self.agent.received == self.client.said[: len(self.agent.received)]
        if self.terms.taping != "no":
            assert self.recorded["o"].startswith(self.client.received), "shown before it was recorded"
            assert self.agent.said.startswith(self.recorded["o"])
        if self.terms.input_taped:
            assert self.recorded["i"].startswith(self.agent.received), "given before it was recorded"
            assert self.client.said.startswith(self.recorded["i"])

    def teardown(self) -> None:
        """With a network that holds, everything comes."""
        if not hasattr(self, "client"):
            return
        for peer in (self.client, self.agent):
            peer.loses, peer.doubles, peer.turns_away = 0, False, 0
        self.come("agent")
        self.come("client")
        self.agent.say(b"the last of it")  # before that a client may not have shown that it takes what it gets
        self.client.say(b"and of that")
        for _ in range(2000):
            for end in ("client", "agent"):
                self.deliver_from(end, 9)
                self.deliver_to(end, 9)
            while self.told.waiting:
                self.commit()
            if not (self.client.unacknowledged or self.agent.unacknowledged or self.agent.withheld):
                break
            self.repeat("client")
            self.repeat("agent")
            self.time_passes(2)
        self.nothing_is_lost_or_doubled_or_moved()
        assert self.client.received == self.agent.said
        assert self.agent.received == self.client.said
        assert not self.agent.unacknowledged, "the agent would repeat for ever"
        assert not self.client.unacknowledged
        if self.terms.taping != "no":
            assert self.recorded["o"] == self.agent.said


TestPairing = Pairing.TestCase
TestPairing.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)
