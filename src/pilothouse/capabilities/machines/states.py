"""StartInstances, StopInstances, RebootInstances, TerminateInstances.

The state is set at once, and what is to be done is a row.
"""

from typing import Any, Final

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities.machines import work_store
from pilothouse.capabilities.machines.asking import dry_run, instances_named, machines_named, refuse, touched
from pilothouse.capabilities.machines.model import (
    IncorrectInstanceState,
    Kind,
    Machine,
    OperationNotPermitted,
    State,
    UnsupportedOperation,
)
from pilothouse.capabilities.machines.shapes import state_shape
from pilothouse.capabilities.machines.store import MachineStore
from pilothouse.runtime.clock import from_millis
from pilothouse.storage import Transaction


async def _chosen(call: Call, tx: Transaction, request: Shape) -> tuple[MachineStore, list[Machine]]:
    store = MachineStore(tx, call.account_id, call.region)
    await store.lock()
    found = await machines_named(store, request["InstanceIds"])
    dry_run(request)
    return store, found


def _wrong_state(machine: Machine, verb: str) -> IncorrectInstanceState:
    return IncorrectInstanceState(f"The instance '{machine.machine_id}' is not in a state from which it can be {verb}.")


def _change(machine: Machine, current: State) -> Shape:
    return {
        "InstanceId": machine.machine_id,
        "CurrentState": state_shape(current),
        "PreviousState": state_shape(machine.state),
    }


async def _let(call: Call, tx: Transaction, machine: Machine, kind: Kind, **arguments: Any) -> None:
    place = (machine.account_id, machine.region, machine.connection)
    await work_store.add(call.house, tx, place, machine.machine_id, kind, **arguments)


def _by_user(call: Call) -> str:
    return f"User initiated ({from_millis(call.clock.millis()).strftime('%Y-%m-%d %H:%M:%S')} GMT)"


@operation("ec2", "StartInstances", writes=True, resources=instances_named)
async def start_instances(call: Call, request: Shape) -> Shape:
    """Let machines run. Those that do are left alone."""
    changes = []
    async with call.transaction() as tx:
        store, found = await _chosen(call, tx, request)
        for each in found:
            if each.state in (State.RUNNING, State.PENDING):
                changes.append(_change(each, each.state))
                continue
            if each.state is not State.STOPPED:
                raise _wrong_state(each, "started")
            await store.put(touched(each, call.clock.millis(), state=State.PENDING, reason=""))
            await _let(call, tx, each, Kind.START)
            changes.append(_change(each, State.PENDING))
    return {"StartingInstances": changes}


@operation("ec2", "StopInstances", writes=True, resources=instances_named)
async def stop_instances(call: Call, request: Shape) -> Shape:
    """Ask machines to shut down; after a while, or at once with Force, their power is taken away."""
    refuse(request, ("Hibernate",))
    force = bool(request.get("Force") or request.get("SkipOsShutdown"))
    changes = []
    async with call.transaction() as tx:
        store, found = await _chosen(call, tx, request)
        for each in found:
            if each.state is State.STOPPED or (each.state is State.STOPPING and not force):
                changes.append(_change(each, each.state))
                continue
            if each.state not in (State.RUNNING, State.STOPPING, State.PENDING):
                raise _wrong_state(each, "stopped")
            if not each.lasting:
                raise UnsupportedOperation(
                    f"The instance '{each.machine_id}' is not defined on its host: once stopped it would be gone."
                )
            await store.put(touched(each, call.clock.millis(), state=State.STOPPING, reason=_by_user(call)))
            await _let(call, tx, each, Kind.STOP, force=force)
            changes.append(_change(each, State.STOPPING))
    return {"StoppingInstances": changes}


@operation("ec2", "RebootInstances", writes=True, resources=instances_named)
async def reboot_instances(call: Call, request: Shape) -> Shape:
    """End the present run of machines and begin another. They are running meanwhile, as far as one is told."""
    async with call.transaction() as tx:
        store, found = await _chosen(call, tx, request)
        for each in found:
            if each.state is not State.RUNNING:
                raise _wrong_state(each, "rebooted")
            await store.put(touched(each, call.clock.millis()))
            await _let(call, tx, each, Kind.REBOOT)
    return {}


@operation("ec2", "TerminateInstances", writes=True, resources=instances_named)
async def terminate_instances(call: Call, request: Shape) -> Shape:
    """Remove machines and their disks. Those that were not run from an image here are protected."""
    changes = []
    async with call.transaction() as tx:
        store, found = await _chosen(call, tx, request)
        for each in found:
            if each.state in (State.TERMINATED, State.SHUTTING_DOWN):
                changes.append(_change(each, each.state))
                continue
            if not each.made_here and not call.house.settings.machines.terminate_found:
                raise OperationNotPermitted(_PROTECTED.format(each.machine_id))
            beside = await _beside(store, each)
            await store.put(touched(each, call.clock.millis(), state=State.SHUTTING_DOWN, reason=_by_user(call)))
            volumes = [disk.volume for disk in each.disks if disk.size_bytes]
            await _let(call, tx, each, Kind.TERMINATE, volumes=volumes, beside=beside)
            changes.append(_change(each, State.SHUTTING_DOWN))
    return {"TerminatingInstances": changes}


_PROTECTED: Final = (
    "The instance '{}' may not be terminated: it was not run from an image by this server. "
    "The setting [machines] terminate_found allows it."
)


async def _beside(store: MachineStore, machine: Machine) -> str:
    """A volume of the image that the machine comes from: beside it lies what a run that was not finished left."""
    image = await store.image(machine.image_id) if machine.image_id else None
    for _, snapshot_id in () if image is None else image.disks:
        snapshot = await store.snapshot(snapshot_id)
        if snapshot is not None and snapshot.volume:
            return snapshot.volume
    return ""
