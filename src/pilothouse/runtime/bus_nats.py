"""The wake-up bus by a subject of a NATS server, for many processes."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, Final

import nats
import nats.errors
import structlog

from pilothouse.runtime.bus import LinkDown

log = structlog.get_logger()

_AGAIN_SECONDS: Final = 1.0
_CONNECT_SECONDS: Final = 10.0


class NatsLink:
    """A subject of a NATS server. Who can write to it can make processes look for work, and nothing else."""

    def __init__(self, url: str, installation: str) -> None:
        """`installation`: what tells this installation from others on the same server."""
        self._url = url
        self._subject = f"pilothouse.{installation}.wake"
        self._connection: Any = None

    async def run(self, received: Callable[[bytes], None]) -> None:
        async def message(got: Any) -> None:
            received(got.data)

        async def away(error: Exception | None = None) -> None:
            log.warning("bus.away", link="nats", error=type(error).__name__ if error else "the connection ended")

        while True:
            try:
                connection = await nats.connect(
                    self._url, connect_timeout=_CONNECT_SECONDS, max_reconnect_attempts=-1,
                    reconnect_time_wait=_AGAIN_SECONDS, allow_reconnect=True, error_cb=away, disconnected_cb=away,
                )  # fmt: skip
                break
            except (OSError, TimeoutError, nats.errors.Error) as error:
                await away(error)
                await asyncio.sleep(_AGAIN_SECONDS)
        try:
            await connection.subscribe(self._subject, cb=message)
            self._connection = connection
            await asyncio.Event().wait()
        finally:
            self._connection = None
            with contextlib.suppress(OSError, TimeoutError, nats.errors.Error):
                await connection.close()

    async def send(self, parcel: bytes) -> None:
        if self._connection is None or not self._connection.is_connected:
            raise LinkDown("NATS is away")
        try:
            await self._connection.publish(self._subject, parcel)
        except (OSError, nats.errors.Error) as error:
            raise LinkDown(type(error).__name__) from error
