"""The trash: what becomes of deleted parameters until they are restored or their time is over."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

import msgspec

from pilothouse.call import House, job
from pilothouse.capabilities import tags
from pilothouse.capabilities.parameters import settings
from pilothouse.capabilities.parameters.model import Policy, Version
from pilothouse.capabilities.parameters.store import ParameterStore
from pilothouse.capabilities.parameters.trash.store import Trashed, TrashStore, expired
from pilothouse.storage import Transaction

TAGGED_AS: Final = "Parameter"
_BATCH: Final = 200
_BATCHES: Final = 20


async def keep(house: House, tx: Transaction, account_id: str, region: str, path: str) -> None:
    """Copy a parameter that is about to be deleted, with its versions, labels and tags. The caller holds its lock."""
    days = await settings.number(tx, account_id, region, settings.TRASH_DAYS)
    if days <= 0:
        return
    labels = await ParameterStore(tx, account_id, region).labels(path)
    tagged = await tags.of(tx, account_id, region, TAGGED_AS, path)
    now = house.clock.millis()
    forget_at = now + days * 86_400_000
    await TrashStore(tx, account_id, region).keep(path, labels=labels, tags=tagged, at=now, forget_at=forget_at)


async def revive(house: House, tx: Transaction, account_id: str, region: str, entry: Trashed) -> Version:
    """Bring a life back with its versions, labels and tags; the path is free and locked. Gives the newest version.

    An Expiration that has passed, and its notifications, do not come back: they would delete it again at once.
    """
    trash = TrashStore(tx, account_id, region)
    newest = (await trash.versions(entry))[-1]
    newest = replace(newest, policies=_still_ahead(newest.policies, house.clock.now()))
    await trash.revive_older(entry)
    store = ParameterStore(tx, account_id, region)
    await store.add(newest)
    for label, number in entry.labels.items():
        await store.set_label(entry.path, label, number)
    await tags.put(tx, account_id, region, TAGGED_AS, entry.path, entry.tags)
    return newest


def _still_ahead(policies: tuple[Policy, ...], now: datetime) -> tuple[Policy, ...]:
    for policy in policies:
        if policy.kind == "Expiration":
            moment = datetime.fromisoformat(msgspec.json.decode(policy.text)["Attributes"]["Timestamp"])
            if moment <= now:
                return tuple(each for each in policies if each.kind == "NoChangeNotification")
    return policies


@job("parameters.empty_trash", every=timedelta(minutes=10))
async def empty_trash(house: House) -> None:
    """Remove what has lain in the trash for its time, a batch to a transaction."""
    for _ in range(_BATCHES):
        async with house.database.reading() as tx:
            due = await expired(tx, house.clock.millis(), _BATCH)
        if not due:
            return
        async with house.database.transaction() as tx:
            for account_id, region, entry in due:
                await TrashStore(tx, account_id, region).remove(entry)
