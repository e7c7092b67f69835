"""A policy that locks everybody out holds for users and roles, and leaves root the way to mend it."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.conftest import Aws, Server

DENY_ALL = {"Effect": "Deny", "Action": "*", "Resource": "*"}
ALLOW_ALL = {"Effect": "Allow", "Action": "*", "Resource": "*"}


def document(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def code(call: Callable[[], Any]) -> str:
    try:
        call()
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return ""


@pytest.fixture
def ada(aws: Aws) -> Callable[[str], Any]:
    """Clients of a user who may do everything."""
    iam = aws("iam")
    iam.create_user(UserName="ada")
    iam.put_user_policy(UserName="ada", PolicyName="all", PolicyDocument=document(ALLOW_ALL))
    key = iam.create_access_key(UserName="ada")["AccessKey"]
    return lambda service: aws(service, access_key=key["AccessKeyId"], secret=key["SecretAccessKey"])


def test_users_lock_themselves_out_and_root_lets_them_in(aws: Aws, ada: Callable[[str], Any]) -> None:
    ada("iam").put_user_policy(UserName="ada", PolicyName="no", PolicyDocument=document(DENY_ALL))
    assert code(lambda: ada("iam").delete_user_policy(UserName="ada", PolicyName="no")) == "AccessDenied"
    aws("iam").delete_user_policy(UserName="ada", PolicyName="no")
    boundary = ada("iam").create_policy(PolicyName="none", PolicyDocument=document(DENY_ALL))["Policy"]["Arn"]
    ada("iam").put_user_permissions_boundary(UserName="ada", PermissionsBoundary=boundary)
    assert code(lambda: ada("iam").delete_user_permissions_boundary(UserName="ada")) == "AccessDenied"
    aws("iam").delete_user_permissions_boundary(UserName="ada")
    assert not code(lambda: ada("iam").list_users())


def test_root_mends_a_key_policy_that_lets_nobody(aws: Aws, server: Server, ada: Callable[[str], Any]) -> None:
    kms = aws("kms")
    key = ada("kms").create_key()["KeyMetadata"]["Arn"]
    aws("ssm").put_parameter(Name="/x", Value="1", Type="SecureString", KeyId=key)
    nobody = document({**DENY_ALL, "Principal": "*"})
    assert code(lambda: ada("kms").put_key_policy(KeyId=key, Policy=nobody)) == "MalformedPolicyDocumentException"
    ada("kms").put_key_policy(KeyId=key, Policy=nobody, BypassPolicyLockoutSafetyCheck=True)
    default = {**ALLOW_ALL, "Principal": {"AWS": f"arn:aws:iam::{server.application.root.account_id}:root"}}
    for each in (kms, ada("kms")):
        for refused in (
            lambda: each.encrypt(KeyId=key, Plaintext=b"x"),  # noqa: B023 - called at once
            lambda: each.describe_key(KeyId=key),  # noqa: B023
            lambda: each.schedule_key_deletion(KeyId=key),  # noqa: B023
        ):
            assert code(refused) == "AccessDeniedException"
    assert code(lambda: ada("kms").put_key_policy(KeyId=key, Policy=document(default))) == "AccessDeniedException"
    assert code(lambda: aws("ssm").get_parameter(Name="/x", WithDecryption=True)) == "AccessDeniedException"
    assert json.loads(kms.get_key_policy(KeyId=key)["Policy"]) == json.loads(nobody)
    kms.put_key_policy(KeyId=key, Policy=document(default))
    assert aws("ssm").get_parameter(Name="/x", WithDecryption=True)["Parameter"]["Value"] == "1"
    provided = kms.describe_key(KeyId="alias/aws/ssm")["KeyMetadata"]["KeyId"]
    assert code(lambda: kms.put_key_policy(KeyId=provided, Policy=document(default))) == "AccessDeniedException"


def test_root_mends_a_policy_on_a_parameter_that_lets_nobody(
    aws: Aws, server: Server, ada: Callable[[str], Any]
) -> None:
    account = server.application.root.account_id
    aws("ssm").put_parameter(Name="/x", Value="1", Type="String", Tier="Advanced")
    arn = f"arn:aws:ssm:eu-west-1:{account}:parameter/x"
    nobody = {"Effect": "Deny", "Action": "ssm:GetParameter", "Resource": arn, "Principal": "*"}
    made = ada("ssm").put_resource_policy(ResourceArn=arn, Policy=document(nobody))
    assert code(lambda: ada("ssm").get_parameter(Name="/x")) == "AccessDeniedException"
    assert aws("ssm").get_parameter(Name="/x")["Parameter"]["Value"] == "1"
    aws("ssm").delete_resource_policy(ResourceArn=arn, PolicyId=made["PolicyId"], PolicyHash=made["PolicyHash"])
    assert not code(lambda: ada("ssm").get_parameter(Name="/x"))


def test_root_mends_a_trust_policy_that_lets_nobody(aws: Aws, server: Server) -> None:
    iam, sts = aws("iam"), aws("sts")
    trust = {"Action": "sts:AssumeRole", "Principal": {"AWS": server.application.root.account_id}}
    nobody = document({**trust, "Effect": "Deny"})
    role = iam.create_role(RoleName="r", AssumeRolePolicyDocument=nobody)["Role"]["Arn"]
    assert code(lambda: sts.assume_role(RoleArn=role, RoleSessionName="me")) == "AccessDenied"
    iam.update_assume_role_policy(RoleName="r", PolicyDocument=document({**trust, "Effect": "Allow"}))
    assert not code(lambda: sts.assume_role(RoleArn=role, RoleSessionName="me"))
