"""How many executions go on at once: those beyond wait for their turn, in the order in which they were started.
Of those that start others within a rate fewer go on at once; the rest of them lets others pass.

Children of others do not wait, or a step could wait for what waits for the step. Who starts something near the limit
queues it; only what is due for the queue lets it begin, one transaction after another, so there are never more at once
than may be. While something waits it looks each second: nobody who ends has to tell anybody.
"""

from typing import Final

from pilothouse.call import House
from pilothouse.capabilities.automation.model import AutomationExecutionLimitExceededException
from pilothouse.capabilities.automation.store import AutomationStore
from pilothouse.scheduling import due
from pilothouse.scheduling.firing import Due
from pilothouse.storage import Transaction

QUEUE: Final = "automation.queue"
"""Kind of what is due: those of a place that wait may begin, if there is room."""
DUE: Final = "automation"
"""Kind of what is due: there is something to do for an execution, by its id."""
_MARGIN: Final = 32
"""Starts of which others cannot know yet: so near the limit everything goes through the queue."""
_LOOK_MS: Final = 1000


async def check_room(house: House, tx: Transaction, account_id: str, region: str, *, rated: bool) -> bool:
    """Whether what is started now may begin at once. Raises AutomationExecutionLimitExceededException.

    `rated`: it starts others within a rate; of such there are fewer, so they always go through the queue.
    """
    settings, store = house.settings.automation, AutomationStore(tx, house.vault)
    most = settings.concurrent + settings.queued
    running, waiting = await store.standing_of_place(account_id, region, most)
    if running + waiting >= most:
        raise AutomationExecutionLimitExceededException(
            f"There are {settings.concurrent} executions that go on and {settings.queued} that wait, which is as many "
            "as may be."
        )
    if rated or running + _MARGIN >= settings.concurrent:
        return False
    return not waiting or waiting == (await store.standing_of_place(account_id, region, most, rated=True))[1]


async def begin(house: House, tx: Transaction, execution_id: str, account_id: str, region: str, *, now: bool) -> None:
    """Let a new execution begin, at once or in its turn."""
    place = {"account_id": account_id, "region": region}
    if now:
        await due.put(house, tx, DUE, execution_id, house.clock.millis(), **place)
        return
    await AutomationStore(tx, house.vault).queue(execution_id, account_id, region)
    await due.put(house, tx, QUEUE, f"{account_id}:{region}", house.clock.millis(), **place)


async def begin_child(house: House, tx: Transaction, execution_id: str, account_id: str, region: str) -> None:
    """It belongs to another now, in the transaction that started it: it waits for nobody."""
    if await AutomationStore(tx, house.vault).unqueue(execution_id):
        await begin(house, tx, execution_id, account_id, region, now=True)


async def queue_due(house: House, tx: Transaction, due_: Due) -> int | None:
    """Those whose turn it is begin."""
    settings, store = house.settings.automation, AutomationStore(tx, house.vault)
    place, most, most_rated = (due_.account_id, due_.region), settings.concurrent, settings.rate_controlled
    running, waiting = await store.standing_of_place(*place, most)
    rated, _ = await store.standing_of_place(*place, most_rated, rated=True)
    turn = await store.first_queued(*place, max(0, most - running), max(0, most_rated - rated))
    for execution_id in turn:
        await begin_child(house, tx, execution_id, due_.account_id, due_.region)
    return max(house.clock.millis(), due_.at) + _LOOK_MS if waiting > len(turn) else None
