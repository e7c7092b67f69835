"""What starts, as whom, with what, how often."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from tests.capabilities.automation.conftest import Runbooks, step
from tests.capabilities.automation.test_people import NAP
from tests.capabilities.automation.test_steps import VARIABLES, bad, good
from tests.capabilities.commands.conftest import Node, refused
from tests.conftest import Aws, Server
from tests.gateway.scripted_agent import Script, ended

ASSUME = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "ssm.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}
READ = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "ssm:GetParameter", "Resource": "*"}]}
TOKEN = "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeee0{:03}"
_tokens = iter(range(1000))


@pytest.mark.parametrize(
    ("parameters", "ok"),
    [
        ({"n": "5", "mode": "fast"}, True),
        ({"n": "five", "mode": "fast"}, False),
        ({"n": "5", "mode": "slow"}, False),
        ({"mode": "fast"}, False),
        ({"n": "5", "mode": "fast", "more": "x"}, False),
    ],
)
def test_parameters_are_checked_before_anything_starts(
    runbooks: Runbooks, ssm: Any, parameters: dict[str, str], ok: bool
) -> None:
    name = runbooks.make(
        good("one"), **VARIABLES,
        parameters={"n": {"type": "Integer"}, "mode": {"type": "String", "allowedValues": ["fast", "safe"]}},
    )  # fmt: skip
    if ok:
        assert runbooks.run(name, parameters)["AutomationExecutionStatus"] == "Success"
        return
    wanted = "InvalidAutomationExecutionParametersException"
    assert refused(lambda: runbooks.start(name, parameters)) == wanted
    filters = [{"Key": "DocumentNamePrefix", "Values": [name]}]
    assert ssm.describe_automation_executions(Filters=filters)["AutomationExecutionMetadataList"] == []


def test_runbooks_that_are_none(runbooks: Runbooks, ssm: Any) -> None:
    assert refused(lambda: runbooks.start("no-such")) == "AutomationDefinitionNotFoundException"
    name = runbooks.make(good("one"), **VARIABLES)
    wanted = "AutomationDefinitionVersionNotFoundException"
    assert refused(lambda: runbooks.start(name, DocumentVersion="7")) == wanted
    wanted = "InvalidAutomationExecutionParametersException"
    assert refused(lambda: runbooks.start("AWS-RunShellScript")) == wanted


def test_a_client_token_starts_one_execution(runbooks: Runbooks) -> None:
    name = runbooks.make(good("one"), **VARIABLES, parameters={"p": {"type": "String", "default": ""}})
    token = TOKEN.format(next(_tokens))
    first = runbooks.start(name, ClientToken=token)
    assert runbooks.start(name, ClientToken=token) == first
    wanted = "IdempotentParameterMismatch"
    assert refused(lambda: runbooks.start(name, {"p": "other"}, ClientToken=token)) == wanted


def test_a_step_may_do_what_its_role_may(runbooks: Runbooks, aws: Aws, ssm: Any) -> None:
    iam = aws("iam")
    role = f"reader-{next(_tokens)}"
    arn = iam.create_role(RoleName=role, AssumeRolePolicyDocument=json.dumps(ASSUME))["Role"]["Arn"]
    iam.put_role_policy(RoleName=role, PolicyName="read", PolicyDocument=json.dumps(READ))
    path = f"/role/{role}"
    ssm.put_parameter(Name=path, Value="seen", Type="String")
    inputs = {"Service": "ssm", "Api": "GetParameter", "Name": path}
    name = runbooks.make(
        {
            "name": "read", "action": "aws:executeAwsApi", "inputs": inputs,
            "outputs": [{"Name": "v", "Selector": "$.Parameter.Value", "Type": "String"}],
        },
        {
            "name": "write", "action": "aws:executeAwsApi",
            "inputs": {"Service": "ssm", "Api": "DeleteParameter", "Name": path},
        },
        assumeRole="{{ AutomationAssumeRole }}",
        parameters={"AutomationAssumeRole": {"type": "String", "default": ""}},
    )  # fmt: skip
    got = runbooks.run(name, {"AutomationAssumeRole": arn})
    assert got["AutomationExecutionStatus"] == "Failed"
    assert step(got, "read")["Outputs"]["v"] == ["seen"]
    assert step(got, "write")["FailureDetails"]["FailureType"] == "Permission"
    assert ssm.get_parameter(Name=path)["Parameter"]["Value"] == "seen"
    wanted = "InvalidAutomationExecutionParametersException"
    assert refused(lambda: runbooks.start(name, {"AutomationAssumeRole": arn + "-not"})) == wanted
    assert runbooks.run(name)["AutomationExecutionStatus"] == "Success"  # as root


def test_a_command_runs_to_its_end(runbooks: Runbooks, nodes: Callable[..., Node]) -> None:
    node = nodes(script=Script(replies=ended(stdout="web-1\n")))
    name = runbooks.make(
        {
            "name": "ask", "action": "aws:runCommand",
            "inputs": {
                "DocumentName": "AWS-RunShellScript", "InstanceIds": ["{{ node }}"],
                "Parameters": {"commands": "hostname"},
            },
        },
        {"name": "keep", "action": "aws:updateVariable",
         "inputs": {"Name": "variable:x", "Value": "{{ ask.Output }} by {{ ask.CommandId }}"}},
        parameters={"node": {"type": "String"}}, **VARIABLES,
    )  # fmt: skip
    got = runbooks.run(name, {"node": node.id})
    assert got["AutomationExecutionStatus"] == "Success", got
    told = step(got, "ask")["Outputs"]
    assert told["Output"] == ["web-1"]
    assert (told["Status"], told["ResponseCode"]) == (["Success"], ["0"])
    assert got["Variables"]["x"] == [f"web-1 by {told['CommandId'][0]}"]


def test_a_command_that_fails_and_one_that_is_stopped(
    runbooks: Runbooks, nodes: Callable[..., Node], ssm: Any
) -> None:  # fmt: skip
    failing = nodes(script=Script(replies=ended("Failed", code=3)))
    away = nodes(online=False)
    inputs = {"DocumentName": "AWS-RunShellScript", "Parameters": {"commands": ["x"]}, "InstanceIds": ["{{ node }}"]}
    name = runbooks.make(
        {"name": "do", "action": "aws:runCommand", "inputs": inputs}, parameters={"node": {"type": "String"}}
    )  # fmt: skip
    got = runbooks.run(name, {"node": failing.id})
    assert (got["AutomationExecutionStatus"], step(got, "do")["ResponseCode"]) == ("Failed", "3")
    execution_id = runbooks.start(name, {"node": away.id})
    runbooks.until(lambda: step(runbooks.get(execution_id), "do")["StepStatus"] == "InProgress")
    ssm.stop_automation_execution(AutomationExecutionId=execution_id)
    runbooks.comes_to(execution_id, "Cancelled")
    (command,) = ssm.list_commands(InstanceId=away.id)["Commands"]
    assert command["Status"] == "Cancelled"


def test_a_runbook_runs_another(runbooks: Runbooks, ssm: Any) -> None:
    child = runbooks.make(
        good("one", inputs={"Name": "variable:x", "Value": "{{ p }}!"}), outputs=["variable:x"],
        parameters={"p": {"type": "String"}}, **VARIABLES,
    )  # fmt: skip
    call = {
        "name": "call", "action": "aws:executeAutomation",
        "inputs": {"DocumentName": child, "RuntimeParameters": {"p": ["hello"]}},
    }  # fmt: skip
    got = runbooks.run(runbooks.make(call, outputs=["call.Output"]))
    assert got["Outputs"] == {"call.Output": ["hello!"]}
    child_id = step(got, "call")["Outputs"]["ExecutionId"][0]
    assert runbooks.get(child_id)["ParentAutomationExecutionId"] == got["AutomationExecutionId"]
    naps = runbooks.make(NAP)
    calls = runbooks.make({**call, "inputs": {"DocumentName": naps}})
    execution_id = runbooks.start(calls)
    runbooks.until(lambda: step(runbooks.get(execution_id), "call")["StepStatus"] == "InProgress")
    ssm.stop_automation_execution(AutomationExecutionId=execution_id)
    runbooks.comes_to(execution_id, "Cancelled")
    filters = [{"Key": "ParentExecutionId", "Values": [execution_id]}]
    (child_,) = ssm.describe_automation_executions(Filters=filters)["AutomationExecutionMetadataList"]
    assert child_["AutomationExecutionStatus"] == "Cancelled"


def children(ssm: Any, execution_id: str) -> list[dict[str, Any]]:
    filters = [{"Key": "ParentExecutionId", "Values": [execution_id]}]
    found = ssm.describe_automation_executions(Filters=filters)["AutomationExecutionMetadataList"]
    return [dict(each) for each in found]


def test_never_more_than_so_many_at_once(runbooks: Runbooks, ssm: Any, server: Server) -> None:
    name = runbooks.make(NAP, parameters={"host": {"type": "String"}})
    execution_id = runbooks.start(
        name, TargetParameterName="host", MaxConcurrency="2",
        Targets=[{"Key": "ParameterValues", "Values": ["a", "b", "c", "d", "e"]}],
    )  # fmt: skip
    for count in (2, 4, 5):
        runbooks.until(lambda count=count: len(children(ssm, execution_id)) == count)
        found = [each["AutomationExecutionStatus"] for each in children(ssm, execution_id)]
        assert len(found) - found.count("Success") <= 2
        server.advance(hours=1)
    got = runbooks.comes_to(execution_id, "Success")
    assert {each["Target"] for each in children(ssm, execution_id)} == set("abcde")
    assert got["TargetsSummary"] == {
        "TotalCount": 5, "StartedCount": 5, "CompletedCount": 5, "SuccessfulCount": 5, "FailedCount": 0,
    }  # fmt: skip
    assert [each["StepName"] for each in got["StepExecutions"]] == list("abcde")


def test_no_more_start_after_too_many_errors(runbooks: Runbooks, ssm: Any) -> None:
    name = runbooks.make(bad("one"), parameters={"host": {"type": "String"}})
    targets = [{"Key": "ParameterValues", "Values": ["a", "b", "c", "d", "e"]}]
    for allowed, started in (("0", 1), ("2", 3), ("40%", 3)):
        execution_id = runbooks.start(
            name, TargetParameterName="host", MaxConcurrency="1", MaxErrors=allowed, Targets=targets
        )  # fmt: skip
        got = runbooks.comes_to(execution_id, "Failed")
        assert len(children(ssm, execution_id)) == started
        assert got["TargetsSummary"]["FailedCount"] == started


def test_maps_of_targets_and_what_targets_there_are_not(runbooks: Runbooks, ssm: Any) -> None:
    name = runbooks.make(
        good("one", inputs={"Name": "variable:x", "Value": "{{ host }}{{ port }}"}), **VARIABLES,
        parameters={"host": {"type": "String"}, "port": {"type": "String"}},
    )  # fmt: skip
    got = runbooks.run(name, TargetMaps=[{"host": ["a"], "port": ["1"]}, {"host": ["b"], "port": ["2"]}])
    assert got["AutomationExecutionStatus"] == "Success", got
    values = {runbooks.get(each["AutomationExecutionId"])["Variables"]["x"][0]
              for each in children(ssm, got["AutomationExecutionId"])}  # fmt: skip
    assert values == {"a1", "b2"}
    wanted = "InvalidAutomationExecutionParametersException"
    assert refused(lambda: runbooks.start(name, TargetMaps=[{"host": ["a"], "port": ["1"]}, {"host": ["b"]}])) == wanted
    both = {"Targets": [{"Key": "ParameterValues", "Values": ["a"]}], "TargetParameterName": "host"}
    assert refused(lambda: runbooks.start(name, TargetMaps=[{"host": ["a"]}], **both)) == "InvalidTarget"
    wrong = {"Targets": [{"Key": "Wrong", "Values": ["a"]}], "TargetParameterName": "host"}
    assert refused(lambda: runbooks.start(name, {"port": "1"}, **wrong)) == "InvalidTarget"
    case = {"Targets": [{"Key": "ParameterValues", "Values": ["a"]}], "TargetParameterName": "Host"}
    assert refused(lambda: runbooks.start(name, {"port": "1"}, **case)) == wanted


def test_a_preview_starts_nothing(runbooks: Runbooks, ssm: Any) -> None:
    name = runbooks.make(NAP, bad("look"), good("one"), **VARIABLES)
    preview_id = ssm.start_execution_preview(DocumentName=name)["ExecutionPreviewId"]
    got = ssm.get_execution_preview(ExecutionPreviewId=preview_id)
    assert got["Status"] == "Success"
    told = got["ExecutionPreview"]["Automation"]
    assert told["StepPreviews"] == {"Mutating": 0, "NonMutating": 3, "Undetermined": 0}
    assert (told["Regions"], told["TotalAccounts"]) == (["eu-west-1"], 1)
    filters = [{"Key": "DocumentNamePrefix", "Values": [name]}]
    assert ssm.describe_automation_executions(Filters=filters)["AutomationExecutionMetadataList"] == []
