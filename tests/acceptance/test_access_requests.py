"""Access for a while as people have it: the unmodified aws CLI, and sessions with the credentials it gave."""

import json
import os
import pwd
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.installation import BIN, AgentProcess, Installation, installation
from tests.acceptance.sealed import SEALED, make_sealed

POLICY = {
    "schemaVersion": "1.0", "accessDurationHours": 1, "targets": [{"Key": "InstanceIds", "Values": ["*"]}],
    "levels": [{"approvers": [{"type": "user", "name": "bob"}]}],
}  # fmt: skip
ACTIONS = {
    "alice": ["ssm:StartAccessRequest", "ssm:GetAccessToken"],
    "bob": ["ssm:SendAutomationSignal", "pilothouse:ListAccessRequests", "pilothouse:DecideAccessRequest"],
}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with pytest.MonkeyPatch.context() as patch, installation(tmp_path_factory.mktemp("access")) as made:
        patch.setenv("PILOTHOUSE_AGENT_SESSION_USER", pwd.getpwuid(os.geteuid()).pw_name)
        made.boto("ssm").create_document(
            Name="Approval", DocumentType="ManualApprovalPolicy", Content=json.dumps(POLICY)
        )  # fmt: skip
        yield made


@pytest.fixture(scope="module")
def node(house: Installation) -> AgentProcess:
    return house.enrol("web-1")


@pytest.fixture(scope="module")
def people(house: Installation) -> dict[str, dict[str, str]]:
    """Variables of each user."""
    iam, found = house.boto("iam"), {}
    for name, actions in ACTIONS.items():
        iam.create_user(UserName=name)
        allowed = {"Effect": "Allow", "Action": actions, "Resource": "*"}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
        iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=policy)
        key = iam.create_access_key(UserName=name)["AccessKey"]
        own = {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}
        found[name] = house.known() | own
    return found


def said(program: Path, values: dict[str, str], *words: str, typed: str = "") -> str:
    done = subprocess.run(
        [program, *words], env=values, input=typed, capture_output=True, text=True, timeout=120, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def aws(values: dict[str, str], *words: str) -> Any:
    text = said(BIN / "aws", values, "ssm", *words, "--output", "json")
    return json.loads(text) if text.strip() else None


def approved(house: Installation, node: AgentProcess, people: dict[str, dict[str, str]]) -> dict[str, str]:
    """Variables with the credentials of an access that Bob gave to Alice."""
    targets = f"Key=InstanceIds,Values={node.node_id}"
    asked = aws(people["alice"], "start-access-request", "--reason", "INC42", "--targets", targets)["AccessRequestId"]
    listed = house.boto("pilothouse", values=people["bob"]).list_access_requests()["AccessRequests"]
    named = next(each["AutomationExecutionId"] for each in listed if each["AccessRequestId"] == asked)
    words = ["send-automation-signal", "--automation-execution-id", named, "--signal-type", "Approve"]
    aws(people["bob"], *words, "--payload", "Comment=go on")
    given = aws(people["alice"], "get-access-token", "--access-request-id", asked)
    assert given["AccessRequestStatus"] == "Approved"
    return house.known() | {
        "AWS_ACCESS_KEY_ID": given["Credentials"]["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": given["Credentials"]["SecretAccessKey"],
        "AWS_SESSION_TOKEN": given["Credentials"]["SessionToken"],
    }


def test_bob_lets_alice_in_by_the_aws_cli(
    house: Installation, node: AgentProcess, people: dict[str, dict[str, str]]
) -> None:
    token = approved(house, node, people)
    assert said(BIN / "pilothouse", token, "exec", node.node_id, "--", "cat", typed="hello") == "hello"


def test_an_access_is_enough_for_a_session_that_is_encrypted(
    house: Installation, node: AgentProcess, people: dict[str, dict[str, str]]
) -> None:
    make_sealed(house)
    token = approved(house, node, people)
    words = ["exec", "--document", SEALED, node.node_id, "--", "cat"]
    assert said(BIN / "pilothouse", token, *words, typed="secret") == "secret"
