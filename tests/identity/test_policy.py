"""The policy language: a table of hand-made cases, refusals, and agreement with a naive evaluator written here."""

import base64
import fnmatch
import ipaddress
import json
import re
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilothouse.identity.policy import Ask, MalformedPolicy, Verdict, parse, size

ALICE = "arn:aws:iam::111122223333:user/alice"
SESSION = "arn:aws:sts::111122223333:assumed-role/ops/anna"
ROLE = "arn:aws:iam::111122223333:role/team/ops"
PARAMETER = "arn:aws:ssm:eu-west-1:111122223333:parameter/dev/db/password"
A, D, N = Verdict.ALLOW, Verdict.DENY, Verdict.NEUTRAL


def ask(**more: Any) -> Ask:
    known = {
        "principal_arn": ALICE,
        "principal_account": "111122223333",
        "principal_kind": "user",
        "action": "ssm:GetParameter",
        "resource": PARAMETER,
    }
    return Ask(**{**known, **more})


def document(*statements: dict[str, Any], version: str = "2012-10-17") -> str:
    return json.dumps({"Version": version, "Statement": list(statements)})


def allow(**more: Any) -> dict[str, Any]:
    found = {"Effect": "Allow", "Action": "ssm:GetParameter", "Resource": "*", **more}
    return {name: value for name, value in found.items() if value is not None}


def deny(**more: Any) -> dict[str, Any]:
    return {**allow(**more), "Effect": "Deny"}


def of(*statements: dict[str, Any], asked: Ask | None = None, version: str = "2012-10-17") -> Verdict:
    return parse(document(*statements, version=version), kind="identity").verdict(asked or ask())


ACTIONS = [
    ("ssm:GetParameter", A),
    ("SSM:getparameter", A),
    ("ssm:Get*", A),
    ("ssm:*", A),
    ("*", A),
    ("*:*", A),
    ("ssm:GetParameter?", N),
    ("ssm:Get?arameter", A),
    ("ssm:*Parameter", A),
    ("ssm:G*P*r", A),
    ("ssm:*Parameters", N),
    ("ssm:GetParameters", N),
    ("ssm:Get", N),
    ("kms:GetParameter", N),
    (["kms:Decrypt", "ssm:GetParameter"], A),
    (["kms:Decrypt", "ssm:PutParameter"], N),
]


@pytest.mark.parametrize(("action", "verdict"), ACTIONS, ids=str)
def test_actions(action, verdict):
    assert of(allow(Action=action)) is verdict
    opposite = allow(Action=None, NotAction=action)
    assert of(opposite) is (N if verdict is A else A)


RESOURCES = [
    ("*", A),
    (PARAMETER, A),
    ("arn:aws:ssm:eu-west-1:111122223333:parameter/dev/*", A),
    ("arn:aws:ssm:eu-west-1:111122223333:parameter/*", A),
    ("arn:aws:ssm:*:*:parameter/dev/*", A),
    ("arn:aws:ssm:*:*:*", A),
    ("arn:*:ssm:*:*:*", A),
    ("arn:aws:ssm:eu-*-1:11112222????:parameter/*/password", A),
    ("arn:aws:ssm:eu-west-1:111122223333:parameter/d?v/db/*", A),
    ("arn:aws:ssm:eu-west-1:111122223333:*password", A),
    ("arn:aws:ssm:eu-west-1:111122223333:*d?/*w?rd", A),
    ("arn:aws:ssm:eu-west-1:111122223333:*d?/*w?rd*", A),
    ("arn:aws:ssm:eu-west-1:111122223333:*v/d?*/p?ss*", A),
    ("arn:aws:ssm:eu-west-1:111122223333:parameter/DEV/*", N),
    ("arn:aws:ssm:eu-west-1:111122223333:parameter/dev", N),
    ("arn:aws:ssm:eu-west-1:111122223333:parameter/dev/*/*/*", N),
    ("arn:aws:ssm:eu-west-1:999999999999:parameter/dev/*", N),
    ("arn:aws:ssm:us-*:111122223333:parameter/dev/*", N),
    ("arn:aws:ssm:eu-west-1:111122223333:*d?/*w?r", N),
    ("arn:aws:kms:*:*:*", N),
    ("arn:aws:ssm:*:*:parameter/${aws:PrincipalTag/stage}/*", A),
    ("arn:aws:ssm:*:*:parameter/${aws:PrincipalTag/none}/*", N),
    ("arn:aws:ssm:*:*:parameter/${aws:PrincipalTag/none, 'dev'}/*", A),
    ("arn:aws:ssm:*:*:parameter/${aws:PrincipalTag/star}/*", N),
    ("arn:aws:ssm:*:*:parameter/dev${*}", N),
    (["arn:aws:kms:*:*:*", PARAMETER], A),
]
TAGS = {"aws:PrincipalTag/stage": "dev", "aws:PrincipalTag/star": "*"}


@pytest.mark.parametrize(("resource", "verdict"), RESOURCES, ids=str)
def test_resources(resource, verdict):
    asked = ask(context=TAGS)
    assert of(allow(Resource=resource), asked=asked) is verdict
    assert of(allow(Resource=None, NotResource=resource), asked=asked) is (N if verdict is A else A)


