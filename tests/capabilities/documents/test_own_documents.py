"""Documents of an account's own: made, changed, listed and removed by boto3."""

import hashlib
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import yaml
from botocore.exceptions import ClientError

from tests.conftest import Aws

CONTENT = """
schemaVersion: "2.2"
description: Say hello.
parameters:
  Who:
    type: String
    default: world
    allowedPattern: "^[a-z]+$"
  Lines: {type: StringList, default: [a, b]}
mainSteps:
  - action: aws:runShellScript
    name: hello
    inputs:
      runCommand:
        - echo hello {{ Who }}
"""


def steps(*lines: str, **more: Any) -> str:
    step = {"action": "aws:runShellScript", "name": "run", "inputs": {"runCommand": list(lines)}}
    return json.dumps({"schemaVersion": "2.2", "mainSteps": [step]} | more)


def refused(call: Callable[[], Any]) -> tuple[str, str]:
    with pytest.raises(ClientError) as error:
        call()
    found = error.value.response["Error"]
    return found["Code"], found["Message"]


@pytest.fixture
def ssm(aws: Aws) -> Any:
    return aws("ssm")


def test_a_document_is_made_described_and_read(ssm: Any) -> None:
    made = ssm.create_document(
        Name="Hello", Content=CONTENT, DocumentFormat="YAML", DisplayName="Hello all", VersionName="one",
        TargetType="/AWS::EC2::Instance", Tags=[{"Key": "team", "Value": "x"}],
    )["DocumentDescription"]  # fmt: skip
    assert (made["Status"], made["DocumentVersion"], made["HashType"]) == ("Creating", "1", "Sha256")
    assert made["Hash"] == hashlib.sha256(CONTENT.encode()).hexdigest()
    assert made["PlatformTypes"] == ["Linux", "MacOS"]
    assert made["Tags"] == [{"Key": "team", "Value": "x"}]
    shown = ssm.describe_document(Name="Hello")["Document"]
    assert shown["Status"] == "Active"
    assert {**shown, "Status": "Creating"} == made
    assert shown["Description"] == "Say hello."
    assert shown["Parameters"] == [
        {"Name": "Who", "Type": "String", "DefaultValue": "world"},
        {"Name": "Lines", "Type": "StringList", "DefaultValue": '["a","b"]'},
    ]
    got = ssm.get_document(Name="Hello")
    assert (got["DocumentFormat"], got["VersionName"], got["DisplayName"]) == ("JSON", "one", "Hello all")
    content = json.loads(got["Content"])
    assert content == yaml.safe_load(CONTENT)
    assert list(content) == ["schemaVersion", "description", "parameters", "mainSteps"]
    assert ssm.get_document(Name="Hello", DocumentFormat="YAML")["Content"] == CONTENT
    arn = f"arn:aws:ssm:eu-west-1:{shown['Owner']}:document/Hello"
    assert ssm.get_document(Name=arn)["Content"] == got["Content"]


def test_a_name_is_taken_once_and_some_are_kept(ssm: Any) -> None:
    ssm.create_document(Name="Hello", Content=steps("true"))
    again = refused(lambda: ssm.create_document(Name="Hello", Content=steps("false")))
    assert again == ("DocumentAlreadyExists", "The specified document already exists.")
    for name in ("AWS-Mine", "awsmine", "Amazon-x", "AMZN-x", "AWSSupport-x"):
        assert refused(lambda name=name: ssm.create_document(Name=name, Content=steps("x")))[0] == "ValidationException"


