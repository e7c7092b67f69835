"""What is around executions: lists, other accounts and regions, events, history, secrets, provided runbooks."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.capabilities.automation.conftest import Runbooks, step
from tests.capabilities.automation.test_people import NAP
from tests.capabilities.automation.test_starting import ASSUME, children
from tests.capabilities.automation.test_steps import VARIABLES, bad, good
from tests.capabilities.commands.conftest import refused
from tests.conftest import Aws, Server

from pilothouse.capabilities import access
from pilothouse.capabilities.automation.checking import problems
from pilothouse.capabilities.automation.model import Go, Stop, decide
from pilothouse.capabilities.automation.references import fill
from pilothouse.capabilities.automation.runbooks import read
from pilothouse.capabilities.automation.store import AutomationStore
from pilothouse.capabilities.documents.provided import PROVIDED, text_of

RUNBOOKS = sorted(name for name in PROVIDED if json.loads(text_of(name)).get("schemaVersion") == "0.3")


def test_lists_are_filtered_and_paged(runbooks: Runbooks, ssm: Any, server: Server) -> None:
    name = runbooks.make(good("one"), **VARIABLES, parameters={"n": {"type": "String"}})
    ids = [runbooks.start(name, {"n": str(n)}, Tags=[{"Key": f"t-{name}", "Value": "x"}]) for n in range(5)]
    failed = runbooks.run(runbooks.make(bad("one")))["AutomationExecutionId"]
    for each in ids:
        runbooks.comes_to(each, "Success")

    def listed(**filters: str) -> list[str]:
        wanted = [{"Key": key, "Values": [value]} for key, value in filters.items()]
        pages = ssm.get_paginator("describe_automation_executions").paginate(
            Filters=wanted, PaginationConfig={"PageSize": 2}
        )
        return [each["AutomationExecutionId"] for page in pages for each in page["AutomationExecutionMetadataList"]]

    assert sorted(listed(DocumentNamePrefix=name)) == sorted(ids)
    assert sorted(listed(TagKey=f"t-{name}")) == sorted(ids)
    assert failed in listed(ExecutionStatus="Failed")
    assert not set(ids) & set(listed(ExecutionStatus="Failed"))
    assert listed(ExecutionId=failed, AutomationType="Local") == [failed]
    assert listed(ExecutionId=failed, StartTimeBefore="2020-01-01T00:00:00Z") == []
    assert refused(lambda: listed(StartTimeAfter="soon")) == "InvalidFilterValue"
    steps = ssm.describe_automation_step_executions(AutomationExecutionId=failed, ReverseOrder=True)
    assert [each["StepName"] for each in steps["StepExecutions"]] == ["one"]


def test_executions_in_other_accounts_and_regions(runbooks: Runbooks, server: Server, ssm: Any, aws: Aws) -> None:
    house = server.application.house

    key = server.run(access.create_account(house, f"other-{house.clock.millis()}"))
    iam = aws("iam", access_key=key.access_key_id, secret=key.secret)
    trust = {"Effect": "Allow", "Principal": {"AWS": server.application.root.account_id}, "Action": "sts:AssumeRole"}
    iam.create_role(
        RoleName="AWS-SystemsManager-AutomationExecutionRole",
        AssumeRolePolicyDocument=json.dumps({**ASSUME, "Statement": [trust]}),
    )
    allow = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "ssm:*", "Resource": "*"}]}
    iam.put_role_policy(
        RoleName="AWS-SystemsManager-AutomationExecutionRole", PolicyName="all", PolicyDocument=json.dumps(allow)
    )
    inputs = {"Service": "ssm", "Api": "PutParameter", "Name": "/here", "Type": "String", "Overwrite": True,
              "Value": "{{ global:ACCOUNT_ID }}:{{ global:REGION }}"}  # fmt: skip
    name = runbooks.make({"name": "put", "action": "aws:executeAwsApi", "inputs": inputs})
    here = server.application.root.account_id
    places = [{"Accounts": [here, key.account_id], "Regions": ["eu-west-1", "eu-north-1"]}]
    got = runbooks.run(name, TargetLocations=places)
    assert got["AutomationExecutionStatus"] == "Success", got
    assert got["TargetsSummary"]["TotalCount"] == 4
    for account, client in (
        (here, aws),
        (key.account_id, lambda s, **m: aws(s, access_key=key.access_key_id, secret=key.secret, **m)),
    ):
        for region in ("eu-west-1", "eu-north-1"):
            value = client("ssm", region=region).get_parameter(Name="/here")["Parameter"]["Value"]
            assert value == f"{account}:{region}"
    iam.delete_role_policy(RoleName="AWS-SystemsManager-AutomationExecutionRole", PolicyName="all")
    iam.delete_role(RoleName="AWS-SystemsManager-AutomationExecutionRole")
    got = runbooks.run(name, TargetLocations=[{"Accounts": [key.account_id], "Regions": ["eu-west-1"]}])
    assert got["AutomationExecutionStatus"] == "Failed"
    assert "AccessDenied" in got["StepExecutions"][0]["FailureMessage"]


def test_what_a_step_read_is_not_readable_in_the_database(runbooks: Runbooks, aws: Aws, server: Server) -> None:
    secret = "canary-of-a-runbook"
    path = f"/secret/{server.clock.millis()}"
    aws("ssm").put_parameter(Name=path, Value=secret, Type="SecureString")
    inputs = {"Service": "ssm", "Api": "GetParameter", "Name": path, "WithDecryption": True}
    outputs = [{"Name": "value", "Selector": "$.Parameter.Value", "Type": "String"}]
    read_ = {"name": "read", "action": "aws:executeAwsApi", "inputs": inputs, "outputs": outputs}
    keep = good("keep", inputs={"Name": "variable:x", "Value": "{{ read.value }}"})
    got = runbooks.run(runbooks.make(read_, keep, **VARIABLES))
    assert step(got, "read")["Outputs"]["value"] == [secret]

    async def everything() -> str:
        async with server.application.house.database.reading() as tx:
            tables = ("automation_execution", "automation_step", "automation_runbook", "automation_wait")
            return repr([dict(row) for table in tables for row in await tx.rows(f"select * from {table}")])

    assert secret not in server.run(everything())


def test_what_was_done_replays_to_the_same_decisions(runbooks: Runbooks, server: Server, ssm: Any) -> None:
    fork = {"Choices": [{"Variable": "{{ variable:x }}", "StringEquals": "1", "NextStep": "last"}], "Default": "c"}
    name = runbooks.make(
        good("a"), bad("b", onFailure="step:fork", isCritical=False), good("c"),
        {"name": "fork", "action": "aws:branch", "inputs": fork}, good("d"), {**NAP, "name": "last"}, **VARIABLES,
    )  # fmt: skip
    whole, stopped = runbooks.start(name), runbooks.start(name)
    for each in (whole, stopped):
        runbooks.until(lambda each=each: step(runbooks.get(each), "last")["StepStatus"] == "InProgress")
    ssm.stop_automation_execution(AutomationExecutionId=stopped)
    runbooks.comes_to(stopped, "Cancelled")
    server.advance(hours=1)
    runbooks.comes_to(whole, "Success")
    house = server.application.house

    async def recorded(execution_id: str) -> Any:
        async with house.database.reading() as tx:
            store = AutomationStore(tx, house.vault)
            execution = await store.execution(execution_id)
            assert execution is not None
            return execution, read(await store.runbook(execution.digest)), await store.steps(execution_id)

    for each in (whole, stopped):
        execution, runbook, steps = server.run(recorded(each))
        ran = [run.ran for run in steps]
        assert [run.name for run in ran] == ["a", "b", "fork", "last"]
        for number, run in enumerate(ran):
            assert decide(runbook.flow, ran[:number], Stop.NO) == Go(run.name)
        assert decide(runbook.flow, ran, execution.stop_asked).status is execution.status  # type: ignore[union-attr]


def test_executions_are_removed_after_their_time(runbooks: Runbooks, server: Server) -> None:
    execution_id = runbooks.run(runbooks.make(good("one"), **VARIABLES))["AutomationExecutionId"]
    server.advance(days=31)
    gone = "AutomationExecutionNotFoundException"

    def look() -> bool:
        try:
            runbooks.get(execution_id)
        except runbooks.ssm.exceptions.AutomationExecutionNotFoundException:
            return True
        server.advance(minutes=5)
        return False

    runbooks.until(look)
    assert refused(lambda: runbooks.get(execution_id)) == gone


def test_what_happens_is_told(runbooks: Runbooks, server: Server) -> None:
    told: list[tuple[str, str, str]] = []
    ended: list[tuple[str, str]] = []

    async def note(house: Any, tx: Any, facts: Any) -> None:
        if facts["detail_type"].startswith("EC2 Automation"):
            detail = facts["detail"]
            told.append((detail["ExecutionId"], detail.get("StepName", ""), detail["Status"]))

    async def note_end(house: Any, tx: Any, facts: Any) -> None:
        ended.append((facts["execution_id"], facts["status"]))

    listeners = server.application.house.listeners
    listeners.setdefault("event", []).append(note)
    listeners.setdefault("automation.ended", []).append(note_end)
    try:
        execution_id = runbooks.run(runbooks.make(good("one"), bad("two"), **VARIABLES))["AutomationExecutionId"]
    finally:
        listeners["event"].remove(note)
        listeners["automation.ended"].remove(note_end)
    assert [(name, status) for each, name, status in told if each == execution_id] == [
        ("", "Pending"), ("", "InProgress"), ("one", "InProgress"), ("one", "Success"), ("two", "InProgress"),
        ("two", "Failed"), ("", "Failed"),
    ]  # fmt: skip
    assert (execution_id, "Failed") in ended


@pytest.mark.parametrize("name", RUNBOOKS)
def test_provided_runbooks_are_right(name: str) -> None:
    assert [str(each) for each in problems(json.loads(text_of(name)))] == []


def test_a_log_is_rotated_by_a_real_shell(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    steps = json.loads(text_of("Pilothouse-RotateLogs"))["mainSteps"]
    values = {"Path": str(log), "Keep": 2, "MegaBytes": 1}
    lines = fill(steps[0]["inputs"]["Parameters"]["commands"], values.__getitem__)

    def rotate() -> str:
        done = subprocess.run(["sh", "-c", "\n".join(lines)], capture_output=True, text=True, check=True)
        return done.stdout

    log.write_text("small")
    assert "left alone" in rotate()
    for letter in "abcd":
        log.write_text(letter * 1_100_000)
        assert "rotated" in rotate()
        assert log.read_text() == ""
    kept = sorted(each.name for each in tmp_path.iterdir())
    assert kept == ["app.log", "app.log.1.gz", "app.log.2.gz"]
    newest = subprocess.run(["gzip", "-dc", tmp_path / "app.log.1.gz"], capture_output=True, check=True).stdout
    assert newest[:1] == b"d"


def test_a_message_is_published(runbooks: Runbooks, aws: Aws, ssm: Any) -> None:
    topic = aws("sns").create_topic(Name=f"told-{runbooks.server.clock.millis()}")["TopicArn"]
    got = runbooks.run("AWS-PublishSNSNotification", {"TopicArn": topic, "Message": "hello"})
    assert got["AutomationExecutionStatus"] == "Success", got
    assert got["Outputs"]["publish.MessageId"][0]
    assert children(ssm, got["AutomationExecutionId"]) == []
