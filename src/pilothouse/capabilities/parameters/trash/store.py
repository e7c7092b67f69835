"""SQL of parameter_trash and parameter_trash_version, and of moving a parameter's rows as a whole."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pilothouse.capabilities.parameters.model import Version
from pilothouse.capabilities.parameters.names import Name, parent
from pilothouse.capabilities.parameters.policies import from_text
from pilothouse.storage import Row, Transaction

_COLUMNS: Final = (
    "version, type, value, sealed, key_ref, data_type, tier, description, allowed_pattern, policies, modified_at, "
    "modified_by"
)
_ENTRY: Final = "path, number, name, version, type, labels, tags, created_at, deleted_at"
_WHERE: Final = "account_id = :account_id and region = :region and path = :path"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trashed:
    """One life of a deleted parameter, from its first version kept to its end; times in epoch milliseconds."""

    path: str
    number: int
    name: str
    version: int
    kind: str
    labels: Mapping[str, int]
    tags: Mapping[str, str]
    created_at: int
    deleted_at: int


class TrashStore:
    """The trash of one account and region."""

    def __init__(self, tx: Transaction, account_id: str, region: str) -> None:
        self._tx = tx
        self._scope = {"account_id": account_id, "region": region}

    async def keep(
        self, path: str, *, labels: Mapping[str, int], tags: Mapping[str, str], at: int, forget_at: int
    ) -> None:
        """Copy a parameter that is about to go. The caller holds its lock."""
        place = {**self._scope, "path": path}
        last = await self._tx.value(f"select max(number) from parameter_trash where {_WHERE}", **place)  # noqa: S608
        number = (last or 0) + 1
        for table in ("parameter_version", "parameter"):
            await self._tx.execute(
                f"""insert into parameter_trash_version (account_id, region, path, number, {_COLUMNS})
                    select account_id, region, path, cast(:number as bigint), {_COLUMNS} from {table} where {_WHERE}""",  # noqa: S608
                **place, number=number,
            )  # fmt: skip
        created_at = await self._tx.value(
            f"select min(modified_at) from parameter_trash_version where {_WHERE} and number = :number",  # noqa: S608
            **place, number=number,
        )  # fmt: skip
        await self._tx.execute(
            f"""insert into parameter_trash (account_id, region, {_ENTRY}, forget_at)
                select account_id, region, path, cast(:number as bigint), name, version, type, cast(:labels as text),
                  cast(:tags as text), cast(:created_at as bigint), cast(:at as bigint), cast(:forget_at as bigint)
                from parameter where {_WHERE}""",  # noqa: S608
            **place, number=number, labels=json.dumps(dict(labels)), tags=json.dumps(dict(tags)),
            created_at=created_at, at=at, forget_at=forget_at,
        )  # fmt: skip

    async def below(self, path: str, *, after: tuple[str, int], count: int) -> list[Trashed]:
        """What was deleted at a path and below it (empty: everywhere), in the order of path and number."""
        rows = await self._tx.rows(
            f"""select {_ENTRY} from parameter_trash
                where account_id = :account_id and region = :region
                  and (path = :path or (path >= :start and path < :end))
                  and (path > :after_path or (path = :after_path and number > :after_number))
                order by path, number limit :count""",  # noqa: S608
            **self._scope, path=path, start=f"{path}/" if path else "", end=f"{path}/~" if path else "~",
            after_path=after[0], after_number=after[1], count=count,
        )  # fmt: skip
        return [_trashed(row) for row in rows]

    async def newest(self, path: str) -> Trashed | None:
        """The last life of a path that is in the trash."""
        row = await self._tx.row(
            f"select {_ENTRY} from parameter_trash where {_WHERE} order by number desc limit 1",  # noqa: S608
            **self._scope, path=path,
        )  # fmt: skip
        return None if row is None else _trashed(row)

    async def versions(self, entry: Trashed) -> list[Version]:
        """The versions of a life, ascending."""
        rows = await self._tx.rows(
            f"""select {_COLUMNS} from parameter_trash_version where {_WHERE} and number = :number
                order by version""",  # noqa: S608
            **self._scope, path=entry.path, number=entry.number,
        )  # fmt: skip
        return [_version(entry, row) for row in rows]

    async def remove(self, entry: Trashed) -> None:
        """Take a life out of the trash."""
        for table in ("parameter_trash_version", "parameter_trash"):
            await self._tx.execute(
                f"delete from {table} where {_WHERE} and number = :number",  # noqa: S608
                **self._scope, path=entry.path, number=entry.number,
            )  # fmt: skip

    async def revive_older(self, entry: Trashed) -> None:
        """Bring the versions before the last one back to their path, which is free, and take the life out."""
        place = {**self._scope, "path": entry.path}
        await self._tx.execute(
            f"""insert into parameter_version (account_id, region, path, {_COLUMNS})
                select account_id, region, path, {_COLUMNS} from parameter_trash_version
                where {_WHERE} and number = :number and version < :version""",  # noqa: S608
            **place, number=entry.number, version=entry.version,
        )  # fmt: skip
        await self.remove(entry)


class MovingStore:
    """Moves the rows of a parameter, whatever columns they have, to another path of the account and region."""

    def __init__(self, tx: Transaction, account_id: str, region: str) -> None:
        self._tx = tx
        self._scope = {"account_id": account_id, "region": region}

    async def move(self, path: str, to: Name) -> None:
        """Every row of the parameter. Both paths are locked, and the new one is free."""
        await self._tx.execute(
            f"update parameter set path = :to_path, parent = :parent, name = :name where {_WHERE}",  # noqa: S608
            **self._scope, path=path, to_path=to.path, parent=parent(to.path), name=to.text,
        )  # fmt: skip
        for table in ("parameter_version", "parameter_label", "parameter_due"):
            await self._tx.execute(
                f"update {table} set path = :to_path where {_WHERE}",  # noqa: S608
                **self._scope, path=path, to_path=to.path,
            )  # fmt: skip

    async def reseal(self, version: Version, sealed: bytes) -> None:
        """Another ciphertext of the same value, wherever the version lies."""
        for table in ("parameter", "parameter_version"):
            await self._tx.execute(
                f"update {table} set sealed = :sealed where {_WHERE} and version = :version",  # noqa: S608
                **self._scope, path=version.path, version=version.number, sealed=sealed,
            )  # fmt: skip


async def expired(tx: Transaction, now: int, count: int) -> list[tuple[str, str, Trashed]]:
    """Whose time in the trash is over, of every account: (account, region, entry), up to `count`."""
    rows = await tx.rows(
        f"""select account_id, region, {_ENTRY} from parameter_trash where forget_at <= :now
            order by forget_at limit :count""",  # noqa: S608
        now=now, count=count,
    )  # fmt: skip
    return [(row["account_id"], row["region"], _trashed(row)) for row in rows]


async def begin_plan(tx: Transaction) -> None:
    """What follows in the transaction can be taken back by `undo_plan`."""
    await tx.execute("savepoint parameter_plan")


async def undo_plan(tx: Transaction) -> None:
    """Take back everything since `begin_plan`."""
    await tx.execute("rollback to savepoint parameter_plan")


def _trashed(row: Row) -> Trashed:
    return Trashed(
        path=row["path"],
        number=row["number"],
        name=row["name"],
        version=row["version"],
        kind=row["type"],
        labels=json.loads(row["labels"]),
        tags=json.loads(row["tags"]),
        created_at=row["created_at"],
        deleted_at=row["deleted_at"],
    )


def _version(entry: Trashed, row: Row) -> Version:
    return Version(
        path=entry.path,
        name=entry.name,
        number=row["version"],
        kind=row["type"],
        key_ref=row["key_ref"],
        data_type=row["data_type"],
        tier=row["tier"],
        description=row["description"],
        allowed_pattern=row["allowed_pattern"],
        policies=from_text(row["policies"]),
        modified_at=row["modified_at"],
        modified_by=row["modified_by"],
        value=row["value"],
        sealed=row["sealed"],
    )
