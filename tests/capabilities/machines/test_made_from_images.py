"""What a machine that is run from an image takes over, and what becomes of one that its host will not start."""

from typing import Any, ClassVar
from xml.etree import ElementTree

import pytest

from pilothouse.capabilities.machines import libvirt_forms as forms
from pilothouse.capabilities.machines import places
from pilothouse.capabilities.machines.driver import DriverFailed
from pilothouse.capabilities.machines.libvirt_driver import LibvirtDriver
from tests.capabilities.events.conftest import eventually
from tests.capabilities.machines.conftest import WEB, until
from tests.capabilities.machines.test_machines import Named


class Reluctant(LibvirtDriver):
    """It starts no machine that has no name of its own."""

    deleted: ClassVar[list[str]] = []

    def start(self, native: str) -> None:
        found = self.find(native)
        if found is not None and found.name.startswith("i-"):
            raise DriverFailed("a file of the host is in use")
        super().start(native)

    def delete(self, volume: str) -> None:
        self.deleted.append(volume)
        super().delete(volume)


@pytest.fixture(autouse=True)
def reluctant(monkeypatch: pytest.MonkeyPatch) -> type[Reluctant]:
    monkeypatch.setattr(Reluctant, "deleted", [])
    monkeypatch.setitem(places.DRIVERS, "test", Reluctant)
    return Reluctant


def test_a_machine_that_cannot_be_started_is_terminated_with_its_disks(
    ec2: Any, machine: Named, server: Any, reluctant: type[Reluctant]
) -> None:
    jobs = machine("jobs")["InstanceId"]
    ec2.stop_instances(InstanceIds=[jobs], Force=True)
    until(ec2, jobs, "stopped")
    image_id = ec2.create_image(InstanceId=jobs, Name="golden")["ImageId"]
    ec2.get_waiter("image_available").wait(ImageIds=[image_id], WaiterConfig={"Delay": 1})
    ran = ec2.run_instances(ImageId=image_id, MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]

    def over() -> Any:
        server.advance(seconds=5)
        found = ec2.describe_instances(InstanceIds=[ran])["Reservations"][0]["Instances"][0]
        return found if found["State"]["Name"] not in ("pending", "running") else None

    found = eventually(over)
    assert found["State"]["Name"] == "terminated"
    assert "a file of the host is in use" in found["StateReason"]["Message"]
    assert [each for each in reluctant.deleted if ran in each]
    assert all(each["PrivateDnsName"] != ran for page in ec2.describe_instances(
        Filters=[{"Name": "instance-state-name", "Values": ["running", "stopped"]}])["Reservations"]
        for each in page["Instances"])  # fmt: skip


def test_files_and_ports_of_the_host_are_not_taken_over() -> None:
    template = f"""<domain type='kvm'><name>web</name><uuid>{WEB}</uuid><devices>
      <serial type='file'><source path='/var/log/web.log' append='on'/><log file='/var/log/x'/>
        <target port='0'/></serial>
      <serial type='pty'><source path='/dev/pts/7'/><target port='1'/></serial>
      <console type='file'><source path='/var/log/web.log'/><target type='serial' port='0'/></console>
      <parallel type='dev'><source path='/dev/parport0'/></parallel>
      <channel type='unix'><source mode='bind' path='/run/web.agent'/>
        <target type='virtio' name='org.qemu.guest_agent.0'/></channel>
      <channel type='spicevmc'><target type='virtio' name='com.redhat.spice.0'/></channel>
      <graphics type='vnc' port='5901' autoport='no' listen='127.0.0.1'/>
      <graphics type='spice' autoport='yes'/>
      <vsock><cid auto='no' address='3'/></vsock></devices></domain>"""
    made = ElementTree.fromstring(forms.made_from(template, WEB, "i-1", {}, None, None))
    text = ElementTree.tostring(made, encoding="unicode")
    for each in ("/var/log", "/dev/", "/run/", "5901", 'address="3"'):
        assert each not in text
    kinds = [each.get("type") for kind in ("serial", "console", "parallel", "channel")
             for each in made.iterfind(f"devices/{kind}")]  # fmt: skip
    assert kinds == ["pty", "pty", "pty", "pty", "unix", "spicevmc"]
    assert [each.get("autoport") for each in made.iterfind("devices/graphics")] == ["yes", "yes"]
    name = made.find("devices/channel/target")
    assert name is not None
    assert name.get("name") == "org.qemu.guest_agent.0"
