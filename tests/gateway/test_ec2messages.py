"""Nodes that poll: the same commands without a control channel."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import Any

from tests.capabilities.commands.conftest import Fleet, Node, Until
from tests.conftest import Aws, Server
from tests.gateway.scripted_agent import ended, report
from tests.gateway.test_control_channel import send, status

from pilothouse.wire.http import Request

_ORIGIN = "http://ec2messages.pilothouse.test"


class Poller:
    """What an agent does without a control channel."""

    def __init__(self, server: Server, node: Node) -> None:
        self._server = server
        self._node = node

    async def _ask(
        self, name: str, request: dict[str, Any], gone: Callable[[], Awaitable[None]] | None = None
    ) -> tuple[int, dict[str, Any]]:  # fmt: skip
        body = json.dumps(request).encode()
        headers = self._node.who.signed(
            "POST", f"{_ORIGIN}/", body, "ec2messages",
            content_type="application/x-amz-json-1.1", x_amz_target=f"EC2WindowsMessageDeliveryService.{name}",
        )  # fmt: skip
        answer = await self._server.application.front.respond(
            Request("POST", "/", "", headers, body, "127.0.0.1", False, gone)
        )
        return answer.status, json.loads(answer.body or b"{}")

    def ask(self, name: str, **request: Any) -> tuple[int, dict[str, Any]]:
        return self._server.run(self._ask(name, request))

    def poll(self, gone: Callable[[], Awaitable[None]] | None = None) -> "Future[list[dict[str, Any]]]":
        """A GetMessages under way. `gone` returns when the connection it came on is lost."""
        asked = {"Destination": self._node.id, "MessagesRequestId": "r", "VisibilityTimeoutInSeconds": 10}

        async def messages() -> list[dict[str, Any]]:
            code, answer = await self._ask("GetMessages", asked, gone)
            assert code == 200, answer
            assert answer["MessagesRequestId"] == "r"
            found: list[dict[str, Any]] = answer["Messages"]
            return found

        return asyncio.run_coroutine_threadsafe(messages(), self._server._loop)

    def messages(self) -> list[dict[str, Any]]:
        return self.poll().result(30)

    def reply(self, message: dict[str, Any], content: dict[str, Any]) -> int:
        return self.ask("SendReply", MessageId=message["MessageId"], Payload=json.dumps(content), ReplyId="i")[0]


def test_a_polling_node_gets_its_command_and_reports(server: Server, aws: Aws, fleet: Fleet, until: Until) -> None:
    node = fleet.node(online=False)
    poller = Poller(server, node)
    waiting = poller.poll()
    command_id = send(aws, node)
    (message,) = waiting.result(30)
    assert message["Destination"] == node.id
    assert message["MessageId"] == f"aws.ssm.{command_id}.{node.id}"
    assert message["Topic"] == "aws.ssm.sendCommand.eu-west-1"
    assert json.loads(message["Payload"])["CommandId"] == command_id
    assert status(aws, command_id, node) == "InProgress"
    first, *others = ended(stdout="polled")
    assert poller.reply(message, first) == 200
    assert poller.ask("AcknowledgeMessage", MessageId=message["MessageId"]) == (200, {})
    for content in others:
        assert poller.reply(message, content) == 200
    assert status(aws, command_id, node) == "Success"
    (listed,) = aws("ssm").describe_instance_information(
        Filters=[{"Key": "InstanceIds", "Values": [node.id]}]
    )["InstanceInformationList"]  # fmt: skip
    assert listed["PingStatus"] == "Online"


def test_an_unacknowledged_message_is_offered_again(server: Server, aws: Aws, fleet: Fleet) -> None:
    node = fleet.node(online=False)
    poller = Poller(server, node)
    send(aws, node)
    (message,) = poller.messages()
    server.advance(seconds=11)
    assert [each["MessageId"] for each in poller.messages()] == [message["MessageId"]]
    poller.ask("AcknowledgeMessage", MessageId=message["MessageId"])
    waiting = poller.poll()
    for _ in range(4):
        server.advance(seconds=6)
    assert waiting.result(30) == []


def test_a_node_that_died_while_it_polled_gets_nothing(server: Server, aws: Aws, fleet: Fleet) -> None:
    node = fleet.node(online=False)
    poller = Poller(server, node)
    died = asyncio.Event()

    async def gone() -> None:
        await died.wait()

    async def die() -> None:
        died.set()

    waiting = poller.poll(gone)
    server.run(die())
    assert waiting.result(30) == []
    command_id = send(aws, node)
    assert status(aws, command_id, node) == "Pending"
    died.clear()
    (message,) = poller.poll(gone).result(30)
    assert message["MessageId"] == f"aws.ssm.{command_id}.{node.id}"


def test_nothing_is_polled_while_the_control_channel_is_open(
    server: Server, aws: Aws, fleet: Fleet, until: Until
) -> None:  # fmt: skip
    node = fleet.node()
    waiting = Poller(server, node).poll()
    command_id = send(aws, node)
    until(lambda: status(aws, command_id, node) == "Success")
    server.advance(seconds=16)
    assert waiting.result(30) == []
    assert len(node.agent.commands) == 1


def test_polling_nodes_keep_to_max_concurrency(server: Server, aws: Aws, fleet: Fleet, until: Until) -> None:
    one, other = fleet.nodes(2, online=False)
    command_id = aws("ssm").send_command(
        DocumentName="AWS-RunShellScript", InstanceIds=[one.id, other.id], MaxConcurrency="1",
        Parameters={"commands": ["true"]},
    )["Command"]["CommandId"]  # fmt: skip
    (message,) = Poller(server, one).messages()
    waiting = Poller(server, other).poll()
    until(lambda: status(aws, command_id, other) == "Pending")
    assert not waiting.done()
    Poller(server, one).reply(message, report("Success"))
    assert [each["Destination"] for each in waiting.result(30)] == [other.id]


def test_a_cancel_reaches_a_polling_node(server: Server, aws: Aws, fleet: Fleet) -> None:
    node = fleet.node(online=False)
    poller = Poller(server, node)
    command_id = send(aws, node)
    (message,) = poller.messages()
    poller.reply(message, report("InProgress"))
    aws("ssm").cancel_command(CommandId=command_id)
    (cancel,) = poller.messages()
    assert cancel["Topic"] == "aws.ssm.cancelCommand.eu-west-1"
    assert json.loads(cancel["Payload"]) == {"CancelMessageId": message["MessageId"]}
    assert status(aws, command_id, node) == "Cancelling"
    assert poller.reply(cancel, report("InProgress")) == 200
    poller.reply(message, report("Cancelled"))
    assert status(aws, command_id, node) == "Cancelled"


def test_a_parse_failure_names_its_reason(server: Server, aws: Aws, fleet: Fleet) -> None:
    node = fleet.node(online=False)
    poller = Poller(server, node)
    command_id = send(aws, node)
    (message,) = poller.messages()
    poller.reply(message, report("Failed", trace="the parameter is not there"))
    (listed,) = aws("ssm").list_command_invocations(CommandId=command_id)["CommandInvocations"]
    assert (listed["Status"], listed["TraceOutput"]) == ("Failed", "the parameter is not there")


def test_nodes_reach_their_own_messages_only(server: Server, aws: Aws, fleet: Fleet) -> None:
    node, other = fleet.nodes(2, online=False)
    command_id = send(aws, node)
    (message,) = Poller(server, node).messages()
    stranger = Poller(server, other)
    for name, more in (("AcknowledgeMessage", {}), ("SendReply", {"Payload": "{}", "ReplyId": "r"})):
        code, answer = stranger.ask(name, MessageId=message["MessageId"], **more)
        assert (code, answer["__type"]) == (400, "AccessDeniedException")
    code, answer = stranger.ask("GetMessages", Destination=node.id, MessagesRequestId="r")
    assert (code, answer["__type"]) == (400, "AccessDeniedException")
    assert status(aws, command_id, node) == "InProgress"
