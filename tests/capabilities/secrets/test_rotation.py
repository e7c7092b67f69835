"""Rotation through boto3: four steps, schedules, refusals, hooks and functions, and what is told of outcomes."""

import asyncio
import hmac
import json
import threading
from base64 import b64encode
from typing import Any

import pytest

from pilothouse.capabilities.secrets.jobs import warn
from pilothouse.capabilities.secrets.rotation_model import Step
from pilothouse.runtime.metrics import render
from tests.capabilities.secrets.answers import bare, refused
from tests.capabilities.secrets.conftest import SECRET, Ended, Function, rotate, steps_of, value
from tests.conftest import Server

NOT_CALLED = (
    "Secrets Manager cannot invoke the specified Lambda function. Ensure that the function policy grants access to the "
    "principal secretsmanager.amazonaws.com."
)
CANARY = "canary-of-a-function"
STEPS = [each.value for each in Step]


def test_a_random_password_goes_through_four_steps(secrets: Any, ended: Ended) -> None:
    made = secrets.create_secret(Name="x", SecretString='{"username":"u","password":"p"}')
    answer = secrets.rotate_secret(
        SecretId="x", RotationLambdaARN="pilothouse:random", RotationRules={"AutomaticallyAfterDays": 1}
    )
    assert bare(answer).keys() == {"ARN", "Name", "VersionId"}
    rotation = ended("x")
    assert (rotation["State"], steps_of(rotation)) == ("Succeeded", STEPS)
    described = secrets.describe_secret(SecretId="x")
    assert described["VersionIdsToStages"] == {
        answer["VersionId"]: ["AWSCURRENT"], made["VersionId"]: ["AWSPREVIOUS"],
    }  # fmt: skip
    assert described["RotationEnabled"] is True
    assert described["RotationLambdaARN"] == "pilothouse:random"
    assert described["RotationRules"] == {"AutomaticallyAfterDays": 1}
    assert described["LastRotatedDate"]
    left = described["NextRotationDate"] - described["LastRotatedDate"]
    assert 1 <= left.total_seconds() / 86_400 <= 2
    assert (described["NextRotationDate"].hour, described["NextRotationDate"].minute) == (23, 59)
    new = value(secrets, "x")
    assert new["username"] == "u"
    assert len(new["password"]) == 32
    assert value(secrets, "x", "AWSPREVIOUS")["password"] == "p"
    again = secrets.rotate_secret(SecretId="x")["VersionId"]
    assert ended("x")["VersionId"] == again
    listed = secrets.list_secrets()["SecretList"][0]
    assert listed["RotationEnabled"] is True
    assert listed["RotationRules"] == {"AutomaticallyAfterDays": 1}


def test_what_is_refused_changes_nothing(secrets: Any) -> None:
    secrets.create_secret(Name="x", SecretString="S")
    before = bare(secrets.describe_secret(SecretId="x"))
    none = "No Lambda rotation function ARN is associated with this secret."
    with refused("InvalidRequestException", none):
        secrets.rotate_secret(SecretId="x", RotationRules={"AutomaticallyAfterDays": 1})
    for function in ("pilothouse:none", "arn:aws:sns:eu-west-1:123456789012:x", "http://10.0.0.1/x"):
        with refused("AccessDeniedException", NOT_CALLED):
            rotate(secrets, "x", function)
    with refused("InvalidRequestException"):
        secrets.cancel_rotate_secret(SecretId="x")
    for rules in (
        {"AutomaticallyAfterDays": 5, "ScheduleExpression": "rate(5 days)"},
        {"ScheduleExpression": "rate(3 hours)"},
        {"ScheduleExpression": "cron(5 8 * * ? *)"},
        {"ScheduleExpression": "rate(4 hours)", "Duration": "5h"},
        {"ScheduleExpression": "cron(0 22 * * ? *)", "Duration": "3h"},
        {"Duration": "3h"},
    ):
        with refused("InvalidParameterException"):
            rotate(secrets, "x", "pilothouse:random", RotationRules=rules)
    assert bare(secrets.describe_secret(SecretId="x")) == before
    with refused("ResourceNotFoundException"):
        rotate(secrets, "nothing", "pilothouse:random")
    secrets.delete_secret(SecretId="x")
    marked = "You tried to perform the operation on a secret that's currently marked deleted."
    for ask in (lambda: rotate(secrets, "x", "pilothouse:random"), lambda: secrets.cancel_rotate_secret(SecretId="x")):
        with refused("InvalidRequestException", marked):
            ask()


