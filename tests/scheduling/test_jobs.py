"""Periodic jobs go on after a failure and follow the house's clock."""

import asyncio
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from pilothouse.call import Job, Lasting
from pilothouse.runtime.clock import TestClock
from pilothouse.runtime.settings import ROLES
from pilothouse.scheduling.jobs import run_jobs
from pilothouse.storage import StorageUnavailable


async def test_a_job_runs_by_the_clock_and_survives_its_failures() -> None:
    clock = TestClock()
    runs: list[int] = []
    ran = asyncio.Event()

    async def run(house: Any) -> None:
        runs.append(house.clock.millis())
        ran.set()
        if len(runs) == 1:
            raise RuntimeError

    house: Any = SimpleNamespace(clock=clock, roles=ROLES)
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


async def test_work_goes_on_after_tasks_of_it_failed() -> None:
    """A group that waits for its tasks when one fails leaves a mark on the task that it is in (Python 3.11, 3.12)."""
    clock, runs = TestClock(), 0

    async def fail() -> None:
        await asyncio.sleep(0)
        raise StorageUnavailable("away")

    async def run(house: Any) -> None:
        nonlocal runs
        runs += 1
        async with asyncio.TaskGroup() as group:
            group.create_task(fail())
            group.create_task(asyncio.sleep(3600))

    house: Any = SimpleNamespace(clock=clock, roles=ROLES)
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        running = group.create_task(run_jobs(house, [], [Lasting(name="test.lasting", run=run)]))
        while runs < 4:
            await asyncio.sleep(0.01)
            clock.advance(seconds=2)
            assert not running.done()
        running.cancel()
    assert running.cancelled()


async def test_work_ends_when_it_is_told_to_though_it_fails_in_that_turn() -> None:
    clock, begun, broken = TestClock(), asyncio.Event(), asyncio.Event()

    async def fail() -> None:
        await broken.wait()
        raise StorageUnavailable("away")

    async def run(house: Any) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(fail())
            begun.set()

    house: Any = SimpleNamespace(clock=clock, roles=ROLES)
    running = asyncio.create_task(run_jobs(house, [], [Lasting(name="test.lasting", run=run)]))
    await begun.wait()
    await asyncio.sleep(0)
    broken.set()
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(asyncio.shield(running), 10)


@pytest.mark.parametrize(
    ("roles", "expected"),
    [(ROLES, {"job", "local job", "work", "local work"}), (("api", "gateway"), {"local job", "local work"})],
)
async def test_a_process_that_is_no_scheduler_looks_after_its_own_only(
    roles: tuple[str, ...], expected: set[str]
) -> None:
    clock = TestClock()
    ran: set[str] = set()

    def work(name: str) -> Any:
        async def run(house: Any) -> None:
            ran.add(name)

        return run

    every = timedelta(seconds=1)
    jobs = [Job(name="a", every=every, run=work("job")), Job(name="b", every=every, run=work("local job"), local=True)]
    lasting = [Lasting(name="c", run=work("work")), Lasting(name="d", run=work("local work"), local=True)]
    house: Any = SimpleNamespace(clock=clock, roles=roles)
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        running = group.create_task(run_jobs(house, jobs, lasting))
        while not expected <= ran:
            clock.advance(seconds=2)
            await asyncio.sleep(0.01)
        running.cancel()
    assert ran == expected


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


async def test_a_failure_in_the_turn_of_the_end_does_not_hide_it() -> None:
    broken, begun = asyncio.Event(), asyncio.Event()

    async def breaks() -> None:
        await broken.wait()
        raise StorageUnavailable("the database is away")

    async def run(_: Any) -> None:
        begun.set()
        async with asyncio.TaskGroup() as group:
            group.create_task(breaks())
            await asyncio.sleep(3600)

    house: Any = SimpleNamespace(clock=TestClock(), roles=ROLES)
    running = asyncio.create_task(run_jobs(house, (), [Lasting(name="deliveries", run=run)]))
    await begun.wait()
    await asyncio.sleep(0)
    broken.set()
    await asyncio.sleep(0)  # the failure is on its way to the group
    running.cancel()
    await asyncio.wait([running], timeout=10)
    assert running.cancelled()