def test_an_action_without_resource_needs_a_star():
    asked = ask(resource="*", action="ssm:DescribeParameters")
    assert of(allow(Action="ssm:*", Resource="*"), asked=asked) is A
    assert of(allow(Action="ssm:*", Resource="arn:aws:ssm:*:*:*"), asked=asked) is N


def test_a_literal_wildcard_in_a_resource():
    starred = ask(resource="arn:aws:ssm:eu-west-1:111122223333:parameter/a*?$")
    assert of(allow(Resource="arn:aws:ssm:*:*:parameter/a${*}${?}${$}"), asked=starred) is A
    assert of(allow(Resource="arn:aws:ssm:*:*:parameter/a${*}${?}${$}")) is N


def test_an_older_version_knows_no_variables():
    statement = allow(Resource="arn:aws:ssm:*:*:parameter/${aws:username}")
    named = ask(resource="arn:aws:ssm:eu-west-1:1:parameter/alice", context={"aws:username": "alice"})
    literal = ask(resource="arn:aws:ssm:eu-west-1:1:parameter/${aws:username}", context={"aws:username": "alice"})
    assert (of(statement, asked=named), of(statement, asked=literal)) == (A, N)
    assert of(statement, asked=named, version="2008-10-17") is N
    assert of(statement, asked=literal, version="2008-10-17") is A


