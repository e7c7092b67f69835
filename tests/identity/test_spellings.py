"""However a request spells what it is about, policies are asked about the same ARN: no spelling gets around a deny."""

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.capabilities.access.policies import allow, document
from tests.conftest import Aws, Server

SETTING = "/ssm/parameter-store/default-parameter-tier"


class World:
    def __init__(self, aws: Aws, server: Server) -> None:
        self.account = server.application.root.account_id
        aws("ssm").put_parameter(Name="/prod/db", Value="1", Type="String", Tier="Advanced")
        aws("secretsmanager").create_secret(Name="prod/db", SecretString="s")
        aws("iam").create_user(UserName="ada")
        key = aws("iam").create_access_key(UserName="ada")["AccessKey"]
        self.iam = aws("iam")
        self.ssm, self.secrets = (
            aws(each, access_key=key["AccessKeyId"], secret=key["SecretAccessKey"])
            for each in ("ssm", "secretsmanager")
        )

    def may_all_but(self, resource: str) -> None:
        text = document(allow("*"), {"Effect": "Deny", "Action": "*", "Resource": resource})
        self.iam.put_user_policy(UserName="ada", PolicyName="p", PolicyDocument=text)


@pytest.fixture
def world(aws: Aws, server: Server) -> World:
    return World(aws, server)


def outcome(call: Any, **members: Any) -> str:
    """What came of it: `done`, or the error's code with `DENY` where a policy refused."""
    try:
        call(**members)
    except ClientError as error:
        found = error.response["Error"]
        return "DENY" if "explicit deny" in found["Message"] else str(found["Code"])
    return "done"


def test_parameters_settings_and_policies_on_resources(world: World) -> None:
    plain = f"arn:aws:ssm:eu-west-1:{world.account}:parameter/prod/db"
    world.may_all_but(plain)
    spellings = ["/prod/db", "/prod/db:1", " /prod/db ", plain, f"{plain}:1", f"{plain} "]
    assert {outcome(world.ssm.get_parameter, Name=each) for each in spellings} == {"DENY"}
    elsewhere = [plain.replace("arn:aws:", f"arn:{each}:") for each in ("aws-cn", "aws-us-gov", "x")]
    for each in elsewhere:
        assert outcome(world.ssm.get_parameter, Name=each) == "ParameterNotFound"
        assert world.ssm.get_parameters(Names=[each])["InvalidParameters"] == [each]
        policy = json.dumps({"Version": "2012-10-17", "Statement": []})
        code = outcome(world.ssm.put_resource_policy, ResourceArn=each, Policy=policy)
        assert code == "ResourcePolicyInvalidParameterException"
    setting = f"arn:aws:ssm:eu-west-1:{world.account}:servicesetting{SETTING}"
    world.may_all_but(setting)
    assert {outcome(world.ssm.get_service_setting, SettingId=each) for each in (SETTING, setting)} == {"DENY"}
    foreign = setting.replace("arn:aws:", "arn:aws-cn:")
    assert outcome(world.ssm.get_service_setting, SettingId=foreign) == "ServiceSettingNotFound"


def test_documents(world: World) -> None:
    name = "AWS-RunShellScript"
    world.may_all_but(f"arn:aws:ssm:eu-west-1::document/{name}")
    spellings = [name] + [
        f"arn:{partition}:ssm:{region}:{account}:document/{name}"
        for partition in ("aws", "aws-cn")
        for region in ("eu-west-1", "us-east-1")
        for account in ("", world.account, "999999999999")
    ]
    for each in spellings:
        expected = "InvalidDocument" if "us-east-1" in each else "DENY"  # another region's means nothing here
        assert outcome(world.ssm.get_document, Name=each) == expected, each
        send = {"DocumentName": each, "Targets": [{"Key": "tag:x", "Values": ["y"]}]}
        assert outcome(world.ssm.send_command, **send, Parameters={"commands": ["true"]}) == expected, each


def test_secrets_and_references_to_them(world: World) -> None:
    world.may_all_but(f"arn:aws:secretsmanager:eu-west-1:{world.account}:secret:prod/db-??????")
    full = f"arn:aws:secretsmanager:eu-west-1:{world.account}:secret:prod/db"
    for each in ("prod/db", full, full.replace("arn:aws:", "arn:aws-cn:")):
        assert outcome(world.secrets.get_secret_value, SecretId=each) in ("DENY", "ResourceNotFoundException"), each
    reference = {"Name": "/aws/reference/secretsmanager/prod/db:AWSCURRENT", "WithDecryption": True}
    assert outcome(world.ssm.get_parameter, **reference) == "DENY"
    world.may_all_but(f"arn:aws:ssm:eu-west-1:{world.account}:parameter/aws/reference/secretsmanager/prod/db")
    assert outcome(world.ssm.get_parameter, **reference) == "DENY"
    assert outcome(world.secrets.get_secret_value, SecretId="prod/db") == "done"
