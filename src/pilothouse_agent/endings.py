"""Tasks that go on and on, and how they end."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


def end_if_cancelled() -> None:
    """Raise CancelledError if this task was told to end, though nothing says so any more.

    A task group whose task fails in the turn in which the group is cancelled raises the failure alone, in Python 3.11
    and 3.12. Whoever catches failures and tries again must ask here, or goes on for ever.
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
