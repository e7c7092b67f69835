"""Progress: what follows when invocations move. Counts, the command's status, termination, the release of the next.

Whoever changes invocations holds the command's gate, changes the command's counts through `Invocation.moved`, and ends
with `settle`.
"""

from collections.abc import Iterable

from pilothouse.call import House
from pilothouse.capabilities.commands.model import Command, Details
from pilothouse.capabilities.commands.store import CommandStore
from pilothouse.capabilities.commands.telling import command_changed, invocations_changed
from pilothouse.gateway import outbox
from pilothouse.storage import Transaction

COMMAND_TOPIC = "aws.ssm.sendCommand"
CANCEL_TOPIC = "aws.ssm.cancelCommand"


def message_id(command_id: str, node_id: str) -> str:
    """The id of a command's message to a node; agents take the command's id from it."""
    return f"aws.ssm.{command_id}.{node_id}"


def cancel_id(command_id: str, node_id: str) -> str:
    """The outbox id of a cancel; on the wire each transmission has an id of its own."""
    return f"cancel.{command_id}.{node_id}"


async def settle(house: House, tx: Transaction, command: Command, *, freed: int) -> None:
    """Write the command's counts and status; send on where `freed` slots and the error limit allow it."""
    store = CommandStore(tx)
    if command.too_many_errors and command.counts.waiting:
        await ended_together(house, tx, command, Details.TERMINATED, waiting_only=True)
        await store.end_waiting(command, Details.TERMINATED, house.clock.millis())
        await outbox.withdraw_waiting(tx, command.command_id)
    status = command.current()
    await store.save(command, status)
    await command_changed(house, tx, command, status)
    if status.final:
        await outbox.withdraw_all(tx, command.command_id)
        await house.tell(
            tx, "command.finished",
            account_id=command.account_id, region=command.region, command_id=command.command_id, status=status.status,
            details=status.details,
        )  # fmt: skip
    elif freed > 0 and command.counts.waiting:
        await outbox.release(house, tx, command.command_id, min(freed, command.room))


async def ended_together(
    house: House, tx: Transaction, command: Command, details: Details, *, waiting_only: bool
) -> None:
    """Tell that all open invocations, or those that are not on their nodes, are about to end so."""
    found = await CommandStore(tx).open_nodes(command.command_id, waiting_only=waiting_only)
    await invocations_changed(house, tx, command, [(node_id, status, details) for node_id, status in found])


async def withdraw(
    tx: Transaction, command_id: str, node_ids: Iterable[str], *, cancelled: Iterable[str]
) -> None:  # fmt: skip
    """Send these nodes the command no more, nor those among them that are `cancelled` its cancel."""
    await outbox.withdraw(
        tx,
        [
            *(message_id(command_id, node_id) for node_id in node_ids),
            *(cancel_id(command_id, node_id) for node_id in cancelled),
        ],
    )
