"""Tasks: what a window does, in which order, and as whom."""

from dataclasses import asdict, replace
from typing import Final

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities.maintenance_windows import calling, shapes, telling
from pilothouse.capabilities.maintenance_windows.acting import role_for
from pilothouse.capabilities.maintenance_windows.asking import (
    filters,
    fits,
    found_window,
    locked_window,
    missing,
    named_task,
    named_window,
    paged,
)
from pilothouse.capabilities.maintenance_windows.model import (
    AUTOMATION,
    BY_NODE,
    BY_TARGET,
    LAMBDA,
    RUN_COMMAND,
    STEP_FUNCTIONS,
    FeatureNotAvailableException,
    IdempotentParameterMismatch,
    ResourceLimitExceededException,
    TaskTerms,
    Window,
    WindowTask,
    merged,
)
from pilothouse.capabilities.maintenance_windows.store import PartStore
from pilothouse.errors import ValidationException
from pilothouse.identity.authorise import ask_each
from pilothouse.storage import Transaction

_MEMBER_OF: Final = {
    RUN_COMMAND: "RunCommand",
    AUTOMATION: "Automation",
    LAMBDA: "Lambda",
    STEP_FUNCTIONS: "StepFunctions",
}
_SERVICE: Final = "ssm.amazonaws.com"
_REQUIRED: Final = ("Targets", "TaskArn", "MaxConcurrency", "MaxErrors")


def _said(request: Shape) -> Shape:
    said = shapes.given(request, shapes.TASK)
    if "invocation" in said:
        said["invocation"] = shapes.kept_parameters(said["invocation"])
    if request.get("Targets") is not None:
        said["targets"] = shapes.pairs(request["Targets"])
    return said


def _check(terms: TaskTerms, window: Window) -> None:
    """Raises ValidationException."""
    _check_targets(terms, window)
    others = sorted(name for name in terms.invocation or {} if name != _MEMBER_OF[terms.kind])
    if others:
        raise ValidationException(f"TaskInvocationParameters of a {terms.kind} task cannot have {others[0]}.")
    if terms.parameters and terms.invocation:
        raise ValidationException("TaskParameters and TaskInvocationParameters cannot be given together.")
    if terms.logging and terms.invocation:
        raise ValidationException("LoggingInfo and TaskInvocationParameters cannot be given together.")


def _check_targets(terms: TaskTerms, window: Window) -> None:
    if not terms.targets:
        if terms.kind == RUN_COMMAND:
            raise ValidationException("A RUN_COMMAND task needs Targets.")
        if terms.max_concurrency or terms.max_errors:
            raise ValidationException("MaxConcurrency and MaxErrors are for tasks with Targets.")
        return
    if not terms.max_concurrency or not terms.max_errors:
        raise ValidationException("A task with Targets needs MaxConcurrency and MaxErrors.")
    for key, values in terms.targets:
        if key not in (BY_TARGET, BY_NODE):
            raise ValidationException(f"Targets of a task have the keys {BY_TARGET} and {BY_NODE}: {key}.")
        if not values:
            raise ValidationException(f"The target {key} needs Values.")
        if key == BY_NODE and not window.terms.unassociated:
            raise ValidationException(
                f"The window does not allow unassociated targets: register them, and name them by {BY_TARGET}."
            )


async def _ask(call: Call, tx: Transaction, terms: TaskTerms) -> None:
    """Whoever says what a task does must be allowed to pass on the role that does it."""
    roles = [role_for(call.account_id, terms)]
    notifying = (terms.invocation or {}).get("RunCommand", {}).get("ServiceRoleArn")
    if notifying:
        roles.append(notifying)
    await ask_each(call, tx, "iam:PassRole", roles, {"iam:PassedToService": _SERVICE})


async def _found(tx: Transaction, window_id: str, task_id: str) -> WindowTask:
    for each in await PartStore(tx).tasks(window_id):
        if each.window_task_id == task_id:
            return each
    raise missing("task", task_id)


async def _check_named(tx: Transaction, window: Window, terms: TaskTerms) -> None:
    """Raises DoesNotExistException for a registered target that is not there."""
    there = {each.window_target_id for each in await PartStore(tx).targets(window.window_id)}
    for named in terms.values_of(BY_TARGET):
        if named not in there:
            raise missing("target", named)


