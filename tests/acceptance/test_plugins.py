"""What documents can ask of our agent, with the real server."""

import functools
import hashlib
import http.server
import json
import subprocess
import sys
import threading
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.installation import Installation, eventually, installation
from tests.acceptance.test_downloads import fetch


def _document(house: Installation, name: str, *steps: dict[str, Any], **members: Any) -> None:
    made = [{"name": f"step{number}", **step} for number, step in enumerate(steps)]
    content = json.dumps({"schemaVersion": "2.2", "mainSteps": made, **members})
    house.boto("ssm").create_document(Name=name, Content=content, DocumentType="Command")


def _run(house: Installation, node_id: str, document: str, **parameters: list[str]) -> dict[str, dict[str, Any]]:
    """Each step's outcome."""
    ssm = house.boto("ssm")
    command = ssm.send_command(InstanceIds=[node_id], DocumentName=document, Parameters=parameters)["Command"][
        "CommandId"
    ]

    def final() -> Any:
        (found,) = ssm.list_command_invocations(CommandId=command, Details=True)["CommandInvocations"]
        return found if found["Status"] not in ("Pending", "InProgress", "Delayed") else None

    found = eventually(final, what="the end of the command")
    return {plugin["Name"]: plugin for plugin in found["CommandPlugins"]}


def _script(*lines: str, **inputs: str) -> dict[str, Any]:
    return {"action": "aws:runShellScript", "inputs": {"runCommand": list(lines), **inputs}}


def test_documents_downloads_and_flow(house: Installation) -> None:
    agent = house.enrol("plugins")
    _document(
        house, "Greet", _script("echo hello {{ word }}"), parameters={"word": {"type": "String", "default": "nobody"}}
    )
    source = {"url": f"{house.tls_url}/agent/install.sh"}
    _document(
        house,
        "Whole",
        {
            "action": "aws:runDocument",
            "inputs": {"documentType": "SSMDocument", "documentPath": "Greet", "documentParameters": {"word": "you"}},
        },
        {"action": "aws:downloadContent", "inputs": {"sourceType": "SSMDocument", "sourceInfo": {"name": "Greet"}}},
        {"action": "aws:runDocument", "inputs": {"documentType": "LocalPath", "documentPath": "Greet.json"}},
        {"action": "aws:downloadContent", "inputs": {"sourceType": "HTTP", "sourceInfo": json.dumps(source)}},
        _script("head -n 1 install.sh", "exit 5", onFailure="exit"),
        _script("echo never"),
        _script('echo "$SSM_word {{ word }}"', finallyStep="true"),
        parameters={"word": {"type": "String", "interpolationType": "ENV_VAR", "allowedPattern": ".*"}},
    )
    steps = _run(house, agent.node_id, "Whole", word=["$(id) ; x"])
    assert {name: (step["Status"], step["ResponseCode"]) for name, step in steps.items()} == {
        "step0": ("Success", 0), "step1": ("Success", 0), "step2": ("Success", 0), "step3": ("Success", 0),
        "step4": ("Failed", 5), "step5": ("Success", 0), "step6": ("Success", 0),
    }  # fmt: skip
    assert steps["step0"]["Output"] == "hello you\n"
    assert steps["step2"]["Output"] == "hello nobody\n"
    assert steps["step4"]["Output"].startswith("#!/bin/sh\n")
    assert steps["step6"]["Output"] == "$(id) ; x $(id) ; x\n"


def test_the_agent_updates_itself_to_what_the_server_offers(house: Installation) -> None:
    """The file it starts from is another one of the same version."""
    program = house.folder / "bin" / "pilothouse-agent"
    program.parent.mkdir()
    offered = fetch(house, "/agent/pilothouse-agent.pyz")[1]
    program.write_bytes(offered)
    with zipfile.ZipFile(program, "a") as archive:
        archive.writestr("older", "yes")
    ssm = house.boto("ssm")
    made = ssm.create_activation(IamRole="node")
    before = {node["InstanceId"] for node in ssm.describe_instance_information()["InstanceInformationList"]}
    state = house.folder / "update-state"
    bare = {"PATH": "/usr/bin:/bin", "HOME": str(house.folder)}
    start = [sys.executable, "-I", str(program)]
    subprocess.run(
        [*start, "register", "--url", house.tls_url, "--ca", house.data / "ca.pem", "--state", state,
         "--activation-id", made["ActivationId"], "--activation-code", made["ActivationCode"]],
        check=True, capture_output=True, env=bare, timeout=120,
    )  # fmt: skip
    nodes = {node["InstanceId"] for node in ssm.describe_instance_information()["InstanceInformationList"]}
    (node_id,) = nodes - before
    inputs = {"agentName": "amazon-ssm-agent", "allowDowngrade": "false", "source": "", "targetVersion": ""}
    _document(house, "Update", {"action": "aws:updateSsmAgent", "inputs": inputs})
    with (house.folder / "update.log").open("wb") as log:
        agent = subprocess.Popen([*start, "run", "--state", str(state)], stderr=log, env=bare)
    try:
        eventually(lambda: ssm.get_connection_status(Target=node_id)["Status"] == "connected", what="the channel")
        (step,) = _run(house, node_id, "Update").values()
        assert step["Status"] == "Success", step
        assert "Successfully updated pilothouse-agent" in step["Output"]
        assert program.read_bytes() == offered
        assert agent.poll() is None
    finally:
        agent.terminate()
        agent.wait(20)


def test_a_package_is_installed_and_removed(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """AWS-ConfigureAWSPackage, from a document of type Package whose archive the server keeps."""
    log = tmp_path / "done"
    packed = tmp_path / "pack" / "tool.zip"
    packed.parent.mkdir()
    with zipfile.ZipFile(packed, "w") as archive:
        for script in ("install", "uninstall"):
            archive.writestr(f"{script}.sh", f"echo {script} $SSM_mode >> {log}")
    facts = {"checksums": {"sha256": hashlib.sha256(packed.read_bytes()).hexdigest()}}
    manifest = {
        "schemaVersion": "2.0",
        "version": "1.0",
        "packages": {"_any": {"_any": {"_any": {"file": "tool.zip"}}}},
        "files": {"tool.zip": facts},
    }
    monkeypatch.setenv("PILOTHOUSE_OUTBOUND_ALLOW", "127.0.0.1/32")
    options = ("--database", database_url) if database_url.startswith("postgresql") else ()
    files = functools.partial(http.server.SimpleHTTPRequestHandler, directory=packed.parent)
    with installation(tmp_path, *options) as house, http.server.ThreadingHTTPServer(("127.0.0.1", 0), files) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        source = {"Key": "SourceUrl", "Values": [f"http://127.0.0.1:{web.server_port}"]}
        house.boto("ssm").create_document(
            Name="Tool", Content=json.dumps(manifest), DocumentType="Package", Attachments=[source]
        )
        web.shutdown()
        agent = house.enrol("packages")
        for action in ("Install", "Uninstall"):
            arguments = {"additionalArguments": ['{"SSM_mode": "fast"}']} if action == "Install" else {}
            (step,) = _run(
                house, agent.node_id, "AWS-ConfigureAWSPackage", name=["Tool"], action=[action], **arguments
            ).values()
            assert step["Status"] == "Success", step
    assert log.read_text() == "install fast\nuninstall\n"
