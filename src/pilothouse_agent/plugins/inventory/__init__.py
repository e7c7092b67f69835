"""aws:softwareInventory: what is installed on this node, and what it is, sent by PutInventory (agent-protocol 8).

The work is done in a child and may be repeated. Gatherers: a module for each kind of source.
"""

import os
import sys
from collections.abc import Callable, Mapping

from pilothouse_agent.plugins import Run, RunResult, supervisor
from pilothouse_agent.plugins.supervised import outcome_of, run_to_end

Entry = dict[str, str]


async def software_inventory(run: Run) -> RunResult:
    """Gather and send what the inputs ask for."""
    stored = await run_to_end(run, lambda: _work(run), repeatable=True)
    return outcome_of(stored, run, lambda code: ("Success", 0, "") if code == 0 else ("Failed", 1, ""))


def _work(run: Run) -> supervisor.Work:
    return supervisor.Work(
        function=lambda: _gather(run), working_directory=str(run.downloads), environment=dict(os.environ)
    )


def _gather(run: Run) -> int:
    from pilothouse_agent.link.api import ApiError
    from pilothouse_agent.link.https import Unreachable
    from pilothouse_agent.plugins.inventory.upload import items_of, put

    gathered = items_of(run)
    if not gathered:
        print("Inventory policy has been successfully applied but there is no inventory data to upload to SSM")
        return 0
    try:
        put(run, gathered)
    except (ApiError, Unreachable) as error:
        print(
            "inventory data could not be uploaded to Systems Manager. "
            f"Additional troubleshooting information - {error}",
            file=sys.stderr,
        )
        return 1
    print("Inventory policy has been successfully applied and collected inventory data has been uploaded to SSM")
    return 0


def is_enabled(inputs: Mapping[str, object], name: str) -> bool:
    return str(inputs.get(name) or "").lower() == "enabled"


Gatherer = Callable[[], list[Entry]]
