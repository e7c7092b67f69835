"""PostgreSQL through asyncpg: prepared statements, a pool whose connections carry no state between uses.

Single rows that calls read outside of a transaction travel together, see `postgresql_looks`.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import asyncpg
import structlog

from pilothouse.storage import Conflict, LockHeld, Migrations, Row, StorageUnavailable, Transaction
from pilothouse.storage.migrations import LAST_MIGRATION, MIGRATION_TABLE
from pilothouse.storage.postgresql_looks import Looks, Run
from pilothouse.storage.sql import arguments, expand, joined, numbered, placed, postgresql_ddl

log = structlog.get_logger()

_AWAY = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError,
    asyncpg.CannotConnectNowError,
    asyncpg.ReadOnlySQLTransactionError,
)
"""What a client may simply try again."""
_KNOWN = (*_AWAY, asyncpg.UniqueViolationError, asyncpg.DataError)

_STATEMENT_SECONDS = 30.0
_LOOKING = 4
"""Connections for shared reads; each carries the questions of many calls at once."""
_LEAST = 4
"""Connections that a process has for its transactions, however many others there are."""
_ACQUIRE_SECONDS = 10.0
_LOCK_SECONDS = 10.0
_MIGRATION_LOCK = 0x50494C4F  # any number, the same on every process of an installation


_LOCK = "select pg_advisory_xact_lock(hashtextextended(:key, 0))"


class _Connection(asyncpg.Connection):  # type: ignore[misc]
    """Connections carry no session state, so the pool need not reset them: one round trip less for each use."""

    def get_reset_query(self) -> str:
        return ""


class PostgresqlTransaction:
    """Statements on one connection of the pool."""

    serial = False

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._waiting: list[tuple[str, dict[str, Any]]] = []
        """What `later` was given."""
        self.actions: list[Callable[[], None]] = []

    @property
    def waits(self) -> bool:
        """Whether `later` was given something that has not run."""
        return bool(self._waiting)

    async def rows(self, sql: str, /, **values: Any) -> list[Row]:
        if self._waiting:
            await self.send_waiting()
        text, bound = placed(sql, values)
        try:
            found: list[Row] = await self._connection.fetch(text, *bound, timeout=_STATEMENT_SECONDS)
        except _KNOWN as error:
            raise _translated(error) from _cause(error)
        return found

    async def tuples(self, sql: str, /, **values: Any) -> list[tuple[Any, ...]]:
        if self._waiting:
            await self.send_waiting()
        text, bound = placed(sql, values)
        try:
            found: list[tuple[Any, ...]] = await self._connection.fetch(text, *bound, timeout=_STATEMENT_SECONDS)
        except _KNOWN as error:
            raise _translated(error) from _cause(error)
        return found

    async def row(self, sql: str, /, **values: Any) -> Row | None:
        if self._waiting:
            await self.send_waiting()
        text, bound = placed(sql, values)
        try:
            found: Row | None = await self._connection.fetchrow(text, *bound, timeout=_STATEMENT_SECONDS)
        except _KNOWN as error:
            raise _translated(error) from _cause(error)
        return found

    async def value(self, sql: str, /, **values: Any) -> Any:
        if self._waiting:
            await self.send_waiting()
        text, bound = placed(sql, values)
        try:
            return await self._connection.fetchval(text, *bound, timeout=_STATEMENT_SECONDS)
        except _KNOWN as error:
            raise _translated(error) from _cause(error)

    async def execute(self, sql: str, /, **values: Any) -> int:
        if self._waiting:
            await self.send_waiting()
        return await self._run(*placed(sql, values))

    def later(self, sql: str, /, **values: Any) -> None:
        self._waiting.append((sql, values))

    async def send_waiting(self) -> None:
        """Run what `later` was given. Raises as `execute` does."""
        waiting, self._waiting = self._waiting, []
        bundle: dict[str, dict[str, Any]] = {}
        for sql, values in waiting:
            if sql in bundle:  # a statement's order among its like is kept
                await self._run(*_joined(bundle))
                bundle = {}
            bundle[sql] = values
        await self._run(*_joined(bundle))

    async def _run(self, text: str, bound: Sequence[Any]) -> int:
        try:
            status: str = await self._connection.execute(text, *bound, timeout=_STATEMENT_SECONDS)
        except _KNOWN as error:
            raise _translated(error) from _cause(error)
        count = status.rpartition(" ")[2]
        return int(count) if count.isdigit() else 0

    async def fill(self, table: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]], /) -> None:
        if self._waiting:
            await self.send_waiting()
        try:
            await self._connection.copy_records_to_table(
                table, records=rows, columns=columns, timeout=_STATEMENT_SECONDS
            )
        except _KNOWN as error:
            raise _translated(error) from _cause(error)

    async def many(self, sql: str, values: Sequence[Mapping[str, Any]], /) -> None:
        if self._waiting:
            await self.send_waiting()
        text, order = numbered(sql)
        try:
            await self._connection.executemany(
                text, [arguments(order, one) for one in values], timeout=_STATEMENT_SECONDS
            )
        except _KNOWN as error:
            raise _translated(error) from _cause(error)

    async def lock(self, *key: str) -> None:
        if self._waiting:
            await self.send_waiting()
        text, bound = placed(_LOCK, {"key": "\x1f".join(key)})
        try:
            await self._connection.execute(text, *bound, timeout=_LOCK_SECONDS)
        except TimeoutError as error:
            raise LockHeld(f"another transaction holds the lock of a {key[0]}") from error
        except _KNOWN as error:
            raise _translated(error) from _cause(error)

    async def stamp(self) -> str | None:
        return None

    def after_commit(self, action: Callable[[], None]) -> None:
        self.actions.append(action)


class PostgresqlDatabase:
    """A pool of connections. Open it with `open_postgresql`."""

    engine = "postgresql"

    def __init__(self, pool: Any, looking: Any) -> None:
        """`looking`: connections for shared reads alone, which no writer that waits for a lock can hold up."""
        self._pool = pool
        self._looking = looking
        self._looks = Looks(self._look)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        async with self._connection() as connection:
            transaction = PostgresqlTransaction(connection)
            block = connection.transaction()
            try:
                await block.start()
            except _AWAY as error:
                raise _translated(error) from error
            try:
                yield transaction
                if transaction.waits:
                    await transaction.send_waiting()
            except BaseException:
                await _roll_back(block)
                raise
            try:
                await block.commit()
            except _AWAY as error:
                raise _translated(error) from error
        for action in transaction.actions:
            action()

    def reading(self) -> AbstractAsyncContextManager[Transaction]:
        return _Reading(self._looks, self._fetch)

    async def _fetch(self, text: str, bound: Sequence[Any]) -> list[Any]:
        return await self._fetched(self._pool, text, bound)

    async def _look(self, text: str, bound: Sequence[Any]) -> list[Any]:
        return await self._fetched(self._looking, text, bound)

    async def _fetched(self, pool: Any, text: str, bound: Sequence[Any]) -> list[Any]:
        connection = await _acquired(pool)
        try:
            found: list[Any] = await connection.fetch(text, *bound, timeout=_STATEMENT_SECONDS)
        except _KNOWN as error:
            raise _translated(error) from _cause(error)
        finally:
            await pool.release(connection)
        return found

    async def migrate(self, migrations: Sequence[Migrations]) -> None:
        async with self._connection() as connection, connection.transaction():
            await connection.execute("select pg_advisory_xact_lock($1)", _MIGRATION_LOCK)
            await connection.execute(postgresql_ddl(MIGRATION_TABLE)[0])
            for capability in migrations:
                for number, name, script in capability.files():
                    await _apply(connection, capability.capability, number, name, script)

    async def migrated(self, capability: str) -> int:
        async with self._connection() as connection:
            tx = PostgresqlTransaction(connection)
            if await tx.value("select to_regclass('schema_migration')") is None:
                return 0
            return await tx.value(LAST_MIGRATION, capability=capability) or 0

    async def close(self) -> None:
        try:
            async with asyncio.timeout(10):
                await self._looking.close()
                await self._pool.close()
        except TimeoutError:
            self._looking.terminate()
            self._pool.terminate()

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Any]:
        connection = await _acquired(self._pool)
        try:
            yield connection
        finally:
            await self._pool.release(connection)  # the pool itself lets no cancellation come between


class _Reading(PostgresqlTransaction):
    """A block that only reads. Single rows are looked up together with those of others; a list takes a connection of
    the pool for itself. None is held between two statements: a block that waits keeps nobody else waiting."""

    def __init__(self, looks: Looks, fetch: Run) -> None:
        super().__init__(None)
        self._looks = looks
        self._fetch = fetch
        self._stamp: str | None = None

    async def __aenter__(self) -> "_Reading":
        return self

    async def __aexit__(self, *raised: object) -> None:
        """Nothing to give back."""

    async def rows(self, sql: str, /, **values: Any) -> list[Row]:
        text, bound = placed(sql, values)
        return await self._fetch(text, bound)

    async def tuples(self, sql: str, /, **values: Any) -> list[tuple[Any, ...]]:
        text, bound = placed(sql, values)
        return await self._fetch(text, bound)

    async def row(self, sql: str, /, **values: Any) -> Row | None:
        sql, flat = expand(sql, values)
        text, order = numbered(sql)
        found, self._stamp = await self._looks.find(sql, text, arguments(order, flat))
        return found[0] if found else None

    async def value(self, sql: str, /, **values: Any) -> Any:
        row = await self.row(sql, **values)
        return None if row is None else next(iter(row.values()))

    async def execute(self, sql: str, /, **values: Any) -> int:
        raise RuntimeError("a transaction that reads must not write")

    def later(self, sql: str, /, **values: Any) -> None:
        raise RuntimeError("a transaction that reads must not write")

    async def many(self, sql: str, values: Sequence[Mapping[str, Any]], /) -> None:
        raise RuntimeError("a transaction that reads must not write")

    async def stamp(self) -> str:
        """What the last single row was read under, if that is known; else asked anew."""
        if self._stamp is None:
            self._stamp = await self._looks.stamp()
        return self._stamp


async def _acquired(pool: Any) -> Any:
    try:
        return await pool.acquire(timeout=_ACQUIRE_SECONDS)
    except (*_AWAY, asyncpg.PostgresError) as error:  # whatever a server says that does not let one in
        raise _translated(error) from error


async def _roll_back(block: Any) -> None:
    try:
        await block.rollback()
    except _AWAY as error:
        log.warning("storage.rollback_failed", error=str(error))  # the server rolls back when the connection ends


async def _apply(connection: Any, capability: str, number: int, name: str, script: str) -> None:
    known = "select 1 from schema_migration where capability = $1 and number = $2"
    if await connection.fetchval(known, capability, number):
        return
    for statement in postgresql_ddl(script):
        await connection.execute(statement)
    await connection.execute(
        "insert into schema_migration values ($1, $2, $3, (extract(epoch from now()) * 1000)::bigint)",
        capability, number, name,
    )  # fmt: skip
    log.info("storage.migrated", capability=capability, number=number, name=name)


def _joined(bundle: Mapping[str, dict[str, Any]]) -> tuple[str, list[Any]]:
    """Statements that have nothing to do with each other as one."""
    expanded = [expand(sql, values) for sql, values in bundle.items()]
    text, order = joined(tuple(sql for sql, _ in expanded))
    return text, [expanded[place][1][name] for place, name in order]


def _cause(error: BaseException) -> BaseException | None:
    """The cause to keep; none where its text holds the value, which may be secret."""
    return None if isinstance(error, asyncpg.DataError | asyncpg.UniqueViolationError) else error


def _translated(error: BaseException) -> Exception:
    if isinstance(error, asyncpg.UniqueViolationError):
        return Conflict(error.constraint_name or "a key is taken")
    if isinstance(error, asyncpg.DataError):
        return ValueError(f"{type(error).__name__}: a value does not fit its column")
    return StorageUnavailable(f"{type(error).__name__}: the database did not answer as needed")


async def open_postgresql(url: str, *, connections: int = 16, processes: int = 1) -> PostgresqlDatabase:
    """Connect; raises StorageUnavailable with the reason when the server cannot be reached.

    `processes` share the connections; each has a few in any case.
    """

    async def pool(most: int) -> Any:
        return await asyncpg.create_pool(
            url, min_size=1, max_size=most, connection_class=_Connection, statement_cache_size=1024, timeout=10
        )

    try:
        return PostgresqlDatabase(
            await pool(max(connections // processes, _LEAST)), await pool(max(_LOOKING // processes, 2))
        )
    except (*_AWAY, asyncpg.PostgresError, ValueError) as error:
        raise StorageUnavailable(f"cannot connect to PostgreSQL: {error}") from error
