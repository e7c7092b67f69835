"""The trail that a server writes: a record in the transaction of each change, or by itself before an answer leaves.

What has no transaction of its own (reads of secrets, refusals) is durable in a journal of the data directory first, and
taken into the database in bulk: a commit of its own for each read would cost more than the read, and make every
process look again at what it remembers. A record bears a MAC from the start. A moment after its commit it is linked to
all before it (`sealing`), so that from then on none can be changed, put in, or taken out without `verify` seeing it.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import structlog

from pilothouse.call import Act, House
from pilothouse.capabilities.audit import store
from pilothouse.capabilities.audit.model import Chain, Record, link_of
from pilothouse.capabilities.audit.recording import owners_of, record_of, record_of_loss, record_of_operator
from pilothouse.capabilities.audit.sinks import Delivery, sink_of
from pilothouse.crypto.sealed import Sealed
from pilothouse.runtime.appending import Journal
from pilothouse.runtime.settings import MOST_WORKERS
from pilothouse.storage import Conflict, Database, Migrations, StorageUnavailable, Transaction

log = structlog.get_logger()

WRITTEN = "audit.written"
"""Records were committed that are not in the chain yet."""
JOURNAL = "audit-journal"
"""The folder of the data directory; workers but the first have folders of their own in it."""
SEALED = Sealed(table="audit_key", keys=("one",), column="sealed", context=lambda row: f"audit:key:{row['one']}")
_CONTEXT = "audit:key:1"
_KEY_BYTES = 32
_BATCH = 200


class Trail:
    """Writes the records of one process. `call.Audit` says how it is asked."""

    def __init__(self, house: House, key: bytes, delivery: Delivery | None) -> None:
        self._house = house
        self.key = key
        self.delivery = delivery
        self.committed: dict[str, str] = {}
        """Account ids by the event ids of changes that this process committed, to be taken up soon."""
        self._journal = _journal_of(house)
        self._loop = asyncio.get_running_loop()
        self._waiting: list[tuple[bytes, asyncio.Future[None]]] = []
        self._writing = False
        self._taking_up = asyncio.Lock()
        self._journaled = True
        """Whether there may be something in the journal; a former server may have left it."""
        self._count = 0

    async def ready(self) -> None:
        """Return if records can be delivered to the second sink, where there is one. Raises ServiceUnavailable."""
        if self.delivery is not None:
            await self.delivery.ready()

    def add(self, tx: Transaction, act: Act) -> None:
        """Write the record of a change in the transaction of the change: one row of a table without an index."""
        if act.call.account_id:
            self._lay(tx, self._records(act))

    async def keep(self, act: Act) -> None:
        """Write a record by itself; it is durable on return. Records that come together are written together.

        Raises StorageUnavailable.
        """
        if not act.call.account_id:
            return
        kept = self._loop.create_future()
        self._waiting.append((_lines(self._records(act)), kept))
        if not self._writing:
            self._writing = True
            self._loop.call_soon(self._write)  # with those of the other calls of this turn
        await kept

    async def take_up(self) -> None:
        """Take what is in the journal, and what lies in the table for it, into the trail. Raises StorageUnavailable."""
        async with self._taking_up:
            if self._journaled:
                self._journaled = False
                try:
                    for file in await self._journal.turn():
                        await self._take_up(file)
                except BaseException:
                    self._journaled = True
                    raise
        await self.take_up_laid()

    async def take_up_laid(self) -> None:
        """Take up what changes of any process have laid down. Raises StorageUnavailable."""
        while True:
            async with self._house.database.reading() as tx:
                if not await store.laid(tx, 0, 1):
                    return
            try:
                await self._take_up_batch()
            except Conflict:  # somebody put a record in twice
                await self._take_up_batch(known=True)

    def close(self) -> None:
        """Let go of the journal."""
        self._journal.close()

    def lay(self, tx: Transaction, record: Record) -> None:
        """Write a record of what was no call, in the transaction that made it true."""
        self._lay(tx, [record])

    def _lay(self, tx: Transaction, records: Sequence[Record]) -> None:
        for record in records:
            store.lay(tx, _line(record))
        tx.after_commit(lambda: self._committed(records))

    async def _take_up_batch(self, *, known: bool = False) -> None:
        async with self._house.database.transaction() as tx:
            await tx.lock("audit", "chain")
            found = await store.laid(tx, 0, _BATCH)
            if found:
                await self._put_in(tx, records_in([line for _, line in found], "audit_waiting"), known=known)
                await store.take_away(tx, [place for place, _ in found])
                tx.after_commit(self._wake)

    async def _take_up(self, file: Path) -> None:
        records = _read(file)
        for start in range(0, len(records), _BATCH):
            batch = records[start : start + _BATCH]
            try:
                await self._add_all(batch)
            except Conflict:  # its writer did not hear that it was committed, or could not remove the file
                await self._add_all(batch, known=True)
        _remove(file)
        self._wake()

    async def _add_all(self, records: Sequence[Record], *, known: bool = False) -> None:
        async with self._house.database.transaction() as tx:
            await tx.lock("audit", "chain")
            await self._put_in(tx, records, known=known)

    async def _put_in(self, tx: Transaction, records: Sequence[Record], *, known: bool) -> None:
        """Into the table, its indexes and the chain; `known`: some may be there."""
        if known:
            there = await store.present(tx, [each.event_id for each in records])
            records = list({each.event_id: each for each in records if each.event_id not in there}.values())
        if records:
            await put_in_chain(tx, self.key, records)
            await store.add_all(tx, records)

    async def link(self) -> None:
        """Take up what changes have laid down, and say for good what of this process's is gone before that.

        From then on `verify` finds what is taken out. Raises StorageUnavailable.
        """
        committed, self.committed = self.committed, {}
        try:
            await self.take_up_laid()
            event_ids = list(committed)
            for start in range(0, len(event_ids), _BATCH):
                await self._look_for({each: committed[each] for each in event_ids[start : start + _BATCH]})
        except BaseException:
            self.committed |= committed
            raise

    async def _look_for(self, committed: Mapping[str, str]) -> None:
        house = self._house
        async with house.database.reading() as tx:
            there = await store.present(tx, list(committed))
        lost = [each for each in committed if each not in there]
        if not lost:
            return
        at, region = house.clock.millis(), house.settings.region
        said = [record_of_loss(at, house.ids.uuid(), committed[each], region, each).sealed(self.key) for each in lost]
        async with house.database.transaction() as tx:
            self._lay(tx, said)
        log.error("audit.record_missing", event_ids=lost)

    def _write(self) -> None:
        """Give what waits to the journal, all at once. What comes meanwhile is written afterwards."""
        batch, self._waiting = self._waiting, []
        self._journaled = True
        try:
            work = self._journal.append([lines for lines, _ in batch])
        except RuntimeError as error:  # it is closed: the server stops
            self._written(batch, error)
        else:
            work.add_done_callback(lambda done: self._written(batch, done.exception()))

    def _written(self, batch: Sequence[tuple[bytes, asyncio.Future[None]]], error: BaseException | None) -> None:
        failed = None
        if error is not None:
            why = error.strerror if isinstance(error, OSError) else error
            failed = StorageUnavailable(f"the audit journal cannot be written: {why}")
        for _, kept in batch:
            if kept.done():  # its caller left
                continue
            if failed is None:
                kept.set_result(None)
            else:
                kept.set_exception(failed)
        if self._waiting:
            self._write()
        else:
            self._writing = False

    def _records(self, act: Act) -> list[Record]:
        """One for the caller's account, and for each other account of which something was used. Of a refusal the others
        hear nothing: strangers could fill their trails."""
        event_id = self.event_id(act.at)
        others = owners_of(act) if act.error is None else ()
        if not others:
            return [record_of(act, event_id).sealed(self.key)]
        shared = self._house.ids.uuid()
        records = [record_of(act, event_id, shared=shared)]
        records += [record_of(act, self.event_id(act.at), owner=each, shared=shared) for each in others]
        return [each.sealed(self.key) for each in records]

    def event_id(self, at: int) -> str:
        """Ids of one process follow the time (UUID version 7), so that the newest stand together in every index."""
        self._count = (self._count + 1) & 0xFFF
        random = self._house.ids.uuid()
        return f"{at >> 16:08x}-{at & 0xFFFF:04x}-7{self._count:03x}{random[18:]}"

    def _committed(self, records: Sequence[Record]) -> None:
        for record in records:
            self.committed[record.event_id] = record.account_id
        self._wake()

    def _wake(self) -> None:
        self._house.bus.wake_here(WRITTEN, "")


def _journal_of(house: House) -> Journal:
    """The process's own; the first worker also takes up what others left, where fewer of them are started now."""
    folder, number = house.settings.data / JOURNAL, house.worker
    if number > 1:
        return Journal(folder / f"worker-{number}", house.ids.uuid()[:8])
    former = [folder / f"worker-{each}" for each in range(house.settings.workers + 1, MOST_WORKERS + 1)]
    return Journal(folder, house.ids.uuid()[:8], former=[each for each in former if each.is_dir()])


