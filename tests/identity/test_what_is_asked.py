"""Actions, resources and condition keys of calls, where they are more than the action on the one thing it names.

What is expected is AWS's service authorization reference, see "What is asked" of docs/reference/access.md.
"""

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.capabilities.access.policies import document
from tests.capabilities.commands.conftest import REGION, Fleet, _signatures_follow_the_clock, fleet
from tests.conftest import Aws, Server
from tests.gateway.test_node_as_another import asked
from tests.gateway.test_node_rights import CORE

__all__ = ["_signatures_follow_the_clock", "fleet"]


class World:
    """A user, her policies, and her clients."""

    def __init__(self, aws: Aws, server: Server) -> None:
        self._aws = aws
        self.account = server.application.root.account_id
        self.iam, self.ssm, self.kms = (aws(each, region=REGION) for each in ("iam", "ssm", "kms"))
        self.iam.create_user(UserName="ada")
        key = self.iam.create_access_key(UserName="ada")["AccessKey"]
        self._key = {"access_key": key["AccessKeyId"], "secret": key["SecretAccessKey"]}

    def may(self, *statements: dict[str, Any]) -> None:
        self.iam.put_user_policy(UserName="ada", PolicyName="p", PolicyDocument=document(*statements))

    def hers(self, service: str, region: str = REGION) -> Any:
        return self._aws(service, region=region, **self._key)

    def arn(self, service: str, tail: str, region: str = REGION) -> str:
        return f"arn:aws:{service}:{region}:{self.account}:{tail}"


@pytest.fixture
def world(aws: Aws, server: Server) -> World:
    return World(aws, server)


def says(effect: str, action: Any, resource: Any = "*", **condition: Any) -> dict[str, Any]:
    return {"Effect": effect, "Action": action, "Resource": resource} | ({"Condition": condition} if condition else {})


def denied(call: Callable[..., Any], **members: Any) -> str:
    """What action on what resource was refused; empty if it was allowed."""
    try:
        call(**members)
    except ClientError as error:
        found = error.response["Error"]
        if not found["Code"].startswith("AccessDenied"):
            return ""
        return str(found["Message"].partition("perform: ")[2].partition(" because")[0].partition(" with an")[0])
    return ""


def test_parameter_policies(world: World) -> None:
    world.may(says("Allow", "ssm:*"), says("Deny", "ssm:PutParameter", StringEquals={"ssm:Policies": "true"}))
    put = world.hers("ssm").put_parameter
    plain = {"Name": "/a", "Value": "1", "Type": "String", "Tier": "Advanced"}
    assert not denied(put, **plain)
    policy = '[{"Type":"NoChangeNotification","Version":"1.0","Attributes":{"After":"20","Unit":"Days"}}]'
    assert denied(put, **plain, Overwrite=True, Policies=policy).startswith("ssm:PutParameter")
    assert not denied(put, **plain, Overwrite=True)


def test_what_is_asked_of_a_node(world: World, fleet: Fleet) -> None:
    node = fleet.node(online=False, tags={"env": "dev"})
    arn = world.arn("ssm", f"managed-instance/{node.id}")
    ssm = world.hers("ssm")
    world.may(says("Allow", "ssm:GetConnectionStatus", arn, StringEquals={"ssm:resourceTag/env": "dev"}))
    assert not denied(ssm.get_connection_status, Target=node.id)
    assert denied(ssm.get_connection_status, Target="mi-0123456789abcdef0").endswith("mi-0123456789abcdef0")
    role = f"arn:aws:iam::{world.account}:role/NodeRole"
    change = {"InstanceId": node.id, "IamRole": "NodeRole"}
    passing = says("Allow", "iam:PassRole")
    world.may(passing, says("Allow", "ssm:UpdateManagedInstanceRole", arn))
    assert denied(ssm.update_managed_instance_role, **change) == f"ssm:UpdateManagedInstanceRole on resource: {role}"
    world.may(passing, says("Allow", "ssm:UpdateManagedInstanceRole", [arn, role]))
    assert not denied(ssm.update_managed_instance_role, **change)


