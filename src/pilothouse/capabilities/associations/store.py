"""The tables association, association_version and association_target. Writers hold the association's lock."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from pilothouse.capabilities.associations.model import Association, Terms, Version
from pilothouse.storage import Row, Transaction

_NAMES = (
    "association_id, account_id, region, version, document, association_name, instance_id, terms, created_at,"
    " updated_at, status, counts, last_execution_at, last_success_at, last_due_at, paused_at, paused_by, legacy_status,"
    " scheduled"
)
COLUMNS: Sequence[str] = tuple(name.strip() for name in _NAMES.split(","))
_INSERT = f"""insert into association ({_NAMES})
values (:association_id, :account_id, :region, :version, :document, :association_name, :instance_id, :terms,
  :created_at, :updated_at, :status, :counts, :last_execution_at, :last_success_at, :last_due_at, :paused_at,
  :paused_by, :legacy_status, :scheduled)"""  # noqa: S608
_SAVE = """update association set version = :version, document = :document, association_name = :association_name,
  terms = :terms, updated_at = :updated_at, status = :status, counts = :counts,
  last_execution_at = :last_execution_at, last_success_at = :last_success_at, last_due_at = :last_due_at,
  paused_at = :paused_at, paused_by = :paused_by, legacy_status = :legacy_status,
  scheduled = :scheduled
