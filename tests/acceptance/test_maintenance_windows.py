"""Maintenance windows with the aws CLI, our own commands and a real agent, over kill -9 of the server."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.installation import DrivenInstallation, Installation, eventually


def window_with_task(house: Installation, node_id: str, schedule: str, *lines: str) -> str:
    ssm = house.boto("ssm")
    window_id: str = ssm.create_maintenance_window(
        Name="nightly", Schedule=schedule, Duration=2, Cutoff=1, AllowUnassociatedTargets=False
    )["WindowId"]
    target_id = ssm.register_target_with_maintenance_window(
        WindowId=window_id, ResourceType="INSTANCE", Targets=[{"Key": "InstanceIds", "Values": [node_id]}]
    )["WindowTargetId"]
    ssm.register_task_with_maintenance_window(
        WindowId=window_id, TaskType="RUN_COMMAND", TaskArn="AWS-RunShellScript", MaxConcurrency="1", MaxErrors="0",
        Targets=[{"Key": "WindowTargetIds", "Values": [target_id]}],
        TaskInvocationParameters={"RunCommand": {"Parameters": {"commands": list(lines)}}},
    )  # fmt: skip
    return window_id


def executions(house: Installation, window_id: str) -> list[dict[str, Any]]:
    found = house.boto("ssm").describe_maintenance_window_executions(WindowId=window_id)["WindowExecutions"]
    return [dict(each) for each in found]


def test_a_window_starts_and_ends_once_over_kills(house: Installation, tmp_path: Path) -> None:
    node = house.enrol("web-1")
    ran = tmp_path / "ran"
    house.known()
    at = datetime.now(UTC) + timedelta(seconds=8)
    window_id = window_with_task(
        house, node.node_id, f"at({at:%Y-%m-%dT%H:%M:%S})", f"echo once >> {ran}", "sleep 2", f"echo end >> {ran}"
    )
    house.kill()  # before its time
    house.start()
    eventually(ran.exists, what="the start of the window")
    house.kill()  # while its command runs
    house.start()
    eventually(lambda: executions(house, window_id)[0]["Status"] == "SUCCESS", what="the end of the execution")
    assert len(executions(house, window_id)) == 1
    assert ran.read_text() == "once\nend\n"
    said = house.own("explain", "window", window_id)
    assert said.returncode == 0, said.stderr
    assert "is never due again" in said.stdout


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_window_is_started_by_hand_and_shown_among_what_comes(house: Installation, tmp_path: Path) -> None:
    node = house.enrol("web-1")
    ran = tmp_path / "ran"
    window_id = window_with_task(house, node.node_id, "rate(1 day)", f"echo once >> {ran}")
    updated = house.aws(
        "ssm", "update-maintenance-window", "--window-id", window_id, "--duration", "3", "--no-enabled",
        "--name", "by-hand",
    )  # fmt: skip
    assert (updated["Duration"], updated["Cutoff"], updated["Enabled"]) == (3, 1, False)
    done = house.own("windows", "run", window_id, "--wait", "--output", "json")
    assert done.returncode == 0, done.stderr
    execution_id = json.loads(done.stdout)["WindowExecutionId"]
    assert ran.read_text() == "once\n"
    said = house.own("explain", "window", window_id)
    assert f"execution {execution_id}" in said.stdout
    assert "It is disabled" in said.stdout
    assert "starts next at" in house.own("windows", "resume", "by-hand").stdout
    shown = house.own("schedule", "--days", "3")
    assert shown.stdout.count(window_id) >= 2, shown.stderr
    refused = house.own("windows", "run", "mw-00000000000000000")
    assert refused.returncode == 1
    assert "There is no maintenance window" in refused.stderr
    unknown = house.own("windows", "pause", "nightly")
    assert unknown.returncode == 1
    assert "there is no maintenance window named nightly" in unknown.stderr
    paused = json.loads(house.own("windows", "pause", "by-hand", "--output", "json").stdout)
    assert paused == {"WindowId": window_id, "Name": "by-hand", "Enabled": False}
    assert "rate(1 day)" in house.own("windows", "list").stdout


CREATE = ("ssm", "create-maintenance-window", "--name", "nightly", "--allow-unassociated-targets")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_what_cannot_be_a_window_is_refused_by_its_name(house: Installation) -> None:
    def refused(*words: str, schedule: str = "rate(1 day)", duration: int = 2, cutoff: int = 1) -> tuple[str, str]:
        done = house.cli(
            *CREATE, "--schedule", schedule, "--duration", str(duration), "--cutoff", str(cutoff), *words
        )  # fmt: skip
        assert done.returncode == 255, done.stderr or done.stdout
        code, _, text = done.stderr.strip().partition(" when calling the CreateMaintenanceWindow operation: ")
        return code.removeprefix("An error occurred "), text

    invalid = "(ValidationException)"
    past, early, late = "2020-01-01T00:00:00Z", "2098-01-01T00:00:00Z", "2099-01-01T00:00:00Z"
    assert refused("--end-date", past) == (invalid, "EndDate must be in the future.")
    assert refused("--start-date", past) == (invalid, "StartDate must be in the future.")
    assert refused("--start-date", past, "--end-date", late) == (invalid, "StartDate must be in the future.")
    assert refused("--start-date", late, "--end-date", early) == (invalid, "EndDate must be after StartDate.")
    assert refused("--start-date", late, "--end-date", late) == (invalid, "EndDate must be after StartDate.")
    assert refused(duration=1, cutoff=1) == (invalid, "Cutoff must be less than Duration.")
    assert refused(schedule="rate(1 hours)") == (
        invalid, "Schedule: The unit of the rate does not go with its number: write rate(1 hour)."
    )  # fmt: skip
    assert house.aws("ssm", "describe-maintenance-windows")["WindowIdentities"] == []
    made = house.aws(
        *CREATE, "--schedule", "rate(1 day)", "--duration", "2", "--cutoff", "1", "--start-date", early,
        "--end-date", late,
    )  # fmt: skip
    got = house.aws("ssm", "get-maintenance-window", "--window-id", made["WindowId"])
    assert (got["StartDate"], got["EndDate"], got["NextExecutionTime"]) == (early, late, "2098-01-01T00:00Z")


def test_a_task_that_is_longer_than_its_window_ends_at_the_cutoff(driven: DrivenInstallation, tmp_path: Path) -> None:
    """On a real node: what CANCEL_TASK says ends there; what goes on, and what had not begun, is as it should be."""
    node = driven.enrol("web-1")
    stopped, going_on, late = (tmp_path / name for name in ("stopped", "going-on", "late"))
    at = datetime.now(UTC) + timedelta(hours=1)  # its clock goes there once all tasks are registered
    window_id = driven.aws(
        *CREATE, "--schedule", f"at({at:%Y-%m-%dT%H:%M:%S})", "--duration", "2", "--cutoff", "1"
    )["WindowId"]  # fmt: skip

    gate = tmp_path / "gate"
    for behavior, priority, lines in (
        ("CANCEL_TASK", 1, [f"echo $$ > {stopped}", "sleep 600", f"echo end >> {stopped}"]),
        ("CONTINUE_TASK", 1,
         [f"echo begun > {going_on}", f"while [ ! -e {gate} ]; do sleep 0.1; done", f"echo end >> {going_on}"]),
        ("CONTINUE_TASK", 2, [f"echo begun > {late}"]),
    ):  # fmt: skip
        parameters = {"RunCommand": {"Parameters": {"commands": lines, "executionTimeout": ["14400"]}}}
        driven.aws(
            "ssm", "register-task-with-maintenance-window", "--window-id", window_id, "--task-type", "RUN_COMMAND",
            "--task-arn", "AWS-RunShellScript", "--targets", f"Key=InstanceIds,Values={node.node_id}",
            "--max-concurrency", "1", "--max-errors", "0", "--priority", str(priority), "--cutoff-behavior", behavior,
            "--task-invocation-parameters", json.dumps(parameters),
        )  # fmt: skip
    driven.advance(hours=1)
    eventually(lambda: stopped.exists() and going_on.exists(), what="both tasks of the first priority")
    (execution,) = driven.aws("ssm", "describe-maintenance-window-executions", "--window-id", window_id)[
        "WindowExecutions"
    ]
    execution_id = execution["WindowExecutionId"]

    def tasks() -> dict[str, tuple[str, str]]:
        """Status and command id of each."""
        found = {}
        asked = ("--window-execution-id", execution_id)
        for task_id in driven.aws("ssm", "get-maintenance-window-execution", *asked)["TaskIds"]:
            status = driven.aws("ssm", "get-maintenance-window-execution-task", *asked, "--task-id", task_id)["Status"]
            invocations = driven.aws(
                "ssm", "describe-maintenance-window-execution-task-invocations", *asked, "--task-id", task_id
            )["WindowExecutionTaskInvocationIdentities"]
            if not invocations:
                found["late"] = status, ""
                continue
            parameters = invocations[0]["Parameters"]
            name = "stopped" if "sleep 600" in parameters else "going-on" if str(gate) in parameters else "late"
            found[name] = status, invocations[0]["ExecutionId"]
        return found

    before = tasks()
    assert {name: status for name, (status, _) in before.items()} == {
        "stopped": "IN_PROGRESS", "going-on": "IN_PROGRESS", "late": "PENDING"
    }  # fmt: skip
    driven.advance(minutes=61)  # past the cutoff, an hour before the end
    eventually(lambda: tasks()["stopped"][0] == "TIMED_OUT", what="the cutoff")
    command = ("--command-id", before["stopped"][1], "--instance-id", node.node_id)
    assert driven.aws("ssm", "get-command-invocation", *command)["Status"] == "Cancelled"
    assert tasks()["going-on"][0] == "IN_PROGRESS"
    eventually(lambda: not Path(f"/proc/{stopped.read_text().strip()}").exists(), what="the end of the script")
    gate.touch()
    eventually(lambda: tasks()["going-on"][0] == "SUCCESS", what="the end of what may go on")
    assert tasks()["late"][0] == "PENDING"
    driven.advance(hours=1)
    asked = ("ssm", "get-maintenance-window-execution", "--window-execution-id", execution_id)
    eventually(lambda: driven.aws(*asked)["Status"] == "TIMED_OUT", what="the end of the window")
    assert {name: status for name, (status, _) in tasks().items()} == {
        "stopped": "TIMED_OUT", "going-on": "SUCCESS", "late": "TIMED_OUT"
    }  # fmt: skip
    assert going_on.read_text() == "begun\nend\n"
    assert "end" not in stopped.read_text()
    assert not late.exists()
