"""Delivery as it can go wrong: silence, refusals, reboots, nodes that leave, faults and crowds; on both engines."""

from typing import Any

import pytest
from botocore.exceptions import ConnectionClosedError

from pilothouse.capabilities.commands.agent import CommandSender
from pilothouse.gateway import delivery, dispatcher, intake
from tests.capabilities.commands.conftest import (
    BUSY,
    HOLDING,
    LATE,
    SILENT,
    Fleet,
    Send,
    Until,
    command_of,
    reasons,
    refused,
    statuses,
)
from tests.conftest import Aws, Server
from tests.gateway.scripted_agent import SHELL, Job, Script, report, step


def test_silence_is_answered_by_sending_again_and_then_by_giving_up(
    ssm: Any, server: Server, fleet: Fleet, send: Send, until: Until
) -> None:  # fmt: skip
    node = fleet.node(script=SILENT)
    command = send(node.id)
    until(lambda: len(node.agent.jobs) == 1)
    server.advance(seconds=16)
    until(lambda: len(node.agent.jobs) == 2)
    server.advance(seconds=31)
    until(lambda: len(node.agent.jobs) == 3)
    assert len({job.message_id for job in node.agent.jobs}) == 3
    assert {job.job_id for job in node.agent.jobs} == {f"aws.ssm.{command['CommandId']}.{node.id}"}
    node.disconnect()
    server.advance(seconds=31)
    until(lambda: statuses(ssm, command["CommandId"]) == ["Delayed"])
    server.advance(minutes=25)
    until(lambda: statuses(ssm, command["CommandId"]) == ["DeliveryTimedOut"])
    node.connect()
    late = report("Success", {SHELL: step(stdout="too late")})
    node.reply(f"aws.ssm.{command['CommandId']}.{node.id}", late)
    until(lambda: node.agent.receipts)
    got = ssm.get_command_invocation(CommandId=command["CommandId"], InstanceId=node.id)
    assert (got["StatusDetails"], got["StandardOutputContent"]) == ("DeliveryTimedOut", "too late")
    assert len(node.agent.jobs) == 3


def test_a_new_channel_gets_what_was_not_acknowledged_at_once(
    ssm: Any, fleet: Fleet, send: Send, until: Until
) -> None:  # fmt: skip
    node = fleet.node(script=SILENT)
    command = send(node.id)
    until(lambda: len(node.agent.jobs) == 1)
    node.disconnect()
    node.agent.script = Script()
    node.connect()
    until(lambda: statuses(ssm, command["CommandId"]) == ["Success"])
    assert len(node.agent.jobs) == 2


def test_what_came_due_while_its_process_counted_as_dead_goes_out_when_that_is_seen_again(
    ssm: Any, server: Server, fleet: Fleet, send: Send, until: Until
) -> None:  # fmt: skip
    """A clock that leaps, or a database that was away, makes nodes look gone whose channels are open all the time."""
    node = fleet.node(script=SILENT)
    command = send(node.id)
    until(lambda: len(node.agent.jobs) == 1)

    async def unseen() -> None:
        application = server.application
        async with application.house.database.transaction() as tx:
            await tx.execute("update gateway_process set seen_at = 0")
            await tx.execute("update outbox_message set next_at = 0 where node_id = :id", id=node.id)
            await delivery.note_silence(application.house, tx, application.edge._senders)

    server.run(unseen())
    assert statuses(ssm, command["CommandId"]) == ["Delayed"]
    node.agent.script = Script()
    server.advance(seconds=31)
    until(lambda: statuses(ssm, command["CommandId"]) == ["Success"])
    assert len(node.agent.jobs) == 2


def test_a_busy_node_is_asked_again_later(
    ssm: Any, server: Server, fleet: Fleet, send: Send, until: Until
) -> None:  # fmt: skip
    node = fleet.node(script=BUSY)
    command = send(node.id)
    until(lambda: statuses(ssm, command["CommandId"]) == ["Delayed"])
    node.agent.script = Script()
    server.advance(seconds=6)
    until(lambda: statuses(ssm, command["CommandId"]) == ["Success"])


def test_a_refused_command_is_cancelled_at_once(ssm: Any, fleet: Fleet, send: Send, until: Until) -> None:
    node = fleet.node(script=BUSY)
    command = send(node.id)
    until(lambda: statuses(ssm, command["CommandId"]) == ["Delayed"])
    ssm.cancel_command(CommandId=command["CommandId"])
    assert statuses(ssm, command["CommandId"]) == ["Cancelled"]


