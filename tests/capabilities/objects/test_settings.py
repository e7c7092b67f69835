"""Tags and lifecycle rules, and what becomes of contents that are needed no more."""

from pathlib import Path
from typing import Any

from tests.capabilities.objects.conftest import refused
from tests.conftest import Server


def test_tags_of_buckets_and_objects(s3: Any, bucket: str):
    with refused("NoSuchTagSet", 404):
        s3.get_bucket_tagging(Bucket=bucket)
    tags = {"TagSet": [{"Key": "team", "Value": "ops"}, {"Key": "cost", "Value": ""}]}
    s3.put_bucket_tagging(Bucket=bucket, Tagging=tags)
    assert s3.get_bucket_tagging(Bucket=bucket)["TagSet"] == tags["TagSet"]
    s3.delete_bucket_tagging(Bucket=bucket)
    with refused("NoSuchTagSet", 404):
        s3.get_bucket_tagging(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", Tagging="a=1")
    assert s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"] == [{"Key": "a", "Value": "1"}]
    s3.put_object_tagging(Bucket=bucket, Key="k", Tagging=tags)
    assert s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"] == tags["TagSet"]
    s3.delete_object_tagging(Bucket=bucket, Key="k")
    assert s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"] == []
    for wrong in (
        [{"Key": "aws:x", "Value": "1"}],
        [{"Key": "a", "Value": "1"}, {"Key": "a", "Value": "2"}],
        [{"Key": "a" * 129, "Value": "1"}],
    ):
        with refused("InvalidTag", 400):
            s3.put_object_tagging(Bucket=bucket, Key="k", Tagging={"TagSet": wrong})
    with refused("BadRequest", 400):
        many = [{"Key": f"k{number}", "Value": "1"} for number in range(11)]
        s3.put_object_tagging(Bucket=bucket, Key="k", Tagging={"TagSet": many})
    with refused("NoSuchKey", 404):
        s3.put_object_tagging(Bucket=bucket, Key="nothing", Tagging=tags)


def blobs(server: Server) -> list[Path]:
    return [path for path in (server.settings.data / "blobs").rglob("*") if path.is_file()]


def test_rules_end_objects_and_uploads_by_age(s3: Any, bucket: str, server: Server):
    with refused("NoSuchLifecycleConfiguration", 404):
        s3.get_bucket_lifecycle_configuration(Bucket=bucket)
    rules = [
        {"ID": "outputs", "Filter": {"Prefix": "out/"}, "Status": "Enabled", "Expiration": {"Days": 3}},
        {
            "ID": "uploads",
            "Filter": {"Prefix": ""},
            "Status": "Enabled",
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1},
        },
        {"ID": "off", "Filter": {"Prefix": ""}, "Status": "Disabled", "Expiration": {"Days": 1}},
    ]
    s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": rules})
    assert s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"] == rules
    with refused("NotImplemented", 501):
        s3.put_bucket_lifecycle_configuration(
            Bucket=bucket,
            LifecycleConfiguration={
                "Rules": [
                    {
                        "Filter": {"Prefix": ""},
                        "Status": "Enabled",
                        "Transitions": [{"Days": 1, "StorageClass": "GLACIER"}],
                    }
                ]
            },
        )
    put = s3.put_object(Bucket=bucket, Key="out/large", Body=b"x" * 100_000)
    assert 'rule-id="outputs"' in put["Expiration"]
    s3.put_object(Bucket=bucket, Key="keep", Body=b"x")
    s3.create_multipart_upload(Bucket=bucket, Key="never-completed")
    assert len(blobs(server)) == 1
    server.advance(days=2, minutes=1)
    server.run(_settled(server, "objects.expire"))
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 2
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)
    server.advance(days=2, minutes=1)
    server.run(_settled(server, "objects.expire"))
    assert [each["Key"] for each in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["keep"]
    server.advance(hours=2)
    server.run(_settled(server, "objects.remove_blobs"))
    assert blobs(server) == []


def test_what_was_overwritten_or_never_named_is_removed(s3: Any, bucket: str, server: Server):
    for letter in (b"a", b"b"):
        s3.put_object(Bucket=bucket, Key="k", Body=letter * 100_000)
    assert len(blobs(server)) == 2
    left = server.settings.data / "blobs" / "7f" / ("7f" * 16)
    left.parent.mkdir(exist_ok=True)
    left.write_bytes(b"of a request that was cut off")
    server.advance(hours=2)
    server.run(_settled(server, "objects.remove_blobs"))
    assert len(blobs(server)) == 2  # the newer one, and the one that nobody ever named
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"b" * 100_000
    server.advance(days=2)
    server.run(_swept(server))
    assert [path.name for path in blobs(server)] != [left.name]
    assert len(blobs(server)) == 1
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"b" * 100_000


async def _settled(server: Server, name: str) -> None:
    """Run one job of the house to its end, now."""
    from pilothouse.capabilities.objects import CAPABILITY

    (job,) = [each for each in CAPABILITY.jobs if each.name == name]
    await job.run(server.application.house)


async def _swept(server: Server) -> None:
    """Let the sweep come to every folder."""
    from pilothouse.capabilities.objects import CAPABILITY
    from pilothouse.storage.blobs import FOLDERS

    (job,) = [each for each in CAPABILITY.jobs if each.name == "objects.sweep"]
    for _ in FOLDERS:
        server.clock.advance(minutes=10)
        await job.run(server.application.house)