where association_id = :association_id"""
_PLACE = "account_id = :account_id and region = :region"
_FIND = f"select {_NAMES} from association where association_id = :association_id"  # noqa: S608
_LEGACY = f"""select {_NAMES} from association
where {_PLACE} and document = :document and instance_id = :instance_id"""  # noqa: S608
_MATCHING = f"""select distinct association_id from association_target
where {_PLACE} and target_key = :key and target_value in (:values)"""  # noqa: S608
_OF_DOCUMENT = f"select association_id from association where {_PLACE} and document = :document"  # noqa: S608
_FOR_GROUP = f"""association_id in (select association_id from association_target
where {_PLACE} and target_key in ('resource-groups:Name', 'ResourceGroup') and target_value = :group)"""  # noqa: S608
_MANY = 500
_HIGHEST = 2**31 - 1
"""Numbers of versions are kept below it: a user may write any number of digits, a column holds 64 bits."""

_read_terms = msgspec.json.Decoder(Terms).decode
_read_counts = msgspec.json.Decoder(dict[str, int]).decode

Filter = tuple[str, str, Any]
"""(column, comparison, value); a list as value fits with `in`."""
FILTERED = frozenset(
    {"association_id", "document", "association_name", "instance_id", "status", "last_execution_at"}
)  # fmt: skip


def association_from(row: Row) -> Association:
    """What a row says."""
    return Association(
        association_id=row["association_id"],
        account_id=row["account_id"],
        region=row["region"],
        version=row["version"],
        instance_id=row["instance_id"],
        terms=_read_terms(row["terms"]),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        status=row["status"],
        counts=_read_counts(row["counts"]),
        last_execution_at=row["last_execution_at"],
        last_success_at=row["last_success_at"],
        last_due_at=row["last_due_at"],
        paused_at=row["paused_at"],
        paused_by=row["paused_by"],
        legacy_status=None if row["legacy_status"] is None else msgspec.json.decode(row["legacy_status"]),
    )


def _order(filters: Sequence[Filter]) -> Sequence[str]:
    by_time = any(column == "last_execution_at" for column, _, _ in filters)
    return ("last_execution_at", "association_id") if by_time else ("association_id",)


def place_of(association: Association, filters: Sequence[Filter]) -> list[Any]:
    """Where it stands in the order in which these filters list."""
    return [getattr(association, name) for name in _order(filters)]


class AssociationStore:
    """The rows of associations, within one transaction."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    async def lock(self, association_id: str) -> None:
        """Nobody else changes the association, its executions and runs until the end of the transaction."""
        await self._tx.lock("association", association_id)

    async def count(self, account_id: str, region: str) -> int:
        """How many there are in the region."""
        sql = f"select count(*) from association where {_PLACE}"  # noqa: S608
        return int(await self._tx.value(sql, account_id=account_id, region=region))

    async def find(self, account_id: str, region: str, association_id: str) -> Association | None:
        """The account's association."""
        row = await self._tx.row(_FIND, association_id=association_id)
        if row is None or (row["account_id"], row["region"]) != (account_id, region):
            return None
        return association_from(row)

    async def by_id(self, association_id: str) -> Association | None:
        """Of whatever account: for what the server does by itself."""
        row = await self._tx.row(_FIND, association_id=association_id)
        return None if row is None else association_from(row)

    async def by_ids(self, association_ids: Sequence[str]) -> dict[str, Association]:
        """Those that there are, by id."""
        found: dict[str, Association] = {}
        for start in range(0, len(association_ids), _MANY):
            rows = await self._tx.rows(
                f"select {_NAMES} from association where association_id in (:ids)",  # noqa: S608
                ids=list(association_ids[start : start + _MANY]),
            )
            found.update({row["association_id"]: association_from(row) for row in rows})
        return found

    async def legacy(self, account_id: str, region: str, document: str, instance_id: str) -> Association | None:
        """The one made with this node's id."""
        where = {"account_id": account_id, "region": region}
        row = await self._tx.row(_LEGACY, document=document, instance_id=instance_id, **where)
        return None if row is None else association_from(row)

    async def add(self, association: Association) -> None:
        """A new one, with its first version."""
        await self._tx.execute(_INSERT, **values_of(association))
        await self._add_version(association)

    async def save(self, association: Association) -> None:
        """As it stands now."""
        await self._tx.execute(_SAVE, **values_of(association))

    async def add_version(self, association: Association) -> None:
        """What it says has become another version."""
        await self.save(association)
        await self._add_version(association)

    async def _add_version(self, association: Association) -> None:
        await self._tx.execute(
            "insert into association_version (association_id, version, created_at, terms)"
            " values (:association_id, :version, :created_at, :terms)",
            association_id=association.association_id,
            version=association.version,
            created_at=association.updated_at,
            terms=msgspec.json.encode(association.terms).decode(),
        )

    async def versions(self, association_id: str, below: int | None, limit: int) -> list[Version]:
        """The newest first, those below a number."""
        rows = await self._tx.rows(
            "select version, created_at, terms from association_version where association_id = :association_id"
            " and version < :below order by version desc limit :limit",
            association_id=association_id, below=below if below is not None else _HIGHEST + 1, limit=limit,
        )  # fmt: skip
        return [
            Version(number=row["version"], created_at=row["created_at"], terms=_read_terms(row["terms"]))
            for row in rows
        ]

    async def version(self, association_id: str, number: int) -> Version | None:
        """One version; none has a number that no row could have."""
        if number > _HIGHEST:
            return None
        found = await self.versions(association_id, number + 1, 1)
        return found[0] if found and found[0].number == number else None

    async def remove(self, association_id: str) -> None:
        """The association and its versions."""
        for table in ("association", "association_version", "association_target"):
            await self._tx.execute(
                f"delete from {table} where association_id = :association_id",  # noqa: S608
                association_id=association_id,
            )

    async def page(
        self,
        account_id: str,
        region: str,
        filters: Sequence[Filter],
        groups: Iterable[str],
        after: Sequence[Any] | None,
        limit: int,
    ) -> list[Association]:
        """Those that fit all filters and are for all of these groups, behind the place `after` (see `place_of`).

        By id; where the time of the last execution is asked for, by that time, so that none is read for nothing.
        What is executed meanwhile then comes twice, rather than never.
        """
        order = _order(filters)
        where = [_PLACE]
        values: dict[str, Any] = {"account_id": account_id, "region": region, "limit": limit}
        if after is not None:
            where.append(f"({', '.join(order)}) > ({', '.join(f':after_{name}' for name in order)})")
            values.update({f"after_{name}": value for name, value in zip(order, after, strict=True)})
        for number, group in enumerate(groups):
            where.append(_FOR_GROUP.replace(":group", f":g{number}"))
            values[f"g{number}"] = group
        for number, (column, comparison, value) in enumerate(filters):
            assert column in FILTERED
            assert comparison in {"=", "<", ">"}
            where.append(f"{column} {comparison} :v{number}")
            values[f"v{number}"] = value
        rows = await self._tx.rows(
            f"select {_NAMES} from association where {' and '.join(where)} order by {', '.join(order)} limit :limit",  # noqa: S608
            **values,
        )
        return [association_from(row) for row in rows]

    async def paused(self, account_id: str, region: str, after: str, limit: int) -> list[Association]:
        """Those with ids above `after` that are paused, by id."""
        rows = await self._tx.rows(
            f"select {_NAMES} from association where {_PLACE} and association_id > :after and paused_at is not null"  # noqa: S608
            " order by association_id limit :limit",
            account_id=account_id, region=region, after=after, limit=limit,
        )  # fmt: skip
        return [association_from(row) for row in rows]

    async def scheduled(self, account_id: str, region: str) -> list[Association]:
        """Those that have a schedule."""
        rows = await self._tx.rows(
            f"select {_NAMES} from association where {_PLACE} and scheduled = 1",  # noqa: S608
            account_id=account_id, region=region,
        )  # fmt: skip
        return [association_from(row) for row in rows]

    async def set_targets(self, association: Association, pairs: Iterable[tuple[str, str]]) -> None:
        """By which keys and values it is found when a node changes."""
        await self._tx.execute(
            "delete from association_target where association_id = :association_id",
            association_id=association.association_id,
        )
        await self._tx.many(
            "insert into association_target (association_id, account_id, region, target_key, target_value)"
            " values (:association_id, :account_id, :region, :key, :value)",
            [
                {
                    "association_id": association.association_id, "account_id": association.account_id,
                    "region": association.region, "key": key, "value": value,
                }
                for key, value in sorted(set(pairs))
            ],
        )  # fmt: skip

    async def matching(self, account_id: str, region: str, key: str, values: Sequence[str]) -> set[str]:
        """Ids of associations that have one of the values under the key among their targets."""
        if not values:
            return set()
        where = {"account_id": account_id, "region": region}
        rows = await self._tx.rows(_MATCHING, key=key, values=list(values), **where)
        return {row["association_id"] for row in rows}

    async def with_key(self, key: str) -> list[str]:
        """Ids of all associations that have the key among their targets, of every account."""
        rows = await self._tx.rows(
            "select distinct association_id from association_target where target_key = :key", key=key
        )
        return [row["association_id"] for row in rows]

    async def of_document(self, account_id: str, region: str, document: str) -> list[str]:
        """Ids of those with this document."""
        rows = await self._tx.rows(_OF_DOCUMENT, account_id=account_id, region=region, document=document)
        return [row["association_id"] for row in rows]


def values_of(association: Association) -> dict[str, Any]:
    """The row of an association."""
    terms = association.terms
    legacy = association.legacy_status
    return {
        "association_id": association.association_id,
        "account_id": association.account_id,
        "region": association.region,
        "version": association.version,
        "document": terms.document,
        "association_name": terms.association_name or "",
        "instance_id": association.instance_id,
        "terms": msgspec.json.encode(terms).decode(),
        "created_at": association.created_at,
        "updated_at": association.updated_at,
        "status": association.status,
        "counts": msgspec.json.encode(association.counts).decode(),
        "last_execution_at": association.last_execution_at,
        "last_success_at": association.last_success_at,
        "last_due_at": association.last_due_at,
        "paused_at": association.paused_at,
        "paused_by": association.paused_by,
        "scheduled": int(terms.schedule is not None),
        "legacy_status": None if legacy is None else msgspec.json.encode(legacy).decode(),
    }
