"""Users, roles and policies that are changed after their making, through boto3."""

from typing import Any

import pytest

from tests.capabilities.access.policies import User, allow, document, error
from tests.conftest import Aws

_TRUST = document({"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "ssm.amazonaws.com"}})


def test_a_renamed_user_keeps_its_keys_policies_and_groups(aws: Aws) -> None:
    iam, user = aws("iam"), User(aws, "ann")
    iam.create_group(GroupName="g")
    iam.add_user_to_group(GroupName="g", UserName="ann")
    iam.create_user(UserName="bob")
    user.may(allow("ssm:GetParameter"))
    assert error(iam.update_user, UserName="ann", NewUserName="BOB")["Code"] == "EntityAlreadyExists"
    iam.update_user(UserName="ann", NewUserName="Eve", NewPath="/team/")
    assert user("sts").get_caller_identity()["Arn"].endswith(":user/team/Eve")
    assert error(user("ssm").get_parameter, Name="/a")["Code"] == "ParameterNotFound"
    assert [group["GroupName"] for group in iam.list_groups_for_user(UserName="eve")["Groups"]] == ["g"]
    assert error(iam.get_user, UserName="ann")["Code"] == "NoSuchEntity"
    iam.update_user(UserName="eve", NewUserName="EVE")
    assert iam.get_user(UserName="eve")["User"]["UserName"] == "EVE"


def test_a_role_s_description_and_longest_session_change(aws: Aws) -> None:
    iam = aws("iam")
    iam.create_role(RoleName="r", AssumeRolePolicyDocument=_TRUST, Description="old")
    iam.update_role(RoleName="r", MaxSessionDuration=7200)
    role = iam.get_role(RoleName="r")["Role"]
    assert (role["Description"], role["MaxSessionDuration"]) == ("old", 7200)
    told = iam.update_role_description(RoleName="r", Description="new")["Role"]
    assert (told["Description"], told["MaxSessionDuration"]) == ("new", 7200)
    assert iam.get_role(RoleName="r")["Role"]["Description"] == "new"
    assert error(iam.update_role, RoleName="none")["Code"] == "NoSuchEntity"


def _tagged(aws: Aws, kind: str) -> tuple[Any, Any, Any, dict[str, str]]:
    iam = aws("iam")
    if kind == "user":
        iam.create_user(UserName="x")
        return iam.tag_user, iam.untag_user, iam.list_user_tags, {"UserName": "x"}
    if kind == "role":
        iam.create_role(RoleName="x", AssumeRolePolicyDocument=_TRUST)
        return iam.tag_role, iam.untag_role, iam.list_role_tags, {"RoleName": "x"}
    arn = iam.create_policy(PolicyName="x", PolicyDocument=document(allow("ssm:*")))["Policy"]["Arn"]
    return iam.tag_policy, iam.untag_policy, iam.list_policy_tags, {"PolicyArn": arn}


@pytest.mark.parametrize("kind", ["user", "role", "policy"])
def test_tags_come_and_go_without_regard_to_case(aws: Aws, kind: str) -> None:
    put, remove, listed, of = _tagged(aws, kind)
    put(**of, Tags=[{"Key": key, "Value": "1"} for key in ("Team", "b", "c")])
    put(**of, Tags=[{"Key": "team", "Value": "2"}])
    assert listed(**of)["Tags"] == [
        {"Key": "b", "Value": "1"}, {"Key": "c", "Value": "1"}, {"Key": "team", "Value": "2"},
    ]  # fmt: skip
    first = listed(**of, MaxItems=2)
    assert [tag["Key"] for tag in first["Tags"]] == ["b", "c"]
    assert [tag["Key"] for tag in listed(**of, MaxItems=2, Marker=first["Marker"])["Tags"]] == ["team"]
    remove(**of, TagKeys=["B", "TEAM", "none"])
    assert listed(**of)["Tags"] == [{"Key": "c", "Value": "1"}]
    twice = error(put, **of, Tags=[{"Key": "k", "Value": "1"}, {"Key": "K", "Value": "2"}])
    assert twice["Code"] == "InvalidInput"
    put(**of, Tags=[{"Key": f"k{number}", "Value": "1"} for number in range(49)])
    assert error(put, **of, Tags=[{"Key": "more", "Value": "1"}])["Code"] == "LimitExceeded"
    put(**of, Tags=[{"Key": "K1", "Value": "2"}])


def test_tags_of_a_user_count_in_policies_at_once(aws: Aws) -> None:
    iam, user = aws("iam"), User(aws, "ann")
    user.may(allow("ssm:GetParameter", Condition={"StringEquals": {"aws:PrincipalTag/team": "a"}}))
    assert error(user("ssm").get_parameter, Name="/a")["Code"] == "AccessDeniedException"
    iam.tag_user(UserName="ann", Tags=[{"Key": "team", "Value": "a"}])
    assert error(user("ssm").get_parameter, Name="/a")["Code"] == "ParameterNotFound"
    iam.untag_user(UserName="ann", TagKeys=["team"])
    assert error(user("ssm").get_parameter, Name="/a")["Code"] == "AccessDeniedException"


def test_policies_that_everybody_has_take_no_tags(aws: Aws) -> None:
    arn = "arn:aws:iam::aws:policy/ReadOnlyAccess"
    assert error(aws("iam").tag_policy, PolicyArn=arn, Tags=[{"Key": "k", "Value": "v"}])["Code"] == "AccessDenied"
    assert aws("iam").list_policy_tags(PolicyArn=arn)["Tags"] == []
