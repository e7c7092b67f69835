"""The wake-up bus by NOTIFY of the PostgreSQL that is there anyway."""

import asyncio
from collections.abc import Callable
from typing import Any, Final

import asyncpg
import structlog

from pilothouse.runtime.bus import LinkDown

log = structlog.get_logger()

_AGAIN_SECONDS: Final = 1.0
_CHANNEL: Final = "pilothouse_wake"
_CONNECT_SECONDS: Final = 10.0
_STATEMENT_SECONDS: Final = 5.0


class PostgresqlLink:
    """LISTEN and NOTIFY on one connection of its own. A pooler that shares sessions cannot carry it: then use NATS."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: Any = None

    async def run(self, received: Callable[[bytes], None]) -> None:
        while True:
            ended = asyncio.Event()
            try:
                connection = await asyncpg.connect(self._url, timeout=_CONNECT_SECONDS)
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                log.warning("bus.away", link="postgresql", error=type(error).__name__)
                await asyncio.sleep(_AGAIN_SECONDS)
                continue
            try:
                connection.add_termination_listener(lambda _, ended=ended: ended.set())
                await connection.add_listener(_CHANNEL, lambda *notice: received(notice[3].encode()))
                self._connection = connection
                await ended.wait()
                log.warning("bus.away", link="postgresql", error="the connection ended")
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                log.warning("bus.away", link="postgresql", error=type(error).__name__)
            finally:
                self._connection = None
                connection.terminate()
            await asyncio.sleep(_AGAIN_SECONDS)

    async def send(self, parcel: bytes) -> None:
        connection = self._connection
        if connection is None:
            raise LinkDown("PostgreSQL is away")
        try:
            await connection.execute(
                "select pg_notify($1, $2)", _CHANNEL, parcel.decode(), timeout=_STATEMENT_SECONDS
            )  # fmt: skip
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise LinkDown(type(error).__name__) from error
