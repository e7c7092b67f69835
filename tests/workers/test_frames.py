"""Frames between a worker and its supervisor, in whatever pieces they come."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.workers.frames import MOST, Frames, FramesBroken, Kind, frame


@given(
    st.lists(st.tuples(st.sampled_from(Kind), st.binary(max_size=300)), max_size=20),
    st.lists(st.integers(1, 200), min_size=1, max_size=50),
)
def test_frames_come_whole_and_in_order(said: list[tuple[Kind, bytes]], cuts: list[int]) -> None:
    whole = b"".join(frame(kind, payload) for kind, payload in said)
    frames, heard, at, turn = Frames(), [], 0, 0
    while at < len(whole):
        piece = whole[at : at + cuts[turn % len(cuts)]]
        heard += frames.feed(piece)
        at, turn = at + len(piece), turn + 1
    assert heard == said


@given(st.binary(min_size=5, max_size=100))
def test_what_is_no_frame_is_refused_or_waited_for(noise: bytes) -> None:
    frames = Frames()
    size, number = int.from_bytes(noise[:4]), noise[4]
    if size > MOST or number not in set(Kind):
        with pytest.raises(FramesBroken):
            frames.feed(noise)
    elif size > len(noise) - 5:
        assert frames.feed(noise) == []
