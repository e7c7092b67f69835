"""Background work of keys: deletion when its time has come, rotation, the end of imported material."""

from dataclasses import replace
from datetime import timedelta

from pilothouse.call import House, job
from pilothouse.capabilities import tags
from pilothouse.capabilities.keys.model import RESOURCE_TYPE, KeyState
from pilothouse.capabilities.keys.rotating import DAY_MS, rotate
from pilothouse.capabilities.keys.store import KeyStore, due_for_deletion, due_for_rotation

_BATCH = 100


@job("keys.delete", every=timedelta(seconds=30))
async def delete(house: House) -> None:
    """Destroy the keys whose waiting time is over, with their material, aliases and grants.

    When the last replica goes, the waiting time of a primary that is to be deleted begins.
    """
    async with house.database.reading() as tx:
        due = await due_for_deletion(tx, house.clock.millis(), _BATCH)
    for account_id, region, key_id in due:
        async with house.database.transaction() as tx:
            store = KeyStore(tx, account_id, region)
            await store.lock(key_id)
            key = await store.key(key_id)
            now = house.clock.millis()
            if key is None or key.state is not KeyState.PENDING_DELETION or (key.deletion_at or now + 1) > now:
                continue
            await store.remove(key_id)
            await tags.remove_all(tx, account_id, region, RESOURCE_TYPE, key_id)
            left = await store.in_all_regions(key_id) if key.multi_region else []
            if len(left) == 1 and left[0].state is KeyState.PENDING_REPLICA_DELETION:
                waits = replace(
                    left[0],
                    state=KeyState.PENDING_DELETION,
                    deletion_at=now + (left[0].pending_days or 30) * DAY_MS,
                )
                await KeyStore(tx, account_id, left[0].region).save(waits)


@job("keys.rotate", every=timedelta(seconds=60))
async def rotate_due(house: House) -> None:
    """Give keys that rotate by themselves new material when it is time."""
    async with house.database.reading() as tx:
        due = await due_for_rotation(tx, house.clock.millis(), _BATCH)
    for account_id, region, key_id in due:
        async with house.database.transaction() as tx:
            store = KeyStore(tx, account_id, region)
            await store.lock(key_id)
            key = await store.key(key_id)
            now = house.clock.millis()
            if key is None or key.state is not KeyState.ENABLED or key.rotation_days is None:
                continue
            if key.next_rotation_at is None or key.next_rotation_at > now:
                continue
            following = now + key.rotation_days * DAY_MS
            await rotate(house, tx, replace(key, next_rotation_at=following), "AUTOMATIC")
