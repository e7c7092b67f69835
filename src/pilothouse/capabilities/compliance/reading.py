"""What is judged of nodes, for capabilities that show it as inventory."""

from collections.abc import Sequence
from typing import Final

from pilothouse.capabilities.compliance.model import Item, Standing
from pilothouse.capabilities.compliance.store import ComplianceStore
from pilothouse.storage import Transaction

_NODES: Final = 200
_BATCH: Final = 2000


async def items_of(
    tx: Transaction, account_id: str, region: str, node_ids: Sequence[str]
) -> dict[str, list[tuple[str, Item]]]:
    """(type, item) by node, of those of the nodes that have any."""
    store = ComplianceStore(tx, account_id, region)
    found: dict[str, list[tuple[str, Item]]] = {}
    for start in range(0, len(node_ids), _NODES):
        condition = ("node_id in (:among)", {"among": list(node_ids[start : start + _NODES])})
        after = ("", "", "")
        while True:
            batch = await store.items([condition], after, _BATCH)
            for node_id, compliance_type, item in batch:
                found.setdefault(node_id, []).append((compliance_type, item))
            if len(batch) < _BATCH:
                break
            after = batch[-1][0], batch[-1][1], batch[-1][2].item_id
    return found


async def standings_of(
    tx: Transaction, account_id: str, region: str, node_ids: Sequence[str]
) -> dict[str, list[Standing]]:
    """How each of the nodes stands in each type, of those that are judged."""
    store = ComplianceStore(tx, account_id, region)
    found: dict[str, list[Standing]] = {}
    for start in range(0, len(node_ids), _NODES):
        condition = ("node_id in (:among)", {"among": list(node_ids[start : start + _NODES])})
        after = ("", "")
        while True:
            batch = await store.standings([condition], after, _BATCH)
            for standing in batch:
                found.setdefault(standing.node_id, []).append(standing)
            if len(batch) < _BATCH:
                break
            after = batch[-1].node_id, batch[-1].compliance_type
    return found
