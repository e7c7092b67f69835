"""What IAM tells of an account as a whole, through boto3."""

from typing import Any

from pilothouse.capabilities import access
from tests.capabilities.access.policies import allow, deny, document, error
from tests.conftest import Aws, Server

TRUST = document({"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "ec2.amazonaws.com"}})


def test_an_alias_belongs_to_one_account(aws: Aws, server: Server) -> None:
    iam = aws("iam")
    theirs = server.run(access.create_account(server.application.house, "theirs"))
    other = aws("iam", access_key=theirs.access_key_id, secret=theirs.secret)
    assert iam.list_account_aliases()["AccountAliases"] == []
    iam.create_account_alias(AccountAlias="first")
    iam.create_account_alias(AccountAlias="ours")
    iam.create_account_alias(AccountAlias="ours")
    assert iam.list_account_aliases()["AccountAliases"] == ["ours"]
    taken = error(other.create_account_alias, AccountAlias="ours")
    assert taken["Code"] == "EntityAlreadyExists"
    other.create_account_alias(AccountAlias="first")
    assert error(other.delete_account_alias, AccountAlias="ours")["Code"] == "NoSuchEntity"
    iam.delete_account_alias(AccountAlias="ours")
    assert iam.list_account_aliases()["AccountAliases"] == []
    assert error(iam.create_account_alias, AccountAlias="a--b")["Code"] == "ValidationError"


def test_the_rules_for_passwords_are_kept(aws: Aws) -> None:
    iam = aws("iam")
    assert error(iam.get_account_password_policy)["Code"] == "NoSuchEntity"
    assert error(iam.delete_account_password_policy)["Code"] == "NoSuchEntity"
    iam.update_account_password_policy(MinimumPasswordLength=14, RequireNumbers=True, MaxPasswordAge=90)
    told = iam.get_account_password_policy()["PasswordPolicy"]
    assert told == {
        "MinimumPasswordLength": 14, "RequireSymbols": False, "RequireNumbers": True, "MaxPasswordAge": 90,
        "RequireUppercaseCharacters": False, "RequireLowercaseCharacters": False, "AllowUsersToChangePassword": False,
        "ExpirePasswords": True,
    }  # fmt: skip
    iam.update_account_password_policy()
    assert iam.get_account_password_policy()["PasswordPolicy"]["MinimumPasswordLength"] == 6
    iam.delete_account_password_policy()


def _filled(iam: Any) -> str:
    arn: str = iam.create_policy(PolicyName="reading", PolicyDocument=document(allow("ssm:Get*")))["Policy"]["Arn"]
    iam.create_policy_version(PolicyArn=arn, PolicyDocument=document(deny("*")))
    for name in ("ann", "bob", "cid"):
        iam.create_user(UserName=name)
    iam.create_group(GroupName="ops")
    iam.add_user_to_group(GroupName="ops", UserName="bob")
    iam.create_role(RoleName="web", AssumeRolePolicyDocument=TRUST, Tags=[{"Key": "k", "Value": "v"}])
    iam.create_instance_profile(InstanceProfileName="web")
    iam.add_role_to_instance_profile(InstanceProfileName="web", RoleName="web")
    iam.attach_role_policy(RoleName="web", PolicyArn=arn)
    iam.attach_group_policy(GroupName="ops", PolicyArn="arn:aws:iam::aws:policy/AmazonSSMReadOnlyAccess")
    iam.put_user_policy(UserName="ann", PolicyName="p", PolicyDocument=document(allow("ssm:*")))
    iam.put_user_permissions_boundary(UserName="ann", PermissionsBoundary=arn)
    return arn


def test_the_details_tell_who_holds_what(aws: Aws) -> None:
    iam = aws("iam")
    arn = _filled(iam)
    told = iam.get_account_authorization_details()
    users = {each["UserName"]: each for each in told["UserDetailList"]}
    assert sorted(users) == ["ann", "bob", "cid"]
    assert users["bob"]["GroupList"] == ["ops"]
    assert users["ann"]["UserPolicyList"][0]["PolicyDocument"]["Statement"][0]["Action"] == "ssm:*"
    assert users["ann"]["PermissionsBoundary"]["PermissionsBoundaryArn"] == arn
    [group] = told["GroupDetailList"]
    assert [each["PolicyName"] for each in group["AttachedManagedPolicies"]] == ["AmazonSSMReadOnlyAccess"]
    [role] = told["RoleDetailList"]
    assert role["AttachedManagedPolicies"] == [{"PolicyName": "reading", "PolicyArn": arn}]
    assert role["InstanceProfileList"][0]["InstanceProfileName"] == "web"
    assert role["Tags"] == [{"Key": "k", "Value": "v"}]
    assert role["AssumeRolePolicyDocument"]["Statement"][0]["Action"] == "sts:AssumeRole"
    own, provided = told["Policies"]
    assert (own["Arn"], own["AttachmentCount"], own["PermissionsBoundaryUsageCount"]) == (arn, 1, 1)
    assert [each["VersionId"] for each in own["PolicyVersionList"]] == ["v2", "v1"]
    assert own["PolicyVersionList"][0]["Document"]["Statement"][0]["Effect"] == "Deny"
    assert provided["PolicyName"] == "AmazonSSMReadOnlyAccess"
    assert iam.get_account_summary()["SummaryMap"].items() >= {
        "Users": 3, "Groups": 1, "Roles": 1, "Policies": 1, "PolicyVersionsInUse": 2, "InstanceProfiles": 1,
        "UsersQuota": 5000, "AccountAccessKeysPresent": 1, "AccountMFAEnabled": 0,
    }.items()  # fmt: skip


def test_the_details_come_in_pages_and_by_kind(aws: Aws) -> None:
    iam = aws("iam")
    _filled(iam)
    members = ("UserDetailList", "GroupDetailList", "RoleDetailList", "Policies")
    whole = iam.get_account_authorization_details()
    for size in (1, 2, 3, 5):
        joined: dict[str, list[Any]] = {member: [] for member in members}
        paginator = iam.get_paginator("get_account_authorization_details")
        for page in paginator.paginate(PaginationConfig={"PageSize": size}):
            assert sum(len(page[member]) for member in members) <= size
            for member in members:
                joined[member] += page[member]
        assert joined == {member: whole[member] for member in members}
    for kind, counts in {
        "User": (3, 0, 0, 0), "Group": (0, 1, 0, 0), "Role": (0, 0, 1, 0), "LocalManagedPolicy": (0, 0, 0, 1),
        "AWSManagedPolicy": (0, 0, 0, 1),
    }.items():  # fmt: skip
        told = iam.get_account_authorization_details(Filter=[kind])
        assert tuple(len(told[member]) for member in members) == counts
