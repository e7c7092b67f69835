"""Removing expired events, and what is left of removed groups and streams, in short transactions."""

from datetime import timedelta

from pilothouse.call import House, job
from pilothouse.capabilities.logs import store
from pilothouse.capabilities.logs.model import Group

_BATCH = 200
_BATCHES = 50
"""Of one group, and in all, before the others have their turn."""


@job("logs.expire", every=timedelta(minutes=5))
async def expire(house: House) -> None:
    """Remove chunks whose events are all older than their group keeps them."""
    async with house.database.reading() as tx:
        groups = await store.expiring(tx)
    for group in groups:
        await _expire(house, group)


async def _expire(house: House, group: Group) -> None:
    before = group.kept_from(house.clock.millis())
    for _ in range(_BATCHES):
        async with house.database.reading() as tx:
            if not await store.expired(tx, group.group_id, before, 1):
                return
        async with house.database.transaction() as tx:
            await tx.lock("logs", "expire", group.group_id)
            found = await store.expired(tx, group.group_id, before, _BATCH)
            if found:
                await store.remove_chunks(tx, found)
        if len(found) < _BATCH:
            return


@job("logs.remove", every=timedelta(seconds=30))
async def remove(house: House) -> None:
    """Remove the events and streams of groups and streams that are gone."""
    async with house.database.reading() as tx:
        gone = await store.removed(tx, _BATCHES)
    for removed_id in gone:
        for _ in range(_BATCHES):
            async with house.database.transaction() as tx:
                if not await store.remove_some(tx, removed_id, _BATCH):
                    break
