"""Starting, looking at and stopping executions."""

import re
from collections.abc import Sequence
from typing import Final

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities import documents
from pilothouse.capabilities.automation import shapes
from pilothouse.capabilities.automation.going import put_due, runbook_of, stop
from pilothouse.capabilities.automation.model import (
    AutomationExecutionNotFoundException,
    InvalidAutomationStatusUpdateException,
    Stop,
)
from pilothouse.capabilities.automation.runs import RUNBOOK, Execution
from pilothouse.capabilities.automation.starting import start
from pilothouse.capabilities.automation.store import AutomationStore
from pilothouse.storage import Transaction

_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
SHOWN_STEPS: Final = 100


def execution_resource(call: Call, request: Shape) -> list[str]:
    """The execution that is named."""
    named = request["AutomationExecutionId"].lower()
    return [f"arn:aws:ssm:{call.region}:{call.account_id}:automation-execution/{named}"]


def definition_resource(call: Call, request: Shape) -> list[str]:
    """The runbook that is named, as policies know it."""
    arn = documents.arn_of(request["DocumentName"], call.account_id, call.region)
    version = request.get("DocumentVersion") or "$DEFAULT"
    return [f"{arn.replace(':document/', ':automation-definition/')}:{version}"]


@operation("ssm", "StartAutomationExecution", writes=True, resources=definition_resource)
async def start_automation_execution(call: Call, request: Shape) -> Shape:
    """Start a runbook, once or for each of several targets."""
    async with call.transaction() as tx:
        execution = await start(call, tx, request)
    return {"AutomationExecutionId": execution.execution_id}


async def found_execution(call: Call, tx: Transaction, execution_id: str) -> Execution:
    """Raises AutomationExecutionNotFoundException."""
    found = None
    if _UUID.fullmatch(execution_id):
        found = await AutomationStore(tx, call.house.vault).execution(execution_id.lower())
    if found is None or (found.account_id, found.region) != (call.account_id, call.region):
        raise AutomationExecutionNotFoundException(f"There is no automation execution {execution_id}.")
    return found


async def all_steps(call: Call, tx: Transaction, execution: Execution) -> Sequence[Shape]:
    """Every step of the execution, or every child as one."""
    store = AutomationStore(tx, call.house.vault)
    if execution.kind != RUNBOOK:
        return [shapes.child_step(each) for each in await store.children(execution.execution_id)]
    runs = await store.steps(execution.execution_id)
    return shapes.steps(execution, await runbook_of(store, execution), runs)


@operation("ssm", "GetAutomationExecution", resources=execution_resource)
async def get_automation_execution(call: Call, request: Shape) -> Shape:
    """An execution with its steps, the first 100 of them."""
    async with call.reading() as tx:
        found = await found_execution(call, tx, request["AutomationExecutionId"])
        store = AutomationStore(tx, call.house.vault)
        counts = {} if found.kind == RUNBOOK else await store.count_children(found.execution_id)
        steps = await all_steps(call, tx, found)
    return {"AutomationExecution": shapes.execution(found, steps, counts, SHOWN_STEPS)}


@operation("ssm", "StopAutomationExecution", writes=True, resources=execution_resource)
async def stop_automation_execution(call: Call, request: Shape) -> Shape:
    """End an execution: with its running step cancelled, or (Complete) once that has ended."""
    how = Stop.COMPLETE if request.get("Type") == "Complete" else Stop.CANCEL
    async with call.transaction() as tx:
        found = await found_execution(call, tx, request["AutomationExecutionId"])
        await put_due(call.house, tx, found.execution_id, found.account_id, found.region)
        if not await stop(call.house, tx, found.execution_id, how):
            raise InvalidAutomationStatusUpdateException(
                f"The automation execution {found.execution_id} has ended: it is {found.status.value}."
            )
    return {}
