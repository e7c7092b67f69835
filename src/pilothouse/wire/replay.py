"""De-duplication: a writing call that is retried with the same invocation id and body runs once.

Owns the table replayed_call. The kept answer is written in the transaction of the call itself, so there is no moment at
which the write is there and the answer is not. Answers may hold secrets (an activation's code): they are sealed.
"""

from datetime import timedelta
from hashlib import sha256

from pilothouse.call import House, Operation, job
from pilothouse.crypto.sealed import Sealed
from pilothouse.crypto.vault import Vault
from pilothouse.storage import Transaction

KEPT_FOR = timedelta(minutes=15)
_BATCH = 500
_BATCHES = 20


def replay_key(arn: str, region: str, operation: Operation, invocation_id: str, body: bytes) -> str:
    """One digest of all that makes two requests the same call."""
    digest = sha256()
    for part in (arn, region, operation.service, operation.name, invocation_id):
        digest.update(f"{len(part)}:{part}".encode())
    digest.update(body)
    return digest.hexdigest()


class ReplayStore:
    """The kept answers, seen from one transaction."""

    def __init__(self, tx: Transaction, vault: Vault) -> None:
        self._tx = tx
        self._vault = vault

    async def answer(self, key: str, now: int) -> bytes | None:
        """The kept answer of the call. Takes the key's lock: of two identical calls at once the second one waits."""
        await self._tx.lock("replay", key)
        sealed = await self._tx.value(
            "select sealed_body from replayed_call where key = :key and expires_at > :now", key=key, now=now
        )
        return None if sealed is None else await self._vault.opened(bytes(sealed), _context(key))

    def keep(self, key: str, body: bytes, now: int) -> None:
        """Keep the answer until retries can no longer come."""
        self._tx.later(
            """insert into replayed_call (key, status, sealed_body, expires_at)
               values (:key, 200, :sealed_body, :expires_at)
               on conflict (key) do update
               set status = excluded.status, sealed_body = excluded.sealed_body, expires_at = excluded.expires_at""",
            key=key,
            sealed_body=self._vault.seal(body, _context(key)),
            expires_at=now + int(KEPT_FOR.total_seconds() * 1000),
        )

    async def forget(self, now: int, limit: int) -> int:
        """Remove up to `limit` answers that have expired; how many there were."""
        return await self._tx.execute(
            """delete from replayed_call where key in
               (select key from replayed_call where expires_at <= :now order by expires_at limit :limit)""",
            now=now,
            limit=limit,
        )


def _context(key: str) -> str:
    return f"wire:replayed_call:{key}"


SEALED = Sealed(
    table="replayed_call", keys=("key",), column="sealed_body", context=lambda row: _context(str(row["key"]))
)


@job("wire.forget_replays", every=timedelta(minutes=1))
async def forget_replays(house: House) -> None:
    """Remove expired answers, a batch to a transaction so that no writer waits long."""
    for _ in range(_BATCHES):
        async with house.database.transaction() as tx:
            forgotten = await ReplayStore(tx, house.vault).forget(house.clock.millis(), _BATCH)
        if forgotten < _BATCH:
            return
