"""Approvals, pauses, interactive mode, and those who stop executions."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from tests.capabilities.automation.conftest import Runbooks, statuses, step
from tests.capabilities.automation.test_steps import VARIABLES, good
from tests.capabilities.commands.conftest import refused
from tests.conftest import Aws, Server

Person = Callable[[str], Any]
ALL = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}


@pytest.fixture
def person(aws: Aws) -> Person:
    """The ssm client of a user who may do everything."""

    def of(name: str) -> Any:
        iam = aws("iam")
        name = f"{name}-{len(iam.list_users()['Users'])}"
        iam.create_user(UserName=name)
        iam.put_user_policy(UserName=name, PolicyName="all", PolicyDocument=json.dumps(ALL))
        key = iam.create_access_key(UserName=name)["AccessKey"]
        made = aws("ssm", access_key=key["AccessKeyId"], secret=key["SecretAccessKey"])
        made.user_name = name
        return made

    return of


def signal(client: Any, execution_id: str, kind: str, **payload: str) -> None:
    members = {"Payload": {name: [value] for name, value in payload.items()}} if payload else {}
    client.send_automation_signal(AutomationExecutionId=execution_id, SignalType=kind, **members)


def test_two_of_three_approve(runbooks: Runbooks, person: Person) -> None:
    ada, bob, eve = person("ada"), person("bob"), person("eve")
    asks = {
        "name": "ask", "action": "aws:approve",
        "inputs": {"Approvers": ["{{ who }}", bob.user_name], "MinRequiredApprovals": 2, "Message": "Go?"},
    }  # fmt: skip
    name = runbooks.make(asks, good("go"), parameters={"who": {"type": "String"}}, **VARIABLES)
    execution_id = runbooks.start(name, {"who": ada.user_name})
    runbooks.comes_to(execution_id, "Waiting")
    assert refused(lambda: signal(eve, execution_id, "Approve")) == "InvalidAutomationSignalException"
    signal(ada, execution_id, "Approve", Comment="fine")
    assert refused(lambda: signal(ada, execution_id, "Approve")) == "InvalidAutomationSignalException"
    runbooks.until(lambda: runbooks.get(execution_id)["AutomationExecutionStatus"] == "Waiting")
    signal(bob, execution_id, "Approve")
    got = runbooks.comes_to(execution_id, "Success")
    told = step(got, "ask")["Outputs"]
    assert told["ApprovalStatus"] == ["Approved"]
    assert [json.loads(each)["Comment"] for each in told["ApproverDecisions"]] == ["fine", ""]
    assert refused(lambda: signal(bob, execution_id, "Approve")) == "InvalidAutomationSignalException"


def test_one_who_rejects_is_enough(runbooks: Runbooks, person: Person) -> None:
    ada, bob = person("ada"), person("bob")
    asks = {
        "name": "ask", "action": "aws:approve",
        "inputs": {"Approvers": [ada.user_name, bob.user_name], "MinRequiredApprovals": 2},
    }  # fmt: skip
    execution_id = runbooks.start(runbooks.make(asks, good("go"), **VARIABLES))
    runbooks.comes_to(execution_id, "Waiting")
    signal(bob, execution_id, "Reject")
    got = runbooks.comes_to(execution_id, "Failed")
    assert statuses(got) == {"ask": "Failed", "go": "Pending"}
    assert "rejected" in got["FailureMessage"]


def test_nobody_approves_for_a_week(runbooks: Runbooks, server: Server) -> None:
    asks = {"name": "ask", "action": "aws:approve", "inputs": {"Approvers": ["ada"]}}
    execution_id = runbooks.start(runbooks.make(asks))
    runbooks.comes_to(execution_id, "Waiting")
    server.advance(days=7, seconds=1)
    runbooks.comes_to(execution_id, "TimedOut")


def test_a_pause_is_resumed(runbooks: Runbooks, ssm: Any) -> None:
    execution_id = runbooks.start(runbooks.make({"name": "hold", "action": "aws:pause"}, good("go"), **VARIABLES))
    runbooks.comes_to(execution_id, "Waiting")
    assert refused(lambda: signal(ssm, execution_id, "Approve")) == "InvalidAutomationSignalException"
    assert refused(lambda: signal(ssm, execution_id, "Resume", StepName="x")) == "AutomationStepNotFoundException"
    signal(ssm, execution_id, "Resume", StepName="hold")
    runbooks.comes_to(execution_id, "Success")
    unknown = "00112233-4455-4677-8899-aabbccddeeff"
    assert refused(lambda: signal(ssm, unknown, "Resume")) == "AutomationExecutionNotFoundException"


def test_interactive_steps_begin_when_somebody_says_so(runbooks: Runbooks, ssm: Any) -> None:
    execution_id = runbooks.start(runbooks.make(good("one"), good("two"), **VARIABLES), Mode="Interactive")
    got = runbooks.comes_to(execution_id, "Waiting")
    assert statuses(got) == {"one": "Pending", "two": "Pending"}
    assert refused(lambda: signal(ssm, execution_id, "StartStep", StepName="two")) == "AutomationStepNotFoundException"
    signal(ssm, execution_id, "StartStep", StepName="one")
    runbooks.until(lambda: statuses(runbooks.get(execution_id)) == {"one": "Success", "two": "Pending"})
    assert runbooks.comes_to(execution_id, "Waiting")["CurrentStepName"] == "two"
    signal(ssm, execution_id, "StartStep", StepName="two")
    runbooks.comes_to(execution_id, "Success")


NAP = {"name": "nap", "action": "aws:sleep", "inputs": {"Duration": "PT1H"}}


def test_a_stop_heeds_what_is_to_be_done_then(runbooks: Runbooks, ssm: Any) -> None:
    name = runbooks.make({**NAP, "onCancel": "step:tidy"}, good("never", isEnd=True), good("tidy"), **VARIABLES)
    execution_id = runbooks.start(name)
    runbooks.until(lambda: statuses(runbooks.get(execution_id))["nap"] == "InProgress")
    ssm.stop_automation_execution(AutomationExecutionId=execution_id)
    got = runbooks.comes_to(execution_id, "Cancelled")
    assert statuses(got) == {"nap": "Cancelled", "never": "Pending", "tidy": "Success"}
    again = refused(lambda: ssm.stop_automation_execution(AutomationExecutionId=execution_id))
    assert again == "InvalidAutomationStatusUpdateException"


def test_a_stop_within_a_loop(runbooks: Runbooks, ssm: Any) -> None:
    inner = {"Iterators": ["a", "b"], "IteratorDataType": "String", "Steps": [NAP]}
    execution_id = runbooks.start(runbooks.make({"name": "each", "action": "aws:loop", "inputs": inner}))
    runbooks.until(lambda: statuses(runbooks.get(execution_id)).get("nap") == "InProgress")
    ssm.stop_automation_execution(AutomationExecutionId=execution_id)
    got = runbooks.comes_to(execution_id, "Cancelled")
    assert statuses(got) == {"each": "Cancelled", "nap": "Cancelled"}


def test_a_stop_that_lets_the_step_end(runbooks: Runbooks, ssm: Any, server: Server) -> None:
    execution_id = runbooks.start(runbooks.make(NAP, good("never"), **VARIABLES))
    runbooks.until(lambda: statuses(runbooks.get(execution_id))["nap"] == "InProgress")
    ssm.stop_automation_execution(AutomationExecutionId=execution_id, Type="Complete")
    runbooks.comes_to(execution_id, "InProgress")
    server.advance(hours=1)
    assert statuses(runbooks.comes_to(execution_id, "Cancelled")) == {"nap": "Success", "never": "Pending"}


def test_one_step_is_stopped(runbooks: Runbooks, ssm: Any) -> None:
    execution_id = runbooks.start(runbooks.make(NAP, good("never"), **VARIABLES))
    runbooks.until(lambda: statuses(runbooks.get(execution_id))["nap"] == "InProgress")
    step_id = step(runbooks.get(execution_id), "nap")["StepExecutionId"]
    signal(ssm, execution_id, "StopStep", StepExecutionId=step_id)
    assert statuses(runbooks.comes_to(execution_id, "Cancelled")) == {"nap": "Cancelled", "never": "Pending"}
