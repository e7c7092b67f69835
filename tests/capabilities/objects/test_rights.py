"""Who may do what with buckets and objects: policies of users and of buckets, other accounts, and nobody at all."""

import json
from typing import Any

import pytest
from botocore import UNSIGNED
from botocore.config import Config

from pilothouse.capabilities import access
from tests.capabilities.access.policies import User, allow, deny, document
from tests.capabilities.objects.conftest import refused
from tests.conftest import Aws, Server


@pytest.fixture
def filled(s3: Any, bucket: str) -> str:
    for key in ("public/a", "private/b"):
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode(), Tagging=f"level={key[:2]}")
    return bucket


def anybody(server: Server) -> Any:
    """A client without credentials."""
    import boto3

    client = boto3.client(
        "s3",
        region_name="eu-west-1",
        endpoint_url="http://pilothouse.test",
        config=Config(signature_version=UNSIGNED, retries={"max_attempts": 1}),
    )
    client.meta.events.register("before-send.s3", server.answer)
    return client


def test_a_user_may_what_its_policies_say(aws: Aws, s3: Any, filled: str):
    user = User(aws, "reader")
    mine = user("s3")
    for ask in (
        lambda: mine.get_object(Bucket=filled, Key="public/a"),
        lambda: mine.list_objects_v2(Bucket=filled),
        lambda: mine.list_buckets(),
        lambda: mine.put_object(Bucket=filled, Key="public/a", Body=b"x"),
        lambda: mine.create_bucket(Bucket="mine", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}),
        lambda: mine.copy_object(Bucket=filled, Key="x", CopySource=f"{filled}/public/a"),
    ):
        with refused("AccessDenied", 403):
            ask()
    user.may(
        allow("s3:GetObject", f"arn:aws:s3:::{filled}/public/*"),
        allow("s3:ListBucket", f"arn:aws:s3:::{filled}", Condition={"StringLike": {"s3:prefix": "public/*"}}),
        allow("s3:PutObject", f"arn:aws:s3:::{filled}/public/${{aws:username}}/*"),
    )
    assert mine.get_object(Bucket=filled, Key="public/a")["Body"].read() == b"public/a"
    assert mine.list_objects_v2(Bucket=filled, Prefix="public/")["KeyCount"] == 1
    mine.put_object(Bucket=filled, Key="public/reader/x", Body=b"x")
    with refused("AccessDenied", 403) as refusal:
        mine.get_object(Bucket=filled, Key="private/b")
    assert refusal.error["Message"] == (
        f'User: {user.arn} is not authorized to perform: s3:GetObject on resource: "arn:aws:s3:::{filled}/private/b" '
        "because no identity-based policy allows the s3:GetObject action"
    )
    with refused("AccessDenied", 403):
        mine.list_objects_v2(Bucket=filled)
    with refused("AccessDenied", 403):  # who may not list is not told what is not there
        mine.get_object(Bucket=filled, Key="public/not-there")
    with refused("AccessDenied", 403):
        mine.put_object(Bucket=filled, Key="public/reader/x", Body=b"x", ACL="bucket-owner-full-control")
    answer = mine.delete_objects(Bucket=filled, Delete={"Objects": [{"Key": "public/a"}]})
    assert [each["Code"] for each in answer["Errors"]] == ["AccessDenied"]
    assert s3.get_object(Bucket=filled, Key="public/a")["Body"].read() == b"public/a"


