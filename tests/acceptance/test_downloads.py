"""What a machine fetches to become a node."""

import ssl
import subprocess
import sys
import urllib.error
import urllib.request

import pytest

from tests.acceptance.installation import Installation, eventually


def _fetch(house: Installation, path: str, method: str = "GET") -> tuple[dict[str, str], bytes]:
    trust = ssl.create_default_context(cafile=str(house.data / "ca.pem"))
    request = urllib.request.Request(house.tls_url + path, method=method)
    with urllib.request.urlopen(request, context=trust, timeout=30) as answer:
        return {name.lower(): value for name, value in answer.headers.items()}, answer.read()


def test_the_agent_in_one_file_registers_and_runs(house: Installation) -> None:
    file = house.folder / "agent.pyz"
    headers, body = _fetch(house, "/agent/pilothouse-agent.pyz")
    file.write_bytes(body)
    assert _fetch(house, "/agent/pilothouse-agent.pyz", "HEAD")[0]["content-length"] == headers["content-length"]
    ssm = house.boto("ssm")
    made = ssm.create_activation(IamRole="node")
    state = house.folder / "pyz-state"
    bare = {"PATH": "/usr/bin:/bin", "HOME": str(house.folder)}
    subprocess.run(
        [sys.executable, "-I", file, "register", "--url", house.tls_url, "--ca", house.data / "ca.pem",
         "--activation-id", made["ActivationId"], "--activation-code", made["ActivationCode"], "--state", state],
        check=True, capture_output=True, env=bare, timeout=120,
    )  # fmt: skip
    node_id = ssm.describe_instance_information()["InstanceInformationList"][0]["InstanceId"]
    with (house.folder / "pyz.log").open("wb") as log:
        agent = subprocess.Popen([sys.executable, "-I", file, "run", "--state", state], stderr=log, env=bare)
    try:
        eventually(
            lambda: ssm.get_connection_status(Target=node_id)["Status"] == "connected", what="the control channel"
        )
        assert house.run(node_id, "echo from-one-file")["StandardOutputContent"] == "from-one-file\n"
    finally:
        agent.terminate()
        agent.wait(20)


def test_the_install_script_and_the_ca_are_there(house: Installation) -> None:
    assert _fetch(house, "/agent/install.sh")[1].startswith(b"#!/bin/sh")
    assert _fetch(house, "/ca.pem")[1] == (house.data / "ca.pem").read_bytes()


def test_nothing_else_is_there(house: Installation) -> None:
    for path in ("/agent/", "/agent/../master.key", "/agent/%2e%2e/master.key", "/agent/x.pyz"):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            _fetch(house, path)
