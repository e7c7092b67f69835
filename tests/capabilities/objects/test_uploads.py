"""Contents in parts, and copies."""

import hashlib
import random
from typing import Any

from tests.capabilities.objects.conftest import refused

MIB = 1 << 20
ONE = random.Random(1).randbytes(5 * MIB)
TWO = random.Random(2).randbytes(5 * MIB + 3)
LAST = b"the end"


def test_parts_become_an_object(s3: Any, bucket: str):
    upload = s3.create_multipart_upload(Bucket=bucket, Key="big", ContentType="text/x", Metadata={"a": "b"})
    named = {"Bucket": bucket, "Key": "big", "UploadId": upload["UploadId"]}
    s3.upload_part(**named, PartNumber=2, Body=b"first try")
    parts = []
    for number, content in ((1, ONE), (2, TWO), (7, LAST), (9, b"never used")):
        answer = s3.upload_part(**named, PartNumber=number, Body=content)
        assert answer["ETag"] == f'"{hashlib.md5(content).hexdigest()}"'
        parts.append({"PartNumber": number, "ETag": answer["ETag"], "ChecksumCRC32": answer["ChecksumCRC32"]})
    listed = s3.list_parts(**named, MaxParts=2)
    assert [(each["PartNumber"], each["Size"]) for each in listed["Parts"]] == [(1, len(ONE)), (2, len(TWO))]
    assert listed["IsTruncated"]
    assert [each["PartNumber"] for each in s3.list_parts(**named, PartNumberMarker=2)["Parts"]] == [7, 9]
    assert [each["UploadId"] for each in s3.list_multipart_uploads(Bucket=bucket)["Uploads"]] == [upload["UploadId"]]
    with refused("NoSuchKey", 404):
        s3.get_object(Bucket=bucket, Key="big")

    with refused("InvalidPartOrder", 400):
        s3.complete_multipart_upload(**named, MultipartUpload={"Parts": [parts[1], parts[0]]})
    with refused("InvalidPart", 400):
        s3.complete_multipart_upload(**named, MultipartUpload={"Parts": [{"PartNumber": 3, "ETag": parts[0]["ETag"]}]})
    with refused("InvalidPart", 400):
        s3.complete_multipart_upload(**named, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": parts[1]["ETag"]}]})
    with refused("EntityTooSmall", 400):
        s3.complete_multipart_upload(**named, MultipartUpload={"Parts": parts[2:]})
    done = s3.complete_multipart_upload(**named, MultipartUpload={"Parts": parts[:3]})
    digests = b"".join(hashlib.md5(each).digest() for each in (ONE, TWO, LAST))
    assert done["ETag"] == f'"{hashlib.md5(digests).hexdigest()}-3"'
    again = s3.complete_multipart_upload(**named, MultipartUpload={"Parts": parts[:3]})
    assert again["ETag"] == done["ETag"]

    content = ONE + TWO + LAST
    got = s3.get_object(Bucket=bucket, Key="big")
    assert got["Body"].read() == content
    assert (got["ContentType"], got["Metadata"]) == ("text/x", {"a": "b"})
    across = s3.get_object(Bucket=bucket, Key="big", Range=f"bytes={len(ONE) - 2}-{len(ONE + TWO) + 2}")
    assert across["Body"].read() == content[len(ONE) - 2 : len(ONE + TWO) + 3]
    part = s3.get_object(Bucket=bucket, Key="big", PartNumber=3)
    assert (part["Body"].read(), part["PartsCount"]) == (LAST, 3)
    with refused("InvalidPartNumber", 416):
        s3.get_object(Bucket=bucket, Key="big", PartNumber=4)
    with refused("NoSuchUpload", 404):
        s3.list_parts(**named)
    attributes = s3.get_object_attributes(Bucket=bucket, Key="big", ObjectAttributes=["ObjectSize", "ObjectParts"])
    assert (attributes["ObjectSize"], attributes["ObjectParts"]["TotalPartsCount"]) == (len(content), 3)


def test_an_aborted_upload_is_gone(s3: Any, bucket: str):
    upload = s3.create_multipart_upload(Bucket=bucket, Key="big")["UploadId"]
    named = {"Bucket": bucket, "Key": "big", "UploadId": upload}
    s3.upload_part(**named, PartNumber=1, Body=ONE)
    s3.abort_multipart_upload(**named)
    with refused("NoSuchUpload", 404):
        s3.upload_part(**named, PartNumber=1, Body=b"x")
    with refused("NoSuchUpload", 404):
        s3.abort_multipart_upload(**named)
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)
    with refused("InvalidArgument", 400):
        s3.upload_part(Bucket=bucket, Key="big", UploadId=upload, PartNumber=10_001, Body=b"x")


