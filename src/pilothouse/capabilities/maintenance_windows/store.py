"""The tables of windows, their targets and tasks. Writers hold the window's lock."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from pilothouse.capabilities.maintenance_windows.model import (
    TargetTerms,
    TaskTerms,
    Window,
    WindowTarget,
    WindowTask,
    WindowTerms,
)
from pilothouse.storage import Row, Transaction

_PLACE = "account_id = :account_id and region = :region"
_WINDOW = (
    "window_id, account_id, region, name, terms, enabled, since, created_at, modified_at, client_token, digest"
)  # fmt: skip
_TARGET = "window_target_id, window_id, account_id, region, terms, created_at, client_token, digest"
_TASK = "window_task_id, window_id, account_id, region, terms, created_at, client_token, digest"


def _named(columns: str) -> str:
    return ", ".join(f":{name.strip()}" for name in columns.split(","))


_INSERT_WINDOW = f"insert into maintenance_window ({_WINDOW}) values ({_named(_WINDOW)})"  # noqa: S608
_SAVE_WINDOW = """update maintenance_window set name = :name, terms = :terms, enabled = :enabled, since = :since,
  modified_at = :modified_at where window_id = :window_id"""
_INSERT_TARGET = f"insert into maintenance_window_target ({_TARGET}) values ({_named(_TARGET)})"  # noqa: S608
_INSERT_TASK = f"insert into maintenance_window_task ({_TASK}) values ({_named(_TASK)})"  # noqa: S608
_MANY = 500

_read_window = msgspec.json.Decoder(WindowTerms).decode
_read_target = msgspec.json.Decoder(TargetTerms).decode
_read_task = msgspec.json.Decoder(TaskTerms).decode


def written(terms: Any) -> str:
    """As it stands in a row."""
    return msgspec.json.encode(terms).decode()


def _window(row: Row) -> Window:
    return Window(
        window_id=row["window_id"],
        account_id=row["account_id"],
        region=row["region"],
        terms=_read_window(row["terms"]),
        enabled=bool(row["enabled"]),
        since=row["since"],
        created_at=row["created_at"],
        modified_at=row["modified_at"],
        client_token=row["client_token"],
        digest=row["digest"],
    )


def _window_values(window: Window) -> dict[str, Any]:
    return {
        "window_id": window.window_id,
        "account_id": window.account_id,
        "region": window.region,
        "name": window.terms.name,
        "terms": written(window.terms),
        "enabled": int(window.enabled),
        "since": window.since,
        "created_at": window.created_at,
        "modified_at": window.modified_at,
        "client_token": window.client_token,
        "digest": window.digest,
    }


def _part(row: Row) -> dict[str, Any]:
    names = ("window_id", "account_id", "region", "created_at", "client_token", "digest")
    return {name: row[name] for name in names}


def _part_values(part: WindowTarget | WindowTask) -> dict[str, Any]:
    return {
        "window_id": part.window_id,
        "account_id": part.account_id,
        "region": part.region,
        "terms": written(part.terms),
        "created_at": part.created_at,
        "client_token": part.client_token,
        "digest": part.digest,
    }


class WindowStore:
    """The rows of windows, within one transaction."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    async def lock(self, window_id: str) -> None:
        """Nobody else changes the window, its parts and executions until the end of the transaction."""
        await self._tx.lock("maintenance window", window_id)

    async def lock_all(self, account_id: str, region: str) -> None:
        """Nobody else makes a window there."""
        await self._tx.lock("maintenance windows", account_id, region)

    async def count(self, account_id: str, region: str) -> int:
        sql = f"select count(*) from maintenance_window where {_PLACE}"  # noqa: S608
        return int(await self._tx.value(sql, account_id=account_id, region=region))

    async def by_id(self, window_id: str) -> Window | None:
        """Of whatever account: for what the server does by itself."""
        sql = f"select {_WINDOW} from maintenance_window where window_id = :window_id"  # noqa: S608
        row = await self._tx.row(sql, window_id=window_id)
        return None if row is None else _window(row)

    async def find(self, account_id: str, region: str, window_id: str) -> Window | None:
        found = await self.by_id(window_id)
        return found if found and (found.account_id, found.region) == (account_id, region) else None

    async def by_token(self, account_id: str, region: str, token: str) -> Window | None:
        """The one that was made with the client token."""
        sql = f"select {_WINDOW} from maintenance_window where {_PLACE} and client_token = :token"  # noqa: S608
        row = await self._tx.row(sql, account_id=account_id, region=region, token=token)
        return None if row is None else _window(row)

    async def by_ids(self, account_id: str, region: str, window_ids: Sequence[str]) -> list[Window]:
        """Those of them that there are, by id."""
        found: list[Window] = []
        sql = f"select {_WINDOW} from maintenance_window where {_PLACE} and window_id in (:ids)"  # noqa: S608
        ids = sorted(set(window_ids))
        for start in range(0, len(ids), _MANY):
            chunk = ids[start : start + _MANY]
            found += [_window(row) for row in await self._tx.rows(sql, account_id=account_id, region=region, ids=chunk)]
        return sorted(found, key=lambda each: each.window_id)

    async def page(
        self, account_id: str, region: str, names: Sequence[str] | None, enabled: bool | None, after: str, limit: int
    ) -> list[Window]:
        """Those with ids above `after` that have one of the names and are enabled or not, by id."""
        where = [_PLACE, "window_id > :after"]
        values: dict[str, Any] = {"account_id": account_id, "region": region, "after": after, "limit": limit}
        if names is not None:
            where.append("name in (:names)")
            values["names"] = list(names)
        if enabled is not None:
            where.append("enabled = :enabled")
            values["enabled"] = int(enabled)
        rows = await self._tx.rows(
            f"select {_WINDOW} from maintenance_window where {' and '.join(where)} order by window_id limit :limit",  # noqa: S608
            **values,
        )
        return [_window(row) for row in rows]

    async def add(self, window: Window) -> None:
        await self._tx.execute(_INSERT_WINDOW, **_window_values(window))

    async def save(self, window: Window) -> None:
        """As it stands now."""
        await self._tx.execute(_SAVE_WINDOW, **_window_values(window))

    async def remove(self, window_id: str) -> None:
        """The window with its targets and tasks."""
        for table in ("", "_target", "_target_value", "_task"):
            await self._tx.execute(
                f"delete from maintenance_window{table} where window_id = :window_id",  # noqa: S608
                window_id=window_id,
            )


