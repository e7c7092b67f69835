"""Outputs that agents upload: nodes play the official agent, which knows of no other way to give a whole output."""

import json
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from pilothouse.capabilities.commands import uploads
from tests.capabilities.commands.conftest import (
    HOLDING,
    REGION,
    Fleet,
    Node,
    Send,
    Until,
    command_of,
    refused,
)
from tests.conftest import Aws, Server
from tests.gateway.scripted_agent import SHELL, ended

UPLOADS = {"pilothouse:outputs": "upload"}
FOLDER = "awsrunShellScript/0.awsrunShellScript"
PART = 5 << 20


@pytest.fixture
def own(aws: Aws) -> Any:
    return aws("pilothouse")


def store_of(aws: Aws, node: Node) -> Any:
    """S3 with the credentials of a node."""
    return aws("s3", access_key=node.who.access_key_id, secret=node.who.secret, token=node.who.token)


def upload(s3: Any, bucket: str, key: str, content: bytes) -> None:
    """As the official agent uploads: at once, or in parts of 5 MiB."""
    where = {"Bucket": bucket, "Key": key}
    if len(content) <= PART:
        s3.put_object(**where, Body=content, ACL="bucket-owner-full-control", ContentType="text/plain")
        return
    begun = s3.create_multipart_upload(**where, ACL="bucket-owner-full-control", ContentType="text/plain")
    parts = []
    for number, start in enumerate(range(0, len(content), PART), 1):
        sent = s3.upload_part(
            **where, UploadId=begun["UploadId"], PartNumber=number, Body=content[start : start + PART]
        )
        parts.append({"PartNumber": number, "ETag": sent["ETag"]})
    s3.complete_multipart_upload(**where, UploadId=begun["UploadId"], MultipartUpload={"Parts": parts})


def whole(own: Any, command: str, node: Node, stream: str = "StandardOutput") -> tuple[bytes, dict[str, Any]]:
    """All of a stream, by pages, and the last page."""
    data, page = b"", {"Data": b"x"}
    while page["Data"]:
        page = own.get_command_output(
            CommandId=command, InstanceId=node.id, Stream=stream, Offset=len(data), MaxBytes=1 << 20
        )
        data += page["Data"]
    return data, page


def test_what_an_agent_uploads_is_the_whole_output(
    aws: Aws, own: Any, ssm: Any, fleet: Fleet, send: Send, until: Until, server: Server
) -> None:
    node, other = fleet.node(script=HOLDING, tags=UPLOADS), fleet.node(script=HOLDING)
    command = send(node.id, other.id)["CommandId"]
    until(lambda: node.agent.jobs and other.agent.jobs)
    bucket = node.agent.jobs[0].content["OutputS3BucketName"]
    assert "." in bucket  # so that the agent names it in the path, not in the host
    assert other.agent.jobs[0].content["OutputS3BucketName"] == ""
    assert command_of(ssm, command)["OutputS3BucketName"] == ""
    s3 = store_of(aws, node)
    out, error = b"0123456789" * 700_000, b"oh\n" * 10_000
    place = f"{command}/{node.id}/{FOLDER}"
    upload(s3, bucket, f"{place}/stdout", b"an earlier try")
    upload(s3, bucket, f"{place}/stdout", out)
    upload(s3, bucket, f"{place}/stderr", error)
    data, page = whole(own, command, node)
    assert (data == out, page["Complete"], page["Source"]) == (True, False, "Upload")
    for each in (node, other):
        for reply in ended(stdout="01234--output truncated--", stderr="oh"):
            each.reply(each.agent.jobs[0].job_id, reply)
    until(lambda: command_of(ssm, command)["Status"] == "Success")
    data, page = whole(own, command, node)
    assert (data == out, page["Complete"], page["Truncated"]) == (True, True, False)
    assert whole(own, command, node, "StandardError")[0] == error
    data, page = whole(own, command, other)
    assert (data, page["Truncated"], page["Source"]) == (b"01234--output truncated--", True, "Reply")
    for size in (10, PART + 1):  # what was reported stays as it is
        assert refused(lambda size=size: upload(s3, bucket, f"{place}/stdout", b"x" * size)) == "AccessDenied"
    assert whole(own, command, node)[0] == out
    told = followed(server, command)
    assert told[other.id, "StandardOutput"] == "01234--output truncated--"
    assert told[node.id, "StandardOutput"] == out.decode()
    assert told[node.id, "StandardError"] == error.decode()

    server.advance(days=31)
    until(lambda: ssm.list_commands()["Commands"] == [])
    assert objects_in(server, bucket) == []


