"""Runbooks that could not be done are refused when they are made, with the line, the step and the reason."""

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.capabilities.automation.test_steps import good

from pilothouse.capabilities.automation.checking import problems

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
HEAD = {"schemaVersion": "0.3", "parameters": {"p": {"type": "String"}}, "variables": {"x": {"type": "String"}}}


def nap(name: str = "nap", **members: Any) -> dict[str, Any]:
    return {"name": name, "action": "aws:sleep", "inputs": {"Duration": "PT1S"}, **members}


def api(**inputs: Any) -> dict[str, Any]:
    return {
        "name": "get", "action": "aws:executeAwsApi", "inputs": {"Service": "ssm", "Api": "GetParameter", **inputs}
    }  # fmt: skip


WRONG = [
    ([nap(action="aws:slep")], "mainSteps[0].action", "did you mean aws:sleep"),
    ([nap(nextStep="away")], "mainSteps[0].nextStep", "there is no step named away"),
    ([nap(onFailure="step:away")], "mainSteps[0].onFailure", "there is no step named away"),
    ([nap(onFailure="Retry")], "mainSteps[0].onFailure", "it must be Abort, Continue or step:NAME"),
    ([good("a", onCancel="step:nap"), nap()], "mainSteps[0].onCancel", "it cannot go to aws:sleep"),
    ([nap(maxAttempts=0)], "mainSteps[0].maxAttempts", "a whole number from 1"),
    ([nap(timeoutSeconds="soon")], "mainSteps[0].timeoutSeconds", "a whole number from 1"),
    ([nap(isEnd="perhaps")], "mainSteps[0].isEnd", "it must be true or false"),
    ([nap(retries=1)], "mainSteps[0].retries", "no such property"),
    ([nap(inputs={"Duration": "tomorrow"})], "mainSteps[0].inputs.Duration", "ISO 8601"),
    ([nap(inputs={"Duration": "PT604800S"})], "mainSteps[0].inputs.Duration", "604799 seconds at most"),
    ([nap(inputs={"Length": "PT1S"})], "mainSteps[0].inputs.Length", "no such input"),
    ([api(Name="{{ ssm:secret }}")], "mainSteps[0].inputs.Name", "in defaults of parameters only"),
    ([api(Name="{{ variable:y }}")], "mainSteps[0].inputs.Name", "no variable named y"),
    ([api(Name="{{ global:WEATHER }}")], "mainSteps[0].inputs.Name", "nothing named global:WEATHER"),
    ([api(Name="{{ other.Output }}")], "mainSteps[0].inputs.Name", "there is no step named other"),
    ([api(Name="{{ {{ p }} }}")], "mainSteps[0].inputs.Name", "cannot stand within another"),
    ([api(Name={"{{ p }}": "v"})], "mainSteps[0].inputs.Name.{{ p }}", "in values only"),
    ([api(), good("a", inputs={"Name": "variable:x", "Value": "{{ get.More }}"})], "mainSteps[1].inputs.Value",
     "declares no output named More"),
    ([nap(), good("a", inputs={"Name": "variable:y", "Value": "1"})], "mainSteps[1].inputs.Name",
     "no variable named y"),
    ([api() | {"outputs": [{"Name": "o", "Selector": "Parameter"}]}], "mainSteps[0].outputs[0].Selector",
     "begins with $"),
    ([api() | {"outputs": [{"Name": "o", "Selector": "$.a", "Type": "Text"}]}], "mainSteps[0].outputs[0].Type",
     "it must be one of"),
    ([nap(outputs=[{"Name": "o", "Selector": "$.a"}])], "mainSteps[0].outputs", "declares none"),
    ([{"name": "b", "action": "aws:branch", "inputs": {"Choices": [
        {"Variable": "{{ p }}", "StringEqual": "x", "NextStep": "b"}]}}], "mainSteps[0].inputs.Choices[0].StringEqual",
     "no such operator"),
    ([{"name": "b", "action": "aws:branch", "inputs": {"Choices": [
        {"Variable": "{{ p }}", "StringEquals": "x", "NextStep": "c"}]}}], "mainSteps[0].inputs.Choices[0].NextStep",
     "there is no step named c"),
    ([{"name": "l", "action": "aws:loop", "inputs": {"Iterators": ["a"], "IteratorDataType": "String", "Steps": [
        {"name": "hold", "action": "aws:pause"}]}}], "mainSteps[0].inputs.Steps[0].action", "cannot stand in a loop"),
    ([nap(inputs={"Duration": "{{ loop.CurrentIteration }}"})], "mainSteps[0].inputs.Duration", "within loops only"),
    ([{"name": "a", "action": "aws:approve", "inputs": {"Approvers": ["x"], "MinRequiredApprovals": 2}}],
     "mainSteps[0].inputs.MinRequiredApprovals", "not be more than"),
    ([{"name": "c", "action": "aws:runCommand", "inputs": {"DocumentName": "d"}}], "mainSteps[0].inputs",
     "either InstanceIds or Targets"),
]  # fmt: skip


@pytest.mark.parametrize(("steps", "place", "reason"), WRONG)
def test_what_is_wrong_has_a_place_and_a_reason(steps: list[dict[str, Any]], place: str, reason: str) -> None:
    found = list(problems({**HEAD, "mainSteps": steps}))
    assert place in [each.place for each in found], found
    assert reason in next(each.reason for each in found if each.place == place)
    assert all(each.step for each in found)


YAML = """\
schemaVersion: "0.3"
mainSteps:
  - name: first
    action: aws:sleep
    inputs:
      Duration: PT1S
  - name: second
    action: aws:sleep
    nextStep: third
    inputs:
      Duration: PT1S
"""


def test_a_refusal_names_line_step_and_reason(ssm: Any) -> None:
    with pytest.raises(ClientError) as error:
        ssm.create_document(Name="wrong", Content=YAML, DocumentType="Automation", DocumentFormat="YAML")
    told = error.value.response["Error"]
    assert told["Code"] == "InvalidDocumentContent"
    assert "Line 9, step second: mainSteps[1].nextStep: there is no step named third." in told["Message"]
    body = json.dumps({**HEAD, "mainSteps": [nap(), {"name": "x"}]}, indent=1)
    with pytest.raises(ClientError) as error:
        ssm.create_document(Name="wrong", Content=body, DocumentType="Automation", DocumentFormat="JSON")
    line = body[: body.index('"name": "x"')].count("\n")  # of the brace before it
    assert f"Line {line}: mainSteps[1].action" in error.value.response["Error"]["Message"]
