"""Nodes for commands: registered through the public door, online as scripted agents on the server's own loop."""

import base64
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import botocore.auth
import pytest
from botocore.exceptions import ClientError
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from pilothouse.capabilities import nodes
from pilothouse.identity.session_tokens import mint_for_node
from pilothouse.runtime.clock import TestClock
from pilothouse.wire.http import Request
from tests.conftest import Aws, Server
from tests.gateway.scripted_agent import Identity, InProcess, Job, Script, ScriptedAgent, report

REGION = "eu-west-1"
_LIFE_MS = 30 * 24 * 3_600_000


class Node:
    """A registered machine, with its agent if that was started."""

    def __init__(self, server: Server, who: Identity, script: Any) -> None:
        self._server = server
        self.id = who.node_id
        self.who = who
        self.agent = ScriptedAgent(who, InProcess.to(server.application.edge), script)

    def connect(self) -> "Node":
        self._server.run(self.agent.start())
        return self

    def disconnect(self) -> None:
        self._server.run(self.agent.stop())

    def reply(self, job_id: str, content: dict[str, Any]) -> None:
        self._server.run(self.agent.reply(job_id, content))


class Fleet:
    """Nodes of the root account."""

    def __init__(self, server: Server, aws: Aws) -> None:
        self._server = server
        self._ssm = aws("ssm")
        self._activation: dict[str, Any] = {}
        key = rsa.generate_private_key(65537, 2048).public_key()
        self._public_key = base64.b64encode(
            key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        ).decode()  # fmt: skip

    def node(
        self,
        *,
        online: bool = True,
        script: Script | Callable[[Job], Script] | None = None,
        tags: dict[str, str] | None = None,
        platform: str | None = None,
    ) -> Node:
        """A new node; `online` opens its control channel, `platform` is what it says it runs."""
        if not self._activation:
            self._activation = self._ssm.create_activation(IamRole="NodeRole", RegistrationLimit=1000)
        body = json.dumps({
            "ActivationId": self._activation["ActivationId"], "ActivationCode": self._activation["ActivationCode"],
            "PublicKey": self._public_key, "PublicKeyType": "Rsa",
            "Fingerprint": "f8fda139-417f-43e1-886d-bd79daff37ac",
        }).encode()  # fmt: skip
        headers = {"x-amz-target": "AmazonSSM.RegisterManagedInstance", "content-type": "application/x-amz-json-1.1"}
        answer = self._server.run(
            self._server.application.front.respond(Request("POST", "/", "", headers, body, "127.0.0.1", True))
        )
        node_id = json.loads(answer.body)["InstanceId"]
        if tags:
            self._ssm.add_tags_to_resource(
                ResourceType="ManagedInstance", ResourceId=node_id,
                Tags=[{"Key": key, "Value": value} for key, value in tags.items()],
            )  # fmt: skip
        made = Node(self._server, self._server.run(self._identity(node_id)), script)
        if platform:
            self._ping(made.who, PlatformType=platform)
        return made.connect() if online else made

    def renew(self) -> None:
        """Take another activation for the next nodes: this one may be past its time."""
        self._activation = {}

    def tell(self, node: Node, **told: str) -> None:
        """What the node's agent says of its machine in UpdateInstanceInformation."""
        self._ping(node.who, **told)

    def _ping(self, who: Identity, **told: str) -> None:
        about = {"InstanceId": who.node_id, "AgentName": "amazon-ssm-agent", "AgentVersion": "3.3.0.0"}
        body = json.dumps(about | told).encode()
        headers = who.signed(
            "POST", "http://ssm.pilothouse.test/", body, "ssm",
            content_type="application/x-amz-json-1.1", x_amz_target="AmazonSSM.UpdateInstanceInformation",
        )  # fmt: skip
        request = Request("POST", "/", "", headers, body, "127.0.0.1", False)
        assert self._server.run(self._server.application.front.respond(request)).status == 200

    def nodes(self, count: int, **of_each: Any) -> list[Node]:
        return [self.node(**of_each) for _ in range(count)]

    async def _identity(self, node_id: str) -> Identity:
        house = self._server.application.house
        async with house.database.reading() as tx:
            principal = (await nodes.registered(tx, node_id)).principal
        minted = mint_for_node(
            house, account_id=principal.account_id, region=REGION, arn=principal.arn, user_id=principal.user_id,
            node_id=node_id, expires_at=house.clock.millis() + _LIFE_MS,
        )  # fmt: skip
        return Identity(node_id, REGION, minted.access_key_id, minted.secret, minted.token)


@pytest.fixture(autouse=True)
def _signatures_follow_the_clock(clock: TestClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients and agents sign by the house's clock, which tests move."""
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda *_: clock.now().replace(tzinfo=None))


@pytest.fixture
def fleet(server: Server, aws: Aws) -> Iterator[Fleet]:
    return Fleet(server, aws)


Until = Callable[[Callable[[], Any]], Any]


@pytest.fixture
def until() -> Until:
    """Wait for what must come soon, and give it."""

    def wait(look: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + 20
        while not (found := look()):
            assert time.monotonic() < deadline, "it did not come"
            time.sleep(0.01)
        return found

    return wait


Send = Callable[..., dict[str, Any]]
LATE = "00112233-4455-6677-8899-aabbccddeeff"
SILENT = Script(code=None)
BUSY = Script(code="51402", message="ProcessorBufferFull")
HOLDING = Script(replies=[report("InProgress")])


@pytest.fixture
def ssm(aws: Aws) -> Any:
    return aws("ssm")


@pytest.fixture
def send(ssm: Any) -> Send:
    """SendCommand of AWS-RunShellScript; ids are `to`."""

    def send(*to: str, **members: Any) -> dict[str, Any]:
        request = {"DocumentName": "AWS-RunShellScript", "Parameters": {"commands": ["hostname"]}} | members
        if to:
            request["InstanceIds"] = list(to)
        command: dict[str, Any] = ssm.send_command(**request)["Command"]
        return command

    return send


def command_of(ssm: Any, command_id: str) -> dict[str, Any]:
    (found,) = ssm.list_commands(CommandId=command_id)["Commands"]
    return dict(found)


def statuses(ssm: Any, command_id: str) -> list[str]:
    pages = ssm.get_paginator("list_command_invocations").paginate(CommandId=command_id)
    return sorted(each["StatusDetails"] for page in pages for each in page["CommandInvocations"])


def reasons(ssm: Any, command_id: str) -> list[str]:
    """What is told of invocations of which their nodes told nothing."""
    found = ssm.list_command_invocations(CommandId=command_id)["CommandInvocations"]
    return sorted({each["TraceOutput"] for each in found} - {""})


def refused(call: Callable[[], Any]) -> str:
    with pytest.raises(ClientError) as error:
        call()
    code: str = error.value.response["Error"]["Code"]
    return code