async def put_in_chain(tx: Transaction, key: bytes, records: Sequence[Record]) -> bool:
    """Give the records the next places of the chain, before they are written; the caller holds the chain's lock.

    False if the chain is broken: they are written without, for a record is worth more than its place.
    """
    if not records:
        return True
    try:
        chain = await store.chain(tx, key)
    except store.ChainBroken:
        return False
    seq, before = chain.last_seq, chain.last_link
    for record in records:
        seq += 1
        before = link_of(key, before, seq, record.mac)
        record.seq, record.link = seq, before
    await store.put_chain(tx, key, Chain(chain.first_seq, chain.first_link, seq, before))
    return True


def _lines(records: Sequence[Record]) -> bytes:
    """Of the journal: what is looked up by, as a JSON list, a tab, the event, and the end of the line."""
    return b"".join([_line(each) for each in records])


def _line(record: Record) -> bytes:
    said = (
        record.event_id, record.account_id, record.region, record.at, record.event_source, record.event_name,
        record.username, record.access_key_id, record.read_only, record.names, record.mac,
    )  # fmt: skip
    return b"%s\t%s\n" % (_json(said), record.body.encode())  # neither JSON holds a tab or the end of a line itself


def _read(file: Path) -> list[Record]:
    """What a file of the journal holds. A torn end was never acknowledged; anything else that is damaged is told."""
    whole, _, _ = file.read_bytes().rpartition(b"\n")
    return records_in(whole.split(b"\n") if whole else (), str(file))


