"""What goes on through a chain of roles, and managed session policies, through boto3."""

from typing import Any

from tests.capabilities.access.policies import User, allow, deny, document, error
from tests.capabilities.access.test_session_tokens import as_session
from tests.conftest import Aws

ACTIONS = ["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"]


def _trust(principal: str, action: Any, **more: Any) -> str:
    return document({"Effect": "Allow", "Action": action, "Principal": {"AWS": principal}, **more})


def _role(aws: Aws, name: str, trusted: str, action: Any = tuple(ACTIONS), **more: Any) -> str:
    iam = aws("iam")
    made = iam.create_role(RoleName=name, AssumeRolePolicyDocument=_trust(trusted, action, **more))
    iam.put_role_policy(RoleName=name, PolicyName="p", PolicyDocument=document(allow(["sts:*", "ssm:*"])))
    arn: str = made["Role"]["Arn"]
    return arn


def test_managed_session_policies_narrow_as_they_say_now(aws: Aws) -> None:
    iam, user = aws("iam"), User(aws, "ann")
    role = _role(aws, "one", user.arn)
    reading = iam.create_policy(PolicyName="r", PolicyDocument=document(allow("ssm:Describe*")))["Policy"]["Arn"]
    writing = iam.create_policy(PolicyName="w", PolicyDocument=document(allow("ssm:Put*")))["Policy"]["Arn"]
    members = {"RoleArn": role, "RoleSessionName": "s1"}
    made = user("sts").assume_role(**members, PolicyArns=[{"arn": reading}, {"arn": writing}])
    assert made["PackedPolicySize"] >= 1
    ssm = as_session(aws, "ssm", made)
    ssm.describe_parameters()
    ssm.put_parameter(Name="/a", Value="v", Type="String")
    refused = error(ssm.get_parameter, Name="/a")
    assert "session policy" in refused["Message"]
    iam.delete_policy(PolicyArn=writing)
    assert error(ssm.put_parameter, Name="/b", Value="v", Type="String")["Code"] == "AccessDeniedException"
    iam.create_policy_version(PolicyArn=reading, PolicyDocument=document(deny("*")), SetAsDefault=True)
    assert error(ssm.describe_parameters)["Code"] == "AccessDeniedException"
    iam.delete_policy_version(PolicyArn=reading, VersionId="v1")
    iam.delete_policy(PolicyArn=reading)
    assert error(ssm.describe_parameters)["Code"] == "AccessDeniedException"
    missing = error(user("sts").assume_role, **members, PolicyArns=[{"arn": reading}])
    assert missing["Code"] == "ValidationError"
    provided = [{"arn": "arn:aws:iam::aws:policy/AmazonSSMReadOnlyAccess"}]
    as_session(aws, "ssm", user("sts").assume_role(**members, PolicyArns=provided)).get_parameter(Name="/a")


def test_transitive_tags_go_on_and_cannot_be_set_anew(aws: Aws) -> None:
    user = User(aws, "ann")
    one = _role(aws, "one", user.arn)
    two = _role(aws, "two", one)
    tags = [{"Key": "Team", "Value": "a"}, {"Key": "stays", "Value": "here"}]
    first = user("sts").assume_role(RoleArn=one, RoleSessionName="s1", Tags=tags, TransitiveTagKeys=["team"])
    sts = as_session(aws, "sts", first)
    members = {"RoleArn": two, "RoleSessionName": "s2"}
    again = error(sts.assume_role, **members, Tags=[{"Key": "TEAM", "Value": "b"}])
    assert again["Code"] == "InvalidParameterValue"
    assert "conflicts with a transitive tag key" in again["Message"]
    second = sts.assume_role(**members, Tags=[{"Key": "own", "Value": "x"}])
    for key, value, has in (("Team", "a", True), ("own", "x", True), ("stays", "here", False)):
        equals = {"StringEquals": {f"aws:PrincipalTag/{key}": value}}
        policy = document(allow("sts:*"), allow("ssm:*", Condition=equals))
        aws("iam").put_role_policy(RoleName="two", PolicyName="p", PolicyDocument=policy)
        ssm = as_session(aws, "ssm", second)
        if has:
            ssm.describe_parameters()
        else:
            assert error(ssm.describe_parameters)["Code"] == "AccessDeniedException"
    three = _role(aws, "three", two)
    as_session(aws, "sts", second).assume_role(RoleArn=three, RoleSessionName="s3")
    aws("iam").update_assume_role_policy(RoleName="three", PolicyDocument=_trust(two, "sts:AssumeRole"))
    refused = error(as_session(aws, "sts", second).assume_role, RoleArn=three, RoleSessionName="s3")
    assert "sts:TagSession" in refused["Message"]
    twice = error(
        user("sts").assume_role, RoleArn=one, RoleSessionName="s1", Tags=[*tags, {"Key": "team", "Value": ""}]
    )
    assert twice["Code"] == "InvalidParameterValue"
    unnamed = error(user("sts").assume_role, RoleArn=one, RoleSessionName="s1", Tags=tags, TransitiveTagKeys=["x"])
    assert unnamed["Message"] == "The specified transitive tag key must be included in the requested tags."


def test_a_source_identity_stays(aws: Aws) -> None:
    user = User(aws, "ann")
    one = _role(aws, "one", user.arn, Condition={"StringLikeIfExists": {"sts:SourceIdentity": "ann*"}})
    two = _role(aws, "two", one, Condition={"StringEquals": {"aws:SourceIdentity": "ann-1"}})
    members = {"RoleArn": one, "RoleSessionName": "s1"}
    assert error(user("sts").assume_role, **members, SourceIdentity="bob")["Code"] == "AccessDenied"
    assert error(user("sts").assume_role, **members, SourceIdentity="aws:x")["Code"] == "ValidationError"
    first = user("sts").assume_role(**members, SourceIdentity="ann-1")
    assert first["SourceIdentity"] == "ann-1"
    sts = as_session(aws, "sts", first)
    members = {"RoleArn": two, "RoleSessionName": "s2"}
    refused = error(sts.assume_role, **members, SourceIdentity="ann-2")
    assert refused["Code"] == "ValidationError"
    assert refused["Message"] == "The source identity is already set for this assume role session"
    second = sts.assume_role(**members)
    assert second["SourceIdentity"] == "ann-1"
    equals = {"StringNotEquals": {"aws:SourceIdentity": "ann-1"}}
    policy = document(allow("ssm:*"), deny("ssm:*", Condition=equals))
    aws("iam").put_role_policy(RoleName="two", PolicyName="p", PolicyDocument=policy)
    as_session(aws, "ssm", second).describe_parameters()
    plain = as_session(aws, "sts", user("sts").assume_role(RoleArn=one, RoleSessionName="s1"))
    assert error(plain.assume_role, **members)["Code"] == "AccessDenied"
    unset = _trust(one, ["sts:AssumeRole"])
    aws("iam").update_assume_role_policy(RoleName="two", PolicyDocument=unset)
    assert "sts:SetSourceIdentity" in error(sts.assume_role, **members)["Message"]
    plain.assume_role(**members)


def test_what_is_not_heeded_is_refused_by_name(aws: Aws) -> None:
    user = User(aws, "ann")
    one = _role(aws, "one", user.arn)
    for members in ({"ProvidedContexts": [{"ProviderArn": "arn:aws:iam::aws:contextProvider/x"}]},):
        refused = error(user("sts").assume_role, RoleArn=one, RoleSessionName="s1", **members)
        assert refused["Message"] == f"{next(iter(members))} is not available in this version of Pilothouse."
