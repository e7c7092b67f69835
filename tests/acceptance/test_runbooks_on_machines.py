"""Runbooks that come with the server, on real nodes that are machines of libvirt's test driver.

The nodes patch packages of their own; what libvirt has of them are disks that it copies and exchanges.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.installation import DrivenInstallation, Installation, eventually, running
from tests.acceptance.patched import DEBIAN, Patched, rule
from tests.acceptance.roots import AptRepository, machine
from tests.capabilities.machines.conftest import NODE, binding

__all__ = ["binding"]

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="machines inside this one are made by root")
FINAL = ("Success", "Failed", "TimedOut", "Cancelled")
SYSTEMCTL = """#!/bin/sh
# What there is of systemd in a machine without it: a service is up if its file says so.
case $1 in
  restart) [ -e "/units/$3" ] || { echo "Unit $3 not found."; exit 5; }; cat "/units/$3" > "/units/$3.is" ;;
  is-active) cat "/units/$3.is"; grep -q '^active' "/units/$3.is" ;;
esac
"""


def with_settings(made: DrivenInstallation, text: str) -> None:
    """Started anew with more settings."""
    made.stop()
    file = made.data / "pilothouse.toml"
    file.write_text(file.read_text() + text)
    made.start()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, binding: Any) -> Iterator[DrivenInstallation]:
    folder = tmp_path_factory.mktemp("house")
    file = folder / "node.xml"
    file.write_text(NODE)
    with running(DrivenInstallation(folder)) as made:
        account_id = made.boto("sts").get_caller_identity()["Account"]
        region = made.known()["AWS_REGION"]
        with_settings(
            made,
            f"""
