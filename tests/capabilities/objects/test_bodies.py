"""Contents as SDKs send them, signed or not, with checksums before or behind; and those that are not what they say."""

import hashlib
from base64 import b64encode
from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree
from zlib import crc32

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from pilothouse.wire.aws_chunked import SIGNED, SIGNED_TRAILER, UNSIGNED_TRAILER
from tests.conftest import Server

URL = "http://pilothouse.test/reports/k"
CONTENT = b"what was written " * 5000


class _Auth(S3SigV4Auth):
    """Signs what the header says of the body, whatever the body is."""

    def payload(self, request: Any) -> str:
        stated: str = request.headers["X-Amz-Content-SHA256"]
        return stated

    def _modify_request_before_signing(self, request: Any) -> None:
        stated = request.headers["X-Amz-Content-SHA256"]
        super()._modify_request_before_signing(request)
        del request.headers["X-Amz-Content-SHA256"]
        request.headers["X-Amz-Content-SHA256"] = stated


def said(server: Server, stated: str, body: bytes, headers: Mapping[str, str], method: str = "PUT") -> Any:
    """The answer to a signed request; `body` is what is sent."""
    root = server.application.root
    request = AWSRequest(method=method, url=URL, data=body, headers={"X-Amz-Content-SHA256": stated, **headers})
    _Auth(Credentials(root.access_key_id, root.secret), "s3", "eu-west-1").add_auth(request)
    prepared = request.prepare()
    prepared.headers["Content-Length"] = str(len(body))
    return server.answer(prepared)


def code(answer: Any) -> str:
    if answer.status_code == 200:
        return "OK"
    return str(ElementTree.fromstring(answer.content).findtext("Code"))


HASH = hashlib.sha256(CONTENT).hexdigest()
MD5 = b64encode(hashlib.md5(CONTENT).digest()).decode()
CRC = b64encode(crc32(CONTENT).to_bytes(4, "big")).decode()
OTHER = b64encode(b"0123").decode()


STATED = [
    (HASH, {}, "OK"),
    (hashlib.sha256(b"other").hexdigest(), {}, "XAmzContentSHA256Mismatch"),
    ("UNSIGNED-PAYLOAD", {}, "OK"),
    ("STREAMING-SOMETHING-ELSE", {}, "InvalidRequest"),
    (HASH, {"Content-MD5": MD5}, "OK"),
    (HASH, {"Content-MD5": b64encode(b"0" * 16).decode()}, "BadDigest"),
    (HASH, {"Content-MD5": "nonsense"}, "InvalidDigest"),
    (HASH, {"x-amz-checksum-crc32": CRC}, "OK"),
    (HASH, {"x-amz-checksum-crc32": OTHER}, "BadDigest"),
    (HASH, {"x-amz-checksum-crc32": "AAA="}, "InvalidRequest"),
    (HASH, {"x-amz-checksum-crc32": CRC, "x-amz-checksum-sha1": "x"}, "InvalidRequest"),
    (HASH, {"x-amz-checksum-xxhash64": "AAAAAAAAAAA="}, "InvalidRequest"),
    (HASH, {"x-amz-trailer": "x-amz-checksum-crc32"}, "InvalidRequest"),
]


def test_a_content_is_what_the_request_says_or_nothing(s3: Any, bucket: str, server: Server):
    for stated, headers, outcome in STATED:
        assert code(said(server, stated, CONTENT, headers)) == outcome, headers
        there = "Contents" in s3.list_objects_v2(Bucket=bucket)
        assert there is (outcome == "OK")
        s3.delete_object(Bucket=bucket, Key="k")


class _Chunks(_Auth):
    """Signs a body chunk by chunk, each signature going on from the one before."""

    def body(self, request: Any, chunks: list[bytes], mode: str, trailer: str) -> bytes:
        date = request.context["timestamp"]
        scope = self.credential_scope(request)
        former = request.headers["Authorization"].rpartition("Signature=")[2]
        empty = hashlib.sha256(b"").hexdigest()

        def sign(kind: str, hashes: str) -> str:
            text = f"{kind}\n{date}\n{scope}\n{former}\n{hashes}"
            return str(self.signature(text, request))

        written = b""
        for chunk in [*chunks, b""]:
            extension = ""
            if mode != UNSIGNED_TRAILER:
                former = sign("AWS4-HMAC-SHA256-PAYLOAD", f"{empty}\n{hashlib.sha256(chunk).hexdigest()}")
                extension = f";chunk-signature={former}"
            written += f"{len(chunk):x}{extension}\r\n".encode() + chunk + (b"\r\n" if chunk else b"")
        if trailer:
            written += f"{trailer}\r\n".encode()
            if mode == SIGNED_TRAILER:
                signature = sign("AWS4-HMAC-SHA256-TRAILER", hashlib.sha256(f"{trailer}\n".encode()).hexdigest())
                written += f"x-amz-trailer-signature:{signature}\r\n".encode()
        return written + b"\r\n"


