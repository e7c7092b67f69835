"""EC2's protocol: forms in, XML of its own kind out."""

from datetime import UTC, datetime
from typing import Any

import botocore.parsers
import botocore.session
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.errors import AccessDeniedException, InvalidSignatureException, ServiceUnavailable, ValidationException
from pilothouse.wire.ec2 import Ec2
from pilothouse.wire.http import Request
from pilothouse.wire.models import service_model

MODEL = botocore.session.Session().get_service_model("ec2")
TEXTS = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="￾￿"), max_size=12)


def members(operation: str, body: str) -> dict[str, Any]:
    request = Request("POST", "/", "", {}, body.encode(), "192.0.2.7", True)
    return Ec2().members(service_model("ec2").operations[operation], request)


def read(operation: str, status: int, body: bytes) -> Any:
    """As botocore reads it."""
    shape = MODEL.operation_model(operation).output_shape
    return botocore.parsers.EC2QueryParser().parse({"status_code": status, "headers": {}, "body": body}, shape)


def test_lists_and_names_are_those_of_the_model() -> None:
    body = (
        "Action=DescribeInstances&Version=2016-11-15&InstanceId.1=i-1&InstanceId.2=i-2&Filter.1.Name=tag%3Aa"
        "&Filter.1.Value.1=x&Filter.1.Value.2=y&MaxResults=5&DryRun=true"
    )

    assert members("DescribeInstances", body) == {
        "InstanceIds": ["i-1", "i-2"],
        "Filters": [{"Name": "tag:a", "Values": ["x", "y"]}],
        "MaxResults": 5,
        "DryRun": True,
    }


@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=3), TEXTS, st.booleans())
def test_what_botocore_sends_is_what_is_read(tags: list[tuple[str, str]], text: str, dry: bool) -> None:
    wanted = [{"Key": key, "Value": value} for key, value in tags]
    request: dict[str, Any] = {"VolumeId": "vol-1", "Description": text, "DryRun": dry}
    request["TagSpecifications"] = [{"ResourceType": "image", "Tags": wanted}]
    operation = MODEL.operation_model("CreateSnapshot")
    form = botocore.serialize.create_serializer("ec2").serialize_to_request(request, operation)["body"]
    prepared = botocore.awsrequest.AWSRequest("POST", "https://example.com/", data=form).prepare()
    body = prepared.body.decode() if isinstance(prepared.body, bytes) else prepared.body

    assert members("CreateSnapshot", body) == request


@given(st.lists(st.tuples(TEXTS, TEXTS, st.booleans()), max_size=3))
def test_what_is_answered_is_what_botocore_reads(disks: list[tuple[str, str, bool]]) -> None:
    at = datetime(2026, 7, 7, 15, 55, 0, 123000, UTC)
    mappings = [
        {"DeviceName": name, "Ebs": {"VolumeId": volume, "DeleteOnTermination": goes}} for name, volume, goes in disks
    ]
    instance = {"InstanceId": "i-1", "LaunchTime": at, "AmiLaunchIndex": 0, "BlockDeviceMappings": mappings}
    shape = {"Reservations": [{"ReservationId": "r-1", "Instances": [instance]}], "NextToken": None}
    operation = service_model("ec2").operations["DescribeInstances"]
    protocol = Ec2()

    answer = protocol.answer(operation, protocol.body(operation, shape), "an-id")

    got = read("DescribeInstances", answer.status, answer.body)
    assert got["Reservations"] == shape["Reservations"]
    assert got["ResponseMetadata"]["RequestId"] == "an-id"


def test_an_operation_without_an_answer_says_true() -> None:
    operation = service_model("ec2").operations["CreateTags"]
    assert b"<return>true</return>" in Ec2().answer(operation, Ec2().body(operation, {}), "an-id").body


@pytest.mark.parametrize(
    ("error", "code", "status"),
    [
        (AccessDeniedException("User: a is not"), "UnauthorizedOperation", 403),
        (InvalidSignatureException(), "AuthFailure", 401),
        (ServiceUnavailable("later"), "Unavailable", 503),
        (ValidationException("no <such> thing"), "InvalidParameterValue", 400),
    ],
)
def test_errors_of_the_front_door_have_ec2_s_names(error: Any, code: str, status: int) -> None:
    answer = Ec2().error(error, "an-id", None)

    got = read("DescribeInstances", answer.status, answer.body)
    assert (answer.status, got["Error"]["Code"]) == (status, code)
    assert got["ResponseMetadata"]["RequestId"] == "an-id"
