"""What policies say of documents: by ARN, type and tags; who may share; what nodes may read."""

import json
from typing import Any

import pytest

from tests.capabilities.commands.conftest import REGION
from tests.capabilities.documents.test_own_documents import steps
from tests.conftest import Aws
from tests.identity.test_resource_tags import ada, denied, statement

__all__ = ["ada"]

SESSION = json.dumps({"schemaVersion": "1.0", "sessionType": "Standard_Stream", "inputs": {}})


def test_documents_by_their_names(aws: Aws, ada: Any) -> None:
    may, client = ada
    root, hers = aws("ssm", region=REGION), client("ssm")
    for name in ("Team-One", "Other"):
        root.create_document(Name=name, Content=steps("true"))
    account = root.describe_document(Name="Other")["Document"]["Owner"]
    may(statement("Allow", "ssm:*Document*", f"arn:aws:ssm:{REGION}:{account}:document/Team-*"),
        statement("Allow", "ssm:SendCommand", f"arn:aws:ssm:{REGION}::document/AWS-RunShellScript"),
        statement("Allow", "ssm:SendCommand", f"arn:aws:ssm:{REGION}:{account}:managed-instance/*"))  # fmt: skip
    assert not denied(lambda: hers.get_document(Name="Team-One"))
    assert not denied(lambda: hers.create_document(Name="Team-Two", Content=steps("true")))
    assert not denied(lambda: hers.update_document(Name="Team-Two", Content=steps("2"), DocumentVersion="$LATEST"))
    assert not denied(lambda: hers.delete_document(Name="Team-Two"))
    for call in (hers.get_document, hers.describe_document, hers.delete_document, hers.list_document_versions):
        assert denied(lambda call=call: call(Name="Other"))
    assert denied(lambda: hers.get_document(Name=f"arn:aws:ssm:{REGION}:{account}:document/Other"))
    assert denied(lambda: hers.create_document(Name="Mine", Content=steps("true")))
    assert denied(lambda: hers.modify_document_permission(
        Name="Other", PermissionType="Share", AccountIdsToAdd=["123456789012"]
    ))  # fmt: skip
    targets = [{"Key": "tag:a", "Values": ["b"]}]
    given = {"commands": ["true"]}
    assert not denied(lambda: hers.send_command(DocumentName="AWS-RunShellScript", Targets=targets, Parameters=given))
    assert denied(lambda: hers.send_command(DocumentName="AWS-RunPowerShellScript", Targets=targets, Parameters=given))
    assert denied(lambda: hers.send_command(DocumentName="Other", Targets=targets))


def test_documents_by_their_type_and_tags(aws: Aws, ada: Any) -> None:
    may, client = ada
    root, hers = aws("ssm", region=REGION), client("ssm")
    root.create_document(Name="Run", Content=steps("true"), Tags=[{"Key": "env", "Value": "dev"}])
    root.create_document(Name="Shell", Content=SESSION, DocumentType="Session")
    may(statement("Allow", "ssm:*", ssm_DocumentType="Command"))
    assert not denied(lambda: hers.get_document(Name="Run"))
    assert not denied(lambda: hers.get_document(Name="AWS-RunShellScript"))
    assert denied(lambda: hers.get_document(Name="Shell"))
    assert not denied(lambda: hers.create_document(Name="New", Content=steps("true")))
    assert denied(lambda: hers.create_document(Name="New-Shell", Content=SESSION, DocumentType="Session"))
    nobody = [{"Key": "tag:env", "Values": ["dev"]}]
    assert not denied(lambda: hers.send_command(DocumentName="Run", Targets=nobody))
    assert denied(lambda: hers.send_command(DocumentName="AWS-GatherSoftwareInventory", Targets=nobody))
    may(statement("Allow", "ssm:*", ssm_resourceTag__env="dev"))
    assert not denied(lambda: hers.describe_document(Name="Run"))
    assert denied(lambda: hers.describe_document(Name="Shell"))
    may(statement("Allow", "ssm:CreateDocument", aws_RequestTag__env="dev"))
    assert denied(lambda: hers.create_document(Name="Untagged", Content=steps("true")))
    tags = [{"Key": "env", "Value": "dev"}]
    assert not denied(lambda: hers.create_document(Name="Tagged", Content=steps("true"), Tags=tags))


@pytest.mark.parametrize("name", ["SSM-SessionManagerRunShell"])
def test_preferences_of_sessions_are_the_accounts_own_to_policies(aws: Aws, ada: Any, name: str) -> None:
    may, client = ada
    root, hers = aws("ssm", region=REGION), client("ssm")
    account = aws("sts").get_caller_identity()["Account"]
    may(statement("Allow", "ssm:GetDocument", f"arn:aws:ssm:{REGION}:{account}:document/{name}"))
    assert not denied(lambda: hers.get_document(Name=name))
    assert root.get_document(Name=name)["DocumentType"] == "Session"
    mine = json.dumps({"schemaVersion": "1.0", "sessionType": "Standard_Stream",
                       "inputs": {"idleSessionTimeout": "5"}})  # fmt: skip
    assert root.describe_document(Name=name)["Document"]["Owner"] == "Amazon"
    made = root.create_document(Name=name, Content=mine, DocumentType="Session")["DocumentDescription"]
    assert made["Owner"] == account
    assert hers.get_document(Name=name)["Content"] == mine
    listed = root.list_documents(Filters=[{"Key": "Name", "Values": [name]}])["DocumentIdentifiers"]
    assert [each["Owner"] for each in listed] == [account]
    root.delete_document(Name=name)
    assert root.describe_document(Name=name)["Document"]["Owner"] == "Amazon"


def test_the_trail_tells_of_documents_and_not_what_is_in_them(aws: Aws) -> None:
    ssm = aws("ssm")
    ssm.create_document(Name="Tool", Content=steps("echo top-secret-word"), DisplayName="The tool")
    ssm.modify_document_permission(Name="Tool", PermissionType="Share", AccountIdsToAdd=["123456789012"])
    shared, made = aws("cloudtrail").lookup_events()["Events"]
    told = json.loads(made["CloudTrailEvent"])
    assert told["requestParameters"] == {
        "name": "Tool", "content": "HIDDEN_DUE_TO_SECURITY_REASONS", "displayName": "The tool",
    }  # fmt: skip
    assert [each["type"] for each in told["resources"]] == ["AWS::SSM::Document"]
    assert told["resources"][0]["ARN"].endswith(":document/Tool")
    assert told["responseElements"]["documentDescription"]["documentType"] == "Command"
    assert json.loads(shared["CloudTrailEvent"])["requestParameters"]["accountIdsToAdd"] == ["123456789012"]
    assert "top-secret-word" not in made["CloudTrailEvent"]
