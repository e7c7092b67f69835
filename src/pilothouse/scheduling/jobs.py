"""Periodic jobs: each runs by the house's clock, survives its own failures, and is safe on any number of processes.

A job claims its rows by moving them, so no lock or leader is needed here. A job looks first with `database.reading()`
and writes only when something is due: an idle server does no disk work.
"""

import asyncio
from collections.abc import Iterable

import structlog

from pilothouse.call import House, Job
from pilothouse.runtime.metrics import JOB_FAILURES
from pilothouse.storage import StorageUnavailable

log = structlog.get_logger()


async def run_jobs(house: House, jobs: Iterable[Job]) -> None:
    """Run the jobs for ever; cancel it to stop."""
    async with asyncio.TaskGroup() as running:
        for each in jobs:
            running.create_task(_run(house, each), name=f"job {each.name}")


async def _run(house: House, job: Job) -> None:
    while True:
        await house.clock.sleep(job.every.total_seconds())
        try:
            await job.run(house)
        except StorageUnavailable as error:
            JOB_FAILURES.labels(job.name).inc()
            log.warning("job.storage_unavailable", job=job.name, error=str(error))
        except Exception:
            JOB_FAILURES.labels(job.name).inc()
            log.exception("job.failed", job=job.name)
