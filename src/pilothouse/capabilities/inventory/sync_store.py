"""The tables data_sync and data_sync_waiting."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from pilothouse.storage import Row, Transaction

TO_DESTINATION: Final = "SyncToDestination"
FROM_SOURCE: Final = "SyncFromSource"

_NAMES: Final = (
    "account_id, region, sync_name, sync_type, settings, created_at, modified_at, synced_at, succeeded_at, status,"
    " message, retry_at, failures"
)
_PLACE: Final = "account_id = :account_id and region = :region"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sync:
    """A resource data sync. `settings`: where to, or where from, as it was asked for."""

    account_id: str
    region: str
    sync_name: str
    sync_type: str
    settings: dict[str, Any]
    created_at: int
    modified_at: int
    synced_at: int | None = None
    succeeded_at: int | None = None
    status: str = "InProgress"
    message: str = ""
    retry_at: int = 0
    failures: int = 0


Waiting = tuple[str, str, int]
"""(node id, type, turn)."""


class SyncStore:
    """The syncs of one account and region."""

    def __init__(self, tx: Transaction, account_id: str, region: str) -> None:
        self._tx = tx
        self._scope = {"account_id": account_id, "region": region}

    async def lock(self) -> None:
        await self._tx.lock("data sync", *self._scope.values())

    async def find(self, sync_name: str) -> Sync | None:
        row = await self._tx.row(
            f"select {_NAMES} from data_sync where {_PLACE} and sync_name = :sync_name",  # noqa: S608
            **self._scope, sync_name=sync_name,
        )  # fmt: skip
        return None if row is None else _sync(row)

    async def all(self) -> list[Sync]:
        """By name."""
        rows = await self._tx.rows(
            f"select {_NAMES} from data_sync where {_PLACE} order by sync_name",  # noqa: S608
            **self._scope,
        )  # fmt: skip
        return [_sync(row) for row in rows]

    async def copying(self) -> list[str]:
        """Names of those that copy what is here."""
        rows = await self._tx.tuples(
            f"select sync_name from data_sync where {_PLACE} and sync_type = :type order by sync_name",  # noqa: S608
            **self._scope, type=TO_DESTINATION,
        )  # fmt: skip
        return [row[0] for row in rows]

    async def put(self, sync: Sync) -> None:
        """A new one, or another form of it."""
        await self._tx.execute(
            """insert into data_sync (account_id, region, sync_name, sync_type, settings, created_at, modified_at,
                 status, message, retry_at, failures)
               values (:account_id, :region, :sync_name, :sync_type, :settings, :created_at, :modified_at, :status, '',
                 0, 0)
               on conflict (account_id, region, sync_name) do update set settings = excluded.settings,
                 modified_at = excluded.modified_at""",
            **self._scope, sync_name=sync.sync_name, sync_type=sync.sync_type,
            settings=msgspec.json.encode(sync.settings).decode(), created_at=sync.created_at,
            modified_at=sync.modified_at, status=sync.status,
        )  # fmt: skip

    async def ended(self, sync_name: str, *, at: int, error: str | None, retry_at: int) -> None:
        """A round of copying ended: well, or with an error, after which it is tried again."""
        status = "Successful" if error is None else "Failed"
        await self._tx.execute(
            f"""update data_sync set synced_at = :at, status = :status, message = :message, retry_at = :retry_at,
                  succeeded_at = case when :good = 1 then :at else succeeded_at end,
                  failures = case when :good = 1 then 0 else failures + 1 end
                where {_PLACE} and sync_name = :sync_name""",  # noqa: S608
            **self._scope, sync_name=sync_name, at=at, status=status, message=error or "", retry_at=retry_at,
            good=int(error is None),
        )  # fmt: skip

    async def remove(self, sync_name: str) -> None:
        for table in ("data_sync", "data_sync_waiting"):
            await self._tx.execute(
                f"delete from {table} where {_PLACE} and sync_name = :sync_name",  # noqa: S608
                **self._scope, sync_name=sync_name,
            )  # fmt: skip

    async def want(self, sync_name: str, parts: Sequence[tuple[str, str]]) -> None:
        """(node id, type) to be copied by a sync for which nothing waits yet."""
        await self._tx.fill(
            "data_sync_waiting", ("account_id", "region", "sync_name", "node_id", "type_name", "turn"),
            [(*self._scope.values(), sync_name, node_id, type_name, 1) for node_id, type_name in parts],
        )  # fmt: skip

    async def wait(self, sync_name: str, parts: Sequence[tuple[str, str]]) -> None:
        """(node id, type) to be copied."""
        await self._tx.many(
            """insert into data_sync_waiting (account_id, region, sync_name, node_id, type_name, turn)
               values (:account_id, :region, :sync_name, :node_id, :type_name, 1)
               on conflict (account_id, region, sync_name, node_id, type_name)
               do update set turn = data_sync_waiting.turn + 1""",
            [
                {**self._scope, "sync_name": sync_name, "node_id": node_id, "type_name": type_name}
                for node_id, type_name in parts
            ],
        )

    async def waiting(self, sync_name: str, limit: int) -> list[Waiting]:
        rows = await self._tx.tuples(
            f"select node_id, type_name, turn from data_sync_waiting where {_PLACE}"  # noqa: S608
            " and sync_name = :sync_name order by node_id, type_name limit :limit",
            **self._scope, sync_name=sync_name, limit=limit,
        )  # fmt: skip
        return [(row[0], row[1], row[2]) for row in rows]

    async def copied(self, sync_name: str, parts: Sequence[Waiting]) -> None:
        """Unless they are wanted again since."""
        await self._tx.many(
            f"delete from data_sync_waiting where {_PLACE} and sync_name = :sync_name"  # noqa: S608
            " and node_id = :node_id and type_name = :type_name and turn = :turn",
            [
                {**self._scope, "sync_name": sync_name, "node_id": node_id, "type_name": type_name, "turn": turn}
                for node_id, type_name, turn in parts
            ],
        )


async def due(tx: Transaction, now: int) -> list[Sync]:
    """Of every account: syncs with something to copy, or that were never done, and that are not to wait longer."""
    rows = await tx.rows(
        f"select {_NAMES} from data_sync where sync_type = :type and retry_at <= :now and (synced_at is null"  # noqa: S608
        " or exists (select 1 from data_sync_waiting where data_sync_waiting.account_id = data_sync.account_id"
        " and data_sync_waiting.region = data_sync.region and data_sync_waiting.sync_name = data_sync.sync_name))"
        " order by account_id, region, sync_name",
        type=TO_DESTINATION, now=now,
    )  # fmt: skip
    return [_sync(row) for row in rows]


def _sync(row: Row) -> Sync:
    return Sync(**{**row, "settings": msgspec.json.decode(row["settings"])})
