"""Machines of a libvirt host by EC2's operations, with boto3."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from pilothouse.capabilities.machines import places
from pilothouse.capabilities.machines.driver import DriverFailed, Seen
from pilothouse.capabilities.machines.libvirt_driver import LibvirtDriver
from tests.capabilities.events.conftest import eventually
from tests.capabilities.machines.conftest import ACCOUNT, REGION, until
from tests.conftest import Aws

Named = Callable[[str], dict[str, Any]]


def refused(call: Callable[..., Any], **request: Any) -> tuple[str, int]:
    with pytest.raises(ClientError) as caught:
        call(**request)
    answer = caught.value.response
    return answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]


def test_a_machine_that_was_found_is_shown_stopped_started_and_rebooted(ec2: Any, machine: Named) -> None:
    web = machine("web-1")
    machine_id = web["InstanceId"]
    assert web["State"] == {"Code": 16, "Name": "running"}
    assert web["InstanceType"] == "machine.2x1024"
    assert [each["DeviceName"] for each in web["BlockDeviceMappings"]] == ["vda"]
    assert {"Key": "Name", "Value": "web-1"} in web["Tags"]

    stopped = ec2.stop_instances(InstanceIds=[machine_id])["StoppingInstances"][0]
    assert (stopped["PreviousState"]["Name"], stopped["CurrentState"]["Name"]) == ("running", "stopping")
    until(ec2, machine_id, "stopped")
    assert refused(ec2.reboot_instances, InstanceIds=[machine_id]) == ("IncorrectInstanceState", 400)
    assert ec2.stop_instances(InstanceIds=[machine_id])["StoppingInstances"][0]["CurrentState"]["Code"] == 80

    started = ec2.start_instances(InstanceIds=[machine_id])["StartingInstances"][0]
    assert started["CurrentState"] == {"Code": 0, "Name": "pending"}
    ec2.get_waiter("instance_status_ok").wait(InstanceIds=[machine_id], WaiterConfig={"Delay": 1})
    launched = until(ec2, machine_id, "running")["LaunchTime"]

    ec2.reboot_instances(InstanceIds=[machine_id])
    eventually(lambda: until(ec2, machine_id, "running")["LaunchTime"] > launched)
    assert machine("web-1")["InstanceId"] == machine_id


def test_what_is_not_there_or_may_not_be_is_refused_as_ec2_does(ec2: Any, machine: Named, aws: Aws) -> None:
    jobs = machine("jobs")["InstanceId"]

    assert refused(ec2.start_instances, InstanceIds=["i-0123456789abcdef0"]) == ("InvalidInstanceID.NotFound", 400)
    assert refused(ec2.start_instances, InstanceIds=["web-1"]) == ("InvalidInstanceID.Malformed", 400)
    assert refused(ec2.stop_instances, InstanceIds=[jobs], DryRun=True) == ("DryRunOperation", 412)
    assert refused(ec2.terminate_instances, InstanceIds=[jobs]) == ("OperationNotPermitted", 400)
    assert refused(ec2.describe_images, ImageIds=["ami-0123456789abcdef0"]) == ("InvalidAMIID.NotFound", 400)
    assert refused(ec2.describe_instances, Filters=[{"Name": "colour", "Values": ["red"]}]) == (
        "InvalidParameterValue",
        400,
    )
    assert refused(ec2.describe_vpcs) == ("InvalidAction", 400)
    other = aws("ec2", region=REGION, access_key="999999999999", secret="test")
    assert other.describe_instances()["Reservations"] == []
    assert refused(other.stop_instances, InstanceIds=[jobs]) == ("InvalidInstanceID.NotFound", 400)
    badly = aws("ec2", region=REGION, access_key=ACCOUNT, secret="wrong")
    assert refused(badly.describe_instances) == ("AuthFailure", 401)


def test_policies_say_which_machines_may_be_stopped(ec2: Any, machine: Named, aws: Aws) -> None:
    web, jobs = machine("web-1")["InstanceId"], machine("jobs")["InstanceId"]
    ec2.create_tags(Resources=[web], Tags=[{"Key": "env", "Value": "test"}])
    iam = aws("iam", region="us-east-1", access_key=ACCOUNT, secret="test")
    iam.create_user(UserName="ops")
    iam.put_user_policy(
        UserName="ops",
        PolicyName="stops",
        PolicyDocument="""{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "ec2:StopInstances",
            "Resource": "arn:aws:ec2:*:*:instance/*",
            "Condition": {"StringEquals": {"ec2:ResourceTag/env": "test"}}}]}""",
    )
    key = iam.create_access_key(UserName="ops")["AccessKey"]
    ops = aws("ec2", region=REGION, access_key=key["AccessKeyId"], secret=key["SecretAccessKey"])

    assert refused(ops.stop_instances, InstanceIds=[jobs]) == ("UnauthorizedOperation", 403)
    assert refused(ops.describe_instances) == ("UnauthorizedOperation", 403)
    ops.stop_instances(InstanceIds=[web], Force=True)
    until(ec2, web, "stopped")
    assert machine("jobs")["State"]["Name"] == "running"


def test_an_image_of_a_running_machine_and_machines_from_it(ec2: Any, machine: Named) -> None:
    web = machine("web-1")["InstanceId"]

    image_id = ec2.create_image(InstanceId=web, Name="golden", TagSpecifications=[
        {"ResourceType": "image", "Tags": [{"Key": "made", "Value": "by hand"}]}])["ImageId"]  # fmt: skip
    assert refused(ec2.create_image, InstanceId=web, Name="golden") == ("InvalidAMIName.Duplicate", 400)
    ec2.get_waiter("image_available").wait(ImageIds=[image_id], WaiterConfig={"Delay": 1})
    assert until(ec2, web, "running")
    image = ec2.describe_images(Filters=[{"Name": "tag:made", "Values": ["by*"]}], Owners=["self"])["Images"][0]
    snapshot_id = image["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"]
    assert image["SourceInstanceId"] == web
    ec2.get_waiter("snapshot_completed").wait(SnapshotIds=[snapshot_id], WaiterConfig={"Delay": 1})
    assert ec2.describe_snapshots(SnapshotIds=[snapshot_id])["Snapshots"][0]["VolumeSize"] == 3

    token = "a-token-of-this-test"
    made = ec2.run_instances(ImageId=image_id, MinCount=2, MaxCount=2, InstanceType="t3.micro", ClientToken=token)
    again = ec2.run_instances(ImageId=image_id, MinCount=2, MaxCount=2, InstanceType="t3.micro", ClientToken=token)
    ids = [each["InstanceId"] for each in made["Instances"]]
    assert [each["InstanceId"] for each in again["Instances"]] == ids
    ec2.get_waiter("instance_running").wait(InstanceIds=ids, WaiterConfig={"Delay": 1})
    shown = ec2.describe_instances(InstanceIds=ids)["Reservations"]
    assert len(shown) == 1
    assert {each["InstanceType"] for each in shown[0]["Instances"]} == {"t3.micro"}

    assert refused(ec2.delete_snapshot, SnapshotId=snapshot_id) == ("InvalidSnapshot.InUse", 400)
    ec2.deregister_image(ImageId=image_id)
    ec2.delete_snapshot(SnapshotId=snapshot_id)
    assert ec2.describe_snapshots()["Snapshots"] == []

    ec2.terminate_instances(InstanceIds=ids)
    ec2.get_waiter("instance_terminated").wait(InstanceIds=ids, WaiterConfig={"Delay": 1})
    assert machine("jobs")["State"]["Name"] == "running"


def test_a_copy_of_an_image_stands_by_itself(ec2: Any, machine: Named) -> None:
    jobs = machine("jobs")["InstanceId"]
    ec2.stop_instances(InstanceIds=[jobs])
    image_id = ec2.create_image(InstanceId=jobs, Name="first")["ImageId"]
    ec2.get_waiter("image_available").wait(ImageIds=[image_id], WaiterConfig={"Delay": 1})
    until(ec2, jobs, "stopped")

    copy = ec2.copy_image(SourceImageId=image_id, SourceRegion=REGION, Name="second")["ImageId"]
    ec2.get_waiter("image_available").wait(ImageIds=[copy], WaiterConfig={"Delay": 1})
    results = ec2.deregister_image(ImageId=image_id, DeleteAssociatedSnapshots=True)["DeleteSnapshotResults"]

    assert [each["ReturnCode"] for each in results] == ["success"]
    assert [each["ImageId"] for each in ec2.describe_images()["Images"]] == [copy]
    ran = ec2.run_instances(ImageId=copy, MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
    assert until(ec2, ran, "running")["InstanceType"] == "machine.2x2048"
    small = ec2.run_instances(ImageId=copy, MinCount=1, MaxCount=1, InstanceType="machine.1x512")["Instances"][0]
    assert until(ec2, small["InstanceId"], "running")["CpuOptions"]["CoreCount"] == 1
    wrong = {"ImageId": copy, "MinCount": 1, "MaxCount": 1, "InstanceType": "huge"}
    assert refused(ec2.run_instances, **wrong) == ("InvalidParameterValue", 400)


def test_a_snapshot_of_a_disk_and_one_that_cannot_be(ec2: Any, machine: Named) -> None:
    web = machine("web-1")
    volume_id = web["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]

    while_running = ec2.create_snapshot(VolumeId=volume_id, Description="live")["SnapshotId"]
    failed = eventually(lambda: _ended(ec2, while_running))
    assert failed["State"] == "error"  # the test driver copies no disk that is in use
    assert failed["StateMessage"]
    ec2.stop_instances(InstanceIds=[web["InstanceId"]])
    at_rest = ec2.create_snapshot(VolumeId=volume_id, TagSpecifications=[
        {"ResourceType": "snapshot", "Tags": [{"Key": "keep", "Value": "yes"}]}])["SnapshotId"]  # fmt: skip
    assert eventually(lambda: _ended(ec2, at_rest))["State"] == "completed"
    found = ec2.describe_tags(Filters=[{"Name": "key", "Values": ["keep"]}])["Tags"]
    assert [(each["ResourceId"], each["ResourceType"], each["Value"]) for each in found] == [
        (at_rest, "snapshot", "yes")
    ]
    assert refused(ec2.create_snapshot, VolumeId="vol-0123456789abcdef0") == ("InvalidVolume.NotFound", 400)


def _ended(ec2: Any, snapshot_id: str) -> Any:
    shown = ec2.describe_snapshots(SnapshotIds=[snapshot_id])["Snapshots"][0]
    return shown if shown["State"] != "pending" else None


def test_tags_and_pages(ec2: Any, machine: Named) -> None:
    ids = [machine(name)["InstanceId"] for name in ("web-1", "jobs")]
    ec2.create_tags(Resources=ids, Tags=[{"Key": "Name", "Value": "mine"}, {"Key": "a", "Value": "1"}])
    ec2.delete_tags(Resources=[ids[0]], Tags=[{"Key": "a", "Value": "2"}, {"Key": "Name"}])
    own = {each["Key"]: each["Value"] for each in machine("web-1")["Tags"]}
    assert own == {"Name": "web-1", "a": "1", "pilothouse:connection": "lab", "pilothouse:name": "web-1"}
    assert refused(ec2.create_tags, Resources=ids, Tags=[{"Key": "pilothouse:name", "Value": "x"}]) == (
        "InvalidParameterValue",
        400,
    )
    assert refused(ec2.create_tags, Resources=["vol-1"], Tags=[{"Key": "x"}]) == ("InvalidID", 400)
    assert refused(ec2.describe_instances, MaxResults=5, InstanceIds=ids) == ("InvalidParameterCombination", 400)
    pages = ec2.get_paginator("describe_tags").paginate(PaginationConfig={"PageSize": 5})
    keys = [(each["ResourceId"], each["Key"]) for page in pages for each in page["Tags"]]
    assert len(keys) == len(set(keys)) == 8


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """While it is set, the host does not answer."""
    set_now = threading.Event()

    class Unsteady(LibvirtDriver):
        def look(self) -> list[Seen]:
            if set_now.is_set():
                raise DriverFailed("the host is away")
            return super().look()

    monkeypatch.setitem(places.DRIVERS, "test", Unsteady)
    return set_now


def test_a_host_that_does_not_answer_is_told_by_the_status_of_its_machines(
    away: threading.Event, ec2: Any, machine: Named
) -> None:
    web = machine("web-1")["InstanceId"]

    def status() -> Any:
        return ec2.describe_instance_status(InstanceIds=[web])["InstanceStatuses"][0]["SystemStatus"]["Status"]

    assert status() == "ok"
    away.set()
    eventually(lambda: status() == "impaired")
    assert machine("web-1")["State"]["Name"] == "running"
    away.clear()
    eventually(lambda: status() == "ok")
