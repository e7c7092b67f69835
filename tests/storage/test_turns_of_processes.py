"""Processes that write to one SQLite file: who waits for the write lock comes before who had it last."""

import asyncio
import fcntl
import threading
from pathlib import Path

import apsw
import pytest

from pilothouse.storage.sqlite import open_sqlite
from pilothouse.storage.sqlite_turns import WriterTurns


def _connection(path: Path) -> apsw.Connection:
    connection = apsw.Connection(str(path))
    connection.pragma("journal_mode", "wal")
    return connection


def _somebody_waits(path: Path) -> bool:
    with path.with_name(f"{path.name}-turn").open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@pytest.mark.parametrize("round_", range(5))
def test_who_waits_comes_before_who_comes_again(tmp_path: Path, round_: int) -> None:
    path = tmp_path / "test.db"
    mine, theirs = _connection(path), _connection(path)
    here, there = WriterTurns(path), WriterTurns(path)
    assert here.begin_at_once(mine)
    began = threading.Event()

    def wait() -> None:
        there.begin(theirs)
        began.set()

    waiting = threading.Thread(target=wait)
    waiting.start()
    while not _somebody_waits(path):
        threading.Event().wait(0.001)
    mine.execute("commit")
    while not began.is_set():
        assert not here.begin_at_once(mine)
    waiting.join()
    theirs.execute("commit")
    assert here.begin_at_once(mine)
    for turns in (here, there):
        turns.close()


async def test_who_is_cancelled_while_waiting_leaves_nothing_begun(tmp_path: Path) -> None:
    path = tmp_path / "test.db"
    one, other = open_sqlite(path), open_sqlite(path)
    async with one.transaction() as tx:
        await tx.execute("create table note (n bigint not null)")

    async def write() -> None:
        async with other.transaction() as tx:
            await tx.execute("insert into note values (1)")

    async with one.transaction() as tx:
        await tx.execute("insert into note values (0)")
        task = asyncio.create_task(write())
        while not _somebody_waits(path):
            await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await task
    await write()
    async with one.transaction() as tx:
        assert [row["n"] for row in await tx.rows("select n from note order by n")] == [0, 1]
    await one.close()
    await other.close()


async def test_two_processes_that_write_all_the_time_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "test.db"
    both = [open_sqlite(path), open_sqlite(path)]
    async with both[0].transaction() as tx:
        await tx.execute("create table counter (n bigint not null)")
        await tx.execute("insert into counter values (0)")

    async def count(number: int) -> None:
        for _ in range(25):
            async with both[number % 2].transaction() as tx:
                found = await tx.value("select n from counter")
                await tx.execute("update counter set n = :n", n=found + 1)

    await asyncio.gather(*(count(number) for number in range(8)))
    async with both[1].reading() as tx:
        assert await tx.value("select n from counter") == 200
    for each in both:
        await each.close()
