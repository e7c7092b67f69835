"""The trail that a server writes: a record in the transaction of each change, or by itself before an answer leaves.

What has no transaction of its own (reads of secrets, refusals) is durable in a journal of the data directory first, and
taken into the database in bulk: a commit of its own for each read would cost more than the read, and make every
process look again at what it remembers. A record bears a MAC from the start. A moment after its commit it is linked to
all before it (`sealing`), so that from then on none can be changed, put in, or taken out without `verify` seeing it.
"""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import msgspec
import structlog

from pilothouse.call import Act, House
from pilothouse.capabilities.audit import store
from pilothouse.capabilities.audit.model import Record
from pilothouse.capabilities.audit.recording import record_of, record_of_operator
from pilothouse.capabilities.audit.sinks import Delivery, sink_of
from pilothouse.crypto.sealed import Sealed
from pilothouse.runtime.appending import Journal
from pilothouse.storage import StorageUnavailable, Transaction

log = structlog.get_logger()

WRITTEN = "audit.written"
"""Records were committed that are not in the chain yet."""
JOURNAL = "audit-journal"
"""The folder of the data directory."""
SEALED = Sealed(table="audit_key", keys=("one",), column="sealed", context=lambda row: f"audit:key:{row['one']}")
_CONTEXT = "audit:key:1"
_KEY_BYTES = 32
_BATCH = 500


class Trail:
    """Writes the records of one process. `call.Audit` says how it is asked."""

    def __init__(self, house: House, key: bytes, delivery: Delivery | None) -> None:
        self._house = house
        self.key = key
        self.delivery = delivery
        self._journal = Journal(house.settings.data / JOURNAL, house.ids.uuid()[:8])
        self._waiting: list[tuple[bytes, asyncio.Future[None]]] = []
        self._turn = asyncio.Lock()
        self._taking_up = asyncio.Lock()
        self._journaled = True
        """Whether there may be something in the journal; a former server may have left it."""
        self._count = 0

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
        """Write a record by itself; it is durable on return. Records that come together are written together.

        Raises StorageUnavailable.
        """
        if not act.call.account_id:
            return
        kept: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((_line(self._record(act)), kept))
        async with self._turn:
            if not kept.done():
                await self._keep_waiting(kept)
        await kept

    async def take_up(self) -> None:
        """Take what is in the journal into the database. Raises StorageUnavailable."""
        async with self._taking_up:
            if not self._journaled:
                return
            self._journaled = False
            try:
                for file in await self._journal.turn():
                    await self._take_up(file)
            except BaseException:
                self._journaled = True
                raise

    def close(self) -> None:
        """Let go of the journal."""
        self._journal.close()

    async def _take_up(self, file: Path) -> None:
        records = _records(file)
        for start in range(0, len(records), _BATCH):
            async with self._house.database.transaction() as tx:
                await store.add_all(tx, records[start : start + _BATCH])
        _remove(file)
        self._wake()

    async def _keep_waiting(self, own: asyncio.Future[None]) -> None:
        """One for all: who comes first writes what waits. If its caller leaves meanwhile, the next one does."""
        batch, self._waiting = self._waiting, []
        try:
            self._journaled = True
            await self._journal.append([line for line, _ in batch])
        except asyncio.CancelledError:
            self._waiting[:0] = [each for each in batch if each[1] is not own]
            raise
        except OSError as error:
            failed = StorageUnavailable(f"the audit journal cannot be written: {error.strerror}")
            for _, kept in batch:
                if not kept.done():
                    kept.set_exception(failed)
        else:
            for _, kept in batch:
                if not kept.done():
                    kept.set_result(None)

    def _record(self, act: Act) -> Record:
        return record_of(act, self._event_id(act.at)).sealed(self.key)

    def _event_id(self, at: int) -> str:
        """Ids of one process follow the time (UUID version 7), so that the newest stand together in every index."""
        self._count = (self._count + 1) & 0xFFF
        random = self._house.ids.uuid()
        return f"{at >> 16:08x}-{at & 0xFFFF:04x}-7{self._count:03x}{random[18:]}"

    def _wake(self) -> None:
        self._house.bus.wake_here(WRITTEN, "")


def _line(record: Record) -> bytes:
    said = [
        record.event_id, record.account_id, record.region, record.at, record.event_source, record.event_name,
        record.username, record.access_key_id, record.read_only, record.names, record.body, record.mac,
    ]  # fmt: skip
    return msgspec.json.encode(said)


def _records(file: Path) -> list[Record]:
    """What a file of the journal holds. A torn end was never acknowledged; anything else that is damaged is told."""
    whole, _, _ = file.read_bytes().rpartition(b"\n")
    found = []
    for line in whole.split(b"\n") if whole else ():
        try:
            said = msgspec.json.decode(line, type=_Line)
        except msgspec.MsgspecError:
            log.error("audit.journal_damaged", file=str(file))
            continue
        found.append(Record(**msgspec.structs.asdict(said)))
    return found


def _remove(file: Path) -> None:
    file.unlink()


class _Line(msgspec.Struct, array_like=True):
    event_id: str
    account_id: str
    region: str
    at: int
    event_source: str
    event_name: str
    username: str
    access_key_id: str
    read_only: int
    names: str
    body: str
    mac: bytes


async def operator_acted(house: House, operator: str, account_id: str, name: str, said: Mapping[str, str]) -> None:
    """Record a command that was given on the server's machine. Raises StorageUnavailable, SealBroken."""
    key = await key_of(house)
    at, event_id, region = house.clock.millis(), house.ids.uuid(), house.settings.region
    record = record_of_operator(at, event_id, operator, account_id, region, name, said)
    async with house.database.transaction() as tx:
        store.add(tx, record.sealed(key))


async def opened_trail(house: House) -> Trail:
    """The trail of the installation; its key is made at first use. What a former server journaled is taken up."""
    key = await key_of(house)
    sink = sink_of(house)
    trail = Trail(house, key, None if sink is None else Delivery(house, key, sink))
    await trail.take_up()
    return trail


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
