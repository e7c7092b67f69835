"""Instance profiles, through boto3."""

from typing import Any

from tests.capabilities.access.policies import User, allow, document, error
from tests.conftest import Aws, Server

TRUST = document({"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "ec2.amazonaws.com"}})


def _profile(iam: Any, name: str = "web", **more: Any) -> Any:
    return iam.create_instance_profile(InstanceProfileName=name, **more)["InstanceProfile"]


def test_a_profile_holds_one_role(aws: Aws, server: Server) -> None:
    iam, account = aws("iam"), server.application.root.account_id
    made = _profile(iam, Path="/team/", Tags=[{"Key": "k", "Value": "v"}])
    assert made["Arn"] == f"arn:aws:iam::{account}:instance-profile/team/web"
    assert made["InstanceProfileId"].startswith("AIPA")
    assert made["Roles"] == []
    for name in ("one", "two"):
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=TRUST)
    iam.add_role_to_instance_profile(InstanceProfileName="web", RoleName="one")
    told = iam.get_instance_profile(InstanceProfileName="WEB")["InstanceProfile"]
    assert [each["RoleName"] for each in told["Roles"]] == ["one"]
    assert told["Roles"][0]["AssumeRolePolicyDocument"]["Statement"][0]["Principal"]["Service"] == "ec2.amazonaws.com"
    assert told["Tags"] == [{"Key": "k", "Value": "v"}]
    second = error(iam.add_role_to_instance_profile, InstanceProfileName="web", RoleName="two")
    assert second["Code"] == "LimitExceeded"
    assert second["Message"] == "Cannot exceed quota for InstanceSessionsPerInstanceProfile: 1"
    for call, members in (
        (iam.delete_role, {"RoleName": "one"}),
        (iam.delete_instance_profile, {"InstanceProfileName": "web"}),
    ):
        refused = error(call, **members)
        assert refused["Code"] == "DeleteConflict"
        assert refused["Message"] == "Cannot delete entity, must remove roles from instance profile first."
    other = error(iam.remove_role_from_instance_profile, InstanceProfileName="web", RoleName="two")
    assert other["Code"] == "NoSuchEntity"
    iam.remove_role_from_instance_profile(InstanceProfileName="web", RoleName="one")
    iam.delete_role(RoleName="one")
    iam.delete_instance_profile(InstanceProfileName="web")
    missing = error(iam.get_instance_profile, InstanceProfileName="web")
    assert (missing["Code"], missing["Message"]) == ("NoSuchEntity", "Instance Profile web cannot be found.")


def test_profiles_are_listed_and_tagged(aws: Aws) -> None:
    iam = aws("iam")
    iam.create_role(RoleName="one", AssumeRolePolicyDocument=TRUST)
    for name in ("c", "a", "b"):
        _profile(iam, name, Path="/x/" if name == "b" else "/")
        iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName="one")
    taken = error(iam.create_instance_profile, InstanceProfileName="A")
    assert (taken["Code"], taken["Message"]) == ("EntityAlreadyExists", "Instance Profile A already exists.")
    for operation, members in (
        ("list_instance_profiles", {}),
        ("list_instance_profiles_for_role", {"RoleName": "one"}),
    ):
        pages = list(iam.get_paginator(operation).paginate(**members, PaginationConfig={"PageSize": 2}))
        assert [[each["InstanceProfileName"] for each in page["InstanceProfiles"]] for page in pages] == [
            ["a", "b"], ["c"],
        ]  # fmt: skip
    below = iam.list_instance_profiles(PathPrefix="/x/")["InstanceProfiles"]
    assert [each["InstanceProfileName"] for each in below] == ["b"]
    iam.tag_instance_profile(InstanceProfileName="a", Tags=[{"Key": "k", "Value": "1"}, {"Key": "l", "Value": "2"}])
    iam.untag_instance_profile(InstanceProfileName="a", TagKeys=["k"])
    assert iam.list_instance_profile_tags(InstanceProfileName="a")["Tags"] == [{"Key": "l", "Value": "2"}]


def test_who_puts_a_role_in_must_be_let_to_pass_it_on(aws: Aws) -> None:
    iam, user = aws("iam"), User(aws, "ann")
    role = iam.create_role(RoleName="one", AssumeRolePolicyDocument=TRUST)["Role"]["Arn"]
    profile = _profile(iam)["Arn"]
    members = {"InstanceProfileName": "web", "RoleName": "one"}
    user.may(allow("iam:AddRoleToInstanceProfile", profile))
    refused = error(user("iam").add_role_to_instance_profile, **members)
    assert refused["Code"] == "AccessDenied"
    assert f"iam:PassRole on resource: {role}" in refused["Message"]
    passed = {"Condition": {"StringEquals": {"iam:PassedToService": "ec2.amazonaws.com"}}}
    user.may(allow("iam:AddRoleToInstanceProfile", profile), allow("iam:PassRole", role, **passed))
    user("iam").add_role_to_instance_profile(**members)
