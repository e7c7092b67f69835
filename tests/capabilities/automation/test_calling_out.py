"""Webhooks, scripts, and services at configured endpoints: what steps reach, and what they do not."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.capabilities.automation.conftest import FINAL, Runbooks, statuses, step
from tests.capabilities.events.conftest import Receiver
from tests.conftest import Server
from tests.hostile_urls import hostile_urls

from pilothouse.capabilities.automation.scripts.filter import FilterUnavailable, instructions
from pilothouse.runtime.clock import TestClock
from pilothouse.runtime.settings import AutomationSettings, LimitSettings, OutboundSettings, Settings


@pytest.fixture(scope="module")
def server(
    database_url: str, tmp_path_factory: pytest.TempPathFactory, clock: TestClock
) -> Iterator[Server]:  # fmt: skip
    """It may call one address of this machine."""
    data: Path = tmp_path_factory.mktemp("data")
    data.chmod(0o700)
    (data / "endpoints.toml").write_text('[lambda]\nendpoint_url = "http://127.0.0.1:9"\n')
    settings = Settings(
        data=data, database=database_url, limits=LimitSettings(failures_per_minute=0),
        outbound=OutboundSettings(allow=("127.0.0.9/32",)), automation=AutomationSettings(endpoints="endpoints.toml"),
    )  # fmt: skip
    opened = Server(settings, clock)
    try:
        yield opened
    finally:
        opened.close()


def came_to_its_end(runbooks: Runbooks, name: str, parameters: dict[str, Any] | None = None) -> dict[str, Any]:
    """An execution, once it has ended. The clock is left alone: what is performed takes time of this machine."""
    return runbooks.comes_to(runbooks.start(name, parameters), *FINAL)


def integrate(ssm: Any, name: str, **said: Any) -> None:
    ssm.put_parameter(
        Name=name, Value=json.dumps(said), Type="String", DataType="aws:ssm:integration", Overwrite=True
    )  # fmt: skip


def webhook(name: str = "hook", **inputs: Any) -> dict[str, Any]:
    return {"name": "call", "action": "aws:invokeWebhook", "inputs": {"IntegrationName": name, **inputs}}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """One that may be called."""
    opened = Receiver("127.0.0.9")
    yield opened
    opened.close()


@pytest.fixture
def lurker() -> Iterator[Receiver]:
    """One that may not."""
    opened = Receiver()
    yield opened
    opened.close()


def test_an_integration_is_called_with_what_it_says(runbooks: Runbooks, ssm: Any, receiver: Receiver) -> None:
    integrate(ssm, "hook", url=receiver.url, method="POST", headers={"X-Token": "a-secret"}, payload={"a": 1})

    got = came_to_its_end(
        runbooks, runbooks.make(webhook(), webhook(Body='{"b": "{{ global:REGION }}"}') | {"name": "again"})
    )

    assert got["AutomationExecutionStatus"] == "Success", got.get("FailureMessage")
    assert receiver.events == [{"a": 1}, {"b": "eu-west-1"}]
    assert step(got, "call")["Outputs"]["ResponseCode"] == ["200"]
    assert "a-secret" not in json.dumps(got, default=str)


def test_hostile_urls_reach_nothing(runbooks: Runbooks, ssm: Any, receiver: Receiver, lurker: Receiver) -> None:
    urls = hostile_urls(int(lurker.url.rsplit(":", 1)[1].partition("/")[0]))
    assert len(urls) >= 120
    for first in range(0, len(urls), 30):  # what takes long is cut in pieces, for each has its time
        steps = []
        for number, url in enumerate(urls[first : first + 30]):
            integrate(ssm, f"hostile-{number}", url=url)
            steps.append(webhook(f"hostile-{number}") | {"name": f"n{number}", "onFailure": "Continue"})
        assert set(statuses(came_to_its_end(runbooks, runbooks.make(*steps))).values()) == {"Failed"}

    receiver.status = 302  # to an address that may not be called
    integrate(ssm, "redirected", url=receiver.url)
    assert statuses(came_to_its_end(runbooks, runbooks.make(webhook("redirected")))) == {"call": "Failed"}
    assert lurker.taken == receiver.taken == []


def test_what_is_no_integration_is_not_called(runbooks: Runbooks, ssm: Any) -> None:
    ssm.put_parameter(Name="plain", Value="http://127.0.0.9/", Type="String")

    got = came_to_its_end(
        runbooks, runbooks.make(webhook("plain") | {"onFailure": "Continue"}, webhook("gone") | {"name": "gone"})
    )

    assert "aws:ssm:integration" in step(got, "call")["FailureMessage"]
    assert "no parameter named gone" in step(got, "gone")["FailureMessage"]


def script(text: str, **inputs: Any) -> dict[str, Any]:
    inputs = {"Runtime": "python3.11", "Handler": "handler", "Script": text, **inputs}
    return {"name": "script", "action": "aws:executeScript", "inputs": inputs}


def test_a_script_gives_its_payload_and_acts_as_the_execution(runbooks: Runbooks, ssm: Any) -> None:
    try:
        instructions()
    except FilterUnavailable as error:
        pytest.skip(str(error))
    ssm.put_parameter(Name="/app/key", Value="42", Type="SecureString")
    text = (
        "import boto3\nfrom botocore.exceptions import ClientError\n"
        "def handler(events, context):\n"
        "    ssm = boto3.client('ssm')\n"
        "    print('got', events['name'])\n"
        "    value = ssm.get_parameter(Name=events['name'], WithDecryption=True)['Parameter']\n"
        "    try:\n        ssm.get_parameter(Name='/not/there')\n"
        "    except ClientError as error:\n        code = error.response['Error']['Code']\n"
        "    pages = [p for p in ssm.get_paginator('describe_parameters').paginate(MaxResults=1)]\n"
        "    return {'value': int(value['Value']), 'year': value['LastModifiedDate'].year, 'code': code,\n"
        "            'pages': len(pages) > 1, 'list': list(range(150))}\n"
    )
    first = script(text, InputPayload={"name": "{{ Name }}"})
    first["outputs"] = [
        {"Name": "Value", "Selector": "$.Payload.value", "Type": "Integer"},
        {"Name": "Code", "Selector": "$.Payload.code", "Type": "String"},
    ]
    ssm.put_parameter(Name="/app/other", Value="1", Type="String")
    got = came_to_its_end(runbooks,
        runbooks.make(
            first,
            {"name": "fails", **{k: v for k, v in script("def handler(e, c):\n    raise ValueError('no')").items()
                                 if k != "name"}},
            parameters={"Name": {"type": "String"}}, outputs=["script.Value", "script.Code"],
        ),
        {"Name": "/app/key"},
    )  # fmt: skip
    if "cannot be run on this server" in got.get("FailureMessage", ""):
        pytest.skip(got["FailureMessage"])

    assert got["Outputs"] == {"script.Value": ["42"], "script.Code": ["ParameterNotFound"]}
    payload = json.loads(step(got, "script")["Outputs"]["Payload"][0])
    assert payload["pages"] is True
    assert len(payload["list"]) == 100
    assert "got /app/key" in step(got, "script")["Response"]
    assert "ValueError: no" in step(got, "fails")["FailureMessage"]


@pytest.mark.parametrize(
    ("action", "inputs", "service"),
    [
        ("aws:createStack", {"StackName": "s", "TemplateBody": "{}"}, "cloudformation"),
        ("aws:deleteStack", {"StackName": "s"}, "cloudformation"),
        ("aws:executeStateMachine", {"stateMachineArn": "arn:aws:states:eu-west-1:1:stateMachine:s"}, "stepfunctions"),
        ("aws:changeInstanceState", {"InstanceIds": ["i-0123456789abcdef0"], "DesiredState": "running"}, "ec2"),
        ("aws:executeAwsApi", {"Service": "ec2", "Api": "DescribeInstances"}, "ec2"),
    ],
)
def test_where_no_endpoint_is_configured_the_step_says_so_at_once(
    runbooks: Runbooks, action: str, inputs: dict[str, Any], service: str
) -> None:
    got = came_to_its_end(runbooks, runbooks.make({"name": "only", "action": action, "inputs": inputs}))

    assert f"add [{service}] to the file that [automation] endpoints names" in step(got, "only")["FailureMessage"]


def test_without_powershell_a_script_says_what_to_do(runbooks: Runbooks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    got = came_to_its_end(runbooks, runbooks.make(script("Get-Date", Runtime="PowerShell 7.4")))

    assert "No PowerShell was found on this server" in step(got, "script")["FailureMessage"]
    assert "[automation] powershell" in step(got, "script")["FailureMessage"]
