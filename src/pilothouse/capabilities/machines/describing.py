"""DescribeInstances, DescribeInstanceStatus."""

from collections.abc import Mapping
from typing import Final

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities import tags
from pilothouse.capabilities.machines import shapes
from pilothouse.capabilities.machines.asking import check_page, dry_run, machines_named, page
from pilothouse.capabilities.machines.filters import Facts, fitting
from pilothouse.capabilities.machines.looking import INSTANCE
from pilothouse.capabilities.machines.model import CODES, Machine, State
from pilothouse.capabilities.machines.store import MachineStore
from pilothouse.runtime.clock import from_millis
from pilothouse.storage import Transaction

_FACTS: Final[Facts[Machine]] = {
    "instance-id": lambda each: [each.machine_id],
    "instance-state-name": lambda each: [each.state.value],
    "instance-state-code": lambda each: [str(CODES[each.state])],
    "instance-type": lambda each: [each.size],
    "image-id": lambda each: [each.image_id],
    "architecture": lambda each: [each.architecture],
    "availability-zone": lambda each: [shapes.zone_of(each.region)],
    "private-ip-address": lambda each: list(each.addresses),
    "network-interface.addresses.private-ip-address": lambda each: list(each.addresses),
    "private-dns-name": lambda each: [each.name],
    "owner-id": lambda each: [each.account_id],
    "reservation-id": lambda each: [shapes.reservation_of(each)],
    "client-token": lambda each: [each.client_token],
    "root-device-name": lambda each: [each.disks[0].device] if each.disks else [],
    "block-device-mapping.device-name": lambda each: [disk.device for disk in each.disks],
    "block-device-mapping.volume-id": lambda each: [disk.volume_id for disk in each.disks],
    "launch-time": lambda each: [from_millis(each.launched_at).isoformat(timespec="milliseconds")[:23] + "Z"],
    "launch-index": lambda each: [str(each.launch_index)],
}


async def _chosen(call: Call, tx: Transaction, request: Shape) -> tuple[list[Machine], Mapping[str, Mapping[str, str]]]:
    """The machines that a request is about, by id, and the tags of each."""
    store = MachineStore(tx, call.account_id, call.region)
    ids = request.get("InstanceIds")
    found = sorted(await machines_named(store, ids), key=_id) if ids else await store.machines()
    given = await tags.of_each(tx, call.account_id, call.region, INSTANCE, [each.machine_id for each in found])
    whole = {each.machine_id: shapes.tags_of(each, given.get(each.machine_id, {})) for each in found}
    return fitting(request, found, _FACTS, lambda each: whole[each.machine_id]), whole


def _id(machine: Machine) -> str:
    return machine.machine_id


@operation("ec2", "DescribeInstances")
async def describe_instances(call: Call, request: Shape) -> Shape:
    """The machines of the account and region, as they were last seen."""
    dry_run(request)
    check_page(request, "InstanceIds")
    async with call.reading() as tx:
        found, given = await _chosen(call, tx, request)
    part, token = page(call, "DescribeInstances", request, found, _id)
    reservations: dict[str, list[Shape]] = {}
    for each in part:
        shape = shapes.instance(each, given[each.machine_id])
        reservations.setdefault(shapes.reservation_of(each), []).append(shape)
    return {
        "Reservations": [shapes.reservation(call.account_id, each, key) for key, each in reservations.items()],
        "NextToken": token,
    }


@operation("ec2", "DescribeInstanceStatus")
async def describe_instance_status(call: Call, request: Shape) -> Shape:
    """How running machines are, and with IncludeAllInstances the others; whether their connection answers."""
    dry_run(request)
    check_page(request, "InstanceIds")
    async with call.reading() as tx:
        errors = await MachineStore(tx, call.account_id, call.region).errors()
        renamed = [
            {**each, "Name": _STATUS_NAMES.get(each.get("Name") or "", each.get("Name"))}
            for each in request.get("Filters") or ()
        ]
        found, _ = await _chosen(call, tx, {**request, "Filters": renamed})
    if not request.get("IncludeAllInstances"):
        found = [each for each in found if each.state is State.RUNNING]
    part, token = page(call, "DescribeInstanceStatus", request, found, _id)
    return {"InstanceStatuses": [_status(each, errors.get(each.connection, "")) for each in part], "NextToken": token}


_STATUS_NAMES: Final = {"instance-status.status": "-", "system-status.status": "-", "event.code": "-"}
"""Filters of EC2 that are not there."""


def _status(machine: Machine, error: str) -> Shape:
    word, detail = ("ok", "passed") if not error else ("impaired", "failed")
    if machine.state is not State.RUNNING:
        word, detail = "not-applicable", ""
    summary: Shape = {"Status": word}
    if detail:
        summary["Details"] = [{"Name": "reachability", "Status": detail}]
    return {
        "InstanceId": machine.machine_id,
        "AvailabilityZone": shapes.zone_of(machine.region),
        "InstanceState": shapes.state_shape(machine.state),
        "InstanceStatus": summary,
        "SystemStatus": summary,
        "Events": [],
    }