@pytest.mark.parametrize(
    ("code", "details", "trace"),
    [
        ("51408", "Failed", "The node could not parse the document."),
        ("51406", "Failed", "InvalidDocument"),
        ("51407", "Undeliverable", "InvalidDocument"),
    ],
)
def test_final_refusals(
    ssm: Any, fleet: Fleet, send: Send, until: Until, code: str, details: str, trace: str
) -> None:  # fmt: skip
    node = fleet.node(script=Script(code=code, message="InvalidDocument"))
    command = send(node.id)
    until(lambda: statuses(ssm, command["CommandId"]) == [details])
    (listed,) = ssm.list_command_invocations(CommandId=command["CommandId"])["CommandInvocations"]
    assert listed["TraceOutput"] == trace


def test_a_deregistered_node_is_undeliverable(ssm: Any, fleet: Fleet, send: Send, until: Until) -> None:
    sent, waiting = fleet.node(script=HOLDING), fleet.node(online=False)
    command = send(sent.id, waiting.id)
    until(lambda: sent.agent.running)
    for node in (sent, waiting):
        ssm.deregister_managed_instance(InstanceId=node.id)
    assert statuses(ssm, command["CommandId"]) == ["Undeliverable", "Undeliverable"]
    (reason,) = reasons(ssm, command["CommandId"])
    assert "deregistered before it told of a result" in reason
    assert command_of(ssm, command["CommandId"])["StatusDetails"] == "Failed"
    until(lambda: sent.agent._task.done())  # type: ignore[union-attr]


def test_a_reboot_keeps_it_in_progress(ssm: Any, fleet: Fleet, send: Send, until: Until) -> None:
    rebooting = {SHELL: step("SuccessAndReboot", code=194)}
    node = fleet.node(script=Script(replies=[report("SuccessAndReboot", rebooting)]))
    command = send(node.id)
    until(lambda: node.agent.receipts)
    assert statuses(ssm, command["CommandId"]) == ["InProgress"]
    node.reply(node.agent.jobs[0].job_id, report("Success", {SHELL: step(stdout="up again")}))
    until(lambda: statuses(ssm, command["CommandId"]) == ["Success"])
    got = ssm.get_command_invocation(CommandId=command["CommandId"], InstanceId=node.id)
    assert (got["ResponseCode"], got["StandardOutputContent"]) == (0, "up again")


def test_old_history_is_removed(ssm: Any, server: Server, fleet: Fleet, send: Send, until: Until) -> None:
    node = fleet.node()
    command = send(node.id)
    until(lambda: command_of(ssm, command["CommandId"])["Status"] == "Success")
    server.advance(days=31)
    until(lambda: ssm.list_commands()["Commands"] == [])
    assert ssm.list_command_invocations()["CommandInvocations"] == []


def test_a_command_whose_answer_was_lost_is_the_same_when_it_is_asked_for_again(
    aws: Aws, ssm: Any, server: Server, fleet: Fleet, until: Until
) -> None:
    node = fleet.node()
    client, lost = aws("ssm"), set[str]()

    def lose(request: Any, **_: Any) -> None:
        """The server has answered when the connection breaks; the SDK asks again by itself."""
        call = request.headers["amz-sdk-invocation-id"]
        if call not in lost:
            lost.add(call)
            assert server.answer(request).status_code == 200
            raise ConnectionClosedError(endpoint_url=request.url)

    client.meta.events.register_first("before-send.ssm", lose)
    ids = []
    for number in range(50):
        made = client.send_command(
            InstanceIds=[node.id], DocumentName="AWS-RunShellScript", Parameters={"commands": [f"echo {number}"]}
        )
        assert made["ResponseMetadata"]["RetryAttempts"] == 1
        ids.append(made["Command"]["CommandId"])
    assert len(lost) == 50
    until(lambda: all(each["Status"] == "Success" for each in ssm.list_commands(MaxResults=50)["Commands"]))
    assert sorted(each["CommandId"] for each in ssm.list_commands(MaxResults=50)["Commands"]) == sorted(ids)
    assert "NextToken" not in ssm.list_commands(MaxResults=50)
    assert sorted(job.command_id for job in node.agent.jobs) == sorted(ids)


def test_commands_of_other_accounts_are_not_there(
    ssm: Any, aws: Aws, server: Server, fleet: Fleet, send: Send
) -> None:  # fmt: skip
    node = fleet.node(online=False)
    command = send(node.id)["CommandId"]
    elsewhere = aws("ssm", region="us-east-1")
    assert elsewhere.list_commands(CommandId=command)["Commands"] == []
    assert refused(lambda: elsewhere.cancel_command(CommandId=command)) == "InvalidCommandId"