CONTEXT = {
    "aws:username": "alice",
    "aws:PrincipalTag/Team": "blue",
    "aws:ResourceTag/Team": "blue",
    "aws:ResourceTag/Owner": "*",
    "aws:SourceIp": "203.0.113.7",
    "aws:CurrentTime": "2026-06-01T12:00:00Z",
    "aws:EpochTime": "1780315200",
    "aws:SecureTransport": "true",
    "aws:SourceArn": "arn:aws:s3:::bucket/key:with:colons",
    "aws:TagKeys": ("env", "team"),
    "aws:CalledVia": (),
    "ssm:Recursive": "false",
    "x:number": "10",
    "x:word": "ten",
    "x:bytes": "aGVsbG8=",
    "x:six": "2001:db8::1",
}
CONDITIONS: list[tuple[str, str, Any, bool]] = [
    ("StringEquals", "aws:username", "alice", True),
    ("StringEquals", "AWS:UserName", "alice", True),
    ("StringEquals", "aws:username", "Alice", False),
    ("StringEquals", "aws:username", ["bob", "alice"], True),
    ("StringEquals", "aws:username", "a*", False),
    ("StringEquals", "aws:username", [], False),
    ("StringEquals", "aws:none", "alice", False),
    ("StringEquals", "aws:ResourceTag/Team", "${aws:PrincipalTag/team}", True),
    ("StringEquals", "aws:ResourceTag/Team", "${aws:PrincipalTag/none}", False),
    ("StringEquals", "aws:ResourceTag/Team", "${aws:PrincipalTag/none, 'blue'}", True),
    ("StringEquals", "aws:ResourceTag/Team", "${aws:PrincipalTag/none,'red'}", False),
    ("StringEquals", "aws:ResourceTag/Team", "${aws:TagKeys}", False),
    ("StringEquals", "aws:ResourceTag/Owner", "${*}", True),
    ("StringEquals", "aws:ResourceTag/Owner", "*", True),
    ("StringNotEquals", "aws:username", "bob", True),
    ("StringNotEquals", "aws:username", ["bob", "alice"], False),
    ("StringNotEquals", "aws:none", "bob", True),
    ("StringNotEquals", "aws:ResourceTag/Team", "${aws:PrincipalTag/none}", True),
    ("StringEqualsIgnoreCase", "aws:username", "ALICE", True),
    ("StringEqualsIgnoreCase", "aws:username", "AL", False),
    ("StringNotEqualsIgnoreCase", "aws:username", "ALICE", False),
    ("StringNotEqualsIgnoreCase", "aws:none", "ALICE", True),
    ("StringLike", "aws:username", "a*", True),
    ("StringLike", "aws:username", "?lic?", True),
    ("StringLike", "aws:username", "A*", False),
    ("StringLike", "aws:username", "${*}lice", False),
    ("StringLike", "aws:username", "${aws:username}*", True),
    ("StringLike", "aws:username", "${aws:ResourceTag/Owner}", False),
    ("StringLike", "aws:none", "*", False),
    ("StringNotLike", "aws:username", "b*", True),
    ("StringNotLike", "aws:username", "a*", False),
    ("StringNotLike", "aws:none", "*", True),
    ("NumericEquals", "x:number", "10", True),
    ("NumericEquals", "x:number", 10, True),
    ("NumericEquals", "x:number", "10.0", True),
    ("NumericEquals", "x:word", "10", False),
    ("NumericNotEquals", "x:number", "11", True),
    ("NumericNotEquals", "x:word", "11", True),
    ("NumericLessThan", "x:number", "10", False),
    ("NumericLessThan", "x:number", "10.5", True),
    ("NumericLessThanEquals", "x:number", "10", True),
    ("NumericGreaterThan", "x:number", "9", True),
    ("NumericGreaterThan", "x:number", "10", False),
    ("NumericGreaterThanEquals", "x:number", ["100", "10"], True),
    ("NumericLessThan", "x:none", "10", False),
    ("DateGreaterThan", "aws:CurrentTime", "2026-06-01T11:59:59Z", True),
    ("DateGreaterThan", "aws:CurrentTime", "2026-06-01T12:00:00Z", False),
    ("DateGreaterThanEquals", "aws:CurrentTime", "2026-06-01T14:00:00+02:00", True),
    ("DateEquals", "aws:CurrentTime", "2026-06-01T12:00:00.000Z", True),
    ("DateEquals", "aws:CurrentTime", "1780315200", True),
    ("DateEquals", "aws:EpochTime", "2026-06-01T12:00:00Z", True),
    ("DateNotEquals", "aws:CurrentTime", "2026-06-01", True),
    ("DateLessThan", "aws:CurrentTime", "2026-07", True),
    ("DateLessThan", "aws:CurrentTime", "2026", False),
    ("DateLessThanEquals", "aws:EpochTime", 1780315200, True),
    ("DateLessThan", "x:word", "2030-01-01", False),
    ("Bool", "aws:SecureTransport", "true", True),
    ("Bool", "aws:SecureTransport", True, True),
    ("Bool", "aws:SecureTransport", "FALSE", False),
    ("Bool", "ssm:Recursive", "false", True),
    ("Bool", "aws:MultiFactorAuthPresent", "true", False),
    ("BoolIfExists", "aws:MultiFactorAuthPresent", "true", True),
    ("BinaryEquals", "x:bytes", "aGVsbG8=", True),
    ("BinaryEquals", "x:bytes", "aGVsbG9v", False),
    ("BinaryEquals", "x:word", "aGVsbG8=", False),
    ("IpAddress", "aws:SourceIp", "203.0.113.0/24", True),
    ("IpAddress", "aws:SourceIp", "203.0.113.7", True),
    ("IpAddress", "aws:SourceIp", ["10.0.0.0/8", "203.0.0.0/16"], True),
    ("IpAddress", "aws:SourceIp", "10.0.0.0/8", False),
    ("IpAddress", "aws:SourceIp", "::/0", False),
    ("IpAddress", "x:six", "2001:db8::/32", True),
    ("IpAddress", "x:word", "0.0.0.0/0", False),
    ("NotIpAddress", "aws:SourceIp", "203.0.113.0/24", False),
    ("NotIpAddress", "aws:SourceIp", "10.0.0.0/8", True),
    ("NotIpAddress", "aws:none", "10.0.0.0/8", True),
    ("ArnEquals", "aws:SourceArn", "arn:aws:s3:::bucket/*", True),
    ("ArnLike", "aws:SourceArn", "arn:aws:*:*:*:bucket/key*", True),
    ("ArnLike", "aws:SourceArn", "arn:*:bucket*", False),
    ("ArnLike", "aws:SourceArn", "arn:aws:s3:::*:colons", True),
    ("ArnLike", "aws:SourceArn", "*", True),
    ("ArnLike", "aws:username", "arn:aws:iam::*:user/alice", False),
    ("ArnNotEquals", "aws:SourceArn", "arn:aws:s3:::bucket/*", False),
    ("ArnNotLike", "aws:SourceArn", "arn:aws:s3:::other/*", True),
    ("ArnNotLike", "aws:none", "arn:aws:s3:::other/*", True),
    ("ArnEquals", "aws:PrincipalArn", ALICE, True),
    ("StringEquals", "aws:PrincipalAccount", "111122223333", True),
    ("StringEquals", "aws:PrincipalType", "User", True),
    ("Null", "aws:none", "true", True),
    ("Null", "aws:none", "false", False),
    ("Null", "aws:username", "false", True),
    ("Null", "aws:username", True, False),
    ("Null", "aws:CalledVia", "true", True),
    ("StringEqualsIfExists", "aws:none", "x", True),
    ("StringEqualsIfExists", "aws:username", "x", False),
    ("StringNotEqualsIfExists", "aws:none", "x", True),
    ("NumericLessThanIfExists", "x:number", "5", False),
    ("ArnLikeIfExists", "aws:none", "arn:aws:s3:::x", True),
    ("ForAllValues:StringEquals", "aws:TagKeys", ["env", "team", "cost"], True),
    ("ForAllValues:StringEquals", "aws:TagKeys", ["env"], False),
    ("ForAllValues:StringEquals", "aws:none", ["env"], True),
    ("ForAllValues:StringEquals", "aws:CalledVia", ["env"], True),
    ("ForAllValues:StringLike", "aws:TagKeys", ["e*", "t*"], True),
    ("ForAllValues:StringNotEquals", "aws:TagKeys", ["cost"], True),
    ("ForAllValues:StringNotEquals", "aws:TagKeys", ["env"], False),
    ("ForAnyValue:StringEquals", "aws:TagKeys", ["env"], True),
    ("ForAnyValue:StringEquals", "aws:TagKeys", ["cost"], False),
    ("ForAnyValue:StringEquals", "aws:none", ["cost"], False),
    ("ForAnyValue:StringEquals", "aws:CalledVia", ["cost"], False),
    ("ForAnyValue:StringNotEquals", "aws:TagKeys", ["env"], True),
    ("ForAnyValue:StringNotEquals", "aws:TagKeys", ["env", "team"], False),
    ("ForAnyValue:StringNotEquals", "aws:none", ["env"], False),
    ("ForAnyValue:StringEqualsIfExists", "aws:none", ["env"], True),
    ("ForAnyValue:StringEquals", "aws:username", ["alice"], True),
    ("StringEquals", "aws:TagKeys", "team", True),
    ("StringNotEquals", "aws:TagKeys", "team", False),
    ("stringequals", "aws:username", "alice", True),
]


