"""CreateReplaceRootVolumeTask, DescribeReplaceRootVolumeTasks: a machine's first disk as it was once."""

from datetime import timedelta
from typing import Final

from pilothouse.call import Call, House, Shape, job, operation
from pilothouse.capabilities.machines import root_store, work_store
from pilothouse.capabilities.machines.asking import (
    arn,
    check_page,
    check_tag_kinds,
    dry_run,
    machines_named,
    no_image,
    no_snapshot,
    page,
    refuse,
)
from pilothouse.capabilities.machines.filters import Facts, fitting
from pilothouse.capabilities.machines.model import (
    AVAILABLE,
    COMPLETED,
    PENDING,
    IdempotentParameterMismatch,
    IncorrectInstanceState,
    IncorrectState,
    InvalidAMIIDUnavailable,
    InvalidParameterCombination,
    InvalidReplaceRootVolumeTaskIDNotFound,
    Kind,
    Machine,
    RootTask,
    Snapshot,
    State,
    UnsupportedOperation,
    checked_id,
)
from pilothouse.capabilities.machines.store import MachineStore
from pilothouse.errors import InvalidParameterValue
from pilothouse.runtime.clock import from_millis

_KEPT_MS: Final = 30 * 24 * 3_600_000
_BATCH: Final = 500
_FACTS: Final[Facts[RootTask]] = {"instance-id": lambda each: [each.machine_id]}


def _resources(call: Call, request: Shape) -> list[str]:
    found = [arn(call, "instance", request["InstanceId"]), arn(call, "replace-root-volume-task", "*")]
    if request.get("SnapshotId"):
        found.append(arn(call, "snapshot", request["SnapshotId"]))
    if request.get("ImageId"):
        found.append(arn(call, "image", request["ImageId"]))
    return found


@operation("ec2", "CreateReplaceRootVolumeTask", writes=True, resources=_resources)
async def create_replace_root_volume_task(call: Call, request: Shape) -> Shape:
    """The machine is stopped, its first disk gets a copy of the snapshot, and it is started again if it ran."""
    refuse(request, ("VolumeInitializationRate", "VolumeId"))
    check_tag_kinds(request)
    async with call.transaction() as tx:
        store = MachineStore(tx, call.account_id, call.region)
        await store.lock()
        machine = (await machines_named(store, [request["InstanceId"]]))[0]
        token = request.get("ClientToken") or ""
        known = await root_store.with_token(tx, call.account_id, call.region, token) if token else None
        if known is not None:
            if _asked(request) != (known.machine_id, known.snapshot_id if not known.image_id else "", known.image_id):
                raise IdempotentParameterMismatch("The client token was used before, for another request.")
            return {"ReplaceRootVolumeTask": _shape(known)}
        if machine.state not in (State.RUNNING, State.STOPPED, State.PENDING, State.STOPPING):
            raise IncorrectInstanceState(f"Instance '{machine.machine_id}' is not 'running' or 'stopped'.")
        if not machine.disks:
            raise UnsupportedOperation(f"The instance '{machine.machine_id}' has no disk that could be replaced.")
        snapshot = await _source(store, machine, request)
        dry_run(request)
        task = RootTask(
            account_id=call.account_id,
            region=call.region,
            task_id=f"replacevol-{call.ids.random_bytes(9).hex()[:17]}",
            machine_id=machine.machine_id,
            snapshot_id=snapshot.snapshot_id,
            image_id=request.get("ImageId") or "",
            delete_replaced=int(bool(request.get("DeleteReplacedRootVolume"))),
            client_token=token,
            state=PENDING,
            created_at=call.clock.millis(),
        )
        await root_store.add(tx, task)
        await work_store.add(
            call.house, tx, (machine.account_id, machine.region, machine.connection), machine.machine_id,
            Kind.REPLACE_ROOT, task_id=task.task_id, device=machine.disks[0].device, volume=snapshot.volume,
            delete=bool(task.delete_replaced),
        )  # fmt: skip
    return {"ReplaceRootVolumeTask": _shape(task)}