def test_nodes_of_another_platform(ssm: Any, fleet: Fleet, send: Send, until: Until) -> None:
    linux = fleet.node(tags={"env": "mixed"}, platform="Linux")
    windows = fleet.node(tags={"env": "mixed"}, platform="Windows")
    assert refused(lambda: send(windows.id)) == "UnsupportedPlatformType"
    command = send(Targets=[{"Key": "tag:env", "Values": ["mixed"]}])
    until(lambda: statuses(ssm, command["CommandId"]) == ["InvalidPlatform", "Success"])
    assert command_of(ssm, command["CommandId"])["Status"] == "Success"
    assert (len(linux.agent.jobs), len(windows.agent.jobs)) == (1, 0)
    (reason,) = reasons(ssm, command["CommandId"])
    assert "AWS-RunShellScript is not for the platform of this node" in reason
    only_windows = send(Targets=[{"Key": "InstanceIds", "Values": [windows.id]}])
    assert (only_windows["Status"], only_windows["StatusDetails"]) == ("Failed", "Failed")


def test_one_reply_that_cannot_be_stored_harms_no_other(
    ssm: Any, server: Server, fleet: Fleet, send: Send, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    poisoned, *others = fleet.nodes(5, tags={"env": "dev"}, script=HOLDING)
    command = send(Targets=[{"Key": "tag:env", "Values": ["dev"]}])
    until(lambda: all(node.agent.running for node in (poisoned, *others)))
    stored = CommandSender.replied

    async def replied(self: CommandSender, house: Any, tx: Any, replies: Any) -> None:
        await stored(self, house, tx, replies)
        if any(reply.message.node_id == poisoned.id for reply in replies):
            raise RuntimeError("a fault of ours")

    monkeypatch.setattr(CommandSender, "replied", replied)

    async def all_at_once() -> None:
        for node in (poisoned, *others):
            await node.agent.reply(node.agent.jobs[0].job_id, report("Success", {SHELL: step()}), message_id=LATE)

    server.run(all_at_once())
    until(lambda: statuses(ssm, command["CommandId"]) == ["InProgress"] + ["Success"] * 4)
    assert all(LATE in node.agent.receipts for node in others)
    assert LATE not in poisoned.agent.receipts
    monkeypatch.undo()


def test_limits_hold_when_everything_happens_at_once(
    ssm: Any, server: Server, fleet: Fleet, send: Send, until: Until
) -> None:  # fmt: skip
    """Two commands over the same nodes, some of which drop their channel under way, some fail."""
    busy: dict[str, set[str]] = {}
    most: dict[str, int] = {}
    done: set[str] = set()

    def script(job: Job) -> Script:
        running = busy.setdefault(job.command_id, set())
        if job.job_id not in done:  # sent again, because the channel was lost before the acknowledgement
            running.add(job.job_id)
        most[job.command_id] = max(most.get(job.command_id, 0), len(running))
        return Script(replies=[report("InProgress")])

    nodes = fleet.nodes(24, tags={"env": "dev"}, script=script)
    failing = {node.id for node in nodes[:3]}
    limits = {"MaxConcurrency": "5", "MaxErrors": "50%"}
    sent = [send(Targets=[{"Key": "tag:env", "Values": ["dev"]}], **limits)["CommandId"] for _ in range(2)]
    while len(done) < 48:
        command_id, job_id = until(lambda: next(((c, j) for c, jobs in busy.items() for j in jobs), None))
        node = next(each for each in nodes if job_id.endswith(each.id))
        if len(done) % 7 == 3:
            node.disconnect()
            node.connect()
        done.add(job_id)
        busy[command_id].discard(job_id)
        result = "Failed" if node.id in failing else "Success"
        node.reply(job_id, report(result, {SHELL: step(result)}))
    for command_id in sent:
        until(lambda: command_of(ssm, command_id)["CompletedCount"] == 24)  # noqa: B023
        assert statuses(ssm, command_id) == ["Failed"] * 3 + ["Success"] * 21
    assert max(most.values()) <= 5
    assert all(len({job.job_id for job in node.agent.commands}) == 2 for node in nodes)


def test_more_answers_than_are_stored_at_once_all_count(
    ssm: Any, fleet: Fleet, send: Send, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setattr(intake, "BATCH", 3)
    monkeypatch.setattr(intake, "QUEUE", 5)
    monkeypatch.setattr(dispatcher, "BATCH", 4)
    nodes = fleet.nodes(15, tags={"env": "dev"})
    command = send(Targets=[{"Key": "tag:env", "Values": ["dev"]}], MaxConcurrency="100%")
    until(lambda: command_of(ssm, command["CommandId"])["Status"] == "Success")
    assert statuses(ssm, command["CommandId"]) == ["Success"] * 15
    assert [len(node.agent.jobs) for node in nodes] == [1] * 15
    until(lambda: [len(node.agent.receipts) for node in nodes] == [3] * 15)
