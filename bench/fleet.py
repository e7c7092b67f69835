"""Nodes for the fan-out, registered through the public door. One RSA key serves all: the server does not mind."""

import base64
import contextlib
import datetime
import http.client
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from bench.get_parameter import client
from bench.processes import Measured, pilothouse

FINGERPRINT = "f8fda139-417f-43e1-886d-bd79daff37ac"
TAG = {"Key": "Env", "Value": "Bench"}


@dataclass(frozen=True)
class Place:
    """A server with nodes, none of which is connected."""

    server: Measured
    ssm: Any
    data: Path
    identities: list[dict[str, str]]
    """Of the nodes."""

    @property
    def address(self) -> str:
        """Where nodes connect."""
        return f"127.0.0.1:{self.server.tls_port}"

    @property
    def ca(self) -> Path:
        return self.data / "ca.pem"


@contextlib.contextmanager
def place(nodes: int, *options: str) -> Iterator[Place]:
    """One for the length of the block."""
    with tempfile.TemporaryDirectory() as folder, pilothouse(Path(folder), *options) as (server, values):
        ssm = client(values, "ssm")
        identities = list(registered(ssm, server.port, values["AWS_REGION"], nodes))
        yield Place(server, ssm, Path(folder), identities)


def registered(ssm: Any, port: int, region: str, count: int, group: str = TAG["Value"]) -> Iterator[dict[str, str]]:
    """Register `count` nodes with the tag and give the identity of each: its id and role credentials."""
    key = generate_private_key(65537, 2048)
    public = base64.b64encode(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()
    connection = http.client.HTTPConnection("127.0.0.1", port)
    left = 0
    for number in range(count):
        if left == 0:
            left = min(count - number, 1000)
            activation = ssm.create_activation(
                IamRole="NodeRole", RegistrationLimit=left, Tags=[{**TAG, "Value": group}]
            )
        left -= 1
        answer = _post(connection, "RegisterManagedInstance", {
            "ActivationId": activation["ActivationId"], "ActivationCode": activation["ActivationCode"],
            "PublicKey": public, "PublicKeyType": "Rsa", "Fingerprint": FINGERPRINT,
        }, {})  # fmt: skip
        yield _identity(connection, port, region, answer["InstanceId"], key)
    connection.close()


def _identity(
    connection: http.client.HTTPConnection, port: int, region: str, node_id: str, key: RSAPrivateKey
) -> dict[str, str]:
    members = {"Fingerprint": FINGERPRINT}
    headers = _signed_by_node(f"http://127.0.0.1:{port}/", node_id, region, json.dumps(members).encode(), key)
    role = _post(connection, "RequestManagedInstanceRoleToken", members, headers)
    return {
        "node_id": node_id, "region": region, "access_key_id": role["AccessKeyId"], "secret": role["SecretAccessKey"],
        "token": role["SessionToken"],
    }  # fmt: skip


def _signed_by_node(url: str, node_id: str, region: str, body: bytes, key: RSAPrivateKey) -> dict[str, str]:
    """SigV4 with the node's own key where the HMAC would stand."""
    target = "AmazonSSM.RequestManagedInstanceRoleToken"
    request = AWSRequest("POST", url, headers={"X-Amz-Target": target}, data=body)
    date = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%SZ")
    request.context["timestamp"] = date
    request.headers["X-Amz-Date"] = date
    signer = SigV4Auth(Credentials(node_id, ""), "ssm", region)
    text = signer.string_to_sign(request, signer.canonical_request(request))
    signature = key.sign(text.encode(), PSS(MGF1(SHA256()), 32), SHA256())
    names = signer.signed_headers(signer.headers_to_sign(request))
    request.headers["Authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={signer.scope(request)}, SignedHeaders={names}, "
        f"Signature={base64.b64encode(signature).decode()}"
    )
    return dict(request.headers.items())


def _post(
    connection: http.client.HTTPConnection, operation: str, members: dict[str, Any], headers: dict[str, str]
) -> dict[str, Any]:
    fixed = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": f"AmazonSSM.{operation}"}
    connection.request("POST", "/", json.dumps(members).encode(), fixed | headers)
    answer = connection.getresponse()
    body = answer.read()
    if answer.status != 200:
        raise SystemExit(f"{operation}: {answer.status} {body[:300]!r}")
    found: dict[str, Any] = json.loads(body)
    return found
