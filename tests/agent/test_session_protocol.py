"""The rules of sessions without any input or output: order, repetition, smux, characters, orders, handshakes."""

import asyncio
import json
import random
import struct
import uuid
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pilothouse_agent.documents.plan import InvalidDocument
from pilothouse_agent.link.frames import Frame, decode
from pilothouse_agent.sessions import order, smux
from pilothouse_agent.sessions.encryption import Cipher, Unsealed
from pilothouse_agent.sessions.handshake import Client, HandshakeFailed, Question, later, read_answer
from pilothouse_agent.sessions.ports import is_refused
from pilothouse_agent.sessions.reliable import INPUT, Incoming, Outgoing
from pilothouse_agent.sessions.terminal import Characters
from pilothouse_agent.sessions.transcript import Renderer

PAYLOADS = st.lists(st.binary(min_size=1, max_size=20), min_size=1, max_size=30)


def stream_message(number: int, payload: bytes) -> Frame:
    return Frame(
        kind=INPUT, message_id=uuid.uuid4(), created_at=1, payload=payload, sequence=number, payload_type=1
    )  # fmt: skip


@settings(deadline=None)
@given(PAYLOADS, st.integers())
def test_whatever_the_network_does_each_message_is_taken_once_and_in_order(payloads: list[bytes], seed: int) -> None:
    """Lost, doubled and swapped messages, and a session that takes some of them only later."""
    luck = random.Random(seed)
    taken: list[bytes] = []
    acknowledged: set[int] = set()
    busy = True

    def take(frame: Frame) -> bool:
        if busy and luck.random() < 0.3:
            return False
        taken.append(frame.payload)
        return True

    incoming = Incoming(take, lambda frame: acknowledged.add(frame.sequence))
    frames = [stream_message(number, payload) for number, payload in enumerate(payloads)]
    for _ in range(luck.randrange(60)):
        incoming.hold = luck.random() < 0.5
        incoming.receive(luck.choice(frames))
        assert taken == payloads[: len(taken)]
    incoming.release()
    busy = False
    for frame in frames:
        if frame.sequence not in acknowledged:
            incoming.receive(frame)
    incoming.advance()
    assert taken == payloads
    assert acknowledged == set(range(len(frames)))


@settings(deadline=None)
@given(PAYLOADS, st.integers())
def test_what_is_sent_arrives_whatever_is_lost(payloads: list[bytes], seed: int) -> None:
    luck = random.Random(seed)
    outgoing = Outgoing()
    arrived: dict[int, bytes] = {}
    now = 0.0

    def network(sent: bytes) -> None:
        frame = decode(sent)
        if luck.random() < 0.5:
            return  # lost
        arrived[frame.sequence] = frame.payload
        if luck.random() < 0.5:
            again = outgoing.acknowledge(frame.sequence, now)
            if again is not None:
                network(again)

    for payload in payloads:
        connected = luck.random() < 0.7
        sent = outgoing.put(1, payload, 1, now if connected else -1.0)
        if connected:
            network(sent)
        now += luck.random()
    for _ in range(1000):
        if outgoing.is_empty:
            break
        now += 1.1
        if luck.random() < 0.1:  # a new connection
            for each in list(outgoing.everything(now)):
                network(each)
        elif (again := outgoing.repetition(now)) is not None:
            network(again)
    else:
        raise AssertionError("it never arrived")
    assert [arrived[number] for number in range(len(payloads))] == payloads
    assert 0.0 < outgoing.timeout <= 1.0


def test_the_oldest_message_alone_is_repeated_after_the_timeout() -> None:
    outgoing = Outgoing()
    first, second, third, _ = (outgoing.put(1, payload, 1, 0.0) for payload in (b"a", b"b", b"c", b"d"))
    assert outgoing.acknowledge(3, 0.1) is None
    assert outgoing.repetition(0.1) is None
    assert outgoing.repetition(0.3) == first
    assert outgoing.repetition(0.4) is None
    assert outgoing.acknowledge(0, 0.5) == second
    assert outgoing.acknowledge(0, 0.5) is None
    assert outgoing.acknowledge(7, 0.5) is None
    assert outgoing.acknowledge(1, 0.6) == third
    assert outgoing.acknowledge(2, 0.7) is None
    assert outgoing.is_empty
    assert decode(first).flags == 1
    assert decode(second).flags == 0


def test_after_a_quick_client_a_slow_one_is_not_told_twice() -> None:
    """A megabyte to a client that was quick until then, halts for a moment and takes a kilobyte in 5 ms after it."""
    outgoing, now = Outgoing(), 0.0
    for number in range(100):
        outgoing.put(1, b"x", 1, now)
        now += 0.001
        outgoing.acknowledge(number, now)
    assert outgoing.timeout == 0.2
    for _ in range(1000):
        outgoing.put(1, bytes(1024), 1, now)
    now += 0.19
    repeated = [outgoing.repetition(now)]
    for number in range(100, 1100):
        now += 0.005
        repeated += [outgoing.acknowledge(number, now), outgoing.repetition(now)]
    assert repeated == [None] * len(repeated)
    assert outgoing.is_empty


