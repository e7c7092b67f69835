"""Executions as users see them, and cancel them."""

from dataclasses import replace
from datetime import UTC, datetime

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities.maintenance_windows import shapes
from pilothouse.capabilities.maintenance_windows.acting import role_for
from pilothouse.capabilities.maintenance_windows.asking import (
    PAGE,
    filters,
    missing,
    named_window,
    paged,
    position,
    query_of,
)
from pilothouse.capabilities.maintenance_windows.model import ResourceNotFoundException
from pilothouse.capabilities.maintenance_windows.run_model import Execution, Standing, Status, TaskRun
from pilothouse.capabilities.maintenance_windows.run_store import RunStore
from pilothouse.capabilities.maintenance_windows.running import begin, go_on, locked
from pilothouse.capabilities.maintenance_windows.store import WindowStore
from pilothouse.errors import ValidationException
from pilothouse.runtime.clock import to_millis
from pilothouse.storage import Transaction

_STATUSES = frozenset(status.value for status in Status) - {Status.SKIPPED_OVERLAPPING.value}


async def _execution(call: Call, tx: Transaction, execution_id: str) -> Execution:
    return _ours(call, await RunStore(tx).execution(execution_id.lower()), execution_id)


def _ours(call: Call, found: Execution | None, execution_id: str) -> Execution:
    if found is None or (found.account_id, found.region) != (call.account_id, call.region):
        raise missing("execution", execution_id)
    return found


async def _run(call: Call, tx: Transaction, request: Shape) -> TaskRun:
    execution = await _execution(call, tx, request["WindowExecutionId"])
    for each in await RunStore(tx).tasks(execution.execution_id):
        if each.task_execution_id == request["TaskId"].lower():
            return each
    raise missing("task execution", request["TaskId"])


