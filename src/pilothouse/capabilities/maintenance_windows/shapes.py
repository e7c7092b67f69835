"""What windows, their parts and executions look like on the wire, and back."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from pilothouse.call import Shape
from pilothouse.capabilities.maintenance_windows.model import (
    Pairs,
    TargetTerms,
    TaskTerms,
    Window,
    WindowTarget,
    WindowTask,
    WindowTerms,
    text_of_moment,
)
from pilothouse.capabilities.maintenance_windows.run_model import Execution, Invocation, Standing, TaskRun
from pilothouse.errors import ValidationException
from pilothouse.runtime.clock import from_millis

WINDOW: Final = {
    "Name": "name",
    "Description": "description",
    "StartDate": "start",
    "EndDate": "end",
    "Schedule": "schedule",
    "ScheduleTimezone": "zone",
    "ScheduleOffset": "offset",
    "Duration": "duration",
    "Cutoff": "cutoff",
    "AllowUnassociatedTargets": "unassociated",
}
TARGET: Final = {"OwnerInformation": "owner", "Name": "name", "Description": "description"}
TASK: Final = {
    "TaskArn": "task_arn",
    "ServiceRoleArn": "role_arn",
    "TaskParameters": "parameters",
    "TaskInvocationParameters": "invocation",
    "Priority": "priority",
    "MaxConcurrency": "max_concurrency",
    "MaxErrors": "max_errors",
    "LoggingInfo": "logging",
    "Name": "name",
    "Description": "description",
    "CutoffBehavior": "cutoff_behavior",
    "AlarmConfiguration": "alarm",
}
_LISTED: Final = (
    "Targets", "TaskArn", "TaskParameters", "Priority", "LoggingInfo", "ServiceRoleArn", "MaxConcurrency", "MaxErrors",
    "Name", "Description", "CutoffBehavior", "AlarmConfiguration",
)  # fmt: skip


def digest(request: Mapping[str, Any]) -> str:
    """Of all that a request says but its token: the same for two that say the same."""
    said = {name: value for name, value in request.items() if name != "ClientToken"}
    return hashlib.sha256(msgspec.json.encode(said, order="deterministic")).hexdigest()


def given(request: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """What a request says, under our names."""
    return {attribute: request[name] for name, attribute in names.items() if request.get(name) is not None}


def pairs(targets: Iterable[Mapping[str, Any]]) -> Pairs:
    """A request's Targets."""
    return [(each.get("Key") or "", list(each.get("Values") or [])) for each in targets]


def targets(of: Pairs) -> list[Shape]:
    """The same on the wire."""
    return [{"Key": key, "Values": list(values)} for key, values in of]


def _said(terms: WindowTerms | TargetTerms | TaskTerms, names: Mapping[str, str]) -> Shape:
    found = {name: getattr(terms, attribute) for name, attribute in names.items()}
    return {name: value for name, value in found.items() if value is not None}


def window(of: Window) -> Shape:
    """The answer of UpdateMaintenanceWindow."""
    return {"WindowId": of.window_id, **_said(of.terms, WINDOW), "Enabled": of.enabled}


def whole_window(of: Window, due_at: int | None) -> Shape:
    """The answer of GetMaintenanceWindow."""
    return {
        **identity(of, due_at),
        "AllowUnassociatedTargets": of.terms.unassociated,
        "CreatedDate": from_millis(of.created_at),
        "ModifiedDate": from_millis(of.modified_at),
    }


def identity(of: Window, due_at: int | None) -> Shape:
    """An entry of DescribeMaintenanceWindows."""
    shape = window(of)
    del shape["AllowUnassociatedTargets"]
    if due_at is not None:
        shape["NextExecutionTime"] = text_of_moment(due_at)
    return shape


def updated_target(of: WindowTarget) -> Shape:
    """The answer of UpdateMaintenanceWindowTarget."""
    ids = {"WindowId": of.window_id, "WindowTargetId": of.window_target_id}
    return {**ids, "Targets": targets(of.terms.targets), **_said(of.terms, TARGET)}


def target(of: WindowTarget) -> Shape:
    """An entry of DescribeMaintenanceWindowTargets."""
    return {**updated_target(of), "ResourceType": of.terms.resource_type}


