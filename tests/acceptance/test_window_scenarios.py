"""The acceptance scenarios of maintenance windows, in their order, through the unmodified aws CLI, with real agents."""

import contextlib
import json
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from tests.acceptance.aws_cli import AwsCli
from tests.acceptance.driven_desk import RUN_SHELL
from tests.acceptance.installation import AgentProcess, DrivenInstallation
from tests.acceptance.one_house import aws, database_url, house
from tests.acceptance.patched import DEBIAN
from tests.acceptance.roots import AptRepository, machine
from tests.acceptance.window_desk import WindowDesk

__all__ = ["aws", "database_url", "house"]

DAYS_AHEAD = 5
INVALID = "ValidationException"


@pytest.fixture(scope="module")
def nodes(house: DrivenInstallation) -> list[AgentProcess]:
    return [house.enrol(f"db-{number}", tags={"role": "db"}) for number in range(2)]


@pytest.fixture
def desk(house: DrivenInstallation, aws: AwsCli, nodes: list[AgentProcess], tmp_path: Path) -> Iterator[WindowDesk]:
    made = WindowDesk(house, aws, nodes, tmp_path)
    yield made
    for each in made.made:
        made.ssm("delete-maintenance-window", "--window-id", each)


def test_01_it_says_when_it_starts_next(desk: WindowDesk) -> None:
    window_id = desk.create(
        "cron(0 2 ? * SUN *)", "--schedule-timezone", "Europe/Berlin", duration=3, cutoff=1
    )  # fmt: skip
    berlin = desk.house.now().astimezone(ZoneInfo("Europe/Berlin"))
    sunday = (berlin + timedelta(days=(6 - berlin.weekday()) % 7)).replace(hour=2, minute=0)
    if sunday <= berlin:
        sunday += timedelta(days=7)
    got = desk.get(window_id)
    assert got["NextExecutionTime"] == f"{sunday.astimezone(UTC):%Y-%m-%dT%H:%MZ}"
    assert (got["Duration"], got["Cutoff"], got["Enabled"]) == (3, 1, True)


@pytest.mark.parametrize(("duration", "cutoff"), [(1, 1), (2, 3)])
def test_02_a_cutoff_is_less_than_the_duration(desk: WindowDesk, duration: int, cutoff: int) -> None:
    refused = desk.refusal(*desk.words("rate(1 day)", duration=duration, cutoff=cutoff))
    assert refused == (INVALID, "Cutoff must be less than Duration.")


PLURAL = "The unit of the rate does not go with its number: write rate({})."
DAYS = "Exactly one of the fields Day-of-month and Day-of-week must be '?': one of them alone says the day."
FIELDS = (
    "A cron expression has six fields (Minutes Hours Day-of-month Month Day-of-week Year), or seven with Seconds in "
    "front; this one has 5."
)
MINUTE = "The field Minutes of the cron expression, '60', is not valid: '60' is not one of 0 to 59."


@pytest.mark.parametrize(
    ("schedule", "text"),
    [
        ("rate(1 hours)", PLURAL.format("1 hour")),
        ("rate(2 hour)", PLURAL.format("2 hours")),
        ("rate(0 days)", "The number of a rate is at least 1."),
        ("rate(4 minutes)", "a maintenance window starts at most every 5 minutes."),
        ("cron(0 2 1 * SUN *)", DAYS),
        ("cron(0 2 * * * *)", DAYS),
        ("cron(0 2 ? * SUN)", FIELDS),
        ("cron(60 2 ? * SUN *)", MINUTE),
    ],
)
def test_03_what_is_no_schedule_of_a_window(desk: WindowDesk, schedule: str, text: str) -> None:
    assert desk.refusal(*desk.words(schedule)) == (INVALID, f"Schedule: {text}")
    assert desk.ssm("describe-maintenance-windows")["WindowIdentities"] == []


def test_what_is_past_or_ends_before_it_starts_is_no_window(desk: WindowDesk) -> None:
    past, early, late = "2020-01-01T00:00:00Z", "2098-01-01T00:00:00Z", "2099-01-01T00:00:00Z"
    for words, text in (
        (("--end-date", past), "EndDate must be in the future."),
        (("--start-date", past), "StartDate must be in the future."),
        (("--start-date", past, "--end-date", late), "StartDate must be in the future."),
        (("--start-date", late, "--end-date", early), "EndDate must be after StartDate."),
        (("--start-date", late, "--end-date", late), "EndDate must be after StartDate."),
    ):
        assert desk.refusal(*desk.words("rate(1 day)", *words)) == (INVALID, text)
    assert desk.ssm("describe-maintenance-windows")["WindowIdentities"] == []
    got = desk.get(desk.create("rate(1 day)", "--start-date", early, "--end-date", late))
    assert (got["StartDate"], got["EndDate"], got["NextExecutionTime"]) == (early, late, "2098-01-01T00:00Z")


