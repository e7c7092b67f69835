"""One step after another: results, conditions, loops, references, retries, time."""

from typing import Any

import pytest
from tests.capabilities.automation.conftest import Runbooks, statuses, step
from tests.conftest import Server

GOOD = {"action": "aws:updateVariable", "inputs": {"Name": "variable:x", "Value": "1"}}
VARIABLES = {"variables": {"x": {"type": "String", "default": "0"}}}


def good(name: str, **members: Any) -> dict[str, Any]:
    return {"name": name, **GOOD, **members}


def bad(name: str, **members: Any) -> dict[str, Any]:
    """A step that asks for a parameter that is not there."""
    inputs = {"Service": "ssm", "Api": "GetParameter", "Name": "/not/there"}
    return {"name": name, "action": "aws:executeAwsApi", "inputs": inputs, **members}


def test_steps_follow_each_other_and_time_passes(runbooks: Runbooks, server: Server) -> None:
    name = runbooks.make(
        {"name": "nap", "action": "aws:sleep", "inputs": {"Duration": "PT2H"}},
        good("after"),
        outputs=["variable:x"],
        **VARIABLES,
    )
    execution_id = runbooks.start(name)
    got = runbooks.comes_to(execution_id, "InProgress")
    runbooks.until(lambda: statuses(runbooks.get(execution_id)) == {"nap": "InProgress", "after": "Pending"})
    assert runbooks.get(execution_id)["CurrentStepName"] == "nap"
    server.advance(hours=2)
    got = runbooks.comes_to(execution_id, "Success")
    assert statuses(got) == {"nap": "Success", "after": "Success"}
    assert got["Outputs"] == {"variable:x": ["1"]}
    assert got["Variables"] == {"x": ["1"]}
    assert step(got, "after")["Inputs"] == {"Name": '"variable:x"', "Value": '"1"'}


MATRIX = [
    ({"onFailure": "Abort"}, "Pending", "Failed"),
    ({"onFailure": "Abort", "isCritical": False}, "Pending", "Success"),
    ({"onFailure": "Continue"}, "Success", "Failed"),
    ({"onFailure": "Continue", "isCritical": False}, "Success", "Success"),
    ({"onFailure": "step:cleanup"}, "Pending", "Failed"),
    ({"onFailure": "step:cleanup", "isCritical": False}, "Pending", "Success"),
    ({"onFailure": "Continue", "isEnd": True}, "Pending", "Failed"),
    ({"onFailure": "Continue", "isEnd": True, "isCritical": False}, "Pending", "Success"),
]


@pytest.mark.parametrize(("members", "second", "whole"), MATRIX)
def test_a_failed_step(runbooks: Runbooks, members: dict[str, Any], second: str, whole: str) -> None:
    got = runbooks.run(
        runbooks.make(bad("first", **members), good("second", isEnd=True), good("cleanup", isEnd=True), **VARIABLES)
    )
    assert got["AutomationExecutionStatus"] == whole
    cleanup = "Success" if members.get("onFailure") == "step:cleanup" else "Pending"
    assert statuses(got) == {"first": "Failed", "second": second, "cleanup": cleanup}
    assert step(got, "first")["FailureDetails"]["FailureType"] == "Action"
    assert "ParameterNotFound" in step(got, "first")["FailureMessage"]
    assert ("FailureMessage" in got) == (whole == "Failed")


