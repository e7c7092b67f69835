"""Lists of what has schedules, and what is due next, are found by indexes, whatever else is in the tables."""

from collections.abc import Awaitable, Callable
from typing import Any

from pilothouse.capabilities.associations.model import Association, Terms
from pilothouse.capabilities.associations.store import AssociationStore
from pilothouse.capabilities.maintenance_windows.model import Window, WindowTerms
from pilothouse.capabilities.maintenance_windows.store import WindowStore
from pilothouse.scheduling.store import ScheduledStore
from pilothouse.storage import Database

WHERE = ("111122223333", "eu-west-1")
MANY = 600


class Watched:
    """Takes down what is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []

    async def rows(self, sql: str, /, **values: Any) -> list[Any]:
        self.asked.append((sql, values))
        return []

    async def value(self, sql: str, /, **values: Any) -> None:
        self.asked.append((sql, values))


async def _filled(database: Database) -> None:
    """With tables that have been counted, as engines do by themselves."""
    async with database.transaction() as tx:
        associations, windows, scheduled = AssociationStore(tx), WindowStore(tx), ScheduledStore(tx)
        for number in range(MANY):
            association_id = f"00000000-0000-0000-0000-{number:012x}"
            terms = Terms(document="AWS-RunShellScript", association_name=f"a{number}", schedule="rate(1 day)")
            await associations.add(Association(
                association_id=association_id, account_id=WHERE[0], region=WHERE[1], version=1, instance_id="",
                terms=terms, created_at=1, updated_at=1,
            ))  # fmt: skip
            await scheduled.put("association", association_id, *WHERE, number)
        for number in range(MANY):
            of = WindowTerms(name=f"w{number}", schedule="rate(1 day)", duration=2, cutoff=1, unassociated=False)
            await windows.add(Window(
                window_id=f"mw-{number:017x}", account_id=WHERE[0], region=WHERE[1], terms=of, enabled=True, since=1,
                created_at=1, modified_at=1,
            ))  # fmt: skip


ASKED: list[tuple[str, Callable[[Any], Awaitable[Any]]]] = [
    ("association_", lambda tx: AssociationStore(tx).page(*WHERE, [], [], None, 51)),
    (
        "association_named",
        lambda tx: AssociationStore(tx).page(*WHERE, [("association_name", "=", "a7")], [], None, 51),
    ),
    (
        "association_executed",
        lambda tx: AssociationStore(tx).page(*WHERE, [("last_execution_at", "<", 7)], [], (5, ""), 51),
    ),
    ("association_paused", lambda tx: AssociationStore(tx).paused(*WHERE, "", 51)),
    ("maintenance_window_", lambda tx: WindowStore(tx).page(*WHERE, None, None, "", 51)),
    ("scheduled_look", lambda tx: ScheduledStore(tx).due(5, 64)),
    ("scheduled_look", lambda tx: ScheduledStore(tx).next_look()),
    ("", lambda tx: ScheduledStore(tx).of("association", ["00000000-0000-0000-0000-000000000001"])),
]


async def test_lists_and_what_is_due_next_are_found_by_indexes(database: Database) -> None:
    await _filled(database)
    async with database.transaction() as tx:
        for table in ("association", "maintenance_window", "scheduled"):
            await tx.execute(f"analyze {table}")
    how = "explain query plan" if database.engine == "sqlite" else "explain"
    async with database.transaction() as tx:
        for index, ask in ASKED:
            watched = Watched()
            await ask(watched)
            ((sql, values),) = watched.asked
            plan = str([dict(row) for row in await tx.rows(f"{how} {sql}", **values)])
            assert "Seq Scan" not in plan, sql
            assert "SCAN" not in plan.replace("SCAN scheduled USING COVERING INDEX", ""), sql
            assert index in plan, sql
