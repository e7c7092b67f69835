"""Resource data syncs, to a bucket of this server and to another S3, on both engines."""

import json
import re
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from pilothouse.runtime.clock import TestClock
from pilothouse.runtime.settings import InventorySettings, LimitSettings, Settings
from tests.capabilities.commands.conftest import Fleet, Node, Until
from tests.capabilities.compliance.conftest import as_node
from tests.capabilities.inventory.conftest import WHEN, Put, application, item, refused
from tests.conftest import Server, clients_of

Nodes = Callable[..., list[Node]]


def destination(bucket: str, **more: Any) -> dict[str, Any]:
    return {"BucketName": bucket, "SyncFormat": "JsonSerDe", "Region": "eu-west-1", **more}


def sync_of(ssm: Any, name: str) -> dict[str, Any]:
    return next(each for each in ssm.list_resource_data_sync()["ResourceDataSyncItems"] if each["SyncName"] == name)


def test_files_lie_in_the_documented_layout(ssm: Any, server: Server, nodes: Nodes, put: Put, until: Until) -> None:
    s3 = clients_of(server)("s3")
    s3.create_bucket(Bucket="inventory", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    one, two = nodes(2)
    put(one, item("AWS:Application", application("bash", "5"), application("<b>", "1"), version="1.1"))
    ssm.create_resource_data_sync(SyncName="all", S3Destination=destination("inventory", Prefix="from/"))

    def keys() -> set[str]:
        return {each["Key"] for each in s3.list_objects_v2(Bucket="inventory").get("Contents", ())}

    def key(type_name: str, node: Node) -> str:
        where = f"accountid={server.application.root.account_id}/region=eu-west-1/resourcetype=ManagedInstanceInventory"
        return f"from/{type_name}/{where}/{node.id}.json"

    information = "AWS:InstanceInformation"
    server.advance(seconds=6)
    until(lambda: keys() == {key("AWS:Application", one), key(information, one), key(information, two)})
    body = s3.get_object(Bucket="inventory", Key=key("AWS:Application", one))["Body"].read().decode()
    more = {"resourceId": one.id, "captureTime": WHEN, "schemaVersion": "1.1"}
    assert [json.loads(line) for line in body.splitlines()] == [
        application("bash", "5") | more, application("<b>", "1") | more
    ]  # fmt: skip
    put(two, item("Custom:Rack", {"Rack": "A7"}))
    put(one, item("AWS:Application"))
    server.advance(seconds=6)
    until(lambda: keys() == {key("Custom:Rack", two), key(information, one), key(information, two)})
    until(lambda: sync_of(ssm, "all").get("LastStatus") == "Successful")
    assert sync_of(ssm, "all")["LastSuccessfulSyncTime"] >= sync_of(ssm, "all")["SyncCreatedTime"]
    ssm.deregister_managed_instance(InstanceId=two.id)
    server.advance(seconds=6)
    until(lambda: keys() == {key(information, one)})
    for each in keys():
        s3.delete_object(Bucket="inventory", Key=each)
    s3.delete_bucket(Bucket="inventory")
    put(one, item("AWS:Network", {"Name": "eth0"}))
    server.advance(seconds=6)
    until(lambda: sync_of(ssm, "all")["LastStatus"] == "Failed")
    assert sync_of(ssm, "all")["LastSyncStatusMessage"]
    ssm.delete_resource_data_sync(SyncName="all")
    assert refused(lambda: ssm.delete_resource_data_sync(SyncName="all")) == "ResourceDataSyncNotFoundException"


def test_what_a_sync_must_be(ssm: Any) -> None:
    wrong = "ResourceDataSyncInvalidConfigurationException"
    source = {"SourceType": "SingleAccountMultiRegions", "SourceRegions": ["eu-west-1"]}
    organization = {"SourceType": "AwsOrganizations", "SourceRegions": ["eu-west-1"]}
    for request in (
        {"SyncName": "a"},
        {"SyncName": "a", "SyncType": "Sideways"},
        {"SyncName": "a", "S3Destination": destination("nowhere")},
        {"SyncName": "a", "S3Destination": destination("b", AWSKMSKeyARN="arn:aws:kms:x")},
        {"SyncName": "a", "SyncType": "SyncFromSource"},
        {"SyncName": "a", "SyncType": "SyncFromSource", "SyncSource": organization},
        {"SyncName": "a", "SyncType": "SyncFromSource", "SyncSource": source, "S3Destination": destination("b")},
    ):
        assert refused(lambda request=request: ssm.create_resource_data_sync(**request)) == wrong
    from_source = {"SyncType": "SyncFromSource", "SyncSource": source}
    for number in range(10):
        ssm.create_resource_data_sync(SyncName=f"s{number}", **from_source)
    with pytest.raises(ClientError) as error:
        ssm.create_resource_data_sync(SyncName="s1", **from_source)
    assert error.value.response["Error"]["Code"] == "ResourceDataSyncAlreadyExistsException"
    again = lambda: ssm.create_resource_data_sync(SyncName="s10", **from_source)  # noqa: E731
    assert refused(again) == "ResourceDataSyncCountExceededException"
    wider = source | {"SourceRegions": ["eu-west-1", "eu-north-1"]}
    ssm.update_resource_data_sync(SyncName="s1", SyncType="SyncFromSource", SyncSource=wider)
    assert sync_of(ssm, "s1")["SyncSource"]["SourceRegions"] == wider["SourceRegions"]
    assert len(ssm.list_resource_data_sync(SyncType="SyncFromSource", MaxResults=4)["ResourceDataSyncItems"]) == 4
    assert ssm.list_resource_data_sync(SyncType="SyncToDestination")["ResourceDataSyncItems"] == []
    update = {"SyncName": "none", "SyncType": "SyncFromSource", "SyncSource": source}
    assert refused(lambda: ssm.update_resource_data_sync(**update)) == "ResourceDataSyncNotFoundException"
    assert refused(lambda: ssm.update_resource_data_sync(**update | {"SyncType": "SyncToDestination"})) == wrong
    for number in range(10):
        ssm.delete_resource_data_sync(SyncName=f"s{number}", SyncType="SyncFromSource")


def test_a_sync_needs_the_right_to_fill_the_bucket(ssm: Any, server: Server) -> None:
    """The caller's own, or one that the bucket's policy gives to Systems Manager, as AWS's guide has it."""
    aws = clients_of(server)
    iam, s3, account = aws("iam"), aws("s3"), server.application.root.account_id
    s3.create_bucket(Bucket="guarded", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    iam.create_user(UserName="syncer")
    key = iam.create_access_key(UserName="syncer")["AccessKey"]
    theirs = aws("ssm", access_key=key["AccessKeyId"], secret=key["SecretAccessKey"])

    def may(*statements: tuple[str, str, str]) -> None:
        said = [{"Effect": effect, "Action": action, "Resource": resource} for effect, action, resource in statements]
        document = json.dumps({"Version": "2012-10-17", "Statement": said})
        iam.put_user_policy(UserName="syncer", PolicyName="p", PolicyDocument=document)

    def lets(effect: str, principal: Any, **conditions: dict[str, str]) -> None:
        statement = {"Effect": effect, "Principal": principal, "Action": "s3:PutObject", "Condition": conditions,
                     "Resource": f"arn:aws:s3:::guarded/up/*/accountid={account}/*"}  # fmt: skip
        s3.put_bucket_policy(Bucket="guarded", Policy=json.dumps({"Version": "2012-10-17", "Statement": [statement]}))

    def create(client: Any = theirs, bucket: str = "guarded") -> str:
        try:
            client.create_resource_data_sync(SyncName="g", S3Destination=destination(bucket, Prefix="up"))
        except ClientError as error:
            return str(error.response["Error"]["Code"])
        ssm.delete_resource_data_sync(SyncName="g")
        return "made"

    wrong = "ResourceDataSyncInvalidConfigurationException"
    sync, put = ("Allow", "ssm:CreateResourceDataSync", "*"), ("Allow", "s3:PutObject", "arn:aws:s3:::guarded/up/*")
    may(put)
    assert create() == "AccessDeniedException"
    may(sync)
    assert create() == wrong
    may(sync, put)
    assert create() == "made"
    may(sync, ("Allow", "s3:PutObject", "arn:aws:s3:::guarded/elsewhere/*"))
    assert create() == wrong
    service = {"Service": "ssm.amazonaws.com"}
    lets("Allow", service, StringEquals={"s3:x-amz-acl": "bucket-owner-full-control", "aws:SourceAccount": account},
         ArnLike={"aws:SourceArn": f"arn:aws:ssm:*:{account}:resource-data-sync/*"})  # fmt: skip
    assert create() == "made"
    lets("Allow", service, StringEquals={"aws:SourceAccount": "000000000000"})
    assert create() == wrong
    lets("Allow", {"Service": "logs.amazonaws.com"})
    assert create() == wrong
    lets("Deny", "*")
    assert create(ssm) == wrong
    may(sync, ("Allow", "s3:*", "*"))
    assert create(bucket=f"pilothouse-inbox.{account}") == wrong
    s3.delete_bucket(Bucket="guarded")


def test_a_policy_that_denies_the_service_ends_its_deliveries(
    ssm: Any, server: Server, nodes: Nodes, put: Put, until: Until
) -> None:
    s3 = clients_of(server)("s3")
    s3.create_bucket(Bucket="shut", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    (node,) = nodes(1)
    put(node, item("AWS:Application", application("bash", "5"), version="1.1"))
    ssm.create_resource_data_sync(SyncName="shut", S3Destination=destination("shut"))
    server.advance(seconds=6)
    until(lambda: sync_of(ssm, "shut").get("LastStatus") == "Successful")
    before = s3.list_objects_v2(Bucket="shut")["KeyCount"]
    statement = {"Effect": "Deny", "Principal": {"Service": "ssm.amazonaws.com"}, "Action": "s3:PutObject",
                 "Resource": "arn:aws:s3:::shut/*"}  # fmt: skip
    s3.put_bucket_policy(Bucket="shut", Policy=json.dumps({"Version": "2012-10-17", "Statement": [statement]}))
    put(node, item("AWS:Network", {"Name": "eth0"}))
    server.advance(seconds=6)
    until(lambda: sync_of(ssm, "shut")["LastStatus"] == "Failed")
    why = sync_of(ssm, "shut")["LastSyncStatusMessage"]
    assert why.startswith("The policy of the bucket shut denies ssm.amazonaws.com s3:PutObject on AWS:")
    assert s3.list_objects_v2(Bucket="shut")["KeyCount"] == before
    s3.delete_bucket_policy(Bucket="shut")
    server.advance(minutes=11)
    until(lambda: sync_of(ssm, "shut")["LastStatus"] == "Successful")
    assert s3.list_objects_v2(Bucket="shut")["KeyCount"] > before
    ssm.delete_resource_data_sync(SyncName="shut")


class _Store(BaseHTTPRequestHandler):
    """An S3 that takes what it gets, unless it is told to refuse."""

    def do_PUT(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        refuses = self.server.refuses  # type: ignore[attr-defined]
        if not refuses:
            self.server.taken[self.path] = (content, self.headers["Authorization"])  # type: ignore[attr-defined]
        self.send_response(403 if refuses else 200)
        self.send_header("ETag", '"x"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_POST(self) -> None:
        """DeleteObjects."""
        keys = re.findall(rb"<Key>.*?</Key>", self.rfile.read(int(self.headers["Content-Length"])))
        deleted = b"".join(b"<Deleted>" + key + b"</Deleted>" for key in keys)
        body = b'<DeleteResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">' + deleted + b"</DeleteResult>"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture
def store() -> Iterator[Any]:
    opened = ThreadingHTTPServer(("127.0.0.1", 0), _Store)
    opened.taken, opened.refuses = {}, True  # type: ignore[attr-defined]
    thread = threading.Thread(target=opened.serve_forever, daemon=True)
    thread.start()
    yield opened
    opened.shutdown()
    opened.server_close()


def test_another_s3_gets_them_once_it_takes_them(tmp_path: Path, store: Any, until: Until) -> None:
    secret = tmp_path / "secret"
    secret.write_text("AKIDEXAMPLE:wJalrXUtnFEMI")
    tmp_path.chmod(0o700)
    endpoint = f"http://127.0.0.1:{store.server_port}"
    settings = Settings(
        data=tmp_path, limits=LimitSettings(failures_per_minute=0), skew_seconds=86_400,
        inventory=InventorySettings(sync_endpoint=endpoint, sync_credentials=str(secret)),
    )  # fmt: skip
    server = Server(settings, TestClock())
    try:
        ssm = clients_of(server)("ssm")
        node = Fleet(server, clients_of(server)).node(online=False)
        iam = clients_of(server)("iam")
        iam.create_user(UserName="syncer")
        key = iam.create_access_key(UserName="syncer")["AccessKey"]
        theirs = clients_of(server)("ssm", access_key=key["AccessKeyId"], secret=key["SecretAccessKey"])
        out = {"SyncName": "out", "S3Destination": destination("far")}

        def may_fill(bucket: str) -> None:
            grants = [("ssm:CreateResourceDataSync", "*"), ("s3:PutObject", f"arn:aws:s3:::{bucket}/*")]
            said = [{"Effect": "Allow", "Action": action, "Resource": resource} for action, resource in grants]
            document = json.dumps({"Version": "2012-10-17", "Statement": said})
            iam.put_user_policy(UserName="syncer", PolicyName="p", PolicyDocument=document)

        may_fill("near")
        wrong = "ResourceDataSyncInvalidConfigurationException"
        assert refused(lambda: theirs.create_resource_data_sync(**out)) == wrong
        may_fill("far")
        theirs.create_resource_data_sync(**out)
        sent = item("AWS:Application", application("bash", "5"))
        as_node(server, node, "PutInventory", InstanceId=node.id, Items=[sent])
        server.advance(seconds=6)
        until(lambda: sync_of(ssm, "out")["LastStatus"] == "Failed")
        assert "wJalr" not in sync_of(ssm, "out")["LastSyncStatusMessage"]
        store.refuses = False
        server.advance(seconds=700)
        until(lambda: sync_of(ssm, "out")["LastStatus"] == "Successful")
        (taken,) = [each for path, each in store.taken.items() if path.startswith("/far/AWS%3AApplication/accountid")]
        assert json.loads(taken[0])["Name"] == "bash"
        assert "AKIDEXAMPLE" in taken[1]
    finally:
        server.close()
