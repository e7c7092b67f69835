"""The PostgreSQL server to measure on: the one the tests would use, if it is reachable."""

import asyncio
import contextlib
import os
import uuid
from collections.abc import Iterator

import asyncpg

STANDARD = "postgresql://postgres@127.0.0.1:5432/postgres"


def reachable() -> str | None:
    """The URL of a server that lets us in; None if there is none."""
    url = os.environ.get("PILOTHOUSE_TEST_POSTGRESQL", STANDARD)
    try:
        asyncio.run(_run(url, "select 1"))
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return None
    return url


@contextlib.contextmanager
def database(url: str) -> Iterator[str]:
    """The URL of a fresh database for the length of the block."""
    name = f"pilothouse_bench_{uuid.uuid4().hex[:12]}"
    asyncio.run(_run(url, f'create database "{name}"'))
    try:
        yield f"{url.rpartition('/')[0]}/{name}"
    finally:
        asyncio.run(_run(url, f'drop database "{name}" with (force)'))


def vacuum(url: str) -> None:
    """What autovacuum does by and by where a database is filled as slowly as life does it."""
    asyncio.run(_run(url, "vacuum analyze"))


async def _run(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url, timeout=5, password="", passfile=os.devnull)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