def test_a_role_may_let_a_node_report_about_itself_alone(world: World, server: Server, fleet: Fleet) -> None:
    node = fleet.node(online=False)
    world.iam.detach_role_policy(RoleName="NodeRole", PolicyArn=CORE)
    for its_id, refused in ((node.id, False), ("mi-0123456789abcdef0", True)):
        report = says("Allow", "ssm:UpdateInstanceInformation", world.arn("ssm", f"managed-instance/{its_id}"))
        world.iam.put_role_policy(RoleName="NodeRole", PolicyName="p", PolicyDocument=document(report))
        told = {"InstanceId": node.id, "AgentVersion": "3.3.0.0", "AgentName": "amazon-ssm-agent"}
        told["AgentStatus"] = "Active"
        status, _ = asked(server, node, "ssm", "UpdateInstanceInformation", told)
        assert (status != 200) is refused


def test_administration_is_delegated_by_boundaries(world: World) -> None:
    bound = world.iam.create_policy(PolicyName="bound", PolicyDocument=document(says("Allow", "ssm:*")))["Policy"][
        "Arn"
    ]
    other = world.iam.create_policy(PolicyName="other", PolicyDocument=document(says("Allow", "*")))["Policy"]["Arn"]
    actions = ["CreateUser", "PutUserPolicy", "DeleteUserPolicy", "AttachUserPolicy", "DetachUserPolicy",
               "PutUserPermissionsBoundary", "CreateRole", "PutRolePolicy", "AttachRolePolicy",
               "UpdateRole"]  # fmt: skip
    world.may(says("Allow", [f"iam:{each}" for each in actions], StringEquals={"iam:PermissionsBoundary": bound}))
    iam = world.hers("iam")
    text = document(says("Allow", "ssm:*"))
    trust = document({"Effect": "Allow", "Principal": {"Service": "ssm.amazonaws.com"}, "Action": "sts:AssumeRole"})
    assert denied(iam.create_user, UserName="free")
    assert denied(iam.create_user, UserName="free", PermissionsBoundary=other)
    assert not denied(iam.create_user, UserName="bob", PermissionsBoundary=bound)
    assert not denied(iam.create_role, RoleName="r", AssumeRolePolicyDocument=trust, PermissionsBoundary=bound)
    world.iam.create_user(UserName="free")
    world.iam.create_role(RoleName="free", AssumeRolePolicyDocument=trust)
    for user, refused in (("bob", False), ("free", True)):
        policy = {"UserName": user, "PolicyName": "p"}
        assert bool(denied(iam.put_user_policy, **policy, PolicyDocument=text)) is refused
        assert bool(denied(iam.delete_user_policy, **policy)) is refused
        assert bool(denied(iam.attach_user_policy, UserName=user, PolicyArn=other)) is refused
        assert bool(denied(iam.detach_user_policy, UserName=user, PolicyArn=other)) is refused
    for role, refused in (("r", False), ("free", True)):
        assert bool(denied(iam.put_role_policy, RoleName=role, PolicyName="p", PolicyDocument=text)) is refused
        assert bool(denied(iam.attach_role_policy, RoleName=role, PolicyArn=other)) is refused
        assert bool(denied(iam.update_role, RoleName=role, Description="x")) is refused
    assert denied(iam.put_user_permissions_boundary, UserName="bob", PermissionsBoundary=other)
    assert not denied(iam.put_user_permissions_boundary, UserName="free", PermissionsBoundary=bound)
    assert denied(iam.delete_user_permissions_boundary, UserName="bob")


def test_who_renames_needs_the_right_on_both_names(world: World) -> None:
    for name in ("dev", "other"):
        world.iam.create_user(UserName=name, Path="/dev/")
        world.iam.create_group(GroupName=name, Path="/dev/")
    team = [f"arn:aws:iam::{world.account}:{kind}/dev/*" for kind in ("user", "group")]
    world.may(says("Allow", ["iam:UpdateUser", "iam:UpdateGroup"], team))
    iam = world.hers("iam")
    assert denied(iam.update_user, UserName="dev", NewPath="/admin/").endswith(":user/admin/dev")
    assert denied(iam.update_group, GroupName="dev", NewPath="/admin/", NewGroupName="g").endswith(":group/admin/g")
    assert not denied(iam.update_user, UserName="dev", NewUserName="new")
    assert not denied(iam.update_group, GroupName="dev", NewGroupName="new")


