"""Putting, getting, listing and removing objects, as boto3 asks for it."""

import hashlib
import random
from typing import Any

from pilothouse.capabilities import access
from tests.capabilities.objects.conftest import refused
from tests.conftest import Aws


def test_an_object_comes_back_as_it_was_put(s3: Any, bucket: str):
    """With all that was said of it; the small one from its row, the large one from its blob."""
    for size in (0, 5, 16_384, 16_385, 65_536 * 2, 300_001):
        content = random.Random(size).randbytes(size)
        put = s3.put_object(
            Bucket=bucket,
            Key="a/ü b+c%20.txt",
            Body=content,
            ContentType="text/plain",
            ContentEncoding="gzip",
            CacheControl="no-cache",
            ContentDisposition='attachment; filename="x"',
            Metadata={"author": "me", "second-word": "two  words", "dotted.name": "x"},
            Tagging="kind=report&year=2026",
        )
        assert put["ETag"] == f'"{hashlib.md5(content).hexdigest()}"'
        got = s3.get_object(Bucket=bucket, Key="a/ü b+c%20.txt")
        assert got["Body"].read() == content
        assert got["ContentLength"] == size
        assert got["ETag"] == put["ETag"]
        assert got["ContentType"] == "text/plain"
        assert got["ContentEncoding"] == "gzip"
        assert got["CacheControl"] == "no-cache"
        assert got["ContentDisposition"] == 'attachment; filename="x"'
        assert got["Metadata"] == {"author": "me", "second-word": "two  words", "dotted.name": "x"}
        assert got["TagCount"] == 2
        assert got["ServerSideEncryption"] == "AES256"
        assert got["ChecksumCRC32"]
        head = s3.head_object(Bucket=bucket, Key="a/ü b+c%20.txt")
        assert {name: head[name] for name in ("ContentLength", "ETag", "ContentType", "LastModified")} == {
            name: got[name] for name in ("ContentLength", "ETag", "ContentType", "LastModified")
        }
    s3.delete_object(Bucket=bucket, Key="a/ü b+c%20.txt")
    with refused("NoSuchKey", 404) as refusal:
        s3.get_object(Bucket=bucket, Key="a/ü b+c%20.txt")
    assert refusal.error["Key"] == "a/ü b+c%20.txt"
    with refused("404"):
        s3.head_object(Bucket=bucket, Key="a/ü b+c%20.txt")
    s3.delete_object(Bucket=bucket, Key="a/ü b+c%20.txt")  # what is not there is removed as well


def test_ranges_and_conditions(s3: Any, bucket: str):
    content = random.Random(1).randbytes(200_000)
    etag = s3.put_object(Bucket=bucket, Key="k", Body=content)["ETag"]
    at = s3.head_object(Bucket=bucket, Key="k")["LastModified"]
    for asked, start, end in (
        ("bytes=0-0", 0, 1),
        ("bytes=65530-65545", 65530, 65546),
        ("bytes=65536-131071", 65536, 131072),
        ("bytes=199999-", 199_999, 200_000),
        ("bytes=131072-999999", 131_072, 200_000),
        ("bytes=-3", 199_997, 200_000),
        ("bytes=-999999", 0, 200_000),
    ):
        got = s3.get_object(Bucket=bucket, Key="k", Range=asked)
        assert got["Body"].read() == content[start:end], asked
        assert got["ContentRange"] == f"bytes {start}-{end - 1}/200000"
        assert got["ResponseMetadata"]["HTTPStatusCode"] == 206
    for asked in ("bytes=5-1", "lines=0-1", "bytes=0-1,4-5"):
        assert s3.get_object(Bucket=bucket, Key="k", Range=asked)["ContentLength"] == 200_000
    with refused("InvalidRange", 416) as refusal:
        s3.get_object(Bucket=bucket, Key="k", Range="bytes=200000-")
    assert refusal.error["ActualObjectSize"] == "200000"
    assert refusal.headers["content-range"] == "bytes */200000"
    for conditions in (
        {"IfMatch": etag},
        {"IfMatch": "*"},
        {"IfNoneMatch": '"another"'},
        {"IfUnmodifiedSince": at},
        {"IfMatch": etag, "IfUnmodifiedSince": at.replace(year=2000)},
        {"IfModifiedSince": at.replace(year=2000)},
    ):
        assert s3.get_object(Bucket=bucket, Key="k", **conditions)["ContentLength"] == 200_000
    for conditions in ({"IfNoneMatch": etag}, {"IfModifiedSince": at}):
        with refused("304", 304):
            s3.get_object(Bucket=bucket, Key="k", **conditions)
    for conditions in ({"IfMatch": '"another"'}, {"IfUnmodifiedSince": at.replace(year=2000)}):
        with refused("PreconditionFailed", 412):
            s3.get_object(Bucket=bucket, Key="k", **conditions)


