"""kill -9 of the server at each moment of a restore: the disk is exchanged once, and no copy that is not whole is used.

The steps are those with which AWS-PatchInstanceWithRollback restores; the host is a file, which outlives the server.
"""

import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, HTTPClientError

from tests.acceptance.dying_host import FIRST, State, read, write
from tests.acceptance.installation import Installation, eventually, running, stored_in
from tests.acceptance.test_kill_runbooks import FINAL

MOMENTS = [
    f"{when} {what}" for what in ("copy", "end of the copy", "stop", "exchange", "start", "delete")
    for when in ("before", "after")
]  # fmt: skip


class MortalInstallation(Installation):
    """A server that is killed by what it does."""

    @property
    def host(self) -> Path:
        return self.folder / "host.json"

    def program(self) -> list[Path | str]:
        return [sys.executable, "-m", "tests.acceptance.dying_host", self.host]

    def alive(self) -> bool:
        """Start it if it was killed."""
        assert self.process is not None
        if self.process.poll() is None:
            return True
        self.launch(*self.program())
        eventually(lambda: self.process is not None and (self.process.poll() is not None or self._answers()))
        return False

    def _answers(self) -> bool:
        try:
            return self._ready()
        except AssertionError:  # it was killed meanwhile
            return True

    def change(self, **of: Any) -> None:
        """Of the host."""
        write(self.host, {**read(self.host), **of})


@pytest.fixture
def mortal(database_url: str, tmp_path: Path) -> Iterator[MortalInstallation]:
    made = MortalInstallation(tmp_path, *stored_in(database_url))
    write(made.host, FIRST)
    with running(made):
        account_id = made.boto("sts").get_caller_identity()["Account"]
        region = made.known()["AWS_REGION"]
        (made.data / "pilothouse.toml").write_text(
            f'[machines]\nlook_seconds = 0.2\nconnections = ["lab {account_id} {region} file:///host"]\n'
        )
        made.stop()
        made.start()
        yield made


def restoring(house: Installation) -> str:
    """A runbook of the steps that restore, from AWS's runbook."""
    ssm = house.boto("ssm")
    whole = json.loads(ssm.get_document(Name="AWS-PatchInstanceWithRollback")["Content"])
    names = [each["name"] for each in whole["mainSteps"]]
    steps = whole["mainSteps"][names.index("RestoreFromSnapshot") : names.index("startRestored") + 1]
    text = json.dumps(steps).replace("PrePatchSnapshot.SnapshotId", "SnapshotId")
    parameters = {
        "InstanceId": {"type": "String"}, "SnapshotId": {"type": "String"},
        "DeleteReplacedRootVolume": {"type": "Boolean", "default": True},
    }  # fmt: skip
    content = {"schemaVersion": "0.3", "parameters": parameters, "mainSteps": json.loads(text)}
    ssm.create_document(Name="restore", Content=json.dumps(content), DocumentType="Automation")
    return "restore"


def restored(house: MortalInstallation, deaths: list[str], refused: list[str]) -> tuple[dict[str, Any], State]:
    """The execution, and the host, once a machine was restored by a server that is killed again and again."""
    ec2, ssm = house.boto("ec2"), house.boto("ssm", retries={"max_attempts": 0}, connect_timeout=2, read_timeout=10)
    machine = eventually(lambda: ec2.describe_instances()["Reservations"])[0]["Instances"][0]
    snapshot_id = ec2.create_snapshot(VolumeId=machine["BlockDeviceMappings"][0]["Ebs"]["VolumeId"])["SnapshotId"]
    ec2.get_waiter("snapshot_completed").wait(SnapshotIds=[snapshot_id], WaiterConfig={"Delay": 1})
    state = read(house.host)
    state["volumes"]["web"] = "spoilt"
    given = {"InstanceId": [machine["InstanceId"]], "SnapshotId": [snapshot_id]}
    name = restoring(house)
    house.change(volumes=state["volumes"], changes=[], deaths=deaths, refused=refused)
    execution_id = ssm.start_automation_execution(DocumentName=name, Parameters=given)["AutomationExecutionId"]

    def look() -> dict[str, Any] | None:
        if not house.alive():
            return None
        try:
            found = ssm.get_automation_execution(AutomationExecutionId=execution_id)["AutomationExecution"]
        except (HTTPClientError, BotoCoreError):
            return None  # it was killed just now
        return found if found["AutomationExecutionStatus"] in FINAL and not read(house.host)["deaths"] else None

    got = eventually(look, within=240, what="the end of the restore") or {}
    return got, read(house.host)


def test_a_restore_goes_on_where_it_was_and_is_done_once(mortal: MortalInstallation) -> None:
    got, host = restored(mortal, list(MOMENTS), [])
    assert got["AutomationExecutionStatus"] == "Success", got.get("FailureMessage")
    done = Counter(host["changes"])
    assert [done[each] for each in ("stop", "exchange", "start", "delete web")] == [1, 1, 1, 1]
    machine = host["machines"]["web"]
    assert (machine["running"], machine["run"]) == (True, 2)
    assert host["volumes"][machine["disks"]["vda"]] == "as it was"
    assert set(host["volumes"].values()) == {"as it was"}
    assert len(host["volumes"]) == 2  # the snapshot, and what was made of it
    tasks = mortal.boto("ec2").describe_replace_root_volume_tasks()["ReplaceRootVolumeTasks"]
    assert [each["TaskState"] for each in tasks] == ["succeeded"]


def test_one_that_the_host_refuses_fails_clearly_and_the_machine_runs_on(mortal: MortalInstallation) -> None:
    got, host = restored(mortal, ["before exchange", "before start", "after start"], ["exchange"])
    assert got["AutomationExecutionStatus"] == "Failed"
    steps = {each["StepName"]: each for each in got["StepExecutions"]}
    assert steps["RestoreFromSnapshot"]["StepStatus"] == "Success"
    assert "failed" in steps["verifyRestore"]["FailureMessage"]
    assert steps["startRestored"]["StepStatus"] == "Pending"
    done = Counter(host["changes"])
    assert [done[each] for each in ("stop", "exchange", "start", "delete web")] == [1, 0, 1, 0]
    assert host["machines"]["web"] == {"running": True, "run": 2, "disks": {"vda": "web"}}
    tasks = mortal.boto("ec2").describe_replace_root_volume_tasks()["ReplaceRootVolumeTasks"]
    assert [each["TaskState"] for each in tasks] == ["failed"]
