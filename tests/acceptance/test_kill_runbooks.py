"""kill -9 of the server at random moments while runbooks go on: each step is done once, and they go on where they were.

A step whose work is no part of a transaction (it calls another machine) may be cut off; then it is not done again, and
its failure says that nobody knows.
"""

import http.server
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

from tests.acceptance.installation import Installation

KILLS = 6
EXECUTIONS = 8
FINAL = ("Success", "Failed", "TimedOut", "Cancelled")


class Elsewhere:
    """A service of another machine that counts what is sent to it, by message."""

    def __init__(self) -> None:
        seen: Counter[str] = Counter()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                seen[body["MessageBody"]] += 1
                time.sleep(random.random() * 0.05)
                answer = json.dumps({"MessageId": "m-1", "MD5OfMessageBody": ""}).encode()
                self.send_response(200)
                self.send_header("content-type", "application/x-amz-json-1.0")
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: Any) -> None:
                """Quiet."""

        self.seen = seen
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def elsewhere() -> Iterator[Elsewhere]:
    made = Elsewhere()
    yield made
    made.close()


def count(name: str, path: str, **members: Any) -> dict[str, Any]:
    """A step that moves a parameter on by one version."""
    inputs = {
        "Service": "ssm", "Api": "PutParameter", "Name": path, "Type": "String", "Value": "x", "Overwrite": True,
    }  # fmt: skip
    return {"name": name, "action": "aws:executeAwsApi", "inputs": inputs, **members}


def runbook() -> dict[str, Any]:
    """Each kind of action, with something that counts what it did."""
    own = "/{{ automation:EXECUTION_ID }}"
    loop = {
        "Iterators": ["a", "b", "c"], "IteratorDataType": "String",
        "Steps": [
            count("turn", f"{own}/loop"), {"name": "rest", "action": "aws:sleep", "inputs": {"Duration": "PT0S"}},
        ],
    }  # fmt: skip
    fork = {"Choices": [{"Variable": "{{ p }}", "StringEquals": "go", "NextStep": "each"}], "Default": "never"}
    send = {"Service": "sqs", "Api": "SendMessage", "QueueUrl": "https://queue", "MessageBody": own}
    return {
        "schemaVersion": "0.3",
        "parameters": {"p": {"type": "String"}, "child": {"type": "String"}},
        "variables": {"kept": {"type": "String", "default": ""}},
        "mainSteps": [
            count("first", f"{own}/first"),
            {"name": "nap", "action": "aws:sleep", "inputs": {"Duration": "PT1S"}},
            {"name": "fork", "action": "aws:branch", "inputs": fork},
            count("never", f"{own}/never", isEnd=True),
            {"name": "each", "action": "aws:loop", "inputs": loop},
            {"name": "command", "action": "aws:runCommand", "inputs": {
                "DocumentName": "AWS-RunShellScript", "Parameters": {"commands": ["true"]}, "Comment": own,
                "Targets": [{"Key": "tag:nobody", "Values": ["has"]}]}},
            {"name": "call", "action": "aws:executeAutomation", "inputs": {
                "DocumentName": "{{ child }}", "RuntimeParameters": {"path": f"{own}/child"}}},
            {"name": "keep", "action": "aws:updateVariable", "inputs": {
                "Name": "variable:kept", "Value": "{{ variable:kept }}x"}},
            {"name": "send", "action": "aws:executeAwsApi", "onFailure": "Continue", "isCritical": False,
             "inputs": send},
            {"name": "hold", "action": "aws:pause"},
            {"name": "ask", "action": "aws:approve", "inputs": {"Approvers": ["{{ who }}"]}},
            count("last", f"{own}/last"),
        ],
    }  # fmt: skip


def child() -> dict[str, Any]:
    nap = {"name": "nap", "action": "aws:sleep", "inputs": {"Duration": "PT1S"}}
    return {
        "schemaVersion": "0.3", "parameters": {"path": {"type": "String"}},
        "mainSteps": [count("one", "{{ path }}"), nap, count("two", "{{ path }}")],
    }  # fmt: skip


class Client:
    """A client that asks again when the server is away."""

    def __init__(self, house: Installation) -> None:
        self.ssm: Any = house.boto("ssm", retries={"max_attempts": 0}, connect_timeout=2, read_timeout=10)

    def __call__(self, name: str, **members: Any) -> Any:
        while True:
            try:
                return getattr(self.ssm, name)(**members)
            except ClientError as error:
                if error.response["ResponseMetadata"]["HTTPStatusCode"] < 500:
                    raise
            except (HTTPClientError, BotoCoreError):
                time.sleep(0.05)


