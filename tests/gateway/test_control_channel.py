"""The control channel: tokens, replacement, deregistration, and what a hostile or broken node may send."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from tests.capabilities.commands.conftest import Fleet, Node, Until
from tests.conftest import Aws, Server
from tests.gateway.scripted_agent import InProcess, Refused, Script, report

from pilothouse.capabilities import access, access_requests, nodes
from pilothouse.capabilities.sessions import Keeper
from pilothouse.gateway.edge import Edge
from pilothouse.gateway.frames import Frame, decode, encode
from pilothouse.identity.principals import Principal
from pilothouse.storage import StorageUnavailable
from pilothouse.wire.http import Request
from pilothouse.wire.sigv4 import Authenticator

HOLDING = Script(replies=[report("InProgress")])


def send(aws: Aws, *nodes: Node) -> str:
    command = aws("ssm").send_command(
        DocumentName="AWS-RunShellScript", InstanceIds=[node.id for node in nodes], Parameters={"commands": ["true"]}
    )
    command_id: str = command["Command"]["CommandId"]
    return command_id


def status(aws: Aws, command_id: str, node: Node) -> str:
    got = aws("ssm").get_command_invocation(CommandId=command_id, InstanceId=node.id)
    details: str = got["StatusDetails"]
    return details


def connected(aws: Aws, node: Node) -> bool:
    return bool(aws("ssm").get_connection_status(Target=node.id)["Status"] == "connected")


def test_a_token_opens_one_channel_once(server: Server, aws: Aws, fleet: Fleet, until: Until) -> None:
    node, other = fleet.nodes(2, online=False)
    edge = server.application.edge
    token = server.run(InProcess.create(edge, node.who))

    async def opened_by(who: Any, token: str) -> bool:
        channel = await InProcess.open(edge, who, token)
        message = {"SchemaVersion": 1, "TaskId": "t", "Topic": "agent_task_complete"}
        frame = Frame("agent_task_complete", "00112233-4455-6677-8899-aabbccddeeff", 1, json.dumps(message).encode())
        await channel.send(encode(frame))
        answer = await channel.receive()
        await channel.close()
        if answer is None:
            return False
        acknowledged = decode(answer)
        assert acknowledged.message_type == "agent_task_acknowledge"
        assert json.loads(acknowledged.payload)["MessageId"] == frame.message_id
        return True

    assert not server.run(opened_by(other.who, token))
    assert server.run(opened_by(node.who, token))
    assert not server.run(opened_by(node.who, token))
    late = server.run(InProcess.create(edge, node.who))
    server.advance(seconds=61)
    assert not server.run(opened_by(node.who, late))
    until(lambda: not connected(aws, node))


def test_only_the_node_itself_gets_a_channel(server: Server, fleet: Fleet) -> None:
    node, other = fleet.nodes(2, online=False)
    edge = server.application.edge
    with pytest.raises(Refused) as refusal:
        server.run(InProcess.create(edge, node.who, f"/v1/control-channel/{other.id}"))
    assert refusal.value.status == 403
    assert b"<UnknownException>" in refusal.value.body
    unsigned = Request("POST", f"/v1/control-channel/{node.id}", "", {"host": "x"}, b"{}", "127.0.0.1", True)
    answer = server.run(edge.control.create(unsigned))
    assert answer.status == 403
    assert b"AccessDeniedException" not in answer.body


def test_a_newer_channel_takes_the_place_of_the_older(server: Server, aws: Aws, fleet: Fleet, until: Until) -> None:
    node = fleet.node(script=HOLDING)
    first = node.agent._task
    node.connect()
    assert first is not None
    until(first.done)
    until(lambda: connected(aws, node))
    command_id = send(aws, node)
    until(lambda: status(aws, command_id, node) == "InProgress")
    until(lambda: len(node.agent.commands) == 1)


def test_deregistration_closes_the_channel_and_the_door(
    server: Server, aws: Aws, fleet: Fleet, until: Until
) -> None:  # fmt: skip
    node = fleet.node()
    until(lambda: connected(aws, node))
    aws("ssm").deregister_managed_instance(InstanceId=node.id)
    until(lambda: node.agent._task is not None and node.agent._task.done())
    with pytest.raises(Refused) as refusal:
        server.run(InProcess.create(server.application.edge, node.who))
    assert refusal.value.status == 403
    assert b"AccessDeniedException" not in refusal.value.body


def frame(kind: str, payload: bytes) -> bytes:
    return encode(Frame(kind, "00112233-4455-6677-8899-aabbccddeeff", 1, payload))


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\0" * 500,
        "text that is no frame",
        frame("agent_job_ack", b"{"),
        frame("agent_job_ack", b"[]"),
        frame("agent_job_ack", b'{"jobId": 7, "statusCode": 200}'),
        frame("agent_job_reply", b'{"jobId": "\xff"}'),
        frame("agent_job_reply", b"[" * 100_000),
        frame("agent_job_reply", b'{"jobId": "", "content": ""}'),
        frame("agent_task_complete", b"null"),
        frame("agent_telemetry", b"anything"),
        frame("no_such_type", b"{}"),
        frame("interactive_shell", b"{}"),
    ],
    ids=repr,
)
def test_malformed_messages_harm_nobody(
    server: Server, aws: Aws, fleet: Fleet, until: Until, message: bytes | str
) -> None:  # fmt: skip
    node = fleet.node()
    server.run(node.agent.send_raw(message))
    command_id = send(aws, node)
    until(lambda: status(aws, command_id, node) == "Success")


def test_a_message_over_the_limit_closes_the_channel(server: Server, fleet: Fleet, until: Until) -> None:
    node = fleet.node()
    server.run(node.agent.send_raw(b"x" * (256 * 1024 + 1)))
    until(lambda: node.agent._task is not None and node.agent._task.done())


def test_a_node_speaks_for_itself_only(server: Server, aws: Aws, fleet: Fleet, until: Until) -> None:
    node, liar = fleet.node(script=HOLDING), fleet.node()
    command_id = send(aws, node)
    until(lambda: node.agent.running)
    job_id = f"aws.ssm.{command_id}.{node.id}"
    message_id = server.run(liar.agent.reply(job_id, report("Success")))
    forged = server.run(liar.agent.reply(f"aws.ssm.{command_id}.{liar.id}", report("Success")))
    until(lambda: forged in liar.agent.receipts)
    assert message_id not in liar.agent.receipts
    assert status(aws, command_id, node) == "InProgress"


def test_unreadable_results_are_receipted_and_change_nothing(
    server: Server, aws: Aws, fleet: Fleet, until: Until
) -> None:  # fmt: skip
    node = fleet.node(script=HOLDING)
    command_id = send(aws, node)
    until(lambda: node.agent.running)
    job_id = f"aws.ssm.{command_id}.{node.id}"
    contents: list[Any] = [[], {"documentStatus": 5}, {"documentStatus": "Success", "runtimeStatus": {"x": 1}}]
    receipts = [server.run(node.agent.reply(job_id, content)) for content in contents]
    until(lambda: node.agent.receipts.issuperset(receipts))
    assert status(aws, command_id, node) == "InProgress"
    server.run(
        node.agent.reply(job_id, report("Success", {"aws:runShellScript": {"status": "Success", "output": "\0"}}))
    )
    until(lambda: status(aws, command_id, node) == "Success")


def test_a_repeated_reply_is_receipted_again_and_changes_nothing(
    server: Server, aws: Aws, fleet: Fleet, until: Until
) -> None:  # fmt: skip
    node = fleet.node(script=HOLDING)
    command_id = send(aws, node)
    until(lambda: node.agent.running)
    job_id = f"aws.ssm.{command_id}.{node.id}"
    server.run(node.agent.reply(job_id, report("Failed"), message_id="00112233-4455-6677-8899-aabbccddeeff"))
    until(lambda: status(aws, command_id, node) == "Failed")
    node.agent.receipts.clear()
    server.run(node.agent.reply(job_id, report("Failed"), message_id="00112233-4455-6677-8899-aabbccddeeff"))
    late = server.run(node.agent.reply(job_id, report("Success")))
    until(lambda: late in node.agent.receipts)
    assert "00112233-4455-6677-8899-aabbccddeeff" in node.agent.receipts
    assert status(aws, command_id, node) == "Failed"
    (command,) = aws("ssm").list_commands(CommandId=command_id)["Commands"]
    assert (command["CompletedCount"], command["ErrorCount"]) == (1, 1)


def test_a_database_that_fails_while_a_channel_opens_leaves_no_dead_channel(server: Server, fleet: Fleet) -> None:
    node, house = fleet.node(online=False), server.application.house

    async def fails(node_ids: Sequence[str]) -> set[str]:
        raise StorageUnavailable("gone")

    async def no_key(node_id: str, text: bytes, signature: bytes) -> Principal:
        raise AssertionError(node_id)

    async def channels_left() -> int:
        credentials = access.AccessCredentials(house, nodes.Rights(house).of, access_requests.granted)
        authenticator = Authenticator(credentials, house.clock, no_key)

        async def authenticate(request: Request) -> tuple[Principal, str]:
            return await authenticator.principal(request, "ssmmessages")

        edge = Edge(house, {}, authenticate, fails, "another", Keeper(credentials.find))
        channel = await InProcess.open(edge, node.who, await InProcess.create(edge, node.who))
        assert await channel.receive() is None
        return len(edge.channels)

    assert server.run(channels_left()) == 0
