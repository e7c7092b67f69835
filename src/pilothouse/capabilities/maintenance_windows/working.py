"""The work itself: commands by way of the operation table, functions by calls that `calling` makes."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import msgspec

from pilothouse.call import House, Shape
from pilothouse.capabilities import automation, commands
from pilothouse.capabilities.maintenance_windows import calling
from pilothouse.capabilities.maintenance_windows.acting import actor
from pilothouse.capabilities.maintenance_windows.batches import wire_targets
from pilothouse.capabilities.maintenance_windows.model import AUTOMATION, RUN_COMMAND
from pilothouse.capabilities.maintenance_windows.run_model import Invocation, Pseudo, Status, TaskRun, ended
from pilothouse.errors import ApiError, UnknownOperationException
from pilothouse.storage import Transaction

_RESULTS: Final[Mapping[str, Status]] = {
    "Success": Status.SUCCESS,
    "CompletedWithSuccess": Status.SUCCESS,
    "CompletedWithFailure": Status.FAILED,
    "Failed": Status.FAILED,
    "TimedOut": Status.TIMED_OUT,
    "Cancelled": Status.CANCELLED,
}
"""Statuses of commands and automation executions that have ended."""
_STOP: Final = {
    RUN_COMMAND: ("CancelCommand", "CommandId"),
    AUTOMATION: ("StopAutomationExecution", "AutomationExecutionId"),
}
_NO_NODES: Final = "The resource group holds no managed nodes of the types that the target names."
_OF_RUN_COMMAND: Final = (
    "Comment", "CloudWatchOutputConfig", "DocumentHash", "DocumentHashType", "DocumentVersion", "NotificationConfig",
    "OutputS3BucketName", "OutputS3KeyPrefix", "Parameters", "ServiceRoleArn", "TimeoutSeconds",
)  # fmt: skip
_OF_LOGGING: Final = {
    "S3BucketName": "OutputS3BucketName",
    "S3KeyPrefix": "OutputS3KeyPrefix",
    "S3Region": "OutputS3Region",
}
_SHOWN: Final = {
    "DocumentName": "documentName", "DocumentVersion": "documentVersion", "Targets": "targets",
    "MaxConcurrency": "maxConcurrency", "MaxErrors": "maxErrors", "Comment": "comment",
    "TimeoutSeconds": "timeoutSeconds", "Parameters": "parameters",
}  # fmt: skip


async def start(house: House, tx: Transaction, run: TaskRun, invocation: Invocation) -> Invocation:
    """Begin the work of an invocation; as it stands then. What is wrong with the task ends it."""
    try:
        if run.task.kind == RUN_COMMAND:
            return await _command(house, tx, run, invocation)
        if run.task.kind == AUTOMATION:
            return await _runbook(house, tx, run, invocation)
        return await calling.prepared(house, tx, run, invocation)
    except UnknownOperationException as error:
        text = f"Tasks of type {run.task.kind} cannot be run here: {error.message}"
    except ApiError as error:
        text = f"{error.code}: {error.message}"
    return ended(invocation, Status.FAILED, house.clock.millis(), text)


async def stop(house: House, tx: Transaction, run: TaskRun, invocation: Invocation) -> bool:
    """Have the work stopped; whether its end is to be waited for as that of something cancelled.

    Calls cannot be taken back: they end as they end.
    """
    if run.task.kind not in _STOP:
        return False
    name, member = _STOP[run.task.kind]
    try:
        who = await actor(house, tx, run)
        await house.inside.asked(tx, who, run.region, ("ssm", name), {member: invocation.outside_id})
    except ApiError:
        return False
    return True


async def outcome(house: House, tx: Transaction, invocation: Invocation) -> tuple[Status, str] | None:
    """How the command or runbook of an invocation ended; None while it goes on."""
    where = invocation.account_id, invocation.region
    if invocation.kind == AUTOMATION:
        stands = await automation.outcome_of(house, tx, *where, invocation.outside_id)
        if stands is None:
            return Status.FAILED, "The automation execution is not there any more."
        return (_RESULTS[stands[0]], stands[1]) if stands[0] in _RESULTS else None
    found = await commands.status_of(tx, *where, invocation.outside_id)
    if found is None:
        return Status.FAILED, "The command is not there any more."
    if not found.final:
        return None
    return _outcome(found.status, found.details)


def _outcome(status: str, details: str) -> tuple[Status, str]:
    return _RESULTS.get(status, Status.FAILED), "" if details == "Success" else details


def _request(run: TaskRun, invocation: Invocation) -> Shape:
    """SendCommand for the batch of an invocation."""
    task = run.task
    said = (task.invocation or {}).get("RunCommand") or {}
    request: Shape = {name: said[name] for name in _OF_RUN_COMMAND if said.get(name) is not None}
    if task.parameters:
        request["Parameters"] = {name: list(of.get("Values") or []) for name, of in task.parameters.items()}
    for name, member in _OF_LOGGING.items():
        if (task.logging or {}).get(name):
            request[member] = (task.logging or {})[name]
    filled: Shape = Pseudo.of(run, invocation).filled(request)
    return {
        **filled,
        "DocumentName": task.task_arn,
        "Targets": wire_targets(invocation.batch),
        "MaxConcurrency": task.max_concurrency,
        "MaxErrors": task.max_errors,
    } | ({"AlarmConfiguration": task.alarm} if task.alarm else {})


async def _command(house: House, tx: Transaction, run: TaskRun, invocation: Invocation) -> Invocation:
    request = _request(run, invocation)
    invocation = replace(invocation, parameters=_shown(request))
    if not request["Targets"]:
        return ended(invocation, Status.SUCCESS, house.clock.millis(), _NO_NODES)
    who = await actor(house, tx, run)
    try:
        answer = await house.inside.asked(tx, who, run.region, ("ssm", "SendCommand"), request)
    except ApiError as error:
        return ended(invocation, Status.FAILED, house.clock.millis(), f"{error.code}: {error.message}")
    command = answer["Command"]
    invocation = replace(invocation, outside_id=command["CommandId"])
    if command["Status"] in _RESULTS:  # it has ended already: no node fits, or none may be sent to
        found = _outcome(command["Status"], command.get("StatusDetails") or "")
        return ended(invocation, found[0], house.clock.millis(), found[1])
    return invocation


def _shown(request: Mapping[str, Any]) -> str:
    shown = {name: request[member] for member, name in _SHOWN.items() if request.get(member) is not None}
    shown["targets"] = [{"key": each["Key"], "values": each["Values"]} for each in request["Targets"]]
    return msgspec.json.encode(shown).decode()


async def _runbook(house: House, tx: Transaction, run: TaskRun, invocation: Invocation) -> Invocation:
    said = dict((run.task.invocation or {}).get("Automation") or {})
    if run.task.parameters:
        said["Parameters"] = {name: list(of.get("Values") or []) for name, of in run.task.parameters.items()}
    request = {"DocumentName": run.task.task_arn, **Pseudo.of(run, invocation).filled(said)}
    if run.task.alarm:
        request["AlarmConfiguration"] = run.task.alarm
    shown = {name[0].lower() + name[1:]: value for name, value in request.items() if name != "AlarmConfiguration"}
    invocation = replace(invocation, parameters=msgspec.json.encode(shown).decode())
    who = await actor(house, tx, run)
    try:
        answer = await house.inside.asked(tx, who, run.region, ("ssm", "StartAutomationExecution"), request)
    except ApiError as error:
        return ended(invocation, Status.FAILED, house.clock.millis(), f"{error.code}: {error.message}")
    return replace(invocation, outside_id=answer["AutomationExecutionId"])
