"""Waiting by the house's clock for something that may happen sooner."""

import asyncio

from pilothouse.runtime.clock import Clock


async def wait(clock: Clock, event: asyncio.Event, seconds: float) -> bool:
    """Until the event is set or the seconds have passed; True if it was set."""
    if event.is_set() or seconds <= 0:
        return event.is_set()
    first = {asyncio.ensure_future(event.wait()), asyncio.ensure_future(clock.sleep(seconds))}
    try:
        await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in first:
            each.cancel()
        await asyncio.gather(*first, return_exceptions=True)
    return event.is_set()