def test_a_repetition_that_was_needless_brings_no_others() -> None:
    outgoing = Outgoing()
    sent = [outgoing.put(1, b"x", 1, 0.0) for _ in range(50)]
    assert outgoing.repetition(0.5) == sent[0]
    again = [outgoing.acknowledge(number, 0.51 + number / 1000) for number in range(50)]
    assert again == [None] * 50


def test_what_was_not_acknowledged_is_repeated_while_all_else_is() -> None:
    outgoing, now, repeated = Outgoing(), 0.0, list[int]()
    for number in range(200):
        now += 0.004
        outgoing.put(1, b"x", 1, now)
        again = None if number < 10 or number - 10 in (7, 8, 40) else outgoing.acknowledge(number - 10, now)
        again = again or outgoing.repetition(now)
        while again is not None:  # the client has it, and says so again
            repeated.append(decode(again).sequence)
            again = outgoing.acknowledge(repeated[-1], now)
    assert repeated == [7, 8, 40]


@given(st.binary(min_size=1, max_size=300_000), st.integers(1_024, 200_000), st.integers(0, 2**32 - 1))
def test_smux_in_large_messages(sent: bytes, size: int, stream: int) -> None:
    messages = smux.messages(stream, sent, size)
    assert max(len(each) for each in messages) <= size
    assert len(messages) <= len(sent) // (size - 3 * smux.HEADER.size) + 1  # none is sent half empty
    decoder = smux.Decoder()
    received = [piece for each in messages for piece in decoder.feed(each)]
    assert {(each.command, each.stream) for each in received} == {(smux.PSH, stream)}
    assert b"".join(each.data for each in received) == sent


pieces = st.builds(smux.Piece, st.integers(0, 3), st.integers(0, 2**32 - 1), st.binary(max_size=200))


@given(st.lists(pieces, max_size=20), st.data())
def test_smux_in_any_pieces(sent: list[smux.Piece], data: st.DataObject) -> None:
    stream = b"".join(smux.encode(each.command, each.stream, each.data) for each in sent)
    decoder, received = smux.Decoder(), []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        received += decoder.feed(stream[:size])
        stream = stream[size:]
    assert received == sent


@given(st.lists(st.binary(max_size=50), max_size=10))
def test_any_bytes_are_smux_or_refused(given_bytes: list[bytes]) -> None:
    decoder = smux.Decoder()
    try:
        for data in given_bytes:
            for piece in decoder.feed(data):
                assert piece.command <= smux.NOP
    except smux.MalformedStream:
        pass


def test_the_smux_vector() -> None:
    (piece,) = smux.Decoder().feed(bytes.fromhex("010205000300000068656c6c6f"))
    assert piece == smux.Piece(smux.PSH, 3, b"hello")
    assert smux.encode(smux.PSH, 3, b"hello").hex() == "010205000300000068656c6c6f"


def test_a_refused_mux_frame_is_out_of_the_way() -> None:
    decoder = smux.Decoder()
    with pytest.raises(smux.MalformedStream):
        list(decoder.feed(struct.pack("<BBHI", 2, 0, 0, 3)))


@given(
    st.lists(st.one_of(st.text(max_size=30).map(str.encode), st.binary(max_size=30)), max_size=10), st.integers(4, 40)
)
def test_characters_are_not_split_and_no_byte_is_lost(given_bytes: list[bytes], size: int) -> None:
    characters = Characters(size)
    made = [piece for data in given_bytes for piece in characters.feed(data)] + characters.rest()
    assert b"".join(made) == b"".join(given_bytes)
    assert all(0 < len(piece) <= size for piece in made)


@given(st.text(max_size=300), st.integers(4, 40), st.integers(1, 7))
def test_each_message_of_a_text_is_a_text(text: str, size: int, step: int) -> None:
    data = text.encode()
    characters = Characters(size)
    for start in range(0, len(data), step):
        for piece in characters.feed(data[start : start + step]):
            piece.decode()
    assert characters.rest() == []


@given(st.lists(st.binary(max_size=60), max_size=10))
def test_a_transcript_is_text_whatever_was_shown(given_bytes: list[bytes]) -> None:
    renderer = Renderer()
    lines = [line for data in given_bytes for line in renderer.feed(data)] + list(renderer.rest())
    assert not [line for line in lines if "\n" in line or "\x1b" in line or "\r" in line or "\b" in line]


