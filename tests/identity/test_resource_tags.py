"""Conditions on the tags of what a call is about."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.capabilities.commands.conftest import REGION, _signatures_follow_the_clock, fleet
from tests.conftest import Aws

__all__ = ["_signatures_follow_the_clock", "fleet"]


def statement(effect: str, action: str | list[str], resource: str = "*", **tags: str) -> dict[str, Any]:
    made: dict[str, Any] = {"Effect": effect, "Action": action, "Resource": resource}
    if tags:
        made["Condition"] = {"StringEquals": {key.replace("__", "/").replace("_", ":"): tags[key] for key in tags}}
    return made


@pytest.fixture
def ada(aws: Aws) -> tuple[Callable[..., None], Callable[[str], Any]]:
    """What gives the user her policy, and her clients."""
    iam = aws("iam")
    iam.create_user(UserName="ada")
    key = iam.create_access_key(UserName="ada")["AccessKey"]

    def may(*statements: dict[str, Any]) -> None:
        document = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
        iam.put_user_policy(UserName="ada", PolicyName="p", PolicyDocument=document)

    def client(service: str) -> Any:
        return aws(service, region=REGION, access_key=key["AccessKeyId"], secret=key["SecretAccessKey"])

    return may, client


def denied(call: Callable[[], Any]) -> bool:
    """Whether policies refuse it; any other refusal is raised."""
    try:
        call()
    except ClientError as error:
        if error.response["Error"]["Code"] != "AccessDeniedException":
            raise
        return True
    return False


def tagged(value: str) -> list[dict[str, str]]:
    return [{"Key": "env", "Value": value}]


@pytest.mark.parametrize("key", ["ssm_resourceTag__env", "aws_ResourceTag__env"])
def test_parameters_by_their_tags(aws: Aws, ada: Any, key: str) -> None:
    may, client = ada
    root, hers = aws("ssm", region=REGION), client("ssm")
    for name, env in (("/a/dev", "dev"), ("/a/prod", "prod"), ("plain", "dev")):
        root.put_parameter(Name=name, Value="1", Type="String", Tags=tagged(env))
    root.put_parameter(Name="/a/none", Value="1", Type="String")
    may(statement("Allow", "ssm:Get*", **{key: "dev"}))
    assert not denied(lambda: hers.get_parameter(Name="/a/dev"))
    assert not denied(lambda: hers.get_parameter(Name="plain"))
    assert denied(lambda: hers.get_parameter(Name="/a/prod"))
    assert denied(lambda: hers.get_parameter(Name="/a/none"))
    assert denied(lambda: hers.get_parameters(Names=["/a/dev", "/a/prod"]))
    root.add_tags_to_resource(ResourceType="Parameter", ResourceId="/a/prod", Tags=tagged("dev"))
    assert not denied(lambda: hers.get_parameter(Name="/a/prod"))
    may(statement("Allow", "ssm:Get*"), statement("Deny", "*", **{key: "dev"}))
    assert denied(lambda: hers.get_parameter(Name="/a/dev"))
    assert not denied(lambda: hers.get_parameter(Name="/a/none"))


@pytest.mark.parametrize("key", ["secretsmanager_ResourceTag__env", "aws_ResourceTag__env"])
def test_secrets_by_their_tags(aws: Aws, ada: Any, key: str) -> None:
    may, client = ada
    root, hers = aws("secretsmanager", region=REGION), client("secretsmanager")
    arn = root.create_secret(Name="app/dev-old", SecretString="s", Tags=tagged("dev"))["ARN"]
    root.create_secret(Name="app/prod", SecretString="s", Tags=tagged("prod"))
    may(statement("Allow", "secretsmanager:*", **{key: "dev"}))
    assert not denied(lambda: hers.get_secret_value(SecretId="app/dev-old"))
    assert not denied(lambda: hers.get_secret_value(SecretId=arn))
    assert denied(lambda: hers.get_secret_value(SecretId="app/prod"))


def test_commands_by_the_tags_of_nodes(aws: Aws, ada: Any, fleet: Any) -> None:
    may, client = ada
    hers = client("ssm")
    dev = [fleet.node(online=False, tags={"env": "dev", "app": "web"}) for _ in range(2)]
    prod = fleet.node(online=False, tags={"env": "prod", "app": "web"})

    def send(**to: Any) -> Any:
        return hers.send_command(DocumentName="AWS-RunShellScript", Parameters={"commands": ["true"]}, **to)

    def target(key: str, value: str) -> dict[str, Any]:
        return {"Targets": [{"Key": f"tag:{key}", "Values": [value]}]}

    root = aws("ssm", region=REGION)

    def states(sent: Any) -> tuple[str, str, dict[str, str]]:
        """Of the command, and the details of its invocations by node."""
        found = root.list_command_invocations(CommandId=sent["Command"]["CommandId"])["CommandInvocations"]
        command = root.list_commands(CommandId=sent["Command"]["CommandId"])["Commands"][0]
        by_node = {each["InstanceId"]: each["StatusDetails"] for each in found}
        return command["Status"], command["StatusDetails"], by_node

    document = statement("Allow", "ssm:SendCommand", "arn:aws:ssm:*:*:document/*")
    nodes = "arn:aws:ssm:*:*:managed-instance/*"
    may(document, statement("Allow", "ssm:SendCommand", nodes, ssm_resourceTag__env="dev"))
    assert not denied(lambda: send(InstanceIds=[each.id for each in dev]))
    assert denied(lambda: send(InstanceIds=[prod.id]))
    assert denied(lambda: send(InstanceIds=[dev[0].id, prod.id]))
    assert not denied(lambda: send(**target("env", "dev")))
    assert states(send(**target("env", "prod"))) == ("Failed", "AccessDenied", {prod.id: "AccessDenied"})
    some = {dev[0].id: "Pending", dev[1].id: "Pending", prod.id: "AccessDenied"}
    assert states(send(**target("app", "web"))) == ("InProgress", "InProgress", some)
    assert denied(lambda: send(**target("app", "nothing has it")))
    may(
        document,
        statement("Allow", "ssm:SendCommand", nodes),
        statement("Deny", "*", nodes, aws_ResourceTag__env="prod"),
    )
    assert states(send(**target("app", "web"))) == ("InProgress", "InProgress", some)
    assert not denied(lambda: send(**target("env", "dev")))
    commands = root.list_commands()["Commands"]
    assert sorted(each["TargetCount"] for each in commands) == [1, 2, 2, 2, 3, 3]
    assert {each["CompletedCount"] for each in commands if each["TargetCount"] in (1, 3)} == {1}


@pytest.mark.parametrize("key", ["secretsmanager_ResourceTag__env", "aws_ResourceTag__env"])
def test_what_a_reference_to_a_secret_asks_besides(aws: Aws, ada: Any, key: str) -> None:
    may, client = ada
    secrets, kms = aws("secretsmanager", region=REGION), aws("kms", region=REGION)
    own_key = kms.create_key(Tags=[{"TagKey": "env", "TagValue": "dev"}])["KeyMetadata"]["KeyId"]
    secrets.create_secret(Name="dev", SecretString="s", Tags=tagged("dev"), KmsKeyId=own_key)
    secrets.create_secret(Name="prod", SecretString="s", Tags=tagged("prod"))

    def read(name: str) -> Callable[[], Any]:
        whole = f"/aws/reference/secretsmanager/{name}"
        return lambda: client("ssm").get_parameter(Name=whole, WithDecryption=True)

    parameters = statement("Allow", "ssm:GetParameter")
    may(parameters, statement("Allow", ["secretsmanager:GetSecretValue", "kms:Decrypt"], aws_ResourceTag__env="dev"))
    assert not denied(read("dev"))
    assert denied(read("prod"))
    may(parameters, statement("Allow", "secretsmanager:*"), statement("Allow", "kms:*", aws_ResourceTag__env="prod"))
    assert denied(read("dev"))
    may(parameters, statement("Allow", ["secretsmanager:*", "kms:*"]), statement("Deny", "*", **{key: "dev"}))
    assert denied(read("dev"))
    assert not denied(read("prod"))
    older = {"StringEquals": {"secretsmanager:VersionStage": "AWSPREVIOUS"}}
    may(parameters, {"Effect": "Allow", "Action": "secretsmanager:*", "Resource": "*", "Condition": older})
    assert denied(read("prod"))


def roles(aws: Aws, service: str) -> None:
    trust = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
    text = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    for env in ("dev", "prod"):
        aws("iam").create_role(RoleName=f"for-{env}", AssumeRolePolicyDocument=text, Tags=tagged(env))


@pytest.mark.parametrize("key", ["iam_ResourceTag__env", "aws_ResourceTag__env"])
def test_roles_are_passed_by_their_tags(aws: Aws, ada: Any, key: str) -> None:
    may, client = ada
    roles(aws, "ssm.amazonaws.com")
    iam, hers = client("iam"), client("ssm")
    passing = statement("Allow", "iam:PassRole", **{key: "dev"})
    may(statement("Allow", ["ssm:CreateActivation", "iam:AddRoleToInstanceProfile"]), passing)
    assert not denied(lambda: hers.create_activation(IamRole="for-dev"))
    assert denied(lambda: hers.create_activation(IamRole="for-prod"))
    aws("iam").create_instance_profile(InstanceProfileName="p")
    with pytest.raises(ClientError, match=r"iam:PassRole on resource: .*:role/for-prod"):
        iam.add_role_to_instance_profile(InstanceProfileName="p", RoleName="for-prod")
    iam.add_role_to_instance_profile(InstanceProfileName="p", RoleName="for-dev")


def test_a_role_goes_into_a_profile_for_machines_alone(aws: Aws, ada: Any, server: Any) -> None:
    may, client = ada
    roles(aws, "ec2.amazonaws.com")
    aws("iam").create_instance_profile(InstanceProfileName="p")
    instances = f"arn:aws:ec2:*:{server.application.root.account_id}:instance/*"
    adding = statement("Allow", "iam:AddRoleToInstanceProfile")

    def add() -> Any:
        return client("iam").add_role_to_instance_profile(InstanceProfileName="p", RoleName="for-dev")

    for service, associated in (("ssm.amazonaws.com", instances), ("ec2.amazonaws.com", "arn:aws:ec2:*:*:instance/i")):
        passed = {"iam:PassedToService": service, "iam:AssociatedResourceArn": associated}
        may(adding, statement("Allow", "iam:PassRole") | {"Condition": {"StringEquals": passed}})
        with pytest.raises(ClientError, match="iam:PassRole"):
            add()
    passed = {"iam:PassedToService": "ec2.amazonaws.com", "iam:AssociatedResourceArn": instances}
    may(adding, statement("Allow", "iam:PassRole") | {"Condition": {"StringEquals": passed}})
    add()


def test_what_iam_keeps_by_its_tags(aws: Aws, ada: Any) -> None:
    may, client = ada
    root, hers = aws("iam"), client("iam")
    roles(aws, "ssm.amazonaws.com")
    anything = json.dumps({"Version": "2012-10-17", "Statement": [statement("Allow", "ssm:*")]})
    named: dict[str, dict[str, Any]] = {}
    for env in ("dev", "prod"):
        root.create_user(UserName=env, Tags=tagged(env), Path="/team/")
        root.create_instance_profile(InstanceProfileName=env, Tags=tagged(env))
        policy = root.create_policy(PolicyName=env, PolicyDocument=anything, Tags=tagged(env), Path="/team/")["Policy"]
        provider = root.create_open_id_connect_provider(Url=f"https://{env}.example", Tags=tagged(env))
        device = root.create_virtual_mfa_device(VirtualMFADeviceName=env, Tags=tagged(env))["VirtualMFADevice"]
        named[env] = {
            "list_user_tags": {"UserName": env}, "list_role_tags": {"RoleName": f"for-{env}"},
            "list_instance_profile_tags": {"InstanceProfileName": env},
            "list_policy_tags": {"PolicyArn": policy["Arn"]},
            "list_open_id_connect_provider_tags": {
                "OpenIDConnectProviderArn": provider["OpenIDConnectProviderArn"],
            },
            "list_mfa_device_tags": {"SerialNumber": device["SerialNumber"]},
        }  # fmt: skip
    may(statement("Allow", "iam:List*", aws_ResourceTag__env="dev"))
    for name, members in named["dev"].items():
        assert getattr(hers, name)(**members)["Tags"] == tagged("dev")
    for name, members in named["prod"].items():
        with pytest.raises(ClientError, match="AccessDenied"):
            getattr(hers, name)(**members)


def test_a_role_is_taken_on_by_its_tags(aws: Aws, ada: Any, server: Any) -> None:
    may, client = ada
    account = server.application.root.account_id
    trust = {"Effect": "Allow", "Principal": {"AWS": account}, "Action": "sts:AssumeRole"}
    text = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    for env in ("dev", "prod"):
        aws("iam").create_role(RoleName=env, AssumeRolePolicyDocument=text, Tags=tagged(env))
    may(statement("Allow", "sts:AssumeRole", iam_ResourceTag__env="dev"))

    def take(role: str) -> Any:
        return client("sts").assume_role(RoleArn=f"arn:aws:iam::{account}:role/{role}", RoleSessionName="ada")

    assert take("dev")["AssumedRoleUser"]
    with pytest.raises(ClientError, match="AccessDenied"):
        take("prod")
