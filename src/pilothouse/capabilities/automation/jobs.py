"""Background work: what ended long ago is removed."""

from datetime import timedelta
from typing import Final

from pilothouse.call import House, job
from pilothouse.capabilities import tags
from pilothouse.capabilities.automation.starting import TAGGED_AS
from pilothouse.capabilities.automation.store import AutomationStore

_BATCH: Final = 200
_DAY_MS: Final = 24 * 3_600_000


@job("automation.forget", every=timedelta(minutes=5))
async def forget_old(house: House) -> None:
    """Executions that ended longer ago than `[automation] history_days`."""
    before = house.clock.millis() - house.settings.automation.history_days * _DAY_MS
    async with house.database.reading() as tx:
        found = await AutomationStore(tx, house.vault).ended_before(before, _BATCH)
    if not found:
        return
    async with house.database.transaction() as tx:
        store = AutomationStore(tx, house.vault)
        for execution_id in found:
            execution = await store.execution(execution_id)
            if execution is not None:
                await tags.remove_all(tx, execution.account_id, execution.region, TAGGED_AS, execution_id)
        await store.remove(found)
        await store.remove_leftovers(before)
