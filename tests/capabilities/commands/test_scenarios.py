"""Run Command as users meet it: boto3 on one side, scripted agents on the other, on both engines."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.capabilities.commands.conftest import (
    HOLDING,
    Fleet,
    Send,
    Until,
    command_of,
    reasons,
    refused,
    statuses,
)
from tests.conftest import Server
from tests.gateway.scripted_agent import SHELL, Job, Script, ended, report, step


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
    (reason,) = reasons(ssm, command["CommandId"])
    assert "more than 2 other nodes failed (MaxErrors 2)" in reason


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
    assert "see that its agent runs, and send the command again" in listed["TraceOutput"]


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
    assert json.loads(job.content["Parameters"]["sourceInfo"]) == {"path": "https://x"}


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
    assert set(ids(Filters=[{"key": "InvokedAfter", "value": "2020-01-01"}])) == {old, good, bad}
    assert ids(Filters=[{"key": "InvokedBefore", "value": "2020-01-01T12:00:00"}]) == []
    stage = [{"key": "ExecutionStage", "value": "Complete"}]
    assert refused(lambda: ssm.list_command_invocations(Filters=stage)) == "InvalidFilterKey"
    failed = ssm.list_command_invocations(Filters=[{"key": "Status", "value": "Failed"}])["CommandInvocations"]
    assert [each["InstanceId"] for each in failed] == [failing.id]
