"""Secrets whose recovery window is over go."""

from datetime import timedelta

from pilothouse.call import House, job
from pilothouse.capabilities.secrets.store import SecretStore, due_for_purge

_BATCH = 100


@job("secrets.purge", every=timedelta(seconds=60))
async def purge(house: House) -> None:
    """Remove what is due; a secret that was restored meanwhile stays."""
    now = house.clock.millis()
    async with house.database.reading() as tx:
        due = await due_for_purge(tx, now, _BATCH)
    for row in due:
        async with house.database.transaction() as tx:
            store = SecretStore(tx, row["account_id"], row["region"])
            await store.lock(row["name"])
            secret = await store.secret(row["name"])
            if secret is not None and secret.purge_at is not None and secret.purge_at <= now:
                await store.remove(secret.name)