def test_04_a_command_runs_on_the_nodes_with_the_tag(desk: WindowDesk) -> None:
    window_id = desk.soon()
    target_id = desk.target(window_id, "Key=tag:role,Values=db", "--owner-information", "the db team")
    ran = desk.folder / "ran"
    desk.task(window_id, target_id, lines=(f"echo $AWS_SSM_INSTANCE_ID >> {ran}",))
    assert desk.executions(window_id) == []
    execution_id = desk.played(window_id)
    assert desk.execution(execution_id)["Status"] == "SUCCESS"
    assert sorted(ran.read_text().split()) == sorted(each.node_id for each in desk.nodes)
    (task,) = desk.tasks(execution_id)
    assert (task["TaskArn"], task["Type"], task["Status"]) == (RUN_SHELL, "RUN_COMMAND", "SUCCESS")
    (invocation,) = desk.invocations(task)
    assert (invocation["OwnerInformation"], invocation["WindowTargetId"]) == ("the db team", target_id)
    found = desk.ssm("list-command-invocations", "--command-id", invocation["ExecutionId"])["CommandInvocations"]
    assert {each["InstanceId"]: each["Status"] for each in found} == {each.node_id: "Success" for each in desk.nodes}
    shown = desk.ssm(
        "get-maintenance-window-execution-task-invocation", "--window-execution-id", execution_id, "--task-id",
        task["TaskExecutionId"], "--invocation-id", invocation["InvocationId"],
    )  # fmt: skip
    assert shown == invocation


def test_05_priorities_follow_each_other_and_equals_start_together(desk: WindowDesk) -> None:
    window_id = desk.soon()
    target_id = desk.target(window_id)
    for name, priority in (("a", "1"), ("b", "1"), ("c", "2")):
        desk.task(window_id, target_id, "--priority", priority, lines=desk.gated(name))
    desk.house.advance(minutes=10)
    execution_id = desk.started(window_id)
    desk.until(lambda: desk.said("a") == desk.said("b") == ["begun"], "both of the first priority")
    assert desk.statuses(execution_id) == ["IN_PROGRESS", "IN_PROGRESS", "PENDING"]
    desk.let_go("a")
    desk.until(lambda: sorted(desk.statuses(execution_id)) == ["IN_PROGRESS", "PENDING", "SUCCESS"], "the end of a")
    assert desk.said("c") == []
    desk.let_go("b")
    desk.until(lambda: desk.said("c"), "the second priority")
    assert (desk.said("a"), desk.said("b")) == (["begun", "ended"], ["begun", "ended"])
    desk.let_go("c")
    assert desk.ended(execution_id)["Status"] == "SUCCESS"
    first, second, third = desk.tasks(execution_id)
    assert third["StartTime"] >= max(first["EndTime"], second["EndTime"])


