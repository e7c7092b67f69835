"""Removing subscriptions that nobody confirmed, and messages that no subscriber took in time."""

from collections import Counter
from datetime import timedelta

from pilothouse.call import House, job
from pilothouse.capabilities.topics import queue_store, store
from pilothouse.capabilities.topics.model import DAY_MS, HOUR_MS, TOKEN_MS

_BATCH = 500


@job("topics.prune", every=timedelta(minutes=5))
async def prune_topics(house: House) -> None:
    """In short transactions; an idle server only looks."""
    now = house.clock.millis()
    await _forget_lapsed(house, now - TOKEN_MS)
    await _drop_old(house, now - house.settings.topics.keep_days * DAY_MS)
    while True:  # what two processes delivered last at the same moment, each leaving it to the other
        async with house.database.reading() as tx:
            unwanted = await queue_store.unwanted(tx, now - HOUR_MS, _BATCH)
        if not unwanted:
            return
        async with house.database.transaction() as tx:
            await queue_store.forget(tx, unwanted)


async def _forget_lapsed(house: House, before: int) -> None:
    while True:
        async with house.database.reading() as tx:
            lapsed = await store.lapsed(tx, before, _BATCH)
        if not lapsed:
            return
        async with house.database.transaction() as tx:
            for each in lapsed:
                topics = store.TopicStore(tx, each.account_id, each.region)
                await topics.lock(each.topic)
                now = await topics.subscription(each.topic, each.subscription_id)
                if now == each:
                    await topics.forget_subscription(each.subscription_id)


async def _drop_old(house: House, before: int) -> None:
    while True:
        async with house.database.reading() as tx:
            old = await queue_store.old(tx, before, _BATCH)
        if not old:
            return
        async with house.database.transaction() as tx:
            await queue_store.drop(tx, old)
            for subscription_id, count in Counter(each[1] for each in old).items():
                await store.count_dropped(tx, subscription_id, count)