@pytest.mark.parametrize(("operator", "key", "values", "holds"), CONDITIONS, ids=str)
def test_conditions(operator, key, values, holds):
    asked = ask(context=CONTEXT)
    assert of(allow(Condition={operator: {key: values}}), asked=asked) is (A if holds else N)
    assert of(allow(), deny(Condition={operator: {key: values}}), asked=asked) is (D if holds else A)


def test_every_condition_of_a_statement_must_hold():
    both = {"StringEquals": {"aws:username": "alice", "aws:ResourceTag/Team": "blue"}, "Null": {"aws:none": "true"}}
    assert of(allow(Condition=both), asked=ask(context=CONTEXT)) is A
    both["Null"] = {"aws:none": "false"}
    assert of(allow(Condition=both), asked=ask(context=CONTEXT)) is N


def test_an_explicit_deny_wins_wherever_it_stands():
    assert of(deny(), allow()) is D
    assert of(allow(), deny()) is D
    assert of(allow(), deny(Action="ssm:PutParameter")) is A
    assert of(allow(Action="ssm:PutParameter")) is N


def shared(principal: Any, **who: Any) -> Verdict:
    statement = allow(Principal=principal)
    return parse(document(statement), kind="resource").verdict(ask(**who))


OTHER = {"principal_arn": "arn:aws:iam::999999999999:root", "principal_account": "999999999999"}
IN_SESSION = {"principal_kind": "session", "principal_arn": SESSION}
NOBODY = {"principal_kind": "anonymous", "principal_arn": "", "principal_account": ""}
SERVICE = {"principal_kind": "service", "principal_arn": "ssm.amazonaws.com", "principal_account": ""}
PRINCIPALS: list[tuple[Any, dict[str, Any], bool]] = [
    ("*", {}, True),
    ("*", NOBODY, True),
    ({"AWS": "*"}, {}, True),
    ({"AWS": "111122223333"}, {}, True),
    ({"AWS": "arn:aws:iam::111122223333:root"}, {}, True),
    ({"AWS": "arn:aws:iam::111122223333:root"}, IN_SESSION, True),
    ({"AWS": "111122223333"}, OTHER, False),
    ({"AWS": ["999999999999", "111122223333"]}, OTHER, True),
    ({"AWS": ALICE}, {}, True),
    ({"AWS": "arn:aws:iam::111122223333:user/bob"}, {}, False),
    ({"AWS": SESSION}, IN_SESSION, True),
    ({"AWS": SESSION.replace("anna", "bert")}, IN_SESSION, False),
    ({"AWS": ROLE}, IN_SESSION, True),
    ({"AWS": ROLE}, {**IN_SESSION, "role_arn": ROLE}, True),
    ({"AWS": ROLE}, {**IN_SESSION, "role_arn": ROLE.replace("team", "other")}, False),
    ({"AWS": ROLE.replace("ops", "dev")}, IN_SESSION, False),
    ({"AWS": ROLE.replace("111122223333", "999999999999")}, IN_SESSION, False),
    ({"AWS": "111122223333"}, NOBODY, False),
    ({"Service": "ssm.amazonaws.com"}, SERVICE, True),
    ({"Service": "kms.amazonaws.com"}, SERVICE, False),
    ({"AWS": "111122223333"}, SERVICE, False),
    ({"AWS": "AIDAEXAMPLEEXAMPLE"}, {}, False),
    ({"CanonicalUser": "79a59df900b949e55d96a1e698fbacedfd6e09d98eacf8f8d5218e7cd47ef2be"}, {}, False),
]


@pytest.mark.parametrize(("principal", "who", "included"), PRINCIPALS, ids=str)
def test_principals(principal, who, included):
    assert shared(principal, **who) is (A if included else N)
    other = allow(NotPrincipal=principal)
    assert parse(document(other), kind="resource").verdict(ask(**who)) is (N if included else A)


def test_a_decision_says_which_statement_and_how_somebody_is_meant():
    by_account = allow(Sid="whole account", Principal={"AWS": "111122223333"})
    by_name = allow(Sid="alice", Principal={"AWS": ALICE})
    decision = parse(document(by_account), kind="resource").decide(ask())
    assert (decision.verdict, decision.reach) == (A, "account")
    everybody = allow(Sid="all", Principal="*")
    decision = parse(document(by_account, everybody), kind="resource").decide(ask())
    assert (decision.verdict, decision.reach, decision.statement.sid) == (A, "several", "all")
    decision = parse(document(by_account, everybody, by_name), kind="resource").decide(ask())
    assert (decision.verdict, decision.reach, decision.statement.sid) == (A, "itself", "alice")
    refusing = deny(Sid="never", Principal="*")
    decision = parse(document(by_account, by_name, refusing), kind="resource").decide(ask())
    assert (decision.verdict, decision.statement.number) == (D, 3)
    assert parse(document(deny(Action="kms:*", Principal="*")), kind="resource").decide(ask()).verdict is N