def test_versions_and_the_default_one(ssm: Any) -> None:
    first, second, third = steps("one"), steps("two"), steps("three")
    ssm.create_document(Name="Hello", Content=first, VersionName="v1")
    assert refused(lambda: ssm.update_document(Name="Hello", Content=first, DocumentVersion="$LATEST")) == (
        "DuplicateDocumentContent",
        "The content of the association document matches another document. "
        "Change the content of the document and try again.",
    )
    again = refused(lambda: ssm.update_document(Name="Hello", Content=second, VersionName="v1"))
    assert again == ("DuplicateDocumentVersionName", "The specified version name is a duplicate.")
    made = ssm.update_document(Name="Hello", Content=second, DocumentVersion="$LATEST")["DocumentDescription"]
    assert (made["Status"], made["DocumentVersion"]) == ("Updating", "2")
    assert (made["LatestVersion"], made["DefaultVersion"]) == ("2", "1")
    assert ssm.get_document(Name="Hello")["Content"] == first
    assert ssm.get_document(Name="Hello", DocumentVersion="$LATEST")["Content"] == second
    for version in ("1", "$DEFAULT", "9", None):
        asked = {"DocumentVersion": version} if version else {}
        answer = refused(lambda asked=asked: ssm.update_document(Name="Hello", Content=third, **asked))
        assert answer == ("InvalidDocumentVersion", "The document version is not valid or does not exist.")
    changed = ssm.update_document_default_version(Name="Hello", DocumentVersion="2")["Description"]
    assert changed == {"Name": "Hello", "DefaultVersion": "2"}
    assert ssm.get_document(Name="Hello")["Content"] == second
    assert ssm.get_document(Name="Hello", VersionName="v1")["Content"] == first
    for wrong in ({"DocumentVersion": "7"}, {"VersionName": "no"}, {"VersionName": "v1", "DocumentVersion": "2"}):
        assert refused(lambda wrong=wrong: ssm.get_document(Name="Hello", **wrong))[0] == "InvalidDocument"
    listed = ssm.list_document_versions(Name="Hello")["DocumentVersions"]
    assert [(each["DocumentVersion"], each["IsDefaultVersion"]) for each in listed] == [("2", True), ("1", False)]
    pages = ssm.get_paginator("list_document_versions").paginate(Name="Hello", PaginationConfig={"PageSize": 1})
    assert [each["DocumentVersion"] for page in pages for each in page["DocumentVersions"]] == ["2", "1"]


def test_versions_made_at_the_same_time_have_numbers_of_their_own(ssm: Any) -> None:
    ssm.create_document(Name="Hello", Content=steps("0"))

    def change(word: int) -> str:
        made = ssm.update_document(Name="Hello", Content=steps(str(word)), DocumentVersion="$LATEST")
        number: str = made["DocumentDescription"]["DocumentVersion"]
        return number

    with ThreadPoolExecutor(6) as threads:
        made = sorted(threads.map(change, range(1, 7)))
    assert made == ["2", "3", "4", "5", "6", "7"]
    assert len(ssm.list_document_versions(Name="Hello")["DocumentVersions"]) == 7


def test_deleting_versions_and_documents(ssm: Any) -> None:
    ssm.create_document(Name="Hello", Content=steps("1"), Tags=[{"Key": "a", "Value": "b"}])
    ssm.update_document(Name="Hello", Content=steps("2"), DocumentVersion="$LATEST")
    ssm.update_document(Name="Hello", Content=steps("3"), DocumentVersion="$LATEST")
    assert refused(lambda: ssm.delete_document(Name="Hello", DocumentVersion="1")) == (
        "InvalidDocumentOperation", "Default version of the document can't be deleted.",
    )  # fmt: skip
    assert refused(lambda: ssm.delete_document(Name="Hello", DocumentVersion="8"))[0] == "InvalidDocumentVersion"
    ssm.delete_document(Name="Hello", DocumentVersion="3")
    assert ssm.describe_document(Name="Hello")["Document"]["LatestVersion"] == "2"
    made = ssm.update_document(Name="Hello", Content=steps("4"), DocumentVersion="2")["DocumentDescription"]
    assert made["DocumentVersion"] == "4"
    ssm.delete_document(Name="Hello")
    for call in (ssm.describe_document, ssm.get_document, ssm.delete_document, ssm.list_document_versions):
        assert refused(lambda call=call: call(Name="Hello")) == (
            "InvalidDocument", "The specified document does not exist.",
        )  # fmt: skip
    made = ssm.create_document(Name="Hello", Content=steps("5"))["DocumentDescription"]
    assert (made["DocumentVersion"], made["Tags"]) == ("1", [])


