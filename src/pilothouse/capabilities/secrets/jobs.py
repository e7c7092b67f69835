"""Secrets whose recovery window is over go, and so do old rotations; and what needs looking after is counted."""

from datetime import timedelta

from pilothouse.call import House, job
from pilothouse.capabilities.secrets.changes import changed, happened
from pilothouse.capabilities.secrets.model import DAY_MS
from pilothouse.capabilities.secrets.rotation_store import RotationStore
from pilothouse.capabilities.secrets.store import SecretStore, due_for_purge, warned
from pilothouse.runtime.metrics import SECRETS_WARNED

_BATCH = 100
_SOON_MS = 2 * DAY_MS


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
                await changed(house, tx, secret, "Delete")
                await happened(house, tx, secret, "EndSecretVersionDelete")


@job("secrets.rotations", every=timedelta(minutes=10))
async def forget_rotations(house: House) -> None:
    """Remove rotations that ended long ago, with their logs."""
    before = house.clock.millis() - house.settings.secrets.rotation_history_days * DAY_MS
    async with house.database.reading() as tx:
        old = await RotationStore(tx).ended_before(before, _BATCH)
    if old:
        async with house.database.transaction() as tx:
            await RotationStore(tx).forget(old)


@job("secrets.warnings", every=timedelta(seconds=60))
async def warn(house: House) -> None:
    """Count what somebody should look at: `pilothouse_secrets_warned`."""
    now = house.clock.millis()
    async with house.database.reading() as tx:
        found = await warned(tx, now=now, soon=now + _SOON_MS)
        found["rotation_failed"] = await RotationStore(tx).failing()
    for warning, count in found.items():
        SECRETS_WARNED.labels(warning).set(count)
