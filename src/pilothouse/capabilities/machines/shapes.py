"""Machines, snapshots and images as EC2's answers have them."""

from collections.abc import Mapping
from typing import Final

from pilothouse.call import Shape
from pilothouse.capabilities.machines.model import (
    CODES,
    COMPLETED,
    RESERVED,
    Image,
    Machine,
    Snapshot,
    State,
)
from pilothouse.runtime.clock import from_millis

NAME: Final = "Name"
CONNECTION_TAG: Final = f"{RESERVED}connection"
MACHINE_TAG: Final = f"{RESERVED}name"
_GIB: Final = 1 << 30


def zone_of(region: str) -> str:
    """A region has one zone here."""
    return f"{region}a"


def state_shape(state: State) -> Shape:
    """A state and its number."""
    return {"Code": CODES[state], "Name": state.value}


def tags_of(machine: Machine, given: Mapping[str, str]) -> dict[str, str]:
    """The tags of a machine, with what is known of it: where it is, and how it is called there."""
    known = {NAME: machine.name, CONNECTION_TAG: machine.connection, MACHINE_TAG: machine.name}
    return {key: value for key, value in {**known, **given}.items() if value}


def tag_shapes(tags: Mapping[str, str]) -> list[Shape]:
    """A list of tags, by key."""
    return [{"Key": key, "Value": tags[key]} for key in sorted(tags)]


def instance(machine: Machine, tags: Mapping[str, str]) -> Shape:
    """As DescribeInstances and RunInstances have it."""
    address = machine.addresses[0] if machine.addresses else None
    root = machine.disks[0].device if machine.disks else None
    launched = from_millis(machine.launched_at)
    return {
        "InstanceId": machine.machine_id,
        "ImageId": machine.image_id,
        "State": state_shape(machine.state),
        "StateTransitionReason": machine.reason if machine.reason.startswith("User") else "",
        "StateReason": None if not machine.reason else _reason(machine.reason),
        "InstanceType": machine.size,
        "LaunchTime": launched,
        "AmiLaunchIndex": machine.launch_index,
        "Architecture": machine.architecture,
        "Placement": {"AvailabilityZone": zone_of(machine.region), "Tenancy": "default", "GroupName": ""},
        "Monitoring": {"State": "disabled"},
        "PrivateDnsName": machine.name,
        "PublicDnsName": "",
        "PrivateIpAddress": address,
        "Hypervisor": "xen",
        "VirtualizationType": "hvm",
        "PlatformDetails": "Linux/UNIX",
        "RootDeviceType": "ebs",
        "RootDeviceName": root,
        "BlockDeviceMappings": [
            {
                "DeviceName": disk.device,
                "Ebs": {
                    "VolumeId": disk.volume_id,
                    "Status": "attached",
                    "AttachTime": launched,
                    "DeleteOnTermination": machine.made_here,
                },
            }
            for disk in machine.disks
        ],
        "CpuOptions": {"CoreCount": machine.vcpus, "ThreadsPerCore": 1},
        "ClientToken": machine.client_token,
        "EbsOptimized": False,
        "EnaSupport": False,
        "SecurityGroups": [],
        "NetworkInterfaces": [],
        "ProductCodes": [],
        "SourceDestCheck": True,
        "Tags": tag_shapes(tags_of(machine, tags)),
    }


def _reason(text: str) -> Shape:
    code = text.partition(":")[0]
    return {
        "Code": code if code.startswith(("Client.", "Server.")) else "Client.UserInitiatedShutdown",
        "Message": text,
    }


def reservation(owner_id: str, machines: list[Shape], reservation_id: str) -> Shape:
    """What RunInstances made at once."""
    return {"ReservationId": reservation_id, "OwnerId": owner_id, "Groups": [], "Instances": machines}


def reservation_of(machine: Machine) -> str:
    """A machine that was found stands for itself."""
    return machine.reservation_id or f"r-{machine.machine_id.removeprefix('i-')}"


def snapshot_shape(snapshot: Snapshot, tags: Mapping[str, str]) -> Shape:
    """As DescribeSnapshots and CreateSnapshot have it."""
    return {
        "SnapshotId": snapshot.snapshot_id,
        "VolumeId": snapshot.volume_id,
        "State": snapshot.state,
        "StateMessage": snapshot.reason or None,
        "StartTime": from_millis(snapshot.created_at),
        "CompletionTime": None if snapshot.ended_at is None else from_millis(snapshot.ended_at),
        "Progress": "100%" if snapshot.state == COMPLETED else "",
        "OwnerId": snapshot.account_id,
        "Description": snapshot.description,
        "VolumeSize": max(1, -(-snapshot.size_bytes // _GIB)),
        "Encrypted": False,
        "StorageTier": "standard",
        "Tags": tag_shapes(tags),
    }


def image_shape(image: Image, snapshots: Mapping[str, Snapshot], tags: Mapping[str, str]) -> Shape:
    """As DescribeImages has it."""
    made = from_millis(image.created_at).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {
        "ImageId": image.image_id,
        "Name": image.name,
        "Description": image.description or None,
        "ImageLocation": f"{image.account_id}/{image.name}",
        "State": image.state,
        "StateReason": {"Code": "Server.InternalError", "Message": image.reason} if image.reason else None,
        "OwnerId": image.account_id,
        "CreationDate": made,
        "Public": False,
        "ImageType": "machine",
        "Architecture": image.architecture,
        "Hypervisor": "xen",
        "VirtualizationType": "hvm",
        "PlatformDetails": "Linux/UNIX",
        "RootDeviceType": "ebs",
        "RootDeviceName": image.disks[0][0] if image.disks else None,
        "SourceInstanceId": image.machine_id or None,
        "SourceImageId": image.source_image_id or None,
        "SourceImageRegion": image.source_region or None,
        "EnaSupport": False,
        "BlockDeviceMappings": [
            {
                "DeviceName": device,
                "Ebs": {
                    "SnapshotId": snapshot_id,
                    "VolumeSize": max(1, -(-snapshots[snapshot_id].size_bytes // _GIB)),
                    "DeleteOnTermination": True,
                    "Encrypted": False,
                },
            }
            for device, snapshot_id in image.disks
            if snapshot_id in snapshots
        ],
        "Tags": tag_shapes(tags),
    }
