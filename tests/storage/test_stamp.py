"""Looks that several reads share, and caches that hold exactly as long as nothing is committed."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import apsw
import pytest

from pilothouse.storage import Database, Stamp, Transaction
from pilothouse.storage.remembered import Remembered
from pilothouse.storage.sqlite import open_sqlite


@pytest.fixture
async def counted(tmp_path: Path) -> AsyncIterator[Database]:
    """SQLite with one number in it."""
    database = open_sqlite(tmp_path / "test.db")
    async with database.transaction() as tx:
        await tx.execute("create table counter (n bigint not null)")
        await tx.execute("insert into counter values (0)")
    yield database
    await database.close()


async def _add(database: Database) -> int:
    async with database.transaction() as tx:
        await tx.execute("update counter set n = n + 1")
        found: int = await tx.value("select n from counter")
    return found


async def _read(tx: Transaction) -> int:
    found: int = await tx.value("select n from counter")
    return found


async def test_whoever_was_told_of_a_write_reads_it(counted: Database) -> None:
    async def write_and_read() -> None:
        for _ in range(30):
            written = await _add(counted)
            async with counted.reading() as tx:
                assert await _read(tx) >= written

    async def read_all_the_time() -> None:
        last = 0
        for _ in range(300):
            async with counted.reading() as tx:
                found = await _read(tx)
                assert found >= last
                last = found
            await asyncio.sleep(0)

    await asyncio.gather(*(write_and_read() for _ in range(10)), *(read_all_the_time() for _ in range(3)))


async def test_a_block_of_reads_sees_what_other_processes_write_meanwhile(counted: Database, tmp_path: Path) -> None:
    other = apsw.Connection(str(tmp_path / "test.db"))
    async with counted.reading() as tx:
        for number in range(1, 20):
            other.execute("update counter set n = ?", (number,))
            await asyncio.sleep(0)
            assert await _read(tx) == number
    other.close()


async def test_a_look_keeps_no_write_ahead_log_from_being_emptied(counted: Database, tmp_path: Path) -> None:
    async with counted.reading() as tx:
        await _read(tx)
        await _add(counted)
        await _read(tx)
        await asyncio.sleep(0)
        other = apsw.Connection(str(tmp_path / "test.db"))
        busy, _, _ = other.execute("pragma wal_checkpoint(truncate)").fetchone()
        other.close()
    assert busy == 0


async def test_the_stamp_changes_with_each_commit_of_any_process_and_not_without(
    counted: Database, tmp_path: Path
) -> None:
    async def stamp() -> Stamp | None:
        await asyncio.sleep(0)
        async with counted.reading() as tx:
            return await tx.stamp()

    first = await stamp()
    assert first is not None
    assert await stamp() == first
    await _add(counted)
    second = await stamp()
    assert second != first
    other = apsw.Connection(str(tmp_path / "test.db"))
    other.execute("begin immediate")
    other.execute("update counter set n = 7")
    assert await stamp() == second
    other.execute("commit")
    other.close()
    assert await stamp() not in (first, second)


async def test_nothing_may_be_cached_in_a_transaction_that_writes(database: Database) -> None:
    async with database.transaction() as tx:
        assert await tx.stamp() is None


def test_remembered_values_go_with_their_stamp() -> None:
    known: Remembered[str, int] = Remembered(2)
    known.put(5, "a", 1)
    assert known.get(5, "a") == 1
    assert known.get(5, "b") is None
    assert known.get(6, "a") is None
    known.put(6, "b", 2)
    assert known.get(6, "a") is None
    assert known.get(5, "a") is None
    known.put(None, "c", 3)
    assert known.get(None, "c") is None


def test_no_more_is_remembered_than_was_said() -> None:
    known: Remembered[int, int] = Remembered(3)
    for number in range(100):
        known.put(1, number, number)
        assert sum(known.get(1, each) is not None for each in range(100)) <= 3
        assert known.get(1, number) == number
