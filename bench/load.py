"""A closed loop of keep-alive connections over raw asyncio: each sends its next request when an answer is whole."""

import asyncio
from dataclasses import dataclass
from typing import cast

import uvloop


@dataclass(frozen=True)
class Rate:
    """What a run counted."""

    answers: int
    seconds: float
    failures: int
    with_warm_up: int
    """All answers, also those before and after what was timed."""

    @property
    def per_second(self) -> float:
        return self.answers / self.seconds


class _Connection(asyncio.Protocol):
    def __init__(self, request: bytes, counts: list[int]) -> None:
        self._request = request
        self._counts = counts
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by class, only by what it can do
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._buffer[:end].lower()
        at = head.find(b"content-length:")
        length = int(head[at + 15 : head.find(b"\r\n", at) if head.find(b"\r\n", at) >= 0 else None])
        if len(self._buffer) < end + 4 + length:
            return
        self._counts[0 if head.startswith(b"http/1.1 200") else 1] += 1
        self._buffer = b""
        assert self._transport is not None
        self._transport.write(self._request)

    def close(self) -> None:
        """End the connection; answers under way are not counted."""
        if self._transport is not None:
            self._transport.abort()


async def _drive(port: int, request: bytes, connections: int, seconds: float) -> Rate:
    loop = asyncio.get_running_loop()
    counts = [0, 0]
    opened = [
        (await loop.create_connection(lambda: _Connection(request, counts), "127.0.0.1", port))[1]
        for _ in range(connections)
    ]
    await asyncio.sleep(0.3)
    before, started = list(counts), loop.time()
    await asyncio.sleep(seconds)
    answers, took, failures = counts[0] - before[0], loop.time() - started, counts[1] - before[1]
    for connection in opened:
        connection.close()
    return Rate(answers, took, failures, counts[0])


def drive(port: int, request: bytes, *, connections: int = 32, seconds: float = 2.0) -> Rate:
    """Send `request` over and over for `seconds` after a short warm-up; how many answers came."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_drive(port, request, connections, seconds))