CHUNKED = [
    (SIGNED, "", b"", "OK"),
    (SIGNED, "", b"written", "SignatureDoesNotMatch"),
    (SIGNED_TRAILER, CRC, b"", "OK"),
    (SIGNED_TRAILER, OTHER, b"", "BadDigest"),
    (SIGNED_TRAILER, CRC, b"written", "SignatureDoesNotMatch"),
    (UNSIGNED_TRAILER, CRC, b"", "OK"),
    (UNSIGNED_TRAILER, CRC, b"written", "BadDigest"),
    (UNSIGNED_TRAILER, "", b"", "MalformedTrailerError"),
]


def test_chunks_are_unpacked_and_their_signatures_verified(s3: Any, bucket: str, server: Server):
    for mode, checksum, spoil, outcome in CHUNKED:
        root = server.application.root
        headers = {
            "X-Amz-Content-SHA256": mode,
            "x-amz-decoded-content-length": str(len(CONTENT)),
            "Content-Encoding": "aws-chunked,gzip",
        }
        if mode != SIGNED:
            headers["x-amz-trailer"] = "x-amz-checksum-crc32"
        request = AWSRequest(method="PUT", url=URL, data=b"", headers=headers)
        auth = _Chunks(Credentials(root.access_key_id, root.secret), "s3", "eu-west-1")
        auth.add_auth(request)
        trailer = f"x-amz-checksum-crc32:{checksum}" if checksum else ""
        body = auth.body(request, [CONTENT[:65_536], CONTENT[65_536:]], mode, trailer)
        request.data = body.replace(spoil, b"spoiled", 1) if spoil else body
        prepared = request.prepare()
        prepared.headers["Content-Length"] = str(len(request.data))
        assert code(server.answer(prepared)) == outcome
        if outcome == "OK":
            got = s3.get_object(Bucket=bucket, Key="k")
            assert got["Body"].read() == CONTENT
            assert got["ContentEncoding"] == "gzip"
        else:
            assert "Contents" not in s3.list_objects_v2(Bucket=bucket)
        s3.delete_object(Bucket=bucket, Key="k")


NO_DELETE = [
    b"<Delete><Object><Key>a</Key></Object>",
    b'<!DOCTYPE x [<!ENTITY a "b">]><Delete><Object><Key>&a;</Key></Object></Delete>',
    b"<Other/>",
    b"<Delete><Object><Key>a</Key><Key>b</Key></Object></Delete>",
    b"<x>" * 100,
    b"\xff\xfe",
]


def test_xml_that_is_none_is_refused(s3: Any, bucket: str, server: Server):
    for body in NO_DELETE:
        s3.put_object(Bucket=bucket, Key="a", Body=b"x")
        root = server.application.root
        hashed = hashlib.sha256(body).hexdigest()
        request = AWSRequest(
            method="POST",
            url="http://pilothouse.test/reports?delete",
            data=body,
            headers={"X-Amz-Content-SHA256": hashed},
        )
        _Auth(Credentials(root.access_key_id, root.secret), "s3", "eu-west-1").add_auth(request)
        prepared = request.prepare()
        prepared.headers["Content-Length"] = str(len(body))
        assert code(server.answer(prepared)) == "MalformedXML"
        assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 1


def test_a_method_that_means_nothing_here_does_nothing(s3: Any, bucket: str, server: Server):
    """`DELETE /bucket?versioning` must not remove the bucket."""
    root = server.application.root
    hashed = hashlib.sha256(b"").hexdigest()
    for method, query in (("DELETE", "versioning"), ("DELETE", "acl"), ("POST", ""), ("PUT", "uploads")):
        request = AWSRequest(
            method=method, url=f"http://pilothouse.test/reports?{query}", headers={"X-Amz-Content-SHA256": hashed}
        )
        _Auth(Credentials(root.access_key_id, root.secret), "s3", "eu-west-1").add_auth(request)
        assert code(server.answer(request.prepare())) == "MethodNotAllowed"
    s3.head_bucket(Bucket=bucket)


def test_headers_in_a_presigned_url_count_as_headers(s3: Any, bucket: str, server: Server):
    """SDKs put what they sign of a presigned PUT into its query."""
    params = {"Bucket": bucket, "Key": "k", "Metadata": {"venue": "here"}, "Tagging": "a=1"}
    url = s3.generate_presigned_url("put_object", params, ExpiresIn=60)
    assert "x-amz-meta-venue=here" in url
    request = AWSRequest(method="PUT", url=url, data=b"text").prepare()
    request.headers["Content-Length"] = "4"
    assert code(server.answer(request)) == "OK"
    got = s3.get_object(Bucket=bucket, Key="k")
    assert (got["Metadata"], got["TagCount"]) == ({"venue": "here"}, 1)
    request.url = url.replace("venue=here", "venue=there")
    assert code(server.answer(request)) == "SignatureDoesNotMatch"
    request.url = f"{url}&encryption"  # nothing may be added that makes another operation of it
    assert code(server.answer(request)) == "AuthorizationHeaderMalformed"
    request.url = url
    request.headers["x-amz-meta-venue"] = "elsewhere"
    assert code(server.answer(request)) in ("SignatureDoesNotMatch", "AuthorizationHeaderMalformed")