@pytest.mark.parametrize(
    ("parameter", "chosen"), [("prod", "first"), ("test", "second"), ("LAB-7", "third"), ("other", "last")]
)
def test_a_branch_takes_the_first_choice_that_holds(runbooks: Runbooks, parameter: str, chosen: str) -> None:
    choices = [
        {"Variable": "{{ env }}", "StringEquals": "prod", "NextStep": "first"},
        {
            "And": [
                {"Variable": "{{ env }}", "StartsWith": "te"},
                {"Not": {"Variable": "{{ count }}", "NumericGreater": 5}},
                {"Or": [{"Variable": "{{ flag }}", "BooleanEquals": True}, {"Variable": "x", "Contains": "y"}]},
            ],
            "NextStep": "second",
        },
        {"Variable": "{{ env }}", "EqualsIgnoreCase": "lab-7", "NextStep": "third"},
    ]
    name = runbooks.make(
        {"name": "fork", "action": "aws:branch", "inputs": {"Choices": choices, "Default": "last"}},
        *(good(each, isEnd=True) for each in ("first", "second", "third", "last")),
        parameters={
            "env": {"type": "String"}, "count": {"type": "Integer", "default": 5},
            "flag": {"type": "Boolean", "default": True},
        },
        **VARIABLES,
    )  # fmt: skip
    got = runbooks.run(name, {"env": parameter})
    expected = dict.fromkeys(("first", "second", "third", "last"), "Pending") | {"fork": "Success", chosen: "Success"}
    assert statuses(got) == expected


def test_a_branch_without_a_way_is_the_end(runbooks: Runbooks) -> None:
    choices = [{"Variable": "{{ global:REGION }}", "StringEquals": "nowhere", "NextStep": "never"}]
    name = runbooks.make(
        {"name": "fork", "action": "aws:branch", "inputs": {"Choices": choices}}, good("never"), **VARIABLES
    )
    got = runbooks.run(name)
    assert (got["AutomationExecutionStatus"], statuses(got)["never"]) == ("Success", "Pending")


def test_values_go_from_step_to_step(runbooks: Runbooks, ssm: Any) -> None:
    ssm.put_parameter(Name=f"/{runbooks.server.clock.millis()}", Value="x", Type="String")
    path = f"/flow/{runbooks.server.clock.millis()}"
    ssm.put_parameter(Name=path, Value="blue", Type="String")
    name = runbooks.make(
        {
            "name": "read", "action": "aws:executeAwsApi",
            "inputs": {"Service": "ssm", "Api": "get_parameter", "Name": "{{ path }}"},
            "outputs": [
                {"Name": "value", "Selector": "$.Parameter.Value", "Type": "String"},
                {"Name": "version", "Selector": "$.Parameter.Version", "Type": "Integer"},
            ],
        },
        {
            "name": "write", "action": "aws:executeAwsApi",
            "inputs": {
                "Service": "ssm", "Api": "PutParameter", "Name": "{{ path }}", "Type": "String", "Overwrite": True,
                "Value": "{{ read.value }}-{{ read.version }} in {{ global:ACCOUNT_ID }}",
            },
        },
        {
            "name": "check", "action": "aws:assertAwsResourceProperty",
            "inputs": {
                "Service": "ssm", "Api": "GetParameter", "Name": "{{ path }}",
                "PropertySelector": "$.Parameter.Version", "DesiredValues": ["2"],
            },
        },
        parameters={"path": {"type": "String"}}, outputs=["read.value", "read.version"],
    )  # fmt: skip
    got = runbooks.run(name, {"path": path})
    assert got["AutomationExecutionStatus"] == "Success", got
    account = runbooks.server.application.root.account_id
    assert ssm.get_parameter(Name=path)["Parameter"]["Value"] == f"blue-1 in {account}"
    assert got["Outputs"] == {"read.value": ["blue"], "read.version": ["1"]}
    assert step(got, "read")["Inputs"]["Name"] == f'"{path}"'