def test_tags_hang_on_documents_and_lists_find_them(ssm: Any) -> None:
    for name in ("Hello", "Other"):
        ssm.create_document(Name=name, Content=steps("true"))
    ssm.add_tags_to_resource(ResourceType="Document", ResourceId="Hello", Tags=[{"Key": "team", "Value": "x"}])
    assert ssm.list_tags_for_resource(ResourceType="Document", ResourceId="Hello")["TagList"] == [
        {"Key": "team", "Value": "x"}
    ]
    found = ssm.list_documents(Filters=[{"Key": "tag:team", "Values": ["x"]}])["DocumentIdentifiers"]
    assert [(each["Name"], each["Tags"]) for each in found] == [("Hello", [{"Key": "team", "Value": "x"}])]
    assert ssm.list_documents(Filters=[{"Key": "tag:team", "Values": ["y"]}])["DocumentIdentifiers"] == []
    missing = refused(
        lambda: ssm.add_tags_to_resource(ResourceType="Document", ResourceId="No", Tags=[{"Key": "a", "Value": "b"}])
    )
    assert missing[0] == "InvalidResourceId"


def test_own_documents_are_listed_among_the_provided_ones(ssm: Any) -> None:
    runbook = {"schemaVersion": "0.3", "mainSteps": [{"name": "a", "action": "aws:pause"}]}
    ssm.create_document(Name="ZZ-Last", Content=json.dumps(runbook), DocumentType="Automation")
    ssm.create_document(Name="AA-First", Content=steps("true"), TargetType="/AWS::EC2::Instance")

    def names(*filters: tuple[str, str]) -> list[str]:
        asked = [{"Key": key, "Values": [value]} for key, value in filters]
        pages = ssm.get_paginator("list_documents").paginate(Filters=asked, PaginationConfig={"PageSize": 3})
        return [each["Name"] for page in pages for each in page["DocumentIdentifiers"]]

    everything = names()
    assert everything == sorted(everything)
    assert (everything[0], everything[-1]) == ("AA-First", "ZZ-Last")
    assert names(("Owner", "Self")) == ["AA-First", "ZZ-Last"]
    assert names(("DocumentType", "Automation"), ("Owner", "Self")) == ["ZZ-Last"]
    assert names(("TargetType", "/AWS::EC2::Instance")) == ["AA-First"]
    assert "AWS-RunShellScript" in names(("Owner", "Amazon"), ("Name", "AWS-Run"))
    assert "AA-First" not in names(("Owner", "Amazon"))
    legacy = ssm.list_documents(DocumentFilterList=[{"key": "Name", "value": "ZZ"}])["DocumentIdentifiers"]
    assert [each["Name"] for each in legacy] == ["ZZ-Last"]


def test_another_region_has_documents_of_its_own(ssm: Any, aws: Aws) -> None:
    ssm.create_document(Name="Hello", Content=steps("true"))
    there = aws("ssm", region="us-east-1")
    assert refused(lambda: there.get_document(Name="Hello"))[0] == "InvalidDocument"
    account = ssm.describe_document(Name="Hello")["Document"]["Owner"]
    arn = f"arn:aws:ssm:eu-west-1:{account}:document/Hello"
    assert refused(lambda: there.get_document(Name=arn))[0] == "InvalidDocument"


@pytest.mark.parametrize(
    ("content", "code", "message"),
    [
        ("{", "InvalidDocumentContent", "JSON not well-formed. "),
        ('{"schemaVersion": "2.2", "schemaVersion": "2.2"}', "InvalidDocumentContent", "The key schemaVersion is"),
        ("[]", "InvalidDocumentContent", "the document: it must be an object."),
        ('{"schemaVersion": "7"}', "InvalidDocumentSchemaVersion", "The version of the document schema"),
        (steps("x" * 70_000), "MaxDocumentSizeExceeded", "64 KB"),
        (steps("x", maniSteps=[]), "InvalidDocumentContent", "maniSteps: it is not known here"),
    ],
)
def test_what_is_no_document(ssm: Any, content: str, code: str, message: str) -> None:
    found = refused(lambda: ssm.create_document(Name="Hello", Content=content))
    assert found[0] == code
    assert message in found[1]