def test_a_schedule_rotates_and_goes_on(secrets: Any, ended: Ended, server: Server) -> None:
    secrets.create_secret(Name="x", SecretString="first")
    secrets.rotate_secret(
        SecretId="x", RotationLambdaARN="pilothouse:random",
        RotationRules={"ScheduleExpression": "rate(4 hours)", "Duration": "2h"}, RotateImmediately=False,
    )  # fmt: skip
    assert ended("x")["TestOnly"] is True
    assert value_of(secrets, "x") == "first"
    assert len(secrets.list_secret_version_ids(SecretId="x", IncludeDeprecated=True)["Versions"]) == 1
    seen = set()
    for _ in range(2):
        server.advance(hours=4)
        for _ in range(1000):
            server.run(asyncio.sleep(0.01))
            if (now := value_of(secrets, "x")) not in seen | {"first"}:
                break
        seen.add(now)
    assert len(seen) == 2
    assert "first" not in seen


def value_of(secrets: Any, secret_id: str) -> str:
    return str(secrets.get_secret_value(SecretId=secret_id)["SecretString"])


def test_a_rotation_is_cancelled(secrets: Any, ended: Ended, server: Server) -> None:
    secrets.create_secret(Name="x", SecretString=json.dumps(
        {"engine": "postgres", "host": "127.0.0.1", "port": 1, "username": "u", "password": "p"}
    ))  # fmt: skip
    pending = rotate(secrets, "x", "pilothouse:redis", RotationRules={"AutomaticallyAfterDays": 30})
    assert ended("x")["State"] == "Failed"
    answer = secrets.cancel_rotate_secret(SecretId="x")
    assert answer["VersionId"] == pending
    described = secrets.describe_secret(SecretId="x")
    assert described["RotationEnabled"] is False
    assert described["RotationRules"] == {"AutomaticallyAfterDays": 30}
    assert "NextRotationDate" not in described


def test_outcomes_are_told_as_events(secrets: Any, ended: Ended, server: Server) -> None:
    secrets.create_secret(Name="x", SecretString="canary-52ab")
    rotate(secrets, "x", "pilothouse:random")
    ended("x")
    new = value_of(secrets, "x")

    async def told() -> list[str]:
        async with server.application.house.database.reading() as tx:
            return [row["envelope"] for row in await tx.rows("select envelope from event order by number")]

    envelopes = server.run(told())
    names = [json.loads(each)["detail"].get("eventName") for each in envelopes]
    assert [each for each in names if each] == ["RotationStarted", "RotationSucceeded"]
    assert "canary" not in "".join(envelopes)
    assert new not in "".join(envelopes)


def remote(secrets: Any) -> Any:
    """What a rotation function does: it puts, and moves labels, through the API."""

    def act(event: dict[str, Any]) -> None:
        secret_id, token = event["SecretId"], event["ClientRequestToken"]
        if event["Step"] == "createSecret":
            secrets.put_secret_value(
                SecretId=secret_id, ClientRequestToken=token, SecretString='{"p":"new"}', VersionStages=["AWSPENDING"],
                RotationToken=event["RotationToken"],
            )  # fmt: skip
        if event["Step"] == "finishSecret":
            stages = secrets.describe_secret(SecretId=secret_id)["VersionIdsToStages"]
            holder = next(each for each, labels in stages.items() if "AWSCURRENT" in labels)
            secrets.update_secret_version_stage(
                SecretId=secret_id, VersionStage="AWSCURRENT", MoveToVersionId=token, RemoveFromVersionId=holder
            )
            secrets.update_secret_version_stage(
                SecretId=secret_id, VersionStage="AWSPENDING", RemoveFromVersionId=token
            )

    return act