def updated_task(of: WindowTask) -> Shape:
    """The answer of UpdateMaintenanceWindowTask. Without targets a task runs once, which is said as limits of 1."""
    shape: Shape = {"WindowId": of.window_id, "WindowTaskId": of.window_task_id, "Targets": targets(of.terms.targets)}
    shape |= _said(of.terms, TASK)
    if "TaskInvocationParameters" in shape:
        shape["TaskInvocationParameters"] = told_parameters(shape["TaskInvocationParameters"])
    if not of.terms.targets:
        shape |= {"MaxConcurrency": "1", "MaxErrors": "1"}
    return shape


def whole_task(of: WindowTask) -> Shape:
    """The answer of GetMaintenanceWindowTask."""
    return {**updated_task(of), "TaskType": of.terms.kind}


def listed_task(of: WindowTask) -> Shape:
    """An entry of DescribeMaintenanceWindowTasks."""
    whole = updated_task(of)
    ids = {"WindowId": of.window_id, "WindowTaskId": of.window_task_id, "Type": of.terms.kind}
    return ids | {name: whole[name] for name in _LISTED if name in whole}


def kept_parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """TaskInvocationParameters as they are kept: the payload, which is bytes, as text. Raises ValidationException."""
    payload = parameters.get("Lambda", {}).get("Payload")
    if not isinstance(payload, bytes):
        return dict(parameters)
    try:
        return {**parameters, "Lambda": {**parameters["Lambda"], "Payload": payload.decode()}}
    except UnicodeDecodeError as error:
        raise ValidationException("The Payload of a function must be JSON, in UTF-8.") from error


def told_parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The same on the wire."""
    payload = parameters.get("Lambda", {}).get("Payload")
    if payload is None:
        return dict(parameters)
    return {**parameters, "Lambda": {**parameters["Lambda"], "Payload": payload.encode()}}


def _standing(of: Standing) -> Shape:
    return {
        "Status": of.status.value,
        "StatusDetails": of.details or None,
        "StartTime": None if of.started_at is None else from_millis(of.started_at),
        "EndTime": None if of.ended_at is None else from_millis(of.ended_at),
    }


def listed_execution(of: Execution) -> Shape:
    """An entry of DescribeMaintenanceWindowExecutions."""
    return {"WindowId": of.window_id, "WindowExecutionId": of.execution_id, **_standing(of.at)}


def execution(of: Execution, runs: Iterable[TaskRun]) -> Shape:
    """The answer of GetMaintenanceWindowExecution."""
    ids = {"WindowExecutionId": of.execution_id, "TaskIds": [each.task_execution_id for each in runs]}
    return {**ids, **_standing(of.at)}


def listed_run(of: TaskRun) -> Shape:
    """An entry of DescribeMaintenanceWindowExecutionTasks."""
    return {
        "WindowExecutionId": of.execution_id,
        "TaskExecutionId": of.task_execution_id,
        **_standing(of.at),
        "TaskArn": of.task.task_arn,
        "TaskType": of.task.kind,
        "AlarmConfiguration": of.task.alarm,
    }


def run(of: TaskRun, role_arn: str) -> Shape:
    """The answer of GetMaintenanceWindowExecutionTask."""
    listed = listed_run(of)
    del listed["TaskType"]
    return {
        **listed,
        "Type": of.task.kind,
        "ServiceRole": role_arn,
        "TaskParameters": [of.task.parameters] if of.task.parameters else [],
        "Priority": of.task.priority,
        "MaxConcurrency": of.task.max_concurrency if of.task.targets else "1",
        "MaxErrors": of.task.max_errors if of.task.targets else "1",
    }


def invocation(of: Invocation) -> Shape:
    """An entry of DescribeMaintenanceWindowExecutionTaskInvocations, and the answer about one."""
    return {
        "WindowExecutionId": of.execution_id,
        "TaskExecutionId": of.task_execution_id,
        "InvocationId": of.invocation_id,
        "ExecutionId": of.outside_id or None,
        "TaskType": of.kind,
        "Parameters": of.parameters or None,
        **_standing(of.at),
        "OwnerInformation": of.batch.owner or None,
        "WindowTargetId": of.batch.window_target_id or None,
    }
