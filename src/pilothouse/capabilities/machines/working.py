"""Looks at the places of machines again and again, and does what is to be done there.

What is to be done is a row, and a process holds it while it does it, for HOLD_MS at a time. When it dies, another goes
on from the progress in the row, or the same after its restart (`process.ended`).
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

import structlog

from pilothouse.call import House
from pilothouse.capabilities.machines import root_store, work_store
from pilothouse.capabilities.machines.acts import Again, Doing, Ended, Outcome, act
from pilothouse.capabilities.machines.driver import DriverFailed, Seen
from pilothouse.capabilities.machines.looking import as_seen, gone, look
from pilothouse.capabilities.machines.model import AVAILABLE, COMPLETED, ERROR, FAILED, Kind, Machine, State, Work
from pilothouse.capabilities.machines.places import Links, Place
from pilothouse.capabilities.machines.store import MachineStore
from pilothouse.runtime.waiting import wait
from pilothouse.storage import StorageUnavailable, Transaction

log = structlog.get_logger()

AT_ONCE: Final = 8
_SWEEP_SECONDS: Final = 30.0
_HOLD_AGAIN_SECONDS: Final = 15.0
_AFTER_FAILURE: Final = {Kind.START: State.STOPPED, Kind.RUN: State.TERMINATED}
"""What a machine is taken for whose place does not say."""
_ON_MACHINES: Final = frozenset(Kind) - {Kind.COPY_IMAGE, Kind.FORGET}


async def process_ended(house: House, tx: Transaction, facts: Mapping[str, Any]) -> None:
    """What it was doing is free for others."""
    await work_store.release(tx, facts["process_id"])


async def work(house: House) -> None:
    """For ever."""
    links = Links(house.settings.machines)
    worker = _Worker(house, links)
    try:
        async with asyncio.TaskGroup() as group:
            for place in links.places.values():
                group.create_task(_looking(house, links, place), name=f"look at {place.name}")
            if links.places:
                group.create_task(worker.run(), name="work on machines")
            else:
                await asyncio.Event().wait()
    finally:
        await links.close()


async def _looking(house: House, links: Links, place: Place) -> None:
    while True:
        try:
            await look(house, links, place)
        except StorageUnavailable as fault:
            log.warning("machines.storage_unavailable", error=str(fault))
        except Exception:
            log.exception("machines.look_failed", connection=place.name)
        await house.clock.sleep(house.settings.machines.look_seconds)


class _Worker:
    """What this process does."""

    def __init__(self, house: House, links: Links) -> None:
        self._house = house
        self._links = links
        self._mine: set[int] = set()
        self._free = asyncio.Event()

    async def run(self) -> None:
        """Begin what is due, as often as something may be."""
        async with asyncio.TaskGroup() as group:
            with self._house.bus.waiting(work_store.WAKE) as woken:
                while True:
                    woken.take()
                    self._free.clear()
                    seconds = _SWEEP_SECONDS
                    try:
                        seconds = await self._begin(group)
                    except StorageUnavailable as fault:
                        log.warning("machines.storage_unavailable", error=str(fault))
                        seconds = 1.0
                    await wait(self._house.clock, woken.event, seconds, self._free)

    async def _begin(self, group: asyncio.TaskGroup) -> float:
        """Begin what is due; the seconds until something is next."""
        now = self._house.clock.millis()
        async with self._house.database.reading() as tx:
            found = await work_store.due(tx, now, AT_ONCE + len(self._mine))
            following = await work_store.next_at(tx)
        for each in found:
            if each.number not in self._mine and len(self._mine) < AT_ONCE:
                self._mine.add(each.number)
                group.create_task(self._do(each), name=f"{each.kind} {each.subject}")
        if following is None:
            return _SWEEP_SECONDS
        return min(_SWEEP_SECONDS, max(0.05, (following - self._house.clock.millis()) / 1000))

    async def _do(self, seen: Work) -> None:
        """One turn of one work. A failure ends this turn only; it is done again when the hold has run out."""
        house = self._house
        try:
            async with house.database.transaction() as tx:
                mine = await work_store.claim(tx, seen, house.process_id, house.clock.millis())
                later = [] if mine is None else await work_store.later_kinds(tx, mine)
            if mine is not None:
                await self._turn(replace(mine, superseded=_is_idle(mine, later)))
        except StorageUnavailable as fault:
            log.warning("machines.storage_unavailable", error=str(fault))
        except Exception:
            log.exception("machines.work_failed", kind=seen.kind, subject=seen.subject)
        finally:
            self._mine.discard(seen.number)
            self._free.set()

    async def _turn(self, mine: Work) -> None:
        house = self._house
        async with house.database.reading() as tx:
            machine = await MachineStore(tx, mine.account_id, mine.region).machine(mine.subject)
        outcome, now_is = await self._held(mine, machine)
        async with house.database.transaction() as tx:
            now = house.clock.millis()
            if isinstance(outcome, Again):
                if mine.kind is Kind.REPLACE_ROOT:
                    await root_store.began(tx, mine.account_id, mine.region, mine.arguments["task_id"])
                await work_store.again(tx, mine, now + int(outcome.seconds * 1000), outcome.progress)
                return
            if not await work_store.done(tx, mine):
                return  # somebody else has it, since this process was away for longer than it held it
            store = MachineStore(tx, mine.account_id, mine.region)
            await store.lock()
            await _write_results(store, mine, outcome, now)
            if mine.kind is Kind.REPLACE_ROOT:
                task_id = mine.arguments["task_id"]
                await root_store.ended(tx, mine.account_id, mine.region, task_id, now, outcome.error)
            if mine.kind in _ON_MACHINES:
                await _settle(tx, store, mine, outcome, now_is, now)
        if outcome.error:
            log.warning("machines.not_done", kind=mine.kind, subject=mine.subject, error=outcome.error)

    async def _held(self, mine: Work, machine: Machine | None) -> tuple[Outcome, Seen | DriverFailed | None]:
        """What came of it, and the machine as it is after that; the hold is renewed meanwhile."""
        house = self._house

        async def keep() -> None:
            while True:
                await house.clock.sleep(_HOLD_AGAIN_SECONDS)
                with suppress(StorageUnavailable):
                    async with house.database.transaction() as tx:
                        await work_store.hold(tx, mine, house.clock.millis())

        keeping = None
        try:
            async with asyncio.TaskGroup() as group:
                keeping = group.create_task(keep(), name="hold")
                outcome, now_is = await self._acted(mine, machine)
                keeping.cancel()
        except BaseExceptionGroup as several:
            raise several.exceptions[0] from several
        return outcome, now_is

    async def _acted(self, mine: Work, machine: Machine | None) -> tuple[Outcome, Seen | DriverFailed | None]:
        try:
            link = self._links.to(mine.account_id, mine.region, mine.connection)
        except DriverFailed as failed:
            return Ended(error=str(failed)), failed
        doing = Doing(self._house, mine, self._links, link, "" if machine is None else machine.native)
        outcome = await act(doing)
        if isinstance(outcome, Again) or machine is None:
            return outcome, None
        try:
            return outcome, await doing.find()
        except DriverFailed as failed:
            return outcome, failed


def _is_idle(work: Work, later: list[tuple[Kind, Mapping[str, Any]]]) -> bool:
    """Whether what is to be done after this makes it idle."""
    return any(
        kind is Kind.TERMINATE or (kind is Kind.STOP and bool(arguments.get("force")) and work.kind is Kind.STOP)
        for kind, arguments in later
    )


async def _write_results(store: MachineStore, work: Work, outcome: Ended, now: int) -> None:
    """What became of snapshots and images."""
    volumes = outcome.results.get("volumes", {})
    wanted = [each["snapshot_id"] for each in work.arguments.get("disks", ())]
    if work.kind is Kind.SNAPSHOT:
        wanted = [work.arguments["snapshot_id"]]
    for snapshot_id in wanted:
        volume = volumes.get(snapshot_id, "")
        state = COMPLETED if volume else ERROR
        await store.end_snapshot(snapshot_id, state, now, volume=volume, reason=outcome.error)
    if work.kind in (Kind.IMAGE, Kind.COPY_IMAGE):
        state = FAILED if outcome.error else AVAILABLE
        template = outcome.results.get("template")
        await store.end_image(work.arguments["image_id"], state, template=template, reason=outcome.error)


async def _settle(
    tx: Transaction, store: MachineStore, work: Work, outcome: Ended, seen: Seen | DriverFailed | None, now: int
) -> None:
    """The machine's row says what it is now, if nothing more is to be done to it."""
    machine = await store.machine(work.subject)
    if machine is None or await work_store.later_kinds(tx, work):
        return
    if isinstance(seen, DriverFailed):
        machine = replace(machine, state=_AFTER_FAILURE.get(work.kind, machine.state))
        machine = gone(machine, now) if machine.state is State.TERMINATED else machine
    elif seen is None:
        machine = gone(machine, now)
    else:
        machine = as_seen(machine, seen, now)
    reason = f"Server.InternalError: {outcome.error}" if outcome.error else machine.reason
    await store.put(replace(machine, touched_at=now, reason=reason))
