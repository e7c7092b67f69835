"""The trail that a server writes: a record in the transaction of each change, or by itself before an answer leaves.

A record bears a MAC from the start. A moment after its commit it is linked to all before it (`sealing`), so that from
then on no record can be changed, put in, or taken out without `verify` seeing it.
"""

import asyncio
from collections.abc import Mapping

import structlog

from pilothouse.call import Act, House
from pilothouse.capabilities.audit import store
from pilothouse.capabilities.audit.model import Record
from pilothouse.capabilities.audit.recording import record_of, record_of_operator
from pilothouse.capabilities.audit.sinks import Delivery, sink_of
from pilothouse.crypto.sealed import Sealed
from pilothouse.storage import Transaction

log = structlog.get_logger()

WRITTEN = "audit.written"
"""Records were committed that are not in the chain yet."""
SEALED = Sealed(table="audit_key", keys=("one",), column="sealed", context=lambda row: _CONTEXT)
_CONTEXT = "audit:key"
_KEY_BYTES = 32


class Trail:
    """Writes the records of one process. `call.Audit` says how it is asked."""

    def __init__(self, house: House, key: bytes, delivery: Delivery | None) -> None:
        self._house = house
        self.key = key
        self.delivery = delivery
        self._waiting: list[tuple[Record, asyncio.Future[None]]] = []
        self._turn = asyncio.Lock()

    async def ready(self) -> None:
        """Return if records can be delivered to the second sink, where there is one. Raises ServiceUnavailable."""
        if self.delivery is not None:
            await self.delivery.ready()

    def add(self, tx: Transaction, act: Act) -> None:
        """Write the record of a change in the transaction of the change."""
        if not act.call.account_id:
            return
        store.add(tx, self._record(act))
        tx.after_commit(self._wake)

    async def keep(self, act: Act) -> None:
        """Write a record by itself; it is durable on return. Records that come together share a transaction.

        Raises StorageUnavailable.
        """
        if not act.call.account_id:
            return
        kept: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((self._record(act), kept))
        async with self._turn:
            if not kept.done():
                await self._keep_waiting(kept)
        await kept

    async def _keep_waiting(self, own: asyncio.Future[None]) -> None:
        """One for all: who comes first writes what waits. If its caller leaves meanwhile, the next one does."""
        batch, self._waiting = self._waiting, []
        try:
            async with self._house.database.transaction() as tx:
                await store.add_all(tx, [record for record, _ in batch])
        except asyncio.CancelledError:
            self._waiting[:0] = [each for each in batch if each[1] is not own]
            raise
        except Exception as error:
            for _, kept in batch:
                if not kept.done():
                    kept.set_exception(error)
        else:
            for _, kept in batch:
                if not kept.done():
                    kept.set_result(None)
            self._wake()

    def _record(self, act: Act) -> Record:
        return record_of(act, self._house.ids.uuid()).sealed(self.key)

    def _wake(self) -> None:
        self._house.bus.wake(WRITTEN, "")


async def operator_acted(house: House, operator: str, account_id: str, name: str, said: Mapping[str, str]) -> None:
    """Record a command that was given on the server's machine. Raises StorageUnavailable, SealBroken."""
    key = await key_of(house)
    at, event_id, region = house.clock.millis(), house.ids.uuid(), house.settings.region
    record = record_of_operator(at, event_id, operator, account_id, region, name, said)
    async with house.database.transaction() as tx:
        store.add(tx, record.sealed(key))


async def opened_trail(house: House) -> Trail:
    """The trail of the installation; its key is made at first use."""
    key = await key_of(house)
    sink = sink_of(house)
    return Trail(house, key, None if sink is None else Delivery(house, key, sink))


async def key_of(house: House) -> bytes:
    """The key that the trail is sealed with; it is made at first use. Raises SealBroken."""
    key = await kept_key(house)
    if key is None:
        async with house.database.transaction() as tx:
            await store.put_key(tx, house.vault.seal(house.ids.random_bytes(_KEY_BYTES), _CONTEXT))
        key = await kept_key(house)
    assert key is not None
    return key


async def kept_key(house: House) -> bytes | None:
    """The key, None if there is none (yet). Raises SealBroken."""
    async with house.database.reading() as tx:
        sealed = await store.key(tx)
    return None if sealed is None else await house.vault.opened(sealed, _CONTEXT)
