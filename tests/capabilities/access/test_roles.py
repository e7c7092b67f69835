"""Roles, who may take them on, and what their sessions may do, through boto3."""

from typing import Any

import pytest

from pilothouse.capabilities import access
from tests.capabilities.access.policies import User, allow, deny, document, error
from tests.conftest import Aws, Server


def _trust(*principals: str, action: Any = "sts:AssumeRole", **more: Any) -> str:
    return document({"Effect": "Allow", "Action": action, "Principal": {"AWS": list(principals)}, **more})


def _role(aws: Aws, trust: str, *statements: dict[str, Any], **more: Any) -> str:
    iam = aws("iam")
    arn: str = iam.create_role(RoleName="reader", AssumeRolePolicyDocument=trust, **more)["Role"]["Arn"]
    if statements:
        iam.put_role_policy(RoleName="reader", PolicyName="p", PolicyDocument=document(*statements))
    return arn


def _as(aws: Aws, service: str, assumed: Any) -> Any:
    given = assumed["Credentials"]
    return aws(service, access_key=given["AccessKeyId"], secret=given["SecretAccessKey"], token=given["SessionToken"])


@pytest.fixture
def account(server: Server) -> str:
    return server.application.root.account_id


def test_a_session_may_what_its_role_may(aws: Aws, account: str) -> None:
    aws("ssm").put_parameter(Name="/dev/x", Value="v", Type="String")
    aws("ssm").put_parameter(Name="/prod/x", Value="v", Type="String")
    user = User(aws, "ann")
    arn = _role(aws, _trust(user.arn), allow("ssm:*", "arn:aws:ssm:*:*:parameter/dev/*"), Path="/team/")
    assert arn == f"arn:aws:iam::{account}:role/team/reader"
    assumed = user("sts").assume_role(RoleArn=arn, RoleSessionName="s1")
    told = _as(aws, "sts", assumed).get_caller_identity()
    assert told["Arn"] == f"arn:aws:sts::{account}:assumed-role/reader/s1" == assumed["AssumedRoleUser"]["Arn"]
    assert told["UserId"] == assumed["AssumedRoleUser"]["AssumedRoleId"]
    assert told["UserId"].startswith("AROA")
    ssm = _as(aws, "ssm", assumed)
    assert ssm.get_parameter(Name="/dev/x")["Parameter"]["Value"] == "v"
    refused = error(ssm.get_parameter, Name="/prod/x")
    assert refused["Code"] == "AccessDeniedException"
    assert told["Arn"] in refused["Message"]


def test_who_may_take_a_role_on(aws: Aws, account: str) -> None:
    named, other = User(aws, "named"), User(aws, "other")
    arn = _role(aws, _trust(named.arn))
    named("sts").assume_role(RoleArn=arn, RoleSessionName="s1")
    other.may(allow("*"))
    refused = error(other("sts").assume_role, RoleArn=arn, RoleSessionName="s1")
    assert (refused["Code"], refused["Message"]) == (
        "AccessDenied", f"User: {other.arn} is not authorized to perform: sts:AssumeRole on resource: {arn}",
    )  # fmt: skip
    missing = error(other("sts").assume_role, RoleArn=arn.replace("reader", "none"), RoleSessionName="s1")
    assert missing["Code"] == "AccessDenied"
    named.may(deny("sts:AssumeRole", arn))
    assert error(named("sts").assume_role, RoleArn=arn, RoleSessionName="s1")["Code"] == "AccessDenied"
    aws("iam").update_assume_role_policy(RoleName="reader", PolicyDocument=_trust(f"arn:aws:iam::{account}:root"))
    other("sts").assume_role(RoleArn=arn, RoleSessionName="s1")
    third = User(aws, "third")
    assert error(third("sts").assume_role, RoleArn=arn, RoleSessionName="s1")["Code"] == "AccessDenied"


