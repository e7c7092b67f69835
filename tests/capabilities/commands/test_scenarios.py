"""Run Command as users meet it: boto3 on one side, scripted agents on the other, on both engines."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from pilothouse.capabilities.commands.agent import CommandSender
from tests.capabilities.commands.conftest import Fleet, Until
from tests.conftest import Aws, Server
from tests.gateway.scripted_agent import SHELL, Job, Script, ended, report, step

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


def refused(call: Callable[[], Any]) -> str:
    with pytest.raises(ClientError) as error:
        call()
    code: str = error.value.response["Error"]["Code"]
    return code


def test_a_command_runs_and_shows_its_output(ssm: Any, fleet: Fleet, send: Send, until: Until) -> None:
    node = fleet.node(script=Script(replies=ended(stdout="web-1\n")))
    command = send(node.id)
    assert command["Status"] == "Pending"
    assert command["TargetCount"] == 1
    until(lambda: command_of(ssm, command["CommandId"])["Status"] == "Success")
    got = ssm.get_command_invocation(CommandId=command["CommandId"], InstanceId=node.id)
    assert (got["Status"], got["StatusDetails"], got["ResponseCode"]) == ("Success", "Success", 0)
    assert got["StandardOutputContent"] == "web-1\n"
    assert got["PluginName"] == SHELL
    assert got["ExecutionElapsedTime"] == "PT0.123S"
    assert got["ExecutionStartDateTime"] == "2026-11-23T17:03:41.143Z"
    until(lambda: len(node.agent.receipts) == 3)
    (job,) = node.agent.jobs
    assert job.content["CommandId"] == command["CommandId"]
    assert job.content["Parameters"] == {"commands": ["hostname"]}
    assert job.content["CloudWatchOutputEnabled"] == "false"
    assert job.topic == "aws.ssm.sendCommand.eu-west-1"


def test_a_failing_script_fails_the_command(ssm: Any, fleet: Fleet, send: Send, until: Until) -> None:
    node = fleet.node(script=Script(replies=ended("Failed", code=3, stderr="no")))
    command = send(node.id)
    shown = until(lambda: (now := command_of(ssm, command["CommandId"]))["Status"] == "Failed" and now)
    assert (shown["StatusDetails"], shown["ErrorCount"], shown["CompletedCount"]) == ("Failed", 1, 1)
    got = ssm.get_command_invocation(CommandId=command["CommandId"], InstanceId=node.id)
    assert (got["Status"], got["ResponseCode"], got["StandardErrorContent"]) == ("Failed", 3, "no")


def test_never_more_at_once_than_max_concurrency(
    ssm: Any, fleet: Fleet, send: Send, until: Until
) -> None:  # fmt: skip
    nodes = fleet.nodes(10, tags={"env": "dev"}, script=HOLDING)
    command = send(Targets=[{"Key": "tag:env", "Values": ["dev"]}], MaxConcurrency="2")
    most = 0
    finished: set[str] = set()
    while len(finished) < 10:
        busy = until(lambda: [node for node in nodes if node.agent.running])
        most = max(most, len([each for each in statuses(ssm, command["CommandId"]) if each == "InProgress"]), len(busy))
        for node in busy:
            (job_id,) = node.agent.running
            node.agent.running.clear()
            finished.add(node.id)
            node.reply(job_id, report("Success", {SHELL: step()}))
    until(lambda: command_of(ssm, command["CommandId"])["Status"] == "Success")
    assert most == 2
    assert all(len(node.agent.commands) == 1 for node in nodes)


def test_max_errors_stops_the_rest(ssm: Any, fleet: Fleet, send: Send, until: Until) -> None:
    fleet.nodes(10, tags={"env": "dev"}, script=Script(replies=ended("Failed", code=1)))
    command = send(Targets=[{"Key": "tag:env", "Values": ["dev"]}], MaxConcurrency="1", MaxErrors="2")
    shown = until(lambda: (now := command_of(ssm, command["CommandId"]))["Status"] == "Failed" and now)
    assert statuses(ssm, command["CommandId"]) == ["Failed"] * 3 + ["Terminated"] * 7
    assert (shown["StatusDetails"], shown["ErrorCount"], shown["CompletedCount"]) == ("Failed", 3, 10)


def test_tolerated_errors_leave_it_incomplete(ssm: Any, fleet: Fleet, send: Send, until: Until) -> None:
    fleet.nodes(9, tags={"env": "dev"})
    fleet.node(tags={"env": "dev"}, script=Script(replies=ended("Failed", code=1)))
    command = send(Targets=[{"Key": "tag:env", "Values": ["dev"]}], MaxErrors="100%")
    shown = until(lambda: (now := command_of(ssm, command["CommandId"]))["Status"] == "Failed" and now)
    assert (shown["StatusDetails"], shown["ErrorCount"], shown["CompletedCount"]) == ("Incomplete", 1, 10)


def test_no_node_has_the_tag(ssm: Any, fleet: Fleet, send: Send) -> None:
    command = send(Targets=[{"Key": "tag:env", "Values": ["nowhere"]}])
    assert (command["Status"], command["StatusDetails"], command["TargetCount"]) == ("Success", "NoInstancesInTag", 0)
    assert command_of(ssm, command["CommandId"])["StatusDetails"] == "NoInstancesInTag"


def test_a_node_that_stays_away_times_out(
    ssm: Any, server: Server, fleet: Fleet, send: Send, until: Until
) -> None:  # fmt: skip
    node = fleet.node(online=False)
    command = send(node.id, TimeoutSeconds=30, Parameters={"commands": ["true"], "executionTimeout": ["30"]})
    server.advance(seconds=31)
    node.connect()  # too late to start
    server.advance(seconds=31)
    until(lambda: statuses(ssm, command["CommandId"]) == ["DeliveryTimedOut"])
    shown = command_of(ssm, command["CommandId"])
    assert (shown["Status"], shown["StatusDetails"]) == ("TimedOut", "DeliveryTimedOut")
    assert (shown["DeliveryTimedOutCount"], shown["ErrorCount"]) == (1, 0)
    assert node.agent.jobs == []
    (listed,) = ssm.list_command_invocations(CommandId=command["CommandId"], Details=True)["CommandInvocations"]
    assert listed["CommandPlugins"][0]["StatusDetails"] == "DeliveryTimedOut"


def test_a_node_that_returns_in_time_runs_it(
    ssm: Any, server: Server, fleet: Fleet, send: Send, until: Until
) -> None:  # fmt: skip
    node = fleet.node(online=False)
    command = send(node.id, TimeoutSeconds=30)
    server.advance(seconds=25)
    assert statuses(ssm, command["CommandId"]) == ["Pending"]
    node.connect()
    until(lambda: statuses(ssm, command["CommandId"]) == ["Success"])


def test_a_plugin_timeout_is_an_error(ssm: Any, fleet: Fleet, send: Send, until: Until) -> None:
    node = fleet.node(script=Script(replies=ended("TimedOut", code=137)))
    command = send(node.id, Parameters={"commands": ["sleep 100"], "executionTimeout": ["5"]})
    shown = until(lambda: (now := command_of(ssm, command["CommandId"]))["CompletedCount"] and now)
    assert (shown["Status"], shown["StatusDetails"], shown["ErrorCount"]) == ("TimedOut", "ExecutionTimedOut", 1)


def test_cancel_is_true_only_on_the_nodes_word(
    ssm: Any, server: Server, fleet: Fleet, send: Send, until: Until
) -> None:  # fmt: skip
    node = fleet.node(script=Script(replies=[report("InProgress")], heeds_cancel=False))
    command = send(node.id)
    until(lambda: node.agent.running)
    ssm.cancel_command(CommandId=command["CommandId"])
    until(lambda: node.agent.cancels)
    assert statuses(ssm, command["CommandId"]) == ["Cancelling"]
    assert command_of(ssm, command["CommandId"])["Status"] == "Cancelling"
    first = node.agent.cancels[0].job_id
    server.advance(seconds=16)
    until(lambda: len(node.agent.cancels) >= 2)
    assert node.agent.cancels[1].job_id != first
    assert node.agent.cancels[1].content == {"CancelMessageId": f"aws.ssm.{command['CommandId']}.{node.id}"}
    node.agent.script.heeds_cancel = True  # type: ignore[union-attr]
    server.advance(seconds=61)
    until(lambda: statuses(ssm, command["CommandId"]) == ["Cancelled"])
    assert command_of(ssm, command["CommandId"])["StatusDetails"] == "Cancelled"
    count = len(node.agent.cancels)
    server.advance(seconds=120)
    ssm.cancel_command(CommandId=command["CommandId"])  # finished: no effect, no error
    assert len(node.agent.cancels) == count
    assert len(node.agent.commands) == 1


def test_what_was_not_sent_is_cancelled_at_once(ssm: Any, fleet: Fleet, send: Send) -> None:
    away, other = fleet.nodes(2, online=False)
    command = send(away.id, other.id)
    unknown = ["mi-0123456789abcdef0"]
    stranger = refused(lambda: ssm.cancel_command(CommandId=command["CommandId"], InstanceIds=unknown))
    assert stranger == "InvalidInstanceId"
    ssm.cancel_command(CommandId=command["CommandId"], InstanceIds=[away.id])
    assert statuses(ssm, command["CommandId"]) == ["Cancelled", "Pending"]
    ssm.cancel_command(CommandId=command["CommandId"])
    assert statuses(ssm, command["CommandId"]) == ["Cancelled", "Cancelled"]
    assert command_of(ssm, command["CommandId"])["Status"] == "Cancelled"


def test_output_is_cut_at_the_documented_lengths(ssm: Any, fleet: Fleet, send: Send, until: Until) -> None:
    stdout = ("o" * 24_000)[: 24_000 - len("--output truncated--")] + "--output truncated--"
    node = fleet.node(script=Script(replies=ended("Failed", code=1, stdout=stdout, stderr="e" * 12_000)))
    command = send(node.id)
    until(lambda: statuses(ssm, command["CommandId"]) == ["Failed"])
    got = ssm.get_command_invocation(CommandId=command["CommandId"], InstanceId=node.id)
    assert got["StandardOutputContent"] == stdout
    assert got["StandardErrorContent"] == "e" * 8_000
    (listed,) = ssm.list_command_invocations(CommandId=command["CommandId"], Details=True)["CommandInvocations"]
    assert listed["CommandPlugins"][0]["Output"] == "o" * 2_500


def test_steps_are_read_by_name(ssm: Any, fleet: Fleet, send: Send, until: Until) -> None:
    steps = {
        "downloadContent": step(stdout="fetched"),
        "runPowerShellScript": step("Skipped", stdout="skipped"),
        "runShellScript": step(stdout="ran"),
    }
    replies = [report("InProgress"), report("Success", {})]  # the final reply comes first and holds no step
    replies += [report("InProgress", {name: result}) for name, result in steps.items()]
    node = fleet.node(script=Script(replies=replies))
    command = send(
        node.id, DocumentName="AWS-RunRemoteScript", OutputS3BucketName="outputs", OutputS3KeyPrefix="pre",
        Parameters={"sourceType": ["S3"], "sourceInfo": ['{"path": "https://x"}'], "commandLine": ["ls"]},
    )  # fmt: skip
    until(lambda: statuses(ssm, command["CommandId"]) == ["Success"])
    until(lambda: len(node.agent.receipts) == 5)

    def get(**name: str) -> Any:
        return ssm.get_command_invocation(CommandId=command["CommandId"], InstanceId=node.id, **name)

    assert get(PluginName="runShellScript")["StandardOutputContent"] == "ran"
    assert get(PluginName="runShellScript")["StandardOutputUrl"].endswith(
        f"/outputs/pre/{command['CommandId']}/{node.id}/awsrunShellScript/runShellScript/stdout"
    )
    skipped = get(PluginName="runPowerShellScript")
    assert (skipped["Status"], skipped["StatusDetails"]) == ("Success", "Skipped")
    aggregated = get()
    assert (aggregated["Status"], aggregated["PluginName"], aggregated["StandardOutputContent"]) == ("Success", "", "")
    assert refused(lambda: get(PluginName="noSuchStep")) == "InvalidPluginName"
    (job,) = node.agent.jobs
    assert job.content["Parameters"]["sourceInfo"] == {"path": "https://x"}


def test_bad_requests_are_refused_before_anything_is_sent(ssm: Any, fleet: Fleet, send: Send) -> None:
    node = fleet.node(online=False)
    unknown = "mi-0123456789abcdef0"
    commands = {"commands": ["true"]}
    assert refused(lambda: send(node.id, Parameters=commands | {"nope": ["x"]})) == "InvalidParameters"
    assert refused(lambda: send(node.id, Parameters={})) == "InvalidParameters"
    assert refused(lambda: send(node.id, Parameters=commands | {"executionTimeout": ["soon"]})) == "InvalidParameters"
    assert refused(lambda: send(node.id, Parameters={"commands": ["echo {{ssm:nowhere}}"]})) == "InvalidParameters"
    assert refused(lambda: send(node.id, DocumentName="No-Such-Document")) == "InvalidDocument"
    assert refused(lambda: send(node.id, DocumentVersion="7")) == "InvalidDocumentVersion"
    assert refused(lambda: send(node.id, DocumentHash="0" * 64, DocumentHashType="Sha256")) == "InvalidDocument"
    assert refused(lambda: send(node.id, node.id)) == "DuplicateInstanceId"
    assert refused(lambda: send(unknown)) == "InvalidInstanceId"
    assert refused(lambda: send()) == "ValidationException"
    assert refused(lambda: send(node.id, Targets=[{"Key": "tag:a", "Values": ["b"]}])) == "ValidationException"
    assert refused(lambda: send(node.id, Parameters={"commands": ["x" * 66_000]})) == "MaxDocumentSizeExceeded"
    assert refused(lambda: send(node.id, OutputS3BucketName="Not_A_Bucket")) == "InvalidOutputFolder"
    topic = {"NotificationArn": "arn:aws:sns:eu-west-1:123456789012:done"}
    assert refused(lambda: send(node.id, NotificationConfig=topic)) == "InvalidRole"
    role = {"ServiceRoleArn": "arn:aws:iam::123456789012:role/notify"}
    assert refused(lambda: send(node.id, NotificationConfig={"NotificationArn": "x"}, **role)) == (
        "InvalidNotificationConfig"
    )
    assert ssm.list_commands()["Commands"] == []


def test_unknown_commands_and_pairs(ssm: Any, fleet: Fleet, send: Send) -> None:
    node = fleet.node(online=False)
    command = send(node.id)["CommandId"]
    other = "01234567-89ab-cdef-0123-456789abcdef"

    def get(command_id: str, node_id: str) -> Callable[[], Any]:
        return lambda: ssm.get_command_invocation(CommandId=command_id, InstanceId=node_id)

    assert refused(get(other, node.id)) == "InvocationDoesNotExist"
    assert refused(get(command, "mi-0123456789abcdef0")) == "InvocationDoesNotExist"
    assert refused(lambda: ssm.cancel_command(CommandId=other)) == "InvalidCommandId"
    assert ssm.list_commands(CommandId=other)["Commands"] == []


def test_references_go_to_the_node_as_written(ssm: Any, fleet: Fleet, send: Send, until: Until) -> None:
    ssm.put_parameter(Name="greeting", Value="hi", Type="String")
    ssm.put_parameter(Name="hidden", Value="hi", Type="SecureString")
    node = fleet.node()
    assert refused(lambda: send(node.id, Parameters={"commands": ["echo {{ssm:hidden}}"]})) == "InvalidParameters"
    assert refused(lambda: send(node.id, Parameters={"commands": ["echo {{ssm:greeting:2}}"]})) == "InvalidParameters"
    send(node.id, Parameters={"commands": ["echo {{ ssm:greeting:1 }}"]})
    job: Job = until(lambda: node.agent.jobs)[0]
    assert job.content["Parameters"]["commands"] == ["echo {{ ssm:greeting:1 }}"]


def test_the_waiter_returns_on_success(ssm: Any, fleet: Fleet, send: Send) -> None:
    node = fleet.node()
    command = send(node.id)
    ssm.get_waiter("command_executed").wait(
        CommandId=command["CommandId"], InstanceId=node.id, WaiterConfig={"Delay": 0.05, "MaxAttempts": 200}
    )


def test_lists_are_filtered_and_paged_newest_first(
    ssm: Any, server: Server, fleet: Fleet, send: Send, until: Until
) -> None:  # fmt: skip
    node, failing = fleet.node(), fleet.node(script=Script(replies=ended("Failed", code=1)))
    old = send(node.id)["CommandId"]
    until(lambda: command_of(ssm, old)["Status"] == "Success")
    server.advance(minutes=10)
    between = (datetime.now(UTC) + timedelta(minutes=5)).isoformat()
    good, bad = send(node.id)["CommandId"], send(failing.id)["CommandId"]
    until(lambda: all(command_of(ssm, each)["CompletedCount"] for each in (good, bad)))

    def ids(**members: Any) -> list[str]:
        return [each["CommandId"] for each in ssm.list_commands(**members)["Commands"]]

    assert set(ids()) == {old, good, bad}
    assert ids()[-1] == old
    after = {"key": "InvokedAfter", "value": between}
    assert ids(Filters=[{"key": "Status", "value": "Success"}, after]) == [good]
    assert ids(Filters=[{"key": "Status", "value": "Failed"}]) == [bad]
    assert set(ids(InstanceId=node.id)) == {old, good}
    assert ids(Filters=[{"key": "ExecutionStage", "value": "Executing"}]) == []
    first = ssm.list_commands(MaxResults=2)
    rest = ssm.list_commands(MaxResults=2, NextToken=first["NextToken"])
    assert {each["CommandId"] for each in first["Commands"] + rest["Commands"]} == {old, good, bad}
    assert "NextToken" not in rest
    assert refused(lambda: ssm.list_commands(MaxResults=1, InstanceId=node.id, NextToken=first["NextToken"])) == (
        "InvalidNextToken"
    )
    stage = [{"key": "ExecutionStage", "value": "Complete"}]
    assert refused(lambda: ssm.list_command_invocations(Filters=stage)) == "InvalidFilterKey"
    failed = ssm.list_command_invocations(Filters=[{"key": "Status", "value": "Failed"}])["CommandInvocations"]
    assert [each["InstanceId"] for each in failed] == [failing.id]


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

    def script(job: Job) -> Script:
        running = busy.setdefault(job.command_id, set())
        running.add(job.job_id)
        most[job.command_id] = max(most.get(job.command_id, 0), len(running))
        return Script(replies=[report("InProgress")])

    nodes = fleet.nodes(24, tags={"env": "dev"}, script=script)
    failing = {node.id for node in nodes[:3]}
    limits = {"MaxConcurrency": "5", "MaxErrors": "50%"}
    sent = [send(Targets=[{"Key": "tag:env", "Values": ["dev"]}], **limits)["CommandId"] for _ in range(2)]
    finished = 0
    while finished < 48:
        command_id, job_id = until(lambda: next(((c, j) for c, jobs in busy.items() for j in jobs), None))
        node = next(each for each in nodes if job_id.endswith(each.id))
        if finished % 7 == 3:
            node.disconnect()
            node.connect()
        busy[command_id].discard(job_id)
        result = "Failed" if node.id in failing else "Success"
        node.reply(job_id, report(result, {SHELL: step(result)}))
        finished += 1
    for command_id in sent:
        until(lambda: command_of(ssm, command_id)["CompletedCount"] == 24)  # noqa: B023
        assert statuses(ssm, command_id) == ["Failed"] * 3 + ["Success"] * 21
    assert max(most.values()) <= 5
    assert all(len({job.job_id for job in node.agent.commands}) == 2 for node in nodes)
