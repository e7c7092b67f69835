"""The REST-JSON protocol: which requests are its, what method and path ask for, how answers and errors look."""

import json
from typing import Any
from urllib.parse import quote

import boto3
import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.errors import SerializationException, UnknownOperationException
from pilothouse.wire.http import Request, Response
from pilothouse.wire.models import REST_JSON, ServiceModel, service_model
from pilothouse.wire.rest_paths import Paths, paths_of, service_of
from pilothouse.wire.shapes import HttpTrait, Metadata, OperationEntry, ServiceFile
from tests.conftest import Aws, Server

SIGNED = "AWS4-HMAC-SHA256 Credential=AKIA/20261123/eu-west-1/resource-groups/aws4_request, SignedHeaders=host, S=0"
ARN = "arn:aws:resource-groups:eu-west-1:111122223333:group/web"


def test_a_request_belongs_to_the_service_that_it_is_signed_for():
    in_query = "a=b&X-Amz-Credential=AKIA%2F20261123%2Feu-west-1%2Fresource-groups%2Faws4_request&c=d"
    assert service_of({"authorization": SIGNED}, "") == "resource-groups"
    assert service_of({}, in_query) == "resource-groups"
    for other in ("ssm", "s3", "execute-api"):
        assert service_of({"authorization": SIGNED.replace("resource-groups", other)}, in_query) == ""
        assert service_of({}, in_query.replace("resource-groups", other)) == ""
    assert service_of({}, "") == ""


@pytest.mark.parametrize("service", sorted(REST_JSON))
def test_every_operation_is_found_by_its_own_path_and_its_members_go_by_their_names(service: str):
    model = service_model(service)
    assert model.metadata.protocol == "rest-json"
    for name, operation in model.operations.items():
        path = operation.http.requestUri.replace("{Arn}", quote(ARN, safe=""))
        assert paths_of(service).named(operation.http.method, path, {})[0] == name
    for shape in model.shapes.values():
        for member, reference in shape.members.items():
            assert reference.location or reference.locationName in (None, member)


@given(st.text(min_size=1))
def test_a_label_comes_as_it_was_sent(text: str):
    path = f"/resources/{quote(text, safe='')}/tags"
    assert paths_of("resource-groups").named("GET", path, {}) == ("GetTags", {"Arn": text})


def test_labels_over_several_parts_and_literals():
    entries = {
        "Whole": OperationEntry("Whole", HttpTrait("GET", "/files/{Path+}")),
        "Listing": OperationEntry("Listing", HttpTrait("GET", "/files/list")),
        "Pinned": OperationEntry("Pinned", HttpTrait("GET", "/files/{Path+}?pin")),
        "Marked": OperationEntry("Marked", HttpTrait("GET", "/files/{Path+}?mark=x")),
    }
    metadata = Metadata(apiVersion="1", protocol="rest-json")
    paths = Paths(ServiceModel("files", [ServiceFile(metadata, entries, {})]))
    assert paths.named("GET", "/files/a/b%2Fc", {}) == ("Whole", {"Path": "a/b/c"})
    assert paths.named("GET", "/files/list", {}) == ("Listing", {})
    assert paths.named("GET", "/files/a", {"pin": [""]})[0] == "Pinned"
    assert paths.named("GET", "/files/a", {"mark": ["x"]})[0] == "Marked"
    assert paths.named("GET", "/files/a", {"mark": ["y"]})[0] == "Whole"
    for method, path in (("POST", "/files/list"), ("GET", "/files/"), ("GET", "/files"), ("GET", "/")):
        with pytest.raises(UnknownOperationException):
            paths.named(method, path, {})
    with pytest.raises(SerializationException):
        paths.named("GET", "/files/%ff", {})


def raw(client: Any, server: Server, method: str, path: str, body: bytes = b"", **headers: str) -> Response:
    """The answer to a request signed by hand."""
    request = boto3.session.botocore.awsrequest.AWSRequest(  # type: ignore[attr-defined]
        method, f"http://pilothouse.test{path}", data=body, headers={"content-type": "application/json", **headers}
    )
    client._request_signer.sign("any", request)
    named = {name.lower(): value for name, value in request.headers.items()} | {"host": "pilothouse.test"}
    split, _, query = path.partition("?")
    whole = Request(method, split, query, named, body, "127.0.0.1", False)
    return server.run(server.application.front.respond(whole))


def test_errors_are_named_in_a_header_with_the_status_of_their_kind(aws: Aws, server: Server):
    groups = aws("resource-groups")
    asked = json.dumps({"Group": "absent"}).encode()
    for method, path, body, code, status in (
        ("POST", "/get-group", asked, "NotFoundException", 404),
        ("POST", "/get-group", b'{"Group": "a b"}', "BadRequestException", 400),
        ("POST", "/get-group", b"{", "SerializationException", 400),
        ("POST", "/get-group", b'{"Group": 7}', "SerializationException", 400),
        ("POST", "/nowhere", b"{}", "UnknownOperationException", 404),
        ("GET", "/get-group", b"", "UnknownOperationException", 404),
        ("POST", "/start-tag-sync-task", b"{}", "BadRequestException", 400),
        ("POST", "/groups-list?maxResults=many", b"{}", "SerializationException", 400),
        ("POST", "/groups-list?maxResults=51", b"{}", "BadRequestException", 400),
        ("GET", "/resources/%ff/tags", b"", "SerializationException", 400),
    ):
        answer = raw(groups, server, method, path, body)
        assert (answer.headers["x-amzn-errortype"], answer.status) == (code, status), path
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["x-amzn-requestid"]
        said = json.loads(answer.body)
        assert set(said) <= {"Message", "message"}
    absent = json.loads(raw(groups, server, "POST", "/get-group", asked).body)
    assert absent == {"Message": "Cannot find group: absent"}
    told = json.loads(raw(groups, server, "POST", "/groups-list?maxResults=51", b"{}").body)["Message"]
    assert told == (
        "1 validation error detected: Value '51' at 'maxResults' failed to satisfy constraint: "
        "Member must have value less than or equal to 50"
    )


def test_who_does_not_sign_well_is_refused(aws: Aws):
    with pytest.raises(ClientError) as raised:
        aws("resource-groups", secret="wrong").list_groups()
    assert raised.value.response["Error"]["Code"] == "InvalidSignatureException"
    assert raised.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    with pytest.raises(ClientError) as raised:
        aws("resource-groups", access_key="AKIAUNKNOWN000000000").list_groups()
    assert raised.value.response["Error"]["Code"] == "UnrecognizedClientException"


def test_a_retry_gets_the_answer_that_was_kept(aws: Aws, server: Server):
    groups = aws("resource-groups")
    body = json.dumps({"Name": "web"}).encode()
    first, again, other = (
        raw(groups, server, "POST", "/groups", body, **{"amz-sdk-invocation-id": each}) for each in "aab"
    )
    assert (first.status, again.status) == (200, 200)
    assert first.body == again.body
    assert json.loads(other.body)["Message"] == "Cannot create group: group already exists"
    put = raw(groups, server, "POST", "/put-group-configuration", json.dumps({"Group": "web"}).encode())
    assert (put.status, put.body) == (202, b"{}")
