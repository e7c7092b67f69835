"""Tokens, names and what follows from refusals, without a server."""

from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.capabilities.topics import model
from pilothouse.capabilities.topics.model import Delivery, Place, Subscription, place_of, setback
from pilothouse.capabilities.topics.tokens import read, token_of
from pilothouse.crypto.vault import Vault

HOUSE: Any = SimpleNamespace(vault=Vault(bytes(32)))
OTHER: Any = SimpleNamespace(vault=Vault(bytes(31) + b"1"))
HOUR = 3_600_000


@given(st.uuids(), st.integers(0, 1 << 44), st.integers(0, 111), st.sampled_from("0123456789abcdef"))
def test_a_token_says_what_it_was_made_of_and_bears_no_change(who: UUID, end: int, place: int, digit: str) -> None:
    token = token_of(HOUSE, str(who), end)
    assert read(HOUSE, token) == (str(who), end)
    altered = token[:place] + digit + token[place + 1 :]
    for house, text in ((OTHER, token), (HOUSE, token[:-1]), *([(HOUSE, altered)] if altered != token else [])):
        with pytest.raises(ValueError, match="not a token"):
            read(house, text)


@given(st.text())
def test_texts_are_no_tokens(text: str) -> None:
    with pytest.raises(ValueError, match="not a token"):
        read(HOUSE, text)


@given(st.from_regex(r"[a-z]{2}-[a-z]{3,9}-[0-9]", fullmatch=True), st.from_regex(r"[\w-]{1,256}", fullmatch=True))
def test_an_arn_leads_back_to_its_topic(region: str, name: str) -> None:
    place = Place(region, "123456789012", name)
    try:
        assert place_of(place.arn, "TopicArn") == place
    except model.InvalidParameterException:
        assert not name.isascii()


@given(
    st.one_of(st.none(), st.integers(100, 599)), st.integers(0, 10), st.integers(1, 10_000), st.integers(0, 100 * HOUR),
    st.floats(0, 1),
)  # fmt: skip
def test_a_refusal_holds_up_drops_or_ends(
    status: int | None, refusals: int, failures: int, failing_for: int, chance: float
) -> None:
    now = 1 << 41
    subscription = Subscription(
        subscription_id="s", account_id="1", region="r", topic="t", protocol="https", endpoint="https://e", server="",
        raw=0, filter_policy="", filter_scope="", delivery_policy="", created_at=0, asked_at=0,
        failing_since=now - failing_for,
    )  # fmt: skip
    delivery = Delivery(number=1, kind=model.NOTIFICATION, message_id="m", at=0, refusals=refusals, message=None)
    came = setback(subscription, delivery, failures, now, chance, "why", status)
    assert came.error.startswith("why")
    if status == 410:
        assert came.state == model.DISABLED
        return
    bad = status is not None and status // 100 == 4 and status not in (408, 425, 429)
    assert came.bad is bad
    assert came.drops is (bad and refusals >= 3)
    if not came.drops:
        assert now + 500 <= came.next_at <= now + HOUR
        assert (came.state == model.FAILING) is (failing_for >= 24 * HOUR)
