"""Linking records to a chain, forgetting old ones, and the anchor beside the database.

The anchor is a file of the data directory with the place and the link of the last record that this server linked. Who
can write to the database alone can put an older state of it back as a whole; the anchor still knows the newer one.
"""

import hmac
from datetime import timedelta
from pathlib import Path

import msgspec
import structlog

from pilothouse.call import House, job
from pilothouse.capabilities.audit import store
from pilothouse.capabilities.audit.model import DAY_MS, Chain, link_of
from pilothouse.capabilities.audit.sinks import SEALED
from pilothouse.capabilities.audit.trail import WRITTEN, Trail
from pilothouse.runtime.files import alone_in, write_private
from pilothouse.runtime.waiting import wait
from pilothouse.storage import StorageUnavailable

log = structlog.get_logger()

ANCHOR = "audit.anchor"
SWEEP_SECONDS = 2.0
_GATHER_SECONDS = 0.05
_ANCHOR_MS = 1000
_TAKE_UP_SECONDS = 1.0
_BATCH = 1000
_PRUNED = 200
"""Records forgotten in one transaction: their indexes are many, and writers wait for it."""


def trail_of(house: House) -> Trail:
    """The trail that `app` opened."""
    assert isinstance(house.audit, Trail)
    return house.audit


async def seal(house: House, key: bytes) -> int:
    """Link the records that wait, up to a batch; how many there were. Raises ChainBroken, StorageUnavailable."""
    async with house.database.reading() as tx:
        if not await store.waiting(tx, 1):
            return 0
    async with house.database.transaction() as tx:
        await tx.lock("audit", "chain")
        chain = await store.chain(tx, key)
        seq, before = chain.last_seq, chain.last_link
        links = []
        for event_id, mac in await store.waiting(tx, _BATCH):
            seq += 1
            before = link_of(key, before, seq, mac)
            links.append((event_id, seq, before))
        if links:
            await store.link(tx, links)
            await store.put_chain(tx, key, Chain(chain.first_seq, chain.first_link, seq, before))
    return len(links)


async def keep_sealed(house: House) -> None:
    """Link for ever, soon after records are committed by this process, or within SWEEP_SECONDS by another."""
    trail = trail_of(house)
    key = trail.key
    anchored, last = 0, 0
    with house.bus.waiting(WRITTEN) as woken:
        while True:
            await wait(house.clock, woken.event, SWEEP_SECONDS)
            await house.clock.sleep(_GATHER_SECONDS)
            woken.take()
            try:
                await trail.link()
                count = await seal(house, key)
                while count == _BATCH:
                    count = await seal(house, key)
                async with house.database.reading() as tx:
                    chain = await store.chain(tx, key)
            except StorageUnavailable as fault:
                log.warning("audit.storage_unavailable", error=str(fault))
                continue
            except store.ChainBroken:
                log.error("audit.chain_broken", hint="pilothouse audit verify says what was altered")
                continue
            if chain.last_seq > anchored:
                house.bus.wake_here(SEALED, "")
                now = house.clock.millis()
                if not 0 <= now - last < _ANCHOR_MS:
                    anchor(house.settings.data, key, chain)
                    anchored, last = chain.last_seq, now


async def keep_taken_up(house: House) -> None:
    """Take up the journal for ever, each second; and at the end, so that nothing stays behind where all goes well."""
    trail = trail_of(house)
    try:
        while True:
            await house.clock.sleep(_TAKE_UP_SECONDS)
            try:
                await trail.take_up()
            except (StorageUnavailable, OSError) as fault:  # it stays in the journal
                log.warning("audit.journal_waits", error=str(fault))
    finally:
        try:
            await trail.take_up()
        except (StorageUnavailable, OSError) as fault:
            log.warning("audit.journal_waits", error=str(fault))
        trail.close()


def anchor(data: Path, key: bytes, chain: Chain) -> None:
    """Write down the end of the chain beside the database, unless another process has written a later one."""
    said = [chain.last_seq, chain.last_link.hex()]
    mac = hmac.digest(key, b"anchor" + msgspec.json.encode(said), "sha256").hex()
    with alone_in(data):
        try:
            found = anchored(data, key)
        except ValueError:  # one that was altered; `verify` has been able to say so
            found = None
        if found is None or found[0] < chain.last_seq:
            write_private(data / ANCHOR, msgspec.json.encode([*said, mac]))


def anchored(data: Path, key: bytes) -> tuple[int, bytes] | None:
    """Place and link that the anchor names, None if there is none. Raises ValueError for one that is not ours."""
    file = data / ANCHOR
    if not file.exists():
        return None
    try:
        seq, link, mac = msgspec.json.decode(file.read_bytes(), type=tuple[int, str, str])
        true = hmac.digest(key, b"anchor" + msgspec.json.encode([seq, link]), "sha256").hex()
        if not hmac.compare_digest(mac, true):
            raise ValueError("its seal does not fit")
        return seq, bytes.fromhex(link)
    except (msgspec.MsgspecError, ValueError) as error:
        raise ValueError(f"{file} was altered: {error}") from error


@job("audit.prune", every=timedelta(minutes=5))
async def prune(house: House) -> None:
    """Forget records that are older than they are kept, from the beginning of the chain, a batch to a transaction."""
    days = house.settings.audit.keep_days
    if not days:
        return
    key = trail_of(house).key
    before = house.clock.millis() - days * DAY_MS
    while True:
        async with house.database.reading() as tx:
            if not await store.expired(tx, before, 1):
                return
        async with house.database.transaction() as tx:
            await tx.lock("audit", "chain")
            chain = await store.chain(tx, key)
            old = await store.expired(tx, before, _PRUNED)
            if old:
                seq, link, _ = old[-1]
                await store.remove_through(tx, seq)
                await store.put_chain(tx, key, Chain(seq + 1, link, chain.last_seq, chain.last_link))
        if len(old) < _PRUNED:
            return
