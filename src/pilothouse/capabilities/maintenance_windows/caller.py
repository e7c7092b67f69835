"""Who makes the calls of tasks: in every process, a few at once, those that are due."""

import asyncio
from typing import Final

import structlog

from pilothouse.call import House
from pilothouse.capabilities.maintenance_windows.calling import CALL, called, seconds
from pilothouse.capabilities.maintenance_windows.run_model import Invocation
from pilothouse.capabilities.maintenance_windows.run_store import RunStore
from pilothouse.capabilities.maintenance_windows.running import finish
from pilothouse.runtime.waiting import wait
from pilothouse.storage import StorageUnavailable

log = structlog.get_logger()

_AT_ONCE: Final = 16
_HOLD_MS: Final = 50_000
"""Longer than a call can take, besides its own time; who dies meanwhile leaves it to others then."""
_SWEEP_MS: Final = 60_000
_AGAIN_MS: Final = 1_000


async def make_calls(house: House) -> None:
    """For ever. A call that takes long keeps no other from being made, as long as there are places."""
    busy: set[str] = set()
    with house.bus.waiting(CALL) as woken:
        async with asyncio.TaskGroup() as group:
            while True:
                woken.take()
                now = house.clock.millis()
                until = now + _SWEEP_MS
                try:
                    found, following = await _due(house, now, busy)
                except StorageUnavailable as fault:
                    log.warning("maintenance_windows.storage_unavailable", error=str(fault))
                    found, following = [], now + _AGAIN_MS
                until = until if following is None else min(until, following)
                for each in found:
                    busy.add(each.invocation_id)
                    group.create_task(_call(house, each, busy))
                await wait(house.clock, woken.event, max(0.0, (until - house.clock.millis()) / 1000))


async def _due(house: House, now: int, busy: set[str]) -> tuple[list[Invocation], int | None]:
    """What is to be called for now, as far as there are places, and when something is next."""
    room = _AT_ONCE - len(busy)
    if not room:
        return [], None  # whoever ends wakes us
    async with house.database.reading() as tx:
        waiting = await RunStore(tx).to_call(now, 2 * _AT_ONCE)
        found = [each for each in waiting if each.invocation_id not in busy][:room]
        return found, None if len(found) == room else await RunStore(tx).next_call(now)


async def _call(house: House, invocation: Invocation, busy: set[str]) -> None:
    """A failure of one call ends this one only; it is made again when its hold has run out."""
    try:
        async with house.database.transaction() as tx:
            takes = int(seconds(house.settings, invocation.kind) * 1000)
            if not await RunStore(tx).hold(invocation, house.clock.millis() + takes + _HOLD_MS):
                return
        outcome = await called(house, invocation)
        async with house.database.transaction() as tx:
            if isinstance(outcome, int):
                await RunStore(tx).call_again(invocation.invocation_id, house.clock.millis() + outcome)
            else:
                await finish(house, tx, invocation.invocation_id, outcome.status, outcome.details, outcome.outside_id)
    except StorageUnavailable as fault:
        log.warning("maintenance_windows.storage_unavailable", error=str(fault))
    except Exception:
        log.exception("maintenance_windows.call_failed", invocation_id=invocation.invocation_id)
    finally:
        busy.discard(invocation.invocation_id)
        house.bus.wake_here(CALL, invocation.invocation_id)
