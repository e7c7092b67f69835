"""Files that documents bring along: fetched once, kept sealed, given out by a link that proves itself."""

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from pilothouse.capabilities import access
from pilothouse.runtime.clock import TestClock
from pilothouse.runtime.settings import OutboundSettings, Settings
from pilothouse.wire.http import Request, Response
from tests.capabilities.documents.test_own_documents import refused, steps
from tests.conftest import Aws, Server
from tests.identity.test_resource_tags import ada, denied, statement

__all__ = ["ada"]

ARCHIVE = b"PK\x05\x06 not quite an archive, but nobody opens it here"
SUM = hashlib.sha256(ARCHIVE).hexdigest()


class _Files(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        found = self.path == "/pack/tool.zip"
        self.send_response(200 if found else 404)
        self.send_header("content-length", str(len(ARCHIVE) if found else 0))
        self.end_headers()
        if found:
            self.wfile.write(ARCHIVE)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def source() -> Iterator[str]:
    """The URL of a folder with one archive."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Files) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{serving.server_port}/pack"
        serving.shutdown()


@pytest.fixture
def server(database_url: str, tmp_path: Path, clock: TestClock) -> Iterator[Server]:
    """The whole server in process; it may call the loopback address."""
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    opened = Server(
        Settings(data=data, database=database_url, outbound=OutboundSettings(allow=("127.0.0.1/32",))), clock
    )
    try:
        yield opened
    finally:
        opened.close()


def manifest(checksum: str = SUM) -> str:
    files = {"tool.zip": {"checksums": {"sha256": checksum}, "size": len(ARCHIVE)}}
    packages = {"_any": {"_any": {"_any": {"file": "tool.zip"}}}}
    return json.dumps({"schemaVersion": "2.0", "version": "1.0", "packages": packages, "files": files})


def get(server: Server, url: str, method: str = "GET") -> Response:
    split = urlsplit(url)
    return server.run(
        server.application.front.respond(Request(method, split.path, split.query, {}, b"", "127.0.0.1", False))
    )


def test_a_package_and_its_archive(aws: Aws, server: Server, source: str) -> None:
    ssm = aws("ssm")
    folder = [{"Key": "SourceUrl", "Values": [source]}]
    made = ssm.create_document(Name="Tool", Content=manifest(), DocumentType="Package", Attachments=folder)
    assert made["DocumentDescription"]["AttachmentsInformation"] == [{"Name": "tool.zip"}]
    (shown,) = ssm.get_document(Name="Tool")["AttachmentsContent"]
    assert (shown["Name"], shown["Size"], shown["Hash"], shown["HashType"]) == (
        "tool.zip", len(ARCHIVE), SUM, "Sha256",
    )  # fmt: skip
    assert get(server, shown["Url"]).body == ARCHIVE
    assert get(server, shown["Url"], "POST").status == 405
    assert get(server, shown["Url"].replace("tool.zip", "other.zip")).status == 404
    assert get(server, shown["Url"].replace("attachments/", "attachments/A")).status == 404
    changed = manifest().replace('"1.0"', '"1.1"')
    kept = ssm.update_document(Name="Tool", Content=changed, DocumentVersion="$LATEST")["DocumentDescription"]
    assert kept["AttachmentsInformation"] == [{"Name": "tool.zip"}]
    (second,) = ssm.get_document(Name="Tool", DocumentVersion="2")["AttachmentsContent"]
    assert get(server, second["Url"]).body == ARCHIVE
    server.advance(hours=2)
    assert get(server, second["Url"]).status == 404


def test_files_by_name_and_from_other_documents(aws: Aws, server: Server, source: str) -> None:
    ssm = aws("ssm")
    one = [{"Key": "S3FileUrl", "Values": [f"{source}/tool.zip"], "Name": "mine.zip"}]
    ssm.create_document(Name="First", Content=steps("true"), Attachments=one)
    other = [{"Key": "AttachmentReference", "Values": ["First/1/mine.zip"], "Name": "again.zip"}]
    ssm.create_document(Name="Second", Content=steps("true"), Attachments=other)
    ssm.delete_document(Name="First")
    (shown,) = ssm.get_document(Name="Second")["AttachmentsContent"]
    assert (shown["Name"], get(server, shown["Url"]).body) == ("again.zip", ARCHIVE)


def test_a_file_of_another_document_is_for_those_who_may_read_that(aws: Aws, ada: Any, source: str) -> None:
    may, client = ada
    one = [{"Key": "S3FileUrl", "Values": [f"{source}/tool.zip"], "Name": "mine.zip"}]
    aws("ssm").create_document(Name="Closed", Content=steps("true"), Attachments=one)
    may(statement("Allow", "ssm:CreateDocument"))
    other = {"Name": "Mine", "Content": steps("true"),
             "Attachments": [{"Key": "AttachmentReference", "Values": ["Closed/1/mine.zip"]}]}  # fmt: skip
    assert denied(lambda: client("ssm").create_document(**other))
    may(statement("Allow", ["ssm:CreateDocument", "ssm:GetDocument"]))
    assert not denied(lambda: client("ssm").create_document(**other))


def test_a_file_of_a_document_of_another_account_that_shares_it(aws: Aws, server: Server, source: str) -> None:
    guest = server.run(access.create_account(server.application.house, "guest"))
    owner, theirs = aws("ssm"), aws("ssm", access_key=guest.access_key_id, secret=guest.secret)
    one = [{"Key": "S3FileUrl", "Values": [f"{source}/tool.zip"]}]
    owner.create_document(Name="First", Content=steps("true"), Attachments=one)
    number = owner.describe_document(Name="First")["Document"]["Owner"]
    arn = f"arn:aws:ssm:eu-west-1:{number}:document/First"
    mine = [{"Key": "AttachmentReference", "Values": [f"{arn}/1/tool.zip"]}]
    request = {"Name": "Mine", "Content": steps("true"), "Attachments": mine}
    assert refused(lambda: theirs.create_document(**request))[0] == "ValidationException"
    owner.modify_document_permission(Name="First", PermissionType="Share", AccountIdsToAdd=[guest.account_id])
    theirs.create_document(**request)
    (shown,) = theirs.get_document(Name="Mine")["AttachmentsContent"]
    assert get(server, shown["Url"]).body == ARCHIVE


def test_files_from_a_bucket_are_for_those_who_may_get_them(aws: Aws, server: Server, ada: Any) -> None:
    may, client = ada
    s3 = aws("s3", region="us-east-1")
    s3.create_bucket(Bucket="packages")
    s3.put_object(Bucket="packages", Key="tools/tool.zip", Body=ARCHIVE)
    folder = [{"Key": "SourceUrl", "Values": ["s3://packages/tools"]}]
    one = [{"Key": "S3FileUrl", "Values": ["s3://packages/tools/tool.zip"]}]
    may(statement("Allow", "ssm:*"))
    for attachments in (folder, one):
        request = {"Name": "Tool", "Content": manifest(), "DocumentType": "Package", "Attachments": attachments}
        assert denied(lambda request=request: client("ssm").create_document(**request))
    may(statement("Allow", ["ssm:*", "s3:GetObject"]))
    client("ssm").create_document(Name="Tool", Content=manifest(), DocumentType="Package", Attachments=folder)
    client("ssm").create_document(Name="One", Content=steps("true"), Attachments=one)
    s3.delete_object(Bucket="packages", Key="tools/tool.zip")
    for name in ("Tool", "One"):
        (shown,) = aws("ssm").get_document(Name=name)["AttachmentsContent"]
        assert (shown["Name"], get(server, shown["Url"]).body) == ("tool.zip", ARCHIVE)


@pytest.mark.parametrize(
    ("attachment", "code"),
    [
        ({"Key": "S3FileUrl", "Values": ["{source}/none.zip"], "Name": "a.zip"}, "ValidationException"),
        ({"Key": "S3FileUrl", "Values": ["{source}/tool.zip"], "Name": "a/../b.zip"}, "ValidationException"),
        ({"Key": "S3FileUrl", "Values": ["s3://bucket/a.zip"], "Name": "a.zip"}, "ValidationException"),
        ({"Key": "S3FileUrl", "Values": ["s3://"], "Name": "a.zip"}, "ValidationException"),
        ({"Key": "S3FileUrl", "Values": ["S3://bucket/a.zip"], "Name": "a.zip"}, "ValidationException"),
        ({"Key": "S3FileUrl", "Values": ["http://10.0.0.1/a.zip"], "Name": "a.zip"}, "ValidationException"),
        ({"Key": "S3FileUrl", "Values": ["file:///etc/passwd"], "Name": "a.zip"}, "ValidationException"),
        ({"Key": "AttachmentReference", "Values": ["No/1/a.zip"]}, "ValidationException"),
        ({"Key": "AttachmentReference", "Values": ["AWS-RunShellScript/1/a.zip"]}, "ValidationException"),
        ({"Key": "AttachmentReference", "Values": ["1/a.zip"]}, "ValidationException"),
        ({"Key": "SourceUrl", "Values": ["{source}"]}, "InvalidDocumentContent"),
    ],
)
def test_what_cannot_be_attached(aws: Aws, source: str, attachment: dict[str, Any], code: str) -> None:
    ssm = aws("ssm")
    asked = {**attachment, "Values": [each.format(source=source) for each in attachment["Values"]]}
    content = {"Name": "Tool", "Content": manifest("0" * 64), "DocumentType": "Package"}
    assert refused(lambda: ssm.create_document(**content, Attachments=[asked]))[0] == code
    assert refused(lambda: ssm.get_document(Name="Tool"))[0] == "InvalidDocument"
