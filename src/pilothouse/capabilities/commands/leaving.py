"""Nodes that leave: what they had not finished can no longer be known."""

from collections.abc import Mapping
from typing import Any

from pilothouse.call import House
from pilothouse.capabilities.commands.model import Details, Invocation
from pilothouse.capabilities.commands.progress import settle, withdraw
from pilothouse.capabilities.commands.store import CommandStore
from pilothouse.capabilities.commands.telling import invocations_changed
from pilothouse.gateway import outbox
from pilothouse.storage import Transaction


async def node_deregistered(house: House, tx: Transaction, facts: Mapping[str, Any]) -> None:
    """The node's open invocations become Undeliverable, whether they were sent or not."""
    node_id = facts["node_id"]
    store = CommandStore(tx)
    affected = sorted({each.command_id for each in await store.open_on(node_id)})
    if not affected:
        return
    await outbox.hold(tx, affected)
    commands = await store.commands(affected)
    by_command: dict[str, list[Invocation]] = {}
    for each in await store.open_on(node_id):
        by_command.setdefault(each.command_id, []).append(each)
    for command_id in sorted(by_command):
        command = commands[command_id]
        slots = command.counts.slots
        at = house.clock.millis()
        gone = by_command[command_id]
        await store.save_invocations([each.moved(Details.UNDELIVERABLE, command.counts, at=at) for each in gone])
        ends = [(each.node_id, each.status, Details.UNDELIVERABLE) for each in gone]
        await invocations_changed(house, tx, command, ends)
        await withdraw(tx, command_id, [node_id], cancelled=[node_id])
        await settle(house, tx, command, freed=slots - command.counts.slots)