def test_a_hook_is_called_with_the_events_of_the_cloud(secrets: Any, ended: Ended, function: Function) -> None:
    made = secrets.create_secret(Name="x", SecretString='{"p":"old"}')
    function.act = remote(secrets)
    token = rotate(secrets, "x", f"hook:{function.url}/hook")
    rotation = ended("x")
    assert (rotation["State"], steps_of(rotation)) == ("Succeeded", STEPS), rotation["Log"]
    assert [each for _, _, each in function.heard] == [
        {"Step": each, "SecretId": made["ARN"], "ClientRequestToken": token, "RotationToken": rotation["RotationId"]}
        for each in STEPS
    ]
    _, headers, _ = function.heard[0]
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.{headers['body']}".encode()
    assert headers["webhook-signature"] == "v1," + b64encode(hmac.digest(SECRET, signed, "sha256")).decode()
    assert value(secrets, "x") == {"p": "new"}
    stages = secrets.describe_secret(SecretId="x")["VersionIdsToStages"]
    assert stages == {token: ["AWSCURRENT"], made["VersionId"]: ["AWSPREVIOUS"]}


def test_a_function_is_invoked_and_may_fail(secrets: Any, ended: Ended, function: Function) -> None:
    arn = "arn:aws:lambda:eu-west-1:123456789012:function:mine"
    secrets.create_secret(Name="x", SecretString='{"p":"old"}')
    token = rotate(secrets, "x", arn)
    rotation = ended("x")
    assert (rotation["State"], rotation["Step"]) == ("Failed", "finishSecret")
    assert rotation["Error"] == "the function ended without moving AWSCURRENT to the new version"
    assert value(secrets, "x") == {"p": "old"}
    path, headers, event = function.heard[0]
    assert path == "/2015-03-31/functions/arn%3Aaws%3Alambda%3Aeu-west-1%3A123456789012%3Afunction%3Amine/invocations"
    assert event["Step"] == "createSecret"
    assert "Credential=AKIAEXAMPLE/" in headers["authorization"]
    secrets.update_secret_version_stage(SecretId="x", VersionStage="AWSPENDING", RemoveFromVersionId=token)
    function.headers = {"x-amz-function-error": "Unhandled"}
    secrets.rotate_secret(SecretId="x")
    assert ended("x")["Error"] == "the function failed; its own log says why"


@pytest.mark.parametrize(
    ("status", "headers", "body", "why", "asked"),
    [
        (200, {"x-amz-function-error": "Unhandled"}, {"errorType": "KeyError", "errorMessage": CANARY},
         "the function failed by KeyError; its own log says why", 5),
        (200, {"x-amz-function-error": "Unhandled"}, {"errorType": f"Sandbox {CANARY}"},
         "the function failed; its own log says why", 5),
        (404, {"x-amzn-errortype": "ResourceNotFoundException"}, {"Message": CANARY},
         "the function's endpoint answered 404 ResourceNotFoundException", 1),
        (409, {"x-amzn-errortype": "ResourceConflictException:http://x/"}, {"Message": CANARY},
         "the function's endpoint answered 409 ResourceConflictException", 5),
        (429, {"x-amzn-errortype": "TooManyRequestsException"}, {"message": CANARY},
         "the function's endpoint answered 429 TooManyRequestsException", 5),
    ],
)  # fmt: skip
def test_what_an_endpoint_of_functions_answers_is_told_by_its_name_alone(
    secrets: Any,
    ended: Ended,
    function: Function,
    status: int,
    headers: dict[str, str],
    body: Any,
    why: str,
    asked: int,
) -> None:
    """What is being made, or throttled, is asked again; what is not there is not."""
    function.status, function.headers, function.body = status, headers, json.dumps(body).encode()
    secrets.create_secret(Name="x", SecretString='{"p":"old"}')
    rotate(secrets, "x", "arn:aws:lambda:eu-west-1:123456789012:function:mine")
    rotation = ended("x")
    assert (rotation["State"], rotation["Step"], rotation["Error"]) == ("Failed", "createSecret", why)
    assert len(function.heard) == asked
    assert CANARY not in json.dumps(rotation, default=str)
    assert value(secrets, "x") == {"p": "old"}


