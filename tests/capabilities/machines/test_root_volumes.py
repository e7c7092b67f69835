"""A machine's first disk as it was once, by EC2's operations, on libvirt's test driver."""

import re
from collections.abc import Callable
from typing import Any, ClassVar
from xml.etree import ElementTree

import pytest
from botocore.exceptions import ClientError

from pilothouse.capabilities.machines import libvirt_forms as forms
from pilothouse.capabilities.machines import places
from pilothouse.capabilities.machines.driver import DriverFailed
from pilothouse.capabilities.machines.libvirt_driver import LibvirtDriver
from tests.capabilities.events.conftest import eventually
from tests.capabilities.machines.conftest import WEB, until
from tests.capabilities.machines.test_machines import Named, refused


class Watched(LibvirtDriver):
    """What was asked of the host, and whether it does it."""

    asked: ClassVar[list[str]] = []
    broken = 0
    unheard = 0

    def start(self, native: str) -> None:
        self.asked.append("start")
        super().start(native)

    def exchange(self, native: str, device: str, volume: str) -> None:
        type(self).asked.append(f"exchange {device}")
        if type(self).broken:
            type(self).broken -= 1
            raise DriverFailed("the disk is in use")
        super().exchange(native, device, volume)
        if type(self).unheard:
            type(self).unheard -= 1
            raise DriverFailed("the line was cut")  # it was done, and nobody heard of it

    def delete(self, volume: str) -> None:
        self.asked.append(f"delete {volume}")
        super().delete(volume)


@pytest.fixture(autouse=True)
def watched(monkeypatch: pytest.MonkeyPatch) -> type[Watched]:
    monkeypatch.setattr(Watched, "asked", [])
    monkeypatch.setattr(Watched, "broken", 0)
    monkeypatch.setattr(Watched, "unheard", 0)
    monkeypatch.setitem(places.DRIVERS, "test", Watched)
    return Watched


@pytest.fixture
def snapshot(ec2: Any, machine: Named) -> Callable[[str], str]:
    """A snapshot of a machine's first disk, taken while it is off; it runs again afterwards."""

    def of(name: str) -> str:
        found = machine(name)
        ec2.stop_instances(InstanceIds=[found["InstanceId"]], Force=True)
        until(ec2, found["InstanceId"], "stopped")
        made: str = ec2.create_snapshot(VolumeId=found["BlockDeviceMappings"][0]["Ebs"]["VolumeId"])["SnapshotId"]
        ec2.get_waiter("snapshot_completed").wait(SnapshotIds=[made], WaiterConfig={"Delay": 1})
        ec2.start_instances(InstanceIds=[found["InstanceId"]])
        until(ec2, found["InstanceId"], "running")
        return made

    return of


def ended(ec2: Any, task_id: str) -> dict[str, Any]:
    def look() -> Any:
        found = ec2.describe_replace_root_volume_tasks(ReplaceRootVolumeTaskIds=[task_id])["ReplaceRootVolumeTasks"][0]
        return found if found["TaskState"] not in ("pending", "in-progress") else None

    found: dict[str, Any] = eventually(look)
    return found


