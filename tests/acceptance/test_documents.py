"""Documents of one's own, from the aws CLI to a script that runs on a node."""

import json
from pathlib import Path
from typing import Any

from tests.acceptance.installation import Installation

FLOW = """
schemaVersion: "2.2"
description: Steps that depend on one another.
parameters:
  word: {type: String, default: nothing, allowedPattern: "^[a-z]+$"}
mainSteps:
  - action: aws:runPowerShellScript
    name: elsewhere
    precondition: {StringEquals: [platformType, Windows]}
    inputs: {runCommand: [Write-Output windows]}
  - action: aws:runShellScript
    name: first
    precondition: {StringEquals: [Linux, platformType]}
    timeoutSeconds: 60
    inputs:
      timeoutSeconds: 60
      onFailure: exit
      runCommand:
        - echo {{ word }}
        - exit 1
  - action: aws:runShellScript
    name: second
    inputs: {runCommand: [echo second]}
  - action: aws:runShellScript
    name: last
    inputs:
      finallyStep: true
      runCommand: echo last
"""


def _results(house: Installation, command: dict[str, Any], node_id: str) -> dict[str, Any]:
    house.finished(command["CommandId"], node_id)
    told = house.aws("ssm", "list-command-invocations", "--command-id", command["CommandId"], "--details")
    (invocation,) = told["CommandInvocations"]
    return {
        "": invocation["Status"],
        **{
            each["Name"]: (each["Status"], each["StatusDetails"], each["Output"].splitlines()[:1])
            for each in invocation["CommandPlugins"]
        },
    }


def test_a_document_of_ones_own_runs_on_a_node(house: Installation, tmp_path: Path) -> None:
    """Flow, versions, parameters that are refused before a node hears of them, the hash, and removal."""
    node = house.enrol("web-1")
    file = tmp_path / "flow.yaml"
    file.write_text(FLOW)
    made = house.aws(
        "ssm", "create-document", "--name", "Flow", "--document-type", "Command", "--document-format", "YAML",
        "--content", f"file://{file}",
    )["DocumentDescription"]  # fmt: skip
    assert made["PlatformTypes"] == ["Windows", "Linux", "MacOS"]

    def send(*words: str) -> list[str]:
        return ["ssm", "send-command", "--document-name", "Flow", "--instance-ids", node.node_id, *words]

    refused = house.cli(*send("--parameters", "word=A;reboot"))
    assert "(InvalidParameters)" in refused.stderr
    assert "(InvalidDocument)" in house.cli(*send("--document-hash", "0" * 64)).stderr
    assert house.aws("ssm", "list-commands")["Commands"] == []

    words = ("--parameters", "word=hello", "--document-hash", made["Hash"], "--document-hash-type", "Sha256")
    sent = house.aws(*send(*words))["Command"]
    found = _results(house, sent, node.node_id)
    assert found[""] == "Failed"
    assert found["elsewhere"][:2] == ("Success", "Skipped")
    assert found["first"] == ("Failed", "Failed", ["hello"])
    assert found["second"][:2] == ("Success", "Skipped")
    assert found["last"] == ("Success", "Success", ["last"])

    steps = [{"action": "aws:runShellScript", "name": name, "inputs": {"runCommand": [line]}}
             for name, line in (("fails", "exit 1"), ("goes-on", "echo on"))]  # fmt: skip
    changed = json.dumps({"schemaVersion": "2.2", "mainSteps": steps})
    house.aws("ssm", "update-document", "--name", "Flow", "--document-version", "$LATEST", "--content", changed)
    sent = house.aws(*send("--document-version", "$LATEST"))["Command"]
    found = _results(house, sent, node.node_id)
    assert (found[""], found["fails"][0], found["goes-on"]) == ("Failed", "Failed", ("Success", "Success", ["on"]))
    house.aws("ssm", "delete-document", "--name", "Flow")
    assert "(InvalidDocument)" in house.cli(*send()).stderr
