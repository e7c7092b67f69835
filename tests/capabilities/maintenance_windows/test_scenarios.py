"""Windows as users meet them: boto3 on one side, scripted nodes on the other, on both engines."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from botocore.exceptions import ClientError
from tests.capabilities.commands.conftest import (  # noqa: F401 -- the fixture
    HOLDING,
    Node,
    Until,
    _signatures_follow_the_clock,
    command_of,
    refused,
)
from tests.capabilities.maintenance_windows.conftest import Windows
from tests.conftest import Server
from tests.gateway.scripted_agent import Script, report

Nodes = Callable[..., Node]
LONG = {"Parameters": {"commands": ["sleep"], "executionTimeout": ["172800"]}, "TimeoutSeconds": 172800}
"""Two days."""


def test_a_window_says_when_it_starts_next(windows: Windows, ssm: Any, server: Server) -> None:
    window_id = windows.make(
        Name="sunday", Schedule="cron(0 2 ? * SUN *)", ScheduleTimezone="Europe/Berlin", Description="patches",
        Tags=[{"Key": "team", "Value": "db"}],
    )  # fmt: skip
    got = ssm.get_maintenance_window(WindowId=window_id)
    berlin = server.clock.now().astimezone(ZoneInfo("Europe/Berlin"))
    sunday = (berlin + timedelta(days=(6 - berlin.weekday()) % 7)).replace(hour=2, minute=0, second=0, microsecond=0)
    if sunday <= berlin:
        sunday += timedelta(days=7)
    assert got["NextExecutionTime"] == sunday.astimezone(UTC).strftime("%Y-%m-%dT%H:%MZ")
    assert {name: got[name] for name in ("Duration", "Cutoff", "Enabled", "AllowUnassociatedTargets")} == {
        "Duration": 3, "Cutoff": 1, "Enabled": True, "AllowUnassociatedTargets": False,
    }  # fmt: skip
    (listed,) = ssm.describe_maintenance_windows(Filters=[{"Key": "Name", "Values": ["sunday"]}])["WindowIdentities"]
    assert listed["NextExecutionTime"] == got["NextExecutionTime"]
    assert listed["Description"] == "patches"
    tags = ssm.list_tags_for_resource(ResourceType="MaintenanceWindow", ResourceId=window_id)["TagList"]
    assert tags == [{"Key": "team", "Value": "db"}]


@pytest.mark.parametrize(
    "members",
    [
        {"Duration": 2, "Cutoff": 2},
        {"Schedule": "rate(1 hours)"},
        {"Schedule": "rate(2 hour)"},
        {"Schedule": "rate(0 days)"},
        {"Schedule": "rate(4 minutes)"},
        {"Schedule": "cron(0 2 1 * SUN *)"},
        {"Schedule": "cron(0 2 * * * *)"},
        {"Schedule": "cron(0 2 ? * SUN)"},
        {"Schedule": "cron(60 2 ? * SUN *)"},
        {"Schedule": "cron(0/2 * ? * SUN *)"},
        {"Schedule": "every Sunday"},
        {"ScheduleTimezone": "Berlin"},
        {"ScheduleOffset": 2},
        {"StartDate": "2020-01-01T00:00:00Z"},
        {"StartDate": "soon"},
        {"StartDate": "2190-01-02T00:00:00Z", "EndDate": "2190-01-01T00:00:00Z"},
        {"EndDate": "2020-01-01T00:00:00Z"},
        {"Duration": 25},
        {"Name": "a window"},
    ],
)
def test_what_no_window_can_say(windows: Windows, members: dict[str, Any]) -> None:
    assert refused(lambda: windows.make(**members)) in ("ValidationException", "ParamValidationError")


def test_a_command_runs_when_the_time_comes(
    windows: Windows, ssm: Any, server: Server, nodes: Nodes, role: str
) -> None:  # fmt: skip
    node = nodes()
    window_id = windows.make()
    target_id = windows.target(window_id, OwnerInformation="the db team")
    task_id = windows.task(window_id, target_id, Name="patch", Priority=3)
    assert windows.executions(window_id) == []
    server.advance(days=1)
    execution = windows.started(window_id)
    got = windows.ended(execution, "SUCCESS")
    assert got["EndTime"] >= got["StartTime"]
    ((_, task),) = windows.tasks(execution).items()
    assert (task["TaskArn"], task["Type"], task["Status"]) == ("AWS-RunShellScript", "RUN_COMMAND", "SUCCESS")
    assert (task["Priority"], task["MaxConcurrency"], task["MaxErrors"]) == (3, "10", "0")
    assert task["ServiceRole"].endswith("role/aws-service-role/ssm.amazonaws.com/AWSServiceRoleForAmazonSSM")
    (invocation,) = windows.invocations(execution)
    assert (invocation["OwnerInformation"], invocation["WindowTargetId"]) == ("the db team", target_id)
    parameters = json.loads(invocation["Parameters"])
    assert parameters["parameters"] == {"commands": ["true"]}
    assert parameters["targets"] == [{"key": "tag:role", "values": [role]}]
    command = command_of(ssm, invocation["ExecutionId"])
    assert (command["Status"], command["TargetCount"], command["MaxConcurrency"]) == ("Success", 1, "10")
    (one,) = ssm.list_command_invocations(CommandId=command["CommandId"])["CommandInvocations"]
    assert one["InstanceId"] == node.id
    shown = ssm.get_maintenance_window_execution_task_invocation(
        WindowExecutionId=execution["WindowExecutionId"], TaskId=invocation["TaskExecutionId"],
        InvocationId=invocation["InvocationId"],
    )  # fmt: skip
    shown.pop("ResponseMetadata")
    assert shown == invocation
    assert ssm.get_maintenance_window_task(WindowId=window_id, WindowTaskId=task_id)["TaskType"] == "RUN_COMMAND"


def test_priorities_follow_each_other_and_equals_start_together(
    windows: Windows, ssm: Any, server: Server, nodes: Nodes, until: Until
) -> None:
    node = nodes(script=HOLDING)
    window_id = windows.make()
    target_id = windows.target(window_id)
    for name, priority in (("a", 1), ("b", 1), ("c", 2)):
        of = {"RunCommand": {"Parameters": {"commands": [name]}}}
        windows.task(window_id, target_id, Priority=priority, TaskInvocationParameters=of)
    server.advance(days=1)
    execution = windows.started(window_id)
    until(lambda: len(node.agent.jobs) == 2)

    def commands() -> list[str]:
        return [job.content["Parameters"]["commands"][0] for job in node.agent.jobs]

    assert sorted(commands()) == ["a", "b"]
    assert [each["Status"] for each in windows.tasks(execution).values()] == ["IN_PROGRESS", "IN_PROGRESS", "PENDING"]
    node.reply(node.agent.jobs[0].job_id, report("Success"))
    until(lambda: sorted(each["Status"] for each in windows.tasks(execution).values())[1] == "PENDING")
    assert len(node.agent.jobs) == 2
    node.reply(node.agent.jobs[1].job_id, report("Failed"))
    until(lambda: len(node.agent.jobs) == 3)
    assert commands()[2] == "c"
    node.reply(node.agent.jobs[2].job_id, report("Success"))
    windows.ended(execution, "FAILED")
    statuses = sorted(each["Status"] for each in windows.tasks(execution).values())
    assert statuses == ["FAILED", "SUCCESS", "SUCCESS"]
    failed = [each for each in windows.tasks(execution).values() if each["Status"] == "FAILED"]
    assert failed[0]["StatusDetails"] == "Failed"


def test_a_task_that_is_longer_than_its_window_is_cancelled_at_the_cutoff(
    windows: Windows, ssm: Any, server: Server, nodes: Nodes, until: Until
) -> None:
    node = nodes(script=HOLDING)
    window_id = windows.make()
    target_id = windows.target(window_id)
    windows.task(window_id, target_id, CutoffBehavior="CANCEL_TASK", TaskInvocationParameters={"RunCommand": LONG})
    windows.task(window_id, target_id, Priority=2)
    server.advance(days=1)
    execution = windows.started(window_id)
    until(lambda: node.agent.jobs)
    server.advance(hours=2)  # the cutoff; the agent heeds the cancel
    until(lambda: "Cancelled" in command_of(ssm, windows.invocations(execution)[0]["ExecutionId"])["Status"])
    until(lambda: [each["Status"] for each in windows.tasks(execution).values()] == ["TIMED_OUT", "PENDING"])
    assert windows.status(execution) == "IN_PROGRESS"
    (invocation,) = windows.invocations(execution)
    assert (invocation["Status"], invocation["StatusDetails"]) == (
        "TIMED_OUT", "Cancelled at the cutoff of the maintenance window.",
    )  # fmt: skip
    server.advance(hours=1)  # the end: what was not started never is
    windows.ended(execution, "TIMED_OUT")
    assert [each["StatusDetails"] for each in windows.tasks(execution).values()] == [
        "Cancelled at the cutoff of the maintenance window.", "The maintenance window ended before it was started.",
    ]  # fmt: skip
    assert len(windows.invocations(execution)) == 1


def test_a_start_is_skipped_while_the_one_before_goes_on(
    windows: Windows, server: Server, nodes: Nodes, until: Until
) -> None:
    node = nodes(script=HOLDING)
    window_id = windows.make(Schedule="rate(1 hour)", Duration=1, Cutoff=0)
    windows.task(window_id, windows.target(window_id), TaskInvocationParameters={"RunCommand": LONG})
    server.advance(hours=1)
    first = windows.started(window_id)
    until(lambda: node.agent.jobs)
    server.advance(hours=1)  # past its end; CONTINUE_TASK is what a task does that says nothing
    second = windows.started(window_id, 2)
    assert second["Status"] == "SKIPPED_OVERLAPPING"
    assert first["WindowExecutionId"] in second["StatusDetails"]
    assert windows.status(first) == "IN_PROGRESS"
    node.reply(node.agent.jobs[0].job_id, report("Success"))
    windows.ended(first, "SUCCESS")
    server.advance(hours=1)
    assert windows.started(window_id, 3)["Status"] == "IN_PROGRESS"
    windows.ssm.delete_maintenance_window(WindowId=window_id)
    assert [each["Status"] for each in windows.executions(window_id)][1:] == ["SKIPPED_OVERLAPPING", "SUCCESS"]


def test_a_disabled_window_starts_nothing(windows: Windows, ssm: Any, server: Server) -> None:
    window_id, other = windows.make(Schedule="rate(1 hour)"), windows.make(Schedule="rate(1 hour)")
    ssm.update_maintenance_window(WindowId=window_id, Enabled=False)
    assert "NextExecutionTime" not in ssm.get_maintenance_window(WindowId=window_id)
    server.advance(hours=1)
    (execution,) = [windows.started(other)]
    assert (execution["Status"], execution["StatusDetails"]) == ("SUCCESS", "No tasks to execute.")
    assert windows.executions(window_id) == []
    ssm.update_maintenance_window(WindowId=window_id, Enabled=True)
    assert "NextExecutionTime" in ssm.get_maintenance_window(WindowId=window_id)
    disabled = ssm.describe_maintenance_windows(Filters=[{"Key": "Enabled", "Values": ["False"]}])["WindowIdentities"]
    assert window_id not in [each["WindowId"] for each in disabled]
    for each in (window_id, other):
        ssm.delete_maintenance_window(WindowId=each)


def test_a_target_in_use_is_kept_if_one_asks_for_that(
    windows: Windows, ssm: Any, server: Server, nodes: Nodes
) -> None:  # fmt: skip
    nodes()
    window_id = windows.make()
    target_id = windows.target(window_id)
    windows.task(window_id, target_id)
    ids = {"WindowId": window_id, "WindowTargetId": target_id}
    assert refused(lambda: ssm.deregister_target_from_maintenance_window(**ids, Safe=True)) == "TargetInUseException"
    answer = ssm.deregister_target_from_maintenance_window(**ids)
    assert {key: answer[key] for key in ids} == ids
    assert ssm.describe_maintenance_window_targets(WindowId=window_id)["Targets"] == []
    server.advance(days=1)
    execution = windows.started(window_id)
    windows.ended(execution, "SUCCESS")
    ((_, task),) = windows.tasks(execution).items()
    assert task["StatusDetails"] == "No targets to run on."


def test_what_is_not_there(windows: Windows, ssm: Any) -> None:
    unknown = "mw-00000000000000000"
    with pytest.raises(ClientError) as error:
        ssm.get_maintenance_window(WindowId=unknown)
    assert error.value.response["Error"] == {
        "Code": "DoesNotExistException", "Message": f"Maintenance window {unknown} does not exist",
    }  # fmt: skip
    nothing = "00000000-0000-4000-8000-000000000000"
    window_id = windows.make()
    for call in (
        lambda: windows.target(unknown),
        lambda: windows.task(unknown, nothing),
        lambda: windows.task(window_id, nothing),
        lambda: ssm.update_maintenance_window(WindowId=unknown, Duration=4),
        lambda: ssm.describe_maintenance_window_targets(WindowId=unknown),
        lambda: ssm.describe_maintenance_window_tasks(WindowId=unknown),
        lambda: ssm.get_maintenance_window_task(WindowId=window_id, WindowTaskId=nothing),
        lambda: ssm.update_maintenance_window_task(WindowId=window_id, WindowTaskId=nothing, Priority=1),
        lambda: ssm.update_maintenance_window_target(WindowId=window_id, WindowTargetId=nothing, Name="web"),
        lambda: ssm.deregister_task_from_maintenance_window(WindowId=window_id, WindowTaskId=nothing),
        lambda: ssm.deregister_target_from_maintenance_window(WindowId=window_id, WindowTargetId=nothing),
        lambda: ssm.get_maintenance_window_execution(WindowExecutionId=nothing),
        lambda: ssm.describe_maintenance_window_execution_tasks(WindowExecutionId=nothing),
        lambda: ssm.cancel_maintenance_window_execution(WindowExecutionId=nothing),
        lambda: ssm.describe_maintenance_window_schedule(WindowId=unknown),
    ):
        assert refused(call) == "DoesNotExistException"
    assert ssm.delete_maintenance_window(WindowId=unknown)["WindowId"] == unknown
    assert ssm.describe_maintenance_window_executions(WindowId=unknown)["WindowExecutions"] == []


def test_an_update_patches_or_replaces(windows: Windows, ssm: Any) -> None:
    window_id = windows.make(Description="old", ScheduleTimezone="Asia/Tokyo")
    before = ssm.get_maintenance_window(WindowId=window_id)
    answer = ssm.update_maintenance_window(WindowId=window_id, Duration=5)
    assert (answer["Duration"], answer["Description"], answer["Schedule"]) == (5, "old", "rate(1 day)")
    after = ssm.get_maintenance_window(WindowId=window_id)
    assert after["NextExecutionTime"] == before["NextExecutionTime"]
    assert after["ModifiedDate"] > after["CreatedDate"] == before["CreatedDate"]
    assert refused(lambda: ssm.update_maintenance_window(WindowId=window_id, Cutoff=5)) == "ValidationException"
    replace = {"WindowId": window_id, "Replace": True, "Name": "new", "Schedule": "rate(2 days)", "Cutoff": 0}
    assert refused(lambda: ssm.update_maintenance_window(**replace)) == "ValidationException"
    ssm.update_maintenance_window(**replace, Duration=1, AllowUnassociatedTargets=True)
    replaced = ssm.get_maintenance_window(WindowId=window_id)
    assert "Description" not in replaced
    assert "ScheduleTimezone" not in replaced
    assert (replaced["Name"], replaced["AllowUnassociatedTargets"]) == ("new", True)

    target_id = windows.target(window_id, Name="web", Description="the web servers", OwnerInformation="me")
    ids = {"WindowId": window_id, "WindowTargetId": target_id}
    assert ssm.update_maintenance_window_target(**ids, Name="app")["Description"] == "the web servers"
    assert refused(lambda: ssm.update_maintenance_window_target(**ids, Replace=True, Name="x-y")) == (
        "ValidationException"
    )  # fmt: skip
    named = [{"Key": "InstanceIds", "Values": ["mi-00000000000000001"]}]
    ssm.update_maintenance_window_target(**ids, Replace=True, Targets=named)
    (shown,) = ssm.describe_maintenance_window_targets(WindowId=window_id)["Targets"]
    assert shown == {**ids, "ResourceType": "INSTANCE", "Targets": named}

    task_id = windows.task(window_id, target_id, Name="patch", Priority=7)
    task = {"WindowId": window_id, "WindowTaskId": task_id}
    assert ssm.update_maintenance_window_task(**task, MaxErrors="50%")["Name"] == "patch"
    assert refused(lambda: ssm.update_maintenance_window_task(**task, Replace=True, TaskArn="AWS-Noop")) == (
        "ValidationException"
    )  # fmt: skip
    ssm.update_maintenance_window_task(
        **task, Replace=True, TaskArn="AWS-Noop", MaxConcurrency="1", MaxErrors="1",
        Targets=[{"Key": "WindowTargetIds", "Values": [target_id]}],
    )  # fmt: skip
    (listed,) = ssm.describe_maintenance_window_tasks(WindowId=window_id)["Tasks"]
    assert (listed["TaskArn"], listed["Priority"], listed["MaxErrors"]) == ("AWS-Noop", 0, "1")
    assert "Name" not in listed
    assert "TaskInvocationParameters" not in ssm.get_maintenance_window_task(**task)


def test_pseudo_parameters_are_the_same_for_every_node(
    windows: Windows, server: Server, nodes: Nodes, until: Until
) -> None:
    one, other = nodes(), nodes()
    window_id = windows.make()
    target_id = windows.target(window_id)
    text = "echo {{WINDOW_EXECUTION_ID}} {{ WINDOW_ID }} {{WINDOW_TARGET_ID}} {{TARGET_TYPE}} {{TARGET_ID}} {{NO}}"
    run = {"RunCommand": {"Parameters": {"commands": [text]}, "Comment": "{{INVOCATION_ID}}"}}
    windows.task(window_id, target_id, TaskInvocationParameters=run)
    server.advance(days=1)
    execution = windows.started(window_id)
    windows.ended(execution, "SUCCESS")
    ran = {node.agent.jobs[0].content["Parameters"]["commands"][0] for node in (one, other)}
    execution_id = execution["WindowExecutionId"]
    assert ran == {f"echo {execution_id} {window_id} {target_id} INSTANCE {{{{TARGET_ID}}}} {{{{NO}}}}"}
    (invocation,) = windows.invocations(execution)
    assert json.loads(invocation["Parameters"])["comment"] == invocation["InvocationId"]


def test_a_runbook_without_targets_runs_once_and_says_what_is_missing(
    windows: Windows, ssm: Any, server: Server
) -> None:
    window_id = windows.make()
    of = {"Automation": {"Parameters": {"a": ["{{WINDOW_ID}}"]}}}
    plain = {"TaskType": "AUTOMATION", "TaskArn": "No-Such-Runbook", "Targets": None}
    assert refused(lambda: windows.task(window_id, **plain, TaskInvocationParameters=of)) == "ValidationException"
    once = plain | {"MaxConcurrency": None, "MaxErrors": None}
    task_id = windows.task(window_id, **once, TaskInvocationParameters=of)
    got = ssm.get_maintenance_window_task(WindowId=window_id, WindowTaskId=task_id)
    assert (got["MaxConcurrency"], got["MaxErrors"], got["Targets"]) == ("1", "1", [])
    server.advance(days=1)
    execution = windows.started(window_id)
    windows.ended(execution, "FAILED")
    (invocation,) = windows.invocations(execution)
    assert invocation["Status"] == "FAILED"
    assert "AutomationDefinitionNotFoundException" in invocation["StatusDetails"]


def test_functions_need_a_receiver(windows: Windows) -> None:
    window_id = windows.make()
    of = {"TaskType": "STEP_FUNCTIONS", "TaskArn": "arn:aws:states:eu-west-1:111122223333:stateMachine:m"}
    of |= {"Targets": None, "MaxConcurrency": None, "MaxErrors": None, "TaskInvocationParameters": None}
    assert refused(lambda: windows.task(window_id, **of)) == "FeatureNotAvailableException"


def test_a_time_in_the_past_never_comes(windows: Windows, ssm: Any, server: Server) -> None:
    window_id = windows.make(Schedule="at(2020-02-03T04:05:06)")
    assert "NextExecutionTime" not in ssm.get_maintenance_window(WindowId=window_id)
    other = windows.make(Schedule=f"at({(server.clock.now() + timedelta(hours=1)):%Y-%m-%dT%H:%M:%S})")
    server.advance(hours=1)
    windows.started(other)
    assert "NextExecutionTime" not in ssm.get_maintenance_window(WindowId=other)
    assert windows.executions(window_id) == []


def test_an_offset_moves_tuesdays_to_thursdays(windows: Windows, ssm: Any, server: Server) -> None:
    window_id = windows.make(Schedule="cron(30 23 ? * TUE#2 *)", ScheduleOffset=2, Name="patch-thursday")
    answer = ssm.describe_maintenance_window_schedule(WindowId=window_id, MaxResults=5)
    times = [datetime.fromisoformat(each["ExecutionTime"]) for each in answer["ScheduledWindowExecutions"]]
    assert [f"{each:%A %H:%M}" for each in times] == ["Thursday 23:30"] * 5
    assert (
        times[0].isoformat(timespec="minutes").replace("+00:00", "Z")
        == (ssm.get_maintenance_window(WindowId=window_id)["NextExecutionTime"])
    )
    pages = ssm.get_paginator("describe_maintenance_window_schedule").paginate(
        WindowId=window_id, PaginationConfig={"PageSize": 3}
    )
    whole = [each["ExecutionTime"] for page in pages for each in page["ScheduledWindowExecutions"]]
    assert whole == sorted(set(whole))
    assert len(whole) == 12
    until = [{"Key": "ScheduledBefore", "Values": [whole[2]]}, {"Key": "ScheduledAfter", "Values": [whole[0]]}]
    found = ssm.describe_maintenance_window_schedule(WindowId=window_id, Filters=until)["ScheduledWindowExecutions"]
    assert [each["ExecutionTime"] for each in found] == whole[1:2]
    assert {each["Name"] for each in found} == {"patch-thursday"}


def test_cancelling_an_execution_cancels_its_commands(
    windows: Windows, ssm: Any, server: Server, nodes: Nodes, until: Until
) -> None:
    node = nodes(script=Script(replies=[report("InProgress")], heeds_cancel=False))
    window_id = windows.make()
    target_id = windows.target(window_id)
    windows.task(window_id, target_id, Priority=1)
    windows.task(window_id, target_id, Priority=2)
    server.advance(days=1)
    execution = windows.started(window_id)
    until(lambda: node.agent.jobs)
    ids = {"WindowExecutionId": execution["WindowExecutionId"]}
    command_id = windows.invocations(execution)[0]["ExecutionId"]
    until(lambda: command_of(ssm, command_id)["Status"] == "InProgress")
    assert ssm.cancel_maintenance_window_execution(**ids)["WindowExecutionId"] == execution["WindowExecutionId"]
    assert windows.status(execution) == "CANCELLING"
    assert [each["Status"] for each in windows.tasks(execution).values()] == ["CANCELLING", "CANCELLED"]
    assert command_of(ssm, command_id)["Status"] == "Cancelling"
    wanted = [{"Key": "STATUS", "Values": ["CANCELLED"]}]
    (cancelled,) = ssm.describe_maintenance_window_execution_tasks(**ids, Filters=wanted)[
        "WindowExecutionTaskIdentities"
    ]
    assert "StartTime" not in cancelled
    node.reply(node.agent.jobs[0].job_id, report("Cancelled"))
    windows.ended(execution, "CANCELLED")
    assert refused(lambda: ssm.cancel_maintenance_window_execution(**ids)) == "DoesNotExistException"


def test_which_windows_a_node_is_in(windows: Windows, ssm: Any, nodes: Nodes, role: str) -> None:
    node = nodes(online=False)
    tagged, named, both, none = (windows.make(Name=name) for name in ("tagged", "named", "both", "none"))
    windows.target(tagged)
    windows.target(named, Targets=[{"Key": "InstanceIds", "Values": [node.id]}])
    mine = {"Key": "tag:role", "Values": [role]}
    windows.target(both, Targets=[mine, {"Key": "tag-key", "Values": ["not-there"]}])
    windows.target(none, Targets=[{"Key": "tag:role", "Values": ["other"]}])
    asked = {"Targets": [{"Key": "InstanceIds", "Values": [node.id]}], "ResourceType": "INSTANCE"}
    found = ssm.describe_maintenance_windows_for_target(**asked)["WindowIdentities"]
    assert {each["WindowId"]: each["Name"] for each in found} == {tagged: "tagged", named: "named"}
    by_tag = ssm.describe_maintenance_windows_for_target(Targets=[mine], ResourceType="INSTANCE")["WindowIdentities"]
    assert {each["WindowId"] for each in by_tag} == {tagged, both}
    ahead = ssm.describe_maintenance_window_schedule(**asked, MaxResults=2)["ScheduledWindowExecutions"]
    assert {each["WindowId"] for each in ahead} == {tagged, named}


def test_a_client_token_makes_one(windows: Windows, ssm: Any) -> None:
    token = {"ClientToken": "one-and-the-same"}
    window_id = windows.make(**token)
    assert windows.make(**token) == window_id
    assert refused(lambda: windows.make(**token, Description="another")) == "IdempotentParameterMismatch"
    target_id = windows.target(window_id, **token)
    assert windows.target(window_id, **token) == target_id
    assert refused(lambda: windows.target(window_id, **token, Name="another")) == "IdempotentParameterMismatch"
    task_id = windows.task(window_id, target_id, **token)
    assert windows.task(window_id, target_id, **token) == task_id
    assert refused(lambda: windows.task(window_id, target_id, **token, Priority=9)) == "IdempotentParameterMismatch"
    assert len(ssm.describe_maintenance_window_tasks(WindowId=window_id)["Tasks"]) == 1


def test_unassociated_nodes_only_where_they_are_allowed(windows: Windows, server: Server, nodes: Nodes) -> None:
    node = nodes()
    window_id = windows.make()
    directly = {"Targets": [{"Key": "InstanceIds", "Values": [node.id]}]}
    assert refused(lambda: windows.task(window_id, **directly)) == "ValidationException"
    window_id = windows.make(AllowUnassociatedTargets=True)
    windows.task(window_id, **directly)
    server.advance(days=1)
    execution = windows.started(window_id)
    windows.ended(execution, "SUCCESS")
    (invocation,) = windows.invocations(execution)
    assert "WindowTargetId" not in invocation
    assert len(node.agent.jobs) == 1


def test_lists_go_by_pages_and_filters(windows: Windows, ssm: Any, server: Server) -> None:
    window_id = windows.make(Schedule="rate(1 hour)", Duration=1, Cutoff=0, Name="hourly")
    for number in range(12):
        windows.target(window_id, Name=f"t-{number:02}", OwnerInformation="odd" if number % 2 else "even")
    pages = list(
        ssm.get_paginator("describe_maintenance_window_targets").paginate(
            WindowId=window_id, PaginationConfig={"PageSize": 10}
        )
    )
    assert [len(page["Targets"]) for page in pages] == [10, 2]
    assert sorted(each["Name"] for page in pages for each in page["Targets"]) == [f"t-{n:02}" for n in range(12)]
    odd = [{"Key": "OwnerInformation", "Values": ["odd"]}, {"Key": "Type", "Values": ["INSTANCE"]}]
    assert len(ssm.describe_maintenance_window_targets(WindowId=window_id, Filters=odd)["Targets"]) == 6
    wrong = [{"Key": "Owner", "Values": ["odd"]}]
    assert refused(lambda: ssm.describe_maintenance_window_targets(WindowId=window_id, Filters=wrong)) == (
        "ValidationException"
    )  # fmt: skip
    for count in range(1, 13):
        server.advance(hours=1)
        windows.started(window_id, count)
    starts = [
        each["StartTime"]
        for page in ssm.get_paginator("describe_maintenance_window_executions").paginate(
            WindowId=window_id, PaginationConfig={"PageSize": 10}
        )
        for each in page["WindowExecutions"]
    ]
    assert starts == sorted(set(starts), reverse=True)
    assert len(starts) == 12
    between = [
        {"Key": "ExecutedBefore", "Values": [starts[2].isoformat()]},
        {"Key": "ExecutedAfter", "Values": [starts[5].isoformat()]},
    ]
    assert [each["StartTime"] for each in windows.executions(window_id, Filters=between)] == starts[3:5]
    server.advance(days=31)
    windows.until(lambda: starts[0] not in [each["StartTime"] for each in windows.executions(window_id)])
    ssm.delete_maintenance_window(WindowId=window_id)
