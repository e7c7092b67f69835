"""Parameters of one account read by another: by full ARN, as far as the owner's policy goes."""

import json

import pytest
from botocore.exceptions import ClientError

from pilothouse.capabilities import access

READ = ["ssm:GetParameter", "ssm:GetParameters", "ssm:GetParameterHistory", "ssm:DescribeParameters"]


@pytest.fixture
def owner(aws):
    return aws("ssm")


@pytest.fixture
def guest(aws, server):
    made = server.run(access.create_account(server.application.house, "guest"))

    def client(service="ssm", region="eu-west-1"):
        return aws(service, region=region, access_key=made.access_key_id, secret=made.secret)

    client.account_id = made.account_id
    return client


def put(owner, name="/app/url", **more):
    members = {"Name": name, "Value": "first", "Type": "String", "Tier": "Advanced", **more}
    owner.put_parameter(**members)
    return owner.get_parameter(Name=name)["Parameter"]["ARN"]


def share(owner, arn, account, actions=READ):
    statement = {"Effect": "Allow", "Principal": {"AWS": account}, "Action": actions, "Resource": arn}
    text = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    return owner.put_resource_policy(ResourceArn=arn, Policy=text)


def denied(failing, **members):
    with pytest.raises(ClientError) as refused:
        failing(**members)
    return refused.value.response["Error"]["Code"] == "AccessDeniedException"


def test_a_shared_parameter_is_read_by_its_arn(owner, guest):
    arn = put(owner)
    owner.put_parameter(Name="/app/url", Value="second", Overwrite=True)
    owner.label_parameter_version(Name="/app/url", ParameterVersion=1, Labels=["old"])
    share(owner, arn, guest.account_id)
    ssm = guest()
    found = ssm.get_parameter(Name=arn)["Parameter"]
    assert (found["ARN"], found["Name"], found["Value"], found["Version"]) == (arn, "/app/url", "second", 2)
    assert ssm.get_parameter(Name=f"{arn}:1")["Parameter"]["Value"] == "first"
    assert ssm.get_parameter(Name=f"{arn}:old")["Parameter"]["Selector"] == ":old"
    several = ssm.get_parameters(Names=[arn, "/nothing"])
    assert [each["Value"] for each in several["Parameters"]] == ["second"]
    assert several["InvalidParameters"] == ["/nothing"]
    versions = ssm.get_parameter_history(Name=arn)["Parameters"]
    assert [each["Value"] for each in versions] == ["first", "second"]
    first = ssm.get_parameter_history(Name=arn, MaxResults=1)
    rest = ssm.get_parameter_history(Name=arn, MaxResults=1, NextToken=first["NextToken"])
    assert [each["Version"] for each in first["Parameters"] + rest["Parameters"]] == [1, 2]


def test_what_is_not_shared_and_what_is_not_there_look_alike(owner, guest):
    hidden = put(owner)
    absent = hidden + "2"
    texts = []
    for arn in (hidden, absent):
        with pytest.raises(ClientError) as refused:
            guest().get_parameter(Name=arn)
        texts.append(refused.value.response["Error"]["Message"].replace(arn, "ARN"))
        assert refused.value.response["Error"]["Code"] == "AccessDeniedException"
        assert denied(guest().get_parameters, Names=[arn])
        assert denied(guest().get_parameter_history, Name=arn)
    assert texts[0] == texts[1]


def test_only_what_the_policy_allows(owner, guest):
    arn = put(owner)
    share(owner, arn, guest.account_id, ["ssm:GetParameter"])
    assert guest().get_parameter(Name=arn)["Parameter"]["Value"] == "first"
    assert denied(guest().get_parameters, Names=[arn])
    assert denied(guest().get_parameter_history, Name=arn)
    assert guest().describe_parameters(Shared=True)["Parameters"] == []
    assert denied(guest(region="us-east-1").get_parameter, Name=arn)
    share(owner, put(owner, "/for/others"), "123412341234")
    assert denied(guest().get_parameter, Name=arn.replace("/app/url", "/for/others"))


def test_sharing_ends_with_the_policy_and_with_the_parameter(owner, guest):
    arn = put(owner)
    made = share(owner, arn, guest.account_id)
    owner.delete_resource_policy(ResourceArn=arn, PolicyId=made["PolicyId"], PolicyHash=made["PolicyHash"])
    assert denied(guest().get_parameter, Name=arn)
    share(owner, arn, guest.account_id)
    owner.delete_parameter(Name="/app/url")
    put(owner, Value="another's now")
    assert denied(guest().get_parameter, Name=arn)


def test_a_guest_reads_and_nothing_else(owner, guest):
    arn = put(owner)
    share(owner, arn, guest.account_id)
    for failing in (guest().delete_parameter, guest().label_parameter_version):
        members = {} if failing.__name__ == "delete_parameter" else {"Labels": ["x"]}
        with pytest.raises(ClientError):
            failing(Name=arn, **members)
    with pytest.raises(ClientError):
        guest().put_parameter(Name=arn, Value="mine", Overwrite=True)
    assert owner.get_parameter(Name="/app/url")["Parameter"]["Value"] == "first"
    assert guest().get_parameters_by_path(Path="/", Recursive=True)["Parameters"] == []
    assert guest().describe_parameters()["Parameters"] == []


def test_describe_lists_what_is_shared_in(owner, guest):
    arns = [put(owner, f"/app/{number}") for number in range(3)]
    for arn in arns:
        share(owner, arn, guest.account_id)
    put(owner, "/app/private")
    pages = list(guest().get_paginator("describe_parameters").paginate(Shared=True, PaginationConfig={"PageSize": 2}))
    assert [len(each["Parameters"]) for each in pages] == [2, 1]
    assert [each["ARN"] for page in pages for each in page["Parameters"]] == arns
    chosen = guest().describe_parameters(Shared=True, ParameterFilters=[{"Key": "Name", "Values": ["/app/1"]}])
    assert [each["Name"] for each in chosen["Parameters"]] == ["/app/1"]
    assert owner.describe_parameters(Shared=True)["Parameters"] == []


def test_a_shared_secret_needs_the_key_as_well(owner, guest, aws, server):
    kms = aws("kms")
    key = kms.create_key()["KeyMetadata"]["Arn"]
    arn = put(owner, "/app/secret", Value="s3cret", Type="SecureString", KeyId=key)
    share(owner, arn, guest.account_id)
    assert guest().get_parameter(Name=arn)["Parameter"]["Value"] != "s3cret"
    assert denied(guest().get_parameter, Name=arn, WithDecryption=True)
    account = server.application.root.account_id
    policy = json.loads(kms.get_key_policy(KeyId=key, PolicyName="default")["Policy"])
    policy["Statement"].append(
        {"Effect": "Allow", "Principal": {"AWS": guest.account_id}, "Action": "kms:Decrypt", "Resource": "*"}
    )
    assert account in json.dumps(policy)
    kms.put_key_policy(KeyId=key, PolicyName="default", Policy=json.dumps(policy))
    assert guest().get_parameter(Name=arn, WithDecryption=True)["Parameter"]["Value"] == "s3cret"
