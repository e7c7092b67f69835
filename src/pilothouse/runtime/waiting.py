"""Waiting by the house's clock for something that may happen sooner."""

import asyncio
import math
from collections.abc import Awaitable
from typing import Any, TypeVar

from pilothouse.runtime.clock import Clock

T = TypeVar("T")


async def wait(clock: Clock, event: asyncio.Event, seconds: float, *others: asyncio.Event) -> bool:
    """Until the event or one of the others is set, or the seconds have passed; True if the event was set."""
    if event.is_set() or seconds <= 0 or any(other.is_set() for other in others):
        return event.is_set()
    first: set[asyncio.Future[Any]] = {asyncio.ensure_future(each.wait()) for each in (event, *others)}
    first.add(asyncio.ensure_future(_until(clock, clock.millis() + math.ceil(seconds * 1000))))
    try:
        await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in first:
            each.cancel()
        await asyncio.gather(*first, return_exceptions=True)
    return event.is_set()


async def _until(clock: Clock, moment: int) -> None:
    """Also if the clock was moved before this began."""
    await clock.sleep((moment - clock.millis()) / 1000)


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


class Strayed(Exception):
    """A task was cancelled though nobody asked for that."""


async def apart(work: Awaitable[T]) -> T:
    """Do the work in a task of its own, and end it when this one is told to end.

    In Python 3.11 and 3.12 a task group whose task fails while the group waits for its end leaves its own task marked
    as cancelled for ever, and a failure in the turn of another one leaves a cancellation that comes at the next wait.
    Whoever catches failures and goes on would end by that; so what has groups in it is done apart. Raises Strayed for
    such a late cancellation, and what the work raises.
    """
    try:
        return await asyncio.ensure_future(work)
    except asyncio.CancelledError:
        end_if_cancelled()
        raise Strayed("the work was cancelled by what remained of a failure in it") from None
