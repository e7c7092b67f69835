"""The tables inventory_kind, inventory_item and inventory_version. Who writes holds the node's lock."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from pilothouse.capabilities.inventory.model import Item, Kind
from pilothouse.storage import Row, Transaction

_KIND: Final = "kind_id, type_name, version, attributes, disabled"
_PLACE: Final = "account_id = :account_id and region = :region"
_ITEM: Final = "node_id, schema_version, capture_time, content_hash, content, entries, bytes, number, changed_at"
_VERSION: Final = "node_id, schema_version, capture_time, content, entries, number, changed_at"
_MANY: Final = 500

_read_names = msgspec.json.Decoder(tuple[str, ...]).decode


class InventoryStore:
    """The inventory of one account and region."""

    def __init__(self, tx: Transaction, account_id: str, region: str) -> None:
        self._tx = tx
        self._scope = {"account_id": account_id, "region": region}

    async def lock(self, node_id: str) -> None:
        """Nobody else writes the node's inventory until the transaction ends."""
        await self._tx.lock("inventory", *self._scope.values(), node_id)

    async def lock_kinds(self) -> None:
        """Nobody else makes, changes or removes types."""
        await self._tx.lock("inventory kinds", *self._scope.values())

    async def kind(self, type_name: str) -> Kind | None:
        row = await self._tx.row(
            f"select {_KIND} from inventory_kind where {_PLACE} and type_name = :type_name",  # noqa: S608
            **self._scope, type_name=type_name,
        )  # fmt: skip
        return None if row is None else _kind(row)

    async def kinds(self) -> list[Kind]:
        """Every type that was sent, by name."""
        rows = await self._tx.rows(
            f"select {_KIND} from inventory_kind where {_PLACE} order by type_name",  # noqa: S608
            **self._scope,
        )  # fmt: skip
        return [_kind(row) for row in rows]

    async def add_kind(self, type_name: str, version: str, attributes: Sequence[str]) -> None:
        """One that is not there. The lock of the kinds is held."""
        await self._tx.execute(
            "insert into inventory_kind (account_id, region, type_name, version, attributes, disabled)"
            " values (:account_id, :region, :type_name, :version, :attributes, '[]')",
            **self._scope, type_name=type_name, version=version, attributes=_names(attributes),
        )  # fmt: skip

    async def set_kind(self, kind: Kind) -> None:
        await self._tx.execute(
            "update inventory_kind set version = :version, attributes = :attributes, disabled = :disabled"
            " where kind_id = :kind_id",
            kind_id=kind.kind_id, version=kind.version, attributes=_names(kind.attributes),
            disabled=_names(kind.disabled),
        )  # fmt: skip

    async def remove_kind(self, kind_id: int) -> None:
        """The type itself; what it has must be gone."""
        await self._tx.execute("delete from inventory_kind where kind_id = :kind_id", kind_id=kind_id)

    async def item(self, kind_id: int, node_id: str) -> Item | None:
        row = await self._tx.row(
            f"select {_ITEM} from inventory_item where kind_id = :kind_id and node_id = :node_id",  # noqa: S608
            kind_id=kind_id, node_id=node_id,
        )  # fmt: skip
        return None if row is None else _item(row)

    async def items(self, kind_id: int, node_ids: Sequence[str]) -> dict[str, Item]:
        """Of those of the nodes that have entries, by node."""
        found = {}
        for start in range(0, len(node_ids), _MANY):
            rows = await self._tx.rows(
                f"select {_ITEM} from inventory_item"  # noqa: S608
                " where kind_id = :kind_id and node_id in (:node_ids) and entries > 0",
                kind_id=kind_id, node_ids=list(node_ids[start : start + _MANY]),
            )  # fmt: skip
            found.update({row["node_id"]: _item(row) for row in rows})
        return found

    async def items_after(self, kind_id: int, after: str, limit: int) -> list[Item]:
        """Those of the next nodes by id."""
        rows = await self._tx.rows(
            f"select {_ITEM} from inventory_item where kind_id = :kind_id and node_id > :after"  # noqa: S608
            " order by node_id limit :limit",
            kind_id=kind_id, after=after, limit=limit,
        )  # fmt: skip
        return [_item(row) for row in rows]

    async def nodes_with(self, kind_id: int) -> set[str]:
        """Ids of the nodes that have entries of the type."""
        rows = await self._tx.tuples(
            "select node_id from inventory_item where kind_id = :kind_id and entries > 0", kind_id=kind_id
        )
        return {row[0] for row in rows}

    async def of_node(self, node_id: str) -> list[tuple[int, str, int]]:
        """(kind id, type, bytes) of what the node has."""
        rows = await self._tx.tuples(
            "select inventory_item.kind_id, type_name, bytes from inventory_item"
            " join inventory_kind on inventory_kind.kind_id = inventory_item.kind_id where node_id = :node_id",
            node_id=node_id,
        )
        return [(row[0], row[1], row[2]) for row in rows]

    async def versions_of(self, kind_id: int) -> dict[str, int]:
        """Schema version to how many nodes have sent it, of what has entries."""
        rows = await self._tx.tuples(
            "select schema_version, count(*) from inventory_item where kind_id = :kind_id and entries > 0"
            " group by schema_version",
            kind_id=kind_id,
        )
        return {row[0]: row[1] for row in rows}

    async def set_item(self, kind_id: int, item: Item) -> None:
        await self._tx.execute(
            """insert into inventory_item (kind_id, node_id, schema_version, capture_time, content_hash, content,
                 entries, bytes, number, changed_at)
               values (:kind_id, :node_id, :schema_version, :capture_time, :content_hash, :content, :entries, :bytes,
                 :number, :changed_at)
               on conflict (kind_id, node_id) do update set schema_version = excluded.schema_version,
                 capture_time = excluded.capture_time, content_hash = excluded.content_hash,
                 content = excluded.content, entries = excluded.entries, bytes = excluded.bytes,
                 number = excluded.number, changed_at = excluded.changed_at""",
            kind_id=kind_id, node_id=item.node_id, schema_version=item.schema_version, capture_time=item.capture_time,
            content_hash=item.content_hash, content=item.content, entries=item.entries, bytes=item.bytes,
            number=item.number, changed_at=item.changed_at,
        )  # fmt: skip

    async def captured(self, kind_id: int, node_id: str, capture_time: str) -> None:
        """It was found the same again."""
        await self._tx.execute(
            "update inventory_item set capture_time = :capture_time where kind_id = :kind_id and node_id = :node_id",
            kind_id=kind_id, node_id=node_id, capture_time=capture_time,
        )  # fmt: skip

    async def keep_version(self, kind_id: int, item: Item, most: int) -> None:
        """What is about to be replaced, and none but the newest `most`."""
        if most:
            await self._tx.execute(
                """insert into inventory_version (kind_id, node_id, number, schema_version, capture_time, content,
                     entries, changed_at)
                   values (:kind_id, :node_id, :number, :schema_version, :capture_time, :content, :entries,
                     :changed_at)""",
                kind_id=kind_id, node_id=item.node_id, number=item.number, schema_version=item.schema_version,
                capture_time=item.capture_time, content=item.content, entries=item.entries, changed_at=item.changed_at,
            )  # fmt: skip
        await self._tx.execute(
            "delete from inventory_version where kind_id = :kind_id and node_id = :node_id and number <= :oldest",
            kind_id=kind_id, node_id=item.node_id, oldest=item.number - most,
        )  # fmt: skip

    async def versions(self, kind_id: int, node_id: str, below: int, limit: int) -> list[Item]:
        """What the node said before, the newest first."""
        rows = await self._tx.rows(
            f"select {_VERSION} from inventory_version"  # noqa: S608
            " where kind_id = :kind_id and node_id = :node_id and number < :below order by number desc limit :limit",
            kind_id=kind_id, node_id=node_id, below=below, limit=limit,
        )  # fmt: skip
        return [
            Item(
                node_id=row["node_id"], schema_version=row["schema_version"], capture_time=row["capture_time"],
                content_hash="", content=bytes(row["content"]), entries=row["entries"], bytes=0, number=row["number"],
                changed_at=row["changed_at"],
            )
            for row in rows
        ]  # fmt: skip

    async def forget(self, kind_id: int, node_id: str) -> None:
        """The item and its versions."""
        for table in ("inventory_item", "inventory_version"):
            await self._tx.execute(
                f"delete from {table} where kind_id = :kind_id and node_id = :node_id",  # noqa: S608
                kind_id=kind_id, node_id=node_id,
            )  # fmt: skip


def _names(names: Sequence[str]) -> str:
    return msgspec.json.encode(names).decode()


def _kind(row: Row) -> Kind:
    return Kind(
        kind_id=row["kind_id"],
        type_name=row["type_name"],
        version=row["version"],
        attributes=_read_names(row["attributes"]),
        disabled=_read_names(row["disabled"]),
    )


def _item(row: Row) -> Item:
    values: dict[str, Any] = {**row, "content": bytes(row["content"])}
    return Item(**values)
