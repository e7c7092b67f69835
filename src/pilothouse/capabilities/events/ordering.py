"""The places of events: given at once where writers run one after another, else here, after the commit.

Nobody needs places but readers. Where there are none in this process, events are placed seldom and in large batches, so
that writers pay next to nothing.
"""

from pilothouse.call import House
from pilothouse.capabilities.events.store import give_places, scope_key, some_pending
from pilothouse.runtime.waiting import wait

WRITTEN = "event.written"
"""Events of the key's account and region were committed and wait for their places."""
ORDERED = "event.ordered"
"""There are events to read in the key's account and region."""

SWEEP_SECONDS = 1.0
"""How soon events that another process wrote are seen."""
_IDLE_SECONDS = 10.0
_GATHER_SECONDS = 0.01
_BATCH = 1000


async def order(house: House) -> set[str]:
    """Give every waiting event its place; the keys of their accounts and regions."""
    keys: set[str] = set()
    async with house.database.reading() as tx:
        if tx.serial or not await some_pending(tx):
            return keys
    while True:
        async with house.database.transaction() as tx:
            found = await give_places(tx, _BATCH)
        keys |= {scope_key(*each) for each in found}
        if len(found) < _BATCH:
            return keys


async def keep_order(house: House) -> None:
    """Order for ever."""
    last = 0
    with house.bus.waiting(WRITTEN) as woken:
        while True:
            if house.bus.is_heard(ORDERED):
                await wait(house.clock, woken.event, SWEEP_SECONDS)
                await house.clock.sleep(_GATHER_SECONDS)
            else:
                await house.clock.sleep(SWEEP_SECONDS)
                if house.clock.millis() - last < _IDLE_SECONDS * 1000:
                    continue
            last = house.clock.millis()
            keys = woken.take()
            for key in keys | await order(house):
                house.bus.wake(ORDERED, key)
