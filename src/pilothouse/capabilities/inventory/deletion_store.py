"""The table inventory_deletion."""

from dataclasses import dataclass
from typing import Final

import msgspec

from pilothouse.storage import Row, Transaction

_NAMES: Final = "deletion_id, type_name, schema_option, started_at, updated_at, ended, versions, remaining, after_node"
_PLACE: Final = "account_id = :account_id and region = :region"

_read = msgspec.json.Decoder(dict[str, int]).decode


@dataclass(slots=True, kw_only=True)
class Deletion:
    """Of a custom type. `versions`, `remaining`: nodes by schema version, at its beginning and now."""

    deletion_id: str
    type_name: str
    schema_option: str
    started_at: int
    updated_at: int
    ended: bool
    versions: dict[str, int]
    remaining: dict[str, int]
    after: str = ""
    """Up to which node it has come."""


class DeletionStore:
    """The deletions of one account and region."""

    def __init__(self, tx: Transaction, account_id: str, region: str) -> None:
        self._tx = tx
        self._scope = {"account_id": account_id, "region": region}

    async def add(self, deletion: Deletion, token: str | None) -> None:
        await self._tx.execute(
            """insert into inventory_deletion (deletion_id, account_id, region, type_name, schema_option, client_token,
                 started_at, updated_at, ended, versions, remaining, after_node)
               values (:deletion_id, :account_id, :region, :type_name, :schema_option, :token, :started_at, :updated_at,
                 0, :versions, :remaining, '')""",
            **self._scope, deletion_id=deletion.deletion_id, type_name=deletion.type_name,
            schema_option=deletion.schema_option, token=token, started_at=deletion.started_at,
            updated_at=deletion.updated_at, versions=_counts(deletion.versions),
            remaining=_counts(deletion.remaining),
        )  # fmt: skip

    async def save(self, deletion: Deletion) -> None:
        await self._tx.execute(
            "update inventory_deletion set updated_at = :updated_at, ended = :ended, remaining = :remaining,"
            " after_node = :after where deletion_id = :deletion_id",
            deletion_id=deletion.deletion_id, updated_at=deletion.updated_at, ended=int(deletion.ended),
            remaining=_counts(deletion.remaining), after=deletion.after,
        )  # fmt: skip

    async def find(self, deletion_id: str) -> Deletion | None:
        row = await self._tx.row(
            f"select {_NAMES} from inventory_deletion where {_PLACE} and deletion_id = :deletion_id",  # noqa: S608
            **self._scope, deletion_id=deletion_id,
        )  # fmt: skip
        return None if row is None else _deletion(row)

    async def with_token(self, token: str) -> Deletion | None:
        row = await self._tx.row(
            f"select {_NAMES} from inventory_deletion where {_PLACE} and client_token = :token",  # noqa: S608
            **self._scope, token=token,
        )  # fmt: skip
        return None if row is None else _deletion(row)

    async def page(self, before: tuple[int, str] | None, limit: int) -> list[Deletion]:
        """The newest first, those before (start, id)."""
        at, deletion_id = before or (1 << 62, "")
        rows = await self._tx.rows(
            f"select {_NAMES} from inventory_deletion where {_PLACE}"  # noqa: S608
            " and (started_at, deletion_id) < (:at, :deletion_id) order by started_at desc, deletion_id desc"
            " limit :limit",
            **self._scope, at=at, deletion_id=deletion_id, limit=limit,
        )  # fmt: skip
        return [_deletion(row) for row in rows]


def _counts(counts: dict[str, int]) -> str:
    return msgspec.json.encode(counts).decode()


def _deletion(row: Row) -> Deletion:
    return Deletion(
        deletion_id=row["deletion_id"],
        type_name=row["type_name"],
        schema_option=row["schema_option"],
        started_at=row["started_at"],
        updated_at=row["updated_at"],
        ended=bool(row["ended"]),
        versions=_read(row["versions"]),
        remaining=_read(row["remaining"]),
        after=row["after_node"],
    )
