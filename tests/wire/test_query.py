"""The query protocol: forms in, XML out."""

from datetime import UTC, datetime
from typing import Any

import pytest

from pilothouse.errors import InternalServerError, SerializationException, ValidationException
from pilothouse.wire.http import Request
from pilothouse.wire.models import service_model
from pilothouse.wire.query import Query, form_of, tree_of
from tests.wire.conftest import World, plain


class NoSuchEntityException(ValidationException):
    """As IAM names it in its model; on the wire it is NoSuchEntity."""


def request(body: str = "", *, query: str = "", method: str = "POST") -> Request:
    return Request(method, "/", query, {}, body.encode("latin-1"), "192.0.2.7", True)


def members(service: str, operation: str, body: str) -> dict[str, Any]:
    return Query().members(service_model(service).operations[operation], request(body))


def test_lists_structures_and_maps_are_read_by_the_model() -> None:
    read = members(
        "sts",
        "AssumeRole",
        "Action=AssumeRole&RoleArn=r&RoleSessionName=s+t&DurationSeconds=900&Tags.member.2.Key=b&Tags.member.2.Value=%C3%A9"
        "&Tags.member.1.Key=a&Tags.member.1.Value=&PolicyArns=&Unknown.Thing.1=x",
    )

    assert read == {
        "RoleArn": "r",
        "RoleSessionName": "s t",
        "DurationSeconds": 900,
        "Tags": [{"Key": "a", "Value": ""}, {"Key": "b", "Value": "é"}],
        "PolicyArns": [],
    }


@pytest.mark.parametrize(
    "body",
    [
        "DurationSeconds=abc",
        "DurationSeconds=1.5",
        "DurationSeconds=",
        "RoleArn.x=1",
        "Tags=text",
        "Tags.member=text",
        "Tags.member.x.Key=a",
        "Tags.member.0.Key=a",
        "Tags.member.-1.Key=a",
        "Tags.member.99999999999.Key=a",
        "Tags.member.1=text",
        "RoleArn=1&RoleArn=2",
        "RoleArn=%FF",
        "Tags=&Tags.member.1.Key=a",
        "Tags.member.1.Key=a&Tags.member.1.Key.b=c",
        "a" + ".a" * 40 + "=1",
        "&".join(f"a{number}=1" for number in range(20_001)),
    ],
)
def test_forms_that_do_not_fit_the_model_are_refused(body: str) -> None:
    with pytest.raises(SerializationException):
        members("sts", "AssumeRole", body)


def test_a_get_carries_its_form_in_the_query() -> None:
    got = form_of(request("ignored=1", query="Action=GetCallerIdentity&Version=2011-06-15", method="GET"))

    assert got == {"Action": "GetCallerIdentity", "Version": "2011-06-15"}


def test_dots_nest() -> None:
    assert tree_of({"A.b.c": "1", "A.b.d": "2", "E": "3"}) == {"A": {"b": {"c": "1", "d": "2"}}, "E": "3"}


def test_answers_are_escaped_and_typed() -> None:
    operation = service_model("iam").operations["GetUser"]
    user = {
        "Path": "/<a>&\x01/",
        "UserName": "b",
        "CreateDate": datetime(2026, 11, 23, 17, 2, 59, 500_000, tzinfo=UTC),
        "Tags": [{"Key": "k", "Value": "v"}, {"Key": "l", "Value": "w"}],
        "PermissionsBoundary": None,
    }

    body = Query().body(operation, {"User": user}).decode()

    assert body == (
        "<GetUserResult><User><Path>/&lt;a&gt;&amp;\ufffd/</Path><UserName>b</UserName>"
        "<CreateDate>2026-11-23T17:02:59Z</CreateDate><Tags><member><Key>k</Key><Value>v</Value></member>"
        "<member><Key>l</Key><Value>w</Value></member></Tags></User></GetUserResult>"
    )


def test_errors_take_code_and_status_from_the_model() -> None:
    operation = service_model("iam").operations["GetUser"]

    missing = Query().error(NoSuchEntityException("no <user>"), "an-id", operation)
    fault = Query().error(InternalServerError(), "an-id", operation)

    assert missing.status == 404
    assert b"<Type>Sender</Type><Code>NoSuchEntity</Code><Message>no &lt;user&gt;</Message>" in missing.body
    assert fault.status == 500
    assert b"<Type>Receiver</Type><Code>InternalFailure</Code>" in fault.body


async def test_a_presigned_url_is_a_call(world: World) -> None:
    from botocore.awsrequest import AWSRequest

    from tests.wire.conftest import HOST, sign

    @world.answers("sts", "GetCallerIdentity")
    async def get_caller_identity(call: Any, asked: Any) -> dict[str, Any]:
        return {"Account": call.account_id}

    aws = AWSRequest(method="GET", url=f"http://{HOST}/?Action=GetCallerIdentity&Version=2011-06-15")
    signed = await world.front.respond(sign(aws, "sts", world.clock, expires=60))
    unsigned = await world.front.respond(
        plain(AWSRequest(method="GET", url=f"http://{HOST}/?Action=GetCallerIdentity&Version=2011-06-15"))
    )

    assert (signed.status, b"<Account>123456789012</Account>" in signed.body) == (200, True)
    assert (unsigned.status, b"<Code>MissingAuthenticationToken</Code>" in unsigned.body) == (403, True)