def moment_in(text: str, name: str) -> int:
    """The time in a filter's value. Raises ValidationException."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValidationException(f"The value of {name} is not a time, such as 2026-03-10T12:00:00Z.") from error
    return to_millis(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def _by_status(request: Shape) -> frozenset[str]:
    """The statuses that are asked for. Raises ValidationException."""
    wanted = filters(request, ("STATUS",)).get("STATUS")
    if wanted is None:
        return _STATUSES
    if not wanted <= _STATUSES:
        raise ValidationException(f"The filter STATUS has the values {', '.join(sorted(_STATUSES))}.")
    return frozenset(wanted)


@operation("ssm", "DescribeMaintenanceWindowExecutions", resources=named_window)
async def describe_maintenance_window_executions(call: Call, request: Shape) -> Shape:
    """What became of the starts of a window, the newest first; also of one that was removed."""
    wanted = filters(request, ("ExecutedBefore", "ExecutedAfter"))
    before = [moment_in(text, "ExecutedBefore") for text in wanted.get("ExecutedBefore", ())]
    after = [moment_in(text, "ExecutedAfter") for text in wanted.get("ExecutedAfter", ())]
    query = query_of(call, request, "DescribeMaintenanceWindowExecutions")
    place = position(call, query, request)
    limit = request.get("MaxResults") or PAGE
    async with call.reading() as tx:
        found = await RunStore(tx).newest(
            call.account_id, call.region, request["WindowId"], None if place is None else (place[0], place[1]),
            min(after, default=None), max(before, default=None), limit + 1,
        )  # fmt: skip
    page = found[:limit]
    token = None
    if found[limit:]:
        token = call.house.pages.token(query, [page[-1].at.started_at or 0, page[-1].execution_id])
    return {"WindowExecutions": [shapes.listed_execution(each) for each in page], "NextToken": token}


@operation("ssm", "GetMaintenanceWindowExecution")
async def get_maintenance_window_execution(call: Call, request: Shape) -> Shape:
    """One execution."""
    async with call.reading() as tx:
        execution = await _execution(call, tx, request["WindowExecutionId"])
        return shapes.execution(execution, await RunStore(tx).tasks(execution.execution_id))


@operation("ssm", "DescribeMaintenanceWindowExecutionTasks")
async def describe_maintenance_window_execution_tasks(call: Call, request: Shape) -> Shape:
    """The tasks of an execution: what was started last comes first, what was not started after it."""
    wanted = _by_status(request)
    async with call.reading() as tx:
        execution = await _execution(call, tx, request["WindowExecutionId"])
        found = await RunStore(tx).tasks(execution.execution_id)
    return _newest_first(call, request, "DescribeMaintenanceWindowExecutionTasks", "WindowExecutionTaskIdentities", [
        (each.at, each.position, shapes.listed_run(each)) for each in found if each.at.status in wanted
    ])  # fmt: skip


@operation("ssm", "DescribeMaintenanceWindowExecutionTaskInvocations")
async def describe_maintenance_window_execution_task_invocations(call: Call, request: Shape) -> Shape:
    """What a task of an execution consists of, the newest first."""
    wanted = _by_status(request)
    async with call.reading() as tx:
        run = await _run(call, tx, request)
        found = await RunStore(tx).invocations(run.task_execution_id)
    name = "DescribeMaintenanceWindowExecutionTaskInvocations"
    return _newest_first(call, request, name, "WindowExecutionTaskInvocationIdentities", [
        (each.at, each.position, shapes.invocation(each)) for each in found if each.at.status in wanted
    ])  # fmt: skip


def _newest_first(
    call: Call, request: Shape, name: str, member: str, found: list[tuple[Standing, int, Shape]]
) -> Shape:  # fmt: skip
    entries: list[tuple[list[str | int], Shape]] = [
        ([-(at.started_at or 0), place], shape) for at, place, shape in found
    ]
    return paged(call, request, name, member, sorted(entries, key=lambda each: each[0]))


@operation("ssm", "GetMaintenanceWindowExecutionTask")
async def get_maintenance_window_execution_task(call: Call, request: Shape) -> Shape:
    """One task of an execution, as it was when that began."""
    async with call.reading() as tx:
        run = await _run(call, tx, request)
    return shapes.run(run, role_for(run.account_id, run.task))


@operation("ssm", "GetMaintenanceWindowExecutionTaskInvocation")
async def get_maintenance_window_execution_task_invocation(call: Call, request: Shape) -> Shape:
    """One piece of a task's work."""
    async with call.reading() as tx:
        run = await _run(call, tx, request)
        found = await RunStore(tx).invocation(request["InvocationId"].lower())
    if found is None or found.task_execution_id != run.task_execution_id:
        raise missing("invocation", request["InvocationId"])
    return shapes.invocation(found)


@operation("ssm", "CancelMaintenanceWindowExecution", writes=True)
async def cancel_maintenance_window_execution(call: Call, request: Shape) -> Shape:
    """Start no more of it, and cancel what goes on. One that has ended is as one that is not there."""
    async with call.transaction() as tx:
        execution = _ours(call, await locked(tx, request["WindowExecutionId"].lower()), request["WindowExecutionId"])
        if execution.at.final:
            raise missing("execution", request["WindowExecutionId"])
        await go_on(call.house, tx, replace(execution, cancel_asked=True))
    return {"WindowExecutionId": execution.execution_id}


@operation("pilothouse", "RunMaintenanceWindow", writes=True, resources=named_window)
async def run_maintenance_window(call: Call, request: Shape) -> Shape:
    """Start a window now, also one that is disabled. Its Duration and Cutoff count from now."""
    async with call.transaction() as tx:
        await WindowStore(tx).lock(request["WindowId"])
        window = await WindowStore(tx).find(call.account_id, call.region, request["WindowId"])
        if window is None:
            raise ResourceNotFoundException(
                f"There is no maintenance window {request['WindowId']} in this account and region."
            )
        execution = await begin(call.house, tx, window, due_at=None, asked_by=call.principal.arn)
    return {
        "WindowId": window.window_id,
        "WindowExecutionId": execution.execution_id,
        "Status": execution.at.status.value,
        "StatusDetails": execution.at.details or None,
    }
