"""Documents that are no policies are refused when they are put, everywhere, with the reason in AWS's words."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.conftest import Aws, Server

Put = Callable[[str], Any]


class Places:
    """Where a policy can be put: how, with a good one's only statement."""

    def __init__(self, aws: Aws, server: Server) -> None:
        account = server.application.root.account_id
        iam, sts, kms, ssm = (aws(each) for each in ("iam", "sts", "kms", "ssm"))
        somebody = {"Principal": {"AWS": account}}
        trust = {"Effect": "Allow", "Action": "sts:AssumeRole", **somebody}
        iam.create_user(UserName="u")
        iam.create_group(GroupName="g")
        role = iam.create_role(RoleName="r", AssumeRolePolicyDocument=text(trust))["Role"]["Arn"]
        managed = iam.create_policy(PolicyName="m", PolicyDocument=text(ALLOW))["Policy"]["Arn"]
        key = kms.create_key()["KeyMetadata"]["KeyId"]
        ssm.put_parameter(Name="/x", Value="1", Type="String", Tier="Advanced")
        parameter = f"arn:aws:ssm:eu-west-1:{account}:parameter/x"
        read = {"Effect": "Allow", "Action": "ssm:GetParameter", "Resource": parameter, **somebody}
        use = {"Effect": "Allow", "Action": "kms:*", "Resource": "*", "Principal": {"AWS": account}}
        named = {"PolicyName": "p"}
        self.identity: dict[str, Put] = {
            "user": lambda it: iam.put_user_policy(UserName="u", **named, PolicyDocument=it),
            "group": lambda it: iam.put_group_policy(GroupName="g", **named, PolicyDocument=it),
            "role": lambda it: iam.put_role_policy(RoleName="r", **named, PolicyDocument=it),
            "managed": lambda it: iam.create_policy(PolicyName="n", PolicyDocument=it),
            "version": lambda it: iam.create_policy_version(PolicyArn=managed, PolicyDocument=it),
            "session": lambda it: sts.assume_role(RoleArn=role, RoleSessionName="me", Policy=it),
        }
        self.others: dict[str, tuple[dict[str, Any], Put]] = {
            "trust": (trust, lambda it: iam.update_assume_role_policy(RoleName="r", PolicyDocument=it)),
            "key": (use, lambda it: kms.put_key_policy(KeyId=key, Policy=it)),
            "parameter": (read, lambda it: ssm.put_resource_policy(ResourceArn=parameter, Policy=it)),
        }


ALLOW = {"Effect": "Allow", "Action": "ssm:GetParameter", "Resource": "*"}
MALFORMED = {
    "trust": "MalformedPolicyDocument",
    "key": "MalformedPolicyDocumentException",
    "parameter": "MalformedResourcePolicyDocumentException",
}


def text(*statements: Any, **more: Any) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)} | more)


def without(statement: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in statement.items() if key != name}


def deep(levels: int) -> Any:
    return {"a": deep(levels - 1)} if levels else "b"


