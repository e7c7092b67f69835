"""Runbooks on machines of libvirt's test driver: those that users know by AWS's names, and the actions in them."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.capabilities.automation.conftest import Runbooks, statuses, step
from tests.capabilities.commands.conftest import Node
from tests.capabilities.events.conftest import eventually
from tests.capabilities.machines.conftest import NODE, binding
from tests.conftest import Server, clients_of
from tests.gateway.scripted_agent import Job, Script, ended

from pilothouse.runtime.clock import TestClock
from pilothouse.runtime.settings import AutomationSettings, LimitSettings, MachineSettings, Settings

__all__ = ["binding"]

REGION = "eu-west-1"


@pytest.fixture(scope="module")
def server(
    database_url: str, tmp_path_factory: pytest.TempPathFactory, clock: TestClock, binding: Any
) -> Iterator[Server]:  # fmt: skip
    """A server whose first account has a host with two machines."""
    data: Path = tmp_path_factory.mktemp("data")
    data.chmod(0o700)
    file = data / "node.xml"
    file.write_text(NODE)
    settings = Settings(data=data, database=database_url, limits=LimitSettings(failures_per_minute=0))
    first = Server(settings, TestClock())  # a clock belongs to one loop
    account_id = first.application.root.account_id
    first.close()
    places = MachineSettings(connections=(f"lab {account_id} {REGION} test://{file}",), look_seconds=0.1)
    opened = Server(replace(settings, machines=places, automation=AutomationSettings()), clock)
    try:
        yield opened
    finally:
        opened.close()


@pytest.fixture(scope="module")
def ec2(server: Server) -> Any:
    return clients_of(server)("ec2", region=REGION)


@pytest.fixture(scope="module")
def machine(ec2: Any) -> Callable[[str], dict[str, Any]]:
    """A machine by its name."""

    def named(name: str) -> dict[str, Any]:
        filters = [{"Name": "tag:Name", "Values": [name]}]
        found = eventually(lambda: ec2.describe_instances(Filters=filters)["Reservations"])
        shown: dict[str, Any] = found[0]["Instances"][0]
        return shown

    return named


def test_the_runbooks_stop_start_and_restart(runbooks: Runbooks, machine: Any) -> None:
    both = [machine(name)["InstanceId"] for name in ("web-1", "jobs")]

    stopped = runbooks.run("AWS-StopEC2Instance", {"InstanceId": both})
    assert statuses(stopped) == {"stopInstances": "Success", "forceStopInstances": "Pending"}
    assert {machine(name)["State"]["Name"] for name in ("web-1", "jobs")} == {"stopped"}
    started = runbooks.run("AWS-StartEC2Instance", {"InstanceId": both})
    assert started["AutomationExecutionStatus"] == "Success"
    assert started["Outputs"]["startInstances.InstanceStates"] == ["running", "running"]
    launched = machine("jobs")["LaunchTime"]
    restarted = runbooks.run("AWS-RestartEC2Instance", {"InstanceId": [both[1]]})
    assert restarted["AutomationExecutionStatus"] == "Success"
    assert machine("jobs")["LaunchTime"] > launched


def test_the_runbooks_make_and_delete_images_and_snapshots(runbooks: Runbooks, machine: Any, ec2: Any) -> None:
    web = machine("web-1")
    made = runbooks.run("AWS-CreateImage", {"InstanceId": web["InstanceId"], "NoReboot": "false"})
    image_id = made["Outputs"]["createImage.ImageId"][0]
    assert ec2.describe_images(ImageIds=[image_id])["Images"][0]["State"] == "available"
    assert machine("web-1")["State"]["Name"] == "running"

    assert runbooks.run("AWS-DeleteImage", {"ImageId": image_id})["AutomationExecutionStatus"] == "Success"
    assert ec2.describe_images()["Images"] == ec2.describe_snapshots()["Snapshots"] == []

    runbooks.run("AWS-StopEC2Instance", {"InstanceId": [web["InstanceId"]]})
    volume_id = web["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]
    got = runbooks.run("AWS-CreateSnapshot", {"VolumeId": volume_id, "Description": "by hand"})
    snapshot_id = got["Outputs"]["createSnapshot.SnapshotId"][0]
    snapshot = ec2.describe_snapshots(SnapshotIds=[snapshot_id])["Snapshots"][0]
    assert (snapshot["State"], snapshot["Description"]) == ("completed", "by hand")
    ec2.delete_snapshot(SnapshotId=snapshot_id)
    runbooks.run("AWS-StartEC2Instance", {"InstanceId": [web["InstanceId"]]})


def test_a_machine_from_an_image_is_updated_as_a_node_and_imaged(
    runbooks: Runbooks, machine: Any, ec2: Any, nodes: Callable[..., Node], server: Server
) -> None:
    jobs = machine("jobs")["InstanceId"]
    source = runbooks.run("AWS-CreateImage", {"InstanceId": jobs})["Outputs"]["createImage.ImageId"][0]
    scripts: list[str] = []

    def script(job: Job) -> Script:
        scripts.append(json.dumps(job.content, default=str))
        return Script(replies=ended(stdout="updated\n"))

    node = nodes(script=script)
    execution_id = runbooks.start("AWS-UpdateLinuxAmi", {
        "SourceAmiId": source, "TargetAmiName": "updated", "ExcludePackages": "linux-image-amd64"})  # fmt: skip

    def launched() -> Any:
        server.advance(seconds=2)
        filters = [{"Name": "image-id", "Values": [source]}, {"Name": "instance-state-name", "Values": ["running"]}]
        return ec2.describe_instances(Filters=filters)["Reservations"]

    new = eventually(launched)[0]["Instances"][0]["InstanceId"]
    ec2.create_tags(Resources=[new], Tags=[{"Key": "pilothouse:node", "Value": node.id}])
    got = runbooks.ended(execution_id)

    assert got["AutomationExecutionStatus"] == "Success", got.get("FailureMessage")
    assert set(statuses(got).values()) == {"Success"}
    assert "linux-image-amd64" in scripts[0]
    image = ec2.describe_images(ImageIds=got["Outputs"]["createImage.ImageId"])["Images"][0]
    assert (image["Name"], image["State"]) == ("updated", "available")
    assert ec2.describe_instances(InstanceIds=[new])["Reservations"][0]["Instances"][0]["State"]["Name"] == "terminated"


def test_tags_are_put_and_what_is_not_there_fails_its_step(runbooks: Runbooks, machine: Any, ec2: Any) -> None:
    web = machine("web-1")["InstanceId"]
    tag = [{"Key": "made", "Value": "{{ automation:EXECUTION_ID }}"}]
    got = runbooks.run(runbooks.make(
        {"name": "tag", "action": "aws:createTags", "inputs": {"ResourceIds": [web], "Tags": tag}},
        {"name": "gone", "action": "aws:changeInstanceState",
         "inputs": {"InstanceIds": ["i-0123456789abcdef0"], "DesiredState": "running"}},
    ))  # fmt: skip

    assert statuses(got) == {"tag": "Success", "gone": "Failed"}
    assert "InvalidInstanceID.NotFound" in step(got, "gone")["FailureMessage"]
    tags = {each["Key"]: each["Value"] for each in machine("web-1")["Tags"]}
    assert tags["made"] == got["AutomationExecutionId"]


def test_where_there_are_neither_machines_nor_an_endpoint_the_step_says_what_to_configure(server: Server) -> None:
    ssm = clients_of(server)("ssm", region="ap-south-1")
    execution_id = ssm.start_automation_execution(
        DocumentName="AWS-StartEC2Instance", Parameters={"InstanceId": ["i-0123456789abcdef0"]}
    )["AutomationExecutionId"]

    def ended() -> Any:
        found = ssm.get_automation_execution(AutomationExecutionId=execution_id)["AutomationExecution"]
        return found if found["AutomationExecutionStatus"] == "Failed" else None

    message = eventually(ended)["FailureMessage"]
    assert "[machines] connections" in message
    assert "[automation] endpoints" in message
