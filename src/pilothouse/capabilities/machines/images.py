"""CreateImage, CopyImage, DeregisterImage, DescribeImages."""

from collections.abc import Sequence
from typing import Any, Final

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities import tags
from pilothouse.capabilities.machines import shapes, work_store
from pilothouse.capabilities.machines.asking import (
    IMAGE,
    arn,
    check_page,
    check_tag_kinds,
    dry_run,
    machines_named,
    no_image,
    page,
    put_tags,
    refuse,
    tags_for,
)
from pilothouse.capabilities.machines.filters import Facts, fitting
from pilothouse.capabilities.machines.model import (
    AVAILABLE,
    CONNECTION_TAG,
    PENDING,
    Image,
    IncorrectInstanceState,
    InsufficientInstanceCapacity,
    InvalidAMIIDUnavailable,
    InvalidAMINameDuplicate,
    Kind,
    Machine,
    Snapshot,
    State,
    UnsupportedOperation,
    checked_id,
    checked_image_name,
)
from pilothouse.capabilities.machines.places import places_for
from pilothouse.capabilities.machines.snapshots import delete_one
from pilothouse.capabilities.machines.store import MachineStore
from pilothouse.errors import InvalidParameterValue
from pilothouse.storage import Transaction

_FACTS: Final[Facts[Image]] = {
    "image-id": lambda each: [each.image_id],
    "name": lambda each: [each.name],
    "description": lambda each: [each.description],
    "state": lambda each: [each.state],
    "architecture": lambda each: [each.architecture],
    "owner-id": lambda each: [each.account_id],
    "image-type": lambda each: ["machine"],
    "is-public": lambda each: ["false"],
    "root-device-type": lambda each: ["ebs"],
    "virtualization-type": lambda each: ["hvm"],
    "source-instance-id": lambda each: [each.machine_id],
    "source-image-id": lambda each: [each.source_image_id],
    "block-device-mapping.snapshot-id": lambda each: [snapshot_id for _, snapshot_id in each.disks],
}


def _of_machine(call: Call, request: Shape) -> list[str]:
    return [arn(call, "instance", request["InstanceId"]), arn(call, "image", "*")]


def _of_image(call: Call, request: Shape) -> list[str]:
    return [arn(call, "image", request["ImageId"])]


def _of_copy(call: Call, request: Shape) -> list[str]:
    return [arn(call, "image", "*")]


async def _check_name(store: MachineStore, name: str) -> None:
    there = await store.image_with(name=checked_image_name(name))
    if there is not None:
        raise InvalidAMINameDuplicate(f"AMI name {name} is already in use by AMI {there}")


def _snapshots(call: Call, connection: str, sources: Sequence[tuple[str, str, str, int]], text: str) -> list[Snapshot]:
    """New ones of disks: (device, volume id, machine id, bytes)."""
    return [
        Snapshot(
            account_id=call.account_id,
            region=call.region,
            snapshot_id=f"snap-{call.ids.random_bytes(9).hex()[:17]}",
            connection=connection,
            volume_id=volume_id,
            machine_id=machine_id,
            description=text,
            state=PENDING,
            volume="",
            size_bytes=size_bytes,
            created_at=call.clock.millis(),
        )
        for _, volume_id, machine_id, size_bytes in sources
    ]


def _image(call: Call, request: Shape, connection: str, image_id: str, **more: Any) -> Image:
    return Image(
        account_id=call.account_id,
        region=call.region,
        image_id=image_id,
        connection=connection,
        name=request["Name"],
        description=request.get("Description") or "",
        client_token=request.get("ClientToken") or "",
        state=PENDING,
        created_at=call.clock.millis(),
        **more,
    )


