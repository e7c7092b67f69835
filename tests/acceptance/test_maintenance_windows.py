"""Maintenance windows with the aws CLI, our own commands and a real agent, over kill -9 of the server."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.installation import Installation, eventually


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
    said = house.own("explain", "window", "nightly")
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
    said = house.own("explain", "window", "by-hand")
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
