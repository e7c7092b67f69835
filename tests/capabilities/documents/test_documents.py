"""Provided documents as clients see them, and the rules for documents and parameter values."""

import hashlib
import json
from typing import Any

import pytest
import yaml
from botocore.exceptions import ClientError

from pilothouse.capabilities.documents import Document, InvalidParameters, check_values, references, to_node
from tests.conftest import Aws


def document(content: dict[str, Any]) -> Document:
    text = json.dumps({"schemaVersion": "2.2"} | content)
    return Document(
        name="Mine", owner="1", kind="Command", version="1", latest_version="1", default_version="1", format="JSON",
        text=text, content=json.loads(text), created_at=1,
    )  # fmt: skip


def of_parameters(**definitions: dict[str, Any]) -> Document:
    return document({"parameters": definitions, "mainSteps": []})


def shell(name: str = "run", platform: str | None = None, **inputs: Any) -> dict[str, Any]:
    step: dict[str, Any] = {"action": "aws:runShellScript", "name": name, "inputs": {"runCommand": ["true"]} | inputs}
    if platform:
        step["precondition"] = {"StringEquals": ["platformType", platform]}
    return step


def code(error: Any) -> str:
    found: str = error.value.response["Error"]["Code"]
    return found


def test_a_provided_document_is_read_and_described(aws: Aws) -> None:
    ssm = aws("ssm")
    got = ssm.get_document(Name="AWS-RunShellScript")
    content = json.loads(got["Content"])
    assert (got["DocumentFormat"], got["DocumentType"], got["DocumentVersion"]) == ("JSON", "Command", "1")
    assert list(content["runtimeConfig"]) == ["aws:runShellScript"]
    assert set(content["parameters"]) == {"commands", "workingDirectory", "executionTimeout"}
    assert yaml.safe_load(ssm.get_document(Name="AWS-RunShellScript", DocumentFormat="YAML")["Content"]) == content
    described = ssm.describe_document(Name="arn:aws:ssm:eu-west-1::document/AWS-RunShellScript")["Document"]
    assert described["Hash"] == hashlib.sha256(got["Content"].encode()).hexdigest()
    assert described["PlatformTypes"] == ["Linux", "MacOS"]
    assert [each["Name"] for each in described["Parameters"]] == ["commands", "workingDirectory", "executionTimeout"]
    assert described["Parameters"][2]["DefaultValue"] == "3600"


@pytest.mark.parametrize("asked", [{"Name": "No-Such"}, {"Name": "AWS-RunShellScript", "DocumentVersion": "2"}])
def test_what_does_not_exist(aws: Aws, asked: dict[str, str]) -> None:
    for call in (aws("ssm").get_document, aws("ssm").describe_document):
        with pytest.raises(ClientError) as error:
            call(**asked)
        assert code(error) == "InvalidDocument"


def test_lists_are_filtered_and_paged_by_name(aws: Aws) -> None:
    ssm = aws("ssm")

    def names(*filters: tuple[str, str]) -> list[str]:
        found = ssm.list_documents(Filters=[{"Key": key, "Values": [value]} for key, value in filters])
        return [each["Name"] for each in found["DocumentIdentifiers"]]

    everything = names()
    assert "AWS-RunShellScript" in names(("Owner", "Amazon"), ("Name", "AWS-Run"))
    assert everything == sorted(everything)
    assert names(("Owner", "Self")) == []
    assert "AWS-StopEC2Instance" in names(("DocumentType", "Automation"))
    assert "AWS-PublishSNSNotification" in names(("DocumentType", "Automation"))
    assert not set(names(("DocumentType", "Automation"))) & set(names(("DocumentType", "Command")))
    assert "AWS-RunShellScript" not in names(("PlatformTypes", "Windows"))
    pages = ssm.get_paginator("list_documents").paginate(PaginationConfig={"PageSize": 1})
    assert [each["Name"] for page in pages for each in page["DocumentIdentifiers"]] == everything
    with pytest.raises(ClientError) as error:
        ssm.list_documents(Filters=[{"Key": "Owner", "Values": ["Self", "Amazon"]}])
    assert code(error) == "ValidationException"
    with pytest.raises(ClientError) as error:
        ssm.list_documents(Filters=[{"Key": "Colour", "Values": ["red"]}])
    assert code(error) == "InvalidFilterKey"
    with pytest.raises(ClientError) as error:
        ssm.list_documents(Filters=[{"Values": ["red"]}])
    assert code(error) == "InvalidFilterKey"


