"""20,000 random policies and requests: the product and the slow evaluator say the same."""

import json
from random import Random
from typing import Any, Literal

import pytest

from pilothouse.identity.permissions import Permissions, Source, decide
from pilothouse.identity.permissions import said as of_resource
from pilothouse.identity.policy import Ask, parse
from tests.identity.slow_evaluator import said, together, verdict

ACCOUNT = "111122223333"
ARN = f"arn:aws:iam::{ACCOUNT}:user/ann"
VERSIONS = ["2012-10-17", "2012-10-17", "2012-10-17", "2008-10-17"]
OTHER = "444455556666"
ASKING: list[tuple[Literal["user", "session"], str, str, str]] = [
    ("user", ACCOUNT, ARN, ""),
    ("user", OTHER, f"arn:aws:iam::{OTHER}:user/ann", ""),
    ("session", ACCOUNT, f"arn:aws:sts::{ACCOUNT}:assumed-role/r/work", f"arn:aws:iam::{ACCOUNT}:role/team/r"),
    ("session", OTHER, f"arn:aws:sts::{OTHER}:assumed-role/r/work", f"arn:aws:iam::{OTHER}:role/r"),
]
"""Kind, account, ARN, the role's ARN."""
PRINCIPALS = [ACCOUNT, OTHER, f"arn:aws:iam::{ACCOUNT}:root", f"arn:aws:iam::{OTHER}:root",
              *(arn for _, _, *arns in ASKING for arn in arns if arn)]  # fmt: skip
ACTIONS = ["ssm:GetParameter", "ssm:PutParameter", "kms:Decrypt"]
NAMED = ["*", "ssm:*", "SSM:get*", "ssm:?etParameter", "ssm:PutParameter", "kms:Decrypt"]
P = f"arn:aws:ssm:eu-west-1:{ACCOUNT}:parameter/"
RESOURCES = [f"{P}dev/a", f"{P}prod/a", f"{P}ann/a:b", f"{P}*/a", "*"]
PATTERNS = ["*", f"{P}dev/*", "arn:aws:ssm:*:*:parameter/*", "arn:aws:ssm:*:*:parameter/dev/a", f"{P}*/a", f"{P}?ev/a",
            P + "${aws:username}/*", P + "${aws:PrincipalTag/team, 'dev'}/?", P + "${*}/a"]  # fmt: skip
CONDITIONS = [
    ("String", ["Equals", "NotEquals", "EqualsIgnoreCase", "NotEqualsIgnoreCase", "Like", "NotLike"],
     ["aws:username", "aws:PrincipalTag/team", "aws:TagKeys"], ["ann", "ANN", "a*", "dev", "${aws:username}", "?nn"]),
    ("Numeric", ["Equals", "NotEquals", "LessThan", "LessThanEquals", "GreaterThan", "GreaterThanEquals"],
     ["x:count", "aws:username"], ["1", "2.0", "10"]),
    ("", ["Bool", "Null"], ["aws:SecureTransport", "ssm:Overwrite"], ["true", "false"]),
    ("", ["IpAddress", "NotIpAddress"], ["aws:SourceIp"], ["10.0.0.0/8", "10.1.2.3", "2001:db8::/32"]),
    ("Date", ["Equals", "NotEquals", "LessThan", "LessThanEquals", "GreaterThan", "GreaterThanEquals"],
     ["aws:CurrentTime", "aws:EpochTime"],
     ["2026-01-01T00:00:00Z", "2026-06-01", "1767225600", "2026-06-01T02:00:00+02:00"]),
    ("", ["BinaryEquals"], ["x:blob"], ["aGVsbG8=", "d29ybGQ="]),
    ("Arn", ["Equals", "Like", "NotEquals", "NotLike"], ["aws:SourceArn"], [f"{P}dev/*", "arn:aws:*:*:*:*", "*"]),
]  # fmt: skip


def some(random: Random, values: list[str]) -> Any:
    found = random.sample(values, random.choice([1, 1, 2]))
    return found[0] if len(found) == 1 and random.random() < 0.5 else found


def condition(random: Random) -> dict[str, Any]:
    family, operators, keys, values = random.choice(CONDITIONS)
    operator = family + random.choice(operators)
    if operator != "Null":
        operator = random.choice(["", "", "ForAnyValue:", "ForAllValues:"]) + operator
        operator += random.choice(["", "", "IfExists"])
    return {operator: {random.choice([str.lower, str])(random.choice(keys)): some(random, values)}}


def statement(random: Random) -> dict[str, Any]:
    made: dict[str, Any] = {"Effect": random.choice(["Allow", "Allow", "Allow", "Deny"])}
    made[random.choice(["Action", "Action", "NotAction"])] = some(random, NAMED)
    made[random.choice(["Resource", "Resource", "NotResource"])] = some(random, PATTERNS)
    if random.random() < 0.6:
        made["Condition"] = condition(random)
    return made


def principal(random: Random) -> Any:
    if random.random() < 0.2:
        return random.choice(["*", {"AWS": "*"}])
    return {"AWS": some(random, PRINCIPALS)}


def resource_policy(random: Random) -> dict[str, Any]:
    statements = [statement(random) for _ in range(random.randint(1, 3))]
    for each in statements:
        element = "NotPrincipal" if each["Effect"] == "Deny" and random.random() < 0.3 else "Principal"
        each[element] = principal(random)
    return {"Version": random.choice(VERSIONS), "Statement": statements}


