"""The bare echo that the server's own share is measured against: uvicorn as Pilothouse runs it, and nothing else.

With the URL of Pilothouse's PostgreSQL database it reads the benchmark's parameter for each answer, by asyncpg alone.
"""

import asyncio
import sys
from typing import Any

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


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Read the whole body, answer a fixed one of the size that GetParameter answers."""
    while (await receive()).get("more_body"):
        pass
    if scope["path"] == "/" and _pools:
        async with _pools[0].acquire() as connection:
            assert await connection.fetchrow(_READ, "bench/password") is not None
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": BODY})


async def _serve(port: int, *databases: str) -> None:
    for url in databases:
        _pools.append(await asyncpg.create_pool(url, min_size=1, max_size=16, connection_class=_Connection))
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
    await uvicorn.Server(config).serve()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(int(sys.argv[1]), *sys.argv[2:]))
