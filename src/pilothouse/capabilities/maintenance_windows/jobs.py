"""Background work of windows."""

from datetime import timedelta

from pilothouse.call import House, job
from pilothouse.capabilities.maintenance_windows.run_store import RunStore

_DAY_MS = 24 * 3_600_000
_BATCH = 200
_BATCHES = 20


@job("maintenance_windows.forget", every=timedelta(minutes=10))
async def forget(house: House) -> None:
    """Remove ended executions after the time that history is kept."""
    before = house.clock.millis() - house.settings.maintenance_windows.history_days * _DAY_MS
    for _ in range(_BATCHES):
        async with house.database.reading() as tx:
            ids = await RunStore(tx).ended_before(before, _BATCH)
        if not ids:
            return
        async with house.database.transaction() as tx:
            await RunStore(tx).remove(ids)
