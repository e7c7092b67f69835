"""Associations with runbooks: the server starts them, and knows what became of them."""

import json
from typing import Any

import pytest
from tests.capabilities.associations.conftest import refused
from tests.capabilities.commands.conftest import Until, _signatures_follow_the_clock  # noqa: F401 -- a fixture
from tests.conftest import Aws, Server

PARAMETERS = {"name": {"type": "String"}}
LOOK = {"name": "look", "action": "aws:executeAwsApi",
        "inputs": {"Service": "ssm", "Api": "GetParameter", "Name": "{{ name }}"}}  # fmt: skip
SLEEP = {"name": "rest", "action": "aws:sleep", "inputs": {"Duration": "PT40M"}}


@pytest.fixture
def runbook(ssm: Any, role: str) -> str:
    """One that looks for a parameter."""
    name = f"look-{role}"
    body = {"schemaVersion": "0.3", "parameters": PARAMETERS, "mainSteps": [LOOK]}
    ssm.create_document(Name=name, Content=json.dumps(body), DocumentType="Automation")
    return name


def executions(ssm: Any, association_id: str) -> list[dict[str, Any]]:
    found = ssm.describe_association_executions(AssociationId=association_id)["AssociationExecutions"]
    return [dict(each) for each in found]


def targets(ssm: Any, association_id: str, execution_id: str) -> list[dict[str, Any]]:
    return [dict(each) for each in ssm.describe_association_execution_targets(
        AssociationId=association_id, ExecutionId=execution_id
    )["AssociationExecutionTargets"]]  # fmt: skip


def overview(ssm: Any, association_id: str) -> dict[str, Any]:
    return dict(ssm.describe_association(AssociationId=association_id)["AssociationDescription"]["Overview"])


def test_children_for_each_target_are_linked(ssm: Any, role: str, runbook: str, until: Until) -> None:
    names = [f"{role}-{each}" for each in "ab"]
    for each in names:
        ssm.put_parameter(Name=each, Value="1", Type="String")
    made = ssm.create_association(
        Name=runbook, AutomationTargetParameterName="name", MaxConcurrency="1", MaxErrors="0",
        Targets=[{"Key": "ParameterValues", "Values": names}], ScheduleExpression="rate(1 hour)",
    )["AssociationDescription"]  # fmt: skip
    association_id = made["AssociationId"]
    assert made["AutomationTargetParameterName"] == "name"
    until(lambda: overview(ssm, association_id)["Status"] == "Success")
    assert overview(ssm, association_id)["AssociationStatusAggregatedCount"] == {"Success": 1}
    (execution,) = executions(ssm, association_id)
    assert (execution["Status"], execution["ResourceCountByStatus"]) == ("Success", "{Success=1}")
    (target,) = targets(ssm, association_id, execution["ExecutionId"])
    assert target["OutputSource"]["OutputSourceType"] == "Automation"
    parent = target["OutputSource"]["OutputSourceId"]
    children = ssm.describe_automation_executions(
        Filters=[{"Key": "ParentExecutionId", "Values": [parent]}]
    )["AutomationExecutionMetadataList"]  # fmt: skip
    assert sorted(each["Target"] for each in children) == names
    for each in [parent, *(child["AutomationExecutionId"] for child in children)]:
        found = ssm.get_automation_execution(AutomationExecutionId=each)["AutomationExecution"]
        assert (found["AssociationId"], found["AutomationExecutionStatus"]) == (association_id, "Success")
    ssm.delete_association(AssociationId=association_id)


def test_what_fails_says_why_and_may_succeed_later(
    ssm: Any, aws: Aws, role: str, runbook: str, server: Server, until: Until
) -> None:
    association_id = ssm.create_association(
        Name=runbook, Parameters={"name": [role]}, ScheduleExpression="rate(1 hour)"
    )["AssociationDescription"]["AssociationId"]  # fmt: skip
    until(lambda: overview(ssm, association_id)["Status"] == "Failed")
    said = aws("pilothouse").explain_association(AssociationId=association_id)
    assert any("ParameterNotFound" in line["Text"] for line in said["Lines"])
    ssm.put_parameter(Name=role, Value="1", Type="String")
    server.advance(hours=1)
    until(lambda: len(executions(ssm, association_id)) == 2 and overview(ssm, association_id)["Status"] == "Success")
    assert [each["Status"] for each in executions(ssm, association_id)] == ["Success", "Failed"]
    ssm.delete_association(AssociationId=association_id)


def test_what_is_due_while_one_goes_on_is_skipped_and_duration_stops_it(
    ssm: Any, role: str, server: Server, until: Until
) -> None:
    body = {"schemaVersion": "0.3", "mainSteps": [SLEEP | {"inputs": {"Duration": "PT90M"}}]}
    ssm.create_document(Name=f"rest-{role}", Content=json.dumps(body), DocumentType="Automation")
    association_id = ssm.create_association(
        Name=f"rest-{role}", ScheduleExpression="rate(30 minutes)", Duration=1
    )["AssociationDescription"]["AssociationId"]  # fmt: skip
    until(lambda: executions(ssm, association_id)[0]["Status"] == "InProgress")
    server.advance(minutes=31)
    until(lambda: len(executions(ssm, association_id)) == 2)
    newest = executions(ssm, association_id)[0]
    assert [each["Status"] for each in targets(ssm, association_id, newest["ExecutionId"])] == ["Skipped"]
    assert overview(ssm, association_id)["Status"] == "Pending"
    server.advance(minutes=30)
    until(lambda: {"Cancelled"} & {each["Status"] for each in executions(ssm, association_id)})
    ssm.delete_association(AssociationId=association_id)


def test_what_could_not_be_started_is_refused_or_fails(ssm: Any, role: str, runbook: str, until: Until) -> None:
    assert refused(lambda: ssm.create_association(Name=runbook)) == "InvalidParameters"
    assert refused(lambda: ssm.create_association(Name=runbook, Parameters={"other": ["x"]})) == "InvalidParameters"
    by_target = {"Name": runbook, "Targets": [{"Key": "ParameterValues", "Values": ["x"]}]}
    assert refused(lambda: ssm.create_association(**by_target)) == "InvalidParameters"
    assert refused(lambda: ssm.create_association(
        Name="AWS-RunShellScript", Parameters={"commands": ["true"]}, AutomationTargetParameterName="name",
        Targets=[{"Key": "InstanceIds", "Values": ["*"]}],
    )) == "ValidationException"  # fmt: skip
    association_id = ssm.create_association(
        Name=runbook, Parameters={"name": [role]}, ScheduleExpression="rate(1 hour)", ApplyOnlyAtCronInterval=False,
        AssociationDispatchAssumeRole="arn:aws:iam::123456789012:role/nobody",
    )["AssociationDescription"]["AssociationId"]  # fmt: skip
    (execution,) = executions(ssm, association_id)
    assert (execution["Status"], overview(ssm, association_id)["Status"]) == ("Failed", "Failed")
    ssm.delete_association(AssociationId=association_id)
