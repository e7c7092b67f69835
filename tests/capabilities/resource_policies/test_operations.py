"""Resource policies through the client: put, get, delete, and what is refused."""

import json

import pytest
from botocore.exceptions import ClientError

from pilothouse.capabilities import access, resource_policies
from pilothouse.identity.policy import Ask

GUEST = "999988887777"


@pytest.fixture
def ssm(aws):
    made = aws("ssm")
    made.put_parameter(Name="/shared/url", Value="x", Type="String", Tier="Advanced")
    return made


@pytest.fixture
def arn(ssm):
    return ssm.get_parameter(Name="/shared/url")["Parameter"]["ARN"]


def policy(arn, account=GUEST, **more):
    statement = {
        "Effect": "Allow",
        "Principal": {"AWS": account},
        "Action": ["ssm:GetParameter", "ssm:GetParameters"],
        "Resource": arn,
        **more,
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def refused(failing, **members):
    with pytest.raises(ClientError) as error:
        failing(**members)
    return error.value.response


def code(failing, **members):
    return refused(failing, **members)["Error"]["Code"]


def test_put_get_update_delete(ssm, arn):
    text = policy(arn)
    made = ssm.put_resource_policy(ResourceArn=arn, Policy=text)
    assert len(made["PolicyHash"]) == 64
    kept = {"PolicyId": made["PolicyId"], "PolicyHash": made["PolicyHash"], "Policy": text}
    answer = ssm.get_resource_policies(ResourceArn=arn)
    assert answer["Policies"] == [kept]
    assert "NextToken" not in answer
    again = ssm.put_resource_policy(
        ResourceArn=arn, Policy=policy(arn, "111122223333"), PolicyId=made["PolicyId"], PolicyHash=made["PolicyHash"]
    )
    assert again["PolicyId"] == made["PolicyId"]
    assert again["PolicyHash"] != made["PolicyHash"]
    stale = {"ResourceArn": arn, "PolicyId": made["PolicyId"], "PolicyHash": made["PolicyHash"]}
    assert code(ssm.put_resource_policy, Policy=text, **stale) == "ResourcePolicyConflictException"
    assert code(ssm.delete_resource_policy, **stale) == "ResourcePolicyConflictException"
    assert "111122223333" in ssm.get_resource_policies(ResourceArn=arn)["Policies"][0]["Policy"]
    ssm.delete_resource_policy(ResourceArn=arn, PolicyId=again["PolicyId"], PolicyHash=again["PolicyHash"])
    assert ssm.get_resource_policies(ResourceArn=arn)["Policies"] == []
    assert code(ssm.delete_resource_policy, **stale) == "ResourcePolicyNotFoundException"
    assert code(ssm.put_resource_policy, Policy=text, **stale) == "ResourcePolicyNotFoundException"


def test_pages(ssm, arn):
    for account in range(3):
        ssm.put_resource_policy(ResourceArn=arn, Policy=policy(arn, f"11112222333{account}"))
    first = ssm.get_resource_policies(ResourceArn=arn, MaxResults=2)
    rest = ssm.get_resource_policies(ResourceArn=arn, MaxResults=2, NextToken=first["NextToken"])
    ids = [each["PolicyId"] for each in first["Policies"] + rest["Policies"]]
    assert ids == sorted(set(ids))
    assert (len(ids), "NextToken" in rest) == (3, False)
    wrong = refused(ssm.get_resource_policies, ResourceArn=arn, NextToken="x")
    assert wrong["Error"]["Code"] == "ResourcePolicyInvalidParameterException"


def test_a_standard_parameter_cannot_be_shared(ssm, arn):
    ssm.put_parameter(Name="/plain", Value="x", Type="String")
    plain = ssm.get_parameter(Name="/plain")["Parameter"]["ARN"]
    answer = refused(ssm.put_resource_policy, ResourceArn=plain, Policy=policy(plain))
    assert answer["Error"]["Code"] == "ResourcePolicyInvalidParameterException"
    assert answer["ParameterNames"] == ["ResourceArn"]


def test_a_secret_under_the_default_key_cannot_be_shared(ssm, arn):
    ssm.put_parameter(Name="/secret", Value="x", Type="SecureString", Tier="Advanced")
    secret = ssm.get_parameter(Name="/secret")["Parameter"]["ARN"]
    found = code(ssm.put_resource_policy, ResourceArn=secret, Policy=policy(secret))
    assert found == "ResourcePolicyInvalidParameterException"


def test_resources_that_are_not_there(ssm, arn):
    elsewhere = arn.replace("eu-west-1", "us-east-1")
    document = arn.replace("parameter/shared/url", "document/mine")
    for missing in (arn + "2", elsewhere, document, arn[:22] + GUEST + arn[34:]):
        assert code(ssm.get_resource_policies, ResourceArn=missing) == "ResourceNotFoundException"
        assert code(ssm.put_resource_policy, ResourceArn=missing, Policy=policy(missing)) == "ResourceNotFoundException"
    for wrong in ("x" * 20, arn.replace("parameter/", "session/"), arn.replace(":ssm:", ":kms:")):
        assert code(ssm.get_resource_policies, ResourceArn=wrong) == "ResourcePolicyInvalidParameterException"


@pytest.mark.parametrize(
    "more",
    [
        {"Action": "ssm:PutParameter"},
        {"Action": "ssm:*"},
        {"Action": "ssm:GetParametersByPath"},
        {"Resource": "arn:aws:ssm:eu-west-1:111122223333:parameter/other"},
        {"Principal": "*"},
        {"Principal": {"AWS": "*"}},
        {"Effect": "Maybe"},
        {"Surprise": 1},
    ],
    ids=str,
)
def test_documents_that_may_not_stand_on_a_parameter(ssm, arn, more):
    found = code(ssm.put_resource_policy, ResourceArn=arn, Policy=policy(arn, **more))
    assert found == "MalformedResourcePolicyDocumentException"
    assert ssm.get_resource_policies(ResourceArn=arn)["Policies"] == []


def test_an_id_needs_its_hash(ssm, arn):
    found = code(ssm.put_resource_policy, ResourceArn=arn, Policy=policy(arn), PolicyId="x")
    assert found == "ResourcePolicyInvalidParameterException"
    assert (
        code(ssm.put_resource_policy, ResourceArn=arn, Policy="no json") == "MalformedResourcePolicyDocumentException"
    )


def test_a_policy_goes_with_its_parameter(ssm, arn):
    ssm.put_resource_policy(ResourceArn=arn, Policy=policy(arn))
    ssm.delete_parameter(Name="/shared/url")
    ssm.put_parameter(Name="/shared/url", Value="new", Type="String", Tier="Advanced")
    assert ssm.get_resource_policies(ResourceArn=arn)["Policies"] == []


def test_what_policies_allow(ssm, arn, server):
    account = server.application.root.account_id
    ssm.put_resource_policy(ResourceArn=arn, Policy=policy(arn))

    def guest(account_id, action="ssm:GetParameter"):
        return Ask(
            principal_arn=f"arn:aws:iam::{account_id}:root",
            principal_account=account_id,
            principal_kind="root",
            action=action,
            resource=arn,
        )

    async def asked(ask):
        async with server.application.house.database.reading() as tx:
            return await resource_policies.allows(tx, account, "eu-west-1", arn, ask)

    async def shared(account_id):
        async with server.application.house.database.reading() as tx:
            return await resource_policies.shared_with(tx, "eu-west-1", account_id)

    assert server.run(asked(guest(GUEST)))
    assert not server.run(asked(guest(GUEST, "ssm:GetParameterHistory")))
    assert not server.run(asked(guest("111122223333")))
    assert server.run(shared(GUEST)) == [arn]
    assert server.run(shared(account)) == []
    ssm.put_resource_policy(ResourceArn=arn, Policy=policy(arn, Effect="Deny"))
    assert not server.run(asked(guest(GUEST)))


def test_another_account_sees_no_policies(ssm, arn, aws, server):
    ssm.put_resource_policy(ResourceArn=arn, Policy=policy(arn))
    other = server.run(access.create_account(server.application.house, "other"))
    there = aws("ssm", access_key=other.access_key_id, secret=other.secret)
    assert code(there.get_resource_policies, ResourceArn=arn) == "ResourceNotFoundException"
