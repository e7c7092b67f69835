"""Ends of sessions at processes that are gone and did not start again: they are lost as if those had said so.

A process says each half minute that it is there. After a machine has slept all of them are late at first, so one is
gone that was missed at several looks.
"""

from typing import Final

import structlog

from pilothouse.call import House
from pilothouse.capabilities.sessions.leaving import process_ended
from pilothouse.capabilities.sessions.store import SessionStore
from pilothouse.gateway import presence
from pilothouse.storage import StorageUnavailable

log = structlog.get_logger()

_LOOK_SECONDS: Final = 15.0
_LOOKS: Final = 3


async def look(house: House) -> None:
    """Look until cancelled."""
    missed = dict[str, int]()
    while True:
        await house.clock.sleep(_LOOK_SECONDS)
        try:
            missed = await _looked(house, missed)
        except StorageUnavailable as error:
            log.warning("session_lease.storage_unavailable", error=str(error))


async def _looked(house: House, before: dict[str, int]) -> dict[str, int]:
    """How often each process was missed one look after the other; what is gone is given up."""
    async with house.database.reading() as tx:
        gone = await presence.gone(tx, await SessionStore(tx).processes(), house.clock.millis())
    missed = {each: before.get(each, 0) + 1 for each in gone if each != house.process_id}
    for process_id in [each for each, times in missed.items() if times >= _LOOKS]:
        log.warning("session_lease.process_gone", process_id=process_id)
        async with house.database.transaction() as tx:
            await process_ended(house, tx, {"process_id": process_id})
        del missed[process_id]
    return missed
