"""How long a worker's place stays empty."""

from hypothesis import given
from hypothesis import strategies as st

from pilothouse.workers.backoff import FIRST_SECONDS, MOST_SECONDS, STEADY_SECONDS, Backoff


def test_the_first_end_costs_nothing_and_each_soon_after_twice_as_much() -> None:
    backoff = Backoff()
    assert [backoff.after(1) for _ in range(9)] == [0, 0.5, 1, 2, 4, 8, 16, 30, 30]


@given(st.lists(st.floats(0, 1000)))
def test_it_is_bounded_and_forgets_after_a_steady_worker(lives: list[float]) -> None:
    backoff = Backoff()
    for lived in lives:
        waits = backoff.after(lived)
        assert waits == 0 or FIRST_SECONDS <= waits <= MOST_SECONDS
        assert waits == 0 or lived < STEADY_SECONDS
