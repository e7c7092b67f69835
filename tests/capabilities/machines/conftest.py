"""Machines of libvirt's own test driver, which is within the process and knows no disks but by name."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pilothouse.capabilities.machines.bindings import libvirt
from pilothouse.capabilities.machines.driver import DriverFailed
from pilothouse.runtime.clock import TestClock
from pilothouse.runtime.settings import LimitSettings, MachineSettings, Settings
from tests.capabilities.events.conftest import eventually
from tests.conftest import Aws, Server

ACCOUNT = "111122223333"
REGION = "eu-west-1"
WEB, JOBS = "4dea22b3-1d52-d8f3-2516-782e98ab3fa0", "4dea22b3-1d52-d8f3-2516-782e98ab3fa1"
_DOMAIN = """<domain type="test"><name>{name}</name><uuid>{uuid}</uuid>
  <memory unit="MiB">{memory}</memory><vcpu>2</vcpu><os><type arch="x86_64">hvm</type></os>
  <devices>
    <disk type="file" device="disk"><source file="/pool/{name}.img"/><target dev="vda"/></disk>
    <disk type="file" device="cdrom"><source file="/iso/a.iso"/><target dev="hdc"/></disk>
    <interface type="network"><mac address="52:54:00:00:00:0{last}"/><source network="default"/></interface>
  </devices></domain>"""
NODE = f"""<node>
{_DOMAIN.format(name="web-1", uuid=WEB, memory=1024, last=1)}
{_DOMAIN.format(name="jobs", uuid=JOBS, memory=2048, last=2)}
<network><name>default</name><bridge name="virbr0"/><ip address="192.168.122.1" netmask="255.255.255.0"/></network>
<pool type="dir"><name>default</name><target><path>/pool</path></target>
  <volume><name>web-1.img</name><capacity unit="GiB">3</capacity><allocation>0</allocation></volume>
  <volume><name>jobs.img</name><capacity unit="MiB">10</capacity><allocation>0</allocation></volume>
</pool></node>"""


@pytest.fixture(scope="session")
def binding() -> Any:
    """libvirt, or the tests are left out."""
    try:
        return libvirt()
    except DriverFailed as missing:
        if os.environ.get("CI"):
            pytest.fail(f"{missing}; in CI nothing may be skipped")
        pytest.skip(str(missing))


@pytest.fixture
def node(tmp_path: Path, binding: Any) -> str:
    """The URI of a host with two machines."""
    file = tmp_path / "node.xml"
    file.write_text(NODE)
    return f"test://{file}"


@pytest.fixture
def connections(node: str) -> tuple[str, ...]:
    """A test may have others."""
    return (f"lab {ACCOUNT} {REGION} {node}",)


@pytest.fixture
def server(
    database_url: str, tmp_path: Path, clock: TestClock, connections: tuple[str, ...]
) -> Iterator[Server]:  # fmt: skip
    """The whole server in process, which looks at the host often."""
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    settings = Settings(
        data=data,
        database=database_url,
        dev=True,
        limits=LimitSettings(failures_per_minute=0),
        machines=MachineSettings(connections=connections, look_seconds=0.1),
    )
    opened = Server(settings, clock)
    try:
        yield opened
    finally:
        opened.close()


@pytest.fixture
def ec2(aws: Aws) -> Any:
    """A client of the account whose machines are there."""
    return aws("ec2", region=REGION, access_key=ACCOUNT, secret="test")


@pytest.fixture
def machine(ec2: Any) -> Callable[[str], dict[str, Any]]:
    """A machine by the name that its host has for it, once it was seen."""

    def named(name: str) -> dict[str, Any]:
        found = eventually(
            lambda: ec2.describe_instances(Filters=[{"Name": "tag:pilothouse:name", "Values": [name]}])["Reservations"]
        )
        shown: dict[str, Any] = found[0]["Instances"][0]
        return shown

    return named


def until(ec2: Any, machine_id: str, state: str) -> dict[str, Any]:
    """The machine, when it has that state."""

    def look() -> Any:
        shown = ec2.describe_instances(InstanceIds=[machine_id])["Reservations"][0]["Instances"][0]
        return shown if shown["State"]["Name"] == state else None

    shown: dict[str, Any] = eventually(look)
    return shown
