"""Reads that share a question, and caches under a stamp: never older than the moment in which somebody asked."""

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.storage import Database, StorageUnavailable
from pilothouse.storage.engines import open_database
from pilothouse.storage.postgresql_looks import MOST, Gathering, together
from pilothouse.storage.remembered import Remembered

PLACES = ("a", "b", "c")


@pytest.fixture
async def writer(database_url: str) -> AsyncIterator[Database]:
    """One process's database, with a number in each place."""
    database = await open_database(database_url)
    async with database.transaction() as tx:
        await tx.execute(
            "create table counted (place text not null, n bigint not null, constraint c_pk primary key (place))"
        )
        await tx.many("insert into counted values (:place, 0)", [{"place": place} for place in PLACES])
    yield database
    await database.close()


@pytest.fixture
async def reader(database_url: str, writer: Database) -> AsyncIterator[Database]:
    """Another process's database on the same data."""
    database = await open_database(database_url)
    yield database
    await database.close()


async def _set(database: Database, place: str, number: int) -> None:
    async with database.transaction() as tx:
        await tx.execute("update counted set n = :n where place = :place", n=number, place=place)


class _Remembering:
    """Reads as the keys are read: out of memory while the stamp is the same."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: Remembered[str, int] = Remembered(100)
        self.from_memory = 0

    async def read(self, place: str) -> int:
        async with self._database.reading() as tx:
            stamp = await tx.stamp()
            known = self._known.get(stamp, place)
            if known is not None:
                self.from_memory += 1
                return known
            found: int = await tx.value("select n from counted where place = :place", place=place)
            self._known.put(stamp, place, found)
            return found


@pytest.mark.parametrize("seed", range(4))
async def test_what_one_process_acknowledged_another_reads(writer: Database, reader: Database, seed: int) -> None:
    chance = random.Random(seed)
    acknowledged = dict.fromkeys(PLACES, 0)
    begun = dict.fromkeys(PLACES, 0)
    remembering = _Remembering(reader)
    done = False

    async def write() -> None:
        nonlocal done
        for number in range(1, 60):
            place = chance.choice(PLACES)
            begun[place] = number
            await _set(writer, place, number)
            acknowledged[place] = number
            for _ in range(chance.randrange(4)):
                await asyncio.sleep(0)
        done = True

    async def look(places: random.Random) -> None:
        while not done:
            place = places.choice(PLACES)
            least = acknowledged[place]
            if places.random() < 0.5:
                found = await remembering.read(place)
            else:
                async with reader.reading() as tx:
                    row = await tx.row("select place, n from counted where place = :place", place=place)
                assert row is not None
                assert row["place"] == place
                found = row["n"]
            assert least <= found <= begun[place]
            await asyncio.sleep(0)

    await asyncio.gather(write(), *(look(random.Random(seed * 100 + each)) for each in range(12)))


async def test_memory_serves_while_nothing_is_committed_and_not_after(writer: Database, reader: Database) -> None:
    remembering = _Remembering(reader)
    for number in (1, 2, 3):
        await _set(writer, "a", number)
        assert await remembering.read("a") == number
    before = remembering.from_memory
    await asyncio.gather(*(remembering.read("a") for _ in range(50)))
    assert remembering.from_memory > before


async def test_questions_of_one_moment_each_get_their_own_answer(writer: Database, reader: Database) -> None:
    async with writer.transaction() as tx:
        await tx.many("insert into counted values (:place, :n)", [{"place": f"p{n}", "n": n} for n in range(MOST + 50)])

    async def one(number: int) -> Any:
        async with reader.reading() as tx:
            return await tx.row("select n, place from counted where place = :place", place=f"p{number}")

    found = await asyncio.gather(*(one(number) for number in range(MOST + 60)))
    for number, row in enumerate(found):
        assert (row is None) if number >= MOST + 50 else (tuple(row.values()) == (number, f"p{number}"))


async def test_lists_and_single_rows_of_many_blocks_do_not_wait_for_each_other(reader: Database) -> None:
    async def both() -> int:
        async with reader.reading() as tx:
            listed = await tx.rows("select place, n from counted order by place")
            assert [row["place"] for row in listed] == list(PLACES)
            assert await tx.stamp() is not None
            found: int = await tx.value("select n from counted where place = :place", place="b")
            return found

    async with asyncio.timeout(30):
        assert await asyncio.gather(*(both() for _ in range(60))) == [0] * 60


async def test_writers_that_wait_hold_up_no_single_row(writer: Database, reader: Database) -> None:
    async def write() -> None:
        async with writer.transaction() as tx:
            await tx.lock("one at a time")
            await tx.execute("update counted set n = n + 1 where place = 'c'")

    async def read() -> int:
        async with writer.reading() as tx:
            found: int = await tx.value("select n from counted where place = :place", place="a")
            return found

    async with asyncio.timeout(30):
        await asyncio.gather(*(write() for _ in range(40)), *(read() for _ in range(40)))
        async with reader.reading() as tx:
            assert await tx.value("select n from counted where place = :place", place="c") == 40


async def test_a_value_that_no_column_holds_fails_for_its_own_question_alone(database_url: str) -> None:
    if not database_url.startswith("postgresql"):
        return  # SQLite's reads share no question
    database = await open_database(database_url)

    async def one(text: str) -> Any:
        async with database.reading() as tx:
            return await tx.value("select :text || '!' as shouted", text=text)

    good, bad, other = await asyncio.gather(one("a"), one("b\x00"), one("c"), return_exceptions=True)
    await database.close()
    assert (good, other) == ("a!", "c!")
    assert isinstance(bad, ValueError)


async def test_who_leaves_takes_nobody_along_and_a_failure_is_told_to_all() -> None:
    async def answer(asked: list[Any]) -> list[Any]:
        await asyncio.sleep(0)
        if "fail" in asked:
            raise StorageUnavailable("gone")
        return [each * 2 for each in asked]

    gathering = Gathering(answer)

    async def ask(what: Any) -> Any:
        return await gathering.ask(what)

    leaving, staying = asyncio.ensure_future(ask(1)), asyncio.ensure_future(ask(2))
    await asyncio.sleep(0)
    leaving.cancel()
    assert await staying == 4
    failed = await asyncio.gather(ask("fail"), ask(3), return_exceptions=True)
    assert all(isinstance(error, StorageUnavailable) for error in failed)
    assert await ask(5) == 10


@given(st.integers(1, 14), st.data())
def test_each_parameter_becomes_its_own_column(count: int, data: st.DataObject) -> None:
    types = tuple(data.draw(st.lists(st.sampled_from([str, int]), min_size=count, max_size=count)))
    where = " and ".join(f"c{number} = :p{number}" for number in range(1, count + 1))
    text = together(f"select x from t where {where}", types)
    assert text is not None
    for number, kind in enumerate(types, 1):
        assert f"${number}::{'text' if kind is str else 'bigint'}[]" in text
        assert f"c{number} = asked.a{number} " in text.replace(" offset", "  offset")
    assert together("select x from t where c = :c", (float,)) is None