def test_what_a_new_key_is(world: World) -> None:
    kms = world.hers("kms")
    account = {"kms:CallerAccount": world.account}
    world.may(says("Allow", "kms:CreateKey", StringEquals={"kms:KeySpec": "SYMMETRIC_DEFAULT", **account}))
    assert not denied(kms.create_key)
    assert denied(kms.create_key, KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")
    tags = [{"TagKey": "team", "TagValue": "a"}]
    assert denied(kms.create_key, Tags=tags).startswith("kms:TagResource on resource: ")
    tagged = {"aws:RequestTag/team": "a"}
    world.may(says("Allow", ["kms:CreateKey", "kms:TagResource"], StringEquals=tagged))
    assert not denied(kms.create_key, Tags=tags)
    assert denied(kms.create_key) == "kms:CreateKey on resource: *"
    world.may(says("Allow", "kms:CreateKey"), says("Deny", "*", Bool={"kms:MultiRegion": "true"}))
    assert not denied(kms.create_key, Origin="EXTERNAL")
    assert denied(kms.create_key, MultiRegion=True)


def test_a_replica_is_a_new_key_in_its_region(world: World) -> None:
    key = world.kms.create_key(MultiRegion=True)["KeyMetadata"]["KeyId"]
    replicate = world.hers("kms").replicate_key
    wanted = {"KeyId": key, "ReplicaRegion": "us-west-2", "Tags": [{"TagKey": "team", "TagValue": "a"}]}
    replicating = says("Allow", "kms:ReplicateKey")
    there = {"aws:RequestedRegion": "us-west-2"}
    world.may(replicating)
    assert denied(replicate, **wanted) == "kms:CreateKey on resource: *"
    world.may(replicating, says("Allow", "kms:CreateKey", StringEquals=there))
    assert denied(replicate, **wanted) == f"kms:TagResource on resource: {world.arn('kms', 'key/*', 'us-west-2')}"
    world.may(replicating, says("Allow", ["kms:CreateKey", "kms:TagResource"], StringEquals=there))
    assert not denied(replicate, **wanted)


def test_a_grant_says_who_retires_it(world: World) -> None:
    ada = f"arn:aws:iam::{world.account}:user/ada"
    key = world.kms.create_key()["KeyMetadata"]["KeyId"]
    retire = world.hers("kms").retire_grant

    def grant(**more: Any) -> dict[str, Any]:
        made = world.kms.create_grant(KeyId=key, Operations=["Decrypt"], **{"GranteePrincipal": ada} | more)
        return {"KeyId": world.arn("kms", f"key/{key}"), "GrantId": made["GrantId"]}

    world.may(says("Allow", "kms:*"))
    assert denied(retire, **grant())
    world.may(says("Deny", "kms:RetireGrant"))
    hers = grant(RetiringPrincipal=ada)
    assert denied(retire, **hers)
    world.may(says("Allow", "ssm:GetParameter"))
    assert not denied(retire, **hers)


def test_the_key_of_a_secret(world: World) -> None:
    key = world.kms.create_key()["KeyMetadata"]["Arn"]
    other = world.kms.create_key()["KeyMetadata"]["Arn"]
    world.kms.create_alias(AliasName="alias/app", TargetKeyId=key)
    of_key = says("Allow", "secretsmanager:CreateSecret", StringEquals={"secretsmanager:KmsKeyArn": key})
    world.may(of_key, says("Allow", "kms:*"))
    create = world.hers("secretsmanager").create_secret
    for number, named in enumerate((key, key.rpartition("/")[2], "alias/app")):
        assert not denied(create, Name=f"s{number}", SecretString="s", KmsKeyId=named), named
    for named in (other, "alias/none", None):
        assert denied(create, Name="t", SecretString="s", **({"KmsKeyId": named} if named else {})), named