def test_a_disk_is_what_its_snapshot_was(
    ec2: Any, machine: Named, snapshot: Callable[[str], str], watched: type[Watched]
) -> None:
    snapshot_id = snapshot("web-1")
    web = machine("web-1")
    watched.asked.clear()
    request = {"InstanceId": web["InstanceId"], "SnapshotId": snapshot_id, "ClientToken": "once"}
    task = ec2.create_replace_root_volume_task(**request)["ReplaceRootVolumeTask"]
    assert (task["TaskState"], task["DeleteReplacedRootVolume"]) == ("pending", False)
    again = ec2.create_replace_root_volume_task(**request)["ReplaceRootVolumeTask"]
    assert again["ReplaceRootVolumeTaskId"] == task["ReplaceRootVolumeTaskId"]
    assert refused(ec2.create_replace_root_volume_task, **{**request, "SnapshotId": "snap-0123456789abcdef0"}) == (
        "IdempotentParameterMismatch", 400)  # fmt: skip

    done = ended(ec2, task["ReplaceRootVolumeTaskId"])

    assert (done["TaskState"], done["SnapshotId"]) == ("succeeded", snapshot_id)
    assert done["CompleteTime"] >= done["StartTime"]
    now = until(ec2, web["InstanceId"], "running")
    assert now["LaunchTime"] > web["LaunchTime"]
    assert now["BlockDeviceMappings"][0]["Ebs"]["VolumeId"] == web["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]
    assert watched.asked == ["exchange vda", "start"]  # and the volume that it had stays
    of_web = [{"Name": "instance-id", "Values": [web["InstanceId"]]}]
    assert len(ec2.describe_replace_root_volume_tasks(Filters=of_web)["ReplaceRootVolumeTasks"]) == 1


def test_the_disk_that_it_had_goes_if_that_is_wanted(
    ec2: Any, machine: Named, snapshot: Callable[[str], str], watched: type[Watched]
) -> None:
    snapshot_id = snapshot("web-1")
    web = machine("web-1")["InstanceId"]
    task = ec2.create_replace_root_volume_task(
        InstanceId=web, SnapshotId=snapshot_id, DeleteReplacedRootVolume=True
    )["ReplaceRootVolumeTask"]  # fmt: skip
    assert ended(ec2, task["ReplaceRootVolumeTaskId"])["TaskState"] == "succeeded"
    assert watched.asked[-1] == "delete /pool/web-1.img"
    assert until(ec2, web, "running")


def test_a_machine_whose_disk_cannot_be_exchanged_runs_on_with_its_own(
    ec2: Any, machine: Named, snapshot: Callable[[str], str], watched: type[Watched], server: Any
) -> None:
    snapshot_id = snapshot("web-1")
    web = machine("web-1")["InstanceId"]
    watched.broken = 100
    watched.asked.clear()
    task = ec2.create_replace_root_volume_task(InstanceId=web, SnapshotId=snapshot_id)["ReplaceRootVolumeTask"]

    def over() -> Any:
        server.advance(seconds=5)
        found = ec2.describe_replace_root_volume_tasks()["ReplaceRootVolumeTasks"][0]
        return found if found["TaskState"] == "failed" else None

    assert eventually(over)["ReplaceRootVolumeTaskId"] == task["ReplaceRootVolumeTaskId"]
    assert watched.asked.count("exchange vda") == 5
    assert watched.asked[-1] == "start"
    assert until(ec2, web, "running")


def test_what_was_done_and_not_heard_of_is_not_done_otherwise(
    ec2: Any, machine: Named, snapshot: Callable[[str], str], watched: type[Watched], server: Any
) -> None:
    snapshot_id = snapshot("web-1")
    web = machine("web-1")["InstanceId"]
    watched.asked.clear()
    watched.unheard = 1
    task = ec2.create_replace_root_volume_task(
        InstanceId=web, SnapshotId=snapshot_id, DeleteReplacedRootVolume=True
    )["ReplaceRootVolumeTask"]  # fmt: skip

    def over() -> Any:
        server.advance(seconds=2)
        found = ec2.describe_replace_root_volume_tasks(ReplaceRootVolumeTaskIds=[task["ReplaceRootVolumeTaskId"]])
        return found["ReplaceRootVolumeTasks"][0]["TaskState"] == "succeeded"

    eventually(over)
    assert watched.asked == ["exchange vda", "exchange vda", "start", "delete /pool/web-1.img"]
    assert until(ec2, web, "running")


def test_an_image_of_the_machine_does_as_well_and_what_is_wrong_is_refused(
    ec2: Any, machine: Named, snapshot: Callable[[str], str]
) -> None:
    web, jobs = machine("web-1")["InstanceId"], machine("jobs")["InstanceId"]
    create = ec2.create_replace_root_volume_task
    of_web = snapshot("web-1")
    assert refused(create, InstanceId=jobs, SnapshotId=of_web) == ("InvalidParameterValue", 400)
    assert refused(create, InstanceId=web, SnapshotId="snap-0123456789abcdef0") == ("InvalidSnapshot.NotFound", 400)
    assert refused(create, InstanceId="i-0123456789abcdef0") == ("InvalidInstanceID.NotFound", 400)
    assert refused(create, InstanceId=web) == ("UnsupportedOperation", 400)
    assert refused(create, InstanceId=web, SnapshotId=of_web, ImageId="ami-0123456789abcdef0") == (
        "InvalidParameterCombination", 400)  # fmt: skip
    assert refused(create, InstanceId=web, SnapshotId=of_web, DryRun=True) == ("DryRunOperation", 412)
    assert refused(ec2.describe_replace_root_volume_tasks, ReplaceRootVolumeTaskIds=["replacevol-1"]) == (
        "InvalidReplaceRootVolumeTaskId.NotFound", 400)  # fmt: skip

    image_id = ec2.create_image(InstanceId=jobs, Name="before")["ImageId"]
    ec2.get_waiter("image_available").wait(ImageIds=[image_id], WaiterConfig={"Delay": 1})
    ran = ec2.run_instances(ImageId=image_id, MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
    until(ec2, ran, "running")
    task = create(InstanceId=ran)["ReplaceRootVolumeTask"]  # as it was when it was run
    image = ec2.describe_images(ImageIds=[image_id])["Images"][0]
    assert task["SnapshotId"] == image["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"]
    assert ended(ec2, task["ReplaceRootVolumeTaskId"])["TaskState"] == "succeeded"
    with pytest.raises(ClientError, match="in use"):
        ec2.delete_snapshot(SnapshotId=task["SnapshotId"])


def test_a_machine_is_told_of_which_form_its_new_disk_is() -> None:
    was = f"""<domain type='kvm'><uuid>{WEB}</uuid><devices>
      <disk type='volume' device='disk'><driver name='qemu' type='raw' cache='none'/>
        <source pool='p' volume='v'/><backingStore/><target dev='vda'/><serial>s-1</serial></disk>
      <disk type='file' device='disk'><source file='/data.img'/><target dev='vdb'/></disk>
      <graphics type='vnc' passwd='keep'/></devices></domain>"""
    now = forms.exchanged(was, "vda", forms.Source(path="/pool/copy", form="qcow2"))
    assert forms.form_of(now).disks == {"vda": ("path", "/pool/copy"), "vdb": ("path", "/data.img")}
    disk = ElementTree.fromstring(now).find("devices/disk")
    assert disk is not None
    driver = disk.find("driver")
    assert driver is not None
    assert driver.attrib == {"name": "qemu", "type": "qcow2", "cache": "none"}
    assert (disk.get("type"), disk.findtext("serial"), disk.find("backingStore")) == ("file", "s-1", None)
    assert re.search("passwd=.keep", now)