@operation("ec2", "CreateImage", writes=True, resources=_of_machine)
async def create_image(call: Call, request: Shape) -> Shape:
    """An image of a machine, which is stopped for it, and started again, unless NoReboot is set."""
    refuse(request, ("BlockDeviceMappings", "SnapshotLocation", "BootModeOverride"))
    check_tag_kinds(request, "image", "snapshot")
    async with call.transaction() as tx:
        store = MachineStore(tx, call.account_id, call.region)
        await store.lock()
        machine = (await machines_named(store, [request["InstanceId"]]))[0]
        if machine.state not in (State.RUNNING, State.STOPPED, State.STOPPING, State.PENDING):
            raise IncorrectInstanceState(f"Instance '{machine.machine_id}' is not 'running' or 'stopped'.")
        await _check_name(store, request["Name"])
        if not machine.disks:
            raise UnsupportedOperation(f"The instance '{machine.machine_id}' has no disks that could be copied.")
        dry_run(request)
        image_id = f"ami-{call.ids.random_bytes(9).hex()[:17]}"
        sources = [(disk.device, disk.volume_id, machine.machine_id, disk.size_bytes) for disk in machine.disks]
        text = f"Created by CreateImage({machine.machine_id}) for {image_id}"
        snapshots = _snapshots(call, machine.connection, sources, text)
        devices = [disk.device for disk in machine.disks]
        await _add(call, tx, request, store, snapshots, _image(
            call, request, machine.connection, image_id, machine_id=machine.machine_id,
            source_image_id=machine.image_id, source_region=call.region if machine.image_id else "", template="",
            architecture=machine.architecture,
            disks=tuple(zip(devices, [each.snapshot_id for each in snapshots], strict=True)),
        ), "CreateImage")  # fmt: skip
        await work_store.add(
            call.house, tx, (machine.account_id, machine.region, machine.connection), machine.machine_id, Kind.IMAGE,
            image_id=image_id, reboot=not request.get("NoReboot"), disks=_copies(machine, snapshots),
        )  # fmt: skip
    return {"ImageId": image_id}


def _copies(machine: Machine, snapshots: list[Snapshot]) -> list[dict[str, str]]:
    pairs = zip(machine.disks, snapshots, strict=True)
    return [{"snapshot_id": snapshot.snapshot_id, "volume": disk.volume} for disk, snapshot in pairs]


async def _add(
    call: Call, tx: Transaction, request: Shape, store: MachineStore, snapshots: list[Snapshot], image: Image, how: str
) -> None:
    """Write down an image that is to be, and the snapshots under it."""
    for each in snapshots:
        await store.add_snapshot(each)
    await store.add_image(image)
    await put_tags(call, tx, "image", [image.image_id], tags_for(request, "image"), action=how)
    ids = [each.snapshot_id for each in snapshots]
    await put_tags(call, tx, "snapshot", ids, tags_for(request, "snapshot"), action=how)


@operation("ec2", "CopyImage", writes=True, resources=_of_copy)
async def copy_image(call: Call, request: Shape) -> Shape:
    """An image of this or another region, with snapshots of its own, where this region has its machines.

    The tag `pilothouse:connection` says on which of the region's connections; it is no tag of the copy.
    """
    wanted, request = _without_connection(request)
    refuse(request, ("Encrypted", "KmsKeyId", "DestinationOutpostArn", "DestinationAvailabilityZone"))
    check_tag_kinds(request, "image", "snapshot")
    async with call.transaction() as tx:
        store = MachineStore(tx, call.account_id, call.region)
        await store.lock()
        token = request.get("ClientToken") or ""
        if token and (there := await store.image_with(client_token=token)):
            return {"ImageId": there}
        elsewhere = MachineStore(tx, call.account_id, request["SourceRegion"])
        source = await elsewhere.image(checked_id(request["SourceImageId"], "ami"))
        if source is None:
            raise no_image(request["SourceImageId"])
        if source.state != AVAILABLE:
            raise InvalidAMIIDUnavailable(f"The image ID '{source.image_id}' is not available: it is {source.state}.")
        await _check_name(store, request["Name"])
        connection = _destination(call, source, wanted)
        dry_run(request)
        olds = [await elsewhere.snapshot(each) for _, each in source.disks]
        froms = [each for each in olds if each is not None]
        image_id = f"ami-{call.ids.random_bytes(9).hex()[:17]}"
        text = f"Copied for DestinationAmi {image_id} from SourceAmi {source.image_id}"
        sources = [("", each.volume_id, each.machine_id, each.size_bytes) for each in froms]
        snapshots = _snapshots(call, connection, sources, text)
        devices = [device for device, _ in source.disks]
        await _add(call, tx, request, store, snapshots, _image(
            call, request, connection, image_id, machine_id="", source_image_id=source.image_id,
            source_region=source.region, template=source.template, architecture=source.architecture,
            disks=tuple(zip(devices, [each.snapshot_id for each in snapshots], strict=True)),
        ), "CopyImage")  # fmt: skip
        if request.get("CopyImageTags"):
            kept = await tags.of(tx, call.account_id, source.region, IMAGE, source.image_id)
            await put_tags(call, tx, "image", [image_id], kept, action="CopyImage")
        await work_store.add(
            call.house, tx, (call.account_id, call.region, connection), image_id, Kind.COPY_IMAGE, image_id=image_id,
            template=source.template, source=[source.account_id, source.region, source.connection],
            disks=[
                {"snapshot_id": new.snapshot_id, "volume": old.volume}
                for new, old in zip(snapshots, froms, strict=True)
            ],
        )  # fmt: skip
    return {"ImageId": image_id}


