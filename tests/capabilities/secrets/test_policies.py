"""Resource policies: what stands, what is refused, whom they keep out and whom of another account they let in."""

import json
from typing import Any

import pytest

from pilothouse.capabilities import access
from tests.capabilities.secrets.answers import bare, refused

ELSEWHERE = (
    "You can't access a secret from a different AWS account if you encrypt the secret with the default KMS service key."
)


@pytest.fixture
def guest(aws: Any, server: Any) -> Any:
    made = server.run(access.create_account(server.application.house, "guest"))

    def client(service: str = "secretsmanager") -> Any:
        return aws(service, access_key=made.access_key_id, secret=made.secret)

    client.account_id = made.account_id  # type: ignore[attr-defined]
    return client


def policy(effect: str = "Allow", principal: Any = "*", action: Any = "secretsmanager:*", **more: Any) -> str:
    statement = {"Effect": effect, "Principal": principal, "Action": action, "Resource": "*", **more}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def test_a_policy_is_put_got_and_deleted(secrets: Any) -> None:
    made = secrets.create_secret(Name="x", SecretString="S")
    about = {"ARN": made["ARN"], "Name": "x"}
    assert bare(secrets.get_resource_policy(SecretId="x")) == about
    assert bare(secrets.put_resource_policy(SecretId="x", ResourcePolicy=policy())) == about
    assert bare(secrets.get_resource_policy(SecretId="x")) == about | {"ResourcePolicy": policy()}
    assert secrets.list_resource_policies(SecretId="x")["ResourcePolicies"] == [{"PolicyName": "default"}]
    named = secrets.get_resource_policy(SecretId="x", PolicyName="default")
    assert named["PolicyName"] == "default"
    assert bare(secrets.delete_resource_policy(SecretId="x")) == about
    assert secrets.list_resource_policies(SecretId="x")["ResourcePolicies"] == []
    with refused("InvalidParameterException"):
        secrets.put_resource_policy(SecretId="x", ResourcePolicy=policy(), PolicyName="other")
    for text in ("{", '{"Version":"2012-10-17"}', policy(Nonsense=1)):
        with refused("MalformedPolicyDocumentException"):
            secrets.put_resource_policy(SecretId="x", ResourcePolicy=text)
    with refused("ResourceNotFoundException", "Secrets Manager can't find the specified secret."):
        secrets.put_resource_policy(SecretId="in valid", ResourcePolicy=policy())


def test_what_is_public_can_be_kept_out(secrets: Any) -> None:
    secrets.create_secret(Name="x")
    narrow = policy(Condition={"StringEquals": {"aws:PrincipalAccount": "111122223333"}})
    secrets.put_resource_policy(SecretId="x", ResourcePolicy=narrow, BlockPublicPolicy=True)
    wide = policy(Condition={"StringLike": {"aws:PrincipalArn": "*"}})
    for text in (policy(), wide):
        with refused("PublicPolicyException"):
            secrets.put_resource_policy(SecretId="x", ResourcePolicy=text, BlockPublicPolicy=True)
    assert secrets.get_resource_policy(SecretId="x")["ResourcePolicy"] == narrow
    assert secrets.validate_resource_policy(ResourcePolicy=narrow)["PolicyValidationPassed"]
    told = secrets.validate_resource_policy(SecretId="x", ResourcePolicy=policy())
    assert not told["PolicyValidationPassed"]
    assert [each["CheckName"] for each in told["ValidationErrors"]] == ["BROAD_ACCESS"]
    locking = policy("Deny", action="secretsmanager:PutResourcePolicy")
    told = secrets.validate_resource_policy(SecretId="x", ResourcePolicy=locking)
    assert [each["CheckName"] for each in told["ValidationErrors"]] == ["LOCKOUT"]


def test_a_denied_role_is_kept_out_while_others_read(secrets: Any, aws: Any) -> None:
    iam = aws("iam")
    arn = secrets.create_secret(Name="x", SecretString="S")["ARN"]
    clients = {}
    for name in ("reader", "other"):
        iam.create_user(UserName=name)
        iam.put_user_policy(
            UserName=name,
            PolicyName="p",
            PolicyDocument=json.dumps(
                {
                    "Version": "2012-10-17",
                    "Statement": [{"Effect": "Allow", "Action": "secretsmanager:GetSecretValue", "Resource": "*"}],
                }
            ),
        )
        key = iam.create_access_key(UserName=name)["AccessKey"]
        clients[name] = aws("secretsmanager", access_key=key["AccessKeyId"], secret=key["SecretAccessKey"])
    who = iam.get_user(UserName="reader")["User"]["Arn"]
    deny = policy("Deny", {"AWS": who}, "secretsmanager:GetSecretValue")
    secrets.put_resource_policy(SecretId="x", ResourcePolicy=deny)
    with refused(
        "AccessDeniedException",
        f"User: {who} is not authorized to perform: secretsmanager:GetSecretValue on resource: {arn} "
        "with an explicit deny in a resource-based policy",
    ):
        clients["reader"].get_secret_value(SecretId="x")
    assert clients["other"].get_secret_value(SecretId="x")["SecretString"] == "S"
    batch = clients["other"].batch_get_secret_value
    with refused("AccessDeniedException"):
        batch(SecretIdList=["x"])


def test_another_account_is_let_in_by_the_complete_arn(secrets: Any, guest: Any, aws: Any) -> None:
    arn = secrets.create_secret(Name="x", SecretString="S")["ARN"]
    theirs = guest()
    texts = []
    for secret_id in (arn, arn[:-1] + "0", arn[:-7]):
        with pytest.raises(theirs.exceptions.ClientError) as caught:
            theirs.describe_secret(SecretId=secret_id)
        assert caught.value.response["Error"]["Code"] == "AccessDeniedException"
        texts.append(caught.value.response["Error"]["Message"].replace(secret_id, "ARN"))
    assert len(set(texts)) == 1
    secrets.put_resource_policy(SecretId="x", ResourcePolicy=policy(principal={"AWS": guest.account_id}))
    assert theirs.describe_secret(SecretId=arn)["Name"] == "x"
    assert theirs.list_secret_version_ids(SecretId=arn)["Versions"]
    assert theirs.get_resource_policy(SecretId=arn)["ResourcePolicy"]
    theirs.tag_resource(SecretId=arn, Tags=[{"Key": "a", "Value": "b"}])
    assert theirs.list_secrets()["SecretList"] == []
    for use in (theirs.get_secret_value, lambda **a: theirs.put_secret_value(SecretString="T", **a)):
        with refused("InvalidRequestException", ELSEWHERE):
            use(SecretId=arn)
    key_policy = policy(principal={"AWS": [guest.account_id, arn.split(":")[4]]}, action="kms:*")
    key = aws("kms").create_key(Policy=key_policy)["KeyMetadata"]["Arn"]
    secrets.update_secret(SecretId="x", KmsKeyId=key)
    assert theirs.get_secret_value(SecretId=arn)["SecretString"] == "S"
    theirs.put_secret_value(SecretId=arn, SecretString="T")
    assert secrets.get_secret_value(SecretId="x")["SecretString"] == "T"
    theirs.delete_secret(SecretId=arn)
    theirs.restore_secret(SecretId=arn)
    with refused("ResourceNotFoundException"):
        theirs.get_secret_value(SecretId="x")
