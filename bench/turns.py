"""How long the event loop of a server stands still while a flood is on: CPU time of its longest turns.

The server runs in this process, so that its thread's clock can be read; unlike waits by the wall clock, this says the
same on a busy machine.
"""

import asyncio
import contextlib
import gc
import tempfile
from pathlib import Path
from time import monotonic, thread_time
from typing import Any

import structlog
import uvloop

from bench.beside import KINDS, flooded
from pilothouse.app import opened_application
from pilothouse.crypto.certificates import ensure_certificates
from pilothouse.runtime.clock import SystemClock
from pilothouse.runtime.settings import Settings
from pilothouse.wire.asgi import WireApplication
from pilothouse.wire.server import Listener, serve, tls_context


async def _turns(seconds: float) -> list[float]:
    """CPU seconds of each turn, ascending."""
    turns = []
    end, last = monotonic() + seconds, thread_time()
    while monotonic() < end:
        await asyncio.sleep(0)
        now = thread_time()
        turns.append(now - last)
        last = now
    return sorted(turns)


async def _measured(seconds: float, data: Path) -> dict[str, float]:
    loop = asyncio.get_running_loop()
    settings = Settings(data=data)
    figures: dict[str, float] = {}
    stopping = asyncio.Event()
    bound: asyncio.Future[Any] = loop.create_future()
    async with opened_application(settings) as application, asyncio.TaskGroup() as group:
        secure = tls_context(*ensure_certificates(data, (), SystemClock().now()))
        listeners = [Listener("127.0.0.1", 0), Listener("127.0.0.1", 0, secure)]
        wire = WireApplication(application.front)
        group.create_task(serve(wire, listeners, stopping=stopping, started=bound.set_result))
        (_, port), (_, tls_port) = await bound
        for kind in (*KINDS, ""):
            with contextlib.ExitStack() as stack:
                flood = flooded(port, tls_port, *([kind] if kind else []))
                await loop.run_in_executor(None, stack.enter_context, flood)
                turns = await _turns(seconds)
                await loop.run_in_executor(None, stack.close)
            name = kind or "all kinds"
            figures[f"{name}: longest turn, ms of CPU"] = turns[-1] * 1000
            figures[f"{name}: share of time in turns over 2 ms"] = sum(each for each in turns if each > 0.002) / seconds
        stopping.set()
    return figures


def measure(seconds: float) -> dict[str, float]:
    """By kind of flood, and of all kinds together."""
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    gc.set_threshold(100_000, 50, 100)  # as `pilothouse serve` does
    with tempfile.TemporaryDirectory() as data, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_measured(seconds, Path(data)))
