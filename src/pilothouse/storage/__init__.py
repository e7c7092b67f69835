"""Storage: one Transaction over SQLite and PostgreSQL.

A store is a thin class over one transaction, with its SQL written out: `:name` parameters, a portable subset, no `like`
(its case rules differ: use ranges for prefixes). Column types are `text`, `bigint`, `blob`, `double precision`; text
compares bytewise on both engines. A sequence as a value expands: `name in (:names)`. Times are epoch milliseconds.
A store never commits: the caller's block does.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

Row = Mapping[str, Any]


class StorageUnavailable(Exception):
    """The database did not take or give what was asked; nothing of the transaction is kept. Retryable."""


class Conflict(Exception):
    """A unique or primary key is taken."""


class Transaction(Protocol):
    """All or nothing. A transaction from `Database.reading` must only read."""

    async def rows(self, sql: str, /, **values: Any) -> list[Row]:
        """Every row of the query."""

    async def row(self, sql: str, /, **values: Any) -> Row | None:
        """The first row, or None."""

    async def value(self, sql: str, /, **values: Any) -> Any:
        """The first column of the first row, or None."""

    async def execute(self, sql: str, /, **values: Any) -> int:
        """Run a statement; the number of rows it changed. Raises Conflict for a taken key."""

    async def many(self, sql: str, values: Sequence[Mapping[str, Any]], /) -> None:
        """Run a statement once for each mapping."""

    async def lock(self, *key: str) -> None:
        """Hold the key until the end of the transaction: read-decide-write on it is then safe on both engines."""

    def stamp(self) -> int | None:
        """A mark of the committed state that the next statement sees: while it is the same, what was read stays true.

        For caches, which ask at each use. None: nothing may be cached (in a transaction that writes, and where the
        engine cannot tell cheaply).
        """

    def after_commit(self, action: Callable[[], None]) -> None:
        """Call this once the data is durable (wake-ups); not called if the transaction fails."""


class Database(Protocol):
    """An open database."""

    engine: str
    """`sqlite` or `postgresql`, for health and doctor; no SQL may depend on it."""

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """Leaving the block normally returns only when the data is durable; an exception undoes everything.

        Inside the block wait for nothing but the transaction: on SQLite all writers share one connection.
        """

    def reading(self) -> AbstractAsyncContextManager[Transaction]:
        """Reads of committed state; each statement sees the newest commit."""

    async def migrate(self, migrations: "Sequence[Migrations]") -> None:
        """Bring the tables of the capabilities up to date, in order, each file once."""

    async def close(self) -> None:
        """Finish what is under way and let go of files and connections."""


class Migrations(Protocol):
    """The numbered SQL files of one capability: `migrations/0001_name.sql`."""

    @property
    def capability(self) -> str:
        """Whose numbers these are."""

    def files(self) -> Sequence[tuple[int, str, str]]:
        """(number, name, SQL text), ascending."""
