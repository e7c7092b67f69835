"""SQL of installation, root_key and root_key_wrapping, and of what lies sealed in the tables of others."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pilothouse.crypto.sealed import Sealed
from pilothouse.crypto.vault import front
from pilothouse.storage import Row, Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class RootKey:
    """One version of the root key, without the key."""

    version: int
    origin: str
    created_at: int
    retired_at: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrapping:
    """A root key wrapped by one master key."""

    version: int
    master: str
    master_name: str
    wrapped: bytes = field(repr=False)


class RingStore:
    """The ring in one transaction."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    async def lock(self) -> None:
        """Nobody else changes the ring until the transaction ends."""
        await self._tx.lock("installation")

    async def fingerprint(self) -> str | None:
        """The fingerprint of the master key the database belongs to; None in a fresh database."""
        found: str | None = await self._tx.value("select key_fingerprint from installation where id = 1")
        return found

    async def begun_at(self) -> int:
        """When the database was begun, epoch milliseconds: it never changes."""
        begun: int = await self._tx.value("select created_at from installation where id = 1")
        return begun

    async def set_fingerprint(self, fingerprint: str, now: int) -> None:
        await self._tx.execute(
            "insert into installation (id, key_fingerprint, created_at) values (1, :fingerprint, :now)"
            " on conflict (id) do update set key_fingerprint = excluded.key_fingerprint",
            fingerprint=fingerprint,
            now=now,
        )

    async def roots(self) -> list[RootKey]:
        """Every version, ascending."""
        rows = await self._tx.rows("select version, origin, created_at, retired_at from root_key order by version")
        return [RootKey(**row) for row in rows]

    async def add_root(self, version: int, origin: str, now: int) -> None:
        await self._tx.execute(
            "insert into root_key (version, origin, created_at) values (:version, :origin, :now)",
            version=version,
            origin=origin,
            now=now,
        )

    async def retire(self, version: int, now: int) -> None:
        await self._tx.execute(
            "update root_key set retired_at = :now where version = :version and retired_at is null",
            version=version,
            now=now,
        )

    async def remove(self, version: int) -> None:
        await self._tx.execute("delete from root_key_wrapping where version = :version", version=version)
        await self._tx.execute("delete from root_key where version = :version", version=version)

    async def wrappings(self) -> list[Wrapping]:
        rows = await self._tx.rows(
            "select version, master, master_name, wrapped from root_key_wrapping order by version, master"
        )
        return [Wrapping(**{**row, "wrapped": bytes(row["wrapped"])}) for row in rows]

    async def wrap(self, wrapping: Wrapping, now: int) -> None:
        """Add the wrapping, or put it in the place of that master key's earlier one."""
        await self._tx.execute(
            """insert into root_key_wrapping (version, master, master_name, wrapped, wrapped_at)
               values (:version, :master, :master_name, :wrapped, :now)
               on conflict (version, master) do update
               set master_name = excluded.master_name, wrapped = excluded.wrapped, wrapped_at = excluded.wrapped_at""",
            version=wrapping.version,
            master=wrapping.master,
            master_name=wrapping.master_name,
            wrapped=wrapping.wrapped,
            now=now,
        )

    async def forget_other_masters(self, master: str) -> int:
        """Remove the wrappings of every master key but this one."""
        return await self._tx.execute("delete from root_key_wrapping where master <> :master", master=master)


class SealedStore:
    """What an owner announced as sealed, whatever the table. Names come from the code, never from a request."""

    def __init__(self, tx: Transaction, sealed: Sealed) -> None:
        self._tx = tx
        self._sealed = sealed

    async def count(self, low: bytes, high: bytes) -> int:
        """How many values begin between the two fronts, `high` not included."""
        table, column = self._sealed.table, self._sealed.column
        statement = f"select count(*) from {table} where {column} >= :low and {column} < :high"  # noqa: S608
        found: int = await self._tx.value(statement, low=low, high=high)
        return found

    async def after(self, place: Sequence[Any] | None, high: bytes, limit: int) -> list[Row]:
        """Rows whose value begins below `high`, in the order of their keys, behind the given one."""
        each = self._sealed
        keys, columns = ", ".join(each.keys), ", ".join(each.columns)
        values: dict[str, Any] = {"low": front(1), "high": high, "limit": limit}
        behind = ""
        if place is not None:
            behind = f"and ({keys}) > ({', '.join(f':after_{key}' for key in each.keys)})"
            values |= {f"after_{key}": value for key, value in zip(each.keys, place, strict=True)}
        statement = f"""select {columns} from {each.table}
            where {each.column} >= :low and {each.column} < :high {behind} order by {keys} limit :limit"""  # noqa: S608
        return await self._tx.rows(statement, **values)

    async def replace(self, row: Row, value: bytes) -> int:
        """Put the value in the place of the one that was read; 0 if that is another one by now."""
        each = self._sealed
        where = " and ".join(f"{key} = :{key}" for key in (*each.keys, each.column))
        statement = f"update {each.table} set {each.column} = :new_value where {where}"  # noqa: S608
        known = {key: row[key] for key in each.keys} | {each.column: bytes(row[each.column])}
        return await self._tx.execute(statement, new_value=value, **known)