NAME = {"type": "String", "allowedPattern": "^[a-z]+$", "minChars": 2, "maxChars": 4}
LINES = {"type": "StringList", "minItems": 1, "maxItems": 2, "default": ["x"]}


@pytest.mark.parametrize(
    ("definition", "given"),
    [
        (NAME, ["abc"]),
        (NAME, ["{{ssm:a-very-long-name}}"]),
        (LINES, ["a", "b"]),
        ({"type": "Integer"}, ["-12"]),
        ({"type": "Boolean"}, ["true"]),
        ({"type": "String", "allowedValues": ["on", True, 5]}, ["5"]),
        ({"type": "String", "allowedPattern": "b"}, ["abc"]),
    ],
)
def test_values_that_fit(definition: dict[str, Any], given: list[str]) -> None:
    check_values(of_parameters(value=definition), {"value": given})


@pytest.mark.parametrize(
    ("definition", "given"),
    [
        (NAME, ["ABC"]),
        (NAME, ["a"]),
        (NAME, ["abcde"]),
        (NAME, ["ab", "cd"]),
        (NAME, []),
        (LINES, []),
        (LINES, ["a", "b", "c"]),
        ({"type": "Integer"}, ["1.5"]),
        ({"type": "Boolean"}, ["yes"]),
        ({"type": "String", "allowedValues": ["on", "off"]}, ["ON"]),
    ],
)
def test_values_that_do_not_fit(definition: dict[str, Any], given: list[str]) -> None:
    with pytest.raises(InvalidParameters):
        check_values(of_parameters(value=definition), {"value": given})


def test_missing_and_unknown_names() -> None:
    mine = of_parameters(needed={"type": "String"}, free={"type": "String", "default": ""})
    check_values(mine, {"needed": ["x"]})
    for values in ({}, {"free": ["x"]}, {"needed": ["x"], "other": ["y"]}):
        with pytest.raises(InvalidParameters):
            check_values(mine, values)


def test_the_form_of_values_on_the_way_to_a_node() -> None:
    mine = of_parameters(
        text={"type": "String"}, lines={"type": "StringList"}, map={"type": "StringMap"}, maps={"type": "MapList"},
        left={"type": "String", "default": "x"},
    )  # fmt: skip
    values = {"text": ["1"], "lines": ["a"], "map": ['{"k": "v"}'], "maps": ['[{"k": "v"}]']}
    assert to_node(mine, values) == {"text": "1", "lines": ["a"], "map": '{"k": "v"}', "maps": [{"k": "v"}]}


def test_references_are_found_everywhere() -> None:
    mine = document({
        "parameters": {"a": {"type": "String", "default": "{{ssm:from-default}}"}},
        "mainSteps": [shell(workingDirectory="{{ ssm:/from/text:3 }}")],
    })  # fmt: skip
    assert references(mine, {"a": ["x{{ssm:given}}"]}) == {"from-default", "/from/text:3", "given"}


@pytest.mark.parametrize(
    ("steps", "seconds"),
    [
        ([shell()], 3600),
        ([shell(timeoutSeconds=60), shell("b", timeoutSeconds="30")], 90),
        ([shell(timeoutSeconds=4)], 3600),
        ([shell(timeoutSeconds=172_801)], 3600),
        ([shell(timeoutSeconds="soon")], 3600),
        ([shell(timeoutSeconds="{{ssm:t}}")], 3600),
        ([shell(timeoutSeconds="{{ wait }}")], 120),
        (
            [
                shell(timeoutSeconds=10),
                shell("w", "Windows", timeoutSeconds=50),
                shell("l", "linux", timeoutSeconds=20),
            ],
            60,
        ),
    ],
)
def test_how_long_a_document_may_run(steps: list[dict[str, Any]], seconds: int) -> None:
    mine = document({"parameters": {"wait": {"type": "String", "default": "9"}}, "mainSteps": steps})
    assert mine.execution_seconds({"wait": ["120"]}) == seconds


def test_platforms_follow_from_the_steps() -> None:
    assert document({"mainSteps": [shell()]}).platform_types == ("Linux", "MacOS")
    assert document({"mainSteps": [shell(platform="Linux")]}).platform_types == ("Linux",)
    only_windows = document({"mainSteps": [{"action": "aws:psModule", "name": "a", "inputs": {}}]})
    assert only_windows.platform_types == ("Windows",)
    assert not only_windows.runs_on("Linux")
    assert only_windows.runs_on(None)