def test_a_function_that_takes_long_holds_no_other_rotation_back(
    secrets: Any, ended: Ended, function: Function
) -> None:
    answered = threading.Event()
    reached = threading.Event()

    def act(_: dict[str, Any]) -> None:
        reached.set()
        assert answered.wait(60)

    function.act = act
    try:
        secrets.create_secret(Name="long", SecretString="old")
        rotate(secrets, "long", "arn:aws:lambda:eu-west-1:123456789012:function:mine")
        assert reached.wait(60)
        secrets.create_secret(Name="x", SecretString="old")
        rotate(secrets, "x", "pilothouse:random")
        assert ended("x")["State"] == "Succeeded"
    finally:
        answered.set()
    assert value_of(secrets, "x") != "old"
    assert value_of(secrets, "long") == "old"


def test_a_failing_test_leaves_the_current_value(secrets: Any, ended: Ended, function: Function) -> None:
    def act(event: dict[str, Any]) -> None:
        if event["Step"] == "testSecret":
            raise RuntimeError

    made = secrets.create_secret(Name="x", SecretString='{"p":"old"}')["VersionId"]
    function.act = act
    token = rotate(secrets, "x", f"{function.url}/hook")
    rotation = ended("x")
    assert (rotation["State"], rotation["Step"], rotation["Error"]) == (
        "Failed", "testSecret", "the receiver answered 400",
    )  # fmt: skip
    assert secrets.describe_secret(SecretId="x")["VersionIdsToStages"] == {
        made: ["AWSCURRENT"], token: ["AWSPENDING"],
    }  # fmt: skip
    with refused("ResourceNotFoundException"):
        secrets.get_secret_value(SecretId="x", VersionId=token, VersionStage="AWSPENDING")
    open_still = "A previous rotation isn't complete. That rotation will be reattempted."
    with refused("InvalidRequestException", open_still):
        secrets.rotate_secret(SecretId="x")


def test_a_rotation_whose_version_lost_its_label_is_abandoned(
    secrets: Any, ended: Ended, function: Function
) -> None:  # fmt: skip
    def act(event: dict[str, Any]) -> None:
        if event["Step"] == "setSecret":
            secrets.update_secret_version_stage(
                SecretId="x", VersionStage="AWSPENDING", RemoveFromVersionId=event["ClientRequestToken"]
            )

    secrets.create_secret(Name="x", SecretString="old")
    function.act = act
    rotate(secrets, "x", f"{function.url}/hook")
    assert ended("x")["State"] == "Cancelled"
    assert secrets.get_secret_value(SecretId="x")["SecretString"] == "old"


async def _warn(server: Server) -> None:
    await warn.run(server.application.house)


def test_what_needs_looking_after_is_counted_in_metrics(
    secrets: Any, ended: Ended, server: Server, function: Function
) -> None:
    """A rotation that failed, one that is overdue, a secret that goes soon; and none of them when it is made good."""

    def act(event: dict[str, Any]) -> None:
        raise RuntimeError

    def warned(**expected: int) -> None:
        """The server's own job may be writing what it read before: look again."""
        for _ in range(200):
            server.run(_warn(server))
            text = render().decode()
            told = [
                f'pilothouse_secrets_warned{{warning="{warning}"}} {count}.0' for warning, count in expected.items()
            ]
            if all(each in text for each in told):
                return
        raise AssertionError((expected, [line for line in text.splitlines() if "secrets_warned" in line]))

    warned(rotation_failed=0, overdue=0, deleting=0)
    secrets.create_secret(Name="x", SecretString="S")
    function.act = act
    token = rotate(secrets, "x", f"{function.url}/hook", RotationRules={"AutomaticallyAfterDays": 1})
    assert ended("x")["State"] == "Failed"
    secrets.create_secret(Name="gone", SecretString="S")
    secrets.delete_secret(SecretId="gone", RecoveryWindowInDays=7)
    warned(rotation_failed=1, overdue=0, deleting=0)
    server.advance(days=6)
    warned(rotation_failed=1, overdue=1, deleting=1)
    secrets.update_secret_version_stage(SecretId="x", VersionStage="AWSPENDING", RemoveFromVersionId=token)
    secrets.cancel_rotate_secret(SecretId="x")
    secrets.restore_secret(SecretId="gone")
    warned(rotation_failed=0, overdue=0, deleting=0)
