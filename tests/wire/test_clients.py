"""A real boto3 client against the front: what it sends is understood, what it gets it understands."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError

from pilothouse.call import Call, Shape
from pilothouse.errors import ApiError
from tests.wire.conftest import KEY, SECRET, World, plain

Client = Callable[[str], Any]


class ResourceNotFoundException(ApiError):
    """As Secrets Manager declares it."""


class _Raw:
    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self, *_: Any, **__: Any) -> Iterator[bytes]:
        yield self._body


@pytest.fixture
async def clients(world: World) -> Client:
    """boto3 clients; call them off the loop's thread (`asyncio.to_thread`)."""
    loop = asyncio.get_running_loop()

    def answer(request: Any, **_: Any) -> AWSResponse:
        assert threading.current_thread() is not threading.main_thread()
        response = asyncio.run_coroutine_threadsafe(world.front.respond(plain(request)), loop).result(30)
        return AWSResponse(request.url, response.status, dict(response.headers), _Raw(response.body))

    def client(service: str) -> Any:
        made = boto3.client(
            service,
            region_name="eu-west-1",
            endpoint_url="http://pilothouse.test",
            aws_access_key_id=KEY,
            aws_secret_access_key=SECRET,
            config=Config(retries={"total_max_attempts": 3, "mode": "standard"}),
        )
        made.meta.events.register(f"before-send.{service}", answer)
        return made

    return client


async def test_values_of_every_type_survive_the_way(world: World, clients: Client) -> None:
    moment = datetime(2026, 11, 23, 17, 8, 27, 128_000, tzinfo=UTC)

    @world.answers("secretsmanager", "GetSecretValue")
    async def get_secret_value(call: Call, request: Shape) -> Shape:
        return {"ARN": "arn", "SecretBinary": b"\x00\xff", "VersionStages": ["AWSCURRENT"], "CreatedDate": moment}

    got = await asyncio.to_thread(clients("secretsmanager").get_secret_value, SecretId="a")

    assert got["SecretBinary"] == b"\x00\xff"
    assert got["CreatedDate"] == moment
    assert got["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert len(got["ResponseMetadata"]["RequestId"]) == 36


async def test_a_modelled_error_becomes_the_exception_of_the_client(world: World, clients: Client) -> None:
    @world.answers("secretsmanager", "GetSecretValue")
    async def get_secret_value(call: Call, request: Shape) -> Shape:
        raise ResourceNotFoundException("Secrets Manager can't find the specified secret.")

    client = clients("secretsmanager")
    with pytest.raises(client.exceptions.ResourceNotFoundException) as refused:
        await asyncio.to_thread(client.get_secret_value, SecretId="a")

    assert refused.value.response["Error"]["Message"] == "Secrets Manager can't find the specified secret."


async def test_a_write_whose_answer_was_lost_is_retried_and_runs_once(world: World, clients: Client) -> None:
    runs: list[str] = []

    @world.answers("ssm", "PutParameter", writes=True)
    async def put_parameter(call: Call, request: Shape) -> Shape:
        runs.append(request["Value"])
        return {"Version": len(runs), "Tier": "Standard"}

    client = clients("ssm")
    lost: list[str] = []

    original = client._endpoint._get_response

    def flaky(request: Any, operation_model: Any, context: Any) -> Any:
        answer, error = original(request, operation_model, context)
        if not lost:
            lost.append(request.url)
            return None, ConnectionClosedError(endpoint_url=request.url)
        return answer, error

    client._endpoint._get_response = flaky
    put = await asyncio.to_thread(client.put_parameter, Name="a", Value="v", Type="String")

    assert put["Version"] == 1
    assert put["ResponseMetadata"]["RetryAttempts"] == 1
    assert runs == ["v"]


async def test_sts_and_its_errors(world: World, clients: Client) -> None:
    @world.answers("sts", "GetCallerIdentity")
    async def get_caller_identity(call: Call, request: Shape) -> Shape:
        return {"UserId": "u", "Account": call.account_id, "Arn": call.principal.arn}

    sts = clients("sts")
    got = await asyncio.to_thread(sts.get_caller_identity)
    with pytest.raises(ClientError) as refused:
        await asyncio.to_thread(sts.get_session_token)

    assert (got["Account"], got["Arn"]) == ("123456789012", "arn:aws:iam::123456789012:root")
    assert refused.value.response["Error"]["Code"] == "InvalidAction"
    assert "not available in this version of Pilothouse" in refused.value.response["Error"]["Message"]
