"""The bare echo that the server's own share is measured against: uvicorn as Pilothouse runs it, and nothing else.

With the URL of Pilothouse's PostgreSQL database it reads the benchmark's parameter for each answer, by asyncpg alone.
`/write` is the bare durable write: one row for each answer, into a SQLite file of its own (one writer thread, one
commit for all that wait) or by asyncpg into a table of its own.
"""

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Any

import apsw
import asyncpg
import uvicorn
import uvloop

BODY = (
    b'{"Parameter":{"Name":"/bench/password","Type":"SecureString","Value":"correct horse battery staple","Version":1}}'
)
HEADERS = [(b"content-type", b"application/x-amz-json-1.1"), (b"content-length", str(len(BODY)).encode())]

_READ = "select name, type, version, sealed, modified_at from parameter where path = $1"
_pools: list[Any] = []


class _Connection(asyncpg.Connection):  # type: ignore[misc]
    """Without the reset between two uses, as Pilothouse has it."""

    def get_reset_query(self) -> str:
        return ""


class _Writer:
    """Rows that share a commit, as plainly as it can be done."""

    def __init__(self, path: Path) -> None:
        self._connection = apsw.Connection(str(path))
        self._connection.pragma("journal_mode", "wal")
        self._connection.pragma("synchronous", "full")
        self._connection.execute("create table written (id integer primary key, body blob not null)")
        self._waiting: list[asyncio.Future[None]] = []
        self._wanted = asyncio.Event()

    def write(self) -> "asyncio.Future[None]":
        """Done when one more row is durable."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(done)
        self._wanted.set()
        return done

    async def run(self) -> None:
        """Commit what waits, again and again."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            waiting, self._waiting = self._waiting, []
            await asyncio.to_thread(self._commit, len(waiting))
            for done in waiting:
                if not done.done():
                    done.set_result(None)

    def _commit(self, rows: int) -> None:
        self._connection.execute("begin immediate")
        self._connection.executemany("insert into written (body) values (?)", [(BODY,)] * rows)
        self._connection.execute("commit")


_writers: list[_Writer] = []


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Read the whole body, answer a fixed one of the size that GetParameter answers."""
    while (await receive()).get("more_body"):
        pass
    if scope["path"] == "/write" and _pools:
        async with _pools[0].acquire() as connection:
            await connection.execute("insert into bench_written (body) values ($1)", BODY)
    elif scope["path"] == "/write":
        await _writers[0].write()
    elif scope["path"] == "/" and _pools:
        async with _pools[0].acquire() as connection:
            assert await connection.fetchrow(_READ, "bench/password") is not None
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": BODY})


async def _serve(port: int, *databases: str) -> None:
    for url in databases:
        _pools.append(await asyncpg.create_pool(url, min_size=1, max_size=16, connection_class=_Connection))
        await _pools[-1].execute(
            "create table if not exists bench_written (id bigserial primary key, body bytea not null)"
        )
    writer = _Writer(Path(tempfile.mkdtemp()) / "written.db")
    _writers.append(writer)
    config = uvicorn.Config(
        application,
        port=port,
        http="httptools",
        log_level="warning",
        access_log=False,
        lifespan="off",
        server_header=False,
        date_header=True,
    )
    writing = asyncio.create_task(writer.run())
    await uvicorn.Server(config).serve()
    writing.cancel()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(int(sys.argv[1]), *sys.argv[2:]))
