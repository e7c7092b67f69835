"""SQL of looking the fleet over: nodes by what they said of themselves, and counts of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pilothouse.capabilities.nodes.model import Node
from pilothouse.capabilities.nodes.store import NODE_COLUMNS, node_of
from pilothouse.storage import Transaction


@dataclass(frozen=True, slots=True)
class Condition:
    """What a column of the node's row must be. Column names are ours, never a request's."""

    column: str
    how: str
    """Equal, NotEqual or BeginWith; one value of several is enough, but for NotEqual, which wants none of them."""
    values: tuple[str, ...]


class Place(Protocol):
    """Whose nodes, such as a call."""

    @property
    def account_id(self) -> str: ...

    @property
    def region(self) -> str: ...


class OverviewStore:
    """The nodes of one account and region."""

    def __init__(self, tx: Transaction, place: Place) -> None:
        self._tx = tx
        self._scope = {"account_id": place.account_id, "region": place.region}

    async def ids(self, conditions: Sequence[Condition]) -> set[str]:
        """Ids of all nodes that fulfil all conditions."""
        wanted, values = _where(conditions)
        rows = await self._tx.tuples(
            f"select node_id from node where account_id = :account_id and region = :region{wanted}",  # noqa: S608
            **self._scope, **values,
        )  # fmt: skip
        return {row[0] for row in rows}

    async def after(self, conditions: Sequence[Condition], after: str, limit: int) -> list[Node]:
        """The next nodes by id that fulfil all conditions."""
        wanted, values = _where(conditions)
        rows = await self._tx.rows(
            f"{NODE_COLUMNS} where account_id = :account_id and region = :region and node_id > :after{wanted}"
            " order by node_id limit :limit",
            **self._scope, after=after, limit=limit, **values,
        )  # fmt: skip
        return [node_of(row) for row in rows]

    async def counts(
        self, conditions: Sequence[Condition], columns: Sequence[str]
    ) -> list[tuple[tuple[str | None, ...], int]]:
        """How many of the nodes that fulfil all conditions have each combination of values, by the values."""
        wanted, values = _where(conditions)
        listed = ", ".join(columns)
        rows = await self._tx.rows(
            f"select {', '.join([*columns, 'count(*) as many'])} from node"  # noqa: S608
            f" where account_id = :account_id and region = :region{wanted}" + f" group by {listed}" * bool(columns),
            **self._scope, **values,
        )  # fmt: skip
        found = [(tuple(row[column] for column in columns), row["many"]) for row in rows if row["many"]]
        return sorted(found, key=lambda each: [value or "" for value in each[0]])


def _where(conditions: Sequence[Condition]) -> tuple[str, dict[str, Any]]:
    sql = ""
    values: dict[str, Any] = {}
    for index, each in enumerate(conditions):
        if each.how == "BeginWith":
            tests = []
            for number, value in enumerate(each.values):
                name = f"c{index}_{number}_"
                tests.append(f"substr({each.column}, 1, :{name}length) = :{name}")
                values |= {name: value, f"{name}length": len(value)}
            sql += f" and ({' or '.join(tests)})"
            continue
        name = f"c{index}_"
        values[name] = list(each.values)
        if each.how == "NotEqual":
            sql += f" and ({each.column} is null or {each.column} not in (:{name}))"
        else:
            sql += f" and {each.column} in (:{name})"
    return sql, values
