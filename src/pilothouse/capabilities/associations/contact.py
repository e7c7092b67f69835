"""Nodes that come back: what waits for them goes at once."""

from collections.abc import Mapping
from typing import Any, Final

from pilothouse.call import House
from pilothouse.capabilities.associations.ledger import Ledger
from pilothouse.capabilities.associations.model import State
from pilothouse.capabilities.associations.nudging import nudge_nodes
from pilothouse.capabilities.associations.run_store import RunStore
from pilothouse.scheduling import due
from pilothouse.scheduling.firing import Due
from pilothouse.storage import Transaction

BACK: Final = "association.contact"
"""Kind of what is due: a node has come back for which something waits."""


async def channel_opened(house: House, tx: Transaction, facts: Mapping[str, Any]) -> None:
    """`node.channel`: the node's control channel has opened. What is to be done follows in another transaction."""
    if await RunStore(tx).waiting_on(facts["node_id"]):
        where = {"account_id": facts["account_id"], "region": facts["region"]}
        await due.put(house, tx, BACK, facts["node_id"], house.clock.millis(), **where)


async def came_back(house: House, tx: Transaction, back: Due) -> int | None:
    """Held runs of the node may go where there is room, and it is told of what it shall run."""
    node_id = back.key
    waiting = await RunStore(tx).waiting_on(node_id)
    for association_id in sorted({row["association_id"] for row in waiting if row["state"] == State.HELD}):
        ledger = await Ledger.opened(house, tx, association_id)
        if ledger is None:
            continue
        for execution in await ledger.runs.open_executions(association_id):
            await ledger.give_room(execution)
        await ledger.close()
    if any(row["state"] == State.LET_GO for row in waiting):
        await nudge_nodes(house, tx, back.account_id, back.region, [node_id])
    return None
