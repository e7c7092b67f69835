"""Bad signatures of an address are looked at so often, and neighbours that sign well go on."""

import pytest

from pilothouse.errors import ThrottlingException
from pilothouse.runtime.clock import TestClock
from pilothouse.wire.guesses import Guesses

BAD, GOOD, NEW = "AKIABAD", "AKIAGOOD", "AKIANEW"
HERE, THERE = "192.0.2.1", "192.0.2.2"


@pytest.fixture
def clock() -> TestClock:
    return TestClock()


@pytest.fixture
def guesses(clock: TestClock) -> Guesses:
    made = Guesses(clock, 60)
    made.succeeded(GOOD)
    for _ in range(60):
        made.admit(HERE, BAD, has_token=False)
        made.failed(HERE, BAD)
    return made


def test_an_address_that_failed_too_often_waits_and_others_do_not(guesses: Guesses, clock: TestClock) -> None:
    for key in (BAD, NEW):
        with pytest.raises(ThrottlingException, match="Rate exceeded"):
            guesses.admit(HERE, key, has_token=False)
    guesses.admit(THERE, BAD, has_token=False)
    clock.advance(seconds=1)
    guesses.admit(HERE, NEW, has_token=False)
    guesses.failed(HERE, NEW)
    with pytest.raises(ThrottlingException):
        guesses.admit(HERE, NEW, has_token=False)
    clock.advance(seconds=60)
    for _ in range(60):
        guesses.admit(HERE, NEW, has_token=False)
        guesses.failed(HERE, NEW)


def test_who_signs_well_and_who_brings_a_token_go_on_beside(guesses: Guesses) -> None:
    for _ in range(500):
        guesses.admit(HERE, GOOD, has_token=False)
        guesses.admit(HERE, "ASIANEW", has_token=True)


def test_a_good_key_is_no_way_around(guesses: Guesses, clock: TestClock) -> None:
    for _ in range(6):
        guesses.admit(HERE, GOOD, has_token=False)
        guesses.failed(HERE, GOOD)
    with pytest.raises(ThrottlingException):
        guesses.admit(HERE, GOOD, has_token=False)
    guesses.admit(THERE, GOOD, has_token=False)
    clock.advance(seconds=120)
    guesses.admit(HERE, GOOD, has_token=False)


def test_a_site_of_ipv6_is_one_address(clock: TestClock) -> None:
    guesses = Guesses(clock, 10)
    for number in range(10):
        guesses.failed(f"2001:db8::{number:x}", BAD)
    with pytest.raises(ThrottlingException):
        guesses.admit("2001:db8::ffff", NEW, has_token=False)
    guesses.admit("2001:db8:0:1::", NEW, has_token=False)


def test_no_limit_where_none_is_set(clock: TestClock) -> None:
    guesses = Guesses(clock, 0)
    for _ in range(1000):
        guesses.failed(HERE, BAD)
        guesses.admit(HERE, BAD, has_token=False)
