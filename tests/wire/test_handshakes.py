"""TLS handshakes take turns: few at once, and each address gets its own."""

import asyncio
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from pilothouse.wire.handshakes import Handshakes


class _Loop:
    """Keeps what is to be called in the next turn."""

    def __init__(self) -> None:
        self.soon: list[object] = []

    def call_soon(self, callback: object) -> None:
        self.soon.append(callback)

    def turn(self) -> None:
        soon, self.soon = self.soon, []
        for each in soon:
            each()  # type: ignore[operator]


@given(
    st.integers(1, 12),
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["add", "add", "gone", "done", "turn"])), max_size=200),
)
def test_no_more_at_once_than_there_may_be_and_all_get_theirs(most: int, steps: list[tuple[str, str]]) -> None:
    loop = _Loop()
    handshakes = Handshakes(loop, most)  # type: ignore[arg-type]
    running: Counter[str] = Counter()
    waiting: Counter[str] = Counter()

    def begin(address: str, is_there: bool) -> bool:
        waiting[address] -= 1
        running[address] += is_there
        assert running.total() <= most
        assert running[address] <= max(most // 4, 1)
        return is_there

    for address, step in steps:
        if step == "turn":
            before = running.total()
            loop.turn()
            assert running.total() <= before + 2
        elif step == "done":
            if running[address]:
                running[address] -= 1
                handshakes.done(address)
        else:
            waiting[address] += 1
            handshakes.add(address, lambda address=address, step=step: begin(address, step == "add"))  # type: ignore[misc]
    while waiting.total():
        loop.turn()
        for address in "abc":
            for _ in range(running[address]):
                handshakes.done(address)
            running[address] = 0
    assert not loop.soon or not waiting.total()


def test_a_crowd_of_one_address_does_not_hold_up_another() -> None:
    loop = _Loop()
    handshakes = Handshakes(loop, 0)  # type: ignore[arg-type]
    begun: list[str] = []

    def begin(address: str) -> bool:
        begun.append(address)
        return True

    for _ in range(100):
        handshakes.add("crowd", lambda: begin("crowd"))
    handshakes.add("other", lambda: begin("other"))
    loop.turn()
    assert begun == ["crowd", "other"]


def test_the_event_loop_itself_fits() -> None:
    async def all_begun() -> int:
        handshakes, done = Handshakes(asyncio.get_running_loop(), 8), asyncio.Event()
        begun = 0

        def begin() -> bool:
            nonlocal begun
            begun += 1
            asyncio.get_running_loop().call_soon(handshakes.done, "a")
            if begun == 20:
                done.set()
            return True

        for _ in range(20):
            handshakes.add("a", begin)
        await done.wait()
        return begun

    assert asyncio.run(all_begun()) == 20