@operation("ssm", "RegisterTaskWithMaintenanceWindow", writes=True, resources=named_window)
async def register_task_with_maintenance_window(call: Call, request: Shape) -> Shape:
    """Have the window do something from its next start on. The document or function is looked for at each run."""
    kind = request["TaskType"]
    token, digest = request.get("ClientToken") or "", shapes.digest(_digestible(request))
    terms = TaskTerms(kind=kind, **merged({}, _said(request)))
    async with call.transaction() as tx:
        window = await locked_window(call, tx, request["WindowId"])
        store = PartStore(tx)
        known = await store.tasks(window.window_id)
        for each in known:
            if token and each.client_token == token:
                if each.digest != digest:
                    raise IdempotentParameterMismatch
                return {"WindowTaskId": each.window_task_id}
        if kind in (LAMBDA, STEP_FUNCTIONS) and not calling.is_set_up(call.house.settings, kind):
            raise FeatureNotAvailableException(
                f"Tasks of type {kind} need a receiver: set {calling.SETTING[kind]} of [maintenance_windows]."
            )
        _check(terms, window)
        await _check_named(tx, window, terms)
        await _ask(call, tx, terms)
        limit = call.house.settings.maintenance_windows.most_tasks
        if len(known) >= limit:
            raise ResourceLimitExceededException(f"A maintenance window can have at most {limit} tasks.")
        task = WindowTask(
            window_task_id=call.ids.uuid(), window_id=window.window_id, account_id=call.account_id,
            region=call.region, terms=terms, created_at=call.clock.millis(), client_token=token, digest=digest,
        )  # fmt: skip
        await store.add_task(task)
        await telling.task_changed(call.house, tx, task, telling.REGISTERED)
    return {"WindowTaskId": task.window_task_id}


def _digestible(request: Shape) -> Shape:
    parameters = request.get("TaskInvocationParameters")
    return request if parameters is None else {
        **request, "TaskInvocationParameters": shapes.kept_parameters(parameters)
    }  # fmt: skip


@operation("ssm", "UpdateMaintenanceWindowTask", writes=True, resources=named_task)
async def update_maintenance_window_task(call: Call, request: Shape) -> Shape:
    """Change what the request says; with Replace, it says all."""
    replaces = bool(request.get("Replace"))
    async with call.transaction() as tx:
        window = await locked_window(call, tx, request["WindowId"])
        before = await _found(tx, window.window_id, request["WindowTaskId"])
        if replaces:
            needed = _REQUIRED if before.terms.kind == RUN_COMMAND or request.get("Targets") else ("TaskArn",)
            if left_out := [name for name in needed if not request.get(name)]:
                raise ValidationException(
                    f"With Replace the request must say all that a new task needs: {left_out[0]}."
                )
        kept = {"kind": before.terms.kind} if replaces else asdict(before.terms)
        task = replace(before, terms=TaskTerms(**merged(kept, _said(request))))
        _check(task.terms, window)
        if request.get("Targets"):
            await _check_named(tx, window, task.terms)
        await _ask(call, tx, task.terms)
        await PartStore(tx).save_task(task)
        await telling.task_changed(call.house, tx, task, telling.UPDATED)
    return shapes.updated_task(task)


@operation("ssm", "DeregisterTaskFromMaintenanceWindow", writes=True, resources=named_task)
async def deregister_task_from_maintenance_window(call: Call, request: Shape) -> Shape:
    """Have the window do it no more; a run that goes on ends as it would."""
    task_id = request["WindowTaskId"]
    async with call.transaction() as tx:
        window = await locked_window(call, tx, request["WindowId"])
        task = await _found(tx, window.window_id, task_id)
        await PartStore(tx).remove_task(task_id)
        await telling.task_changed(call.house, tx, task, telling.DEREGISTERED)
    return {"WindowId": window.window_id, "WindowTaskId": task_id}


@operation("ssm", "GetMaintenanceWindowTask", resources=named_task)
async def get_maintenance_window_task(call: Call, request: Shape) -> Shape:
    """One task."""
    async with call.reading() as tx:
        window = await found_window(call, tx, request["WindowId"])
        return shapes.whole_task(await _found(tx, window.window_id, request["WindowTaskId"]))


@operation("ssm", "DescribeMaintenanceWindowTasks", resources=named_window)
async def describe_maintenance_window_tasks(call: Call, request: Shape) -> Shape:
    """The tasks of a window, by age."""
    wanted = filters(request, ("WindowTaskId", "TaskArn", "Priority", "TaskType"))
    async with call.reading() as tx:
        window = await found_window(call, tx, request["WindowId"])
        found = await PartStore(tx).tasks(window.window_id)
    entries: list[tuple[list[str | int], Shape]] = [
        ([each.created_at, each.window_task_id], shapes.listed_task(each))
        for each in found
        if fits(wanted, {
            "WindowTaskId": each.window_task_id, "TaskArn": each.terms.task_arn,
            "Priority": str(each.terms.priority), "TaskType": each.terms.kind,
        })
    ]  # fmt: skip
    return paged(call, request, "DescribeMaintenanceWindowTasks", "Tasks", entries)
