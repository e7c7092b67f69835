"""`pilothouse runbook approve`, `reject` and `show` against a real server, as people who are named and who are not."""

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.acceptance.installation import BIN, Installation, eventually, installation

RIGHTS = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "ssm:*", "Resource": "*"}]}
RUNBOOK = {
    "schemaVersion": "0.3",
    "mainSteps": [
        {"name": "ask", "action": "aws:approve",
         "inputs": {"Approvers": ["ada", "bob"], "MinRequiredApprovals": 2, "Message": "Go?"}},
        {"name": "rest", "action": "aws:sleep", "inputs": {"Duration": "PT0S"}},
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with installation(tmp_path_factory.mktemp("people")) as made:
        made.boto("ssm").create_document(Name="asks", Content=json.dumps(RUNBOOK), DocumentType="Automation")
        yield made


@pytest.fixture(scope="module")
def keys(house: Installation) -> dict[str, dict[str, str]]:
    """The environment of each person."""
    iam, found = house.boto("iam"), {}
    for name in ("ada", "bob", "eve"):
        iam.create_user(UserName=name)
        iam.put_user_policy(UserName=name, PolicyName="runbooks", PolicyDocument=json.dumps(RIGHTS))
        key = iam.create_access_key(UserName=name)["AccessKey"]
        found[name] = house.known() | {
            "AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"],
            "COLUMNS": "200", "TERM": "dumb",
        }  # fmt: skip
    return found


def runbook(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BIN / "pilothouse", "runbook", *words],
        env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def started(house: Installation) -> str:
    """An execution that waits for approvals."""
    ssm = house.boto("ssm")
    execution_id: str = ssm.start_automation_execution(DocumentName="asks")["AutomationExecutionId"]
    comes_to(ssm, execution_id, "Waiting")
    return execution_id


def comes_to(ssm: Any, execution_id: str, status: str) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        found: dict[str, Any] = ssm.get_automation_execution(AutomationExecutionId=execution_id)["AutomationExecution"]
        return found if found["AutomationExecutionStatus"] == status else None

    return eventually(look, within=30, what=status) or {}


def test_two_approve_and_a_stranger_may_not(house: Installation, keys: dict[str, dict[str, str]]) -> None:
    execution_id = started(house)
    stranger = runbook(keys["eve"], "approve", execution_id)
    assert (stranger.returncode, stranger.stdout) == (1, "")
    assert "is not one of the approvers of the step ask" in stranger.stderr
    assert runbook(keys["ada"], "approve", execution_id, "--comment", "fine by me").stdout == "approved\n"
    assert "has decided already" in runbook(keys["ada"], "approve", execution_id).stderr
    shown = runbook(keys["eve"], "show", execution_id)
    assert (shown.returncode, "Waiting" in shown.stdout) == (0, True)
    assert runbook(keys["bob"], "approve", execution_id).stdout == "approved\n"

    found = comes_to(house.boto("ssm"), execution_id, "Success")

    decisions = [json.loads(each) for each in found["StepExecutions"][0]["Outputs"]["ApproverDecisions"]]
    assert [(each["Approver"].rpartition("/")[2], each["Comment"]) for each in decisions] == [
        ("ada", "fine by me"), ("bob", "")]  # fmt: skip
    assert runbook(keys["eve"], "show", execution_id, "--watch").returncode == 0


def test_one_rejects(house: Installation, keys: dict[str, dict[str, str]]) -> None:
    execution_id = started(house)
    assert runbook(keys["bob"], "reject", execution_id, "--comment", "not today").stdout == "rejected\n"
    comes_to(house.boto("ssm"), execution_id, "Failed")
    shown = runbook(keys["eve"], "show", execution_id)
    assert shown.returncode == 1
    assert "rejected it" in shown.stdout
    assert "the execution ended as Failed" in shown.stderr
    late = runbook(keys["ada"], "approve", execution_id)
    assert late.returncode == 1
    assert "has ended: it is Failed" in late.stderr
