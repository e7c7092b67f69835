"""Events of windows, in the form that the cloud's have."""

from datetime import UTC
from typing import Any, Final

from pilothouse.call import House
from pilothouse.capabilities.maintenance_windows.model import Window, WindowTarget, WindowTask
from pilothouse.capabilities.maintenance_windows.run_model import Execution, Invocation, Standing, TaskRun
from pilothouse.runtime.clock import from_millis
from pilothouse.storage import Transaction

REGISTERED: Final = "REGISTERED"
UPDATED: Final = "UPDATED"
DEREGISTERED: Final = "DEREGISTERED"

Of = Window | WindowTarget | WindowTask | Execution | TaskRun | Invocation


async def window_switched(house: House, tx: Transaction, window: Window) -> None:
    """It was enabled or disabled."""
    status = "ENABLED" if window.enabled else "DISABLED"
    await _tell(house, tx, window, "Maintenance Window State-change Notification", {"status": status})


async def target_changed(house: House, tx: Transaction, target: WindowTarget, status: str) -> None:
    """It was registered, changed or removed."""
    detail = {"window-target-id": target.window_target_id, "status": status}
    name = "Maintenance Window Target Registration Notification"
    await _tell(house, tx, target, name, detail, f"windowtarget/{target.window_target_id}")


async def task_changed(house: House, tx: Transaction, task: WindowTask, status: str) -> None:
    """It was registered, changed or removed."""
    detail = {"window-task-id": task.window_task_id, "status": status}
    name = "Maintenance Window Task Registration Notification"
    await _tell(house, tx, task, name, detail, f"windowtask/{task.window_task_id}")


async def execution_moved(house: House, tx: Transaction, execution: Execution) -> None:
    """Its status is another."""
    detail = {"window-execution-id": execution.execution_id, **_standing(execution.at)}
    await _tell(house, tx, execution, "Maintenance Window Execution State-change Notification", detail)


async def task_moved(house: House, tx: Transaction, run: TaskRun) -> None:
    """Its status is another."""
    detail = {"window-execution-id": run.execution_id, "task-execution-id": run.task_execution_id}
    name = "Maintenance Window Task Execution State-change Notification"
    await _tell(house, tx, run, name, detail | _standing(run.at))


async def invocation_moved(house: House, tx: Transaction, invocation: Invocation) -> None:
    """Its status is another."""
    detail = {"window-execution-id": invocation.execution_id, "task-execution-id": invocation.task_execution_id}
    if invocation.batch.window_target_id:
        detail["window-target-id"] = invocation.batch.window_target_id
    if invocation.batch.owner:
        detail["owner-information"] = invocation.batch.owner
    name = "Maintenance Window Task Target Invocation State-change Notification"
    await _tell(house, tx, invocation, name, detail | _standing(invocation.at))


def _standing(at: Standing) -> dict[str, Any]:
    detail = {"status": at.status.value}
    if at.started_at is not None:
        detail["start-time"] = _moment(at.started_at)
    if at.ended_at is not None:
        detail["end-time"] = _moment(at.ended_at)
    return detail


def _moment(at: int) -> str:
    return from_millis(at).astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


async def _tell(house: House, tx: Transaction, of: Of, name: str, detail: dict[str, Any], part: str = "") -> None:
    where = f"arn:aws:ssm:{of.region}:{of.account_id}:"
    resources = [f"{where}maintenancewindow/{of.window_id}", *([where + part] if part else [])]
    await house.tell(
        tx, "event",
        account_id=of.account_id, region=of.region, source="aws.ssm", detail_type=name, resources=resources,
        detail={"window-id": of.window_id, **detail},
    )  # fmt: skip
