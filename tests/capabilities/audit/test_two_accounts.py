"""What one account does with another's things stands in the trails of both, linked, and each tells its own."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from pilothouse.capabilities import access
from tests.capabilities.audit.test_chain import verified
from tests.capabilities.audit.test_records import SECRET, events
from tests.conftest import Aws, Server

Guest = Callable[..., Any]


@pytest.fixture
def guest(aws: Aws, server: Server) -> Guest:
    """Clients of another account."""
    made = server.run(access.create_account(server.application.house, "guest"))

    def client(service: str, **more: Any) -> Any:
        return aws(service, access_key=made.access_key_id, secret=made.secret, **more)

    client.account_id = made.account_id  # type: ignore[attr-defined]
    return client


def account_of(client: Any) -> str:
    return str(client("sts").get_caller_identity()["Account"])


def policy(guest: Guest, actions: list[str], resource: str | None = None) -> str:
    statement = {"Effect": "Allow", "Principal": {"AWS": account_of(guest)}, "Action": actions}
    return json.dumps(
        {"Version": "2012-10-17", "Statement": [statement | ({"Resource": resource} if resource else {})]}
    )


def both(aws: Aws, guest: Guest, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The one record of the guest's call in each account."""
    (theirs,) = events(guest, EventName=name)
    (ours,) = [each for each in events(aws, EventName=name) if each["userIdentity"].get("type") == "AWSAccount"]
    assert theirs["sharedEventID"] == ours["sharedEventID"]
    assert theirs["eventID"] != ours["eventID"]
    assert theirs["requestID"] == ours["requestID"]
    assert (theirs["recipientAccountId"], ours["recipientAccountId"]) == (account_of(guest), account_of(aws))
    assert ours["userIdentity"].keys() == {"type", "principalId", "accountId"}
    assert ours["userIdentity"]["accountId"] == account_of(guest)
    assert all(each["accountId"] == account_of(aws) for each in ours["resources"])
    assert ours["resources"] != []
    return theirs, ours


def test_a_role_that_another_account_takes_on_is_in_both_trails(aws: Aws, guest: Guest, server: Server) -> None:
    role = aws("iam").create_role(
        RoleName="door", AssumeRolePolicyDocument=policy(guest, ["sts:AssumeRole"])
    )["Role"]  # fmt: skip
    made = guest("sts").assume_role(RoleArn=role["Arn"], RoleSessionName="visit")["Credentials"]
    theirs, ours = both(aws, guest, "AssumeRole")
    assert theirs["userIdentity"]["type"] == "Root"
    assert ours["resources"] == [{"ARN": role["Arn"], "accountId": account_of(aws), "type": "AWS::IAM::Role"}]
    assert ours["requestParameters"] == {"roleArn": role["Arn"], "roleSessionName": "visit"}
    assert ours["responseElements"]["credentials"]["accessKeyId"] == made["AccessKeyId"]
    assert len(events(aws, ResourceName=role["Arn"])) == 2  # it was made, and taken on
    assert made["SecretAccessKey"] not in json.dumps([theirs, ours])
    own = aws("sts").assume_role  # of the own account: one record
    with pytest.raises(ClientError):
        own(RoleArn=role["Arn"], RoleSessionName="own")
    with pytest.raises(ClientError):
        guest("sts").assume_role(RoleArn=role["Arn"] + "-other", RoleSessionName="visit")
    assert len(events(aws, EventName="AssumeRole")) == 2
    assert [each.get("errorCode") for each in events(guest, EventName="AssumeRole")] == [None, "AccessDenied"]
    assert verified(server).faults == []


def test_a_shared_parameter_and_its_key_are_read_in_the_trail_of_their_owner(aws: Aws, guest: Guest) -> None:
    key = aws("kms").create_key(
        Policy=json.dumps({"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Principal": {"AWS": [account_of(aws), account_of(guest)]}, "Action": "kms:*",
             "Resource": "*"}]})
    )["KeyMetadata"]["Arn"]  # fmt: skip
    ssm = aws("ssm")
    ssm.put_parameter(Name="/app/db", Value=SECRET, Type="SecureString", Tier="Advanced", KeyId=key)
    arn = ssm.get_parameter(Name="/app/db")["Parameter"]["ARN"]
    ssm.put_resource_policy(ResourceArn=arn, Policy=policy(guest, ["ssm:GetParameter", "ssm:GetParameters"], arn))
    assert guest("ssm").get_parameter(Name=arn, WithDecryption=True)["Parameter"]["Value"] == SECRET
    _, ours = both(aws, guest, "GetParameter")
    assert {each["ARN"] for each in ours["resources"]} == {arn, key}
    assert ours["requestParameters"] == {"name": arn, "withDecryption": True}
    assert SECRET not in json.dumps(ours)
    guest("ssm").put_parameter(Name="/own", Value=SECRET, Type="SecureString", KeyId=key)
    theirs, ours = both(aws, guest, "PutParameter")
    assert [each["type"] for each in theirs["resources"]] == ["AWS::SSM::Parameter", "AWS::KMS::Key"]
    assert [each["ARN"] for each in ours["resources"]] == [key]
    assert (ours["requestParameters"], ours["responseElements"]) == (None, None)  # what the guest names is the guest's
    guest("kms").encrypt(KeyId=key, Plaintext=SECRET.encode())
    assert [each["ARN"] for each in both(aws, guest, "Encrypt")[1]["resources"]] == [key]
    guest("kms").create_grant(KeyId=key, GranteePrincipal=account_of(guest), Operations=["Decrypt"])
    assert [each["ARN"] for each in both(aws, guest, "CreateGrant")[1]["resources"]] == [key]


def test_who_gets_nothing_of_another_account_leaves_nothing_in_its_trail(aws: Aws, guest: Guest) -> None:
    aws("ssm").put_parameter(Name="/closed", Value=SECRET, Type="SecureString")
    arn = aws("ssm").get_parameter(Name="/closed")["Parameter"]["ARN"]
    before = len(events(aws))
    guest("ssm").put_parameter(Name="/own", Value=SECRET, Type="SecureString")
    with pytest.raises(ClientError):
        guest("ssm").get_parameters(Names=["/own", arn], WithDecryption=True)
    with pytest.raises(ClientError):
        guest("ssm").get_parameter(Name=arn, WithDecryption=True)
    assert len(events(aws)) == before
    (refused,) = events(guest, EventName="GetParameter")
    assert refused["errorCode"] == "AccessDeniedException"
    assert "sharedEventID" not in refused
