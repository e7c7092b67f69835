"""Maintenance windows: time frames that come again and again, in which tasks run on registered targets.

Owns the tables maintenance_window, maintenance_window_target, maintenance_window_target_value, maintenance_window_task,
maintenance_window_execution, maintenance_window_execution_task and maintenance_window_invocation. Does not do the work:
commands are sent and runbooks started through the operation table, as the role of the task, and tell by
`command.finished` and `automation.ended` that they ended.
"""

from pilothouse.call import Capability, Lasting
from pilothouse.capabilities import tags
from pilothouse.capabilities.maintenance_windows import (
    executions,
    explaining,
    jobs,
    schedules,
    targets,
    tasks,
    windows,
)
from pilothouse.capabilities.maintenance_windows.asking import TAGGED_AS
from pilothouse.capabilities.maintenance_windows.caller import make_calls
from pilothouse.capabilities.maintenance_windows.running import (
    DUE,
    ENDED,
    WATCH,
    automation_ended,
    command_ended,
    command_finished,
    execution_watched,
    window_due,
)
from pilothouse.capabilities.maintenance_windows.store import WindowStore
from pilothouse.storage import Transaction


async def _find(tx: Transaction, account_id: str, region: str, resource_id: str) -> str | None:
    """The window that tags hang on."""
    found = await WindowStore(tx).find(account_id, region, resource_id)
    return None if found is None else resource_id


async def _tags(tx: Transaction, account_id: str, region: str, rest: str) -> dict[str, str]:
    """Of the window that an ARN ends with."""
    return await tags.of(tx, account_id, region, TAGGED_AS, rest)


CAPABILITY = Capability.of(
    "maintenance_windows",
    windows,
    targets,
    tasks,
    executions,
    schedules,
    explaining,
    jobs,
    taggable={TAGGED_AS: _find},
    tags_of={"maintenancewindow": _tags},
    listeners={"command.finished": command_finished, "automation.ended": automation_ended},
    due={DUE: window_due, WATCH: execution_watched, ENDED: command_ended},
    lasting=(Lasting(name="maintenance_windows.calls", run=make_calls),),
    coming=(schedules.windows_coming,),
)

__all__ = ["CAPABILITY"]