[machines]
look_seconds = 0.2
connections = ["lab {account_id} {region} test://{file}"]
""",
        )
        yield made


@pytest.fixture(scope="module")
def debian(
    house: DrivenInstallation, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Patched, AptRepository]]:
    """A Debian that takes everything that its repository has."""
    repository = AptRepository(house.folder / "apt")
    repository.publish("bookworm-security")
    with machine(house, tmp_path_factory.mktemp("machines"), "debian", release=DEBIAN) as (root, agent):
        repository.use(root, "bookworm-security")
        agent.start()
        house.connected(agent)
        found = Patched(house, root, agent)
        found.baseline("DEBIAN", ApprovalRules=rule(("PRIORITY", ["*"])))
        yield found, repository


def machine_named(house: Installation, name: str) -> dict[str, Any]:
    filters = [{"Name": "tag:pilothouse:name", "Values": [name]}]
    ec2 = house.boto("ec2")
    found = eventually(lambda: ec2.describe_instances(Filters=filters)["Reservations"], what=name)
    shown: dict[str, Any] = found[0]["Instances"][0]
    return shown


def with_newer(debian: tuple[Patched, AptRepository], name: str, postinst: str = "") -> None:
    """A package is on the node, and there is a newer one."""
    node, repository = debian
    old, new = repository.package(name, "1.0"), repository.package(name, "1.1", postinst=postinst)
    node.root.run(f"dpkg --purge {name} >/dev/null 2>&1 || true; dpkg -i {old}")
    repository.publish("bookworm-security", new)


def run(house: DrivenInstallation, name: str, **parameters: str | list[str]) -> dict[str, Any]:
    """The execution when it has ended; waits are let pass."""
    ssm = house.boto("ssm")
    given = {key: value if isinstance(value, list) else [value] for key, value in parameters.items()}
    execution_id = ssm.start_automation_execution(DocumentName=name, Parameters=given)["AutomationExecutionId"]

    def look() -> dict[str, Any] | None:
        found: dict[str, Any] = ssm.get_automation_execution(AutomationExecutionId=execution_id)["AutomationExecution"]
        if found["AutomationExecutionStatus"] in FINAL:
            return found
        house.advance(seconds=2)
        return None

    return eventually(look, within=120, what=f"the end of {name}") or {}


def statuses(execution: dict[str, Any]) -> dict[str, str]:
    return {each["StepName"]: each["StepStatus"] for each in execution["StepExecutions"]}


def tagged(house: Installation, name: str, node: Patched) -> str:
    machine_id: str = machine_named(house, name)["InstanceId"]
    house.boto("ec2").create_tags(Resources=[machine_id], Tags=[{"Key": "pilothouse:node", "Value": node.id}])
    return machine_id


def test_a_machine_is_patched_and_its_snapshot_goes(
    house: DrivenInstallation, debian: tuple[Patched, AptRepository]
) -> None:
    node, _ = debian
    web = tagged(house, "web-1", node)
    with_newer(debian, "ph-good")
    got = run(
        house, "AWS-PatchInstanceWithRollback", InstanceId=web, StopForSnapshot="true", RebootOption="NoReboot",
        CheckCommands=["dpkg-query -W ph-good", "test -e /usr/share/ph-good"],
    )  # fmt: skip
    assert got["AutomationExecutionStatus"] == "Success", got.get("FailureMessage")
    done = statuses(got)
    assert {name for name, status in done.items() if status == "Pending"} == {
        "RestoreFromSnapshot", "awaitRestore", "verifyRestore", "startRestored", "startAgain"}  # fmt: skip
    assert node.root.run("dpkg-query -W -f '${Version}' ph-good") == "1.1"
    assert house.boto("ec2").describe_snapshots()["Snapshots"] == []
    assert machine_named(house, "web-1")["State"]["Name"] == "running"


@pytest.mark.parametrize(
    ("package", "postinst", "check", "failing"),
    [("ph-bad", "exit 1", "true", "installMissingUpdates"), ("ph-ill", "", "exit 7", "checkHealth")],
)
def test_what_fails_is_rolled_back(
    house: DrivenInstallation, debian: tuple[Patched, AptRepository], package: str, postinst: str, check: str,
    failing: str,
) -> None:  # fmt: skip
    web = tagged(house, "web-1", debian[0])
    before = machine_named(house, "web-1")
    with_newer(debian, package, postinst)
    got = run(
        house, "AWS-PatchInstanceWithRollback", InstanceId=web, StopForSnapshot="true", RebootOption="NoReboot",
        CheckCommands=[check],
    )  # fmt: skip
    debian[0].root.run(f"dpkg --purge --force-all {package} >/dev/null 2>&1 || true")
    assert got["AutomationExecutionStatus"] == "Failed"
    done = statuses(got)
    assert done[failing] == "Failed"
    assert [done[name] for name in ("RestoreFromSnapshot", "awaitRestore", "verifyRestore", "startRestored")] == [
        "Success"
    ] * 4
    task_id = got["Outputs"]["RestoreFromSnapshot.TaskId"][0]
    ec2 = house.boto("ec2")
    task = ec2.describe_replace_root_volume_tasks(ReplaceRootVolumeTaskIds=[task_id])["ReplaceRootVolumeTasks"][0]
    assert (task["TaskState"], task["SnapshotId"]) == ("succeeded", got["Outputs"]["PrePatchSnapshot.SnapshotId"][0])
    after = machine_named(house, "web-1")
    assert (after["State"]["Name"], after["LaunchTime"] > before["LaunchTime"]) == ("running", True)
    ec2.delete_snapshot(SnapshotId=task["SnapshotId"])


def test_a_machine_whose_disk_cannot_be_copied_is_not_patched(
    house: DrivenInstallation, debian: tuple[Patched, AptRepository]
) -> None:
    web = tagged(house, "web-1", debian[0])
    with_newer(debian, "ph-stays")
    got = run(house, "AWS-PatchInstanceWithRollback", InstanceId=web, RebootOption="NoReboot")
    done = statuses(got)  # the test driver copies no disk that is in use
    assert (got["AutomationExecutionStatus"], done["verifySnapshot"], done["startAgain"]) == (
        "Failed", "Failed", "Success")  # fmt: skip
    assert done["installMissingUpdates"] == "Pending"
    assert debian[0].root.run("dpkg-query -W -f '${Version}' ph-stays; dpkg --purge ph-stays >/dev/null") == "1.0"


def test_a_fleet_is_patched_and_imaged_until_one_fails(
    house: DrivenInstallation, debian: tuple[Patched, AptRepository]
) -> None:
    both = [tagged(house, name, debian[0]) for name in ("web-1", "jobs")]
    with_newer(debian, "ph-fleet")
    given = {"InstanceIds": both, "RebootOption": "NoReboot"}
    got = run(house, "Pilothouse-PatchAndImageFleet", ImageNamePrefix="golden", **given)
    assert got["AutomationExecutionStatus"] == "Success", got.get("FailureMessage")
    ec2 = house.boto("ec2")
    images = ec2.describe_images(Filters=[{"Name": "name", "Values": ["golden_*"]}])["Images"]
    assert {each["SourceInstanceId"] for each in images} == set(both)
    assert {tag["Value"] for each in images for tag in each["Tags"] if tag["Key"] == "PatchedMachine"} == set(both)
    assert {each["State"] for each in images} == {"available"}
    assert debian[0].root.run("dpkg-query -W -f '${Version}' ph-fleet") == "1.1"

    failed = run(house, "Pilothouse-PatchAndImageFleet", ImageNamePrefix="never", CheckCommands=["exit 4"], **given)
    assert failed["AutomationExecutionStatus"] == "Failed"
    checks = [each for each in failed["StepExecutions"] if each["StepName"] == "checkHealth"]
    assert [each["StepStatus"] for each in checks] == ["Failed"]  # the second machine was left as it is
    assert ec2.describe_images(Filters=[{"Name": "name", "Values": ["never_*"]}])["Images"] == []


def test_a_log_is_rotated_and_a_service_restarted(
    house: DrivenInstallation, debian: tuple[Patched, AptRepository]
) -> None:
    node = debian[0]
    node.root.run("mkdir -p /var/log/app /units; head -c 2097152 /dev/zero | tr '\\0' x > /var/log/app/web.log")
    rotate = {"NodeIds": node.id, "Path": "/var/log/app/web.log", "MegaBytes": "1", "Keep": "2"}
    got = run(house, "Pilothouse-RotateLogs", **rotate)
    assert got["AutomationExecutionStatus"] == "Success", got.get("FailureMessage")
    assert "rotated: 2097152 bytes" in got["Outputs"]["rotate.Output"][0]
    sizes = "wc -c < /var/log/app/web.log; gzip -dc /var/log/app/web.log.1.gz | wc -c"
    assert node.root.run(sizes).split() == ["0", "2097152"]
    assert "left alone" in run(house, "Pilothouse-RotateLogs", **rotate)["Outputs"]["rotate.Output"][0]

    node.root.write("/usr/local/sbin/systemctl", SYSTEMCTL)
    node.root.run("chmod +x /usr/local/sbin/systemctl; cp /usr/local/sbin/systemctl /usr/bin/systemctl")
    node.root.run("echo active > /units/web; echo failed > /units/ill")
    restart = {"NodeIds": node.id, "SettleSeconds": "1"}
    got = run(house, "Pilothouse-RestartService", Service="web", **restart)
    assert got["AutomationExecutionStatus"] == "Success", got.get("FailureMessage")
    assert got["Outputs"]["check.Output"] == ["active"]
    ill = run(house, "Pilothouse-RestartService", Service="ill", **restart)
    assert (ill["AutomationExecutionStatus"], statuses(ill)["check"]) == ("Failed", "Failed")
    gone = run(house, "Pilothouse-RestartService", Service="gone", **restart)
    assert statuses(gone)["restart"] == "Failed"


def test_machines_of_an_endpoint_are_rolled_back_as_well(
    house: DrivenInstallation, debian: tuple[Patched, AptRepository], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server without machines of its own asks the EC2 of another: here the first one's, by HTTP."""
    web = tagged(house, "web-1", debian[0])
    keys = house.known()
    (tmp_path / "credentials").write_text(
        f"[lab]\naws_access_key_id = {keys['AWS_ACCESS_KEY_ID']}\n"
        f"aws_secret_access_key = {keys['AWS_SECRET_ACCESS_KEY']}\n"
    )
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    folder = tmp_path / "second"
    folder.mkdir()
    made = DrivenInstallation(folder)
    file = made.data / "pilothouse.toml"
    file.write_text(file.read_text() + '[automation]\nendpoints = "endpoints.toml"\n')
    (made.data / "endpoints.toml").write_text(f'[ec2]\nendpoint_url = "{house.url}"\nprofile = "lab"\n')
    with running(made), machine(made, tmp_path / "machines", "there", release=DEBIAN) as (root, agent):
        repository = AptRepository(made.folder / "apt")
        repository.use(root, "bookworm-security")
        agent.start()
        made.connected(agent)
        node = Patched(made, root, agent)
        node.baseline("DEBIAN", ApprovalRules=rule(("PRIORITY", ["*"])))
        with_newer((node, repository), "ph-there", "exit 1")
        tagged(house, "web-1", node)
        got = run(
            made, "AWS-PatchInstanceWithRollback", InstanceId=web, StopForSnapshot="true", RebootOption="NoReboot",
            DeleteReplacedRootVolume="true",
        )  # fmt: skip
    tagged(house, "web-1", debian[0])
    assert got["AutomationExecutionStatus"] == "Failed"
    assert statuses(got)["installMissingUpdates"] == "Failed"
    assert statuses(got)["startRestored"] == "Success", got["StepExecutions"]
    task_id = got["Outputs"]["RestoreFromSnapshot.TaskId"][0]
    found = house.boto("ec2").describe_replace_root_volume_tasks(ReplaceRootVolumeTaskIds=[task_id])
    task = found["ReplaceRootVolumeTasks"][0]
    assert (task["TaskState"], task["DeleteReplacedRootVolume"]) == ("succeeded", True)
    assert machine_named(house, "web-1")["State"]["Name"] == "running"