def test_an_object_is_put_only_where_the_conditions_hold(s3: Any, bucket: str):
    etag = s3.put_object(Bucket=bucket, Key="lock", Body=b"1", IfNoneMatch="*")["ETag"]
    with refused("PreconditionFailed", 412):
        s3.put_object(Bucket=bucket, Key="lock", Body=b"2", IfNoneMatch="*")
    with refused("PreconditionFailed", 412):
        s3.put_object(Bucket=bucket, Key="lock", Body=b"2", IfMatch='"another"')
    with refused("NoSuchKey", 404):
        s3.put_object(Bucket=bucket, Key="other", Body=b"2", IfMatch=etag)
    s3.put_object(Bucket=bucket, Key="lock", Body=b"2", IfMatch=etag)
    assert s3.get_object(Bucket=bucket, Key="lock")["Body"].read() == b"2"


def test_a_bucket_is_made_found_and_removed(aws: Aws, s3: Any, server: Any):
    here = {"LocationConstraint": "eu-west-1"}
    s3.create_bucket(Bucket="reports", CreateBucketConfiguration=here)
    with refused("BucketAlreadyOwnedByYou", 409):
        s3.create_bucket(Bucket="reports", CreateBucketConfiguration=here)
    with refused("IllegalLocationConstraintException", 400):
        s3.create_bucket(Bucket="elsewhere", CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    with refused("IllegalLocationConstraintException", 400):
        s3.create_bucket(Bucket="nowhere-said")
    aws("s3", region="us-east-1").create_bucket(Bucket="first")
    aws("s3", region="us-east-1").create_bucket(Bucket="first")  # as of old, in this region
    aws("s3", region="us-east-1").create_bucket(
        Bucket="far-away", CreateBucketConfiguration={"LocationConstraint": "ap-south-1"}
    )
    assert s3.head_bucket(Bucket="far-away")["BucketRegion"] == "ap-south-1"
    s3.delete_bucket(Bucket="far-away")
    for wrong in ("us-east-1", "nowhere"):
        with refused("InvalidLocationConstraint", 400):
            aws("s3", region="us-east-1").create_bucket(
                Bucket="wrong", CreateBucketConfiguration={"LocationConstraint": wrong}
            )
    for name in ("10.0.0.1", "dot.-dash", "sthree-x", "UPPER"):
        with refused("InvalidBucketName", 400):
            aws("s3", region="us-east-1").create_bucket(Bucket=name)
    assert [each["Name"] for each in s3.list_buckets()["Buckets"]] == ["first", "reports"]
    assert [each["Name"] for each in s3.list_buckets(Prefix="re")["Buckets"]] == ["reports"]
    one = s3.list_buckets(MaxBuckets=1)
    two = s3.list_buckets(MaxBuckets=1, ContinuationToken=one["ContinuationToken"])
    assert ([each["Name"] for each in two["Buckets"]], two.get("ContinuationToken")) == (["reports"], None)
    assert s3.get_bucket_location(Bucket="reports")["LocationConstraint"] == "eu-west-1"
    assert s3.get_bucket_location(Bucket="first")["LocationConstraint"] is None
    assert s3.head_bucket(Bucket="first")["BucketRegion"] == "us-east-1"
    assert s3.get_bucket_acl(Bucket="reports")["Grants"][0]["Permission"] == "FULL_CONTROL"
    rules = s3.get_bucket_encryption(Bucket="reports")["ServerSideEncryptionConfiguration"]["Rules"]
    assert rules[0]["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    s3.put_object(Bucket="reports", Key="k", Body=b"x")
    with refused("BucketNotEmpty", 409):
        s3.delete_bucket(Bucket="reports")
    s3.delete_object(Bucket="reports", Key="k")
    s3.delete_bucket(Bucket="reports")
    with refused("NoSuchBucket", 404) as refusal:
        s3.list_objects_v2(Bucket="reports")
    assert refusal.error["BucketName"] == "reports"
    with refused("404"):
        s3.head_bucket(Bucket="reports")


def test_lists_are_paged_and_folded(s3: Any, bucket: str):
    keys = sorted(["a", "a/1", "a/2", "a/b/3", "a/ü", "b/", "b/x", "c d", "z\n"], key=str.encode)
    for key in keys:
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
    found = s3.list_objects_v2(Bucket=bucket)
    assert [each["Key"] for each in found["Contents"]] == keys
    assert found["KeyCount"] == len(keys)
    assert found["Contents"][0]["Size"] == 1
    assert found["Contents"][0]["StorageClass"] == "STANDARD"
    folded = s3.list_objects_v2(Bucket=bucket, Delimiter="/")
    assert [each["Key"] for each in folded["Contents"]] == ["a", "c d", "z\n"]
    assert [each["Prefix"] for each in folded["CommonPrefixes"]] == ["a/", "b/"]
    below = s3.list_objects_v2(Bucket=bucket, Delimiter="/", Prefix="a/")
    assert [each["Key"] for each in below["Contents"]] == ["a/1", "a/2", "a/ü"]
    assert [each["Prefix"] for each in below["CommonPrefixes"]] == ["a/b/"]
    assert [each["Key"] for each in s3.list_objects_v2(Bucket=bucket, StartAfter="b/")["Contents"]] == [
        "b/x", "c d", "z\n",
    ]  # fmt: skip
    seen = []
    for page in s3.get_paginator("list_objects_v2").paginate(
        Bucket=bucket, Delimiter="/", PaginationConfig={"PageSize": 2}
    ):
        seen += [each["Prefix"] for each in page.get("CommonPrefixes", ())]
        seen += [each["Key"] for each in page.get("Contents", ())]
    assert sorted(seen) == ["a", "a/", "b/", "c d", "z\n"]
    old = []
    for page in s3.get_paginator("list_objects").paginate(
        Bucket=bucket, Delimiter="/", PaginationConfig={"PageSize": 1}
    ):
        old += [each["Prefix"] for each in page.get("CommonPrefixes", ())]
        old += [each["Key"] for each in page.get("Contents", ())]
    assert sorted(old) == ["a", "a/", "b/", "c d", "z\n"]
    assert s3.list_objects_v2(Bucket=bucket, MaxKeys=0).get("Contents") is None
    with refused("InvalidArgument", 400):
        s3.list_objects_v2(Bucket=bucket, ContinuationToken="nonsense")
    answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key} for key in [*keys, "was-never-there"]]})
    assert {each["Key"] for each in answer["Deleted"]} == {*keys, "was-never-there"}
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)


