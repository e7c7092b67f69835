"""Whoever makes a document has the server fetch its files. It fetches nothing from where it must not go."""

import socket

import pytest

from tests.capabilities.documents.test_attachments import manifest
from tests.capabilities.documents.test_own_documents import refused
from tests.conftest import Aws
from tests.hostile_urls import hostile_urls


@pytest.mark.parametrize("key", ["SourceUrl", "S3FileUrl"])
def test_nothing_is_fetched_from_inside(aws: Aws, key: str) -> None:
    ssm = aws("ssm")
    content = {"Name": "Tool", "Content": manifest(), "DocumentType": "Package"}
    named = {"Name": "tool.zip"} if key == "S3FileUrl" else {}
    with socket.create_server(("127.0.0.1", 0)) as listener:
        for url in filter(None, hostile_urls(listener.getsockname()[1])):
            attachment = {"Key": key, "Values": [url], **named}
            code, text = refused(lambda attachment=attachment: ssm.create_document(**content, Attachments=[attachment]))
            assert code == "ValidationException", (url, code, text)
        listener.settimeout(0)
        with pytest.raises(BlockingIOError):
            listener.accept()
