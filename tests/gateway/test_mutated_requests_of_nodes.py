"""Requests of a node with something about them changed: signed with its own key, those that open its channel, and
any with a header line twice. None is accepted, and none is a fault of the server."""

import base64
import binascii
import contextlib
import json
import re
from collections import Counter
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from botocore.awsrequest import AWSRequest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from tests.capabilities.access import test_mutated_signatures as mutations
from tests.capabilities.commands.conftest import Fleet
from tests.capabilities.nodes.conftest import FINGERPRINT
from tests.capabilities.nodes.test_life_of_a_node import Machine, _SignedWithKey
from tests.conftest import Aws, Server

from pilothouse.wire.asgi import WireApplication
from pilothouse.wire.http import Request

OF_EACH_ENGINE = 1500
OF_KEYS = [
    mutations._a_header, mutations._a_header, mutations._a_header_gone, mutations._the_body, mutations._the_names,
    mutations._the_scope, mutations._the_date, mutations._the_mode, mutations._a_header_more, mutations._the_algorithm,
]  # fmt: skip


def _own_key_request(machine: Machine) -> Request:
    body = json.dumps({"Fingerprint": FINGERPRINT}).encode()
    made = AWSRequest(
        "POST", "http://pilothouse.test/", data=body,
        headers={"Content-Type": mutations.JSON, "X-Amz-Target": "AmazonSSM.RequestManagedInstanceRoleToken"},
    )  # fmt: skip
    _SignedWithKey(machine.node_id, machine.key).add_auth(made)
    headers = {name.lower(): value for name, value in made.headers.items()} | {"host": "pilothouse.test"}
    return Request("POST", "/", "", headers, body, "127.0.0.1", True)


def _means(request: Request) -> object:
    """As for every request; base64 that gives the same bytes is the same signature."""
    *most, headers, body = mutations._means(request)  # type: ignore[misc]
    head, _, signature = headers.get("authorization", "").partition("Signature=")
    with contextlib.suppress(binascii.Error, ValueError):
        signature = base64.b64decode(signature, validate=True)
    return most, headers | {"authorization": (head, signature)}, body


@pytest.fixture(scope="module")
def key() -> RSAPrivateKey:
    return generate_private_key(65537, 2048)


def test_no_mutated_signature_of_a_nodes_own_key_is_accepted(aws: Aws, server: Server, key: RSAPrivateKey) -> None:
    machine = Machine(server, key)
    activation = aws("ssm").create_activation(IamRole="NodeRole", RegistrationLimit=2)
    assert machine.register(activation)[0] == 200
    other = Machine(server, generate_private_key(65537, 2048))
    assert other.register(activation)[0] == 200
    good, of_other = _own_key_request(machine), _own_key_request(other)
    respond, source, codes = server.application.front.respond, Random(7), Counter[str]()

    async def some() -> None:
        while codes.total() < OF_EACH_ENGINE:
            mutated = source.choice(OF_KEYS)(good, source, [good, of_other])
            if _means(mutated) == _means(good):
                continue
            answer = await respond(mutated)
            code = mutations._code(answer.body)
            assert 400 <= answer.status < 500, (answer.status, mutated)
            codes[code] += 1

    assert server.run(respond(good)).status == 200
    server.run(some())
    assert server.run(respond(good)).status == 200
    assert codes["InvalidSignatureException"] > 200, codes
    swapped = good.headers["authorization"].replace(machine.node_id, other.node_id)
    mixed = replace(good, headers={**good.headers, "authorization": swapped})
    assert server.run(respond(mixed)).status == 400


def _path(request: Request, source: Random) -> Request:
    path, node = request.path, request.path.rpartition("/")[2]
    place = source.randrange(len(node))
    edited = node[:place] + source.choice("0123456789abcdef\x00%/?#. ") + node[place + 1 :]
    return replace(request, path=source.choice([
        path + "/", path.replace("/v1/", "//v1/"), path.replace("/v1/", "/v1/./"), path.replace("/v1/", "/v1/x/../"),
        path.replace("control", "%63ontrol"), path.replace("/mi-", "/%6di-"), path.replace("/mi-", "/MI-"),
        path[:-1], path + "0", path.replace(node, edited),
        "/v1/control-channel/", "/v1/data-channel/" + node, path + "?role=subscribe", path + "%00", path + ";a=b",
    ]))  # fmt: skip


def _query(request: Request, source: Random) -> Request:
    return replace(request, query=source.choice([
        "role=publish", "a=b", "role=subscribe&role=subscribe", "X-Amz-Signature=" + "0" * 64, "%", "stream=%00",
    ]))  # fmt: skip


def test_no_mutated_request_makes_a_channel(server: Server, fleet: Fleet) -> None:
    node, other = fleet.node(online=False), fleet.node(online=False)
    path = f"/v1/control-channel/{node.id}"
    body = json.dumps({"MessageSchemaVersion": "1.0", "RequestId": "00112233-4455-6677-8899-aabbccddeeff"}).encode()
    headers = node.who.signed(
        "POST", f"http://pilothouse.test{path}", body, "ssmmessages", content_type="application/json"
    )
    good = Request("POST", path, "", headers, body, "127.0.0.1", True)
    respond, source, statuses = server.application.front.respond, Random(11), Counter[int]()
    ways: list[Any] = [
        lambda: _path(good, source),
        lambda: _query(good, source),
        lambda: source.choice(OF_KEYS)(good, source, [good]),
        lambda: replace(good, path=f"/v1/control-channel/{other.id}"),
    ]

    async def some() -> None:
        while statuses.total() < OF_EACH_ENGINE:
            mutated = source.choice(ways)()
            if mutations._means(mutated) == mutations._means(good):
                continue
            answer = await respond(mutated)
            assert 400 <= answer.status < 500, (answer.status, mutated)
            assert b"TokenValue" not in answer.body
            statuses[answer.status] += 1

    assert server.run(respond(good)).status == 201
    server.run(some())
    assert server.run(respond(good)).status == 201
    assert statuses[403] > 300, statuses


def test_a_signed_header_line_may_come_once(server: Server, fleet: Fleet) -> None:
    node = fleet.node(online=False)
    told = {"InstanceId": node.id, "AgentVersion": "3.3.0.0", "PlatformType": "Linux", "AgentName": "amazon-ssm-agent"}
    body = json.dumps(told).encode()
    headers = node.who.signed(
        "POST", "http://pilothouse.test/", body, "ssm",
        content_type=mutations.JSON, x_amz_target="AmazonSSM.UpdateInstanceInformation",
    )  # fmt: skip
    lines = [(name.encode(), value.encode()) for name, value in headers.items()]
    application = WireApplication(server.application.front)

    async def never() -> None:
        """The client stays."""

    def ask(sent: list[tuple[bytes, bytes]]) -> int:
        return server.run(application.direct(sent, body, "127.0.0.1", True, never)).status

    assert ask(lines) == 200
    assert ask(lines[::-1]) == 200
    signed = re.findall(r"SignedHeaders=([^,]*)", headers["authorization"])[0].split(";")
    for name in {*signed, "authorization", "host"}:
        value = headers[name].encode()
        for twice in (value, b"", b"x", value[::-1]):
            for place in (0, len(lines)):
                sent = [*lines[:place], (name.encode(), twice), *lines[place:]]
                assert 400 <= ask(sent) < 500, (name, twice)
    assert ask([*lines, (b"accept", b"a"), (b"accept", b"b")]) == 200
