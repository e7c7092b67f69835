"""The tables compliance_item and compliance_standing. Writers hold the node's lock."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final

import msgspec

from pilothouse.capabilities.compliance.model import Counts, Execution, Item, Standing, counted
from pilothouse.storage import Row, Transaction

_PLACE: Final = "account_id = :account_id and region = :region"
_OF_NODE: Final = f"{_PLACE} and node_id = :node_id and compliance_type = :type"
_ITEM: Final = (
    "node_id, compliance_type, item_id, title, severity, status, details, executed_at, execution_id, execution_type"
)
_STANDING: Final = "node_id, compliance_type, counts, content_hash, executed_at, execution_id, execution_type"
_COLUMNS: Final = (
    "account_id", "region", "node_id", "compliance_type", "item_id", "title", "severity", "status", "details",
    "executed_at", "execution_id", "execution_type", "by_system",
)  # fmt: skip
_MANY: Final = 500

_read_details = msgspec.json.Decoder(dict[str, str]).decode
_read_counts = msgspec.json.Decoder(Counts).decode

Condition = tuple[str, dict[str, Any]]
"""A test of SQL, made of constants, and its values."""
Found = tuple[str, str, Item]
"""(node id, type, item)."""


class ComplianceStore:
    """Of one account and region."""

    def __init__(self, tx: Transaction, account_id: str, region: str) -> None:
        self._tx = tx
        self._scope = {"account_id": account_id, "region": region}

    async def lock(self, node_id: str) -> None:
        """Nobody else writes what is judged of the node until the transaction ends."""
        await self._tx.lock("compliance", *self._scope.values(), node_id)

    async def has_type(self, compliance_type: str) -> bool:
        """Whether any node is judged by it."""
        sql = f"select 1 from compliance_standing where {_PLACE} and compliance_type = :type limit 1"  # noqa: S608
        return bool(await self._tx.value(sql, **self._scope, type=compliance_type))

    async def types(self) -> int:
        """How many types there are."""
        sql = f"select count(distinct compliance_type) from compliance_standing where {_PLACE}"  # noqa: S608
        return int(await self._tx.value(sql, **self._scope))

    async def standing(self, node_id: str, compliance_type: str) -> Standing | None:
        row = await self._tx.row(
            f"select {_STANDING} from compliance_standing where {_OF_NODE}",  # noqa: S608
            **self._scope, node_id=node_id, type=compliance_type,
        )  # fmt: skip
        return None if row is None else _standing(row)

    async def set_standing(self, standing: Standing) -> None:
        await self._tx.execute(
            """insert into compliance_standing (account_id, region, node_id, compliance_type, status, severity,
                 overall_severity, counts, content_hash, executed_at, execution_id, execution_type)
               values (:account_id, :region, :node_id, :type, :status, :severity, :overall_severity, :counts,
                 :content_hash, :executed_at, :execution_id, :execution_type)
               on conflict (account_id, region, node_id, compliance_type) do update set status = excluded.status,
                 severity = excluded.severity, overall_severity = excluded.overall_severity, counts = excluded.counts,
                 content_hash = excluded.content_hash, executed_at = excluded.executed_at,
                 execution_id = excluded.execution_id, execution_type = excluded.execution_type""",
            **self._scope, node_id=standing.node_id, type=standing.compliance_type, status=standing.status,
            severity=standing.severity, overall_severity=standing.overall_severity,
            counts=msgspec.json.encode(standing.counts).decode(), content_hash=standing.content_hash,
            executed_at=standing.execution.at, execution_id=standing.execution.execution_id,
            execution_type=standing.execution.execution_type,
        )  # fmt: skip

    async def forget_standing(self, node_id: str, compliance_type: str) -> None:
        await self._tx.execute(
            f"delete from compliance_standing where {_OF_NODE}",  # noqa: S608
            **self._scope, node_id=node_id, type=compliance_type,
        )  # fmt: skip

    async def system_ids(self, node_id: str, compliance_type: str) -> set[str]:
        """Ids of the items that this server makes itself."""
        rows = await self._tx.tuples(
            f"select item_id from compliance_item where {_OF_NODE} and by_system = 1",  # noqa: S608
            **self._scope, node_id=node_id, type=compliance_type,
        )  # fmt: skip
        return {row[0] for row in rows}

    async def remove(
        self, node_id: str, compliance_type: str, *, by_system: bool, item_ids: Collection[str] | None = None
    ) -> None:
        """Items of the one origin: those named, or all."""
        sql = f"delete from compliance_item where {_OF_NODE} and by_system = :by_system"  # noqa: S608
        values = {**self._scope, "node_id": node_id, "type": compliance_type, "by_system": int(by_system)}
        if item_ids is None:
            await self._tx.execute(sql, **values)
            return
        ids = list(item_ids)
        for start in range(0, len(ids), _MANY):
            await self._tx.execute(f"{sql} and item_id in (:ids)", **values, ids=ids[start : start + _MANY])

    async def add(
        self, node_id: str, compliance_type: str, items: Iterable[Item], execution: Execution, *, by_system: bool
    ) -> None:
        """Items whose ids are free."""
        rows = []
        for item in items:
            found = item.execution or execution
            rows.append((
                *self._scope.values(), node_id, compliance_type, item.item_id, item.title, item.severity, item.status,
                msgspec.json.encode(item.details).decode(), found.at, found.execution_id, found.execution_type,
                int(by_system),
            ))  # fmt: skip
        await self._tx.fill("compliance_item", _COLUMNS, rows)

    async def counts(self, node_id: str, compliance_type: str) -> tuple[int, Counts]:
        """How many items there are, and how many of each kind count."""
        rows = await self._tx.tuples(
            f"select status, severity, count(*) from compliance_item where {_OF_NODE}"  # noqa: S608
            " group by status, severity",
            **self._scope, node_id=node_id, type=compliance_type,
        )  # fmt: skip
        pairs = [(row[0], row[1], row[2]) for row in rows]
        return sum(many for _, _, many in pairs), counted(pairs)

    async def executed(self, node_id: str, compliance_type: str, execution: Execution) -> None:
        """The items that were uploaded were found the same again."""
        await self._tx.execute(
            f"update compliance_item set executed_at = :at, execution_id = :id, execution_type = :kind"  # noqa: S608
            f" where {_OF_NODE} and by_system = 0",
            **self._scope, node_id=node_id, type=compliance_type, at=execution.at, id=execution.execution_id,
            kind=execution.execution_type,
        )  # fmt: skip

    async def nodes_with(self, compliance_type: str, item_id: str) -> list[str]:
        """Nodes that have the item, made by this server, by id."""
        rows = await self._tx.tuples(
            f"select node_id from compliance_item where {_PLACE} and compliance_type = :type"  # noqa: S608
            " and item_id = :item_id and by_system = 1 order by node_id",
            **self._scope, type=compliance_type, item_id=item_id,
        )  # fmt: skip
        return [row[0] for row in rows]

    async def forget_node(self, node_id: str) -> None:
        """All that was judged of it."""
        for table in ("compliance_item", "compliance_standing"):
            await self._tx.execute(
                f"delete from {table} where {_PLACE} and node_id = :node_id",  # noqa: S608
                **self._scope, node_id=node_id,
            )  # fmt: skip

    async def items(self, conditions: Sequence[Condition], after: Sequence[str], limit: int) -> list[Found]:
        """The next items after (node id, type, item id) that fulfil all conditions, in that order."""
        where, values = _together(conditions)
        rows = await self._tx.rows(
            f"select {_ITEM} from compliance_item where {_PLACE}"  # noqa: S608
            " and (node_id, compliance_type, item_id) > (:node_id, :type, :item_id)"
            f"{where} order by node_id, compliance_type, item_id limit :limit",
            **self._scope, **values, node_id=after[0], type=after[1], item_id=after[2], limit=limit,
        )  # fmt: skip
        return [(row["node_id"], row["compliance_type"], _item(row)) for row in rows]

    async def standings(self, conditions: Sequence[Condition], after: Sequence[str], limit: int) -> list[Standing]:
        """The next standings after (node id, type) that fulfil all conditions, in that order."""
        where, values = _together(conditions)
        rows = await self._tx.rows(
            f"select {_STANDING} from compliance_standing where {_PLACE}"  # noqa: S608
            f" and (node_id, compliance_type) > (:node_id, :type){where}"
            " order by node_id, compliance_type limit :limit",
            **self._scope, **values, node_id=after[0], type=after[1], limit=limit,
        )  # fmt: skip
        return [_standing(row) for row in rows]

    async def summary(self, conditions: Sequence[Condition]) -> list[tuple[str, str, str, int]]:
        """(type, status, severity, nodes) of the standings that fulfil all conditions."""
        where, values = _together(conditions)
        rows = await self._tx.tuples(
            "select compliance_type, status, severity, count(*) from compliance_standing"  # noqa: S608
            f" where {_PLACE}{where} group by compliance_type, status, severity",
            **self._scope, **values,
        )  # fmt: skip
        return [(row[0], row[1], row[2], row[3]) for row in rows]


def _together(conditions: Sequence[Condition]) -> tuple[str, dict[str, Any]]:
    values: dict[str, Any] = {}
    for _, own in conditions:
        values |= own
    return "".join(f" and ({test})" for test, _ in conditions), values


def _execution(row: Row) -> Execution:
    return Execution(at=row["executed_at"], execution_id=row["execution_id"], execution_type=row["execution_type"])


def _item(row: Row) -> Item:
    return Item(
        item_id=row["item_id"],
        title=row["title"],
        severity=row["severity"],
        status=row["status"],
        details=_read_details(row["details"]),
        execution=_execution(row),
    )


def _standing(row: Row) -> Standing:
    return Standing(
        node_id=row["node_id"],
        compliance_type=row["compliance_type"],
        counts=_read_counts(row["counts"]),
        content_hash=row["content_hash"],
        execution=_execution(row),
    )
