"""Objects over real connections: the aws CLI, boto3's managed transfers over TLS, names of virtual hosts, and kills."""

import hashlib
import http.client
import io
import random
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import boto3
import pytest
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

from tests.acceptance.installation import Installation

MIB = 1 << 20
LARGE = 60 * MIB
GROWTH_KIB = 120 << 10
"""What ten transfers at once may add to the server's memory: far less than what they carry."""
KILLS = 8
WRITERS = 3


def resident(house: Installation) -> int:
    """The server's peak memory, KiB."""
    assert house.process is not None
    status = Path(f"/proc/{house.process.pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])


def test_files_go_there_and_back_with_the_aws_cli(house: Installation, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    (folder / "below").mkdir(parents=True)
    for name, size in (("small.txt", 100), ("below/large.bin", LARGE)):
        (folder / name).write_bytes(random.Random(size).randbytes(size))
    before = resident(house)

    def s3(*words: str) -> str:
        done = house.cli("s3", *words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    s3("mb", "s3://files")
    s3("sync", str(folder), "s3://files/copy")
    assert s3("sync", str(folder), "s3://files/copy") == ""  # nothing is new
    s3("mv", "s3://files/copy/small.txt", "s3://files/moved.txt")
    s3("cp", "s3://files/copy/below/large.bin", str(tmp_path / "large"))
    assert (tmp_path / "large").read_bytes() == (folder / "below/large.bin").read_bytes()
    assert resident(house) - before < GROWTH_KIB
    listed = s3("ls", "--recursive", "s3://files")
    assert [line.split()[2:] for line in listed.splitlines()] == [
        [str(LARGE), "copy/below/large.bin"],
        ["100", "moved.txt"],
    ]
    url = s3("presign", "s3://files/moved.txt").strip()
    with urllib.request.urlopen(url) as answer:
        assert answer.read() == (folder / "small.txt").read_bytes()
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(url.replace("moved.txt", "copy/below/large.bin"))
    s3("rm", "--recursive", "s3://files")
    s3("rb", "s3://files")
    blobs = [path for path in (house.data / "blobs").rglob("*") if path.is_file()]
    secret = (folder / "below/large.bin").read_bytes()[1000:1064]
    assert blobs
    assert not any(secret in path.read_bytes() for path in blobs)  # sealed, and removed after a while


def over_tls(house: Installation, **config: Any) -> Any:
    values = house.environment("--https")
    return boto3.client(
        "s3",
        region_name=values["AWS_REGION"],
        endpoint_url=values["AWS_ENDPOINT_URL"],
        aws_access_key_id=values["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=values["AWS_SECRET_ACCESS_KEY"],
        verify=values["AWS_CA_BUNDLE"],
        config=Config(**config) if config else None,
    )


def test_sdks_send_checksums_behind_contents_over_tls(house: Installation) -> None:
    s3 = over_tls(house)
    s3.create_bucket(Bucket="checked")
    modes = []
    s3.meta.events.register(
        "before-send.s3", lambda request, **_: modes.append(request.headers.get("X-Amz-Content-SHA256", b""))
    )
    content = random.Random(1).randbytes(3 * MIB)
    for algorithm in ("CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"):
        put = s3.put_object(Bucket="checked", Key="k", Body=io.BytesIO(content), ChecksumAlgorithm=algorithm)
        assert b"STREAMING-UNSIGNED-PAYLOAD-TRAILER" in modes[-1]
        got = s3.get_object(Bucket="checked", Key="k")
        assert got["Body"].read() == content  # botocore compares the checksum
        assert got[f"Checksum{algorithm}"] == put[f"Checksum{algorithm}"]
    parts = TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB)
    for algorithm in ("CRC32", "CRC64NVME"):
        s3.upload_fileobj(
            io.BytesIO(content * 4), "checked", "parts", Config=parts, ExtraArgs={"ChecksumAlgorithm": algorithm}
        )
        back = io.BytesIO()
        s3.download_fileobj("checked", "parts", back, Config=parts)
        assert back.getvalue() == content * 4
    whole = s3.head_object(Bucket="checked", Key="parts", ChecksumMode="ENABLED")
    assert whole["ChecksumType"] == "FULL_OBJECT"


def test_a_bucket_in_the_host_s_name_and_urls_of_both_forms(house: Installation) -> None:
    """As the official agent's SDK asks: the bucket is in the name, which is in DNS; here it is in the header alone."""
    host = f"s3.us-east-1.pilothouse.test:{house.http}"

    def to_loopback(request: Any, **_: Any) -> None:
        name = request.url.partition("//")[2].partition("/")[0]
        request.headers["Host"] = name
        request.url = request.url.replace(name, f"127.0.0.1:{house.http}", 1)

    values = house.environment()
    virtual = boto3.client(
        "s3",
        region_name="us-east-1",
        endpoint_url=f"http://{host}",
        aws_access_key_id=values["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=values["AWS_SECRET_ACCESS_KEY"],
        config=Config(s3={"addressing_style": "virtual"}),
    )
    hosts = []
    virtual.meta.events.register("before-send.s3", lambda request, **_: hosts.append(request.url))
    virtual.meta.events.register("before-send.s3", to_loopback)
    virtual.create_bucket(Bucket="outputs")
    virtual.put_object(Bucket="outputs", Key="a/b c", Body=b"text")
    assert f"http://outputs.{host}/a/b%20c" in hosts
    assert virtual.list_objects_v2(Bucket="outputs", Prefix="a/")["KeyCount"] == 1
    assert virtual.delete_objects(Bucket="outputs", Delete={"Objects": [{"Key": "x"}]})["Deleted"] == [{"Key": "x"}]
    assert [each["Name"] for each in virtual.list_buckets()["Buckets"]] == ["outputs"]

    connection = http.client.HTTPConnection("127.0.0.1", house.http)
    connection.request("HEAD", "/", headers={"Host": f"outputs.{host}"})
    answer = connection.getresponse()
    assert (answer.status, answer.headers["x-amz-bucket-region"]) == (403, "us-east-1")
    connection.close()

    path = house.boto("s3", signature_version="s3v4", s3={"addressing_style": "path"})
    for client in (path, house.boto("s3")):
        url = client.generate_presigned_url("get_object", {"Bucket": "outputs", "Key": "a/b c"}, ExpiresIn=60)
        with urllib.request.urlopen(url) as got:
            assert got.read() == b"text"
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(url.replace("a/b%20c", "a/other"))


class Writer(threading.Thread):
    """Puts objects one after another and remembers what was acknowledged and what may have happened."""

    def __init__(self, house: Installation, lane: int, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self._s3: Any = house.boto("s3", retries={"max_attempts": 0}, connect_timeout=2, read_timeout=10)
        self._lane = lane
        self._stop_writing = stop
        self.acknowledged: dict[str, str] = {}
        self.unknown: dict[str, str] = {}
        self.surprises: list[str] = []

    def run(self) -> None:
        n = 0
        while not self._stop_writing.is_set():
            key = f"{self._lane}/{n}"
            content = random.Random(key).randbytes(random.Random(n).choice((10, 20_000, 700_000)))
            hashed = hashlib.sha256(content).hexdigest()
            try:
                self._s3.put_object(Bucket="killed", Key=key, Body=content)
            except ClientError as error:
                if error.response["ResponseMetadata"]["HTTPStatusCode"] < 500:
                    self.surprises.append(str(error))
                self.unknown[key] = hashed
            except (HTTPClientError, BotoCoreError):
                self.unknown[key] = hashed
                time.sleep(0.02)
            else:
                self.acknowledged[key] = hashed
            n += 1


def test_no_acknowledged_object_is_lost_and_none_is_half_there_over_kills(house: Installation) -> None:
    house.boto("s3").create_bucket(Bucket="killed")
    stop = threading.Event()
    writers = [Writer(house, lane, stop) for lane in range(WRITERS)]
    for writer in writers:
        writer.start()
    for _ in range(KILLS):
        time.sleep(random.uniform(0.05, 0.6))
        house.kill()
        house.start()
    stop.set()
    for writer in writers:
        writer.join(30)
    acknowledged = {key: hashed for writer in writers for key, hashed in writer.acknowledged.items()}
    unknown = {key: hashed for writer in writers for key, hashed in writer.unknown.items()}
    s3 = house.boto("s3")
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket="killed")
    keys = [each["Key"] for page in pages for each in page.get("Contents", ())]
    stored = {key: hashlib.sha256(s3.get_object(Bucket="killed", Key=key)["Body"].read()).hexdigest() for key in keys}
    assert [surprise for writer in writers for surprise in writer.surprises] == []
    assert len(acknowledged) > KILLS
    assert {key: stored.get(key) for key in acknowledged} == acknowledged
    assert all((acknowledged | unknown)[key] == hashed for key, hashed in stored.items())


def test_a_content_that_was_altered_where_it_lies_is_not_given_out(house: Installation) -> None:
    s3 = house.boto("s3", retries={"max_attempts": 0})
    s3.create_bucket(Bucket="tampered")
    for key in ("one", "two"):
        s3.put_object(Bucket="tampered", Key=key, Body=key.encode() * 100_000)
    one, two = [path for path in (house.data / "blobs").rglob("*") if path.is_file()]
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)  # another's, whole
    two.write_bytes(second[:65_552])  # cut short where a chunk ends
    for key in ("one", "two"):
        with pytest.raises(ClientError, match="InternalError"):
            s3.get_object(Bucket="tampered", Key=key)
    one.write_bytes(first)
    two.write_bytes(second[:-1] + bytes([second[-1] ^ 1]))
    outcomes = []
    for key in ("one", "two"):
        try:
            outcomes.append(s3.get_object(Bucket="tampered", Key=key)["Body"].read() == key.encode() * 100_000)
        except (ClientError, HTTPClientError):
            outcomes.append(False)
    assert sorted(outcomes) == [False, True]
