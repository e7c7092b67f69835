"""CreateSnapshot, DeleteSnapshot, DescribeSnapshots."""

from typing import Final

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities import tags
from pilothouse.capabilities.machines import shapes, work_store
from pilothouse.capabilities.machines.asking import (
    SNAPSHOT,
    arn,
    check_page,
    check_tag_kinds,
    dry_run,
    no_snapshot,
    page,
    put_tags,
    refuse,
    tags_for,
)
from pilothouse.capabilities.machines.filters import Facts, fitting
from pilothouse.capabilities.machines.model import (
    COMPLETED,
    PENDING,
    Disk,
    IncorrectInstanceState,
    InvalidSnapshotInUse,
    InvalidVolumeNotFound,
    Kind,
    Machine,
    Snapshot,
    State,
    checked_id,
)
from pilothouse.capabilities.machines.store import MachineStore
from pilothouse.storage import Transaction

_FACTS: Final[Facts[Snapshot]] = {
    "snapshot-id": lambda each: [each.snapshot_id],
    "volume-id": lambda each: [each.volume_id],
    "description": lambda each: [each.description],
    "status": lambda each: [each.state],
    "owner-id": lambda each: [each.account_id],
    "progress": lambda each: ["100%" if each.state == COMPLETED else ""],
    "encrypted": lambda each: ["false"],
    "volume-size": lambda each: [str(max(1, -(-each.size_bytes // (1 << 30))))],
}


def _of_volume(call: Call, request: Shape) -> list[str]:
    return [arn(call, "volume", request["VolumeId"]), arn(call, "snapshot", "*")]


def _of_snapshot(call: Call, request: Shape) -> list[str]:
    return [arn(call, "snapshot", request["SnapshotId"])]


async def _disk(store: MachineStore, volume_id: str) -> tuple[Machine, Disk]:
    for machine in await store.machines():
        for disk in machine.disks:
            if disk.volume_id == volume_id:
                return machine, disk
    raise InvalidVolumeNotFound(f"The volume '{volume_id[:64]}' does not exist.")


@operation("ec2", "CreateSnapshot", writes=True, resources=_of_volume)
async def create_snapshot(call: Call, request: Shape) -> Shape:
    """A copy of a machine's disk, also while the machine runs, where its host can do that."""
    refuse(request, ("OutpostArn", "Location"))
    check_tag_kinds(request, "snapshot")
    async with call.transaction() as tx:
        store = MachineStore(tx, call.account_id, call.region)
        await store.lock()
        machine, disk = await _disk(store, request["VolumeId"])
        if machine.state in (State.SHUTTING_DOWN, State.TERMINATED):
            raise IncorrectInstanceState(f"The instance '{machine.machine_id}' is {machine.state}.")
        dry_run(request)
        snapshot = Snapshot(
            account_id=call.account_id,
            region=call.region,
            snapshot_id=f"snap-{call.ids.random_bytes(9).hex()[:17]}",
            connection=machine.connection,
            volume_id=disk.volume_id,
            machine_id=machine.machine_id,
            description=request.get("Description") or "",
            state=PENDING,
            volume="",
            size_bytes=disk.size_bytes,
            created_at=call.clock.millis(),
        )
        await store.add_snapshot(snapshot)
        given = tags_for(request, "snapshot")
        await put_tags(call, tx, "snapshot", [snapshot.snapshot_id], given, action="CreateSnapshot")
        await work_store.add(
            call.house, tx, (machine.account_id, machine.region, machine.connection), machine.machine_id,
            Kind.SNAPSHOT, snapshot_id=snapshot.snapshot_id, volume=disk.volume,
        )  # fmt: skip
    return shapes.snapshot_shape(snapshot, given)


@operation("ec2", "DeleteSnapshot", writes=True, resources=_of_snapshot)
async def delete_snapshot(call: Call, request: Shape) -> Shape:
    """The snapshot is no more, unless an image stands on it."""
    async with call.transaction() as tx:
        store = MachineStore(tx, call.account_id, call.region)
        await store.lock()
        snapshot = await store.snapshot(checked_id(request["SnapshotId"], "snap"))
        if snapshot is None:
            raise no_snapshot(request["SnapshotId"])
        images = await store.stood_on(snapshot.snapshot_id)
        if images:
            raise InvalidSnapshotInUse(
                f"The snapshot {snapshot.snapshot_id} is currently in use by {', '.join(images)}"
            )
        if snapshot.state == PENDING:
            raise InvalidSnapshotInUse(f"The snapshot {snapshot.snapshot_id} is pending; wait until it is whole.")
        dry_run(request)
        await delete_one(call, tx, store, snapshot)
    return {}


async def delete_one(call: Call, tx: Transaction, store: MachineStore, snapshot: Snapshot) -> None:
    """Forget a snapshot; what it keeps is removed after the commit."""
    await store.remove_snapshot(snapshot.snapshot_id)
    await tags.remove_all(tx, call.account_id, call.region, SNAPSHOT, snapshot.snapshot_id)
    if snapshot.volume:
        place = (snapshot.account_id, snapshot.region, snapshot.connection)
        await work_store.add(call.house, tx, place, snapshot.snapshot_id, Kind.FORGET, volume=snapshot.volume)


@operation("ec2", "DescribeSnapshots")
async def describe_snapshots(call: Call, request: Shape) -> Shape:
    """The snapshots of the account and region. There are none of others."""
    dry_run(request)
    check_page(request, "SnapshotIds")
    owners = set(request.get("OwnerIds") or ())
    async with call.reading() as tx:
        found = await MachineStore(tx, call.account_id, call.region).snapshots()
        given = await tags.of_each(tx, call.account_id, call.region, SNAPSHOT, [each.snapshot_id for each in found])
    if ids := request.get("SnapshotIds"):
        wanted = {checked_id(each, "snap") for each in ids}
        found = [each for each in found if each.snapshot_id in wanted]
        if missing := wanted - {each.snapshot_id for each in found}:
            raise no_snapshot(min(missing))
    if owners and not owners & {"self", call.account_id}:
        found = []
    found = fitting(request, found, _FACTS, lambda each: given.get(each.snapshot_id, {}))
    part, token = page(call, "DescribeSnapshots", request, found, lambda each: each.snapshot_id)
    return {
        "Snapshots": [shapes.snapshot_shape(each, given.get(each.snapshot_id, {})) for each in part],
        "NextToken": token,
    }
