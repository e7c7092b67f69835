"""SendAutomationSignal: what people say to an execution that waits for them, or want of one that goes on."""

from collections.abc import Mapping, Sequence
from typing import Any

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities.automation.access_signals import decide, request_of_execution
from pilothouse.capabilities.automation.going import put_due
from pilothouse.capabilities.automation.model import (
    AutomationStepNotFoundException,
    InvalidAutomationSignalException,
    Status,
)
from pilothouse.capabilities.automation.operations import execution_resource, found_execution
from pilothouse.capabilities.automation.runs import INTERACTIVE, Execution, StepRun
from pilothouse.capabilities.automation.store import AutomationStore
from pilothouse.identity.principals import Principal

_COMMENT = 1024


@operation("ssm", "SendAutomationSignal", writes=True, resources=execution_resource)
async def send_automation_signal(call: Call, request: Shape) -> Shape:
    """Approve, reject, resume, start or stop a step, or revoke an access."""
    kind = request["SignalType"]
    payload = {name: str((values or [""])[0]) for name, values in (request.get("Payload") or {}).items()}
    async with call.transaction() as tx:
        if (access_request := request_of_execution(request["AutomationExecutionId"])) is not None:
            await decide(call, tx, access_request, kind, payload)
            return {}
        found = await found_execution(call, tx, request["AutomationExecutionId"])
        await put_due(call.house, tx, found.execution_id, found.account_id, found.region)
        execution = await found_execution(call, tx, found.execution_id)
        if execution.status.final and kind != "Revoke":
            raise InvalidAutomationSignalException(
                f"The automation execution {execution.execution_id} has ended: it is {execution.status.value}."
            )
        store = AutomationStore(tx, call.house.vault)
        if kind in ("Approve", "Reject"):
            await _decide(call, store, execution, kind, payload)
        elif kind == "Resume":
            await _resume(call, store, execution, payload)
        elif kind == "StartStep":
            await _start_step(store, execution, payload)
        elif kind == "StopStep":
            await _stop_step(call, store, execution, payload)
        else:
            raise InvalidAutomationSignalException("Revoke is for executions of access requests.")
    return {}


async def _waiting(store: AutomationStore, execution: Execution, action: str, name: str = "") -> StepRun:
    """The step of that action that waits for people. Raises the operation's errors."""
    runs = await store.steps(execution.execution_id)
    if name and all(each.name != name for each in runs):
        raise AutomationStepNotFoundException(f"No step named {name} has begun.")
    for each in runs:
        if each.action == action and each.status is Status.WAITING and name in ("", each.name):
            return each
    raise InvalidAutomationSignalException(f"No step of the action {action} waits for a signal.")


async def _decide(
    call: Call, store: AutomationStore, execution: Execution, decision: str, payload: Mapping[str, str]
) -> None:
    run = await _waiting(store, execution, "aws:approve", payload.get("StepName", ""))
    who = call.principal
    if not is_among(who, run.contents.inputs.get("Approvers") or ()):
        raise InvalidAutomationSignalException(
            f"{who.arn} is not one of the approvers of the step {run.name}."
        )  # fmt: skip
    decisions: list[dict[str, Any]] = list(run.contents.state.get("decisions") or ())
    if has_decided(run, who):
        raise InvalidAutomationSignalException(f"{who.arn} has decided already.")
    decisions.append({
        "Approver": who.arn, "Decision": decision, "Comment": payload.get("Comment", "")[:_COMMENT],
        "Time": call.clock.now().isoformat(timespec="seconds").replace("+00:00", "Z"),
    })  # fmt: skip
    run.contents.state = {**run.contents.state, "decisions": decisions}
    run.due_at = call.clock.millis()
    await store.save_steps([run])


def has_decided(run: StepRun, who: Principal) -> bool:
    """Whether somebody has approved or rejected already."""
    return any(each["Approver"] == who.arn for each in run.contents.state.get("decisions") or ())


def is_among(who: Principal, approvers: Sequence[str]) -> bool:
    """Whether somebody is named: by the name of a user, or by the ARN of a user, a role or a session of one."""
    names = {who.arn, who.role_arn, who.name} - {""}
    return any(each in names for each in approvers)


async def _resume(call: Call, store: AutomationStore, execution: Execution, payload: Mapping[str, str]) -> None:
    run = await _waiting(store, execution, "aws:pause", payload.get("StepName", ""))
    run.contents.state = {**run.contents.state, "resumed": True}
    run.due_at = call.clock.millis()
    await store.save_steps([run])


async def _start_step(store: AutomationStore, execution: Execution, payload: Mapping[str, str]) -> None:
    name = payload.get("StepName", "")
    if execution.mode != INTERACTIVE:
        raise InvalidAutomationSignalException(
            "The execution is not in Interactive mode: its steps begin by themselves."
        )
    if execution.status is not Status.WAITING or not execution.current_step:
        raise InvalidAutomationSignalException("The execution does not wait for a step to be started.")
    if name not in ("", execution.current_step):
        raise AutomationStepNotFoundException(f"The next step is {execution.current_step}, not {name}.")
    execution.granted_step = execution.current_step
    await store.save(execution)


async def _stop_step(call: Call, store: AutomationStore, execution: Execution, payload: Mapping[str, str]) -> None:
    step_id = payload.get("StepExecutionId", "")
    run = await store.step(step_id.lower()) if step_id else None
    if run is None or run.execution_id != execution.execution_id:
        raise AutomationStepNotFoundException(f"The execution has no step execution {step_id} that was begun.")
    if run.status.final:
        raise InvalidAutomationSignalException(f"The step {run.name} has ended: it is {run.status.value}.")
    if run.turn in ("", "again"):
        run.turn = "stop"
        await store.save_steps([run])
