"""Noting what resource data syncs have to copy anew, in the transaction that changes it."""

from collections.abc import Sequence
from typing import Final

from pilothouse.capabilities.inventory.sync_store import SyncStore
from pilothouse.storage import Transaction

ALONG: Final = ("AWS:ComplianceItem", "AWS:ComplianceSummary", "AWS:InstanceInformation", "AWS:Tag")
"""What this server knows of a node, copied whenever the node sends something."""


async def mark(tx: Transaction, account_id: str, region: str, node_id: str, type_names: Sequence[str]) -> None:
    """The node's items of these types are others now, or gone."""
    store = SyncStore(tx, account_id, region)
    for sync_name in await store.copying():
        await store.wait(sync_name, [(node_id, type_name) for type_name in sorted({*type_names, *ALONG})])