def test_accounts_that_a_policy_lets_in():
    policy = parse(
        document(
            allow(Principal={"AWS": ["111111111111", "arn:aws:iam::222222222222:root"]}),
            allow(Principal={"AWS": "arn:aws:iam::333333333333:role/x"}),
            deny(Principal={"AWS": "444444444444"}),
        ),
        kind="resource",
    )
    assert policy.accounts() == {"111111111111", "222222222222", "333333333333"}
    assert not policy.is_public()
    assert parse(document(allow(Principal="*")), kind="resource").is_public()
    assert parse(document(allow(NotPrincipal={"AWS": "111111111111"})), kind="resource").is_public()
    limited = allow(Principal="*", Condition={"StringEquals": {"aws:PrincipalAccount": "1"}})
    assert not parse(document(limited), kind="resource").is_public()


def test_who_may_take_on_a_role():
    trust = {"Effect": "Allow", "Principal": {"Service": "ssm.amazonaws.com"}, "Action": "sts:AssumeRole"}
    policy = parse(document(trust), kind="trust")
    assert policy.verdict(ask(**SERVICE, action="sts:AssumeRole", resource=ROLE)) is A
    assert policy.verdict(ask(action="sts:AssumeRole", resource=ROLE)) is N


REFUSED: list[tuple[str, Any, str, str]] = [
    ("identity", "no json", "Syntax errors", "JSON"),
    ("identity", "[]", "Syntax errors", "object"),
    ("identity", "", "Syntax errors", "JSON"),
    ("identity", "[" * 40_000, "Syntax errors", "JSON"),
    ("identity", '{"Statement": ' + "[" * 500 + "]" * 500 + "}", "Syntax errors", "deeply"),
    ("identity", " " * 50_000, "Syntax errors", "characters"),
    ("identity", '{"Version": "2012-10-17"}', "Syntax errors", "Statement"),
    ("identity", document(), "Syntax errors", "Statement"),
    ("identity", document(allow(), version="2013-10-17"), "Syntax errors", "Version"),
    ("identity", {"Version": 2012, "Statement": [allow()]}, "Syntax errors", "Version"),
    ("identity", {"Statement": [allow()], "Id": 5}, "Syntax errors", "Id"),
    ("identity", {"Statement": [allow()], "statement": []}, "Syntax errors", "unknown element"),
    ("identity", '{"Statement": [], "Statement": []}', "Syntax errors", "twice"),
    ("identity", '{"Statement": [{"Effect": NaN}]}', "Syntax errors", "JSON"),
    ("identity", '{"Id": "\\ud800", "Statement": []}', "Syntax errors", "JSON"),
    ("identity", {"Statement": ["Allow"]}, "Syntax errors", "Statement 1"),
    ("identity", document(allow(), allow(Actoin="x")), "Syntax errors", "Statement 2: unknown element Actoin"),
    ("identity", document(allow(Effect="allow")), "Syntax errors", "Effect"),
    ("identity", document(allow(Effect=["Allow"])), "Syntax errors", "Effect"),
    ("identity", document(allow(NotAction="x:y")), "Syntax errors", "Action and NotAction"),
    ("identity", document(allow(NotResource="*")), "Syntax errors", "Resource and NotResource"),
    ("identity", document(allow(Action=None)), "contain actions", ""),
    ("identity", document(allow(Action=[])), "contain actions", ""),
    ("identity", document(allow(Action="GetParameter")), "prefaced by a vendor", "GetParameter"),
    ("identity", document(allow(Action="ssm:Get Parameter")), "prefaced by a vendor", ""),
    ("identity", document(allow(Action=5)), "Syntax errors", "Action"),
    ("identity", document(allow(Action=[["ssm:*"]])), "Syntax errors", "Action"),
    ("identity", document(allow(Resource=None)), "contain resources", ""),
    ("identity", document(allow(Resource=[])), "contain resources", ""),
    ("identity", document(allow(Resource="parameter/x")), "ARN format", "Statement 1"),
    ("identity", document(allow(Resource="arn:aws:ssm:eu-west-1:parameter/x")), "ARN format", ""),
    ("identity", document(allow(Resource="arn:aws:ssm:*:parameter/dev/*:")), "ARN format", ""),
    ("identity", document(allow(Resource="arn:nsa:ssm:::x")), 'Partition "nsa" is not valid', ""),
    ("identity", document(allow(Resource="arn:aws:*:::x")), "vendor must be fully qualified", ""),
    ("identity", document(allow(Resource="arn:aws:s3:::${aws:username")), "Syntax errors", "variable"),
    ("identity", document(allow(Resource="arn:aws:s3:::\ufdd0")), "Syntax errors", "character"),
    ("identity", document(allow(Sid="two words")), "alpha-numeric", "two words"),
    ("identity", document(allow(Sid="a"), deny(Sid="a")), "must be unique", "a"),
    ("identity", document(allow(Sid=5)), "Syntax errors", "Sid"),
    ("identity", document(allow(Principal="*")), "should not specify a principal", ""),
    ("identity", document(allow(Condition=[])), "Syntax errors", "Condition"),
    ("identity", document(allow(Condition={"StringEquals": "x"})), "Syntax errors", "StringEquals"),
    ("identity", document(allow(Condition={"StringIs": {"a:b": "x"}})), "Syntax errors", "StringIs"),
    ("identity", document(allow(Condition={"ForSome:StringLike": {"a:b": "x"}})), "Syntax errors", "ForSome"),
    ("identity", document(allow(Condition={"ForAnyValue:Null": {"a:b": "true"}})), "Syntax errors", "Null"),
    ("identity", document(allow(Condition={"NullIfExists": {"a:b": "true"}})), "Syntax errors", "Null"),
    ("identity", document(allow(Condition={"StringEquals": {"username": "x"}})), "prefaced by a vendor", "username"),
    ("identity", document(allow(Condition={"StringEquals": {"a:b": {"x": "y"}}})), "Syntax errors", "value"),
    ("identity", document(allow(Condition={"StringEquals": {"a:b": None}})), "Syntax errors", "value"),
    ("identity", document(allow(Condition={"NumericEquals": {"a:b": "ten"}})), "Syntax errors", "number"),
    ("identity", document(allow(Condition={"NumericEquals": {"a:b": "NaN"}})), "Syntax errors", "number"),
    ("identity", document(allow(Condition={"NumericEquals": {"a:b": "1" * 65}})), "Syntax errors", "number"),
    ("identity", document(allow(Condition={"DateEquals": {"a:b": "2026-13-01"}})), "Syntax errors", "date"),
    ("identity", document(allow(Condition={"DateEquals": {"a:b": "tomorrow"}})), "Syntax errors", "date"),
    ("identity", document(allow(Condition={"Bool": {"a:b": "yes"}})), "Syntax errors", "true nor false"),
    ("identity", document(allow(Condition={"Null": {"a:b": "1"}})), "Syntax errors", "true nor false"),
    ("identity", document(allow(Condition={"BinaryEquals": {"a:b": "%"}})), "Syntax errors", "base64"),
    ("identity", document(allow(Condition={"IpAddress": {"a:b": "1.2.3"}})), "Syntax errors", "IP"),
    ("identity", document(allow(Condition={"IpAddress": {"a:b": "1.2.3.4/33"}})), "Syntax errors", "IP"),
    ("identity", document(allow(Condition={"ArnLike": {"a:b": "bucket"}})), "Syntax errors", "ARN"),
    ("resource", document(allow()), "Missing required field Principal", "statement 1"),
    ("resource", document(allow(Principal="*", NotPrincipal="*")), "Syntax errors", "together"),
    ("resource", document(allow(Principal="111122223333")), "Syntax errors", "Principal"),
    ("resource", document(allow(Principal={})), "Syntax errors", "Principal"),
    ("resource", document(allow(Principal={"Aws": "*"})), "Syntax errors", "kind of principal"),
    ("resource", document(allow(Principal={"AWS": []})), "Syntax errors", "Principal"),
    (
        "resource",
        document(allow(Principal={"AWS": "12345"})),
        'Invalid principal in policy: "AWS":"12345"',
        "statement 1",
    ),
    ("resource", document(allow(Principal={"AWS": "arn:aws:iam::111122223333:user/*"})), "Invalid principal", ""),
    ("resource", document(allow(Principal="*", Resource=None)), "contain resources", ""),
    ("trust", document(allow(Principal="*")), "prohibited field Resource", ""),
    ("trust", document(allow(Resource=None)), "Missing required field Principal", ""),
    ("identity", '{"Statement":\n [}', "Syntax errors in policy.", "line 2, column 3"),
    ("trust", '{"Statement":\n [}', "This policy contains invalid Json", "line 2, column 3"),
]


