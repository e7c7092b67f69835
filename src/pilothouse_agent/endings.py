"""Tasks that go on and on, and how they end."""

import asyncio


def end_if_cancelled() -> None:
    """Raise CancelledError if this task was told to end, though nothing says so any more.

    A task group whose task fails in the turn in which the group is cancelled raises the failure alone, in Python 3.11
    and 3.12. Whoever catches failures and tries again must ask here, or goes on for ever.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
