"""Images that are carried from the machines of one connection to those of another, in another region."""

from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from pilothouse.capabilities.machines import places
from pilothouse.capabilities.machines.driver import DriverFailed
from pilothouse.capabilities.machines.libvirt_driver import LibvirtDriver
from tests.capabilities.events.conftest import eventually
from tests.capabilities.machines.conftest import ACCOUNT, NODE, REGION, until
from tests.capabilities.machines.test_machines import Named, refused
from tests.conftest import Aws

OTHER = "us-west-2"


class Carrying(LibvirtDriver):
    """libvirt's test driver streams no volumes: what is in them is made up here, and all else is its own."""

    failing = 0
    carried: list[tuple[str, int]]

    def fetch(self, volume: str, path: str) -> int:
        if type(self).failing:
            type(self).failing -= 1
            Path(path).write_bytes(b"half")
            raise DriverFailed("the line was cut")
        Path(path).write_bytes(b"QFI\xfb" + volume.encode())
        with self._told() as connection:
            return int(connection.storageVolLookupByPath(volume).info()[1])

    def bring(self, path: str, name: str, size_bytes: int, prefix: str) -> str:
        type(self).carried.append((Path(path).read_bytes()[4:].decode(), size_bytes))
        with self._told() as connection:
            pool = connection.listAllStoragePools(0)[0]
            xml = f"<volume><name>{name}</name><capacity>{size_bytes}</capacity></volume>"
            return str(pool.createXML(xml, 0).path())


@pytest.fixture
def connections(tmp_path: Path, node: str) -> tuple[str, ...]:
    """Two hosts in one region, and one in another."""
    other = tmp_path / "other.xml"
    other.write_text(NODE.replace("web-1", "away").replace("4dea22b3-1d52", "5eea22b3-1d52"))
    near = tmp_path / "near.xml"
    near.write_text(NODE.replace("web-1", "near").replace("4dea22b3-1d52", "6fea22b3-1d52").replace("jobs", "others"))
    return (
        f"lab {ACCOUNT} {REGION} {node}", f"edge {ACCOUNT} {OTHER} test://{other}",
        f"near {ACCOUNT} {REGION} test://{near}",
    )  # fmt: skip


@pytest.fixture(autouse=True)
def driver(monkeypatch: pytest.MonkeyPatch) -> type[Carrying]:
    monkeypatch.setattr(Carrying, "carried", [], raising=False)
    monkeypatch.setitem(places.DRIVERS, "test", Carrying)
    return Carrying


