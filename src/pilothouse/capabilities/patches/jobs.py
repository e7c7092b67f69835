"""What goes by itself: snapshots of runs that are over, and what no node sees any more."""

from datetime import timedelta

from pilothouse.call import House, job
from pilothouse.capabilities.patches.store import forget_known, forget_snapshots

_DAY_MS = 86_400_000
_MOST = 1000


@job("patches.history", every=timedelta(minutes=10))
async def forget(house: House) -> None:
    """A batch of each."""
    settings, now = house.settings.patches, house.clock.millis()
    async with house.database.transaction() as tx:
        await forget_snapshots(tx, now - settings.snapshot_days * _DAY_MS, _MOST)
        await forget_known(tx, now - settings.catalogue_days * _DAY_MS, _MOST)
