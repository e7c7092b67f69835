"""Machines that are not in EC2, as EC2 has them: found on hosts of libvirt, started, stopped, imaged and run.

Owns the tables machine_connection, machine, machine_snapshot, machine_image, machine_image_disk, machine_root_task and
machine_work. What is asked for is a row, and is done by processes with the role `scheduler`; answers tell what the rows
say. What a machine's host is asked is in `driver`; `libvirt_driver` is the driver that there is.
"""

from pilothouse.call import Capability, House, Lasting
from pilothouse.capabilities import tags
from pilothouse.capabilities.machines import describing, images, launching, root_volumes, snapshots, states, tagging
from pilothouse.capabilities.machines.asking import IMAGE, SNAPSHOT
from pilothouse.capabilities.machines.looking import INSTANCE
from pilothouse.capabilities.machines.model import NODE_TAG, State
from pilothouse.capabilities.machines.places import places_for
from pilothouse.capabilities.machines.store import MachineStore, account_of
from pilothouse.capabilities.machines.working import process_ended, work
from pilothouse.storage import Transaction


async def _machine(tx: Transaction, account_id: str, region: str, machine_id: str) -> str | None:
    found = await MachineStore(tx, account_id, region).machine(machine_id)
    return None if found is None else machine_id


async def _tags_of_machine(tx: Transaction, account_id: str, region: str, machine_id: str) -> dict[str, str]:
    return await tags.of(tx, account_id, region, INSTANCE, machine_id)


async def _tags_of_image(tx: Transaction, account_id: str, region: str, image_id: str) -> dict[str, str]:
    return await tags.of(tx, await account_of(tx, "image", region, image_id), region, IMAGE, image_id)


async def _tags_of_snapshot(tx: Transaction, account_id: str, region: str, snapshot_id: str) -> dict[str, str]:
    return await tags.of(tx, await account_of(tx, "snapshot", region, snapshot_id), region, SNAPSHOT, snapshot_id)


async def node_of(tx: Transaction, account_id: str, region: str, machine_id: str) -> str | None:
    """The id of the node that a machine is, by its tag `pilothouse:node`; None for machines that are none."""
    return (await tags.of(tx, account_id, region, INSTANCE, machine_id)).get(NODE_TAG)


async def live(tx: Transaction, account_id: str, region: str) -> list[str]:
    """The ids of all machines that are there, running or not."""
    gone = (State.TERMINATED, State.SHUTTING_DOWN)
    found = await MachineStore(tx, account_id, region).machines()
    return [each.machine_id for each in found if each.state not in gone]


def has_place(house: House, account_id: str, region: str) -> bool:
    """Whether an account has a connection to machines in a region."""
    return bool(places_for(house.settings.machines, account_id, region))


CAPABILITY = Capability.of(
    "machines",
    describing,
    states,
    launching,
    images,
    snapshots,
    root_volumes,
    tagging,
    tags_of={INSTANCE: _tags_of_machine, IMAGE: _tags_of_image, SNAPSHOT: _tags_of_snapshot},
    groupable={"AWS::EC2::Instance": tags.Tagged(INSTANCE, "ec2", "instance/", _machine, ids="i-")},
    listeners={"process.ended": process_ended},
    lasting=(Lasting(name="machines", run=work),),
)

__all__ = ["CAPABILITY", "has_place", "live", "node_of"]
