"""Passwords that a command on a node or a runbook sets: a real agent, a script that reads the new value by the CLI."""

import json
import shlex
from typing import Any

from tests.acceptance.installation import BIN, Installation, eventually

SCRIPT = """
new=$({aws} secretsmanager get-secret-value --secret-id {{{{SecretId}}}} --version-id {{{{ClientRequestToken}}}} \
  --version-stage AWSPENDING --query SecretString --output text) || exit 1
case {{{{Step}}}} in
  setSecret) printf %s "$new" > {target} ;;
  testSecret) test "$(cat {target})" = "$new" ;;
esac
"""
STEPS = ("Step", "SecretId", "ClientRequestToken")


def rotated(house: Installation, function: str) -> Any:
    """The rotation of the secret x, when it has ended, or a step of it has failed once and waits for its next try."""
    house.aws("secretsmanager", "rotate-secret", "--secret-id", "x", "--rotation-lambda-arn", function)
    ours = house.boto("pilothouse")

    def ended() -> Any:
        last = ours.list_secret_rotations(SecretId="x")["Rotations"][0]
        return last if last["State"] != "Running" or last["FailedAttempts"] else None

    return eventually(ended)


def test_a_command_on_a_node_sets_the_password(house: Installation) -> None:
    node = house.enrol("db-1")
    target = house.folder / "password-of-the-application"
    secrets = house.boto("secretsmanager")
    secrets.create_secret(Name="x", SecretString=json.dumps({"username": "app", "password": "old"}))
    settings = " ".join(f"{name}={shlex.quote(value)}" for name, value in house.known().items())
    script = SCRIPT.format(aws=f"env {settings} {BIN / 'aws'}", target=target)
    document = {
        "schemaVersion": "2.2",
        "parameters": {name: {"type": "String"} for name in STEPS},
        "mainSteps": [{"action": "aws:runShellScript", "name": "rotate", "inputs": {"runCommand": [script]}}],
    }
    house.boto("ssm").create_document(Name="Rotate", DocumentType="Command", Content=json.dumps(document))
    rotation = rotated(house, f"ssm-command:Rotate@{node.node_id}")
    assert rotation["State"] == "Succeeded", rotation["Log"]
    told = house.aws("secretsmanager", "get-secret-value", "--secret-id", "x")
    new = json.loads(told["SecretString"])
    assert new["username"] == "app"
    assert new["password"] != "old"
    assert target.read_text() == told["SecretString"]
    assert new["password"] not in json.dumps(rotation, default=str)

    target.unlink()
    target.mkdir()  # nobody can write there
    current = told["VersionId"]
    rotation = rotated(house, f"ssm-command:Rotate@{node.node_id}")
    assert (rotation["FailedAttempts"], rotation["Step"]) == (1, "setSecret"), rotation["Log"]
    assert rotation["Error"].endswith("ended as Failed; its own output says why")
    assert secrets.get_secret_value(SecretId="x")["VersionId"] == current


def test_a_runbook_sets_the_password(house: Installation) -> None:
    """Its steps act as the service, which may send commands."""
    node = house.enrol("db-1")
    told = house.folder / "told"
    secrets, ssm = house.boto("secretsmanager"), house.boto("ssm")
    made = secrets.create_secret(Name="x", SecretString="old")
    line = f"test ! -d {told} && echo {{{{ Step }}}} {{{{ SecretId }}}} {{{{ ClientRequestToken }}}} >> {told}"
    runbook = {
        "schemaVersion": "0.3",
        "parameters": {name: {"type": "String"} for name in STEPS},
        "mainSteps": [
            {
                "name": "tell",
                "action": "aws:runCommand",
                "inputs": {
                    "DocumentName": "AWS-RunShellScript", "InstanceIds": [node.node_id],
                    "Parameters": {"commands": [line]},
                },
            }
        ],
    }  # fmt: skip
    ssm.create_document(Name="RotateByRunbook", DocumentType="Automation", Content=json.dumps(runbook))
    rotation = rotated(house, "ssm-automation:RotateByRunbook")
    assert rotation["State"] == "Succeeded", rotation["Log"]
    version = secrets.get_secret_value(SecretId="x")["VersionId"]
    assert version == rotation["VersionId"] != made["VersionId"]
    assert told.read_text().splitlines() == [f"{step} {made['ARN']} {version}" for step in ("setSecret", "testSecret")]
    told.unlink()
    told.mkdir()
    rotation = rotated(house, "ssm-automation:RotateByRunbook")
    assert (rotation["FailedAttempts"], rotation["Step"]) == (1, "setSecret"), rotation["Log"]
    assert "ended as Failed" in rotation["Error"]
    assert secrets.get_secret_value(SecretId="x")["VersionId"] == version