def _asked(request: Shape) -> tuple[str, str, str]:
    return request["InstanceId"], request.get("SnapshotId") or "", request.get("ImageId") or ""


async def _source(store: MachineStore, machine: Machine, request: Shape) -> Snapshot:
    """The snapshot that the disk is to be made of: one of this very disk, or that of an image's first disk."""
    snapshot_id, image_id = request.get("SnapshotId"), request.get("ImageId")
    if snapshot_id and image_id:
        raise InvalidParameterCombination("Specify either SnapshotId or ImageId, not both.")
    if not snapshot_id:
        image_id = image_id or machine.image_id
        if not image_id:
            raise UnsupportedOperation(
                f"The instance '{machine.machine_id}' was not run from an image here: name a SnapshotId or an ImageId."
            )
        image = await store.image(checked_id(image_id, "ami"))
        if image is None:
            raise no_image(image_id)
        if image.state != AVAILABLE or not image.disks:
            raise InvalidAMIIDUnavailable(f"The image ID '{image.image_id}' is not available: it is {image.state}.")
        snapshot_id = image.disks[0][1]
    snapshot = await store.snapshot(checked_id(snapshot_id, "snap"))
    if snapshot is None:
        raise no_snapshot(snapshot_id)
    if snapshot.state != COMPLETED:
        raise IncorrectState(f"The snapshot '{snapshot.snapshot_id}' is not completed: it is {snapshot.state}.")
    if not image_id and snapshot.volume_id != machine.disks[0].volume_id:
        raise InvalidParameterValue(
            f"The snapshot '{snapshot.snapshot_id}' is not of the root volume of '{machine.machine_id}'."
        )
    if snapshot.connection != machine.connection:
        raise UnsupportedOperation(
            f"The snapshot '{snapshot.snapshot_id}' is on the connection {snapshot.connection}, the machine on "
            f"{machine.connection}; CopyImage carries images between them."
        )
    return snapshot


@operation("ec2", "DescribeReplaceRootVolumeTasks")
async def describe_replace_root_volume_tasks(call: Call, request: Shape) -> Shape:
    """Those that go on, and those that ended within the last 30 days."""
    dry_run(request)
    check_page(request, "ReplaceRootVolumeTaskIds", 1)
    async with call.reading() as tx:
        found = await root_store.tasks(tx, call.account_id, call.region)
    if ids := request.get("ReplaceRootVolumeTaskIds"):
        found = [each for each in found if each.task_id in ids]
        if missing := set(ids) - {each.task_id for each in found}:
            raise InvalidReplaceRootVolumeTaskIDNotFound(
                f"The replace root volume task ID '{min(missing)[:64]}' does not exist."
            )
    found = fitting(request, found, _FACTS, lambda _: {})
    part, token = page(call, "DescribeReplaceRootVolumeTasks", request, found, lambda each: each.task_id)
    return {"ReplaceRootVolumeTasks": [_shape(each) for each in part], "NextToken": token}


def _shape(task: RootTask) -> Shape:
    return {
        "ReplaceRootVolumeTaskId": task.task_id,
        "InstanceId": task.machine_id,
        "TaskState": task.state,
        "StartTime": _moment(task.created_at),
        "CompleteTime": None if task.ended_at is None else _moment(task.ended_at),
        "Tags": [],
        "ImageId": task.image_id or None,
        "SnapshotId": task.snapshot_id,
        "DeleteReplacedRootVolume": bool(task.delete_replaced),
    }


def _moment(at: int) -> str:
    return from_millis(at).isoformat(timespec="seconds").replace("+00:00", "Z")


@job("machines.root_tasks", every=timedelta(hours=1))
async def forget_root_tasks(house: House) -> None:
    """Those that ended long ago."""
    async with house.database.transaction() as tx:
        await root_store.forget(tx, house.clock.millis() - _KEPT_MS, _BATCH)
