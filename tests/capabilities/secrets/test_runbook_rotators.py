"""Runbooks as rotators that act as a role, through boto3: who may name it, and what the service may pass on."""

import asyncio
import json
from typing import Any

import pytest

from tests.capabilities.access.policies import User, allow, error
from tests.capabilities.secrets.conftest import steps_of
from tests.conftest import Aws, Server

RUNBOOK = "ssm-automation:Set"
TRUST = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": {"Service": "ssm.amazonaws.com"}, "Action": "sts:AssumeRole"}],
    }
)
STEPS = ("Step", "SecretId", "ClientRequestToken")
TOLD = "/told"


def role(aws: Aws, name: str) -> str:
    """A role that runbooks may act as, which may write one parameter."""
    iam = aws("iam")
    arn: str = iam.create_role(RoleName=name, AssumeRolePolicyDocument=TRUST)["Role"]["Arn"]
    rights = {"Effect": "Allow", "Action": "ssm:PutParameter", "Resource": f"arn:aws:ssm:*:*:parameter{TOLD}"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [rights]})
    iam.put_role_policy(RoleName=name, PolicyName="p", PolicyDocument=policy)
    return arn


def runbook(aws: Aws, assumed: str, *more: str) -> None:
    """A runbook that writes which step it is done for into a parameter."""
    inputs = {
        "Service": "ssm", "Api": "PutParameter", "Name": TOLD, "Value": "{{ Step }}", "Type": "String",
        "Overwrite": True,
    }  # fmt: skip
    content = {
        "schemaVersion": "0.3",
        "assumeRole": assumed,
        "parameters": {name: {"type": "String"} for name in (*STEPS, *more)},
        "mainSteps": [{"name": "tell", "action": "aws:executeAwsApi", "inputs": inputs}],
    }
    aws("ssm").create_document(Name="Set", DocumentType="Automation", Content=json.dumps(content))


@pytest.fixture
def ann(aws: Aws) -> User:
    """She may rotate secrets and start runbooks."""
    user = User(aws, "ann")
    user.may(allow("secretsmanager:*"), allow("ssm:StartAutomationExecution"), policy="rotate")
    return user


def outcome(aws: Aws, server: Server) -> Any:
    """The rotation of x, once it has ended."""
    ours = aws("pilothouse")
    for _ in range(2000):
        last = ours.list_secret_rotations(SecretId="x", MaxResults=1)["Rotations"][0]
        if last["State"] != "Running":
            return last
        server.run(asyncio.sleep(0.01))
        server.advance(seconds=3)
    raise AssertionError(last)


def test_a_runbook_acts_as_the_role_that_its_rotation_names(aws: Aws, server: Server, secrets: Any) -> None:
    arn = role(aws, "Rotator")
    runbook(aws, "{{ AutomationAssumeRole }}", "AutomationAssumeRole")
    secrets.create_secret(Name="x", SecretString='{"password":"old"}')
    secrets.rotate_secret(SecretId="x", RotationLambdaARN=RUNBOOK, ExternalSecretRotationRoleArn=arn)
    rotation = outcome(aws, server)
    assert rotation["State"] == "Succeeded", rotation
    assert steps_of(rotation)[-1] == "finishSecret"
    history = aws("ssm").get_parameter_history(Name=TOLD)["Parameters"]
    assert [each["Value"] for each in history] == ["setSecret", "testSecret"]
    assert all(":assumed-role/Rotator/" in each["LastModifiedUser"] for each in history)
    assert secrets.describe_secret(SecretId="x")["ExternalSecretRotationRoleArn"] == arn


def test_who_may_not_pass_the_role_neither_names_it_nor_rotates_by_it(
    aws: Aws, server: Server, secrets: Any, ann: User
) -> None:
    arn = role(aws, "Rotator")
    runbook(aws, arn)  # the runbook may name it by itself, too
    secrets.create_secret(Name="x", SecretString='{"password":"old"}')
    hers = ann("secretsmanager")
    asked = {"SecretId": "x", "RotationLambdaARN": RUNBOOK, "ExternalSecretRotationRoleArn": arn}
    refused = error(hers.rotate_secret, **asked)
    assert refused["Code"] == "AccessDeniedException"
    assert f"iam:PassRole on resource: {arn}" in refused["Message"]
    assert "RotationEnabled" not in secrets.describe_secret(SecretId="x")
    secrets.rotate_secret(**asked)
    assert outcome(aws, server)["State"] == "Succeeded"
    refused = error(hers.rotate_secret, SecretId="x")  # by the role that is kept
    assert f"iam:PassRole on resource: {arn}" in refused["Message"]
    passing = {"StringEquals": {"iam:PassedToService": "ssm.amazonaws.com"}}
    ann.may(allow("iam:PassRole", arn, Condition=passing), policy="pass")
    hers.rotate_secret(SecretId="x")
    assert outcome(aws, server)["State"] == "Succeeded"


def test_the_service_passes_no_other_role(aws: Aws, server: Server, secrets: Any) -> None:
    arn, other = role(aws, "Rotator"), role(aws, "Other")
    runbook(aws, other)
    secrets.create_secret(Name="x", SecretString='{"password":"old"}')
    secrets.rotate_secret(SecretId="x", RotationLambdaARN=RUNBOOK, ExternalSecretRotationRoleArn=arn)
    rotation = outcome(aws, server)
    assert (rotation["State"], rotation["Step"], rotation["FailedAttempts"]) == ("Failed", "setSecret", 1)
    assert rotation["Error"] == (
        "it cannot be asked: AccessDeniedException; it may act as no other role than the one that "
        "ExternalSecretRotationRoleArn names"
    )
    assert json.loads(secrets.get_secret_value(SecretId="x")["SecretString"])["password"] == "old"


def test_a_role_is_one_of_the_account_and_no_pattern(aws: Aws, secrets: Any) -> None:
    account = role(aws, "Rotator").split(":")[4]
    secrets.create_secret(Name="x", SecretString="old")
    for arn in ("arn:aws:iam::999999999999:role/Rotator", f"arn:aws:iam::{account}:role/*", "not an arn at all, no"):
        refused = error(
            secrets.rotate_secret, SecretId="x", RotationLambdaARN=RUNBOOK, ExternalSecretRotationRoleArn=arn
        )
        assert refused["Code"] in ("InvalidParameterException", "ValidationException"), arn
    assert "RotationEnabled" not in secrets.describe_secret(SecretId="x")
