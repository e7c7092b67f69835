"""Who performs what is no part of a transaction: in every process with the role `scheduler`, some at once.

The intent is a row. Whoever performs it holds the row for a while, and holds on to it as long as it goes on; who loses
it stops. If a process dies meanwhile, another finds the row when the hold has run out: it performs it again only if
the intent says that this does no harm.
"""

import asyncio
from typing import Final

import structlog

from pilothouse.call import House
from pilothouse.capabilities.automation.acting import actor_of
from pilothouse.capabilities.automation.actions import ACTIONS
from pilothouse.capabilities.automation.actions.interface import Errand, Failed, FailureType, Outcome, StepFailed
from pilothouse.capabilities.automation.doing import PerformedStep, common
from pilothouse.capabilities.automation.going import performed, runbook_of
from pilothouse.capabilities.automation.running import CALLS, failed_by, plan_in
from pilothouse.capabilities.automation.runs import StepRun
from pilothouse.capabilities.automation.store import AutomationStore
from pilothouse.errors import ApiError
from pilothouse.runtime.waiting import wait
from pilothouse.storage import StorageUnavailable

log = structlog.get_logger()

AT_ONCE: Final = 16
HOLD_MS: Final = 30_000
HOLD_ON_SECONDS: Final = 5.0
_SWEEP_MS: Final = 60_000
_AGAIN_MS: Final = 1000
_UNKNOWN: Final = (
    "The server was stopped while the action was being performed, so nobody knows whether it took effect; it is not "
    "of a kind that may be repeated."
)
_INTERNAL: Final = "An internal error occurred while the action was being performed. The log of the server has more."


async def perform_all(house: House) -> None:
    """For ever."""
    with house.bus.waiting(CALLS) as woken:
        async with asyncio.TaskGroup() as group:
            room = asyncio.Semaphore(AT_ONCE)
            while True:
                woken.take()
                try:
                    found = await _round(house, group, room)
                except StorageUnavailable as fault:  # what is being performed goes on
                    log.warning("automation.storage_unavailable", error=str(fault))
                    found = house.clock.millis() + _AGAIN_MS
                until = house.clock.millis() + _SWEEP_MS
                until = until if found is None else min(until, found)
                await wait(house.clock, woken.event, max(0.0, (until - house.clock.millis()) / 1000))


async def _round(house: House, group: asyncio.TaskGroup, room: asyncio.Semaphore) -> int | None:
    """Begin all that is to be performed now; when there is something next."""
    while True:
        await room.acquire()
        try:
            async with house.database.reading() as tx:
                store = AutomationStore(tx, house.vault)
                found = await store.to_call(house.clock.millis(), 1)
                if not found:
                    room.release()
                    return await store.next_call()
            async with house.database.transaction() as tx:
                held = await AutomationStore(tx, house.vault).hold_call(found[0], house.clock.millis() + HOLD_MS)
        except BaseException:
            room.release()
            raise
        if held:
            group.create_task(_perform(house, found[0], room))
        else:
            room.release()


async def _perform(house: House, step: StepRun, room: asyncio.Semaphore) -> None:
    """A failure of one ends this one only."""
    try:
        outcome = await _outcome(house, step)
        if outcome is not None:
            async with house.database.transaction() as tx:
                await performed(house, tx, step, outcome)
    except StorageUnavailable as fault:
        log.warning("automation.storage_unavailable", error=str(fault))
    except Exception:
        log.exception("automation.perform_failed", step_id=step.step_id)
    finally:
        room.release()


async def _outcome(house: House, step: StepRun) -> Outcome | None:
    """What came of it; None if it is not ours any more."""
    if step.calls and not step.contents.state.get("repeatable"):
        return Failed(message=_UNKNOWN, kind=FailureType.INTERNAL)
    errand = await _errand(house, step)
    if errand is None or isinstance(errand, Failed):
        return errand
    async with asyncio.TaskGroup() as group:
        doing = group.create_task(_done(step.action, errand))
        holding = group.create_task(_hold_on(house, step))
        await asyncio.wait((doing, holding), return_when=asyncio.FIRST_COMPLETED)
        ours = doing.done()
        doing.cancel()
        holding.cancel()
    return doing.result() if ours and not doing.cancelled() else None


async def _errand(house: House, step: StepRun) -> Errand | Failed | None:
    async with house.database.reading() as tx:
        store = AutomationStore(tx, house.vault)
        execution = await store.execution(step.execution_id)
        if execution is None:
            return None
        steps = await store.steps(step.execution_id)
        plan = plan_in((await runbook_of(store, execution)).flow, steps, step)
        try:
            who = await actor_of(house, tx, execution)
        except StepFailed as error:
            return Failed(message=error.message, kind=error.kind, stage=error.stage)
    return PerformedStep(
        house=house, state=step.contents.state["of"], who=who, **common(execution, step, plan)
    )  # fmt: skip


async def _done(name: str, errand: Errand) -> Outcome:
    try:
        return await ACTIONS[name].perform(errand)
    except StepFailed as error:
        return Failed(message=error.message, kind=error.kind, stage=error.stage)
    except ApiError as error:
        return failed_by(error.code, error.message)
    except StorageUnavailable:
        raise
    except Exception:
        log.exception("automation.action_failed", action=name, step_id=errand.step_execution_id)
        return Failed(message=_INTERNAL, kind=FailureType.INTERNAL)


async def _hold_on(house: House, step: StepRun) -> None:
    """Until the step is not ours any more: somebody stopped it, or its time is over."""
    while True:
        await house.clock.sleep(HOLD_ON_SECONDS)
        try:
            async with house.database.transaction() as tx:
                until = house.clock.millis() + HOLD_MS
                if not await AutomationStore(tx, house.vault).hold_on(step.step_id, step.calls + 1, until):
                    return
        except StorageUnavailable as fault:
            log.warning("automation.storage_unavailable", error=str(fault))