def test_06_a_task_that_is_longer_than_its_window_ends_at_the_cutoff(desk: WindowDesk) -> None:
    """What CANCEL_TASK says ends there, also on the node; what goes on, and what had not begun, is as it should be."""
    window_id = desk.soon()
    target_id = desk.target(window_id)
    process = desk.folder / "process"
    cancel = "--cutoff-behavior", "CANCEL_TASK", "--priority", "1"
    desk.task(window_id, target_id, *cancel, lines=(f"echo $$ > {process}", *desk.gated("stopped")))
    desk.task(window_id, target_id, "--priority", "2", "--cutoff-behavior", "CONTINUE_TASK", lines=desk.gated("late"))
    goes_on = "--cutoff-behavior", "CONTINUE_TASK", "--priority", "1"
    going_on = desk.task(window_id, target_id, *goes_on, lines=desk.gated("going-on"))
    assert desk.ssm(
        "get-maintenance-window-task", "--window-id", window_id, "--window-task-id", going_on
    )["CutoffBehavior"] == "CONTINUE_TASK"  # fmt: skip
    desk.house.advance(minutes=10)
    execution_id = desk.started(window_id)
    desk.until(lambda: desk.said("stopped") == desk.said("going-on") == ["begun"], "both of the first priority")
    assert desk.statuses(execution_id) == ["IN_PROGRESS", "IN_PROGRESS", "PENDING"]
    desk.heard(desk.node)
    desk.house.advance(hours=1)
    desk.until(lambda: "TIMED_OUT" in desk.statuses(execution_id), "the cutoff")
    assert sorted(desk.statuses(execution_id)) == ["IN_PROGRESS", "PENDING", "TIMED_OUT"]
    (stopped,) = [each for each in desk.tasks(execution_id) if each["Status"] == "TIMED_OUT"]
    assert stopped["StatusDetails"] == "Cancelled at the cutoff of the maintenance window."
    assert desk.command(stopped)["Status"] == "Cancelled"
    desk.until(lambda: not Path(f"/proc/{process.read_text().strip()}").exists(), "the end of the script")
    desk.let_go("going-on")
    desk.until(lambda: "SUCCESS" in desk.statuses(execution_id), "the end of what may go on", hurry=False)
    assert desk.statuses(execution_id)[2] == "PENDING"
    desk.house.advance(hours=1)
    assert desk.ended(execution_id)["Status"] == "TIMED_OUT"
    assert sorted(desk.statuses(execution_id)) == ["SUCCESS", "TIMED_OUT", "TIMED_OUT"]
    late = desk.tasks(execution_id)[2]
    assert late["StatusDetails"] == "The maintenance window ended before it was started."
    assert (desk.said("stopped"), desk.said("going-on"), desk.said("late")) == (["begun"], ["begun", "ended"], [])


def test_07_a_start_is_skipped_while_the_one_before_goes_on(desk: WindowDesk) -> None:
    window_id = desk.create("rate(1 hour)", duration=1, cutoff=0)
    desk.task(window_id, desk.target(window_id), lines=desk.gated("long"))
    desk.house.advance(hours=1)
    first = desk.started(window_id)
    desk.until(lambda: desk.said("long"), "the script")
    desk.heard(desk.node)
    desk.house.advance(hours=1)
    second = desk.started(window_id, 2)
    got = desk.execution(second)
    assert (got["Status"], got["StatusDetails"]) == (
        "SKIPPED_OVERLAPPING", f"The execution {first} was still running."
    )  # fmt: skip
    assert desk.execution(first)["Status"] == "IN_PROGRESS"
    desk.let_go("long")
    assert desk.ended(first)["Status"] == "SUCCESS"
    desk.house.advance(hours=1)
    assert desk.ended(desk.started(window_id, 3))["Status"] == "SUCCESS"


def test_08_what_is_disabled_does_not_start(desk: WindowDesk) -> None:
    window_id = desk.create("rate(1 hour)", duration=1, cutoff=0)
    desk.task(window_id, desk.target(window_id), lines=desk.gated("never"))
    assert desk.get(window_id)["NextExecutionTime"]
    desk.ssm("update-maintenance-window", "--window-id", window_id, "--no-enabled")
    assert "NextExecutionTime" not in desk.get(window_id)
    desk.passes(desk.node, hours=2)
    assert desk.executions(window_id) == []
    assert desk.said("never") == []


def test_09_a_target_in_use_stays(desk: WindowDesk) -> None:
    window_id = desk.soon()
    target_id = desk.target(window_id)
    desk.task(window_id, target_id)
    words = "deregister-target-from-maintenance-window", "--window-id", window_id, "--window-target-id", target_id
    assert desk.refusal(*words, "--safe")[0] == "TargetInUseException"
    assert desk.ssm(*words, "--no-safe")["WindowTargetId"] == target_id
    (task,) = desk.tasks(desk.played(window_id))
    assert (task["Status"], task["StatusDetails"]) == ("SUCCESS", "No targets to run on.")


def test_10_what_is_not_there_is_told_as_that(desk: WindowDesk) -> None:
    unknown = "mw-00000000000000000"
    refused = "DoesNotExistException", f"Maintenance window {unknown} does not exist"
    assert desk.refusal("get-maintenance-window", "--window-id", unknown) == refused
    assert desk.refusal("update-maintenance-window", "--window-id", unknown, "--duration", "4") == refused