class PartStore:
    """The rows of targets and tasks, within one transaction."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    async def targets(self, window_id: str) -> list[WindowTarget]:
        """All of a window, by age."""
        rows = await self._tx.rows(
            f"select {_TARGET} from maintenance_window_target where window_id = :window_id"  # noqa: S608
            " order by created_at, window_target_id",
            window_id=window_id,
        )
        return [
            WindowTarget(window_target_id=row["window_target_id"], terms=_read_target(row["terms"]), **_part(row))
            for row in rows
        ]

    async def tasks(self, window_id: str) -> list[WindowTask]:
        """All of a window, by age."""
        rows = await self._tx.rows(
            f"select {_TASK} from maintenance_window_task where window_id = :window_id"  # noqa: S608
            " order by created_at, window_task_id",
            window_id=window_id,
        )
        return [
            WindowTask(window_task_id=row["window_task_id"], terms=_read_task(row["terms"]), **_part(row))
            for row in rows
        ]  # fmt: skip

    async def add_target(self, target: WindowTarget, pairs: Iterable[tuple[str, str]]) -> None:
        await self._tx.execute(
            _INSERT_TARGET, window_target_id=target.window_target_id, **_part_values(target)
        )  # fmt: skip
        await self._set_values(target, pairs)

    async def save_target(self, target: WindowTarget, pairs: Iterable[tuple[str, str]]) -> None:
        """As it stands now, found by these keys and values."""
        await self._tx.execute(
            "update maintenance_window_target set terms = :terms where window_target_id = :id",
            terms=written(target.terms), id=target.window_target_id,
        )  # fmt: skip
        await self._drop_values(target.window_target_id)
        await self._set_values(target, pairs)

    async def _drop_values(self, window_target_id: str) -> None:
        await self._tx.execute(
            "delete from maintenance_window_target_value where window_target_id = :id", id=window_target_id
        )

    async def _set_values(self, target: WindowTarget, pairs: Iterable[tuple[str, str]]) -> None:
        await self._tx.many(
            "insert into maintenance_window_target_value"
            " (window_target_id, window_id, account_id, region, resource_type, target_key, target_value)"
            " values (:window_target_id, :window_id, :account_id, :region, :resource_type, :key, :value)",
            [
                {
                    "window_target_id": target.window_target_id, "window_id": target.window_id,
                    "account_id": target.account_id, "region": target.region,
                    "resource_type": target.terms.resource_type, "key": key, "value": value,
                }
                for key, value in sorted(set(pairs))
            ],
        )  # fmt: skip

    async def remove_target(self, window_target_id: str) -> None:
        await self._tx.execute(
            "delete from maintenance_window_target where window_target_id = :id", id=window_target_id
        )
        await self._drop_values(window_target_id)

    async def add_task(self, task: WindowTask) -> None:
        await self._tx.execute(_INSERT_TASK, window_task_id=task.window_task_id, **_part_values(task))

    async def save_task(self, task: WindowTask) -> None:
        """As it stands now."""
        await self._tx.execute(
            "update maintenance_window_task set terms = :terms where window_task_id = :id",
            terms=written(task.terms), id=task.window_task_id,
        )  # fmt: skip

    async def remove_task(self, window_task_id: str) -> None:
        await self._tx.execute("delete from maintenance_window_task where window_task_id = :id", id=window_task_id)

    async def naming(
        self, account_id: str, region: str, resource_type: str, key: str, values: Sequence[str]
    ) -> set[tuple[str, str]]:
        """Windows and their targets of the type that name one of the values under the key."""
        if not values:
            return set()
        rows = await self._tx.rows(
            f"select distinct window_id, window_target_id from maintenance_window_target_value where {_PLACE}"  # noqa: S608
            " and target_key = :key and target_value in (:values) and resource_type = :resource_type",
            account_id=account_id, region=region, key=key, values=list(values), resource_type=resource_type,
        )  # fmt: skip
        return {(row["window_id"], row["window_target_id"]) for row in rows}
