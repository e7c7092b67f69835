"""Telling that executions and steps stand otherwise: events for everybody who listens, and those who have to go on."""

from datetime import UTC
from typing import Any, Final

from pilothouse.call import House
from pilothouse.capabilities.automation.runs import Execution, StepRun
from pilothouse.runtime.clock import from_millis
from pilothouse.scheduling import due
from pilothouse.storage import Transaction

HAPPENED: Final = "automation.happened"
"""Kind of what is due: somebody told that what steps may wait for has happened, by its key."""
_EXECUTION: Final = "EC2 Automation Execution Status-change Notification"
_STEP: Final = "EC2 Automation Step Status-change Notification"


async def happened(house: House, tx: Transaction, key: str, *, account_id: str, region: str) -> None:
    """What the key names has happened: steps that wait for it (`WaitFor`) go on, soon.

    Costs one row, and holds nothing else: whoever tells it may hold locks of its own.
    """
    await due.put(house, tx, HAPPENED, key, house.clock.millis(), account_id=account_id, region=region)


async def execution_moved(house: House, tx: Transaction, execution: Execution) -> None:
    """Its status is another."""
    detail: dict[str, Any] = {
        "ExecutionId": execution.execution_id,
        "Definition": execution.document_name,
        "DefinitionVersion": execution.document_version,
        "Status": execution.status.value,
        "StartTime": _moment(execution.started_at),
        "ExecutedBy": str(execution.contents.who.get("arn") or ""),
    }
    if execution.ended_at is not None:
        detail |= {
            "EndTime": _moment(execution.ended_at),
            "Time": round((execution.ended_at - execution.started_at) / 1000, 3),
        }
    await _tell(house, tx, execution, _EXECUTION, detail)
    if not execution.status.final:
        return
    where = {"account_id": execution.account_id, "region": execution.region}
    await house.tell(
        tx, "automation.ended", **where, execution_id=execution.execution_id, status=execution.status.value,
        parent_id=execution.parent_id, failure=execution.contents.failure,
    )  # fmt: skip
    if execution.parent_step_id:
        await happened(house, tx, f"automation:{execution.execution_id}", **where)
    elif execution.parent_id:
        await happened(house, tx, f"children:{execution.parent_id}", **where)


async def step_moved(house: House, tx: Transaction, execution: Execution, step: StepRun) -> None:
    """Its status is another."""
    detail: dict[str, Any] = {
        "ExecutionId": execution.execution_id,
        "Definition": execution.document_name,
        "DefinitionVersion": execution.document_version,
        "Status": step.status.value,
        "StepName": step.name,
        "StepStatus": step.status.value,
        "Action": step.action,
        "StartTime": _moment(step.started_at),
    }
    if step.ended_at is not None:
        detail |= {
            "EndTime": _moment(step.ended_at),
            "Time": round((step.ended_at - step.started_at) / 1000, 3),
        }
    await _tell(house, tx, execution, _STEP, detail)


def _moment(at: int) -> str:
    return from_millis(at).astimezone(UTC).strftime("%b %-d, %Y, %-I:%M:%S %p")


def arn_of(execution: Execution) -> str:
    return f"arn:aws:ssm:{execution.region}:{execution.account_id}:automation-execution/{execution.execution_id}"


async def _tell(house: House, tx: Transaction, of: Execution, name: str, detail: dict[str, Any]) -> None:
    await house.tell(
        tx, "event",
        account_id=of.account_id, region=of.region, source="aws.ssm", detail_type=name, resources=[arn_of(of)],
        detail=detail,
    )  # fmt: skip
