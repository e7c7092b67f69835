"""The face of tags on both engines."""

import pytest

from pilothouse.capabilities import tags
from pilothouse.storage import Database

HERE = ("123456789012", "eu-west-1")
ELSEWHERE = ("210987654321", "eu-west-1")


async def test_put_of_ids_with_and_remove_all(database: Database) -> None:
    async with database.transaction() as tx:
        await tags.put(tx, *HERE, "ManagedInstance", "mi-1", {"Env": "Prod", "Role": "web"})
        await tags.put(tx, *HERE, "ManagedInstance", "mi-2", {"Env": "Test"})
        await tags.put(tx, *HERE, "Document", "mi-1", {"Env": "Prod"})
        await tags.put(tx, *ELSEWHERE, "ManagedInstance", "mi-3", {"Env": "Prod"})
    async with database.reading() as tx:
        assert await tags.of(tx, *HERE, "ManagedInstance", "mi-1") == {"Env": "Prod", "Role": "web"}
        assert await tags.of_each(tx, *HERE, "ManagedInstance", ["mi-1", "mi-2", "mi-3"]) == {
            "mi-1": {"Env": "Prod", "Role": "web"},
            "mi-2": {"Env": "Test"},
        }
        assert await tags.of_each(tx, *HERE, "ManagedInstance", []) == {}
        assert await tags.ids_with(tx, *HERE, "ManagedInstance", "Env", ["Prod", "x"]) == {"mi-1"}
        assert await tags.ids_with(tx, *HERE, "ManagedInstance", "Env", None) == {"mi-1", "mi-2"}
        assert await tags.ids_with(tx, *HERE, "ManagedInstance", "Env", []) == set()
        assert await tags.ids_with(tx, *HERE, "ManagedInstance", "env", None) == set()
    async with database.transaction() as tx:
        await tags.remove_all(tx, *HERE, "ManagedInstance", "mi-1")
    async with database.reading() as tx:
        assert await tags.of(tx, *HERE, "ManagedInstance", "mi-1") == {}
        assert await tags.of(tx, *HERE, "Document", "mi-1") == {"Env": "Prod"}


async def test_an_automation_execution_has_at_most_five_tags(database: Database) -> None:
    async with database.transaction() as tx:
        await tags.put(tx, *HERE, "Automation", "e", {str(number): "" for number in range(5)})
    with pytest.raises(tags.TooManyTagsError):
        async with database.transaction() as tx:
            await tags.put(tx, *HERE, "Automation", "e", {"6": ""})