def test_another_account_needs_both_sides_and_the_external_id(aws: Aws, server: Server, account: str) -> None:
    other = server.run(access.create_account(server.application.house, "other"))

    def theirs(service: str, **given: Any) -> Any:
        return aws(service, **({"access_key": other.access_key_id, "secret": other.secret} | given))

    user = User(theirs, "ann")
    condition = {"Condition": {"StringEquals": {"sts:ExternalId": "x-1"}}}
    arn = _role(aws, _trust(other.account_id, **condition), allow("ssm:*"))
    members = {"RoleArn": arn, "RoleSessionName": "s1"}
    assert error(user("sts").assume_role, **members, ExternalId="x-1")["Code"] == "AccessDenied"
    user.may(allow("sts:AssumeRole", arn))
    assert error(user("sts").assume_role, **members)["Code"] == "AccessDenied"
    assumed = user("sts").assume_role(**members, ExternalId="x-1")
    assert _as(aws, "sts", assumed).get_caller_identity()["Account"] == account
    theirs("ssm").put_parameter(Name="/theirs", Value="v", Type="String")
    assert error(_as(aws, "ssm", assumed).get_parameter, Name="/theirs")["Code"] == "ParameterNotFound"


def test_a_session_policy_narrows_and_tags_count(aws: Aws, account: str) -> None:
    user = User(aws, "ann")
    everybody = f"arn:aws:iam::{account}:root"
    user.may(allow(["sts:AssumeRole", "sts:TagSession"]))
    arn = _role(aws, _trust(everybody), allow("ssm:*", "arn:aws:ssm:*:*:parameter/${aws:PrincipalTag/team}/*"))
    members = {"RoleArn": arn, "RoleSessionName": "s1"}
    tags = [{"Key": "team", "Value": "a"}]
    assert "sts:TagSession" in error(user("sts").assume_role, **members, Tags=tags)["Message"]
    trust = _trust(everybody, action=["sts:AssumeRole", "sts:TagSession"])
    aws("iam").update_assume_role_policy(RoleName="reader", PolicyDocument=trust)
    narrow = document(allow(["ssm:GetParameter", "kms:*"]))
    assumed = user("sts").assume_role(**members, Tags=tags, Policy=narrow)
    assert assumed["PackedPolicySize"] >= 1
    ssm = _as(aws, "ssm", assumed)
    assert error(ssm.get_parameter, Name="/a/x")["Code"] == "ParameterNotFound"
    assert error(ssm.get_parameter, Name="/b/x")["Code"] == "AccessDeniedException"
    assert error(ssm.put_parameter, Name="/a/x", Value="v", Type="String")["Code"] == "AccessDeniedException"
    assert error(_as(aws, "kms", assumed).list_keys)["Code"] == "AccessDeniedException"
    refused = error(user("sts").assume_role, **members, Policy="{")
    assert refused["Code"] == "MalformedPolicyDocument"


def test_sessions_end(aws: Aws, server: Server, account: str) -> None:
    user = User(aws, "ann")
    arn = _role(aws, _trust(user.arn), allow("ssm:*"), MaxSessionDuration=7200)
    members = {"RoleArn": arn, "RoleSessionName": "s1"}
    long = error(user("sts").assume_role, **members, DurationSeconds=7201)
    assert long["Message"].endswith("exceeds the MaxSessionDuration set for this role.")
    assumed = user("sts").assume_role(**members, DurationSeconds=900)
    second = user("sts").assume_role(**members, DurationSeconds=7200)
    ssm = _as(aws, "ssm", assumed)
    ssm.describe_parameters()
    aws("iam").put_role_policy(RoleName="reader", PolicyName="q", PolicyDocument=document(deny("ssm:*")))
    assert error(ssm.describe_parameters)["Code"] == "AccessDeniedException"
    aws("iam").delete_role_policy(RoleName="reader", PolicyName="q")
    ssm.describe_parameters()
    iam = aws("iam")
    assert error(iam.delete_role, RoleName="reader")["Code"] == "DeleteConflict"
    iam.delete_role_policy(RoleName="reader", PolicyName="p")
    iam.delete_role(RoleName="reader")
    assert error(ssm.describe_parameters)["Code"] == "UnrecognizedClientException"
    _role(aws, _trust(user.arn), allow("ssm:*"))
    assert error(ssm.describe_parameters)["Code"] == "UnrecognizedClientException"  # another role of the same name
    assert error(_as(aws, "ssm", second).describe_parameters)["Code"] == "UnrecognizedClientException"