def test_an_image_is_carried_to_another_region(
    ec2: Any, machine: Named, aws: Aws, driver: type[Carrying], server: Any, tmp_path: Path
) -> None:
    there = aws("ec2", region=OTHER, access_key=ACCOUNT, secret="test")
    web = machine("web-1")["InstanceId"]
    ec2.stop_instances(InstanceIds=[web], Force=True)
    until(ec2, web, "stopped")
    image_id = ec2.create_image(InstanceId=web, Name="golden")["ImageId"]
    ec2.get_waiter("image_available").wait(ImageIds=[image_id], WaiterConfig={"Delay": 1})
    driver.failing = 2
    request = {"SourceImageId": image_id, "SourceRegion": REGION, "Name": "golden", "ClientToken": "once"}
    copy = there.copy_image(**request)["ImageId"]
    assert there.copy_image(**request)["ImageId"] == copy

    def whole() -> Any:
        server.advance(seconds=2)
        found = there.describe_images(ImageIds=[copy])["Images"][0]
        return found if found["State"] == "available" else None

    image = eventually(whole)
    assert (image["SourceImageId"], image["SourceImageRegion"]) == (image_id, REGION)
    ((volume, size),) = driver.carried
    assert size == 3 << 30
    assert volume.startswith("/pool/snap-")
    assert list((tmp_path / "data" / "machines").iterdir()) == []  # nothing is left on the server

    assert ec2.describe_images(ImageIds=[image_id])["Images"][0]["State"] == "available"
    assert refused(ec2.describe_images, ImageIds=[copy]) == ("InvalidAMIID.NotFound", 400)
    ran = there.run_instances(ImageId=copy, MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
    assert until(there, ran, "running")["ImageId"] == copy
    nowhere = aws("ec2", region="ap-south-1", access_key=ACCOUNT, secret="test")
    assert refused(nowhere.copy_image, SourceImageId=image_id, SourceRegion=REGION, Name="none") == (
        "InsufficientInstanceCapacity", 400)  # fmt: skip


def test_an_image_is_carried_to_another_connection_of_its_region(
    ec2: Any, machine: Named, driver: type[Carrying]
) -> None:
    web = machine("web-1")["InstanceId"]
    ec2.stop_instances(InstanceIds=[web], Force=True)
    until(ec2, web, "stopped")
    image_id = ec2.create_image(InstanceId=web, Name="golden")["ImageId"]
    ec2.get_waiter("image_available").wait(ImageIds=[image_id], WaiterConfig={"Delay": 1})

    def copy(name: str, connection: str, *more: dict[str, str]) -> str:
        tags = [{"Key": "pilothouse:connection", "Value": connection}, *more]
        made: str = ec2.copy_image(
            SourceImageId=image_id, SourceRegion=REGION, Name=name,
            TagSpecifications=[{"ResourceType": "image", "Tags": tags}],
        )["ImageId"]  # fmt: skip
        ec2.get_waiter("image_available").wait(ImageIds=[made], WaiterConfig={"Delay": 1})
        return made

    there = copy("carried", "near", {"Key": "made", "Value": "by hand"})
    assert len(driver.carried) == 1
    image = ec2.describe_images(ImageIds=[there])["Images"][0]
    assert image["Tags"] == [{"Key": "made", "Value": "by hand"}]
    ran = ec2.run_instances(ImageId=there, MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
    shown = {each["Key"]: each["Value"] for each in until(ec2, ran, "running")["Tags"]}
    assert shown["pilothouse:connection"] == "near"

    copy("beside", "lab")
    assert len(driver.carried) == 1
    with pytest.raises(ClientError, match="there are lab, near"):
        copy("nowhere", "edge")


def test_a_runbook_copies_from_another_region(ec2: Any, machine: Named, aws: Aws, server: Any) -> None:
    ssm = aws("ssm", region=OTHER, access_key=ACCOUNT, secret="test")
    there = aws("ec2", region=OTHER, access_key=ACCOUNT, secret="test")
    jobs = machine("jobs")["InstanceId"]
    image_id = ec2.create_image(InstanceId=jobs, Name="jobs")["ImageId"]
    ec2.get_waiter("image_available").wait(ImageIds=[image_id], WaiterConfig={"Delay": 1})
    step = """{"name": "copy", "action": "aws:copyImage", "inputs":
               {"SourceRegion": "{{ Region }}", "SourceImageId": "{{ Image }}", "ImageName": "carried"}}"""
    ssm.create_document(
        Name="carry", DocumentType="Automation",
        Content='{"schemaVersion": "0.3", "parameters": {"Region": {"type": "String"}, "Image": {"type": "String"}},'
                f' "mainSteps": [{step}], "outputs": ["copy.ImageId"]}}',
    )  # fmt: skip
    execution_id = ssm.start_automation_execution(
        DocumentName="carry", Parameters={"Region": [REGION], "Image": [image_id]}
    )["AutomationExecutionId"]

    def over() -> Any:
        server.advance(seconds=2)
        found = ssm.get_automation_execution(AutomationExecutionId=execution_id)["AutomationExecution"]
        return found if found["AutomationExecutionStatus"] in ("Success", "Failed") else None

    got = eventually(over)
    assert got["AutomationExecutionStatus"] == "Success", got.get("FailureMessage")
    copied = there.describe_images(ImageIds=got["Outputs"]["copy.ImageId"])["Images"][0]
    assert (copied["Name"], copied["State"]) == ("carried", "available")
