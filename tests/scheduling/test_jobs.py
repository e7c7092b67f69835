"""Periodic jobs go on after a failure and follow the house's clock."""

import asyncio
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from pilothouse.call import Job
from pilothouse.runtime.clock import TestClock
from pilothouse.scheduling.jobs import run_jobs


async def test_a_job_runs_by_the_clock_and_survives_its_failures() -> None:
    clock = TestClock()
    runs: list[int] = []
    ran = asyncio.Event()

    async def run(house: Any) -> None:
        runs.append(house.clock.millis())
        ran.set()
        if len(runs) == 1:
            raise RuntimeError

    house: Any = SimpleNamespace(clock=clock)
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        running = group.create_task(run_jobs(house, [Job(name="test.job", every=timedelta(hours=1), run=run)]))
        for _ in range(3):
            await asyncio.sleep(0.01)
            ran.clear()
            clock.advance(hours=1)
            await ran.wait()
        running.cancel()
    assert len(runs) == 3
    assert runs[2] - runs[0] >= 7_200_000 - 1000


async def test_waiting_by_a_moved_clock_takes_no_time() -> None:
    clock = TestClock()
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        sleeper = group.create_task(clock.sleep(7200))
        await asyncio.sleep(0)
        clock.advance(minutes=119)
        await asyncio.sleep(0.01)
        assert not sleeper.done()
        clock.advance(minutes=2)


@pytest.mark.parametrize("millis", [0, 1, 1_795_453_707_128, 999])
def test_millis_and_times_agree(millis: int) -> None:
    from pilothouse.runtime.clock import from_millis, to_millis

    assert to_millis(from_millis(millis)) == millis
