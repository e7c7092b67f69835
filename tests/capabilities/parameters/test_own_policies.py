"""The policies on a parameter within its own account: what they allow beside a user's policies, and what they deny."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from pilothouse.capabilities.resource_policies.store import ResourcePolicyStore
from tests.capabilities.access.policies import document
from tests.capabilities.commands.conftest import _signatures_follow_the_clock, fleet
from tests.conftest import Aws, Server
from tests.gateway.test_node_rights import its

__all__ = ["_signatures_follow_the_clock", "fleet"]

READ = ["ssm:GetParameter", "ssm:GetParameters", "ssm:GetParameterHistory", "ssm:DescribeParameters"]
IMPLICIT = "because no identity-based policy allows"


def says(effect: str, action: Any, resource: str = "*", **more: Any) -> dict[str, Any]:
    return {"Effect": effect, "Action": action, "Resource": resource, **more}


class World:
    """An account with a shared parameter, and a user and a role in it that may do nothing."""

    def __init__(self, aws: Aws, server: Server) -> None:
        self._aws = aws
        self.root, self.iam = aws("ssm"), aws("iam")
        self.root.put_parameter(Name="/app/url", Value="first", Type="String", Tier="Advanced")
        self.arn = self.root.get_parameter(Name="/app/url")["Parameter"]["ARN"]
        self.ada = self.iam.create_user(UserName="ada")["User"]["Arn"]
        key = self.iam.create_access_key(UserName="ada")["AccessKey"]
        self.key = {"access_key": key["AccessKeyId"], "secret": key["SecretAccessKey"]}
        self.hers = aws("ssm", **self.key)
        account = server.application.root.account_id
        trust = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": account}}
        self.role = self.iam.create_role(RoleName="reader", AssumeRolePolicyDocument=document(trust))["Role"]["Arn"]
        self.account = account

    def put(self, *statements: dict[str, Any]) -> None:
        """The one policy on the parameter."""
        for each in self.root.get_resource_policies(ResourceArn=self.arn)["Policies"]:
            self.root.delete_resource_policy(
                ResourceArn=self.arn, PolicyId=each["PolicyId"], PolicyHash=each["PolicyHash"]
            )
        if statements:
            self.root.put_resource_policy(ResourceArn=self.arn, Policy=document(*statements))

    def policy(self, effect: str, principal: str, actions: Any = READ, **condition: Any) -> dict[str, Any]:
        more = {"Condition": condition} if condition else {}
        return says(effect, actions, self.arn, Principal={"AWS": principal}, **more)

    def may(self, *statements: dict[str, Any]) -> None:
        self.iam.put_user_policy(UserName="ada", PolicyName="p", PolicyDocument=document(*statements))

    def session(self, **narrowed: Any) -> Any:
        sts = self._aws("sts")
        found = sts.assume_role(RoleArn=self.role, RoleSessionName="work", **narrowed)["Credentials"]
        return self._aws(
            "ssm", access_key=found["AccessKeyId"], secret=found["SecretAccessKey"], token=found["SessionToken"]
        )


@pytest.fixture
def world(aws: Aws, server: Server) -> World:
    return World(aws, server)


def why(call: Callable[[], Any]) -> str:
    """Empty, or why policies refuse it."""
    try:
        call()
    except ClientError as error:
        if error.response["Error"]["Code"] != "AccessDeniedException":
            raise
        return str(error.response["Error"]["Message"])
    return ""


def read(ssm: Any) -> Callable[[], Any]:
    return lambda: ssm.get_parameter(Name="/app/url")


def test_what_names_the_user_is_enough(world: World) -> None:
    assert IMPLICIT in why(read(world.hers))
    world.put(world.policy("Allow", world.ada, ["ssm:GetParameter", "ssm:GetParameterHistory"]))
    assert world.hers.get_parameter(Name="/app/url")["Parameter"]["Value"] == "first"
    assert world.hers.get_parameter(Name=f"{world.arn}:1")["Parameter"]["Value"] == "first"
    assert len(world.hers.get_parameter_history(Name="/app/url")["Parameters"]) == 1
    assert IMPLICIT in why(lambda: world.hers.get_parameters(Names=["/app/url"]))
    world.put(world.policy("Allow", world.ada))
    assert not why(lambda: world.hers.get_parameters(Names=["/app/url"]))
    assert IMPLICIT in why(lambda: world.hers.get_parameters(Names=["/app/url", "/app/other"]))
    for by_identity_alone in (
        lambda: world.hers.get_parameters_by_path(Path="/app"),
        world.hers.describe_parameters,
        lambda: world.hers.put_parameter(Name="/app/url", Value="x", Overwrite=True),
        lambda: world.hers.delete_parameter(Name="/app/url"),
    ):
        assert IMPLICIT in why(by_identity_alone)
    world.put()
    assert IMPLICIT in why(read(world.hers))


def test_what_names_the_account_leaves_it_to_the_users_policies(world: World) -> None:
    world.put(world.policy("Allow", world.account))
    assert IMPLICIT in why(read(world.hers))
    world.may(says("Allow", "ssm:GetParameter"))
    assert not why(read(world.hers))


def test_a_deny_wins_over_the_users_own_policies_and_not_over_root(world: World) -> None:
    world.may(says("Allow", "ssm:*"))
    world.put(world.policy("Allow", world.account), world.policy("Deny", world.account, ["ssm:GetParameter"]))
    assert "with an explicit deny in a resource-based policy" in why(read(world.hers))
    assert not why(lambda: world.hers.get_parameters(Names=["/app/url"]))
    assert not why(read(world.root))
    world.put(world.policy("Deny", world.ada, StringEquals={"aws:RequestedRegion": "us-east-1"}))
    assert not why(read(world.hers))
    world.put(world.policy("Allow", world.ada))
    world.may(says("Deny", "ssm:GetParameter"))
    assert "with an explicit deny in an identity-based policy" in why(read(world.hers))


def test_the_tags_of_the_parameter_count_in_its_policy(world: World) -> None:
    world.put(world.policy("Allow", world.ada, StringEquals={"aws:ResourceTag/env": "dev"}))
    assert IMPLICIT in why(read(world.hers))
    world.root.add_tags_to_resource(
        ResourceType="Parameter", ResourceId="/app/url", Tags=[{"Key": "env", "Value": "dev"}]
    )
    assert not why(read(world.hers))


def test_a_boundary_narrows_what_a_role_is_given_and_not_what_a_user_is(world: World) -> None:
    only_kms = world.iam.create_policy(PolicyName="kms", PolicyDocument=document(says("Allow", "kms:*")))
    boundary = {"PermissionsBoundary": only_kms["Policy"]["Arn"]}
    world.iam.put_user_permissions_boundary(UserName="ada", **boundary)
    world.put(world.policy("Allow", world.ada), world.policy("Allow", world.role))
    assert not why(read(world.hers))
    assert not why(read(world.session()))
    narrow = {"Policy": document(says("Allow", "kms:*"))}
    assert "no session policy allows" in why(read(world.session(**narrow)))
    world.iam.put_role_permissions_boundary(RoleName="reader", **boundary)
    assert "no permissions boundary allows" in why(read(world.session()))
    itself = world.role.replace(":iam:", ":sts:").replace(":role/", ":assumed-role/") + "/work"
    world.put(world.policy("Allow", itself))
    assert not why(read(world.session(**narrow)))
    world.put(world.policy("Allow", itself), world.policy("Deny", world.role))
    assert "explicit deny in a resource-based policy" in why(read(world.session()))


def test_a_node_is_held_by_them_too(world: World, aws: Aws, fleet: Any) -> None:
    ssm = its(aws, fleet.node(online=False), "ssm")
    assert not why(read(ssm))
    node_role = world.iam.get_role(RoleName="NodeRole")["Role"]["Arn"]
    world.put(world.policy("Deny", node_role))
    assert "explicit deny in a resource-based policy" in why(read(ssm))


def test_a_resource_without_a_policy_costs_nothing(
    world: World, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.put(world.policy("Allow", world.ada))
    world.root.put_parameter(Name="/plain", Value="1", Type="String")
    world.may(says("Allow", "ssm:GetParameter"))
    looked_for = []
    of = ResourcePolicyStore.kept

    def kept(store: ResourcePolicyStore, arn: str, **more: Any) -> Any:
        looked_for.append(arn)
        return of(store, arn, **more)

    monkeypatch.setattr(ResourcePolicyStore, "kept", kept)
    assert not why(lambda: world.hers.get_parameter(Name="/plain"))
    assert looked_for == []
    assert not why(read(world.hers))
    assert looked_for == [world.arn]


def test_with_many_policies_each_resource_is_looked_up(world: World) -> None:
    for number in range(101):
        name = f"/many/{number}"
        world.root.put_parameter(Name=name, Value="x", Type="String", Tier="Advanced")
        arn = world.arn.replace("/app/url", name)
        world.root.put_resource_policy(
            ResourceArn=arn, Policy=document({**world.policy("Allow", world.ada), "Resource": arn})
        )
    assert not why(lambda: world.hers.get_parameter(Name="/many/100"))
    assert IMPLICIT in why(read(world.hers))


def test_explain_and_the_simulation_tell_of_them(world: World, aws: Aws) -> None:
    asked = {"PrincipalArn": world.ada, "Action": "ssm:GetParameter", "Resource": world.arn}
    world.put(world.policy("Allow", world.ada) | {"Sid": "Ada"})
    found = aws("pilothouse").explain(**asked)
    (policy,) = world.root.get_resource_policies(ResourceArn=world.arn)["Policies"]
    assert found["Verdict"] == "allowed"
    assert found["Reason"] == f"Statement Ada of the policy {policy['PolicyId']} of the resource allows it."
    (told,) = found["Statements"]
    assert (told["Kind"], told["Policy"], told["Owner"]) == ("resource", policy["PolicyId"], world.arn)
    simulated = {"PolicySourceArn": world.ada, "ActionNames": ["ssm:GetParameter"], "ResourceArns": [world.arn]}
    (result,) = world.iam.simulate_principal_policy(**simulated)["EvaluationResults"]
    assert result["EvalDecision"] == "allowed"
    (matched,) = result["MatchedStatements"]
    assert (matched["SourcePolicyId"], matched["SourcePolicyType"]) == (policy["PolicyId"], "resource")
    world.put(world.policy("Deny", world.ada))
    world.may(says("Allow", "ssm:*"))
    assert "deny in a resource-based policy" in aws("pilothouse").explain(**asked)["Reason"]
    (result,) = world.iam.simulate_principal_policy(**simulated)["EvaluationResults"]
    assert result["EvalDecision"] == "explicitDeny"
    in_its_place = document({**world.policy("Allow", world.ada), "Resource": "*"})
    (result,) = world.iam.simulate_principal_policy(
        **simulated, CallerArn=world.ada, ResourcePolicy=in_its_place
    )["EvaluationResults"]  # fmt: skip
    assert result["EvalDecision"] == "allowed"


def test_explain_tells_of_key_policies(world: World, aws: Aws) -> None:
    key = aws("kms").create_key()["KeyMetadata"]["Arn"]
    asked = {"PrincipalArn": world.ada, "Action": "kms:Decrypt", "Resource": key}
    assert IMPLICIT in aws("pilothouse").explain(**asked)["Reason"]
    world.may(says("Allow", "kms:*"))
    assert aws("pilothouse").explain(**asked)["Verdict"] == "allowed"
    for_root = says("Allow", "kms:*", Principal={"AWS": f"arn:aws:iam::{world.account}:root"})
    for_root["Condition"] = {"StringLike": {"aws:PrincipalArn": "*:root"}}
    aws("kms").put_key_policy(KeyId=key, Policy=json.dumps({"Version": "2012-10-17", "Statement": for_root}))
    assert "no resource-based policy allows" in aws("pilothouse").explain(**asked)["Reason"]
