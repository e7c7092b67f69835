"""The promises of a Transaction, the same on both engines."""

import asyncio

import pytest

from pilothouse.storage import Conflict, Database


@pytest.fixture
async def notes(database: Database) -> Database:
    async with database.transaction() as tx:
        await tx.execute("create table note (name text not null, n bigint, constraint note_pk primary key (name))")
    return database


class _Things:
    """Migrations of a capability that only this test has."""

    capability = "things"

    def files(self) -> list[tuple[int, str, str]]:
        table = "create table thing (id bigint not null, raw blob, note text, constraint thing_pk primary key (id));"
        return [(1, "things", f"{table}\n-- a comment; with a semicolon\ncreate index thing_note on thing (note);\n")]


async def _put(database: Database, name: str, n: int) -> None:
    async with database.transaction() as tx:
        await tx.execute("insert into note (name, n) values (:name, :n)", name=name, n=n)


async def _names(database: Database) -> list[str]:
    async with database.reading() as tx:
        return [row["name"] for row in await tx.rows("select name from note order by name")]


async def test_a_block_that_ends_well_is_kept(notes: Database) -> None:
    await _put(notes, "a", 1)
    assert await _names(notes) == ["a"]


async def test_a_block_that_fails_leaves_nothing(notes: Database) -> None:
    with pytest.raises(RuntimeError):
        async with notes.transaction() as tx:
            await tx.execute("insert into note (name, n) values ('a', 1)")
            await tx.execute("insert into note (name, n) values ('b', 2)")
            raise RuntimeError
    assert await _names(notes) == []


async def test_one_failing_writer_does_not_hurt_those_who_share_its_commit(notes: Database) -> None:
    async def fail(index: int) -> None:
        async with notes.transaction() as tx:
            await tx.execute("insert into note (name, n) values (:name, 0)", name=f"bad{index}")
            raise LookupError

    work = [_put(notes, f"good{index:02}", index) if index % 3 else fail(index) for index in range(60)]
    outcomes = await asyncio.gather(*work, return_exceptions=True)
    assert sum(isinstance(outcome, LookupError) for outcome in outcomes) == 20
    assert await _names(notes) == [f"good{index:02}" for index in range(60) if index % 3]


async def test_a_taken_key_is_a_conflict(notes: Database) -> None:
    await _put(notes, "a", 1)
    with pytest.raises(Conflict):
        await _put(notes, "a", 2)


async def test_conflict_can_be_asked_for_instead(notes: Database) -> None:
    await _put(notes, "a", 1)
    async with notes.transaction() as tx:
        changed = await tx.execute("insert into note (name, n) values ('a', 2) on conflict do nothing")
    assert changed == 0


async def test_lists_expand_and_an_empty_one_matches_nothing(notes: Database) -> None:
    for name in "abc":
        await _put(notes, name, ord(name))
    async with notes.reading() as tx:
        some = await tx.rows("select name from note where name in (:names) and n > :n", names=["a", "c", "z"], n=0)
        none = await tx.rows("select name from note where name in (:names)", names=[])
    assert {row["name"] for row in some} == {"a", "c"}
    assert none == []


async def test_lists_and_single_values_in_any_order_and_more_than_once(notes: Database) -> None:
    for n, name in enumerate("abcd"):
        await _put(notes, name, n)
    async with notes.transaction() as tx:
        changed = await tx.execute(
            "update note set n = n + :more where name in (:names) and n in (:numbers) and name not in (:none_a)"
            " and name in (:names) and :more > 0",
            numbers=[0, 1, 2], more=10, names=["d", "c", "a"], none_a=["b"],
        )  # fmt: skip
        found = await tx.tuples(
            "select name, n from note where n in (:n) or name in (:names) or n = :least order by name",
            names=["b", "nobody"], n=[10, 12], least=3,
        )  # fmt: skip
    assert changed == 2
    assert [tuple(each) for each in found] == [("a", 10), ("b", 1), ("c", 12), ("d", 3)]


async def test_a_statement_with_a_list_misses_no_value(notes: Database) -> None:
    async with notes.transaction() as tx:
        with pytest.raises(KeyError):
            await tx.tuples("select name from note where name in (:names) and n = :n", names=["a"])


async def test_text_orders_bytewise_on_every_engine(notes: Database) -> None:
    for name in ("b", "B", "a-", "a", "_", "é", "a/"):
        await _put(notes, name, 0)
    assert await _names(notes) == sorted(["b", "B", "a-", "a", "_", "é", "a/"], key=str.encode)


