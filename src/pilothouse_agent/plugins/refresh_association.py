"""aws:refreshAssociation: the node fetches its associations and runs those that are named, or all of them, now.

The step ends when they are fetched; what becomes of the runs is in their own reports. A server that only wants the node
to look names an association that nobody has: then those run that the server has let go, and no other.
"""

from pilothouse_agent.associations import NOBODYS
from pilothouse_agent.link.api import ApiError
from pilothouse_agent.link.https import Unreachable
from pilothouse_agent.plugins import Run, RunResult
from pilothouse_agent.plugins.supervised import refused
from pilothouse_agent.times import now_ms


async def refresh_association(run: Run) -> RunResult:
    """Look at the node's associations."""
    began = now_ms()
    given = run.inputs.get("associationIds") or []
    wanted = sorted({str(one) for one in given if one} if isinstance(given, list) else {str(given)})
    only_look = wanted == [NOBODYS]
    try:
        chosen = await run.node.look(None if only_look else wanted)
    except (ApiError, Unreachable) as error:
        return refused(f"the associations of this node could not be read: {error}")
    missing = sorted(set(wanted) - set(chosen) - {NOBODYS})
    if missing:
        return refused(f"this node has no association {', '.join(missing)}")
    if only_look:
        note = "Associations were looked at"
    elif not wanted:
        note = "All associations have been requested to execute immediately"
    else:
        note = f"Associations {' '.join(chosen)} have been requested to execute immediately"
    return RunResult(status="Success", code=0, started_at=began, ended_at=now_ms(), output_note=note)
