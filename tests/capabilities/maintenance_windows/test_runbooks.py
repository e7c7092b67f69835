"""Tasks of type AUTOMATION: runbooks for each resource of a target, as the task's role, cancelled with the window."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from tests.capabilities.commands.conftest import Node, Until, _signatures_follow_the_clock  # noqa: F401 -- a fixture
from tests.capabilities.maintenance_windows.conftest import Windows
from tests.conftest import Aws, Server

Nodes = Callable[..., Node]
NO_TARGETS = {"Targets": None, "MaxConcurrency": None, "MaxErrors": None}


@pytest.fixture
def own(aws: Aws) -> Any:
    return aws("pilothouse")


@pytest.fixture
def sleeping(ssm: Any, role: str) -> str:
    """A runbook that takes ten hours."""
    step = {"name": "rest", "action": "aws:sleep", "inputs": {"Duration": "PT10H"}}
    name = f"rest-{role}"
    ssm.create_document(
        Name=name, Content=json.dumps({"schemaVersion": "0.3", "mainSteps": [step]}), DocumentType="Automation"
    )
    return name


def test_a_runbook_runs_for_each_node(windows: Windows, own: Any, ssm: Any, nodes: Nodes, role: str) -> None:
    made = {nodes(online=False).id for _ in range(2)}
    step = {"name": "look", "action": "aws:executeAwsApi",
            "inputs": {"Service": "ssm", "Api": "GetParameter", "Name": "{{ name }}"}}  # fmt: skip
    body = {"schemaVersion": "0.3", "parameters": {"name": {"type": "String"}}, "mainSteps": [step]}
    ssm.create_document(Name=f"look-{role}", Content=json.dumps(body), DocumentType="Automation")
    for each in made:
        ssm.put_parameter(Name=f"on-{each}", Value="1", Type="String")
    window_id = windows.make()
    target_id = windows.target(window_id)
    windows.task(window_id, target_id, TaskType="AUTOMATION", TaskArn=f"look-{role}", TaskInvocationParameters={
        "Automation": {"Parameters": {"name": ["on-{{RESOURCE_ID}}"]}}
    })  # fmt: skip
    execution = windows.ended(own.run_maintenance_window(WindowId=window_id), "SUCCESS")
    invocations = windows.invocations(execution)
    assert {each["Status"] for each in invocations} == {"SUCCESS"}
    found = [
        ssm.get_automation_execution(AutomationExecutionId=each["ExecutionId"])["AutomationExecution"]
        for each in invocations
    ]
    assert {each["Parameters"]["name"][0] for each in found} == {f"on-{each}" for each in made}
    assert {each["ExecutedBy"].rpartition("/")[2] for each in found} == {window_id}
    assert all(json.loads(each["Parameters"])["documentName"] == f"look-{role}" for each in invocations)
    ssm.delete_parameter(Name=f"on-{min(made)}")
    failed = windows.ended(own.run_maintenance_window(WindowId=window_id), "FAILED")
    (bad,) = [each for each in windows.invocations(failed) if each["Status"] == "FAILED"]
    assert "ParameterNotFound" in bad["StatusDetails"]


def test_a_cancelled_window_stops_its_runbooks(
    windows: Windows, own: Any, ssm: Any, sleeping: str, until: Until
) -> None:
    window_id = windows.make()
    windows.task(window_id, TaskType="AUTOMATION", TaskArn=sleeping, TaskInvocationParameters=None, **NO_TARGETS)
    execution = own.run_maintenance_window(WindowId=window_id)
    (invocation,) = until(lambda: [each for each in windows.invocations(execution) if each.get("ExecutionId")])
    ssm.cancel_maintenance_window_execution(WindowExecutionId=execution["WindowExecutionId"])
    windows.ended(execution, "CANCELLED")
    found = ssm.get_automation_execution(AutomationExecutionId=invocation["ExecutionId"])["AutomationExecution"]
    assert found["AutomationExecutionStatus"] == "Cancelled"


def test_a_runbook_is_stopped_at_the_cutoff(
    windows: Windows, own: Any, sleeping: str, server: Server, until: Until
) -> None:
    window_id = windows.make(Duration=2, Cutoff=1)
    of = {"TaskType": "AUTOMATION", "TaskArn": sleeping, "TaskInvocationParameters": None, **NO_TARGETS}
    windows.task(window_id, **of, CutoffBehavior="CANCEL_TASK")
    execution = own.run_maintenance_window(WindowId=window_id)
    until(lambda: [each for each in windows.invocations(execution) if each.get("ExecutionId")])
    server.advance(hours=1, seconds=1)
    windows.ended(execution, "TIMED_OUT")
