"""Why a window did not start, or did less than was hoped: the reasons in plain words, the most weighty first."""

from collections.abc import Iterator
from datetime import timedelta

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities import documents, nodes
from pilothouse.capabilities.maintenance_windows import calling
from pilothouse.capabilities.maintenance_windows.asking import named_window
from pilothouse.capabilities.maintenance_windows.batches import batches_of, wire_targets
from pilothouse.capabilities.maintenance_windows.model import (
    AUTOMATION,
    BY_TARGET,
    LAMBDA,
    RUN_COMMAND,
    STEP_FUNCTIONS,
    ResourceNotFoundException,
    Window,
    WindowTarget,
    WindowTask,
)
from pilothouse.capabilities.maintenance_windows.run_model import Execution, Status
from pilothouse.capabilities.maintenance_windows.run_store import RunStore
from pilothouse.capabilities.maintenance_windows.store import PartStore, WindowStore
from pilothouse.runtime.clock import from_millis
from pilothouse.storage import Transaction

_LATE_MS = 60_000
_SHOWN = 3

Line = tuple[str, str]
"""What it is about, and what is to be said of it."""


@operation("pilothouse", "ExplainMaintenanceWindow", resources=named_window)
async def explain_maintenance_window(call: Call, request: Shape) -> Shape:
    """What keeps a window from starting or from doing something, or has kept it."""
    now = call.clock.millis()
    async with call.reading() as tx:
        window = await WindowStore(tx).find(call.account_id, call.region, request["WindowId"])
        if window is None:
            raise ResourceNotFoundException(
                f"There is no maintenance window {request['WindowId']} in this account and region."
            )
        lines = [*_schedule(window, now), *await _latest(tx, window), *await _tasks(call, tx, window)]
    return {
        "WindowId": window.window_id,
        "Status": "ENABLED" if window.enabled else "DISABLED",
        "Lines": [{"About": about, "Text": text} for about, text in lines],
    }


def _schedule(window: Window, now: int) -> Iterator[Line]:
    terms, table = window.terms, window.timetable
    zone = f" in {terms.zone}" if terms.zone else ""
    if not window.enabled:
        yield "window", "It is disabled, so its schedule starts nothing; RunMaintenanceWindow still does."
    ahead = table.upcoming(now, _SHOWN)
    if ahead:
        yield "schedule", f"{terms.schedule}{zone}: next {', '.join(_moment(each) for each in ahead)}."
        return
    why = "its times have passed"
    if table.end is not None and now >= table.end:
        why = f"EndDate was {_moment(table.end)}"
    elif table.end is not None:
        why = f"it is due no more before EndDate, {_moment(table.end)}"
    yield "schedule", f"{terms.schedule}{zone} is never due again: {why}."


async def _latest(tx: Transaction, window: Window) -> list[Line]:
    found: list[Line] = []
    runs = RunStore(tx)
    for execution in await runs.newest(window.account_id, window.region, window.window_id, None, None, None, _SHOWN):
        began = f"Begun {_moment(execution.at.started_at or 0)}"
        if execution.asked_by:
            began += f" because {execution.asked_by} asked for it"
        elif execution.due_at is not None:
            began += f" for {_moment(execution.due_at)}"
        if execution.late_ms > _LATE_MS:
            length = timedelta(seconds=execution.late_ms // 1000)
            began += f", {length} late: no server was there to begin it in time"
        found.append((f"execution {execution.execution_id}", f"{began}. {_outcome(execution)}"))
        for run in await runs.tasks(execution.execution_id):
            if run.at.status is not Status.SUCCESS:
                text = f"{run.task.task_arn} is {run.at.status}. {run.at.details}".strip()
                found.append((f"task {run.window_task_id}", text))
    return found or [("executions", "There was none yet.")]


def _outcome(execution: Execution) -> str:
    if execution.at.status is Status.SKIPPED_OVERLAPPING:
        return f"It was skipped: {execution.at.details}"
    return f"It is {execution.at.status}. {execution.at.details}".strip()


async def _tasks(call: Call, tx: Transaction, window: Window) -> list[Line]:
    parts = PartStore(tx)
    tasks = await parts.tasks(window.window_id)
    targets = {each.window_target_id: each for each in await parts.targets(window.window_id)}
    if not tasks:
        return [("tasks", "There is none, so an execution has nothing to do.")]
    found: list[Line] = []
    for task in tasks:
        about = f"task {task.window_task_id}"
        if why := await _cannot(call, tx, task):
            found.append((about, why))
        for named in task.terms.values_of(BY_TARGET):
            if named not in targets:
                found.append((about, f"Its target {named} is registered no more; nothing is done for it."))
        found += await _for_whom(tx, task, targets)
    return found


async def _cannot(call: Call, tx: Transaction, task: WindowTask) -> str:
    """Why a task cannot be done at all; empty where it can."""
    kind = task.terms.kind
    if kind == AUTOMATION and not call.house.inside.answers("ssm", "StartAutomationExecution"):
        return "It is of type AUTOMATION, which cannot be run here."
    if kind in (LAMBDA, STEP_FUNCTIONS) and not calling.is_set_up(call.house.settings, kind):
        return f"It is of type {kind}, and {calling.SETTING[kind]} of [maintenance_windows] is not set."
    if kind == AUTOMATION:
        return await _no_runbook(tx, task)
    if kind != RUN_COMMAND:
        return ""
    version = ((task.terms.invocation or {}).get("RunCommand") or {}).get("DocumentVersion")
    try:
        await documents.for_run(tx, task.account_id, task.region, task.terms.task_arn, version)
    except (documents.InvalidDocument, documents.InvalidDocumentVersion) as error:
        return f"The document {task.terms.task_arn} cannot be run: {error.message}"
    return ""


async def _no_runbook(tx: Transaction, task: WindowTask) -> str:
    version = ((task.terms.invocation or {}).get("Automation") or {}).get("DocumentVersion")
    try:
        found = await documents.find(tx, task.account_id, task.region, task.terms.task_arn, version)
    except (documents.InvalidDocument, documents.InvalidDocumentVersion) as error:
        return f"The runbook {task.terms.task_arn} cannot be run: {error.message}"
    return "" if found.kind.startswith("Automation") else f"The document {found.name} is no runbook."


async def _for_whom(tx: Transaction, task: WindowTask, targets: dict[str, WindowTarget]) -> list[Line]:
    found: list[Line] = []
    for batch in batches_of(task.terms, targets):
        on = wire_targets(batch)
        if on and not await nodes.resolve_targets(tx, task.account_id, task.region, [], on):
            about = f"target {batch.window_target_id}" if batch.window_target_id else f"task {task.window_task_id}"
            found.append((about, "No node fits it now."))
    return found


def _moment(at: int) -> str:
    return from_millis(at).strftime("%Y-%m-%d %H:%M:%S UTC")
