"""Which requests are S3's, of which bucket and key, and which operation they ask for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.errors import UnknownOperationException
from pilothouse.rest_errors import InvalidURI, MethodNotAllowed
from pilothouse.wire.http import Request
from pilothouse.wire.models import service_model
from pilothouse.wire.rest_routes import Hosts, Target, named

HOSTS = Hosts(("objects.example.com", "pilothouse.example"))
SIGNED = "AWS4-HMAC-SHA256 Credential=AKIA/20261123/eu-west-1/s3/aws4_request, SignedHeaders=host, Signature=0"


def request(method: str, path: str, query: str = "", host: str = "127.0.0.1:7700", **headers: str) -> Request:
    named_headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return Request(
        method=method, path=path, query=query, headers={"host": host, **named_headers}, body=b"", peer="", secure=False
    )


@pytest.mark.parametrize(
    ("host", "bucket"),
    [
        ("127.0.0.1:7700", ""),
        ("[::1]:7700", ""),
        ("pilothouse.example:7743", ""),
        ("logs.objects.example.com", "logs"),
        ("my.logs.objects.example.com:7743", "my.logs"),
        ("Logs.pilothouse.example", "logs"),
        ("localhost:7700", ""),
        ("logs.localhost:7700", "logs"),
        ("s3.eu-west-1.anything.test", ""),
        ("logs.s3.eu-west-1.anything.test:8443", "logs"),
        ("a.b.s3.us-gov-west-1.anything.test", "a.b"),
        ("logs.s3.dualstack.eu-west-1.anything.test", "logs"),
        ("logs.s3-eu-west-1.anything.test", "logs"),
        ("logs.s3.anything.test", "logs"),
        ("logs.s3.eu-west-1.s3.corp.test", "logs"),
        ("elsewhere.test", ""),
    ],
)
def test_a_host_names_a_bucket_or_none(host: str, bucket: str):
    assert HOSTS.bucket(host) == bucket


def test_a_request_is_s3_s_by_its_signature_or_its_host():
    assert HOSTS.claims({"host": "x", "authorization": SIGNED}, "")
    assert not HOSTS.claims({"host": "x", "authorization": SIGNED.replace("/s3/", "/ssm/")}, "")
    assert HOSTS.claims({"host": "x"}, "a=b&X-Amz-Credential=AKIA%2F20261123%2Feu-west-1%2Fs3%2Faws4_request&c=d")
    assert not HOSTS.claims({"host": "x"}, "X-Amz-Credential=AKIA%2F20261123%2Feu-west-1%2Fsts%2Faws4_request")
    assert HOSTS.claims({"host": "x"}, "AWSAccessKeyId=AKIA&Signature=x&Expires=1")
    assert HOSTS.claims({"host": "logs.s3.eu-west-1.test"}, "")
    assert not HOSTS.claims({"host": "logs.s3.eu-west-1.test", "authorization": SIGNED.replace("/s3/", "/ssm/")}, "")
    assert not HOSTS.claims({"host": "logs.pilothouse.example"}, "")


@pytest.mark.parametrize(
    ("method", "path", "query", "headers", "operation"),
    [
        ("GET", "/", "", {}, "ListBuckets"),
        ("PUT", "/b", "", {}, "CreateBucket"),
        ("HEAD", "/b/", "", {}, "HeadBucket"),
        ("GET", "/b", "", {}, "ListObjects"),
        ("GET", "/b", "list-type=2&prefix=a%2F", {}, "ListObjectsV2"),
        ("GET", "/b", "location", {}, "GetBucketLocation"),
        ("GET", "/b", "uploads=", {}, "ListMultipartUploads"),
        ("GET", "/b", "lifecycle", {}, "GetBucketLifecycleConfiguration"),
        ("POST", "/b", "delete", {}, "DeleteObjects"),
        ("PUT", "/b/k", "", {}, "PutObject"),
        ("PUT", "/b/k", "x-id=PutObject", {}, "PutObject"),
        ("PUT", "/b/k", "", {"x_amz_copy_source": "b/x"}, "CopyObject"),
        ("PUT", "/b/k", "partNumber=1&uploadId=u", {}, "UploadPart"),
        ("PUT", "/b/k", "partNumber=1&uploadId=u", {"x_amz_copy_source": "b/x"}, "UploadPartCopy"),
        ("PUT", "/b/k", "tagging", {}, "PutObjectTagging"),
        ("GET", "/b/k/with/slashes", "", {}, "GetObject"),
        ("GET", "/b/k", "uploadId=u", {}, "ListParts"),
        ("GET", "/b/k", "attributes", {"x_amz_object_attributes": "ETag"}, "GetObjectAttributes"),
        ("POST", "/b/k", "uploads", {}, "CreateMultipartUpload"),
        ("POST", "/b/k", "uploadId=u", {}, "CompleteMultipartUpload"),
        ("DELETE", "/b/k", "uploadId=u", {}, "AbortMultipartUpload"),
        ("DELETE", "/b/k", "", {}, "DeleteObject"),
    ],
)
def test_method_path_query_and_headers_tell_the_operation(
    method: str, path: str, query: str, headers: dict[str, str], operation: str
):
    assert named(HOSTS, request(method, path, query, **headers))[0] == operation


def test_every_operation_that_is_answered_is_found_by_its_own_request():
    """By the model's own words, whichever of its parameters come in which order."""
    from pilothouse.capabilities.objects import CAPABILITY

    model = service_model("s3")
    for each in CAPABILITY.operations:
        operation = model.operations[each.name]
        path, _, query = operation.http.requestUri.replace("{Bucket}", "b").replace("{Key+}", "k").partition("?")
        shape = model.shapes[operation.input or ""]
        headers = {"host": "127.0.0.1"}
        for member in shape.required:
            reference = shape.members[member]
            if reference.location == "querystring":
                query += f"&{reference.locationName}=1"
            elif reference.location == "header":
                headers[(reference.locationName or "").lower()] = "1"
        asked = request(operation.http.method, path, query.removeprefix("&"))
        asked.headers = headers
        assert named(HOSTS, asked)[0] == each.name


def test_what_no_operation_does_is_not_done_by_another():
    for method, path, query in (
        ("DELETE", "/b", "versioning"),
        ("POST", "/b", ""),
        ("PUT", "/", ""),
        ("GET", "/b/k", "uploads"),
    ):
        with pytest.raises(MethodNotAllowed):
            named(HOSTS, request(method, path, query))
    with pytest.raises(UnknownOperationException):
        named(HOSTS, request("PATCH", "/b/k"))
    with pytest.raises(InvalidURI):
        named(HOSTS, request("GET", "/b/%ff"))


@given(key=st.text(min_size=1, max_size=20).filter(lambda key: "\0" not in key), virtual=st.booleans())
def test_keys_come_out_of_paths_as_they_went_in(key: str, virtual: bool):
    from urllib.parse import quote

    path = quote(key, safe="/~") if virtual else f"my-bucket/{quote(key, safe='/~')}"
    host = "my-bucket.s3.eu-west-1.test" if virtual else "127.0.0.1"
    assert HOSTS.target(request("GET", f"/{path}", host=host)) == Target("my-bucket", key, virtual)
