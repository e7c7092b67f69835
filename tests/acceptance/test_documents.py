"""Documents of one's own, from the aws CLI to a script that runs on a node."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
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


OPENINGS = ("", ";", "&", "&&", "|", "||", "\n", "'", '"', "'\"", '";', "';", ")", '"\n', "'\n", "`", "\\", '\\"',
            "\\'", "EOF\n", "\nEOF\n", "}", "{", "$((", "#\n")  # fmt: skip
COMMANDS = ("touch {0}", "$(touch {0})", "`touch {0}`", "${{x:-$(touch {0})}}", ">{0}", "<(touch {0})", "touch {0} #",
            "touch {0};'", 'touch {0};"', "(touch {0})", "$$(touch {0})", "eval touch {0} {{{{ P1 }}}}")  # fmt: skip
AT_ONCE = 60
PLACES = ("printf '%s\\n--\\n' {{{{ P{0} }}}}", "printf '%s\\n--\\n' \"x{{{{ P{0} }}}}y\"",
          "printf '%s\\n--\\n' 'x{{{{P{0}}}}}y'", "cat <<EOF\nx{{{{ P{0} }}}}y\n--\nEOF")  # fmt: skip


def test_three_hundred_values_that_want_to_be_commands(house: Installation, tmp_path: Path) -> None:
    """Parameters with `interpolationType: ENV_VAR` reach scripts as text, wherever their placeholders stand."""
    node = house.enrol("web-1")
    ssm = house.boto("ssm")
    canary = tmp_path / "ran"
    payloads = [opening + command.format(canary) for opening in OPENINGS for command in COMMANDS]
    assert len(set(payloads)) == 300
    numbers = range(1, AT_ONCE + 1)
    step = {"runCommand": ["#!/bin/sh", *(line.format(each) for each in numbers for line in PLACES)]}
    for name, more in (("Safe", {"interpolationType": "ENV_VAR"}), ("Open", {})):
        content = {
            "schemaVersion": "2.2",
            "parameters": {f"P{each}": {"type": "String", **more} for each in numbers},
            "mainSteps": [{"action": "aws:runShellScript", "name": "show", "inputs": step}],
        }
        ssm.create_document(Name=name, Content=json.dumps(content))

    def run(name: str, values: list[str]) -> dict[str, Any]:
        given = {f"P{number}": [value] for number, value in zip(numbers, values, strict=True)}
        sent = ssm.send_command(InstanceIds=[node.node_id], DocumentName=name, Parameters=given)["Command"]
        return house.finished(sent["CommandId"], node.node_id)

    for first in range(0, 300, AT_ONCE):
        values = payloads[first : first + AT_ONCE]
        got = run("Safe", values)
        assert (got["Status"], got["StandardErrorContent"]) == ("Success", "")
        shown = got["StandardOutputContent"].removesuffix("\n--\n").split("\n--\n")
        assert shown == [text for each in values for text in (each, *[f"x{each}y"] * 3)]
        assert not canary.exists()
    run("Open", payloads[:AT_ONCE])
    assert canary.exists(), "these values would be run where nothing is done about them"


def test_documents_within_documents(house: Installation) -> None:
    """A node fetches them by itself: from the library, and as content that was downloaded."""
    node = house.enrol("web-1")
    ssm = house.boto("ssm")
    inner = """
schemaVersion: "2.2"
parameters: {who: {type: String, interpolationType: ENV_VAR}}
mainSteps:
- {action: "aws:runShellScript", name: hello, timeoutSeconds: "60", inputs: {runCommand: "echo hello {{ who }}"}}
"""
    outer = {
        "schemaVersion": "2.2",
        "parameters": {"who": {"type": "String"}},
        "mainSteps": [{
            "action": "aws:runDocument", "name": "inner",
            "inputs": {"documentType": "SSMDocument", "documentPath": "Inner",
                       "documentParameters": {"who": "{{ who }}"}},
        }],
    }  # fmt: skip
    ssm.create_document(Name="Inner", Content=inner, DocumentFormat="YAML")
    ssm.create_document(Name="Outer", Content=json.dumps(outer))
    asked = {
        "Outer": {"who": ["$(id) all"]},
        "AWS-RunDocument": {
            "sourceType": ["SSMDocument"], "sourceInfo": ['{"name": "Inner"}'],
            "documentParameters": ['{"who": "$(id) all"}'],
        },
    }  # fmt: skip
    for name, parameters in asked.items():
        sent = ssm.send_command(InstanceIds=[node.node_id], DocumentName=name, Parameters=parameters)["Command"]
        found = _results(house, sent, node.node_id)
        assert found[""] == "Success", found
        step = "inner" if name == "Outer" else "runDocument"
        assert found[step][2] == ["hello $(id) all"]


class _Script(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b"echo fetched $1\n"
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Quiet."""


def test_a_script_is_fetched_and_run(house: Installation) -> None:
    node = house.enrol("web-1")
    with ThreadingHTTPServer(("127.0.0.1", 0), _Script) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{serving.server_port}/hello.sh"
        sent = house.aws(
            "ssm", "send-command", "--document-name", "AWS-RunRemoteScript", "--instance-ids", node.node_id,
            "--parameters", json.dumps({
                "sourceType": ["HTTP"], "sourceInfo": [json.dumps({"url": url, "allowInsecureDownload": "true"})],
                "commandLine": ["sh hello.sh world"],
            }),
        )["Command"]  # fmt: skip
        found = _results(house, sent, node.node_id)
        serving.shutdown()
    assert found[""] == "Success", found
    assert found["runPowerShellScript"][:2] == ("Success", "Skipped")
    assert found["runShellScript"] == ("Success", "Success", ["fetched world"])
