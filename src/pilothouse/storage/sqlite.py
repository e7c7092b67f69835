"""SQLite: one writer connection with group commit, one reader connection on the event loop's own thread.

Writers take turns on the writer connection; each turn is a savepoint in one open SQLite transaction. The commit (with
its fsync) runs on a thread once every writer that was waiting has had its turn, so many operations share one fsync and
none returns before it. Processes take turns as well (`sqlite_turns`). Statements run on the loop's thread: a point read
costs some 3 us, a hop to a thread 90.

Reads of one turn of the event loop share one look at the database (taking and leaving SQLite's read lock costs more
than the read). A request read in a turn came before that turn's look, so it sees every write acknowledged before it.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from itertools import chain
from pathlib import Path
from typing import Any

import apsw
import structlog

from pilothouse.storage import Conflict, Migrations, Row, StorageUnavailable, Transaction
from pilothouse.storage.migrations import LAST_MIGRATION, MIGRATION_TABLE
from pilothouse.storage.sql import SCALARS, arguments, filling, numbered, placed, split_statements
from pilothouse.storage.sqlite_turns import WriterTurns

log = structlog.get_logger()

apsw.allow_missing_dict_bindings(False)

_BUSY_MS = 10_000
"""How long another process may keep a connection from what it needs before we give up."""
_FILLED_AT_ONCE = 100
"""Rows to a statement."""
_TAKEN_KEY = {apsw.SQLITE_CONSTRAINT_UNIQUE, apsw.SQLITE_CONSTRAINT_PRIMARYKEY, apsw.SQLITE_CONSTRAINT_ROWID}


class SqliteTransaction:
    """Statements on one connection, run at once on the loop's thread."""

    serial = True

    def __init__(
        self,
        connection: apsw.Connection,
        columns: dict[str, tuple[str, ...]],
        thread: ThreadPoolExecutor | None = None,
    ) -> None:
        """`thread`: where statements run that take long; nothing else uses the connection meanwhile."""
        self._connection = connection
        self._columns = columns
        self._thread = thread
        self._begun = True
        self.actions: list[Callable[[], None]] = []

    async def rows(self, sql: str, /, **values: Any) -> list[Row]:
        if not self._begun:
            self._begin()
        sql, bound = _bound(sql, values)
        try:
            cursor = self._connection.execute(sql, bound)
            names = self._names(sql, cursor)
            return [dict(zip(names, found, strict=True)) for found in cursor]
        except apsw.Error as error:
            raise _translated(error) from error

    async def tuples(self, sql: str, /, **values: Any) -> list[tuple[Any, ...]]:
        if not self._begun:
            self._begin()
        sql, bound = _bound(sql, values)
        try:
            return self._connection.execute(sql, bound).fetchall()
        except apsw.Error as error:
            raise _translated(error) from error

    async def row(self, sql: str, /, **values: Any) -> Row | None:
        if not self._begun:
            self._begin()
        sql, bound = _bound(sql, values)
        try:
            cursor = self._connection.execute(sql, bound)
            names = self._columns.get(sql) or self._names(sql, cursor)
            found = cursor.fetchone()
            del cursor  # ends the statement
        except apsw.Error as error:
            raise _translated(error) from error
        return None if found is None else dict(zip(names, found))  # noqa: B905 - the engine names each column

    async def value(self, sql: str, /, **values: Any) -> Any:
        if not self._begun:
            self._begin()
        sql, bound = _bound(sql, values)
        try:
            return self._connection.execute(sql, bound).get
        except apsw.Error as error:
            raise _translated(error) from error

    async def execute(self, sql: str, /, **values: Any) -> int:
        before = self._connection.total_changes()
        self.later(sql, **values)
        return self._connection.total_changes() - before

    def later(self, sql: str, /, **values: Any) -> None:
        sql, bound = _bound(sql, values)
        try:
            self._connection.execute(sql, bound)
        except apsw.Error as error:
            raise _translated(error) from error

    async def fill(self, table: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]], /) -> None:
        """Many on the thread that commits, which has nothing to do before this turn ends; few at once."""
        if len(rows) <= _FILLED_AT_ONCE:
            try:
                self._fill(table, tuple(columns), rows)
            except apsw.Error as error:
                raise _translated(error) from error
            return
        work = asyncio.get_running_loop().run_in_executor(self._thread, self._fill, table, tuple(columns), rows)
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError:
            await asyncio.wait([work])  # the turn must not end before
            raise
        except apsw.Error as error:
            raise _translated(error) from error

    def _fill(self, table: str, columns: tuple[str, ...], rows: Sequence[tuple[Any, ...]]) -> None:
        """Many rows to a statement: SQLite runs without Python's lock, which each statement takes and gives back."""
        whole = len(rows) - len(rows) % _FILLED_AT_ONCE
        for start in range(0, whole, _FILLED_AT_ONCE):
            together = list(chain.from_iterable(rows[start : start + _FILLED_AT_ONCE]))
            self._connection.execute(filling(table, columns, _FILLED_AT_ONCE), together)
        self._connection.executemany(filling(table, columns, 1), rows[whole:])

    async def many(self, sql: str, values: Sequence[Mapping[str, Any]], /) -> None:
        text, order = numbered(sql)
        try:
            self._connection.executemany(text, [arguments(order, one) for one in values])
        except apsw.Error as error:
            raise _translated(error) from error

    async def lock(self, *key: str) -> None:
        """Writers take turns anyway."""

    async def stamp(self) -> int | None:
        return None

    def after_commit(self, action: Callable[[], None]) -> None:
        self.actions.append(action)

    def _begin(self) -> None:
        """Statements that read and find nothing begun call this first; a writer's turn has begun."""

    def _names(self, sql: str, cursor: apsw.Cursor) -> tuple[str, ...]:
        names = self._columns.get(sql)
        if names is None:
            try:
                names = tuple(column[0] for column in cursor.get_description())
            except apsw.ExecutionCompleteError:
                return ()  # no row came; there is nothing to name
            if len(self._columns) > 4096:
                self._columns.clear()
            self._columns[sql] = names
        return names


