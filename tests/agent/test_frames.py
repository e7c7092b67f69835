"""The frame codec against golden vectors, and against anything."""

import json
import uuid
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse_agent.link.frames import Frame, MalformedFrame, decode, encode

CONTROL_VECTOR = bytes.fromhex(
    "000000746167656e745f6a6f62000000000000000000000000000000000000000000000000000001"
    "0000018bcfe56800000000000000000000000000000000008899aabbccddeeff0011223344556677"
    "015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f86200000000000000077b2261223a317d"
)
SESSION_VECTORS = json.loads((Path(__file__).parent / "session_frames.json").read_text())["frames"]

frames = st.builds(
    Frame,
    kind=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=32),
    message_id=st.uuids(),
    created_at=st.integers(0, 2**64 - 1),
    payload=st.binary(max_size=300),
    schema_version=st.integers(0, 2**32 - 1),
    sequence=st.integers(-(2**63), 2**63 - 1),
    flags=st.integers(0, 2**64 - 1),
    payload_type=st.integers(0, 2**32 - 1),
)


def test_the_control_channel_vector() -> None:
    frame = decode(CONTROL_VECTOR)
    assert frame == Frame(
        kind="agent_job",
        message_id=uuid.UUID("00112233-4455-6677-8899-aabbccddeeff"),
        created_at=1_700_000_000_000,
        payload=b'{"a":1}',
    )
    made = encode(frame)
    assert made[4:36] == b"agent_job".ljust(32)  # padded with spaces, where the vector has NUL
    assert made[:4] + made[36:] == CONTROL_VECTOR[:4] + CONTROL_VECTOR[36:]


@pytest.mark.parametrize("vector", SESSION_VECTORS, ids=[vector["name"] for vector in SESSION_VECTORS])
def test_the_session_vectors(vector: dict[str, Any]) -> None:
    data, fields = bytes.fromhex(vector["hex"]), vector["fields"]
    frame = decode(data)
    assert frame.kind == fields["MessageType"]
    assert str(frame.message_id) == fields["MessageId"]
    assert (frame.sequence, frame.flags, frame.payload_type) == (
        fields["SequenceNumber"], fields["Flags"], fields["PayloadType"],
    )  # fmt: skip
    assert frame.payload.hex() == fields["PayloadHex"]
    assert encode(frame) == data


@given(frames)
def test_what_is_encoded_is_decoded(frame: Frame) -> None:
    assert decode(encode(frame)) == frame


@given(st.binary(max_size=400))
def test_any_bytes_are_a_frame_or_refused(data: bytes) -> None:
    try:
        frame = decode(data)
    except MalformedFrame:
        return
    assert decode(encode(frame)).payload == frame.payload


@given(frames, st.data())
def test_a_changed_frame_never_gives_a_changed_payload(frame: Frame, data: st.DataObject) -> None:
    encoded = bytearray(encode(frame))
    position = data.draw(st.integers(0, len(encoded) - 1))
    encoded[position] ^= data.draw(st.integers(1, 255))
    try:
        changed = decode(bytes(encoded))
    except MalformedFrame:
        return
    assert changed.payload == frame.payload


@given(frames, st.integers(0, 119))
def test_a_frame_that_is_cut_short_is_refused(frame: Frame, length: int) -> None:
    with pytest.raises(MalformedFrame):
        decode(encode(frame)[:length])
