"""Page tokens cannot be forged, altered or carried to another query."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.storage.pages import InvalidPageToken, Pages

PAGES = Pages(b"k" * 32)
positions = st.lists(st.one_of(st.text(max_size=40), st.integers(-(2**62), 2**62)), max_size=4)


@given(positions, st.text(max_size=20))
def test_a_token_leads_back_to_its_position(position: list[str | int], query: str) -> None:
    assert PAGES.position(["list", query], PAGES.token(["list", query], position)) == position


@given(positions)
def test_another_query_refuses_it(position: list[str | int]) -> None:
    with pytest.raises(InvalidPageToken):
        PAGES.position(["list", "b"], PAGES.token(["list", "a"], position))


@given(positions, st.data())
def test_an_altered_token_is_refused(position: list[str | int], data: st.DataObject) -> None:
    token = PAGES.token("q", position)
    at = data.draw(st.integers(0, len(token) - 2))  # the last character may carry unused bits
    other = data.draw(st.sampled_from("ABCdef012-_").filter(lambda letter: letter != token[at]))
    with pytest.raises(InvalidPageToken):
        PAGES.position("q", token[:at] + other + token[at + 1 :])


@given(st.text(max_size=80))
def test_no_text_raises_anything_else(text: str) -> None:
    with pytest.raises(InvalidPageToken):
        PAGES.position("q", text)


def test_another_installation_refuses_it() -> None:
    with pytest.raises(InvalidPageToken):
        Pages(b"x" * 32).position("q", PAGES.token("q", ["a"]))
