"""What is to happen at a time: `put` it with a kind and a key, and the kind's function is called once when it is due.

The function runs in one transaction with the move of the row, on whichever process takes it first: what it writes
stands exactly once for each time that was due, over restarts, kills and clocks that are set back. A time that passed
while no process ran comes late, and once; the function is told how late. Nothing is asked of the database while
nothing is due: processes sleep until the next time and are woken when an earlier one is set.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence

import structlog

from pilothouse.call import House
from pilothouse.runtime.metrics import JOB_FAILURES
from pilothouse.runtime.waiting import wait
from pilothouse.scheduling.firing import Due, Fire
from pilothouse.scheduling.store import ScheduledStore
from pilothouse.storage import Row, StorageUnavailable, Transaction

log = structlog.get_logger()

WAKE = "scheduling.due"
"""Bus topic; the key is a moment, in epoch milliseconds, at which something new is due."""
SWEEP_SECONDS = 60.0
"""A process looks at least this often: a wake-up may have been lost."""
BATCH = 64
AT_ONCE = 8
_FIRST_PAUSE_MS = 1000
_LONGEST_PAUSE_MS = 300_000


async def put(
    house: House, tx: Transaction, kind: str, key: str, at: int | None, *, account_id: str, region: str
) -> None:
    """Due at this moment (epoch milliseconds) in place of any other; None for never."""
    store = ScheduledStore(tx)
    if at is None:
        await store.remove(kind, key)
        return
    await store.put(kind, key, account_id, region, at)
    tx.after_commit(lambda: house.bus.wake(WAKE, str(at)))


async def remove(tx: Transaction, kind: str, key: str) -> None:
    """Never due any more."""
    await ScheduledStore(tx).remove(kind, key)


async def of(tx: Transaction, kind: str, keys: Sequence[str]) -> dict[str, int]:
    """When each is due, by key; those that are not have no entry."""
    return await ScheduledStore(tx).of(kind, keys)


class Scheduler:
    """Calls the functions of one process; as many processes as like share the work."""

    def __init__(self, functions: Mapping[str, Fire]) -> None:
        self._functions = functions

    async def run(self, house: House) -> None:
        """For ever; cancel it to stop."""
        with house.bus.waiting(WAKE) as woken:
            while True:
                woken.take()
                found = await self._look(house)
                until = house.clock.millis() + int(SWEEP_SECONDS * 1000)
                until = until if found is None else min(until, found)
                while (left := until - house.clock.millis()) > 0:
                    await wait(house.clock, woken.event, left / 1000)
                    if any(int(key) < until for key in woken.take()):
                        break

    async def _look(self, house: House) -> int | None:
        """Fire all that is due; when something is due next."""
        while True:
            async with house.database.reading() as tx:
                store = ScheduledStore(tx)
                rows = await store.due(house.clock.millis(), BATCH)
                if not rows:
                    return await store.next_look()
            mine = iter(sorted(rows, key=lambda row: hash((house.process_id, row["kind"], row["key"]))))
            async with asyncio.TaskGroup() as group:
                works = [group.create_task(self._work(house, mine)) for _ in range(min(AT_ONCE, len(rows)))]
            ended = [each.result() for each in works]
            failures = [failure for failure, _ in ended if failure is not None]
            if failures and not any(fired for _, fired in ended):
                raise failures[0]
            for failure in failures:
                log.warning("due.storage_unavailable", error=str(failure))

    async def _work(self, house: House, rows: Iterator[Row]) -> tuple[StorageUnavailable | None, int]:
        """Fire some; why it ended before they did, and how many there were until then.

        What storage failed at stays due. The others go on: it may have been one that waited in a circle with them.
        """
        fired = 0
        for row in rows:
            try:
                async with house.database.transaction() as tx:
                    if await ScheduledStore(tx).claim(row):
                        await self._fire(house, tx, row)
                fired += 1
            except StorageUnavailable as error:
                return error, fired
            except Exception:
                JOB_FAILURES.labels(row["kind"]).inc()
                log.exception("due.failed", kind=row["kind"], key=row["key"], due_at=row["due_at"])
                pause = min(_FIRST_PAUSE_MS << min(row["failures"], 16), _LONGEST_PAUSE_MS)
                async with house.database.transaction() as tx:
                    await ScheduledStore(tx).postpone(row, house.clock.millis() + pause)
        return None, fired

    async def _fire(self, house: House, tx: Transaction, row: Row) -> None:
        due = Due(
            kind=row["kind"],
            key=row["key"],
            account_id=row["account_id"],
            region=row["region"],
            at=row["due_at"],
            late_ms=max(0, house.clock.millis() - row["due_at"]),
        )
        function = self._functions.get(due.kind)
        if function is None:
            raise LookupError(f"nobody knows what to do when {due.kind} is due")
        following = await function(house, tx, due)
        if following is not None and following <= due.at:
            raise ValueError(f"{due.kind} {due.key} would be due again at the time at which it was, or before")
        store = ScheduledStore(tx)
        if following is None:
            await store.remove(due.kind, due.key)
        else:
            await store.put(due.kind, due.key, due.account_id, due.region, following)