def push(ask: Client, ids: list[str]) -> None:
    """Say what the executions wait for."""
    for each in ids:
        found = ask("get_automation_execution", AutomationExecutionId=each)["AutomationExecution"]
        if found["AutomationExecutionStatus"] != "Waiting":
            continue
        kind = "Resume" if found["CurrentStepName"] == "hold" else "Approve"
        try:
            ask("send_automation_signal", AutomationExecutionId=each, SignalType=kind)
        except ClientError as error:  # an answer that was lost, of a signal that was not
            if error.response["Error"]["Code"] != "InvalidAutomationSignalException":
                raise


def judge(ask: Client, execution_id: str, elsewhere: Elsewhere) -> str:
    """Whether each step was done as often as it was to be; how the call elsewhere went."""
    found = ask("get_automation_execution", AutomationExecutionId=execution_id)["AutomationExecution"]
    steps = {each["StepName"]: each for each in found["StepExecutions"]}
    assert found["AutomationExecutionStatus"] == "Success", found.get("FailureMessage")
    own = f"/{execution_id}"
    wanted = {"first": 1, "loop": 3, "child": 2, "last": 1}
    versions = {
        each["Name"].rpartition("/")[2]: each["Version"]
        for each in ask("get_parameters_by_path", Path=own)["Parameters"]
    }
    assert versions == wanted
    assert found["Variables"]["kept"] == ["x"]
    filters = [{"Key": "ParentExecutionId", "Values": [execution_id]}]
    assert len(ask("describe_automation_executions", Filters=filters)["AutomationExecutionMetadataList"]) == 1
    sent = elsewhere.seen[own]
    if steps["send"]["StepStatus"] == "Success":
        assert sent == 1
        return "sent"
    assert "nobody knows" in steps["send"]["FailureMessage"]
    assert sent <= 1
    return "unknown"


def kill_and_go_on(house: Installation, elsewhere: Elsewhere, kills: int, executions: int, seed: int) -> Counter[str]:
    """Kill the server again and again while runbooks go on; what became of the calls elsewhere."""
    chance = random.Random(seed)
    ask = Client(house)
    account = house.boto("sts").get_caller_identity()["Arn"]
    content = json.loads(json.dumps(runbook()).replace("{{ who }}", account))
    child_name, name = f"child-{seed}", f"whole-{seed}"
    for each, body in ((child_name, child()), (name, content)):
        ask("create_document", Name=each, Content=json.dumps(body), DocumentType="Automation")
    ids = []
    for number in range(executions):
        token = f"{seed:08x}-0000-4000-8000-{number:012x}"
        parameters = {"p": ["go"], "child": [child_name]}
        ids.append(ask("start_automation_execution", DocumentName=name, ClientToken=token, Parameters=parameters)[
            "AutomationExecutionId"
        ])  # fmt: skip
    for _ in range(kills):
        time.sleep(chance.random() * 0.8)
        house.kill()
        house.start()
        push(ask, ids)
    deadline = time.monotonic() + 240
    while True:
        push(ask, ids)
        open_ = [
            each for each in ids
            if ask("get_automation_execution", AutomationExecutionId=each)["AutomationExecution"][
                "AutomationExecutionStatus"] not in FINAL
        ]  # fmt: skip
        if not open_:
            break
        assert time.monotonic() < deadline, open_
        time.sleep(0.3)
    commands = [each for page in ask.ssm.get_paginator("list_commands").paginate() for each in page["Commands"]]
    by_comment = Counter(each["Comment"] for each in commands)
    assert all(by_comment[f"/{each}"] == 1 for each in ids)
    return Counter(judge(ask, each, elsewhere) for each in ids)


def test_runbooks_go_on_where_they_were(
    house: Installation, elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "elsewhere")
    (house.data / "endpoints.toml").write_text(f'[sqs]\nendpoint_url = "{elsewhere.url}"\n')
    (house.data / "pilothouse.toml").write_text('[automation]\nendpoints = "endpoints.toml"\n')
    house.stop()
    house.start()
    kill_and_go_on(house, elsewhere, KILLS, EXECUTIONS, seed=1)
