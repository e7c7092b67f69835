"""The table scheduled: what is to happen at a time, each under its kind and key."""

from collections.abc import Sequence

from pilothouse.storage import Row, Transaction

_COLUMNS = "kind, key, account_id, region, due_at, look_at, failures"
_PUT = """insert into scheduled (kind, key, account_id, region, due_at, look_at, failures)
values (:kind, :key, :account_id, :region, :at, :at, 0)
on conflict (kind, key) do update set due_at = excluded.due_at, look_at = excluded.look_at, failures = 0"""
_DUE = f"select {_COLUMNS} from scheduled where look_at <= :now order by look_at limit :limit"  # noqa: S608
_CLAIM = """update scheduled set failures = failures
where kind = :kind and key = :key and due_at = :due_at and look_at = :look_at"""
_POSTPONE = """update scheduled set look_at = :look_at, failures = failures + 1
where kind = :kind and key = :key and due_at = :due_at"""
_OF = "select key, due_at from scheduled where kind = :kind and key in (:keys)"
_MANY = 500


class ScheduledStore:
    """The rows, within one transaction."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    async def put(self, kind: str, key: str, account_id: str, region: str, at: int) -> None:
        """Due at this moment, and no more at the one that was set before."""
        await self._tx.execute(_PUT, kind=kind, key=key, account_id=account_id, region=region, at=at)

    async def remove(self, kind: str, key: str) -> None:
        """Never due."""
        await self._tx.execute("delete from scheduled where kind = :kind and key = :key", kind=kind, key=key)

    async def due(self, now: int, limit: int) -> list[Row]:
        """What is to be tried by now, the longest waiting first."""
        return await self._tx.rows(_DUE, now=now, limit=limit)

    async def next_look(self) -> int | None:
        """When there is next something to try."""
        found = await self._tx.value("select look_at from scheduled order by look_at limit 1")
        return None if found is None else int(found)

    async def claim(self, row: Row) -> bool:
        """Hold the row until the end of the transaction, unless another process took it or it was moved."""
        return bool(await self._tx.execute(
            _CLAIM, kind=row["kind"], key=row["key"], due_at=row["due_at"], look_at=row["look_at"]
        ))  # fmt: skip

    async def postpone(self, row: Row, look_at: int) -> None:
        """Try again then. What was set anew meanwhile stays."""
        await self._tx.execute(_POSTPONE, kind=row["kind"], key=row["key"], due_at=row["due_at"], look_at=look_at)

    async def of(self, kind: str, keys: Sequence[str]) -> dict[str, int]:
        """When each is due, by key; those that are not have no entry."""
        found: dict[str, int] = {}
        for start in range(0, len(keys), _MANY):
            rows = await self._tx.rows(_OF, kind=kind, keys=list(keys[start : start + _MANY]))
            found.update({row["key"]: row["due_at"] for row in rows})
        return found