class _Look(SqliteTransaction):
    """The reader's statements, in a read transaction that lasts until the event loop's next turn."""

    def __init__(self, connection: apsw.Connection, columns: dict[str, tuple[str, ...]]) -> None:
        super().__init__(connection, columns)
        self._loop = asyncio.get_running_loop()
        self._begun = False
        self._stamp: int | None = None

    async def __aenter__(self) -> "_Look":
        return self

    async def __aexit__(self, *raised: object) -> None:
        """Nothing to give back: the look ends by itself."""

    async def stamp(self) -> int:
        """SQLite's own mark of the state that this connection sees: another commit, of any process, changes it."""
        if not self._begun:
            self._begin()
        if self._stamp is None:
            try:
                self._stamp = self._connection.execute("pragma data_version").get
            except apsw.Error as error:
                raise _translated(error) from error
        return self._stamp

    def end(self) -> None:
        """Let go of what was looked at; the next statement looks anew."""
        self._begun = False
        self._stamp = None
        if self._connection.in_transaction:
            self._connection.execute("commit")

    def _begin(self) -> None:
        try:
            self._connection.execute("begin")
        except apsw.Error as error:
            raise _translated(error) from error
        self._begun = True
        self._loop.call_soon(self._next_turn)

    def _next_turn(self) -> None:
        if self._begun:
            self.end()


class _Group:
    """The writers that share one commit."""

    def __init__(self) -> None:
        self.durable: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.actions: list[Callable[[], None]] = []


class _Turn:
    """One writer's turn, as a block; on the hot path, so without a generator."""

    __slots__ = ("_database", "_group", "_transaction")

    def __init__(self, database: "SqliteDatabase") -> None:
        self._database = database

    async def __aenter__(self) -> SqliteTransaction:
        self._group, self._transaction = await self._database.begin_turn()
        return self._transaction

    async def __aexit__(self, kind: type[BaseException] | None, *raised: object) -> None:
        self._database.end_turn(self._group, self._transaction, failed=kind is not None)
        if kind is None:
            await asyncio.shield(self._group.durable)


