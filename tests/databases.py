"""Databases on the tests' PostgreSQL server: made, emptied and used again, dropped at the end.

Making and dropping a database each cost a checkpoint and all migrations, many times what most tests take. So a database
that a test has left with the house's own tables is emptied, also of what the planner knows, and handed to the next test
of the same process.
"""

import asyncio
import uuid

import asyncpg

from pilothouse.app import migrations_of_the_house
from pilothouse.storage.engines import open_database

_TABLES = "select string_agg(tablename, ',' order by tablename) from pg_tables where schemaname = 'public'"
_MIGRATIONS = "select string_agg(capability || ':' || number, ',' order by capability, number) from schema_migration"
_OTHERS = """
select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()
"""
_EMPTY = """
do $$
declare each record; filled boolean;
begin
  set local session_replication_role = replica;
  for each in select tablename, pg_relation_size(quote_ident(tablename)::regclass) as size
              from pg_tables where schemaname = 'public' and tablename <> 'schema_migration' loop
    continue when each.size = 0;
    if each.size > 1000000 then
      execute format('truncate table %I', each.tablename);
    else
      execute format('delete from %I', each.tablename);
    end if;
  end loop;
  delete from pg_statistic where starelid in (
    select oid from pg_class where relnamespace = 'public'::regnamespace);
  update pg_class set reltuples = -1, relpages = 0
  where relnamespace = 'public'::regnamespace and relkind = 'r' and reltuples <> -1;
  for each in select sequencename from pg_sequences where schemaname = 'public' loop
    execute format('alter sequence %I restart', each.sequencename);
  end loop;
end $$
"""


class PostgresqlDatabases:
    """The databases of one test process. `admin` is the URL of a database on the server whose user may make others."""

    def __init__(self, admin: str) -> None:
        self._admin = admin
        self._free: list[str] = []
        self._shape: tuple[str, str] | None = None
        """Tables and migrations of a database that is as the house made it."""

    def url(self, name: str) -> str:
        return self._admin.rpartition("/")[0] + f"/{name}"

    async def _tell(self, statement: str) -> None:
        connection = await asyncpg.connect(self._admin, timeout=30)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    def make(self) -> str:
        """The name of a new database, with nothing in it."""
        name = f"pilothouse_test_{uuid.uuid4().hex[:12]}"
        asyncio.run(self._tell(f'create database "{name}"'))
        asyncio.run(self._tell(f'alter database "{name}" set synchronous_commit = off'))  # no test kills PostgreSQL
        return name

    def drop(self, name: str) -> None:
        asyncio.run(self._tell(f'drop database "{name}" with (force)'))

    def take(self) -> str:
        """The name of a database with all of the house's tables, and no row in them."""
        if self._free:
            return self._free.pop()
        name = self.make()
        asyncio.run(self._migrate(name))
        return name

    async def _migrate(self, name: str) -> None:
        database = await open_database(self.url(name))
        try:
            await database.migrate(migrations_of_the_house())
        finally:
            await database.close()
        connection = await asyncpg.connect(self.url(name), timeout=30)
        try:
            self._shape = (await connection.fetchval(_TABLES), await connection.fetchval(_MIGRATIONS))
        finally:
            await connection.close()

    def give_back(self, name: str) -> None:
        """Empty it for the next test; drop it when a test left other tables than the house's."""
        if asyncio.run(self._emptied(name)):
            self._free.append(name)
        else:
            self.drop(name)

    async def _emptied(self, name: str) -> bool:
        connection = await asyncpg.connect(self.url(name), timeout=30)
        try:
            await connection.execute(_OTHERS)
            if (await connection.fetchval(_TABLES), await connection.fetchval(_MIGRATIONS)) != self._shape:
                return False
            await connection.execute(_EMPTY)
        except asyncpg.PostgresError:
            return False
        finally:
            await connection.close()
        return True

    def close(self) -> None:
        """Drop all."""
        while self._free:
            self.drop(self._free.pop())