def test_a_session_is_refused_past_its_end_and_with_another_token(aws: Aws, server: Server) -> None:
    user = User(aws, "ann")
    arn = _role(aws, _trust(user.arn), allow("*"))
    assumed = user("sts").assume_role(RoleArn=arn, RoleSessionName="s1", DurationSeconds=900)
    other = user("sts").assume_role(RoleArn=arn, RoleSessionName="s2")
    mixed = {"Credentials": assumed["Credentials"] | {"SessionToken": other["Credentials"]["SessionToken"]}}
    assert error(_as(aws, "ssm", mixed).describe_parameters)["Code"] == "UnrecognizedClientException"
    chained = _as(aws, "sts", assumed)
    assert error(chained.assume_role, RoleArn=arn, RoleSessionName="s3")["Code"] == "AccessDenied"
    aws("iam").update_assume_role_policy(RoleName="reader", PolicyDocument=_trust(user.arn, arn))
    again = chained.assume_role(RoleArn=arn, RoleSessionName="s3")
    assert _as(aws, "sts", again).get_caller_identity()["Arn"].endswith("/s3")
    # A session has no keys, and those of root are not its own.
    assert "userName" in error(_as(aws, "iam", assumed).create_access_key)["Message"]
    assert "userName" in error(_as(aws, "iam", assumed).get_user)["Message"]


def test_root_may_take_on_what_trusts_its_account(aws: Aws, account: str) -> None:
    arn = _role(aws, _trust(f"arn:aws:iam::{account}:root"), allow("ssm:*"))
    assumed = aws("sts").assume_role(RoleArn=arn, RoleSessionName="s1")
    _as(aws, "ssm", assumed).describe_parameters()
    assert error(_as(aws, "iam", assumed).list_users)["Code"] == "AccessDenied"


def test_roles_are_kept_and_bad_trusts_refused(aws: Aws, account: str) -> None:
    iam = aws("iam")
    trust = _trust(f"arn:aws:iam::{account}:root")
    made = _role(aws, trust, allow("ssm:*"), Description="reads", Tags=[{"Key": "k", "Value": "v"}])
    found = iam.get_role(RoleName="READER")["Role"]
    assert (found["Arn"], found["Description"], found["MaxSessionDuration"]) == (made, "reads", 3600)
    assert found["AssumeRolePolicyDocument"]["Statement"][0]["Action"] == "sts:AssumeRole"
    assert found["Tags"] == [{"Key": "k", "Value": "v"}]
    assert [each["RoleName"] for each in iam.list_roles()["Roles"]] == ["reader"]
    assert iam.list_role_policies(RoleName="reader")["PolicyNames"] == ["p"]
    assert iam.get_role_policy(RoleName="reader", PolicyName="p")["PolicyDocument"]["Statement"]
    again = error(iam.create_role, RoleName="Reader", AssumeRolePolicyDocument=trust)
    assert again["Code"] == "EntityAlreadyExists"
    for bad in ("{", document(allow("sts:AssumeRole"))):
        refused = error(iam.create_role, RoleName="bad", AssumeRolePolicyDocument=bad)
        assert refused["Code"] == "MalformedPolicyDocument"
    missing = error(iam.get_role, RoleName="none")
    assert (missing["Code"], missing["Message"]) == ("NoSuchEntity", "The role with name none cannot be found.")