def policies(random: Random) -> list[Any]:
    return [
        {"Version": random.choice(VERSIONS), "Statement": [statement(random) for _ in range(random.randint(1, 3))]}
        for _ in range(random.randint(1, 2))
    ]


def context(random: Random) -> dict[str, Any]:
    choices: dict[str, list[Any]] = {
        "aws:username": ["ann", "Ann", "a*"],
        "aws:PrincipalTag/team": ["dev", "prod"],
        "aws:TagKeys": [("ann",), ("ann", "dev"), ("x", "y")],
        "x:count": ["1", "2", "10", "no"],
        "aws:SecureTransport": ["true", "false"],
        "ssm:Overwrite": ["true", "false"],
        "aws:SourceIp": ["10.1.2.3", "192.0.2.1", "2001:db8::1", "nowhere"],
        "aws:SourceArn": [f"{P}dev/a", f"{P}prod/a"],
        "aws:CurrentTime": ["2026-01-01T00:00:00Z", "2026-06-01T00:00:00+00:00", "2025-12-31T23:59:59Z"],
        "aws:EpochTime": ["1767225600", "1780272000", "86400"],
        "x:blob": ["aGVsbG8=", "d29ybGQ=", "not base64"],
    }
    return {key: random.choice(values) for key, values in choices.items() if random.random() < 0.7}


@pytest.mark.parametrize("seed", range(20))
def test_a_thousand_random_pairs_of_each_seed_agree(seed: int) -> None:
    random = Random(seed)
    for _ in range(1000):
        kinds: dict[str, list[Any] | None] = {
            "inline": policies(random),
            "boundary": policies(random) if random.random() < 0.3 else None,
            "session": policies(random) if random.random() < 0.3 else None,
        }
        sources = [
            Source(kind=kind, name=str(at), document=json.dumps(each))  # type: ignore[arg-type]
            for kind, documents in kinds.items()
            for at, each in enumerate(documents or [])
        ]
        given, action, resource = context(random), random.choice(ACTIONS), random.choice(RESOURCES)
        ask = Ask(principal_arn=ARN, principal_account=ACCOUNT, principal_kind="user",
                  action=action, resource=resource, context=given)  # fmt: skip
        request = {"action": action, "resource": resource, "keys": {k.lower(): v for k, v in given.items()}}
        expected = verdict(kinds["inline"] or [], request, boundary=kinds["boundary"], session=kinds["session"])
        assert Permissions.of(sources).verdict(ask).value == expected, (kinds, request)


@pytest.mark.parametrize("seed", range(10))
def test_a_thousand_random_policies_of_resources_of_each_seed_agree(seed: int) -> None:
    random = Random(-1 - seed)
    for _ in range(1000):
        document, given = resource_policy(random), context(random)
        action, resource = random.choice(ACTIONS), random.choice(RESOURCES)
        kind, account, arn, role = random.choice(ASKING)
        ask = Ask(principal_arn=arn, principal_account=account, principal_kind=kind, role_arn=role,
                  action=action, resource=resource, context=given)  # fmt: skip
        request = {"action": action, "resource": resource, "arn": arn, "account": account, "role": role,
                   "keys": {k.lower(): v for k, v in given.items()}}  # fmt: skip
        found = parse(json.dumps(document), kind="resource").verdict(ask).value
        assert found == said([document], request), (document, request)


@pytest.mark.parametrize("seed", range(5))
def test_a_thousand_random_policies_of_both_sides_of_each_seed_agree(seed: int) -> None:
    random = Random(1000 + seed)
    seen = set()
    for _ in range(1000):
        kinds: dict[str, list[Any] | None] = {
            "inline": policies(random),
            "boundary": policies(random) if random.random() < 0.3 else None,
            "session": policies(random) if random.random() < 0.3 else None,
        }
        sources = [
            Source(kind=kind, name=str(at), document=json.dumps(each))  # type: ignore[arg-type]
            for kind, documents in kinds.items()
            for at, each in enumerate(documents or [])
        ]
        on_resource = [resource_policy(random) for _ in range(random.randint(1, 2))]
        given, action, resource = context(random), random.choice(ACTIONS), random.choice(RESOURCES)
        kind, account, arn, role = random.choice([each for each in ASKING if each[0] != "service"])
        ask = Ask(principal_arn=arn, principal_account=account, principal_kind=kind, role_arn=role,
                  action=action, resource=resource, context=given)  # fmt: skip
        request = {"action": action, "resource": resource, "arn": arn, "account": account, "role": role,
                   "keys": {k.lower(): v for k, v in given.items()}}  # fmt: skip
        expected = together(
            kinds["inline"] or [], on_resource, request, boundary=kinds["boundary"], session=kinds["session"]
        )
        compiled = [parse(json.dumps(each), kind="resource") for each in on_resource]
        found = decide(Permissions.of(sources), ask, of_resource(compiled, ask)).verdict.value
        assert found == expected, (kinds, on_resource, request)
        seen.add(found)
    assert seen == {"allow", "deny", "neutral"}


def test_the_random_pairs_come_to_every_verdict() -> None:
    random = Random(7)
    counts = {"allow": 0, "deny": 0, "neutral": 0}
    for _ in range(1000):
        keys = {key.lower(): value for key, value in context(random).items()}
        request = {"action": random.choice(ACTIONS), "resource": random.choice(RESOURCES), "keys": keys}
        counts[verdict(policies(random), request)] += 1
    assert min(counts.values()) >= 100, counts