def test_what_is_not_there_is_said(s3: Any, bucket: str):
    for ask in (
        lambda: s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"}),
        lambda: s3.put_object(Bucket=bucket, Key="k", Body=b"x", ServerSideEncryption="aws:kms"),
        lambda: s3.put_object(
            Bucket=bucket, Key="k", Body=b"x", SSECustomerAlgorithm="AES256", SSECustomerKey="0" * 32
        ),
    ):
        with refused("NotImplemented", 501):
            ask()
    with refused("AccessControlListNotSupported", 400):
        s3.put_object(Bucket=bucket, Key="k", Body=b"x", ACL="public-read")
    with refused("KeyTooLongError", 400):
        s3.put_object(Bucket=bucket, Key="k" * 1025, Body=b"x")
    with refused("MetadataTooLarge", 400):
        s3.put_object(Bucket=bucket, Key="k", Body=b"x", Metadata={"a": "x" * 2048})
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", ACL="bucket-owner-full-control", ServerSideEncryption="AES256")


def test_a_retried_create_is_answered_again(s3: Any, server: Any):
    """The SDK sends a call again under the same id when it lost the answer."""
    answers = []

    def twice(request: Any, **_: Any) -> Any:
        answers.append(server.answer(request))
        answers.append(server.answer(request))
        return answers[-1]

    s3.meta.events.unregister("before-send.s3", server.answer)
    s3.meta.events.register("before-send.s3", twice)
    s3.create_bucket(Bucket="once", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    assert [answer.status_code for answer in answers] == [200, 200]


def test_another_account_has_other_buckets_and_no_names_twice(aws: Aws, s3: Any, bucket: str, server: Any):
    other = server.run(access.create_account(server.application.house, "other"))
    theirs = aws("s3", access_key=other.access_key_id, secret=other.secret)
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    assert theirs.list_buckets()["Buckets"] == []
    with refused("BucketAlreadyExists", 409):
        theirs.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    for ask in (
        lambda: theirs.get_object(Bucket=bucket, Key="k"),
        lambda: theirs.get_object(Bucket=bucket, Key="not-there"),
        lambda: theirs.put_object(Bucket=bucket, Key="k", Body=b"y"),
        lambda: theirs.list_objects_v2(Bucket=bucket),
        lambda: theirs.delete_object(Bucket=bucket, Key="k"),
        lambda: theirs.delete_bucket(Bucket=bucket),
        lambda: theirs.get_bucket_policy(Bucket=bucket),
    ):
        with refused("AccessDenied", 403):
            ask()
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x"