@pytest.mark.parametrize(("kind", "text", "reason", "detail"), REFUSED, ids=lambda each: str(each)[:60])
def test_refusals_say_why(kind, text, reason, detail):
    with pytest.raises(MalformedPolicy) as refused:
        parse(text if isinstance(text, str) else json.dumps(text), kind=kind)
    assert reason in refused.value.reason
    assert detail in refused.value.detail


def test_a_single_statement_needs_no_list():
    assert parse(json.dumps({"Statement": allow()}), kind="identity").verdict(ask()) is A


def test_size_counts_no_white_space():
    assert size('{ "Version" :\n\t"2012-10-17" }') == len('{"Version":"2012-10-17"}')


def test_a_pattern_made_to_be_slow_is_not():
    """Thousands of stars over thousands of characters: any matcher that tries again would not end."""
    stars = "a*" * 4_000 + "b"
    marks = "?*a?" * 1_000 + "b"
    text = "a" * 8_000
    for pattern in (stars, marks):
        statement = allow(Condition={"StringLike": {"x:y": pattern}})
        assert of(statement, asked=ask(context={"x:y": text})) is N


# The naive evaluator: plain loops over the document itself, wildcards by `fnmatch`'s regular expressions.


def naive(policy: dict[str, Any], asked: Ask) -> Verdict:
    context = {name.lower(): value for name, value in asked.context.items()}
    context.setdefault("aws:principalarn", asked.principal_arn)
    effects = {each["Effect"] for each in policy["Statement"] if naive_applies(each, asked, context)}
    return D if "Deny" in effects else A if "Allow" in effects else N


def naive_applies(statement: dict[str, Any], asked: Ask, context: dict[str, Any]) -> bool:
    action = asked.action.lower()
    if "Action" in statement and not any(glob(each.lower(), action) for each in listed(statement["Action"])):
        return False
    if "NotAction" in statement and any(glob(each.lower(), action) for each in listed(statement["NotAction"])):
        return False
    if "Resource" in statement and not naive_resource(statement["Resource"], asked.resource, context):
        return False
    if "NotResource" in statement and naive_resource(statement["NotResource"], asked.resource, context):
        return False
    if "Principal" in statement and not naive_principal(statement["Principal"], asked):
        return False
    return all(
        naive_condition(operator, context.get(key.lower()), listed(values), context)
        for operator, keys in statement.get("Condition", {}).items()
        for key, values in keys.items()
    )


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def glob(pattern: str, text: str) -> bool:
    translated = "".join(".*" if each == "*" else "." if each == "?" else re.escape(each) for each in pattern)
    return re.fullmatch(translated, text, re.DOTALL) is not None


