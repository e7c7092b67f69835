"""What IAM and STS answer to the letter, as recordings and reports of the real service have it, through boto3."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.capabilities.access.policies import User, allow, document, error
from tests.capabilities.access.test_keys import eventually
from tests.conftest import Aws, Server

_TRUST = document({"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "ssm.amazonaws.com"}})
_POLICY = document(allow("ssm:*"))
_PATH = (
    "The specified value for path is invalid. It must begin and end with / and contain only alphanumeric characters"
    " and/or / characters."
)


def _name(member: str) -> str:
    return (
        f"The specified value for {member} is invalid. It must contain only alphanumeric characters and/or the"
        " following: +=,.@_-"
    )


def _refusals(iam: Any) -> list[tuple[Callable[..., Any], dict[str, Any], str]]:
    twice = [{"Key": "Team", "Value": "1"}, {"Key": "team", "Value": "2"}]
    prefix = "The specified value for pathPrefix is invalid. It must begin with the / character and contain only"
    return [
        (iam.create_user, {"UserName": "a", "Path": "team"}, _PATH),
        (iam.create_role, {"RoleName": "a", "Path": "/team", "AssumeRolePolicyDocument": _TRUST}, _PATH),
        (iam.create_policy, {"PolicyName": "a", "Path": "team/", "PolicyDocument": _POLICY}, _PATH),
        (iam.list_policies, {"PathPrefix": "/foo"}, f"{prefix} alphanumeric characters and/or / characters."),
        (iam.get_role, {"RoleName": "arn:aws:iam::111122223333:role/x"}, _name("roleName")),
        (iam.create_user, {"UserName": "a b", "Path": "team"}, _PATH),
        (iam.delete_group, {"GroupName": "a b"}, _name("groupName")),
        (
            iam.create_role,
            {"RoleName": "a" * 65, "Path": "x", "AssumeRolePolicyDocument": _TRUST},
            f"1 validation error detected: Value '{'a' * 65}' at 'roleName' failed to satisfy constraint:"
            " Member must have length less than or equal to 64",
        ),
        (
            iam.attach_role_policy,
            {"RoleName": "a", "PolicyArn": "longpolicynamebutnoarn"},
            "Invalid ARN:  Could not be parsed!",
        ),
        *(
            (
                call,
                {**given, "Tags": twice},
                "Duplicate tag keys found. Please note that Tag keys are case insensitive.",
            )
            for call, given in (
                (iam.create_user, {"UserName": "a"}),
                (iam.create_role, {"RoleName": "a", "AssumeRolePolicyDocument": _TRUST}),
                (iam.create_policy, {"PolicyName": "a", "PolicyDocument": _POLICY}),
                (iam.create_instance_profile, {"InstanceProfileName": "a"}),
            )
        ),
    ]


def test_texts_of_refusals(aws: Aws) -> None:
    iam, sts = aws("iam"), aws("sts")
    for call, given, text in _refusals(iam):
        refused = error(call, **given)
        assert (refused["Code"], refused["Message"]) == (
            "InvalidInput" if text.startswith("Duplicate") else "ValidationError", text,
        )  # fmt: skip
    for arn in (
        "nothing-valid-in-here",
        "arn::b:::something/test-role",
        "arn:a::::something/role",
        "arn:a:a::aaaaaaaaaa:",
    ):
        refused = error(sts.assume_role, RoleArn=arn, RoleSessionName="s1")
        assert (refused["Code"], refused["Message"]) == ("ValidationError", f"{arn} is invalid")


@pytest.mark.parametrize(
    ("action", "said"),
    [
        ("ssm:Get:Parameter", "Actions/Condition can contain only one colon."),
        ("s s m:GetParameter", "Vendor s s m is not valid"),
        ("GetParameter", "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc."),
    ],
)
def test_actions_that_are_none(aws: Aws, action: str, said: str) -> None:
    refused = error(aws("iam").create_policy, PolicyName="p", PolicyDocument=document(allow(action)))
    assert refused["Code"] == "MalformedPolicyDocument"
    assert refused["Message"].startswith(said)


def test_managed_policies_are_of_the_newer_language(aws: Aws) -> None:
    iam, user = aws("iam"), User(aws, "ann")
    old = _POLICY.replace("2012-10-17", "2008-10-17")
    arn = iam.create_policy(PolicyName="p", PolicyDocument=document(allow("a-service.b:an-action")))["Policy"]["Arn"]
    for call, given in ((iam.create_policy, {"PolicyName": "old"}), (iam.create_policy_version, {"PolicyArn": arn})):
        for document_ in (old, old.replace('"Version": "2008-10-17", ', "")):
            refused = error(call, **given, PolicyDocument=document_)
            assert refused["Code"] == "MalformedPolicyDocument"
            assert refused["Message"] == "Policy document must be version 2012-10-17 or greater."
    iam.put_user_policy(UserName=user.name, PolicyName="old", PolicyDocument=old)


def test_what_is_told_of_a_policy_and_where(aws: Aws) -> None:
    iam = aws("iam")
    made = iam.create_policy(PolicyName="p", PolicyDocument=_POLICY, Description="d")["Policy"]
    got = iam.get_policy(PolicyArn=made["Arn"])["Policy"]
    (listed,) = iam.list_policies(Scope="Local")["Policies"]
    assert made == listed
    assert got == made | {"Description": "d", "Tags": []}


@pytest.mark.usefixtures("same_clock")
def test_when_a_role_was_used(aws: Aws, server: Server) -> None:
    iam, user = aws("iam"), User(aws, "ann")
    trust = document({"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": user.arn}})
    made = iam.create_role(RoleName="reader", AssumeRolePolicyDocument=trust)["Role"]
    assert "MaxSessionDuration" not in made
    assert "RoleLastUsed" not in made
    got = iam.get_role(RoleName="reader")["Role"]
    assert (got["MaxSessionDuration"], got["RoleLastUsed"]) == (3600, {})
    given = user("sts").assume_role(RoleArn=made["Arn"], RoleSessionName="s1")["Credentials"]
    session = aws(
        "ssm", access_key=given["AccessKeyId"], secret=given["SecretAccessKey"], token=given["SessionToken"]
    )  # fmt: skip
    error(session.describe_parameters)
    used_at = server.clock.now()
    server.advance(minutes=2)
    used = eventually(lambda: iam.get_role(RoleName="reader")["Role"]["RoleLastUsed"])
    assert (used["Region"], abs((used["LastUsedDate"] - used_at).total_seconds()) < 60) == ("eu-west-1", True)
    (told,) = iam.get_account_authorization_details(Filter=["Role"])["RoleDetailList"]
    assert told["RoleLastUsed"] == used
    (listed,) = iam.list_roles()["Roles"]
    assert "RoleLastUsed" not in listed
