"""Families of policy cases. What is expected follows from one rule for each family, which stands beside it.

The rules are those of AWS's user guide on condition operators, operators for multivalued keys, and evaluation logic.
"""

from itertools import product
from typing import Any

import pytest

from pilothouse.identity.permissions import Permissions, Source
from pilothouse.identity.policy import Ask, Verdict
from tests.identity.test_policy import allow, deny, document, of

KEY = "ssm:example"
PAIRS: dict[str, tuple[str, str, str]] = {
    # operator: what the policy says, a value that fits it, one that does not
    "StringEquals": ("blue", "blue", "Blue"),
    "StringEqualsIgnoreCase": ("blue", "BLUE", "green"),
    "StringLike": ("bl*e?", "blue!", "blue"),
    "NumericEquals": ("10", "10.0", "11"),
    "NumericLessThan": ("10", "9.5", "10"),
    "NumericLessThanEquals": ("10", "10", "10.5"),
    "NumericGreaterThan": ("10", "11", "10"),
    "NumericGreaterThanEquals": ("10", "10", "9"),
    "DateEquals": ("2026-11-24T12:00:00Z", "1795521600", "2026-11-24T12:00:01Z"),
    "DateLessThan": ("2026-11-24T12:00:00Z", "2026-11-24T11:59:59Z", "2026-11-24T12:00:00Z"),
    "DateLessThanEquals": ("2026-11-24T12:00:00Z", "2026-11-24T12:00:00Z", "2026-11-24T12:00:01Z"),
    "DateGreaterThan": ("2026-11-24T12:00:00Z", "2026-11-24T12:00:01Z", "2026-11-24T12:00:00Z"),
    "DateGreaterThanEquals": ("2026-11-24T12:00:00Z", "2026-11-24T12:00:00Z", "2026-11-24T11:59:59Z"),
    "Bool": ("true", "true", "false"),
    "BinaryEquals": ("QmluYXJ5", "QmluYXJ5", "b3RoZXI="),
    "IpAddress": ("203.0.113.0/24", "203.0.113.77", "203.0.114.1"),
    "ArnEquals": ("arn:aws:ssm:*:*:document/a*", "arn:aws:ssm:eu:123456789012:document/ab", "arn:aws:ssm:eu:1:x"),
    "ArnLike": ("arn:aws:iam::*:user/?da", "arn:aws:iam::123456789012:user/ada", "arn:aws:iam::123456789012:user/da"),
}  # fmt: skip
NEGATED: dict[str, str] = {
    "StringNotEquals": "StringEquals",
    "StringNotEqualsIgnoreCase": "StringEqualsIgnoreCase",
    "StringNotLike": "StringLike",
    "NumericNotEquals": "NumericEquals",
    "DateNotEquals": "DateEquals",
    "NotIpAddress": "IpAddress",
    "ArnNotEquals": "ArnEquals",
    "ArnNotLike": "ArnLike",
}
OPERATORS = [*PAIRS, *NEGATED]


def asked(value: Any = None) -> Ask:
    return Ask(
        principal_arn="arn:aws:iam::123456789012:user/ada", principal_account="123456789012", principal_kind="user",
        action="ssm:GetParameter", resource="arn:aws:ssm:eu-west-1:123456789012:parameter/a",
        context={} if value is None else {KEY: value},
    )  # fmt: skip


def holds(operator: str, wanted: Any, value: Any) -> bool:
    """Whether a statement with the condition applies: allows as an allow, and denies as a deny."""
    condition = {operator: {KEY: wanted}}
    allowed = of(allow(Condition=condition), asked=asked(value)) is Verdict.ALLOW
    denied = of(allow(), deny(Condition=condition), asked=asked(value)) is Verdict.DENY
    assert allowed == denied
    return allowed


@pytest.mark.parametrize("suffix", ["", "IfExists"])
@pytest.mark.parametrize("there", ["fits", "other", "missing"])
@pytest.mark.parametrize("operator", OPERATORS)
def test_a_single_value(operator: str, there: str, suffix: str) -> None:
    """A key that is missing fails, but with a negated operator or IfExists; a negated operator turns the others."""
    wanted, fits, other = PAIRS[NEGATED.get(operator, operator)]
    value = {"fits": fits, "other": other, "missing": None}[there]
    expected = {
        "fits": operator in PAIRS,
        "other": operator in NEGATED,
        "missing": operator in NEGATED or bool(suffix),
    }[there]
    assert holds(operator + suffix, wanted, value) is expected