def filled(pattern: str, context: dict[str, Any], *, wild: bool) -> str | None:
    """A regular expression of the pattern with its variables replaced."""
    made = []
    for piece in re.split(r"(\$\{[^}]*\})", pattern):
        if piece in ("${*}", "${?}", "${$}"):
            made.append(re.escape(piece[2]))
        elif piece.startswith("${"):
            value = context.get(piece[2:-1].lower())
            if not isinstance(value, str):
                return None
            made.append(re.escape(value))
        else:
            made += [
                ".*" if wild and each == "*" else "." if wild and each == "?" else re.escape(each) for each in piece
            ]
    return "".join(made)


def naive_resource(patterns: Any, resource: str, context: dict[str, Any]) -> bool:
    for pattern in listed(patterns):
        if pattern == "*":
            return True
        expression = filled(pattern, context, wild=True)
        if expression is None:
            continue
        wanted, given = expression.split(":", 5), resource.split(":", 5)
        if len(wanted) == len(given) == 6:
            pairs = zip(wanted, given, strict=True)
            if all(re.fullmatch(part, text, re.DOTALL) for part, text in pairs):
                return True
    return False


def naive_principal(principal: Any, asked: Ask) -> bool:
    if principal == "*":
        return True
    for each in listed(principal["AWS"]):
        if each in ("*", asked.principal_account, asked.principal_arn):
            return True
        if each == f"arn:aws:iam::{asked.principal_account}:root":
            return True
    return False


def naive_condition(operator: str, value: Any, wanted: list[str], context: dict[str, Any]) -> bool:
    quantifier, _, name = operator.rpartition(":")
    if name == "Null":
        return any((value in (None, ())) is (each == "true") for each in wanted)
    if name.endswith("IfExists"):
        name = name.removesuffix("IfExists")
        if value in (None, ()):
            return True
    positive = name.replace("Not", "")
    negated = positive != name
    if value in (None, ()):
        return quantifier == "ForAllValues" or (negated and quantifier == "")
    values = [value] if isinstance(value, str) else list(value)
    each_holds = [any(naive_value(positive, given, each, context) for each in wanted) for given in values]
    if quantifier == "ForAllValues":
        return all(held != negated for held in each_holds)
    if quantifier == "ForAnyValue":
        return any(held != negated for held in each_holds)
    return any(each_holds) != negated


def naive_value(operator: str, given: str, wanted: str, context: dict[str, Any]) -> bool:
    try:
        if operator.startswith("String"):
            expression = filled(wanted, context, wild=operator == "StringLike")
            flags = re.DOTALL | (re.IGNORECASE if operator.endswith("IgnoreCase") else 0)
            return expression is not None and re.fullmatch(expression, given, flags) is not None
        if operator.startswith("Arn"):
            return naive_resource(wanted, given, context)
        if operator == "Bool":
            return given.lower() == wanted.lower()
        if operator == "BinaryEquals":
            return base64.b64decode(given, validate=True) == base64.b64decode(wanted)
        if operator == "IpAddress":
            return ipaddress.ip_address(given) in ipaddress.ip_network(wanted, strict=False)
        left: Any
        right: Any
        if operator.startswith("Numeric"):
            left, right = Decimal(given), Decimal(wanted)
        else:
            left, right = datetime.fromisoformat(given), datetime.fromisoformat(wanted)
    except (ValueError, ArithmeticError):
        return False
    how = operator.removeprefix("Numeric").removeprefix("Date")
    return {
        "Equals": left == right,
        "LessThan": left < right,
        "LessThanEquals": left <= right,
        "GreaterThan": left > right,
        "GreaterThanEquals": left >= right,
    }[how]