async def test_actions_run_after_the_commit_only(notes: Database) -> None:
    ran: list[str] = []
    async with notes.transaction() as tx:
        tx.after_commit(lambda: ran.append("kept"))
        await tx.execute("insert into note (name, n) values ('a', 1)")
        assert ran == []
    with pytest.raises(RuntimeError):
        async with notes.transaction() as tx:
            tx.after_commit(lambda: ran.append("undone"))
            raise RuntimeError
    assert ran == ["kept"]


async def test_locked_read_decide_write_loses_no_update(notes: Database) -> None:
    await _put(notes, "counter", 0)

    async def add_one() -> None:
        async with notes.transaction() as tx:
            await tx.lock("note", "counter")
            n = await tx.value("select n from note where name = 'counter'")
            await tx.execute("update note set n = :n where name = 'counter'", n=n + 1)

    await asyncio.gather(*(add_one() for _ in range(50)))
    async with notes.reading() as tx:
        assert await tx.value("select n from note where name = 'counter'") == 50


async def test_blobs_and_nulls_come_back_as_they_went_in(database: Database) -> None:
    await database.migrate([_Things()])
    async with database.transaction() as tx:
        await tx.many(
            "insert into thing (id, raw, note) values (:id, :raw, :note)",
            [{"id": 1, "raw": b"\x00\xff", "note": None}, {"id": 2, "raw": None, "note": "x"}],
        )
    async with database.reading() as tx:
        rows = await tx.rows("select id, raw, note from thing order by id")
    assert [(row["id"], row["raw"], row["note"]) for row in rows] == [(1, b"\x00\xff", None), (2, None, "x")]


async def test_a_cancelled_writer_leaves_the_database_usable(notes: Database) -> None:
    async def slow() -> None:
        async with notes.transaction() as tx:
            await tx.execute("insert into note (name, n) values ('slow', 1)")
            await asyncio.sleep(60)

    writer = asyncio.ensure_future(slow())
    await asyncio.sleep(0.05)
    writer.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writer
    await _put(notes, "next", 1)
    assert await _names(notes) == ["next"]


async def test_migrations_run_once(database: Database) -> None:
    from pilothouse.app import migrations_of_the_house

    async with database.reading() as tx:
        before = await tx.value("select count(*) from schema_migration")
    await database.migrate(migrations_of_the_house())
    async with database.reading() as tx:
        assert await tx.value("select count(*) from schema_migration") == before > 0


async def test_what_is_put_off_is_there_for_the_next_statement_and_at_the_end(notes: Database) -> None:
    put = "insert into note (name, n) values (:name, :n)"
    async with notes.transaction() as tx:
        tx.later(put, name="a", n=1)
        tx.later(put, name="b", n=2)
        tx.later("insert into note (name, n) values (:name, 0)", name="c")
        assert await tx.value("select count(*) from note") == 3
        tx.later(put, name="d", n=4)
        assert await tx.execute("update note set n = 5 where name = :name", name="d") == 1
        tx.later(put, name="e", n=6)
    assert await _names(notes) == ["a", "b", "c", "d", "e"]
    async with notes.reading() as look:
        assert await look.value("select n from note where name = 'd'") == 5
        with pytest.raises(Exception, match=r"must not write|readonly"):
            look.later(put, name="f", n=7)


async def test_different_statements_that_were_put_off_run_with_their_own_values(notes: Database) -> None:
    await _put(notes, "old", 1)
    async with notes.transaction() as tx:
        tx.later("insert into note (name, n) select :name, n from note where name = 'old'", name="copy")
        tx.later("update note set n = :n where name = :name", name="old", n=2)
        tx.later("insert into note (name, n) values (:name, :n)", name="new", n=3)
    async with notes.reading() as look:
        found = await look.rows("select name, n from note order by name")
    assert [tuple(row.values()) for row in found] == [("copy", 1), ("new", 3), ("old", 2)]


async def test_what_is_put_off_and_fails_undoes_the_block(notes: Database) -> None:
    await _put(notes, "a", 1)
    with pytest.raises(Conflict):
        async with notes.transaction() as tx:
            tx.later("insert into note (name, n) values ('b', 2)")
            tx.later("insert into note (name, n) values (:name, 1)", name="a")
    assert await _names(notes) == ["a"]
    with pytest.raises(RuntimeError):
        async with notes.transaction() as tx:
            tx.later("insert into note (name, n) values ('c', 2)")
            raise RuntimeError
    assert await _names(notes) == ["a"]