def test_a_loop_over_values(runbooks: Runbooks) -> None:
    name = runbooks.make(
        {
            "name": "each", "action": "aws:loop",
            "inputs": {
                "Iterators": ["a", "b", "c"], "IteratorDataType": "String",
                "Steps": [{
                    "name": "keep", "action": "aws:updateVariable",
                    "inputs": {"Name": "variable:x", "Value": "{{ variable:x }}{{ loop.CurrentIteratorValue }}"},
                }],
            },
        },
        outputs=["variable:x", "each.AggregatedResults"], **VARIABLES,
    )  # fmt: skip
    got = runbooks.run(name)
    assert got["AutomationExecutionStatus"] == "Success", got
    assert got["Outputs"]["variable:x"] == ["0abc"]
    assert got["Outputs"]["each.AggregatedResults"] == ['{"keep":[{},{},{}]}']
    inner = [each["ParentStepDetails"] for each in got["StepExecutions"] if each["StepName"] == "keep"]
    assert [(each["Iteration"], each["IteratorValue"]) for each in inner] == [(1, "a"), (2, "b"), (3, "c")]
    assert {each["StepName"] for each in inner} == {"each"}
    found = runbooks.ssm.describe_automation_step_executions(
        AutomationExecutionId=got["AutomationExecutionId"], Filters=[{"Key": "ParentStepIteration", "Values": ["2"]}]
    )["StepExecutions"]
    assert [each["ParentStepDetails"]["IteratorValue"] for each in found] == ["b"]


def test_a_loop_while_a_condition_holds(runbooks: Runbooks) -> None:
    def loop(most: int) -> str:
        return runbooks.make(
            {
                "name": "grow", "action": "aws:loop",
                "inputs": {
                    "LoopCondition": {"Not": {"Variable": "{{ variable:x }}", "StringEquals": "0111"}},
                    "MaxIterations": most,
                    "Steps": [{
                        "name": "add", "action": "aws:updateVariable",
                        "inputs": {"Name": "variable:x", "Value": "{{ variable:x }}1"},
                    }],
                },
            },
            **VARIABLES,
        )  # fmt: skip

    assert runbooks.run(loop(10))["Variables"] == {"x": ["0111"]}
    assert runbooks.run(loop(2))["Variables"] == {"x": ["011"]}


def test_a_step_is_tried_again(runbooks: Runbooks, ssm: Any) -> None:
    path = f"/later/{runbooks.server.clock.millis()}"
    name = runbooks.make(
        {
            "name": "read", "action": "aws:executeAwsApi", "maxAttempts": 3,
            "inputs": {"Service": "ssm", "Api": "GetParameter", "Name": path},
        }
    )  # fmt: skip
    execution_id = runbooks.start(name)
    runbooks.until(lambda: "ParameterNotFound" in step(runbooks.get(execution_id), "read").get("FailureMessage", ""))
    ssm.put_parameter(Name=path, Value="x", Type="String")
    assert runbooks.ended(execution_id)["AutomationExecutionStatus"] == "Success"
    failed = runbooks.run(runbooks.make(bad("read", maxAttempts=3)))
    assert failed["AutomationExecutionStatus"] == "Failed"


def test_waiting_for_a_property_and_its_end(runbooks: Runbooks, ssm: Any, server: Server) -> None:
    path = f"/wait/{runbooks.server.clock.millis()}"
    ssm.put_parameter(Name=path, Value="no", Type="String")

    def waiting(**members: Any) -> str:
        inputs = {
            "Service": "ssm", "Api": "GetParameter", "Name": path, "PropertySelector": "$.Parameter.Value",
            "DesiredValues": ["yes", "sure"],
        }  # fmt: skip
        made = {"name": "wait", "action": "aws:waitForAwsResourceProperty", "inputs": inputs, **members}
        return runbooks.start(runbooks.make(made))

    late, good_ = waiting(timeoutSeconds=600), waiting()
    for each in (late, good_):
        runbooks.comes_to(each, "InProgress")
    server.advance(minutes=11)
    got = runbooks.comes_to(late, "TimedOut")
    assert statuses(got) == {"wait": "TimedOut"}
    ssm.put_parameter(Name=path, Value="yes", Type="String", Overwrite=True)
    assert runbooks.ended(good_)["AutomationExecutionStatus"] == "Success"
