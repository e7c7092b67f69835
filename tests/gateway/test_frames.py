"""Frames against golden vectors, and against arbitrary bytes."""

import json
import uuid
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.gateway.frames import Frame, FrameInvalid, decode, encode

GOLDEN: list[dict[str, Any]] = json.loads((Path(__file__).parent / "session-frames.json").read_text())["frames"]
AGENT_JOB = bytes.fromhex(
    "000000746167656e745f6a6f6200000000000000000000000000000000000000000000000000000100000"
    "18bcfe56800000000000000000000000000000000008899aabbccddeeff0011223344556677"
    "015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f86200000000000000077b2261223a317d"
)
A_JOB = Frame("agent_job", "00112233-4455-6677-8899-aabbccddeeff", 1700000000000, b'{"a":1}')


def test_the_test_vector_of_the_protocol() -> None:
    assert encode(A_JOB, padding=b"\0") == AGENT_JOB
    assert decode(AGENT_JOB) == A_JOB


@pytest.mark.parametrize("vector", GOLDEN, ids=lambda vector: str(vector["name"]))
def test_golden_vectors(vector: dict[str, Any]) -> None:
    fields = vector["fields"]
    frame = Frame(
        fields["MessageType"], fields["MessageId"], fields["CreatedDate"], bytes.fromhex(fields["PayloadHex"]),
        fields["SequenceNumber"], fields["Flags"], fields["PayloadType"], fields["SchemaVersion"],
    )  # fmt: skip
    assert encode(frame).hex() == vector["hex"]
    assert decode(bytes.fromhex(vector["hex"]), digested=True) == frame


FRAMES = st.builds(
    Frame,
    message_type=st.from_regex(r"[a-z][a-z_]{0,30}[a-z]", fullmatch=True),
    message_id=st.uuids().map(str),
    created_ms=st.integers(1, 2**64 - 1),
    payload=st.binary(max_size=500),
    sequence=st.integers(-(2**63), 2**63 - 1),
    flags=st.integers(0, 2**64 - 1),
    payload_type=st.integers(0, 2**32 - 1),
    schema=st.integers(0, 2**32 - 1),
)


@given(FRAMES, st.sampled_from([b" ", b"\0"]), st.booleans())
def test_what_is_encoded_decodes(frame: Frame, padding: bytes, digested: bool) -> None:
    assert decode(encode(frame, padding=padding), digested=digested) == frame


@given(FRAMES.filter(lambda frame: frame.payload), st.data())
def test_a_changed_payload_has_not_the_digest(frame: Frame, data: st.DataObject) -> None:
    message = bytearray(encode(frame))
    at = data.draw(st.integers(120, len(message) - 1))
    message[at] ^= data.draw(st.integers(1, 255))
    assert decode(bytes(message)).payload != frame.payload
    with pytest.raises(FrameInvalid):
        decode(bytes(message), digested=True)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_frame_or_invalid(message: bytes) -> None:
    _decoded_or_invalid(message)


@given(FRAMES, st.data())
def test_any_damage_is_a_frame_or_invalid(frame: Frame, data: st.DataObject) -> None:
    message = bytearray(encode(frame))
    for _ in range(data.draw(st.integers(1, 4))):
        message[data.draw(st.integers(0, len(message) - 1))] = data.draw(st.integers(0, 255))
    _decoded_or_invalid(bytes(message)[: data.draw(st.integers(0, len(message)))])


def _decoded_or_invalid(message: bytes) -> None:
    try:
        frame = decode(message)
    except FrameInvalid:
        return
    assert frame.created_ms > 0
    assert frame.message_type.isprintable()
    uuid.UUID(frame.message_id)


@pytest.mark.parametrize(
    "damaged",
    [
        AGENT_JOB[:-1],
        AGENT_JOB + b" ",
        AGENT_JOB[:40] + bytes(8) + AGENT_JOB[48:],
        b"\0\0\0\x70" + AGENT_JOB[4:],
        b"\xff\xff\xff\xff" + AGENT_JOB[4:],
        AGENT_JOB[:4] + b" " * 32 + AGENT_JOB[36:],
        AGENT_JOB[:4] + b"\xe9" + AGENT_JOB[5:],
    ],
    ids=["short", "long", "no date", "small header", "huge header", "no type", "not ASCII"],
)
def test_damage_is_named(damaged: bytes) -> None:
    with pytest.raises(FrameInvalid):
        decode(damaged)
