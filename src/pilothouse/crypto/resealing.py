"""Sealing anew, under the root key in use, what lies under older ones: a few rows to a transaction, beside all writers.

A row is replaced only while it still holds the bytes that were read, so nobody's write is lost and the work may stop
and start again at any row.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import structlog

from pilothouse.crypto.sealed import Sealed
from pilothouse.crypto.store import SealedStore
from pilothouse.crypto.vault import SealBroken, Vault, front
from pilothouse.storage import Database, Transaction

log = structlog.get_logger()

BATCH: Final = 50
Progress = Callable[[int], Awaitable[None]]


async def lying_under(tx: Transaction, sealed: Sequence[Sealed], version: int) -> int:
    """How many values lie under the version."""
    return sum([await SealedStore(tx, each).count(front(version), front(version + 1)) for each in sealed])


async def lying_below(tx: Transaction, sealed: Sequence[Sealed], version: int) -> int:
    """How many values lie under older versions."""
    return sum([await SealedStore(tx, each).count(front(1), front(version)) for each in sealed])


async def reseal(
    database: Database,
    vault: Vault,
    sealed: Sequence[Sealed],
    *,
    most: int | None = None,
    progress: Progress | None = None,
) -> tuple[int, int]:
    """Seal up to `most` values anew: how many were, and how many could not be opened in their place.

    `progress` is awaited between transactions with the number of values done in the last one.
    """
    done = broken = 0
    for each in sealed:
        place: tuple[Any, ...] | None = None
        while most is None or done + broken < most:
            limit = BATCH if most is None else min(BATCH, most - done - broken)
            async with database.reading() as tx:
                rows = await SealedStore(tx, each).after(place, front(vault.settled), limit)
            if not rows:
                break
            place = tuple(rows[-1][key] for key in each.keys)
            anew = []
            for row in rows:
                try:
                    plaintext = await vault.opened(bytes(row[each.column]), each.context(row))
                except SealBroken:
                    broken += 1
                    log.warning("reseal.broken", table=each.table, column=each.column)
                    continue
                anew.append((row, vault.seal(plaintext, each.context(row))))
            async with database.transaction() as tx:
                store = SealedStore(tx, each)
                changed = sum([await store.replace(row, value) for row, value in anew])
            done += changed
            if progress is not None:
                await progress(changed)
    return done, broken
