"""Keeping the index as the items are: what a node has more or less than before."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from pilothouse.call import House, job
from pilothouse.capabilities.inventory.index_store import IndexStore, Sweep
from pilothouse.capabilities.inventory.model import Entry, Item, Kind, shared, unpacked
from pilothouse.capabilities.inventory.store import InventoryStore
from pilothouse.storage import Transaction

_SWEPT: Final = 5000
_UNUSED_MS: Final = 3_600_000


async def reindex(tx: Transaction, kind: Kind, node_id: str, before: Sequence[Entry], after: Sequence[Entry]) -> None:
    """The node had these entries, and has those now."""
    old, new = shared(kind.type_name, before), shared(kind.type_name, after)
    store = IndexStore(tx, kind.kind_id, kind.type_name)
    await store.remove(node_id, sorted(old - new, key=lambda each: each.digest))
    await store.add(node_id, sorted(new - old, key=lambda each: each.digest))


async def drop(tx: Transaction, store: InventoryStore, kind: Kind, item: Item) -> None:
    """Remove an item, its versions, and what the index has of it."""
    await reindex(tx, kind, item.node_id, unpacked(item.content), ())
    await store.forget(kind.kind_id, item.node_id)


@job("inventory.sweep", every=timedelta(minutes=10))
async def sweep(house: House) -> None:
    """Remove entries from the index that no node has had for an hour."""
    now = house.clock.millis()
    while True:
        async with house.database.transaction() as tx:
            if not await Sweep(tx).remove(now - _UNUSED_MS, _SWEPT // 10):
                break
    after: int | None = 0
    while after is not None:
        async with house.database.transaction() as tx:
            after = await Sweep(tx).notice(after, _SWEPT, now)
        await house.clock.sleep(0)
