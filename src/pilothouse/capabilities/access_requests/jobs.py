"""Requests whose time has run out, and those that were over long ago."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from pilothouse.call import House, job
from pilothouse.capabilities.access_requests import telling
from pilothouse.capabilities.access_requests.model import KEPT_MS, Status
from pilothouse.capabilities.access_requests.store import AccessRequestStore
from pilothouse.storage import Transaction

_BATCH: Final = 200


@job("access_requests.expire", every=timedelta(seconds=5))
async def expire(house: House) -> None:
    """Write down, and tell, what is over."""
    now = house.clock.millis()
    async with house.database.reading() as tx:
        over = await AccessRequestStore(tx).over(now, _BATCH)
    for request in over:
        async with house.database.transaction() as tx:
            expired = request.moved(Status.EXPIRED, now)
            if await AccessRequestStore(tx).move(expired, request.status):
                await telling.changed(house, tx, expired)


@job("access_requests.forget", every=timedelta(hours=1))
async def forget(house: House) -> None:
    """Remove what is kept no longer."""
    async with house.database.transaction() as tx:
        await AccessRequestStore(tx).forget(house.clock.millis() - KEPT_MS, _BATCH)


async def node_deregistered(house: House, tx: Transaction, facts: Mapping[str, Any]) -> None:
    """Nobody has access to a node that is gone."""
    now, store = house.clock.millis(), AccessRequestStore(tx)
    for request in await store.of_node(facts["account_id"], facts["region"], facts["node_id"]):
        revoked = request.moved(Status.REVOKED, now)
        if await store.move(revoked, request.status):
            await telling.changed(house, tx, revoked)
