"""The store on both engines, and walks over its pages."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.capabilities.parameters.listings import page
from pilothouse.capabilities.parameters.model import Version
from pilothouse.capabilities.parameters.names import Hierarchy, below
from pilothouse.capabilities.parameters.store import ADD, NEWEST_VALUE, VALUES_OF_PARENT, ParameterStore
from pilothouse.runtime.clock import TestClock
from pilothouse.storage import Database, Transaction

HERE = ("123456789012", "eu-west-1")


def version(path: str, number: int = 1, **about: Any) -> Version:
    known: dict[str, Any] = {
        "name": f"/{path}", "kind": "String", "key_ref": None, "data_type": "text", "tier": "Standard",
        "description": None, "allowed_pattern": None, "policies": (), "modified_at": 5, "modified_by": "arn:me",
        "value": f"{path} {number}",
    }  # fmt: skip
    return Version(path=path, number=number, **(known | about))


def here(tx: Transaction) -> ParameterStore:
    return ParameterStore(tx, *HERE)


async def test_versions_move_from_the_newest_to_the_older_ones(database: Database) -> None:
    first, second = version("a/b"), version("a/b", 2, sealed=b"\x00\x01", value=None, kind="SecureString", key_ref="k")
    third = replace(second, number=3)
    async with database.transaction() as tx:
        await here(tx).add(first)
        await here(tx).replace(second, previous=first, drop=None)
        await here(tx).replace(third, previous=second, drop=None)
    async with database.reading() as tx:
        store = here(tx)
        assert await store.newest("a/b") == third
        assert await store.older(third, after=0, count=10) == [first, second]
        assert await store.older(third, after=1, count=10) == [second]
        assert await store.older(third, after=0, count=1) == [first]
        newest = await store.newest_value("a/b")
        assert newest is not None
        assert (newest.number, newest.sealed, newest.value) == (3, b"\x00\x01", None)
        older = await store.older_value("a/b", newest.name, 1)
        assert older is not None
        assert (older.name, older.value, older.number) == ("/a/b", "a/b 1", 1)
        assert await store.older_value("a/b", newest.name, 3) is None
        assert set(await store.newest_values(["a/b", "a"])) == {"a/b"}
        assert await ParameterStore(tx, HERE[0], "us-east-1").newest("a/b") is None
        assert await ParameterStore(tx, "210987654321", HERE[1]).newest("a/b") is None
    async with database.transaction() as tx:
        await here(tx).replace(replace(third, number=4), previous=third, drop=1)
    async with database.reading() as tx:
        assert [each.number for each in await here(tx).older(replace(third, number=4), after=0, count=9)] == [2, 3]
        assert not await here(tx).has_version("a/b", 1)
        assert await here(tx).has_version("a/b", 2)


async def test_deleting_takes_versions_and_labels_with_it(database: Database) -> None:
    async with database.transaction() as tx:
        store = here(tx)
        await store.add(version("x"))
        await store.replace(version("x", 2), previous=version("x", 1), drop=None)
        await store.set_label("x", "l", 1)
        await store.add(version("y"))
        await store.set_label("y", "l", 1)
    async with database.transaction() as tx:
        assert await here(tx).delete("x")
        assert not await here(tx).delete("x")
    async with database.reading() as tx:
        assert await here(tx).newest("x") is None
        assert not await here(tx).has_version("x", 1)
        assert await here(tx).labels("x") == {}
        assert await here(tx).labels("y") == {"l": 1}


async def test_a_label_sits_on_one_version(database: Database) -> None:
    async with database.transaction() as tx:
        store = here(tx)
        await store.set_label("x", "b", 1)
        await store.set_label("x", "a", 1)
        await store.set_label("x", "b", 2)
        assert await store.labels("x") == {"a": 1, "b": 2}
        assert await store.labelled("x", "b") == 2
        await store.remove_label("x", "b")
        assert await store.labelled("x", "b") is None


PATHS = ["A", "a", "a-b", "a.b", "a/b", "a/b/c", "a/b-c", "a/bc", "a/c", "a0", "aa/b", "b", "z/z/z"]


@pytest.mark.parametrize(
    ("hierarchy", "expected"),
    [
        (Hierarchy(), PATHS),
        (below("a", recursive=True), ["a/b", "a/b-c", "a/b/c", "a/bc", "a/c"]),
        (below("a", recursive=False), ["a/b", "a/b-c", "a/bc", "a/c"]),
        (below("a/b", recursive=True), ["a/b/c"]),
        (below("", recursive=False), ["A", "a", "a-b", "a.b", "a0", "b"]),
        (below("nope", recursive=True), []),
        (Hierarchy(prefix="a/b"), ["a/b", "a/b-c", "a/b/c", "a/bc"]),
    ],
)
async def test_hierarchies_are_walked_in_order_in_pages_of_every_size(
    database: Database, hierarchy: Hierarchy, expected: list[str]
) -> None:
    async with database.transaction() as tx:
        for path in PATHS:
            await here(tx).add(version(path))
            await ParameterStore(tx, "210987654321", HERE[1]).add(version(path))
    async with database.reading() as tx:
        for limit in (1, 2, 3, 50):
            assert await _walk(here(tx), hierarchy, limit) == sorted(expected)


async def _walk(store: ParameterStore, hierarchy: Hierarchy, limit: int) -> list[str]:
    async def read(after: str, count: int) -> list[Version]:
        return await store.about_in(hierarchy, after=after, count=count)

    walked: list[str] = []
    after: str | None = ""
    while after is not None:
        found, after = await page(TestClock(), read, None, lambda each: each.path, after, limit)
        assert len(found) == limit or after is None
        values = await store.values_in(hierarchy, after=walked[-1] if walked else "", count=limit)
        assert [value.path for value in values] == [each.path for each in found]
        walked += [each.path for each in found]
    return walked


@given(
    st.sets(st.integers(0, 6000), max_size=40),
    st.integers(1, 12),
    st.integers(1, 7),
    st.integers(0, 10_000),
)
async def test_a_walk_with_a_filter_misses_and_repeats_nothing(
    some: set[int], limit: int, every: int, size: int
) -> None:
    """`size` rows lie in a table; those of `some` and each `every`-th above 9,000 fit."""
    fitting = {row for row in range(size) if row in some or (row > 9000 and row % every == 0)}

    async def read(after: int, count: int) -> list[int]:
        return list(range(after + 1, min(after + 1 + count, size)))

    async def keep(batch: list[int]) -> list[int]:
        return [row for row in batch if row in fitting]

    walked: list[int] = []
    after: int | None = -1
    while after is not None:
        found, after = await page(TestClock(), read, keep, int, after, limit)
        assert len(found) <= limit
        walked += found
    assert walked == sorted(fitting)


async def test_a_table_that_grew_a_moment_ago_is_read_by_the_right_index(database: Database) -> None:
    """Nobody has counted what is in it yet: the planner goes by what the indexes offer alone."""
    how = "explain query plan" if database.engine == "sqlite" else "explain"
    scope = {"account_id": HERE[0], "region": HERE[1]}
    rows = [version(f"grown/{number}") for number in range(3000)]
    async with database.transaction() as tx:
        columns = here(tx)._columns
        await tx.many(ADD, [{**columns(each), "parent": "grown", "name": each.name} for each in rows])
        by_path = await tx.rows(f"{how} {NEWEST_VALUE}", **scope, path="grown/7")
        of_parent = await tx.rows(f"{how} {VALUES_OF_PARENT}", **scope, parent="grown", start="grown/7", count=10)
    assert "parameter_by_parent" not in str([dict(row) for row in by_path])
    assert "parameter_by_parent" in str([dict(row) for row in of_parent])