def test_a_bucket_policy_is_asked_as_well(aws: Aws, s3: Any, filled: str, server: Server):
    user = User(aws, "reader")
    other = server.run(access.create_account(server.application.house, "other"))
    theirs = aws("s3", access_key=other.access_key_id, secret=other.secret)
    objects = f"arn:aws:s3:::{filled}/*"
    with refused("NoSuchBucketPolicy", 404):
        s3.get_bucket_policy(Bucket=filled)
    for text in (
        "no policy",
        document(allow("s3:GetObject", objects)),
        document(allow("ssm:GetParameter", objects, Principal="*")),
        document(allow("s3:GetObject", "arn:aws:s3:::another/*", Principal="*")),
    ):
        with refused("MalformedPolicy", 400):
            s3.put_bucket_policy(Bucket=filled, Policy=text)
    policy = document(
        allow("s3:GetObject", objects, Principal={"AWS": user.arn}),
        allow("s3:GetObject", f"arn:aws:s3:::{filled}/public/*", Principal={"AWS": other.account_id}),
        deny("s3:GetObject", objects, Principal="*", Condition={"StringEquals": {"s3:ExistingObjectTag/level": "pr"}}),
    )
    s3.put_bucket_policy(Bucket=filled, Policy=policy)
    assert json.loads(s3.get_bucket_policy(Bucket=filled)["Policy"]) == json.loads(policy)
    assert s3.get_bucket_policy_status(Bucket=filled)["PolicyStatus"]["IsPublic"] is False
    assert user("s3").get_object(Bucket=filled, Key="public/a")["Body"].read() == b"public/a"
    assert theirs.get_object(Bucket=filled, Key="public/a")["Body"].read() == b"public/a"
    for who in (user("s3"), theirs, s3):
        with refused("AccessDenied", 403):
            who.get_object(Bucket=filled, Key="private/b")
    with refused("AccessDenied", 403):
        theirs.put_object(Bucket=filled, Key="public/a", Body=b"x")
    s3.put_bucket_policy(Bucket=filled, Policy=document(deny("s3:*", [objects, objects[:-2]], Principal="*")))
    with refused("AccessDenied", 403):
        s3.list_objects_v2(Bucket=filled)
    s3.delete_bucket_policy(Bucket=filled)  # root does not lock itself out
    assert s3.list_objects_v2(Bucket=filled)["KeyCount"] == 2


def test_nobody_is_let_in_but_by_a_policy_for_everybody(s3: Any, filled: str, server: Server):
    stranger = anybody(server)
    for ask in (
        lambda: stranger.get_object(Bucket=filled, Key="public/a"),
        lambda: stranger.put_object(Bucket=filled, Key="public/a", Body=b"x"),
        lambda: stranger.list_objects_v2(Bucket=filled),
        lambda: stranger.create_bucket(Bucket="strange"),
        lambda: stranger.delete_bucket(Bucket=filled),
    ):
        with refused("AccessDenied", 403):
            ask()
    with refused("403") as refusal:
        stranger.head_bucket(Bucket=filled)
    assert refusal.headers["x-amz-bucket-region"] == "eu-west-1"  # agents ask for it so
    everybody = allow("s3:GetObject", f"arn:aws:s3:::{filled}/public/*", Principal="*")
    s3.put_bucket_policy(Bucket=filled, Policy=document(everybody))
    assert s3.get_bucket_policy_status(Bucket=filled)["PolicyStatus"]["IsPublic"] is True
    assert stranger.get_object(Bucket=filled, Key="public/a")["Body"].read() == b"public/a"
    for ask in (
        lambda: stranger.get_object(Bucket=filled, Key="private/b"),
        lambda: stranger.put_object(Bucket=filled, Key="public/a", Body=b"x"),
        lambda: stranger.get_object(Bucket=filled, Key="public/not-there"),
    ):
        with refused("AccessDenied", 403):
            ask()


def test_reads_and_writes_of_objects_are_recorded(aws: Aws, s3: Any, filled: str):
    s3.get_object(Bucket=filled, Key="public/a")["Body"].read()
    events = aws("cloudtrail").lookup_events(
        LookupAttributes=[{"AttributeKey": "EventSource", "AttributeValue": "s3.amazonaws.com"}]
    )["Events"]
    by_name = {each["EventName"]: json.loads(each["CloudTrailEvent"]) for each in events}
    for name in ("GetObject", "PutObject"):
        said = by_name[name]
        assert said["requestParameters"]["bucket"] == filled
        assert said["eventCategory"] == "Data"
        assert said["resources"][0]["type"] == "AWS::S3::Object"
        assert "public/a" in said["resources"][0]["ARN"] or "private/b" in said["resources"][0]["ARN"]
    assert by_name["CreateBucket"]["eventCategory"] == "Management"
    assert b"private/b" not in json.dumps(by_name["PutObject"]["requestParameters"].get("body", "")).encode()
