"""Removing events that are older than they are kept."""

from datetime import timedelta

from pilothouse.call import House, job
from pilothouse.capabilities.events.model import DAY_MS
from pilothouse.capabilities.events.store import oldest, prune

_BATCH = 500


@job("events.prune", every=timedelta(minutes=5))
async def prune_events(house: House) -> None:
    """In short transactions, so that nobody waits for it; an idle server only looks."""
    old = house.clock.millis() - house.settings.events.keep_days * DAY_MS
    after = 0
    while True:
        async with house.database.reading() as tx:
            found = await oldest(tx, after, _BATCH)
        expired = [number for number, at_ms in found if at_ms < old]
        if not expired:
            return
        async with house.database.transaction() as tx:
            await prune(tx, after, expired[-1])
        if len(expired) < _BATCH:
            return
        after = expired[-1]
