"""Looking at the places where machines are, and writing down what changed there."""

from dataclasses import replace
from typing import Final

import structlog

from pilothouse.call import House
from pilothouse.capabilities import tags
from pilothouse.capabilities.machines import store, work_store
from pilothouse.capabilities.machines.driver import DriverFailed, Seen
from pilothouse.capabilities.machines.model import (
    KEPT_MS,
    SIZES,
    Disk,
    Machine,
    State,
    machine_id_of,
    size_of,
    volume_id_of,
)
from pilothouse.capabilities.machines.places import Links, Place
from pilothouse.capabilities.machines.store import MachineStore
from pilothouse.storage import Transaction

log = structlog.get_logger()

INSTANCE: Final = "ec2:instance"
"""What tags of machines hang on."""


def as_seen(machine: Machine, seen: Seen, now: int) -> Machine:
    """The machine as it is now."""
    state = State.RUNNING if seen.running else State.STOPPED
    began = seen.running and (machine.run != seen.run or machine.launched_at == 0)
    came_back = machine.state is State.TERMINATED
    return replace(
        machine,
        native=seen.native,
        name=seen.name,
        state=state,
        run=seen.run,
        size=machine.size if machine.size in SIZES else size_of(seen.vcpus, seen.memory_mib),
        vcpus=seen.vcpus,
        memory_mib=seen.memory_mib,
        architecture=seen.architecture,
        disks=tuple(
            Disk(
                device=each.device,
                volume_id=volume_id_of(machine.machine_id, each.device),
                volume=each.volume,
                size_bytes=each.size_bytes,
            )
            for each in seen.disks
        ),
        addresses=seen.addresses,
        lasting=seen.lasting,
        launched_at=now if began else machine.launched_at,
        ended_at=None,
        reason="" if came_back or state is State.RUNNING else machine.reason,
    )


def new_machine(place: Place, seen: Seen) -> Machine:
    """One that was found."""
    return Machine(
        account_id=place.account_id,
        region=place.region,
        machine_id=machine_id_of(place.account_id, place.region, seen.native),
        connection=place.name,
        native=seen.native,
        name=seen.name,
        state=State.STOPPED,
        run=None,
        size="",
        vcpus=0,
        memory_mib=0,
        architecture="",
        disks=(),
        addresses=(),
        lasting=seen.lasting,
        made_here=False,
    )


def gone(machine: Machine, now: int) -> Machine:
    """One that is no more."""
    return replace(machine, state=State.TERMINATED, run=None, addresses=(), disks=(), ended_at=now)


async def look(house: House, links: Links, place: Place) -> None:
    """Look at one place."""
    began, error, seen = house.clock.millis(), "", list[Seen]()
    try:
        seen = await links.to(*place.key).ask(lambda driver: driver.look())
    except DriverFailed as failed:
        error = str(failed)
    async with house.database.reading() as tx:
        machines = MachineStore(tx, place.account_id, place.region)
        known = (await machines.errors()).get(place.name)
        changed = [] if error else await _changes(tx, place, seen, began, house.clock.millis())
    if known == error and not changed:
        return
    async with house.database.transaction() as tx:
        if known != error:
            if error:
                log.warning("machines.connection_failed", connection=place.name, error=error)
            await store.told(tx, *place.key, began, error)
        if changed:
            machines = MachineStore(tx, place.account_id, place.region)
            await machines.lock()
            for each in await _changes(tx, place, seen, began, house.clock.millis()):
                if each.ended_at is not None and each.ended_at + KEPT_MS < began:
                    await machines.forget(each.machine_id)
                    await tags.remove_all(tx, place.account_id, place.region, INSTANCE, each.machine_id)
                else:
                    await machines.put(each)


async def _changes(tx: Transaction, place: Place, found: list[Seen], began: int, now: int) -> list[Machine]:
    """What is otherwise than it is written down: machines as they are, and those that were shown for long enough."""
    machines = await MachineStore(tx, place.account_id, place.region).machines()
    busy = await work_store.busy(tx, place.account_id, place.region)
    by_native = {each.native: each for each in machines}
    changed = []
    for seen in found:
        machine = by_native.get(seen.native) or new_machine(place, seen)
        elsewhere = machine.connection != place.name and machine.state is not State.TERMINATED
        if machine.machine_id in busy or machine.touched_at >= began or (elsewhere and not seen.running):
            continue
        is_now = as_seen(replace(machine, connection=place.name), seen, now)
        if is_now != by_native.get(seen.native):
            changed.append(is_now)
    there = {seen.native for seen in found}
    for each in machines:
        if each.connection != place.name or each.native in there or each.machine_id in busy:
            continue
        if each.state is not State.TERMINATED and each.touched_at < began:
            changed.append(gone(each, now))
        elif each.ended_at is not None and each.ended_at + KEPT_MS < began:
            changed.append(each)
    return changed