@pytest.mark.parametrize("operator", OPERATORS)
def test_several_values_in_the_policy(operator: str) -> None:
    """One of them is enough; with a negated operator none may fit."""
    base = NEGATED.get(operator, operator)
    wanted, fits, _ = PAIRS[base]
    never = {"Numeric": "-99", "Date": "1999-01-01", "Ip": "192.0.2.0/32", "Arn": "arn:aws:x:::y", "Bool": "false"}
    beside = next((text for start, text in never.items() if base.startswith(start)), "bmV2ZXI=")
    if "Less" in operator or "Greater" in operator:
        beside = wanted
    assert holds(operator, [beside, wanted], fits) is (operator in PAIRS)
    assert holds(operator, [wanted, beside], fits) is (operator in PAIRS)


MANY = {
    # all fit, some fit, none fits, no key
    "ForAllValues": ((True, False, False, True), (False, False, True, True)),
    "ForAnyValue": ((True, True, False, False), (False, True, True, False)),
}


@pytest.mark.parametrize("there", range(4))
@pytest.mark.parametrize("quantifier", MANY)
@pytest.mark.parametrize("operator", OPERATORS)
def test_a_key_with_several_values(operator: str, quantifier: str, there: int) -> None:
    """ForAllValues wants it of each value, and of none; ForAnyValue of one, so never where there is none."""
    wanted, fits, other = PAIRS[NEGATED.get(operator, operator)]
    value: Any = ((fits, fits), (fits, other), (other, other), None)[there]
    assert holds(f"{quantifier}:{operator}", wanted, value) is MANY[quantifier][operator in NEGATED][there]


@pytest.mark.parametrize(("wanted", "value"), list(product(("true", "false"), (None, "x", ("x", "y")))))
def test_null(wanted: str, value: Any) -> None:
    """`true` wants the key to be missing, `false` wants it there."""
    assert holds("Null", wanted, value) is ((wanted == "true") is (value is None))


SAYS = {
    "allow": [allow()],
    "nothing": [allow(Action="kms:Decrypt")],
    "deny": [allow(), deny()],
    "deny elsewhere": [allow(), deny(Resource="arn:aws:ssm:eu-west-1:123456789012:parameter/b")],
}


@pytest.mark.parametrize("session", [None, *SAYS])
@pytest.mark.parametrize("boundary", [None, *SAYS])
@pytest.mark.parametrize("identity", SAYS)
def test_what_narrows(identity: str, boundary: str | None, session: str | None) -> None:
    """A deny anywhere denies; else each that is there must allow, and the first must be there."""
    sources = [Source(kind="inline", name="i", document=document(*SAYS[identity]))]
    if boundary is not None:
        sources.append(Source(kind="boundary", name="b", document=document(*SAYS[boundary])))
    if session is not None:
        sources.append(Source(kind="session", name="s", document=document(*SAYS[session])))
    said = [each for each in (identity, boundary, session) if each is not None]
    expected = Verdict.ALLOW
    if "nothing" in said:
        expected = Verdict.NEUTRAL
    if "deny" in said:
        expected = Verdict.DENY
    assert Permissions.of(sources).verdict(asked()) is expected


@pytest.mark.parametrize(
    ("text", "context", "fits"),
    [
        ("parameter/${aws:username}", {"aws:username": "a"}, True),
        ("parameter/${aws:username}", {"aws:username": "b"}, False),
        ("parameter/${aws:username}", {}, False),
        ("parameter/${aws:username, 'a'}", {}, True),
        ("parameter/${aws:username, 'a'}", {"aws:username": "b"}, False),
        ("parameter/${AWS:UserName}", {"aws:username": "a"}, True),
        ("parameter/${aws:username}", {"aws:username": "*"}, False),
        ("parameter/${aws:username}", {"aws:username": "?"}, False),
        ("parameter/${*}", {}, False),
        ("parameter/${?}", {}, False),
        ("${aws:PrincipalTag/kind}/a", {"aws:PrincipalTag/kind": "parameter"}, True),
        ("${aws:PrincipalTag/kind}/a", {"aws:PrincipalTag/other": "parameter"}, False),
        ("parameter/${aws:TagKeys}", {"aws:TagKeys": ("a", "b")}, False),
    ],
)
def test_variables(text: str, context: dict[str, Any], fits: bool) -> None:
    """A variable without a value fits nothing unless it has a default; what a value holds is no wildcard."""
    whole = f"arn:aws:ssm:eu-west-1:123456789012:{text}"
    base = asked()
    found = of(
        allow(Resource=whole),
        asked=Ask(
            principal_arn=base.principal_arn, principal_account=base.principal_account, principal_kind="user",
            action=base.action, resource=base.resource, context=context,
        ),
    )  # fmt: skip
    assert (found is Verdict.ALLOW) is fits
