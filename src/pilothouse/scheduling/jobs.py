"""Periodic jobs: each runs by the house's clock, survives its own failures, and is safe on any number of processes.

A job claims its rows by moving them, so no lock or leader is needed here. A job looks first with `database.reading()`
and writes only when something is due: an idle server does no disk work.
"""

import asyncio
from collections.abc import Iterable

import structlog

from pilothouse.call import House, Job, Lasting
from pilothouse.runtime.metrics import JOB_FAILURES
from pilothouse.runtime.settings import SCHEDULER
from pilothouse.runtime.waiting import apart, end_if_cancelled
from pilothouse.storage import StorageUnavailable

log = structlog.get_logger()

AGAIN_SECONDS = 1.0
"""After a failure, work that has no end begins again."""


async def run_jobs(house: House, jobs: Iterable[Job], lasting: Iterable[Lasting] = ()) -> None:
    """Run the jobs, and the work that has no end, for ever; cancel it to stop.

    A process without the role `scheduler` runs only what looks after its own.
    """
    is_scheduler = SCHEDULER in house.roles
    async with asyncio.TaskGroup() as running:
        for each in jobs:
            if is_scheduler or each.local:
                running.create_task(_run(house, each), name=f"job {each.name}")
        for work in lasting:
            if is_scheduler or work.local:
                running.create_task(_last(house, work), name=f"work {work.name}")


async def _run(house: House, job: Job) -> None:
    while True:
        await house.clock.sleep(job.every.total_seconds())
        await _survived(house, job)


async def _last(house: House, work: Lasting) -> None:
    while True:
        await _survived(house, work)
        await house.clock.sleep(AGAIN_SECONDS)


async def _survived(house: House, work: Job | Lasting) -> None:
    try:
        await apart(work.run(house))
    except Exception as error:
        JOB_FAILURES.labels(work.name).inc()
        if _is_storage(error):
            log.warning("job.storage_unavailable", job=work.name, error=str(error))
        else:
            log.exception("job.failed", job=work.name)
    end_if_cancelled()


def _is_storage(error: Exception) -> bool:
    """Whether the database alone is to blame, also where several tasks of a job met it."""
    if isinstance(error, ExceptionGroup):
        return error.split(StorageUnavailable)[1] is None
    return isinstance(error, StorageUnavailable)
