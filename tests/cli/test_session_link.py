"""The client's end of sessions without any network: order over a bad line, smux in pieces, the way out of a shell."""

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.cli.link import handshake, smux
from pilothouse.cli.link.reliable import Incoming, Outgoing, acknowledged_number, acknowledgement
from pilothouse.cli.link.terminal import Escape
from pilothouse.gateway.frames import Frame, decode
from pilothouse.gateway.session_messages import OUTPUT


class Consumer:
    """Takes messages, and makes use of them later."""

    def __init__(self) -> None:
        self.got: list[bytes] = []
        self.unused: list[Callable[[], None]] = []
        self.acknowledged: list[int] = []
        self.incoming = Incoming(self._take, lambda frame: self.acknowledged.append(frame.sequence))

    def _take(self, frame: Frame, used: Callable[[], None]) -> None:
        self.got.append(frame.payload)
        self.unused.append(used)

    def use(self) -> None:
        unused, self.unused = self.unused, []
        for each in unused:
            each()


def message(number: int) -> Frame:
    return Frame(OUTPUT, "f47ac10b-58cc-4372-a567-0e02b2c3d479", 1, b"%d" % number, number)


@given(st.lists(st.integers(0, 30), max_size=120), st.sets(st.integers(0, 119)))
def test_each_message_is_delivered_once_in_order_however_they_come(numbers, uses):
    consumer = Consumer()
    for at, number in enumerate(numbers):
        consumer.incoming.receive(message(number))
        if at in uses:
            consumer.use()
    whole = 0
    while whole in numbers:
        whole += 1
    consumer.use()
    assert consumer.got == [b"%d" % number for number in range(whole)]
    assert set(consumer.acknowledged) == set(range(whole))


def test_what_was_not_made_use_of_is_not_acknowledged_and_what_comes_again_is_again():
    consumer = Consumer()
    for number in (0, 1, 0, 1):
        consumer.incoming.receive(message(number))
    assert consumer.acknowledged == []
    consumer.use()
    consumer.incoming.receive(message(0))
    assert consumer.acknowledged == [0, 1, 0]


@given(st.lists(st.tuples(st.sampled_from(("put", "ack", "tick", "reconnect")), st.integers(0, 40)), max_size=80))
def test_what_is_sent_reaches_an_agent_whatever_gets_lost(steps):
    outgoing, now, put = Outgoing(), 0.0, 0
    there: set[int] = set()
    for what, number in steps:
        now += 0.3
        if what == "put":
            frame = decode(outgoing.put(1, b"x", 1, now, counts=True), digested=True)
            assert frame.sequence == put
            put += 1
        elif what == "ack" and number < put:
            there.add(number)
            outgoing.acknowledge(number, now)
        elif what == "tick":
            again = outgoing.repetition(now)
            assert again is None or decode(again).sequence == min(set(range(put)) - there)
        elif what == "reconnect":
            assert [decode(each).sequence for each in outgoing.everything(now)] == sorted(set(range(put)) - there)
    for _ in range(put - len(there)):
        now += 2
        again = outgoing.repetition(now)
        assert again is not None
        outgoing.acknowledge(decode(again).sequence, now)
    assert outgoing.is_empty


def test_the_window_counts_data_until_it_is_acknowledged():
    outgoing = Outgoing()
    outgoing.window = 3000
    outgoing.put(10, b"x" * 5000, 1, 0.0, counts=False)
    assert outgoing.has_room
    outgoing.put(1, b"x" * 3000, 1, 0.0, counts=True)
    assert not outgoing.has_room
    outgoing.acknowledge(1, 0.1)
    assert outgoing.has_room


def test_acknowledgements_say_their_number():
    assert acknowledged_number(decode(acknowledgement(message(7), 1)).payload) == 7
    assert acknowledged_number(b"{}") is None


PIECES = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2**32 - 1), st.binary(max_size=300)), max_size=10)


@given(PIECES, st.lists(st.integers(1, 400), max_size=20))
def test_smux_comes_together_from_any_pieces(pieces, cuts):
    stream = b"".join(smux.encode(*piece) for piece in pieces)
    decoder, found = smux.Decoder(), []
    for cut in [*cuts, len(stream)]:
        found += decoder.feed(stream[:cut])
        stream = stream[cut:]
    assert found == pieces


@given(st.binary(max_size=200))
def test_smux_takes_any_bytes_or_says_that_they_are_none(data):
    try:
        list(smux.Decoder().feed(data))
    except smux.MalformedStream:
        return


@given(st.lists(st.binary(max_size=20), max_size=10))
def test_without_the_escape_every_byte_is_sent(pieces):
    typed = b"".join(pieces).replace(b"~", b"-")
    escape, sent = Escape(), b""
    for piece in pieces:
        out, leaves = escape.feed(piece.replace(b"~", b"-"))
        assert not leaves
        sent += out
    assert sent == typed


@pytest.mark.parametrize(
    ("typed", "sent", "leaves"),
    [
        (b"~.", b"", True),
        (b"ls\r~.x", b"ls\r", True),
        (b"a~.", b"a~.", False),
        (b"\r~~.", b"\r~.", False),
        (b"\r~x", b"\r~x", False),
        (b"~\r~.", b"~\r", True),
    ],
)
def test_the_escape_leaves_at_the_beginning_of_a_line(typed, sent, leaves):
    escape, out, left = Escape(), b"", False
    for number in range(len(typed)):
        if not left:
            piece, left = escape.feed(typed[number : number + 1])
            out += piece
    assert (out, left) == (sent, leaves)


NAMES = ("AgentVersion", "RequestedClientActions", "ActionType", "ActionParameters", "Extensions", "x")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda each: st.lists(each, max_size=3) | st.dictionaries(st.sampled_from(NAMES), each, max_size=3),
    max_leaves=10,
)


@given(JSON)
def test_any_handshake_is_read_or_refused(said):
    try:
        agent = handshake.read_request(json.dumps(said).encode())
    except handshake.HandshakeFailed:
        return
    assert 1024 <= agent.chunk <= 16384
