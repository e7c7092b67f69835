"""The way of a call: order of steps, retries, faults."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from pilothouse.call import Call, Caller, Shape
from pilothouse.errors import ApiError, UnrecognizedClientException
from pilothouse.storage import StorageUnavailable
from pilothouse.wire.http import Request, Response
from pilothouse.wire.replay import forget_replays
from tests.wire.conftest import SECRET, World, signed_form, signed_json

PUT = json.dumps({"Name": "/a", "Value": "hidden-value", "Type": "String"}).encode()


class ParameterNotFound(ApiError):
    """As the parameters capability has it."""


def error_of(response: Response) -> tuple[str, str]:
    told = json.loads(response.body)
    return told["__type"], told.get("message", told.get("Message", ""))


async def test_a_signed_call_is_parsed_handled_and_answered(world: World) -> None:
    seen: list[tuple[Call, Shape]] = []

    @world.answers("ssm", "GetParameter")
    async def get_parameter(call: Call, request: Shape) -> Shape:
        seen.append((call, request))
        parameter = {"Name": request["Name"], "LastModifiedDate": call.clock.now(), "Selector": None}
        return {"Parameter": parameter}

    response = await world.call("ssm", "GetParameter", b'{"Name": "/a", "WithDecryption": null, "Unknown": {"x": 1}}')

    call, request = seen[0]
    assert request == {"Name": "/a"}
    assert (call.account_id, call.region, call.source_ip) == ("123456789012", "eu-west-1", "192.0.2.7")
    answer = json.loads(response.body)["Parameter"]
    assert response.status == 200
    assert response.headers["content-type"] == "application/x-amz-json-1.1"
    assert response.headers["x-amzn-requestid"] == call.request_id
    assert set(answer) == {"Name", "LastModifiedDate"}
    assert abs(answer["LastModifiedDate"] * 1000 - world.clock.millis()) < 60_000


async def test_an_error_stands_under_the_member_that_the_model_names(world: World) -> None:
    @world.answers("ssm", "GetParameter")
    async def get_parameter(call: Call, request: Shape) -> Shape:
        raise ParameterNotFound("Parameter /a not found.")

    response = await world.call("ssm", "GetParameter", b'{"Name": "/a"}')

    assert response.status == 400
    told = json.loads(response.body)
    assert told["__type"] == "ParameterNotFound"
    assert "Parameter /a not found." in told.values()


async def test_validation_stands_before_authorisation_and_both_before_the_handler(world: World) -> None:
    @world.answers("ssm", "GetParameter")
    async def get_parameter(call: Call, request: Shape) -> Shape:
        raise AssertionError("the handler must not be reached")

    world.denied.add("GetParameter")
    invalid = await world.call("ssm", "GetParameter", b"{}")
    denied = await world.call("ssm", "GetParameter", b'{"Name": "/a"}')
    unsigned = signed_json("ssm", "GetParameter", b"{}", world.clock)
    headers = {name: value for name, value in unsigned.headers.items() if name != "authorization"}
    stranger = await world.front.respond(Request("POST", "/", "", headers, b"{}", "192.0.2.7", True))

    assert error_of(invalid)[0] == "ValidationException"
    assert error_of(denied)[0] == "AccessDeniedException"
    assert error_of(stranger) == ("MissingAuthenticationTokenException", "Missing Authentication Token")


async def test_an_operation_not_there_yet_still_holds_requests_to_the_model(world: World) -> None:
    nothing = await world.call("ssm", "StartSession", b"{}")
    wrong_type = await world.call("ssm", "StartSession", b'{"Target": 1}')

    assert error_of(nothing)[0] == "ValidationException"
    assert "at 'target'" in error_of(nothing)[1]
    assert error_of(wrong_type)[0] == "SerializationException"


async def test_an_operation_not_there_yet_says_so(world: World) -> None:
    response = await world.call("ssm", "StartSession", b'{"Target": "mi-0123456789abcdef0"}')

    assert response.status == 400
    code, text = error_of(response)
    assert code == "UnknownOperationException"
    assert "not available in this version of Pilothouse" in text


@pytest.mark.parametrize(
    "target", ["AmazonSSM.NoSuchThing", "Nothing.GetParameter", "GetParameter", "", "AmazonSSM." + "x" * 5_000]
)
async def test_an_unknown_target_is_an_unknown_operation(world: World, target: str) -> None:
    request = signed_json("ssm", "GetParameter", b"{}", world.clock, X_Amz_Target=target)

    assert error_of(await world.front.respond(request))[0] == "UnknownOperationException"


async def test_another_content_type_is_refused(world: World) -> None:
    request = signed_json("ssm", "GetParameter", b'{"Name": "/a"}', world.clock, Content_Type="text/plain")

    assert error_of(await world.front.respond(request))[0] == "SerializationException"


async def test_a_fault_is_a_500_without_details(world: World, log_lines: list[Any]) -> None:
    @world.answers("ssm", "PutParameter", writes=True)
    async def put_parameter(call: Call, request: Shape) -> Shape:
        raise RuntimeError(f"broken near {request['Name']}")

    response = await world.call("ssm", "PutParameter", PUT)

    assert response.status == 500
    assert json.loads(response.body)["__type"] == "InternalServerError"
    assert b"broken" not in response.body
    assert any(line["event"] == "call.failed" for line in log_lines)


async def test_an_answer_outside_the_model_is_a_fault_and_nothing_is_written(world: World) -> None:
    @world.answers("ssm", "PutParameter", writes=True)
    async def put_parameter(call: Call, request: Shape) -> Shape:
        async with call.transaction() as tx:
            await tx.execute("create table written (n bigint)")
        return {"NoSuchMember": 1}

    response = await world.call("ssm", "PutParameter", PUT)

    assert response.status == 500
    async with world.house.database.reading() as tx:
        assert await tx.value("select count(*) from sqlite_master where name = 'written'") == 0


async def test_storage_that_is_away_is_a_503(world: World) -> None:
    @world.answers("ssm", "GetParameter")
    async def get_parameter(call: Call, request: Shape) -> Shape:
        raise StorageUnavailable("the disk is full")

    response = await world.call("ssm", "GetParameter", b'{"Name": "/a"}')

    assert response.status == 503
    assert json.loads(response.body)["__type"] == "ServiceUnavailable"
    assert b"disk" not in response.body


def counting(world: World, **how: bool) -> list[str]:
    """PutParameter that counts its runs; each has an answer of its own."""
    runs: list[str] = []

    @world.answers("ssm", "PutParameter", **{"writes": True, **how})
    async def put_parameter(call: Call, request: Shape) -> Shape:
        runs.append(request["Name"])
        async with call.transaction() as tx:
            assert await tx.value("select 1") == 1
        await asyncio.sleep(0)
        return {"Version": len(runs)}

    return runs


async def test_a_retry_gets_the_first_answer_and_does_not_run_again(world: World) -> None:
    runs = counting(world)

    first = await world.call("ssm", "PutParameter", PUT, amz_sdk_invocation_id="call-1")
    retry = await world.call("ssm", "PutParameter", PUT, amz_sdk_invocation_id="call-1")
    other_call = await world.call("ssm", "PutParameter", PUT, amz_sdk_invocation_id="call-2")
    other_body = await world.call("ssm", "PutParameter", PUT + b" ", amz_sdk_invocation_id="call-1")

    assert [json.loads(each.body)["Version"] for each in (first, retry, other_call, other_body)] == [1, 1, 2, 3]
    assert len(runs) == 3
    assert first.headers["x-amzn-requestid"] != retry.headers["x-amzn-requestid"]


async def test_two_identical_retries_at_once_run_once(world: World) -> None:
    runs = counting(world)

    answers = await asyncio.gather(
        *(world.call("ssm", "PutParameter", PUT, amz_sdk_invocation_id="call-1") for _ in range(20))
    )

    assert len(runs) == 1
    assert {each.body for each in answers} == {b'{"Version":1}'}


async def test_a_call_without_an_invocation_id_runs_each_time(world: World) -> None:
    runs = counting(world)

    await world.call("ssm", "PutParameter", PUT)
    await world.call("ssm", "PutParameter", PUT)

    assert len(runs) == 2


async def test_an_error_is_not_kept_for_retries(world: World) -> None:
    outcomes: Iterator[Shape | None] = iter([None, {"Version": 1}])

    @world.answers("ssm", "PutParameter", writes=True)
    async def put_parameter(call: Call, request: Shape) -> Shape:
        outcome = next(outcomes)
        if outcome is None:
            raise ParameterNotFound("not yet")
        return outcome

    failed = await world.call("ssm", "PutParameter", PUT, amz_sdk_invocation_id="call-1")
    retried = await world.call("ssm", "PutParameter", PUT, amz_sdk_invocation_id="call-1")

    assert (failed.status, retried.status) == (400, 200)


async def test_kept_answers_are_sealed_and_forgotten_after_a_quarter_of_an_hour(world: World) -> None:
    runs: list[int] = []

    @world.answers("ssm", "CreateActivation", writes=True)
    async def create_activation(call: Call, request: Shape) -> Shape:
        runs.append(1)
        return {"ActivationId": "an-id", "ActivationCode": "code-nobody-may-read"}

    body = b'{"IamRole": "role"}'
    await world.call("ssm", "CreateActivation", body, amz_sdk_invocation_id="call-1")

    async with world.house.database.reading() as tx:
        row = await tx.row("select * from replayed_call")
    assert row is not None
    assert b"code-nobody-may-read" not in bytes(row["sealed_body"])

    world.clock.advance(minutes=14)
    await forget_replays.run(world.house)
    await world.call("ssm", "CreateActivation", body, amz_sdk_invocation_id="call-1")
    assert len(runs) == 1

    world.clock.advance(minutes=2)
    await forget_replays.run(world.house)
    async with world.house.database.reading() as tx:
        assert await tx.value("select count(*) from replayed_call") == 0
    await world.call("ssm", "CreateActivation", body, amz_sdk_invocation_id="call-1")
    assert len(runs) == 2


async def test_many_expired_answers_go_in_batches(world: World) -> None:
    async with world.house.database.transaction() as tx:
        await tx.many(
            "insert into replayed_call values (:key, 200, :body, :at)",
            [{"key": f"k{number}", "body": b"x", "at": 0} for number in range(1_200)],
        )

    await forget_replays.run(world.house)

    async with world.house.database.reading() as tx:
        assert await tx.value("select count(*) from replayed_call") == 0


async def test_an_unsigned_call_is_let_in_where_anyone_may_call(world: World) -> None:
    callers: list[str] = []

    @world.answers("ssm", "RegisterManagedInstance", writes=True, callers=Caller.ANYONE)
    async def register(call: Call, request: Shape) -> Shape:
        callers.append(call.principal.kind)
        return {"InstanceId": "mi-0123456789abcdef0"}

    body = json.dumps(
        {
            "ActivationCode": "ABCDEFGHIJKLMNOPQRST",
            "ActivationId": "11111111-2222-3333-4444-555555555555",
            "Fingerprint": "f",
            "PublicKey": "k",
            "PublicKeyType": "Rsa",
        }
    ).encode()
    headers = {
        "host": "pilothouse.test",
        "content-type": "application/x-amz-json-1.1",
        "x-amz-target": "AmazonSSM.RegisterManagedInstance",
    }
    response = await world.front.respond(Request("POST", "/", "", headers, body, "192.0.2.9", True))

    assert response.status == 200
    assert callers == ["anonymous"]


async def test_the_query_protocol_answers_xml(world: World) -> None:
    @world.answers("sts", "GetCallerIdentity")
    async def get_caller_identity(call: Call, request: Shape) -> Shape:
        return {"UserId": "<id>", "Account": call.account_id, "Arn": call.principal.arn}

    response = await world.front.respond(signed_form("sts", "Action=GetCallerIdentity&Version=2011-06-15", world.clock))

    text = response.body.decode()
    assert response.status == 200
    assert response.headers["content-type"] == "text/xml"
    assert '<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">' in text
    assert "<UserId>&lt;id&gt;</UserId><Account>123456789012</Account>" in text
    assert f"<RequestId>{response.headers['x-amzn-requestid']}</RequestId>" in text


async def test_query_errors_have_their_own_codes_and_statuses(world: World) -> None:
    @world.answers("sts", "AssumeRole")
    async def assume_role(call: Call, request: Shape) -> Shape:
        raise UnrecognizedClientException

    invalid = await world.front.respond(signed_form("sts", "Action=AssumeRole&Version=2011-06-15", world.clock))
    unknown = await world.front.respond(
        signed_form("sts", "Action=GetCallerIdentity&Version=2011-06-15", world.clock, key="AKIAUNKNOWNUNKNOWN00")
    )
    wrong = await world.front.respond(
        signed_form("sts", "Action=GetCallerIdentity&Version=2011-06-15", world.clock, secret="wrong")
    )

    assert (invalid.status, b"<Code>ValidationError</Code>" in invalid.body) == (400, True)
    assert (unknown.status, b"<Code>InvalidClientTokenId</Code>" in unknown.body) == (403, True)
    assert (wrong.status, b"<Code>SignatureDoesNotMatch</Code>" in wrong.body) == (403, True)


async def test_no_request_member_and_no_secret_reaches_the_log(world: World, log_lines: list[Any]) -> None:
    counting(world)

    await world.call("ssm", "PutParameter", PUT, amz_sdk_invocation_id="call-1")
    await world.call("ssm", "PutParameter", json.dumps({"Name": "/a", "Value": "hidden-value", "Type": 7}).encode())

    assert [line["code"] for line in log_lines if line["event"] == "call"] == ["OK", "SerializationException"]
    assert "hidden-value" not in repr(log_lines)
    assert SECRET not in repr(log_lines)