@given(st.binary(max_size=100))
def test_ciphers_of_both_ends_fit(data: bytes) -> None:
    key = bytes(range(64))
    node, client = Cipher(key), Cipher(key[32:] + key[:32])
    sealed = node.encrypt(data)
    assert client.decrypt(sealed) == data
    assert len(sealed) == len(data) + 28
    with pytest.raises(Unsealed):
        client.decrypt(sealed[:-1] + bytes([sealed[-1] ^ 1]))
    with pytest.raises(Unsealed):
        client.decrypt(data[:12])


def test_the_cipher_vector() -> None:
    cipher = Cipher(bytes(32) + bytes(range(32)))
    assert cipher.decrypt(bytes.fromhex("a0a1a2a3a4a5a6a7a8a9aaab897376f94418cf8627b2c7635429fe16dbc253")) == b"ok\n"


def test_versions_compare_as_numbers() -> None:
    assert later("1.2.677.0", (1, 2, 97, 0)) > 0
    assert later("1.2.97", (1, 2, 97, 0)) < 0
    assert later("", (1, 1, 70)) < 0
    assert Client(version="client/0.1.0").multiplexes  # as the official agent has it
    assert not Client(version="0.0.1").multiplexes
    assert Client(version="1.1.70.0").multiplexes
    assert not Client(version="1.1.69.9").multiplexes
    assert Client(version="1.2.331.0").wants_keep_alive
    assert not Client(version="1.2.331.1").wants_keep_alive


QUESTION = Question(session_type="NonInteractiveCommands", properties=None, extension="exec", key_id="k")


NAMES_OF_ANSWERS = (
    "ClientVersion", "ProcessedClientActions", "Extensions", "ActionType", "ActionStatus", "ActionResult",
    "KMSCipherTextKey", "tty", "chunk",
)  # fmt: skip
NAMES_OF_ORDERS = (
    "schemaVersion", "sessionType", "inputs", "parameters", "properties", "linux", "commands", "type", "default",
)  # fmt: skip


def documents(names: tuple[str, ...], leaf: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """JSON values with the names that matter."""
    leaves = st.none() | st.booleans() | st.integers(-1, 70_000) | leaf
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(names), inner, max_size=4),
        max_leaves=10,
    )


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(documents(NAMES_OF_ANSWERS, st.sampled_from(["SessionType", "KMSEncryption", "1.2.3.4", "x"])))
def test_any_answer_is_read_or_refused(answer: Any) -> None:
    try:
        read = read_answer(json.dumps(answer).encode(), QUESTION)
    except HandshakeFailed:
        return
    assert 1024 <= read.client.chunk <= 122_880


def test_what_a_client_cannot_do_fails_the_handshake() -> None:
    failed = {"ActionType": "SessionType", "ActionStatus": 3, "Error": "Unsupported action"}
    with pytest.raises(HandshakeFailed, match="Unsupported action"):
        read_answer(json.dumps({"ProcessedClientActions": [failed]}).encode(), QUESTION)
    with pytest.raises(HandshakeFailed, match="KMSEncryption"):
        done = {"ActionType": "SessionType", "ActionStatus": 1}
        read_answer(json.dumps({"ProcessedClientActions": [done]}).encode(), QUESTION)
    for junk in (b"", b"[]", b"{", b"\xff"):
        with pytest.raises(HandshakeFailed):
            read_answer(junk, QUESTION)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(documents(NAMES_OF_ORDERS, st.sampled_from(["1.0", "Port", "{{ x }}", "String"])))
def test_any_order_is_read_or_refused(document: Any) -> None:
    async def fetch(_names: list[str]) -> dict[str, Any]:
        return {}

    content = json.dumps({"SessionId": "a-1", "DocumentContent": document, "Parameters": {"x": "y"}})
    try:
        read = asyncio.run(order.read("a-1", content, fetch))
    except InvalidDocument:
        return
    assert read.session_type in order.TYPES


def test_which_session_a_message_is_about() -> None:
    assert order.session_id_of({"taskid": "alice-1"}) == "alice-1"
    assert order.session_id_of({"sessionid": "a.b_c-1"}) == "a.b_c-1"
    assert order.session_id_of({"content": '{"SessionId": "x"}'}) == "x"
    for bad in ("../x", ".hidden", "a/b", "", "x" * 97, 7, None, "a\n"):
        assert order.session_id_of({"taskid": bad}) is None


@pytest.mark.parametrize(
    "address",
    ["169.254.169.254", "::ffff:169.254.169.253", "2002:a9fe:a9fe::1", "fd00:ec2::23", "ff02::1", "0.0.0.0", "::"],
)
def test_addresses_that_are_refused(address: str) -> None:
    assert is_refused(address)


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "::1", "192.168.1.1", "2001:db8::1", "fd12::1"])
def test_addresses_that_are_not(address: str) -> None:
    assert not is_refused(address)
