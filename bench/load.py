"""A closed loop of keep-alive connections over raw asyncio: each sends its next request when an answer is whole."""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import perf_counter, time_ns
from typing import cast

import uvloop

COUNTED = b"cccccccc-0000-4000-8000-000000000000"
"""Where this stands in a request each sending has a number of its own: invocation ids, as clients send them."""

PATIENCE = 20.0
"""Seconds to wait for a first answer."""


@dataclass(frozen=True)
class Rate:
    """What a run counted."""

    answers: int
    seconds: float
    failures: int
    with_warm_up: int
    """All answers, also those before and after what was timed."""
    waits: Sequence[float] = field(default=(), repr=False)
    """Seconds from a request to its answer, ascending; of the timed ones."""

    @property
    def per_second(self) -> float:
        return self.answers / self.seconds

    def wait_ms(self, share: float) -> float:
        """Milliseconds within which this share of the answers came."""
        return self.waits[min(int(len(self.waits) * share), len(self.waits) - 1)] * 1000 if self.waits else 0.0


class _Connection(asyncio.Protocol):
    """Sends its requests in turn, over and over."""

    def __init__(
        self,
        requests: Sequence[bytes],
        number: int,
        counts: list[int],
        waits: list[float],
        answered: asyncio.Event,
        run: int,
    ) -> None:
        self._requests = requests
        self._counted = [COUNTED in request for request in requests]
        self._number = number
        self._run = run
        self._sent = 0
        self._counts = counts
        self._waits = waits
        self._answered = answered
        self._buffer = b""
        self._at = 0.0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by class, only by what it can do
        self._send()

    def _send(self) -> None:
        assert self._transport is not None
        at = self._sent % len(self._requests)
        request = self._requests[at]
        if self._counted[at]:
            request = request.replace(COUNTED, b"%08x-%04x-4000-8000-%012x" % (self._sent, self._number, self._run))
        self._sent += 1
        self._at = perf_counter()
        self._transport.write(request)

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
        self._waits.append(perf_counter() - self._at)
        self._answered.set()
        self._buffer = b""
        self._send()

    def close(self) -> None:
        """End the connection; answers under way are not counted."""
        if self._transport is not None:
            self._transport.abort()


async def _drive(port: int, requests: Sequence[bytes], connections: int, seconds: float) -> Rate:
    loop = asyncio.get_running_loop()
    counts = [0, 0]
    waits: list[float] = []
    answered = asyncio.Event()
    run = time_ns() & (1 << 48) - 1  # no sending of a run is taken for one of the run before, whose answer is kept
    opened = []
    for number in range(connections):
        own = requests[number::connections] or requests[:1]
        made = await loop.create_connection(
            lambda own=own, number=number: _Connection(own, number, counts, waits, answered, run),  # type: ignore[misc]
            "127.0.0.1",
            port,
        )
        opened.append(made[1])
    await asyncio.sleep(0.3)
    before, started = list(counts), perf_counter()
    waits.clear()
    answered.clear()
    await asyncio.sleep(seconds)
    if counts == before:  # a busy machine may answer none in a short time
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                await answered.wait()
    answers, took, failures = counts[0] - before[0], perf_counter() - started, counts[1] - before[1]
    timed = sorted(waits)
    for connection in opened:
        connection.close()
    return Rate(answers, took, failures, counts[0], timed)


def drive(port: int, request: bytes | Sequence[bytes], *, connections: int = 32, seconds: float = 2.0) -> Rate:
    """Send `request` over and over for `seconds` after a short warm-up; how many answers came.

    Of several requests each connection takes its own share; one request is sent by all.
    """
    requests = [request] if isinstance(request, bytes) else list(request)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_drive(port, requests, connections, seconds))