def followed(server: Server, command: str) -> dict[tuple[str, str], str]:
    """What the stream of a command's outputs tells until it ends, by node and stream."""
    said: dict[tuple[str, str], str] = {}
    root = server.application.root
    request = AWSRequest("GET", f"http://pilothouse.test/ph/v1/commands/output?command-id={command}")
    SigV4Auth(Credentials(root.access_key_id, root.secret), "pilothouse", REGION).add_auth(request)
    for event in b"".join(server.answer(request).raw.stream()).decode().split("\n\n"):
        kind, _, data = event.partition("\ndata: ")
        if kind == "event: output":
            piece = json.loads(data)
            at = piece["InstanceId"], piece["Stream"]
            said[at] = said.get(at, "") + piece["Text"]
    return said


def objects_in(server: Server, bucket: str) -> list[str]:
    """The keys in a bucket, as the database has them: nobody may list an inbox."""

    async def look() -> list[str]:
        async with server.application.house.database.reading() as tx:
            rows = await tx.rows("select key from bucket_object where bucket = :bucket", bucket=bucket)
            return [row["key"] for row in rows]

    return server.run(look())


def test_a_node_leaves_its_own_outputs_and_nothing_else(
    aws: Aws, own: Any, fleet: Fleet, send: Send, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    node, other = fleet.nodes(2, script=HOLDING, tags=UPLOADS)
    command = send(node.id)["CommandId"]
    until(lambda: node.agent.jobs)
    bucket = node.agent.jobs[0].content["OutputS3BucketName"]
    mine, theirs = store_of(aws, node), store_of(aws, other)
    place = f"{command}/{node.id}/{FOLDER}"
    upload(mine, bucket, f"{place}/stdout", b"secret")
    for key in (f"{command}/{other.id}/{FOLDER}/stdout", f"{place}/stdin", f"{place}x/stdout", f"x/{place}/stdout"):
        assert refused(lambda key=key: upload(mine, bucket, key, b"x")) == "AccessDenied"
        assert refused(lambda key=key: upload(theirs, bucket, key, b"x")) == "AccessDenied"
    assert refused(lambda: upload(theirs, bucket, f"{place}/stdout", b"x")) == "AccessDenied"
    root = aws("s3")
    for who in (mine, theirs, root):
        where = {"Bucket": bucket, "Key": f"{place}/stdout"}
        assert refused(lambda who=who, where=where: who.get_object(**where)) == "AccessDenied"
        assert refused(lambda who=who: who.list_objects_v2(Bucket=bucket)) == "AccessDenied"
    for call in (
        lambda: root.put_object(Bucket=bucket, Key=f"{place}/stderr", Body=b"x"),
        lambda: root.delete_object(Bucket=bucket, Key=f"{place}/stdout"),
        lambda: root.delete_bucket(Bucket=bucket),
        lambda: root.put_bucket_policy(Bucket=bucket, Policy="{}"),
        lambda: root.copy_object(Bucket="x", Key="y", CopySource=f"{bucket}/{place}/stdout"),
    ):
        assert refused(call) in {"AccessDenied", "NoSuchBucket", "MalformedPolicy"}
    assert bucket not in [each["Name"] for each in root.list_buckets()["Buckets"]]
    assert refused(lambda: root.create_bucket(Bucket=f"{bucket}1")) == "InvalidBucketName"
    monkeypatch.setattr(uploads, "_MIB", 1024)
    assert refused(lambda: upload(mine, bucket, f"{place}/stderr", b"x" * (64 * 1024 + 1))) == "EntityTooLarge"
    begun = mine.create_multipart_upload(Bucket=bucket, Key=f"{place}/stderr")["UploadId"]
    part = {"Bucket": bucket, "Key": f"{place}/stderr", "UploadId": begun}
    mine.upload_part(**part, PartNumber=1, Body=b"x" * 60_000)
    assert refused(lambda: mine.upload_part(**part, PartNumber=2, Body=b"x" * 10_000)) == "EntityTooLarge"
    mine.create_multipart_upload(Bucket=bucket, Key=f"{place}/stderr")
    assert refused(lambda: mine.upload_part(**part, PartNumber=1, Body=b"x")) == "NoSuchUpload"  # one at a time
    assert whole(own, command, node)[0] == b"secret"


def test_a_bucket_of_the_account_is_read_back_by_who_may(
    aws: Aws, own: Any, fleet: Fleet, send: Send, until: Until
) -> None:  # fmt: skip
    iam, root = aws("iam"), aws("s3")
    root.create_bucket(Bucket="reports", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    iam.create_user(UserName="clerk")
    allow = {"Effect": "Allow", "Action": "ssm:GetCommandInvocation", "Resource": "*"}
    iam.put_user_policy(UserName="clerk", PolicyName="p", PolicyDocument=policy(allow))
    key = iam.create_access_key(UserName="clerk")["AccessKey"]
    clerk = aws("pilothouse", access_key=key["AccessKeyId"], secret=key["SecretAccessKey"])
    node = fleet.node(script=HOLDING, tags=UPLOADS)
    command = send(node.id, OutputS3BucketName="reports", OutputS3KeyPrefix="a/b/")["CommandId"]
    until(lambda: node.agent.jobs)
    assert node.agent.jobs[0].content["OutputS3BucketName"] == "reports"
    root.put_object(Bucket="reports", Key=f"a/b/{command}/{node.id}/{FOLDER}/stdout", Body=b"all of it")
    for reply in ended(stdout="all"):
        node.reply(node.agent.jobs[0].job_id, reply)
    until(lambda: whole(own, command, node)[1]["Complete"])
    assert whole(own, command, node)[0] == b"all of it"
    data, page = whole(clerk, command, node)
    assert (data, page["Source"]) == (b"all", "Reply")
    assert own.get_command_output(CommandId=command, InstanceId=node.id, StepName=SHELL)["Source"] == "Upload"
    get = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::reports/a/*"}
    iam.put_user_policy(UserName="clerk", PolicyName="p", PolicyDocument=policy(allow, get))
    assert whole(clerk, command, node)[0] == b"all of it"


def policy(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def test_each_part_of_a_step_has_an_output_of_its_own(
    aws: Aws, own: Any, ssm: Any, fleet: Fleet, send: Send, until: Until, server: Server, monkeypatch: Any
) -> None:
    monkeypatch.setattr(uploads, "_FEW", 0)  # as for many nodes
    parts = [{"id": f"{number}.aws:runShellScript", "runCommand": ["x"]} for number in range(2)]
    content = {"schemaVersion": "1.2", "runtimeConfig": {SHELL: {"properties": parts}}}
    ssm.create_document(Name="Parts", Content=json.dumps(content), DocumentType="Command")
    node = fleet.node(script=HOLDING, tags=UPLOADS)
    command = send(node.id, DocumentName="Parts", Parameters={})["CommandId"]
    until(lambda: node.agent.jobs)
    for number in range(2):
        key = f"{command}/{node.id}/awsrunShellScript/{number}.awsrunShellScript/stdout"
        upload(store_of(aws, node), node.agent.jobs[0].content["OutputS3BucketName"], key, f"part {number}".encode())
    for reply in ended(stdout="part 0\npart 1"):
        node.reply(node.agent.jobs[0].job_id, reply)
    until(lambda: command_of(ssm, command)["Status"] == "Success")
    pages = [own.get_command_output(CommandId=command, InstanceId=node.id, Run=number) for number in range(3)]
    assert [page["Data"] for page in pages] == [b"part 0", b"part 1", b""]
    assert followed(server, command) == {(node.id, "StandardOutput"): "part 0part 1"}
