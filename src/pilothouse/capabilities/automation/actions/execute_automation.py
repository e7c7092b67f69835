"""`aws:executeAutomation`: another runbook, to its end."""

from collections.abc import Mapping
from typing import Any, Final

from pilothouse.capabilities.automation import queueing
from pilothouse.capabilities.automation.actions.interface import (
    Action,
    Done,
    Failed,
    Input,
    Kind,
    Outcome,
    Step,
    Values,
    WaitFor,
    WaitUntil,
)
from pilothouse.capabilities.automation.model import InvalidAutomationStatusUpdateException
from pilothouse.capabilities.automation.selecting import as_text
from pilothouse.capabilities.automation.store import AutomationStore
from pilothouse.errors import ApiError

_TAKEN: Final = (
    "DocumentName", "DocumentVersion", "MaxConcurrency", "MaxErrors", "Targets", "TargetMaps", "TargetParameterName",
    "TargetLocations", "Tags",
)  # fmt: skip


class ExecuteAutomation(Action):
    """The child is started in the transaction that makes the step, and belongs to it."""

    name = "aws:executeAutomation"
    inputs: Mapping[str, Input] = {
        "DocumentName": Input(required=True),
        "DocumentVersion": Input(),
        "RuntimeParameters": Input(Kind.MAP),
        "MaxConcurrency": Input(),
        "MaxErrors": Input(),
        "Targets": Input(Kind.MAPS),
        "TargetMaps": Input(Kind.MAPS),
        "TargetParameterName": Input(),
        "TargetLocations": Input(Kind.MAPS),
        "Tags": Input(Kind.MAPS),
    }
    timeout_seconds = None

    async def begin(self, step: Step) -> Outcome:
        request: dict[str, Any] = {name: step.inputs[name] for name in _TAKEN if name in step.inputs}
        request["ClientToken"] = step.token
        if step.inputs.get("RuntimeParameters"):
            request["Parameters"] = {
                name: [as_text(each) for each in (value if isinstance(value, list) else [value])]
                for name, value in step.inputs["RuntimeParameters"].items()
                if value not in (None, "")
            }
        answer = await step.ask("ssm", "StartAutomationExecution", request)
        child_id = answer["AutomationExecutionId"]
        await AutomationStore(step.tx, step.house.vault).adopt(child_id, step.execution_id, step.step_execution_id)
        await queueing.begin_child(step.house, step.tx, child_id, step.account_id, step.region)
        return _wait(child_id)

    async def resume(self, step: Step, state: Values) -> Outcome:
        child_id = str(state["execution_id"])
        child = await AutomationStore(step.tx, step.house.vault).execution(child_id)
        if child is None:
            return Failed(message=f"The execution {child_id} is not there any more.")
        if not child.status.final:
            return _wait(child_id)
        given = child.contents.outputs
        output = [text for texts in given.values() for text in texts]
        outputs: dict[str, Any] = {
            "ExecutionId": child_id, "Status": child.status.value, "Output": output,
            "OutputPayload": {"ExecutionId": child_id, "Status": child.status.value, "Output": dict(given)},
        }  # fmt: skip
        if child.status.value == "Success":
            return Done(outputs=outputs)
        why = child.contents.failure or f"it is {child.status.value}"
        return Failed(message=f"The execution {child_id} did not succeed: {why}", outputs=outputs)

    async def cancel(self, step: Step, state: Values) -> WaitUntil | WaitFor | None:
        child_id = state.get("execution_id")
        if not child_id:
            return None
        try:
            await step.ask("ssm", "StopAutomationExecution", {"AutomationExecutionId": child_id, "Type": "Cancel"})
        except InvalidAutomationStatusUpdateException:
            return None
        except ApiError:  # who may not stop it waits for its end
            return _wait(str(child_id))
        return _wait(str(child_id))


def _wait(child_id: str) -> WaitFor:
    return WaitFor(keys=[f"automation:{child_id}"], state={"execution_id": child_id})
