"""What a machine fetches to become a node."""

import base64
import hashlib
import json
import ssl
import subprocess
import sys
import urllib.error
import urllib.request

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from tests.acceptance.installation import Installation, eventually


def fetch(house: Installation, path: str, method: str = "GET") -> tuple[dict[str, str], bytes]:
    """Headers and body of a file that the server offers."""
    trust = ssl.create_default_context(cafile=str(house.data / "ca.pem"))
    request = urllib.request.Request(house.tls_url + path, method=method)
    with urllib.request.urlopen(request, context=trust, timeout=30) as answer:
        return {name.lower(): value for name, value in answer.headers.items()}, answer.read()


def test_the_agent_in_one_file_registers_and_runs(house: Installation) -> None:
    file = house.folder / "agent.pyz"
    headers, body = fetch(house, "/agent/pilothouse-agent.pyz")
    file.write_bytes(body)
    assert fetch(house, "/agent/pilothouse-agent.pyz", "HEAD")[0]["content-length"] == headers["content-length"]
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


def test_the_manifest_is_signed_by_the_authority(house: Installation) -> None:
    answer = json.loads(fetch(house, "/agent/pilothouse-agent.json")[1])
    key = x509.load_pem_x509_certificate((house.data / "ca.pem").read_bytes()).public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    text = b"pilothouse-agent manifest 1\n" + answer["manifest"].encode()
    key.verify(base64.b64decode(answer["signature"]), text, ec.ECDSA(hashes.SHA256()))
    content = fetch(house, "/agent/pilothouse-agent.pyz")[1]
    members = json.loads(answer["manifest"])
    assert (members["sha256"], members["size"]) == (hashlib.sha256(content).hexdigest(), len(content))


def test_the_install_script_and_the_ca_are_there(house: Installation) -> None:
    assert fetch(house, "/agent/install.sh")[1].startswith(b"#!/bin/sh")
    assert fetch(house, "/ca.pem")[1] == (house.data / "ca.pem").read_bytes()


def test_nothing_else_is_there(house: Installation) -> None:
    for path in ("/agent/", "/agent/../master.key", "/agent/%2e%2e/master.key", "/agent/x.pyz"):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            fetch(house, path)