def records_in(lines: Iterable[bytes], where: str) -> list[Record]:
    """The records that the lines hold; a line that holds none is told."""
    found = []
    for line in lines:
        said, _, body = line.partition(b"\t")
        try:
            event_id, account_id, region, at, source, name, username, key_id, read_only, names, mac = _line_of(said)
            text = body.removesuffix(b"\n").decode()
        except (msgspec.MsgspecError, UnicodeDecodeError):
            log.error("audit.journal_damaged", where=where)
            continue
        found.append(
            Record(
                event_id=event_id, account_id=account_id, region=region, at=at, event_source=source, event_name=name,
                username=username, access_key_id=key_id, read_only=read_only, names=names, body=text, mac=mac,
            )
        )  # fmt: skip
    return found


def _remove(file: Path) -> None:
    file.unlink()


_json = msgspec.json.Encoder().encode
_line_of = msgspec.json.Decoder(tuple[str, str, str, int, str, str, str, str, int, str, bytes]).decode


async def operator_acted(
    house: House,
    tx: Transaction,
    operator: str,
    account_id: str,
    name: str,
    said: Mapping[str, Any],
    *,
    reads: bool = False,
) -> None:
    """Record in `tx` a command that was given on the server's machine; `said` holds no secret.

    The key of the trail is there: `key_of` was asked before the transaction. Raises SealBroken.
    """
    sealed = await store.key(tx)
    assert sealed is not None, "key_of comes before the transaction"
    key = await house.vault.opened(sealed, _CONTEXT)
    at, event_id, region = house.clock.millis(), house.ids.uuid(), house.settings.region
    record = record_of_operator(at, event_id, operator, account_id, region, name, said, reads=reads).sealed(key)
    if tx.serial:
        await put_in_chain(tx, key, [record])
    store.add(tx, record)


class Recording:
    """A database whose first transaction that is kept records an act as well: whatever makes it, and in one with it."""

    def __init__(self, database: Database, record: Callable[[Transaction], Awaitable[None]]) -> None:
        self._database = database
        self._record = record
        self._recorded = False
        self.engine = database.engine

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """As the database's own."""
        async with self._database.transaction() as tx:
            yield tx
            if not self._recorded:
                await self._record(tx)
        self._recorded = True

    def reading(self) -> AbstractAsyncContextManager[Transaction]:
        """As the database's own."""
        return self._database.reading()

    async def migrate(self, migrations: Sequence[Migrations]) -> None:
        """As the database's own."""
        await self._database.migrate(migrations)

    async def migrated(self, capability: str) -> int:
        """As the database's own."""
        return await self._database.migrated(capability)

    async def close(self) -> None:
        """As the database's own."""
        await self._database.close()


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
