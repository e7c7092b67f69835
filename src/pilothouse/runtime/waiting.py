"""Waiting by the house's clock for something that may happen sooner."""

import asyncio
from typing import Any

from pilothouse.runtime.clock import Clock


async def wait(clock: Clock, event: asyncio.Event, seconds: float, *others: asyncio.Event) -> bool:
    """Until the event or one of the others is set, or the seconds have passed; True if the event was set."""
    if event.is_set() or seconds <= 0 or any(other.is_set() for other in others):
        return event.is_set()
    first: set[asyncio.Future[Any]] = {asyncio.ensure_future(each.wait()) for each in (event, *others)}
    first.add(asyncio.ensure_future(clock.sleep(seconds)))
    try:
        await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in first:
            each.cancel()
        await asyncio.gather(*first, return_exceptions=True)
    return event.is_set()


async def first_of(*events: asyncio.Event) -> None:
    """Until one of the events is set."""
    waiting = [asyncio.ensure_future(each.wait()) for each in events]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in waiting:
            each.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


def end_if_cancelled() -> None:
    """Raise CancelledError if this task was told to end, though nothing says so any more.

    A task group whose task fails in the turn in which the group is cancelled raises the failure alone, in Python 3.11
    and 3.12. Whoever catches failures and goes on must ask here, or the process does not end.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
