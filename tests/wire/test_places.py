"""Places of connections: whatever comes and goes, the counts are true and the greediest make room first."""

from hypothesis import given
from hypothesis import strategies as st

from pilothouse.runtime.peers import Proxies
from pilothouse.wire.places import Place, Places

ADDRESSES = [f"192.0.2.{number}" for number in range(5)]


@given(
    st.integers(1, 12),
    st.integers(1, 5),
    st.lists(st.tuples(st.sampled_from(ADDRESSES), st.sampled_from(["take", "take", "show", "free"])), max_size=200),
)
def test_counts_stay_true_and_room_is_made_by_those_who_have_most(
    most: int, per_address: int, steps: list[tuple[str, str]]
) -> None:
    places = Places(most, per_address)
    held: list[Place] = []
    newest: dict[str, Place] = {}

    def unproven(address: str) -> list[Place]:
        return [each for each in held if each.address == address and not each.is_proven]

    for address, step in steps:
        if step == "take":
            sizes = {each: len(unproven(each)) for each in ADDRESSES}
            full = len(held) == most
            ended: list[Place] = []
            place = places.take(address)
            held = [each for each in held if not each.is_free or ended.append(each)]  # type: ignore[func-returns-value]
            if sizes[address] >= per_address or (full and max(sizes.values()) <= sizes[address] + 1):
                assert place is None
                assert not ended
                continue
            assert place is not None
            held.append(place)
            assert len(ended) == full
            for one in ended:
                assert sizes[one.address] == max(sizes.values())
                assert one is newest[one.address]
        elif step == "show" and unproven(address):
            unproven(address)[0].shown()
        elif step == "free" and unproven(address):
            first = unproven(address)[0]
            first.free()
            first.free()
            held.remove(first)
        newest = {each: unproven(each)[-1] for each in ADDRESSES if unproven(each)}
        assert len(held) <= most
    for each in held:
        each.free()
    again = [places.take(address) for address in ADDRESSES[: min(most, len(ADDRESSES))]]
    assert all(again)


def test_the_newest_that_has_shown_nothing_makes_room_and_who_has_shown_itself_stays() -> None:
    places, ended = Places(3), []
    for number in range(3):
        place = places.take("192.0.2.1")
        assert place is not None
        place.end = lambda number=number: ended.append(number)  # type: ignore[misc]
        if number == 2:
            place.shown()
    assert places.take("192.0.2.2") is not None
    assert ended == [1]
    assert places.take("192.0.2.3") is None  # all have one each


def test_a_trusted_proxy_is_no_crowd_and_a_site_of_ipv6_is_one_address() -> None:
    places = Places(0, 2, Proxies(["198.51.100.0/24"]))
    assert all(places.take("198.51.100.7") for _ in range(10))
    assert places.take("2001:db8::1")
    assert places.take("2001:db8::2:2")
    assert places.take("2001:db8::3") is None
    assert places.take("2001:db8:0:1::3")