def bad_of(good: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Documents of any kind, with what is said of them."""
    syntax = "Syntax errors in policy. "
    return {
        "version": (text(good, Version="2012-10-18"), f"{syntax}Version must be one of 2012-10-17, 2008-10-17"),
        "statements": (text(), f"{syntax}a policy needs a Statement"),
        "element": (text(good, Foo=1), f"{syntax}unknown element Foo"),
        "effect": (text(good, without(good, "Effect")), f"{syntax}Statement 2: Effect must be Allow or Deny"),
        "both": (
            text({**good, "NotAction": "x:y"}),
            f"{syntax}Statement 1: Action and NotAction cannot stand together",
        ),
        "none": (text({**good, "Action": []}), "Policy statement must contain actions. Statement 1"),
        "sids": (
            text({**good, "Sid": "a"}, {**good, "Sid": "a"}),
            "Statement IDs (SID) in a single policy must be unique. Sid: a",
        ),
        "operator": (
            text({**good, "Condition": {"StringEqual": {"a:b": "c"}}}),
            f"{syntax}Statement 1: unknown condition operator StringEqual",
        ),
        "vendor": (
            text({**good, "Action": "GetParameter"}),
            "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc. Statement 1: "
            "Action: GetParameter",
        ),
        "depth": (text({**good, "Condition": deep(14)}), f"{syntax}the document is nested too deeply"),
    }


def of_resources(good: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Documents of kinds that have resources."""
    return {
        "partition": (
            text({**good, "Resource": "arn:foo:ssm:::x"}),
            'Partition "foo" is not valid for resource "arn:foo:ssm:::x". Statement 1',
        ),
        "arn": (text({**good, "Resource": "x"}), 'Resource x must be in ARN format or "*". Statement 1'),
        "service": (
            text({**good, "Resource": "arn:aws:s*:::x"}),
            "Resource vendor must be fully qualified and cannot contain regexes. Statement 1: arn:aws:s*:::x",
        ),
    }


def refusal(put: Put, document: str) -> tuple[str, str]:
    with pytest.raises(ClientError) as refused:
        put(document)
    found = refused.value.response["Error"]
    return found["Code"], found["Message"]


def test_bad_documents(aws: Aws, server: Server) -> None:
    places = Places(aws, server)
    for place, put in places.identity.items():
        for name, (document, why) in {**bad_of(ALLOW), **of_resources(ALLOW)}.items():
            assert refusal(put, document) == ("MalformedPolicyDocument", why), (place, name)
        principal = text({**ALLOW, "Principal": "*"})
        assert "Policy document should not specify a principal." in refusal(put, principal)[1], place
        not_json = '{"Version": "2012-10-17",\n "Statement": [}'
        said = "Syntax errors in policy. The document is not JSON, line 2, column 16: Expecting value"
        assert refusal(put, not_json) == ("MalformedPolicyDocument", said), place
    for place, (good, put) in places.others.items():
        cases = bad_of(good) if place == "trust" else {**bad_of(good), **of_resources(good)}
        for name, (document, why) in cases.items():
            assert refusal(put, document) == (MALFORMED[place], why), (place, name)
        nobody = text(without(good, "Principal"))
        assert refusal(put, nobody) == (MALFORMED[place], "Missing required field Principal (statement 1)"), place
        assert "line 2, column 2" in refusal(put, '{"Version": "2012-10-17",\n x}')[1], place
        put(json.dumps(json.loads(text(good)), indent=2))  # written over several lines


def test_what_a_trust_policy_may_not_say(aws: Aws, server: Server) -> None:
    good, put = Places(aws, server).others["trust"]
    assert refusal(put, "{")[1].startswith("This policy contains invalid Json (line 1, column 2: ")
    assert refusal(put, text({**good, "Resource": "*"}))[1] == "Has prohibited field Resource (statement 1)"
    for action in ("ssm:GetParameter", "*", ["sts:AssumeRole", "iam:PassRole"]):
        said = refusal(put, text({**good, "Action": action}))[1]
        assert said.startswith("AssumeRole policy may only specify STS AssumeRole actions. Statement 1: Action: ")
    wrong = {**good, "Principal": {"AWS": "arn:aws:iam::1:user/x"}}
    assert refusal(put, text(wrong))[1] == 'Invalid principal in policy: "AWS":"arn:aws:iam::1:user/x" (statement 1)'


def test_documents_that_are_too_long(aws: Aws, server: Server) -> None:
    places = Places(aws, server)
    for letters in (11_000, 60_000):
        long = text({**ALLOW, "Sid": "a" * letters})
        for place, most in (("user", 2048), ("group", 5120), ("role", 10_240)):
            said = f"Maximum policy size of {most} bytes exceeded for {place} {place[0]}"
            assert refusal(places.identity[place], long) == ("LimitExceeded", said)
        for place in ("managed", "version"):
            assert refusal(places.identity[place], long) == (
                "LimitExceeded",
                "Cannot exceed quota for PolicySize: 6144",
            )
        assert refusal(places.identity["session"], long)[0] == "ValidationError"
        assert refusal(places.others["trust"][1], long) == (
            "LimitExceeded", "Cannot exceed quota for ACLSizePerRole: 2048",
        )  # fmt: skip
    good, put = places.others["key"]
    assert refusal(put, text({**good, "Sid": "a" * 33_000}))[0] == "LimitExceededException"
