"""Parameter policies: what is accepted and what is refused with which error."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from pilothouse.capabilities.parameters.model import (
    IncompatiblePolicyException,
    InvalidPolicyAttributeException,
    InvalidPolicyTypeException,
    PoliciesLimitExceededException,
)
from pilothouse.capabilities.parameters.policies import from_text, parse_policies, to_text
from pilothouse.errors import ApiError

NOW = datetime(2026, 12, 1, tzinfo=UTC)


def policy(kind: str, **attributes: Any) -> dict[str, Any]:
    return {"Type": kind, "Version": "1.0", "Attributes": attributes}


def expiration(at: str = "2026-12-02T21:34:33.000Z") -> dict[str, Any]:
    return policy("Expiration", Timestamp=at)


NO_CHANGE = policy("NoChangeNotification", After="20", Unit="Days")
NOTICE = policy("ExpirationNotification", Before="15", Unit="Hours")


@pytest.mark.parametrize(
    "at",
    ["2026-12-02T21:34:33.000Z", "2026-12-02T21:34:33Z", "2026-12-02T21:34:33.000+10:30:00", "2026-12-02T00:00-05:00"],
)
def test_instants_with_an_offset_expire_a_parameter(at: str) -> None:
    (parsed,) = parse_policies(json.dumps([expiration(at)]), NOW)
    assert (parsed.kind, parsed.status) == ("Expiration", "Pending")
    assert json.loads(parsed.text) == expiration(at)


def test_several_policies_survive_storage() -> None:
    parsed = parse_policies(json.dumps([expiration(), NOTICE, NOTICE, NO_CHANGE]), NOW)
    assert [each.kind for each in parsed] == [
        "Expiration", "ExpirationNotification", "ExpirationNotification", "NoChangeNotification",
    ]  # fmt: skip
    assert from_text(to_text(parsed)) == parsed
    assert from_text(to_text(())) == ()


@pytest.mark.parametrize("text", ["[]", "[{}]", " [ { } ] "])
def test_empty_lists_clear(text: str) -> None:
    assert parse_policies(text, NOW) == ()


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        ("{", InvalidPolicyAttributeException),
        ("{}", InvalidPolicyAttributeException),
        ("[1]", InvalidPolicyAttributeException),
        ("[" * 2000 + "]" * 2000, InvalidPolicyAttributeException),
        ([policy("Explosion", When="now")], InvalidPolicyTypeException),
        ([{"Version": "1.0", "Attributes": {}}], InvalidPolicyTypeException),
        ([{**NO_CHANGE, "Version": "2.0"}], InvalidPolicyAttributeException),
        ([{"Type": "Expiration", "Version": "1.0"}], InvalidPolicyAttributeException),
        ([policy("Expiration", Timestamp=7)], InvalidPolicyAttributeException),
        ([policy("Expiration", When="2026-12-02T21:34:33Z")], InvalidPolicyAttributeException),
        ([policy("NoChangeNotification", After="0", Unit="Days")], InvalidPolicyAttributeException),
        ([policy("NoChangeNotification", After="1.5", Unit="Days")], InvalidPolicyAttributeException),
        ([policy("NoChangeNotification", After="1", Unit="Weeks")], InvalidPolicyAttributeException),
        ([policy("NoChangeNotification", After="1", Unit="Days", More="x")], InvalidPolicyAttributeException),
        ([expiration("2026-11-30T00:00:00Z")], InvalidPolicyAttributeException),
        ([expiration("2026-12-02T00:00:00")], InvalidPolicyAttributeException),
        ([expiration("tomorrow")], InvalidPolicyAttributeException),
        ([expiration(), expiration()], IncompatiblePolicyException),
        ([NOTICE], IncompatiblePolicyException),
        ([NO_CHANGE] * 11, PoliciesLimitExceededException),
    ],
)
def test_refused_policies(asked: Any, error: type[ApiError]) -> None:
    with pytest.raises(error):
        parse_policies(asked if isinstance(asked, str) else json.dumps(asked), NOW)