class SqliteDatabase:
    """See the module. Open it with `open_sqlite`."""

    engine = "sqlite"

    def __init__(self, path: Path) -> None:
        self.path = path
        self._turns = WriterTurns(path)
        self._writer = _connect(path)
        self._reader = _connect(path)
        self._reader.pragma("query_only", True)
        self._columns: dict[str, tuple[str, ...]] = {}
        self._look = _Look(self._reader, self._columns)
        self._turn = asyncio.Lock()
        self._group: _Group | None = None
        self._group_opened = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sqlite-commit")
        self._committer = asyncio.get_running_loop().create_task(self._commit_groups(), name="sqlite-committer")

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        return _Turn(self)

    async def begin_turn(self) -> tuple[_Group, SqliteTransaction]:
        """Wait for one's turn to write; the group that it belongs to. Every turn begun is ended."""
        await self._turn.acquire()
        try:
            group = self._group or await self._open_group()
            transaction = SqliteTransaction(self._writer, self._columns, self._thread)
            self._writer.execute("savepoint turn")
        except BaseException:
            self._turn.release()
            raise
        return group, transaction

    def end_turn(self, group: _Group, transaction: SqliteTransaction, *, failed: bool) -> None:
        """Keep what the turn wrote, or take it back, and let the next one write."""
        try:
            if failed:
                self._undo_turn()
            else:
                self._writer.execute("release turn")
                group.actions.extend(transaction.actions)
        finally:
            self._turn.release()

    def reading(self) -> AbstractAsyncContextManager[Transaction]:
        return self._look

    async def migrate(self, migrations: Sequence[Migrations]) -> None:
        async with self.transaction() as tx:
            await tx.execute(MIGRATION_TABLE)
            for capability in migrations:
                for number, name, script in capability.files():
                    await self._apply(tx, capability.capability, number, name, script)

    async def migrated(self, capability: str) -> int:
        async with self.reading() as tx:
            if not await tx.value("select 1 from sqlite_master where name = 'schema_migration'"):
                return 0
            return await tx.value(LAST_MIGRATION, capability=capability) or 0

    async def close(self) -> None:
        async with self._turn:
            self._committer.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._committer
            if self._group is not None:
                self._commit_now(self._group)
        self._thread.shutdown()
        self._turns.close()
        self._look.end()
        self._reader.close()
        self._writer.close()

    async def _apply(self, tx: Transaction, capability: str, number: int, name: str, script: str) -> None:
        known = "select 1 from schema_migration where capability = :capability and number = :number"
        if await tx.value(known, capability=capability, number=number):
            return
        for statement in split_statements(script):
            await tx.execute(statement)
        await tx.execute(
            "insert into schema_migration values (:capability, :number, :name, strftime('%s', 'now') * 1000)",
            capability=capability, number=number, name=name,
        )  # fmt: skip
        log.info("storage.migrated", capability=capability, number=number, name=name)

    async def _open_group(self) -> _Group:
        """Begin the SQLite transaction that the next commit will end; waits off the loop if another process writes."""
        try:
            begun = self._turns.begin_at_once(self._writer)
        except apsw.Error as error:
            raise _translated(error) from error
        if not begun:
            await self._begin_later()
        self._group = _Group()
        self._group_opened.set()
        return self._group

    async def _begin_later(self) -> None:
        """As `_open_group` on the thread. Who is cancelled meanwhile leaves nothing begun behind."""
        begins = asyncio.get_running_loop().run_in_executor(self._thread, self._turns.begin, self._writer)
        try:
            await asyncio.shield(begins)
        except asyncio.CancelledError:
            await asyncio.wait([begins])
            if self._writer.in_transaction:
                self._writer.execute("rollback")
            raise
        except apsw.Error as error:
            raise StorageUnavailable("another process holds the database's write lock") from error

    def _undo_turn(self) -> None:
        """Take back this turn only. Some faults (disk full) end the whole SQLite transaction: then the group fails."""
        try:
            self._writer.execute("rollback to turn")
            self._writer.execute("release turn")
        except apsw.Error as error:
            group, self._group = self._group, None
            self._group_opened.clear()
            if self._writer.in_transaction:
                self._writer.execute("rollback")
            if group is not None:
                _fail(group, error)

    async def _commit_groups(self) -> None:
        while True:
            await self._group_opened.wait()
            async with self._turn:  # behind every writer that waits already: they join the group
                group = self._group
                if group is None:
                    continue
                commit = asyncio.get_running_loop().run_in_executor(self._thread, self._writer.execute, "commit")
                try:
                    await asyncio.shield(commit)
                except asyncio.CancelledError:
                    await asyncio.wait([commit])
                    self._ended(group, commit.exception())
                    raise
                except apsw.Error as error:
                    self._ended(group, error)
                else:
                    self._ended(group, None)

    def _commit_now(self, group: _Group) -> None:
        try:
            self._writer.execute("commit")
        except apsw.Error as error:
            self._ended(group, error)
        else:
            self._ended(group, None)

    def _ended(self, group: _Group, error: BaseException | None) -> None:
        self._group = None
        self._group_opened.clear()
        self._look.end()
        if error is None:
            group.durable.set_result(None)
            for action in group.actions:
                action()
            return
        log.error("storage.commit_failed", error=str(error))
        if self._writer.in_transaction:
            self._writer.execute("rollback")
        _fail(group, error)


def _fail(group: _Group, error: BaseException) -> None:
    failed = StorageUnavailable("the database could not make the change durable")
    failed.__cause__ = error
    group.durable.set_exception(failed)
    group.durable.exception()  # a writer that was cancelled meanwhile no longer asks for it


def _connect(path: Path) -> apsw.Connection:
    try:
        connection = apsw.Connection(str(path), statementcachesize=512)
        connection.set_busy_timeout(_BUSY_MS)
        connection.pragma("journal_mode", "wal")
        connection.pragma("synchronous", "full")
        connection.pragma("cache_size", -65_536)
        connection.pragma("mmap_size", 268_435_456)
        connection.pragma("wal_autocheckpoint", 4000)
        # Plans by the text of a statement alone: else SQLite prepares each join anew for each set of values (20 us).
        connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
    except apsw.Error as error:
        raise StorageUnavailable(f"cannot open the database {path}: {error}") from error
    return connection


def _bound(sql: str, values: dict[str, Any]) -> tuple[str, Mapping[str, Any] | Sequence[Any]]:
    """A statement with lists of values gets its values by their places; one without them by name, as it is written."""
    return (sql, values) if SCALARS.issuperset(map(type, values.values())) else placed(sql, values)


def _translated(error: apsw.Error) -> Exception:
    if isinstance(error, apsw.ConstraintError) and getattr(error, "extendedresult", None) in _TAKEN_KEY:
        return Conflict(str(error))
    if isinstance(
        error,
        apsw.FullError | apsw.IOError | apsw.BusyError | apsw.LockedError | apsw.ReadOnlyError | apsw.CorruptError,
    ):
        return StorageUnavailable(str(error))
    return error


def open_sqlite(path: Path) -> SqliteDatabase:
    """Open or create the database file; call it on the running event loop."""
    return SqliteDatabase(path)
