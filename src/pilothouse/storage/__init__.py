"""Storage: one Transaction over SQLite and PostgreSQL.

A store is a thin class over one transaction, with its SQL written out: `:name` parameters, a portable subset, no `like`
(its case rules differ: use ranges for prefixes). Column types are `text`, `bigint`, `blob`, `double precision`; text
compares bytewise on both engines. A key that counts up by itself is `integer primary key autoincrement`. A sequence as
a value expands: `name in (:names)`. Times are epoch milliseconds.
A store never commits: the caller's block does.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

Row = Mapping[str, Any]
Stamp = int | str


class StorageUnavailable(Exception):
    """The database did not take or give what was asked; nothing of the transaction is kept. Retryable."""


class LockHeld(StorageUnavailable):
    """Somebody else held a key of `Transaction.lock` for longer than one waits."""


class Conflict(Exception):
    """A unique or primary key is taken."""


class Transaction(Protocol):
    """All or nothing. A transaction from `Database.reading` must only read."""

    serial: bool
    """Whether writing transactions run one after another: what they number is then committed in the numbers' order."""

    async def rows(self, sql: str, /, **values: Any) -> list[Row]:
        """Every row of the query."""

    async def tuples(self, sql: str, /, **values: Any) -> list[tuple[Any, ...]]:
        """Every row as its columns in their order: for many rows, where names for each cost more than the reading."""

    async def row(self, sql: str, /, **values: Any) -> Row | None:
        """The first row, or None."""

    async def value(self, sql: str, /, **values: Any) -> Any:
        """The first column of the first row, or None."""

    async def execute(self, sql: str, /, **values: Any) -> int:
        """Run a statement; the number of rows it changed. Raises Conflict for a taken key."""

    def later(self, sql: str, /, **values: Any) -> None:
        """Run a statement before the next other one or the commit, whichever comes first.

        For writes of which nothing more is asked: where each statement is a journey, they travel together. They may
        run in any order and see none of each other's changes, so no two of them may write the same row. What is wrong
        with one is raised when it runs.
        """

    async def fill(self, table: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]], /) -> None:
        """Add many rows in bulk; other work goes on meanwhile. The names are constants of a store.

        Raises Conflict for a taken key.
        """

    async def many(self, sql: str, values: Sequence[Mapping[str, Any]], /) -> None:
        """Run a statement once for each mapping."""

    async def lock(self, *key: str) -> None:
        """Hold the key until the end of the transaction: read-decide-write on it is then safe on both engines.

        Raises LockHeld.
        """

    async def stamp(self) -> Stamp | None:
        """A mark of the committed state that this block has seen: while it is the same, what was read stays true.

        For caches, which ask at each use. It is never older than the block's beginning. None in a transaction that
        writes: nothing may be cached there.
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

    async def migrated(self, capability: str) -> int:
        """The number of the capability's last file that was applied; 0 in a database without its tables."""

    async def close(self) -> None:
        """Finish what is under way and let go of files and connections."""


class Migrations(Protocol):
    """The numbered SQL files of one capability: `migrations/0001_name.sql`."""

    @property
    def capability(self) -> str:
        """Whose numbers these are."""

    def files(self) -> Sequence[tuple[int, str, str]]:
        """(number, name, SQL text), ascending."""