def test_11_an_update_patches_or_replaces(desk: WindowDesk) -> None:
    window_id = desk.create("rate(1 day)", "--description", "old", "--schedule-timezone", "Asia/Tokyo")
    before = desk.get(window_id)
    desk.ssm("update-maintenance-window", "--window-id", window_id, "--duration", "5")
    after = desk.get(window_id)
    assert after.pop("ModifiedDate") >= before.pop("ModifiedDate")
    assert after == before | {"Duration": 5}
    words = "update-maintenance-window", "--window-id", window_id, "--replace", "--name", "new", "--schedule"
    assert desk.refusal(*words, "rate(2 days)", "--cutoff", "0")[0] == INVALID
    assert desk.get(window_id)["Description"] == "old"
    desk.ssm(*words, "rate(2 days)", "--cutoff", "0", "--duration", "1", "--allow-unassociated-targets")
    replaced = desk.get(window_id)
    assert not {"Description", "ScheduleTimezone"} & replaced.keys()
    assert (replaced["Name"], replaced["Duration"], replaced["AllowUnassociatedTargets"]) == ("new", 1, True)


def test_12_nodes_patch_by_the_same_snapshot(
    desk: WindowDesk, house: DrivenInstallation, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("machines")
    repository = AptRepository(house.folder / "apt")
    repository.publish("stable")
    with contextlib.ExitStack() as stack:
        agents = []
        for name in ("one", "two"):
            root, agent = stack.enter_context(machine(house, folder, name, release=DEBIAN, tags={"role": "patched"}))
            repository.use(root, "stable")
            agent.start()
            house.connected(agent)
            agents.append(agent)
        window_id = desk.soon()
        target_id = desk.target(window_id, "Key=tag:role,Values=patched")
        parameters = {"Operation": ["Scan"], "SnapshotId": ["{{WINDOW_EXECUTION_ID}}"]}
        desk.register(
            window_id, "RUN_COMMAND", "AWS-RunPatchBaseline", "--targets", f"Key=WindowTargetIds,Values={target_id}",
            "--max-concurrency", "5", "--max-errors", "0", "--task-invocation-parameters",
            json.dumps({"RunCommand": {"Parameters": parameters}}),
        )  # fmt: skip
        execution_id = desk.played(window_id)
        assert desk.execution(execution_id)["Status"] == "SUCCESS"
        states = desk.ssm(
            "describe-instance-patch-states", "--instance-ids", *(each.node_id for each in agents)
        )["InstancePatchStates"]  # fmt: skip
        assert [each["SnapshotId"] for each in states] == [execution_id] * 2


def test_13_a_runbook_without_targets_runs_once(desk: WindowDesk) -> None:
    keep = {"name": "keep", "action": "aws:updateVariable", "inputs": {"Name": "variable:x", "Value": "{{ of }}"}}
    body = {"schemaVersion": "0.3", "parameters": {"of": {"type": "String"}}, "mainSteps": [keep],
            "variables": {"x": {"type": "String", "default": "0"}}}  # fmt: skip
    desk.ssm("create-document", "--name", "keep", "--document-type", "Automation", "--content", json.dumps(body))
    window_id = desk.soon()
    given = json.dumps({"Automation": {"Parameters": {"of": ["{{WINDOW_ID}}"]}}})
    task_id = desk.register(window_id, "AUTOMATION", "keep", "--task-invocation-parameters", given)
    got = desk.ssm("get-maintenance-window-task", "--window-id", window_id, "--window-task-id", task_id)
    assert (got["MaxConcurrency"], got["MaxErrors"], got["Targets"]) == ("1", "1", [])
    (task,) = desk.tasks(desk.played(window_id))
    assert (task["Status"], task["MaxConcurrency"]) == ("SUCCESS", "1")
    (invocation,) = desk.invocations(task)
    ran = desk.ssm(
        "get-automation-execution", "--automation-execution-id", invocation["ExecutionId"]
    )["AutomationExecution"]  # fmt: skip
    assert (ran["AutomationExecutionStatus"], ran["Variables"]["x"]) == ("Success", [window_id])


def test_14_a_time_in_the_past_never_comes(desk: WindowDesk) -> None:
    window_id = desk.create("at(2020-02-03T04:05:06)")
    assert "NextExecutionTime" not in desk.get(window_id)
    desk.passes(desk.node, hours=1)
    assert desk.executions(window_id) == []


def test_15_an_offset_moves_tuesdays_to_thursdays(desk: WindowDesk) -> None:
    window_id = desk.create("cron(30 23 ? * TUE#2 *)", "--schedule-offset", "2")
    found = desk.ssm(
        "describe-maintenance-window-schedule", "--window-id", window_id, "--max-items", "6"
    )["ScheduledWindowExecutions"]  # fmt: skip
    times = [datetime.fromisoformat(each["ExecutionTime"]) for each in found]
    assert [f"{each:%A %H:%M}" for each in times] == ["Thursday 23:30"] * 6
    assert [(each - timedelta(days=2)).day in range(8, 15) for each in times] == [True] * 6


def test_16_who_cancels_an_execution_cancels_its_commands(desk: WindowDesk) -> None:
    window_id = desk.soon()
    target_id = desk.target(window_id)
    for priority in ("1", "2"):
        desk.task(window_id, target_id, "--priority", priority, lines=desk.gated(priority))
    desk.house.advance(minutes=10)
    execution_id = desk.started(window_id)
    desk.until(lambda: desk.said("1"), "the first task")
    assert desk.node.process is not None
    desk.node.process.send_signal(signal.SIGSTOP)  # it does not hear of it yet
    try:
        cancel = "cancel-maintenance-window-execution", "--window-execution-id", execution_id
        assert desk.ssm(*cancel)["WindowExecutionId"] == execution_id
        assert desk.execution(execution_id)["Status"] == "CANCELLING"
        assert desk.statuses(execution_id) == ["CANCELLING", "CANCELLED"]
        assert desk.command(desk.tasks(execution_id)[0])["Status"] == "Cancelling"
    finally:
        desk.node.process.send_signal(signal.SIGCONT)
    assert desk.ended(execution_id)["Status"] == "CANCELLED"
    assert desk.command(desk.tasks(execution_id)[0])["Status"] == "Cancelled"
    assert (desk.said("1"), desk.said("2")) == (["begun"], [])
    assert desk.refusal(*cancel)[0] == "DoesNotExistException"


def test_17_a_node_has_its_windows(desk: WindowDesk) -> None:
    tagged, named, other = (desk.create("rate(1 day)") for _ in range(3))
    desk.target(tagged, "Key=tag:role,Values=db")
    desk.target(named)
    desk.target(other, f"Key=InstanceIds,Values={desk.nodes[1].node_id}")
    found = desk.ssm(
        "describe-maintenance-windows-for-target", "--resource-type", "INSTANCE", "--targets",
        f"Key=InstanceIds,Values={desk.node.node_id}",
    )["WindowIdentities"]  # fmt: skip
    assert {each["WindowId"] for each in found} == {tagged, named}


def test_18_the_same_token_is_one_window(desk: WindowDesk) -> None:
    words = desk.words("rate(1 day)", "--client-token", "one-and-the-same")
    window_id = desk.ssm(*words)["WindowId"]
    desk.made.append(window_id)
    assert desk.ssm(*words)["WindowId"] == window_id
    assert desk.refusal(*words, "--description", "another")[0] == "IdempotentParameterMismatch"
    assert [each["WindowId"] for each in desk.ssm("describe-maintenance-windows")["WindowIdentities"]] == [window_id]


@pytest.mark.parametrize("kind", ["RUN_COMMAND", "AUTOMATION"])
def test_a_task_whose_document_is_gone_says_so(desk: WindowDesk, kind: str) -> None:
    name = f"gone-{kind}"
    run = {"name": "run", "action": "aws:runShellScript", "inputs": {"runCommand": ["true"]}}
    rest = {"name": "rest", "action": "aws:sleep", "inputs": {"Duration": "PT1S"}}
    body, of_kind, said = {
        "RUN_COMMAND": ({"schemaVersion": "2.2", "mainSteps": [run]}, "Command",
                        "InvalidDocument: The specified document does not exist."),
        "AUTOMATION": ({"schemaVersion": "0.3", "mainSteps": [rest]}, "Automation",
                       f"AutomationDefinitionNotFoundException: There is no runbook {name}."),
    }[kind]  # fmt: skip
    desk.ssm("create-document", "--name", name, "--document-type", of_kind, "--content", json.dumps(body))
    window_id = desk.soon()
    if kind == "RUN_COMMAND":
        desk.register(
            window_id, kind, name, "--targets", f"Key=WindowTargetIds,Values={desk.target(window_id)}",
            "--max-concurrency", "1", "--max-errors", "0",
        )  # fmt: skip
    else:
        desk.register(window_id, kind, name)
    desk.ssm("delete-document", "--name", name)
    execution_id = desk.played(window_id)
    assert desk.execution(execution_id)["Status"] == "FAILED"
    (task,) = desk.tasks(execution_id)
    (invocation,) = desk.invocations(task)
    for each in (task, invocation):
        assert (each["Status"], each["StatusDetails"]) == ("FAILED", said)