WORDS = st.text("ab*?:/", max_size=5)
NAMES = st.sampled_from(["ssm:GetParameter", "ssm:PutParameter", "kms:Decrypt", "ssm:getparameters"])
ACTION_PATTERNS = st.sampled_from(
    ["*", "ssm:*", "ssm:Get*", "SSM:?etParameter*", "kms:*", "ssm:*Parameter", "kms:Decrypt", "ssm:PutParameter"]
)
ARNS = st.builds("arn:aws:ssm:{}:{}:{}{}".format, *[st.sampled_from(["a", "b", ""])] * 2, st.just("p/"), WORDS)
VARIABLES = st.sampled_from(["${k:one}", "${k:none}", "${k:many}", "${*}", "${?}", "${$}", "x", "*", "?"])
ARN_PATTERNS = st.builds(
    "arn:aws:ssm:{}:{}:{}{}{}".format,
    st.sampled_from(["a", "*", "?", ""]),
    st.sampled_from(["b", "*", "a", "*?*"]),
    st.sampled_from(["p/", "*", "?/", "?"]),
    WORDS,
    st.one_of(st.just(""), VARIABLES),
)
RESOURCE_PATTERNS = st.one_of(st.just("*"), ARN_PATTERNS)
KEYS = st.sampled_from(["k:one", "K:One", "k:many", "k:none", "k:empty", "k:number", "k:date", "k:ip", "k:arn"])
VALUES = {
    "String": st.one_of(WORDS, st.builds("{}{}{}".format, WORDS, VARIABLES, WORDS)),
    "Like": st.builds("{}{}{}".format, WORDS, VARIABLES, WORDS),
    "Numeric": st.sampled_from(["1", "2", "2.0", "-3", "10"]),
    "Date": st.sampled_from(["2026-01-01T00:00:00Z", "2026-06-01T02:00:00+02:00", "2026-06-01T00:00:00Z"]),
    "Bool": st.sampled_from(["true", "false", "True"]),
    "Binary": st.sampled_from(["YQ==", "YWI="]),
    "Ip": st.sampled_from(["10.0.0.0/8", "10.1.2.3", "2001:db8::/32"]),
    "Arn": ARN_PATTERNS,
    "Null": st.sampled_from(["true", "false"]),
}
OPERATORS = {
    "String": [f"String{each}" for each in ("Equals", "NotEquals", "EqualsIgnoreCase", "NotEqualsIgnoreCase")],
    "Like": ["StringLike", "StringNotLike"],
    "Numeric": [f"Numeric{each}" for each in ("Equals", "NotEquals", "LessThan", "GreaterThanEquals")],
    "Date": [f"Date{each}" for each in ("Equals", "NotEquals", "LessThanEquals", "GreaterThan")],
    "Bool": ["Bool"],
    "Binary": ["BinaryEquals"],
    "Ip": ["IpAddress", "NotIpAddress"],
    "Arn": ["ArnEquals", "ArnLike", "ArnNotEquals", "ArnNotLike"],
    "Null": ["Null"],
}


@st.composite
def conditions(draw: st.DrawFn) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for _ in range(draw(st.integers(0, 2))):
        family = draw(st.sampled_from(sorted(OPERATORS)))
        operator = draw(st.sampled_from(OPERATORS[family]))
        if family != "Null":
            operator = draw(st.sampled_from(["", "", "ForAnyValue:", "ForAllValues:"])) + operator
            operator += draw(st.sampled_from(["", "", "IfExists"]))
        made.setdefault(operator, {})[draw(KEYS)] = draw(st.lists(VALUES[family], max_size=3))
    return made


@st.composite
def statements(draw: st.DrawFn) -> dict[str, Any]:
    made: dict[str, Any] = {"Effect": draw(st.sampled_from(["Allow", "Allow", "Deny"]))}
    made[draw(st.sampled_from(["Action", "Action", "NotAction"]))] = draw(st.lists(ACTION_PATTERNS, min_size=1))
    resource = draw(st.sampled_from(["Resource", "Resource", "NotResource"]))
    made[resource] = draw(st.one_of(RESOURCE_PATTERNS, st.lists(RESOURCE_PATTERNS, min_size=1, max_size=3)))
    whom = st.sampled_from(["*", "111122223333", "arn:aws:iam::999999999999:root", ALICE])
    made["Principal"] = draw(st.one_of(st.just("*"), st.builds(lambda each: {"AWS": each}, st.lists(whom, min_size=1))))
    made["Condition"] = draw(conditions())
    return made


ASKS = st.builds(
    lambda who, action, resource, context: ask(action=action, resource=resource, context=context, **who),
    st.sampled_from([{}, OTHER]),
    NAMES,
    st.one_of(ARNS, st.just("*")),
    st.fixed_dictionaries(
        {},
        optional={
            "k:one": WORDS,
            "k:many": st.lists(WORDS, max_size=3).map(tuple),
            "k:empty": st.just(()),
            "k:number": VALUES["Numeric"],
            "k:date": VALUES["Date"],
            "k:ip": st.sampled_from(["10.9.9.9", "11.0.0.1", "2001:db8::5"]),
            "k:arn": ARNS,
        },
    ),
)


@settings(max_examples=1500, deadline=None)
@given(st.lists(statements(), min_size=1, max_size=4), ASKS)
def test_verdicts_are_those_of_a_naive_evaluator(made, asked):
    policy = {"Version": "2012-10-17", "Statement": made}
    compiled = parse(json.dumps(policy), kind="resource")
    assert compiled.verdict(asked) is naive(policy, asked)
    assert compiled.decide(asked).verdict is naive(policy, asked)


@settings(max_examples=1500, deadline=None)
@given(st.text("ab*?", max_size=8), st.text("ab", max_size=12))
def test_wildcards_are_those_of_a_regular_expression(pattern, text):
    statement = allow(Condition={"StringLike": {"x:y": pattern}})
    assert (of(statement, asked=ask(context={"x:y": text})) is A) == glob(pattern, text)
    assert glob(pattern, text) == fnmatch.fnmatchcase(text, pattern)


@settings(max_examples=500, deadline=None)
@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.sampled_from(["*", "Allow", "ssm:*", "arn:aws:s3:::x", "${", ""]),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["Version", "Statement", "Effect", "Action", "Resource", "Principal", "Condition"]),
                inner,
            )
        ),
        max_leaves=12,
    ),
    st.sampled_from(["identity", "resource", "trust"]),
)
def test_no_document_gives_another_error(document_of_anything, kind):
    try:
        policy = parse(json.dumps(document_of_anything), kind=kind)
    except MalformedPolicy:
        return
    assert policy.verdict(ask()) in Verdict
