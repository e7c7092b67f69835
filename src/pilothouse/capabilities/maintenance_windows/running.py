"""Executions: how they begin, go on and end. One function, `go_on`, does what there is to do, whatever gave the cause.

Causes are the times of windows, their cutoffs and ends, the ends of commands and calls, and those who cancel. Each is a
row of what is due, so nothing is lost with a process. Whoever goes on with an execution holds its window's lock.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from pilothouse.call import House
from pilothouse.capabilities.maintenance_windows import telling
from pilothouse.capabilities.maintenance_windows.batches import batches_of, expanded
from pilothouse.capabilities.maintenance_windows.model import HOUR_MS, Window
from pilothouse.capabilities.maintenance_windows.run_model import (
    AT_CUTOFF,
    NO_TARGETS,
    NO_TASKS,
    NOT_STARTED,
    TOO_MANY_ERRORS,
    Execution,
    Invocation,
    Standing,
    Status,
    TaskRun,
    ended,
    outcome,
    plan,
    to_start,
    too_many_errors,
)
from pilothouse.capabilities.maintenance_windows.run_store import RunStore
from pilothouse.capabilities.maintenance_windows.store import PartStore, WindowStore
from pilothouse.capabilities.maintenance_windows.working import outcome as outcome_of
from pilothouse.capabilities.maintenance_windows.working import start, stop
from pilothouse.errors import ApiError
from pilothouse.scheduling import due
from pilothouse.scheduling.firing import Due
from pilothouse.storage import Transaction

DUE: Final = "maintenance_window"
"""Kind of what is due: a window starts."""
WATCH: Final = "maintenance_window.execution"
"""The cutoff or the end of an execution."""
ENDED: Final = "maintenance_window.ended"
"""A command or a runbook has ended, by its id."""


async def plan_next(house: House, tx: Transaction, window: Window) -> None:
    """Have the window called when it starts next."""
    at = window.next_after(house.clock.millis())
    await due.put(house, tx, DUE, window.window_id, at, account_id=window.account_id, region=window.region)


async def window_due(house: House, tx: Transaction, due_: Due) -> int | None:
    """A window starts; of several starts that passed while no server ran, once."""
    store = WindowStore(tx)
    await store.lock(due_.key)
    window = await store.by_id(due_.key)
    if window is None or not window.enabled:
        return None
    if await RunStore(tx).for_time(window.window_id, due_.at) is None:
        await begin(house, tx, window, due_at=due_.at, late_ms=due_.late_ms)
    return window.next_after(max(due_.at, house.clock.millis()))


async def begin(
    house: House, tx: Transaction, window: Window, *, due_at: int | None, late_ms: int = 0, asked_by: str = ""
) -> Execution:
    """A new execution. It does nothing where the one before still goes on."""
    now = house.clock.millis()
    starts = now if due_at is None else due_at
    terms = window.terms
    runs = RunStore(tx)
    execution = Execution(
        execution_id=house.ids.uuid(),
        window_id=window.window_id,
        account_id=window.account_id,
        region=window.region,
        due_at=due_at,
        late_ms=late_ms,
        asked_by=asked_by,
        cutoff_at=starts + (terms.duration - terms.cutoff) * HOUR_MS,
        ends_at=starts + terms.duration * HOUR_MS,
        at=Standing(started_at=now),
    )
    earlier = await runs.open_of(window.window_id)
    if earlier:
        details = f"The execution {earlier[0].execution_id} was still running."
        execution = replace(execution, at=execution.at.moved(Status.SKIPPED_OVERLAPPING, now, details))
        await runs.add(execution)
        await telling.execution_moved(house, tx, execution)
        return execution
    tasks = await _new_tasks(house, tx, execution)
    at = execution.at.moved(Status.IN_PROGRESS, now)
    execution = replace(execution, at=at if tasks else at.moved(Status.SUCCESS, now, NO_TASKS))
    await runs.add(execution)
    await runs.add_tasks(tasks)
    await telling.execution_moved(house, tx, execution)
    if tasks:
        execution = await go_on(house, tx, execution)
        await watch(house, tx, execution)
    return execution


async def _new_tasks(house: House, tx: Transaction, execution: Execution) -> list[TaskRun]:
    parts = PartStore(tx)
    tasks = await parts.tasks(execution.window_id)
    targets = {each.window_target_id: each for each in await parts.targets(execution.window_id)}
    tasks.sort(key=lambda each: each.terms.priority)
    return [
        TaskRun(
            task_execution_id=house.ids.uuid(),
            execution_id=execution.execution_id,
            window_id=execution.window_id,
            window_task_id=task.window_task_id,
            account_id=execution.account_id,
            region=execution.region,
            position=position,
            task=task.terms,
            batches=batches_of(task.terms, targets),
        )
        for position, task in enumerate(tasks)
    ]


async def watch(house: House, tx: Transaction, execution: Execution) -> None:
    """Look at the execution again when its cutoff or end has come."""
    await due.put(
        house, tx, WATCH, execution.execution_id, execution.look_at(house.clock.millis()),
        account_id=execution.account_id, region=execution.region,
    )  # fmt: skip


async def locked(tx: Transaction, execution_id: str) -> Execution | None:
    """The execution, with which nobody else goes on until the transaction ends."""
    found = await RunStore(tx).execution(execution_id)
    if found is None:
        return None
    await WindowStore(tx).lock(found.window_id)
    return await RunStore(tx).execution(execution_id)


async def execution_watched(house: House, tx: Transaction, due_: Due) -> int | None:
    """The cutoff or the end of an execution has come."""
    execution = await locked(tx, due_.key)
    if execution is None or execution.at.final:
        return None
    return (await go_on(house, tx, execution)).look_at(house.clock.millis())


async def command_finished(house: House, tx: Transaction, facts: Mapping[str, Any]) -> None:
    """A command has ended. If it is ours, what follows is done on its own: the one that tells holds other locks."""
    if await RunStore(tx).by_outside_id(facts["command_id"]) is not None:
        where = {"account_id": facts["account_id"], "region": facts["region"]}
        await due.put(house, tx, ENDED, facts["command_id"], house.clock.millis(), **where)


async def automation_ended(house: House, tx: Transaction, facts: Mapping[str, Any]) -> None:
    """A runbook has ended; the same."""
    if not facts["parent_id"] and await RunStore(tx).by_outside_id(facts["execution_id"]) is not None:
        where = {"account_id": facts["account_id"], "region": facts["region"]}
        await due.put(house, tx, ENDED, facts["execution_id"], house.clock.millis(), **where)


async def finish(
    house: House, tx: Transaction, invocation_id: str, status: Status, details: str = "", outside_id: str = ""
) -> None:
    """An invocation has ended, somewhere else, where it may have another id than was known so far."""
    runs = RunStore(tx)
    found = await runs.invocation(invocation_id)
    execution = None if found is None else await locked(tx, found.execution_id)
    invocation = None if execution is None else await runs.invocation(invocation_id)
    if execution is None or invocation is None:
        return
    if outside_id:
        invocation = replace(invocation, outside_id=outside_id)
    after = ended(invocation, status, house.clock.millis(), details)
    if after != found:
        await runs.save_invocation(after)
        if after.at != invocation.at:
            await telling.invocation_moved(house, tx, after)
    if not execution.at.final:
        await go_on(house, tx, execution)


async def go_on(house: House, tx: Transaction, execution: Execution) -> Execution:
    """Do all that can be done with the execution now; as it stands afterwards."""
    drive = _Drive(house, tx, execution)
    return await drive.run()


class _Drive:
    """What is done with one execution in one transaction."""

    def __init__(self, house: House, tx: Transaction, execution: Execution) -> None:
        self._house = house
        self._tx = tx
        self._execution = execution
        self._runs = RunStore(tx)
        self._now = house.clock.millis()

    async def run(self) -> Execution:
        tasks = {each.task_execution_id: each for each in await self._runs.tasks(self._execution.execution_id)}
        changed = True
        while changed:
            changed = False
            for key, each in list(tasks.items()):
                if each.at.begun:
                    tasks[key] = await self._work(each)
                    changed = changed or tasks[key].at != each.at
            todo = plan(self._execution, list(tasks.values()), self._now)
            for key, (status, details) in todo.end.items():
                tasks[key] = await self._moved(tasks[key], status, details)
            for key in todo.start:
                tasks[key] = await self._begun(tasks[key])
            for key, why in todo.stop.items():
                tasks[key] = await self._stopped(tasks[key], why)
            changed = changed or bool(todo.end or todo.start or todo.stop)
        await self._settle(list(tasks.values()))
        return self._execution

    async def _settle(self, tasks: list[TaskRun]) -> None:
        execution, now = self._execution, self._now
        status = outcome(each.at for each in tasks)
        to = status
        if status is None:
            to = Status.CANCELLING if execution.cancel_asked else execution.at.status
        elif execution.cancel_asked and any(each.at.status is Status.CANCELLED for each in tasks):
            to = Status.CANCELLED
        assert to is not None
        at = execution.at.moved(to, now)
        if at != execution.at:
            self._execution = replace(execution, at=at)
            await telling.execution_moved(self._house, self._tx, self._execution)
        await self._runs.save(self._execution)
        if at.final:
            await due.remove(self._tx, WATCH, execution.execution_id)

    async def _moved(self, run: TaskRun, to: Status, details: str | None = None) -> TaskRun:
        at = run.at.moved(to, self._now, details)
        if at == run.at:
            return run
        run = replace(run, at=at)
        await self._runs.save_task(run)
        await telling.task_moved(self._house, self._tx, run)
        return run

    async def _begun(self, run: TaskRun) -> TaskRun:
        """Start a task; what it starts is seen when it is worked on."""
        run = await self._moved(run, Status.IN_PROGRESS)
        try:
            batches = await expanded(self._house, self._tx, run)
        except ApiError as error:
            return await self._moved(run, Status.FAILED, f"{error.code}: {error.message}")
        invocations = [
            Invocation(
                invocation_id=self._house.ids.uuid(),
                task_execution_id=run.task_execution_id,
                execution_id=run.execution_id,
                window_id=run.window_id,
                account_id=run.account_id,
                region=run.region,
                position=position,
                kind=run.task.kind,
                batch=batch,
            )
            for position, batch in enumerate(batches)
        ]
        if not invocations:
            return await self._moved(run, Status.SUCCESS, NO_TARGETS)
        await self._runs.add_invocations(invocations)
        return run

    async def _stopped(self, run: TaskRun, why: str) -> TaskRun:
        """Cancel what goes on of a task, and start no more of it."""
        run = await self._moved(run, Status.CANCELLING, why)
        for each in await self._runs.invocations(run.task_execution_id):
            if each.at.status is Status.PENDING:
                await self._invocation(each, Status.TIMED_OUT if why == AT_CUTOFF else Status.CANCELLED, why)
            elif each.at.status is Status.IN_PROGRESS and await stop(self._house, self._tx, run, each):
                await self._invocation(each, Status.CANCELLING, why)
        return run

    async def _work(self, run: TaskRun) -> TaskRun:
        """Start what may be started of a task, and see whether it has ended."""
        while True:
            invocations = await self._runs.invocations(run.task_execution_id)
            ready = to_start(self._execution, run, invocations, self._now)
            for each in ready:
                await self._start(run, each)
            if not ready:
                break
        waiting = [each for each in invocations if each.at.status is Status.PENDING]
        if waiting and too_many_errors(run, invocations):
            invocations = await self._drop(run, waiting, Status.CANCELLED, TOO_MANY_ERRORS)
        elif waiting and self._now >= self._execution.ends_at:
            invocations = await self._drop(run, waiting, Status.TIMED_OUT, NOT_STARTED)
        status = outcome(each.at for each in invocations)
        if status is None:
            return run
        first = next((each for each in invocations if each.at.status is status and each.at.details), None)
        details = first.at.details if first is not None and status is not Status.SUCCESS else None
        return await self._moved(run, status, details)

    async def _drop(self, run: TaskRun, waiting: list[Invocation], to: Status, why: str) -> list[Invocation]:
        for each in waiting:
            await self._invocation(each, to, why)
        return await self._runs.invocations(run.task_execution_id)

    async def _start(self, run: TaskRun, invocation: Invocation) -> None:
        begun = replace(invocation, at=invocation.at.moved(Status.IN_PROGRESS, self._now))
        after = await start(self._house, self._tx, run, begun)
        await self._runs.save_invocation(after)
        await telling.invocation_moved(self._house, self._tx, begun)
        if after.at != begun.at:
            await telling.invocation_moved(self._house, self._tx, after)

    async def _invocation(self, invocation: Invocation, to: Status, why: str) -> None:
        after = replace(invocation, at=invocation.at.moved(to, self._now, why))
        await self._runs.save_invocation(after)
        await telling.invocation_moved(self._house, self._tx, after)


async def command_ended(house: House, tx: Transaction, due_: Due) -> int | None:
    """What follows the end of a command or runbook of ours."""
    invocation = await RunStore(tx).by_outside_id(due_.key)
    if invocation is None:
        return None
    found = await outcome_of(house, tx, invocation)
    if found is not None:
        await finish(house, tx, invocation.invocation_id, *found)
    return None