def test_uploads_are_listed_by_key_and_folded(s3: Any, bucket: str):
    made = [s3.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"] for key in ("a", "b", "b", "c/1", "c/2")]
    pages = list(s3.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, MaxUploads=2))
    assert sorted(each["UploadId"] for page in pages for each in page.get("Uploads", ())) == sorted(made)
    folded = s3.list_multipart_uploads(Bucket=bucket, Delimiter="/")
    assert [each["Key"] for each in folded["Uploads"]] == ["a", "b", "b"]
    assert [each["Prefix"] for each in folded["CommonPrefixes"]] == ["c/"]


def test_copies(s3: Any, bucket: str):
    content = random.Random(3).randbytes(100_000)
    etag = s3.put_object(
        Bucket=bucket, Key="from ü+", Body=content, ContentType="text/x", Metadata={"a": "1"}, Tagging="t=1"
    )["ETag"]
    source = {"Bucket": bucket, "Key": "from ü+"}
    copied = s3.copy_object(Bucket=bucket, Key="to", CopySource=source)["CopyObjectResult"]
    assert copied["ETag"] == etag
    got = s3.get_object(Bucket=bucket, Key="to")
    assert got["Body"].read() == content
    assert (got["ContentType"], got["Metadata"], got["TagCount"]) == ("text/x", {"a": "1"}, 1)
    with refused("InvalidRequest", 400):
        s3.copy_object(Bucket=bucket, Key="to", CopySource=f"{bucket}/to")
    s3.copy_object(
        Bucket=bucket, Key="to", CopySource=f"{bucket}/to", MetadataDirective="REPLACE", Metadata={"b": "2"},
        TaggingDirective="REPLACE", Tagging="",
    )  # fmt: skip
    head = s3.head_object(Bucket=bucket, Key="to")
    assert (head["Metadata"], head["ContentType"], head.get("TagCount")) == ({"b": "2"}, "binary/octet-stream", None)
    with refused("PreconditionFailed", 412):
        s3.copy_object(Bucket=bucket, Key="x", CopySource=source, CopySourceIfNoneMatch=etag)
    with refused("NoSuchKey", 404):
        s3.copy_object(Bucket=bucket, Key="x", CopySource={"Bucket": bucket, "Key": "nothing"})
    with refused("NoSuchBucket", 404):
        s3.copy_object(Bucket=bucket, Key="x", CopySource={"Bucket": "no-such-bucket", "Key": "nothing"})
    upload = s3.create_multipart_upload(Bucket=bucket, Key="joined")["UploadId"]
    named = {"Bucket": bucket, "Key": "joined", "UploadId": upload}
    part = s3.upload_part_copy(**named, PartNumber=1, CopySource=source, CopySourceRange="bytes=10-19")
    with refused("InvalidArgument", 400):
        s3.upload_part_copy(**named, PartNumber=2, CopySource=source, CopySourceRange="bytes=x")
    s3.complete_multipart_upload(
        **named, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["CopyPartResult"]["ETag"]}]}
    )
    assert s3.get_object(Bucket=bucket, Key="joined")["Body"].read() == content[10:20]