def _without_connection(request: Shape) -> tuple[str, Shape]:
    """The connection that a request names by its tags, and the request with the other tags."""
    found, specifications = "", []
    for each in request.get("TagSpecifications") or ():
        tagged = each.get("Tags") or []
        found = next((tag.get("Value") or "" for tag in tagged if tag.get("Key") == CONNECTION_TAG), found)
        left = [tag for tag in tagged if tag.get("Key") != CONNECTION_TAG]
        if left or not tagged:
            specifications.append({**each, "Tags": left})
    return found, {**request, "TagSpecifications": specifications}


def _destination(call: Call, source: Image, wanted: str) -> str:
    """The connection on which a copy is to be. Raises InsufficientInstanceCapacity, InvalidParameterValue."""
    if not wanted and source.region == call.region:
        return source.connection
    there = [each.name for each in places_for(call.house.settings.machines, call.account_id, call.region)]
    if not there:
        raise InsufficientInstanceCapacity(
            f"This account has no connection to machines in {call.region}; the setting [machines] connections "
            "names them."
        )
    if wanted and wanted not in there:
        raise InvalidParameterValue(
            f"The tag {CONNECTION_TAG} names no connection of this account in {call.region}; there are "
            f"{', '.join(there)}."
        )
    return wanted or there[0]


@operation("ec2", "DeregisterImage", writes=True, resources=_of_image)
async def deregister_image(call: Call, request: Shape) -> Shape:
    """The image is no more. Its snapshots stay, unless they are to go with it; machines that were run stay anyway."""
    async with call.transaction() as tx:
        store = MachineStore(tx, call.account_id, call.region)
        await store.lock()
        image = await store.image(checked_id(request["ImageId"], "ami"))
        if image is None:
            raise no_image(request["ImageId"])
        if image.state == PENDING:
            raise InvalidAMIIDUnavailable(f"The image ID '{image.image_id}' is pending; wait until it is whole.")
        dry_run(request)
        await store.remove_image(image.image_id)
        await tags.remove_all(tx, call.account_id, call.region, IMAGE, image.image_id)
        results = []
        for _, snapshot_id in image.disks if request.get("DeleteAssociatedSnapshots") else ():
            in_use = bool(await store.stood_on(snapshot_id))
            if not in_use and (snapshot := await store.snapshot(snapshot_id)) is not None:
                await delete_one(call, tx, store, snapshot)
            results.append({"SnapshotId": snapshot_id, "ReturnCode": "skipped" if in_use else "success"})
    return {"Return": True, "DeleteSnapshotResults": results}


@operation("ec2", "DescribeImages")
async def describe_images(call: Call, request: Shape) -> Shape:
    """The images of the account and region. There are none of others."""
    dry_run(request)
    check_page(request, "ImageIds", 1)
    owners = set(request.get("Owners") or ()) | set(request.get("ExecutableUsers") or ())
    async with call.reading() as tx:
        store = MachineStore(tx, call.account_id, call.region)
        ids = request.get("ImageIds")
        found = await store.images([checked_id(each, "ami") for each in ids] if ids else None)
        if ids and (missing := set(ids) - {each.image_id for each in found}):
            raise no_image(min(missing))
        given = await tags.of_each(tx, call.account_id, call.region, IMAGE, [each.image_id for each in found])
        snapshots = {each.snapshot_id: each for each in await store.snapshots()} if found else {}
    if owners and not owners & {"self", call.account_id}:
        if any(not (each in ("amazon", "aws-marketplace") or each.isdigit()) for each in owners):
            raise InvalidParameterValue("Owners are self, amazon, aws-marketplace, and account ids.")
        found = []
    found = fitting(request, found, _FACTS, lambda each: given.get(each.image_id, {}))
    part, token = page(call, "DescribeImages", request, found, lambda each: each.image_id)
    return {
        "Images": [shapes.image_shape(each, snapshots, given.get(each.image_id, {})) for each in part],
        "NextToken": token,
    }
