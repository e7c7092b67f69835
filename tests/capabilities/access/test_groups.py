"""Groups, through boto3."""

from tests.capabilities.access.policies import User, allow, deny, document, error
from tests.conftest import Aws, Server

_CORE = "arn:aws:iam::aws:policy/AmazonSSMReadOnlyAccess"


def test_what_a_group_holds_its_users_hold(aws: Aws, server: Server) -> None:
    iam, user = aws("iam"), User(aws, "ann")
    group = iam.create_group(GroupName="Ops", Path="/team/")["Group"]
    assert group["Arn"] == f"arn:aws:iam::{server.application.root.account_id}:group/team/Ops"
    assert group["GroupId"].startswith("AGPA")
    ssm = user("ssm")
    iam.put_group_policy(GroupName="ops", PolicyName="p", PolicyDocument=document(allow("ssm:GetParameter")))
    assert error(ssm.get_parameter, Name="/a")["Code"] == "AccessDeniedException"
    iam.add_user_to_group(GroupName="ops", UserName="ANN")
    assert error(ssm.get_parameter, Name="/a")["Code"] == "ParameterNotFound"
    assert error(ssm.describe_parameters)["Code"] == "AccessDeniedException"
    iam.attach_group_policy(GroupName="Ops", PolicyArn=_CORE)
    assert ssm.describe_parameters()["Parameters"] == []
    iam.put_group_policy(GroupName="ops", PolicyName="no", PolicyDocument=document(deny("ssm:DescribeParameters")))
    user.may(allow("ssm:*"))
    assert error(ssm.describe_parameters)["Message"].endswith("with an explicit deny in an identity-based policy")
    iam.remove_user_from_group(GroupName="ops", UserName="ann")
    assert ssm.describe_parameters()["Parameters"] == []
    refused = error(iam.remove_user_from_group, GroupName="ops", UserName="ann")
    assert refused["Code"] == "NoSuchEntity"


def test_groups_are_told_listed_and_renamed(aws: Aws) -> None:
    iam = aws("iam")
    for name in ("a", "b", "c"):
        iam.create_group(GroupName=name, Path="/x/" if name == "b" else "/")
    refused = error(iam.create_group, GroupName="A")
    assert refused["Code"] == "EntityAlreadyExists"
    assert refused["Message"] == "Group with name A already exists."
    pages = iam.get_paginator("list_groups").paginate(PaginationConfig={"PageSize": 2})
    assert [group["GroupName"] for page in pages for group in page["Groups"]] == ["a", "b", "c"]
    assert [group["GroupName"] for group in iam.list_groups(PathPrefix="/x/")["Groups"]] == ["b"]
    for name in ("ann", "bob", "eve"):
        User(aws, name)
        iam.add_user_to_group(GroupName="a", UserName=name)
        iam.add_user_to_group(GroupName="a", UserName=name)
    pages = iam.get_paginator("get_group").paginate(GroupName="a", PaginationConfig={"PageSize": 2})
    assert [user["UserName"] for page in pages for user in page["Users"]] == ["ann", "bob", "eve"]
    assert error(iam.update_group, GroupName="a", NewGroupName="B")["Code"] == "EntityAlreadyExists"
    iam.update_group(GroupName="a", NewGroupName="z", NewPath="/y/")
    assert [group["Arn"].rpartition(":")[2] for group in iam.list_groups_for_user(UserName="ann")["Groups"]] == [
        "group/y/z"
    ]
    assert error(iam.get_group, GroupName="a") == {
        "Type": "Sender", "Code": "NoSuchEntity", "Message": "The group with name a cannot be found.",
    }  # fmt: skip


def test_a_group_goes_last(aws: Aws) -> None:
    iam = aws("iam")
    iam.create_user(UserName="ann")
    iam.create_group(GroupName="g")
    iam.add_user_to_group(GroupName="g", UserName="ann")
    iam.put_group_policy(GroupName="g", PolicyName="p", PolicyDocument=document(allow("ssm:*")))
    iam.attach_group_policy(GroupName="g", PolicyArn=_CORE)
    assert iam.list_attached_group_policies(GroupName="g")["AttachedPolicies"][0]["PolicyArn"] == _CORE
    assert iam.list_entities_for_policy(PolicyArn=_CORE)["PolicyGroups"][0]["GroupName"] == "g"
    assert iam.list_group_policies(GroupName="g")["PolicyNames"] == ["p"]
    assert iam.get_group_policy(GroupName="g", PolicyName="p")["PolicyDocument"]["Statement"][0]["Action"] == "ssm:*"
    assert error(iam.delete_user, UserName="ann")["Code"] == "DeleteConflict"
    assert "remove users" in error(iam.delete_group, GroupName="g")["Message"]
    iam.remove_user_from_group(GroupName="g", UserName="ann")
    assert "delete policies" in error(iam.delete_group, GroupName="g")["Message"]
    iam.delete_group_policy(GroupName="g", PolicyName="p")
    assert error(iam.delete_group_policy, GroupName="g", PolicyName="p")["Code"] == "NoSuchEntity"
    assert "detach all policies" in error(iam.delete_group, GroupName="g")["Message"]
    iam.detach_group_policy(GroupName="g", PolicyArn=_CORE)
    iam.delete_group(GroupName="g")
    iam.delete_user(UserName="ann")
    assert error(iam.delete_group, GroupName="g")["Code"] == "NoSuchEntity"


def test_limits_of_groups(aws: Aws) -> None:
    iam = aws("iam")
    iam.create_user(UserName="ann")
    for number in range(11):
        iam.create_group(GroupName=f"g{number}")
    for number in range(10):
        iam.add_user_to_group(GroupName=f"g{number}", UserName="ann")
    refused = error(iam.add_user_to_group, GroupName="g10", UserName="ann")
    assert refused["Code"] == "LimitExceeded"
    assert refused["Message"] == "Cannot exceed quota for GroupsPerUser: 10"
    long = document(*(allow(f"ssm:{'x' * 60}{number}") for number in range(70)))
    assert error(iam.put_group_policy, GroupName="g0", PolicyName="p", PolicyDocument=long)["Code"] == "LimitExceeded"
    assert error(iam.put_group_policy, GroupName="g0", PolicyName="p", PolicyDocument="{")["Code"] == (
        "MalformedPolicyDocument"
    )


def test_groups_of_another_account_are_not_there(aws: Aws, server: Server) -> None:
    iam = aws("iam")
    iam.create_group(GroupName="g")
    user = User(aws, "ann")
    user.may(allow("iam:*", "arn:aws:iam::999999999999:*"))
    assert error(user("iam").get_group, GroupName="g")["Code"] == "AccessDenied"
