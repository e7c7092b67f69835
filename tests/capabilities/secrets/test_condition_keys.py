"""Policies that hold callers to what their requests to Secrets Manager say, through boto3."""

from typing import Any

import pytest

from tests.capabilities.access.policies import User, allow, deny, error
from tests.conftest import Aws

DENIED = "AccessDeniedException"


@pytest.fixture
def user(aws: Aws) -> User:
    return User(aws, "ann")


def held(user: User, action: str, condition: dict[str, Any]) -> Any:
    user.may(allow("secretsmanager:*"), deny(f"secretsmanager:{action}", Condition=condition), policy="p")
    return user("secretsmanager")


def test_what_a_new_secret_is_called_and_encrypted_with(aws: Aws, user: User) -> None:
    secrets = held(user, "CreateSecret", {"StringNotLike": {"secretsmanager:Name": "team/*"}})
    assert error(secrets.create_secret, Name="other", SecretString="x")["Code"] == DENIED
    secrets.create_secret(Name="team/a", SecretString="x")
    secrets = held(user, "CreateSecret", {"Null": {"secretsmanager:KmsKeyId": "true"}})
    assert error(secrets.create_secret, Name="b", SecretString="x")["Code"] == DENIED
    key = aws("kms").create_key()["KeyMetadata"]["Arn"]
    user.may(allow("kms:*"), policy="k")
    secrets.create_secret(Name="b", SecretString="x", KmsKeyId=key)
    secrets = held(user, "UpdateSecret", {"StringEquals": {"secretsmanager:Description": "hidden"}})
    assert error(secrets.update_secret, SecretId="b", Description="hidden")["Code"] == DENIED
    secrets.update_secret(SecretId="b", Description="shown")


def test_which_version_is_read(aws: Aws, user: User) -> None:
    admin = aws("secretsmanager")
    first = admin.create_secret(Name="s", SecretString="1")["VersionId"]
    admin.put_secret_value(SecretId="s", SecretString="2")
    secrets = held(user, "GetSecretValue", {"StringNotEquals": {"secretsmanager:VersionStage": "AWSCURRENT"}})
    assert secrets.get_secret_value(SecretId="s")["SecretString"] == "2"
    assert secrets.get_secret_value(SecretId="s", VersionStage="AWSCURRENT")["SecretString"] == "2"
    assert error(secrets.get_secret_value, SecretId="s", VersionStage="AWSPREVIOUS")["Code"] == DENIED
    assert error(secrets.get_secret_value, SecretId="s", VersionId=first)["Code"] == DENIED
    secrets = held(user, "GetSecretValue", {"StringEquals": {"secretsmanager:VersionId": first}})
    assert error(secrets.get_secret_value, SecretId="s", VersionId=first)["Code"] == DENIED
    secrets.get_secret_value(SecretId="s")
    secrets = held(
        user, "GetSecretValue", {"ArnNotLike": {"secretsmanager:SecretId": "arn:aws:secretsmanager:*:*:secret:*"}}
    )
    assert error(secrets.get_secret_value, SecretId="s")["Code"] == DENIED
    secrets.get_secret_value(SecretId=admin.describe_secret(SecretId="s")["ARN"])


def test_how_a_secret_is_deleted(aws: Aws, user: User) -> None:
    for name in ("a", "b"):
        aws("secretsmanager").create_secret(Name=name, SecretString="x")
    secrets = held(user, "DeleteSecret", {"Bool": {"secretsmanager:ForceDeleteWithoutRecovery": "true"}})
    assert error(secrets.delete_secret, SecretId="a", ForceDeleteWithoutRecovery=True)["Code"] == DENIED
    secrets.delete_secret(SecretId="a", ForceDeleteWithoutRecovery=False)
    secrets = held(user, "DeleteSecret", {"NumericLessThan": {"secretsmanager:RecoveryWindowInDays": "14"}})
    assert error(secrets.delete_secret, SecretId="b", RecoveryWindowInDays=13)["Code"] == DENIED
    secrets.delete_secret(SecretId="b", RecoveryWindowInDays=14)
