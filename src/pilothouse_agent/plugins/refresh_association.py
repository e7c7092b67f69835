"""aws:refreshAssociation: the node fetches its associations and runs those that are due.

This agent does not run associations by itself yet. What it can say truly is what the server has for the
node: nothing to run is a success, anything else a failure that says so.
"""

from pilothouse_agent.link.api import ApiError
from pilothouse_agent.link.https import Unreachable
from pilothouse_agent.plugins import Run, RunResult
from pilothouse_agent.plugins.supervised import refused
from pilothouse_agent.times import now_ms

_PAGE = 20


async def refresh_association(run: Run) -> RunResult:
    """Look at the node's associations."""
    began = now_ms()
    given = run.inputs.get("associationIds") or []
    wanted = {str(one) for one in given if one} if isinstance(given, list) else {str(given)}
    found: list[str] = []
    request: dict[str, object] = {"InstanceId": run.node.instance_id, "MaxResults": _PAGE}
    try:
        while True:
            answer = await run.node.call("ListInstanceAssociations", request)
            found += [
                str(one.get("AssociationId")) for one in answer.get("Associations") or [] if isinstance(one, dict)
            ]
            token = answer.get("NextToken")
            if not token:
                break
            request["NextToken"] = token
    except (ApiError, Unreachable) as error:
        return refused(f"the associations of this node could not be read: {error}")
    missing = sorted(wanted - set(found))
    if missing:
        return refused(f"this node has no association {', '.join(missing)}")
    chosen = sorted(wanted or set(found))
    if chosen:
        return refused(f"this agent cannot run associations yet: {', '.join(chosen)}")
    note = "There are no associations of this node to refresh"
    return RunResult(status="Success", code=0, started_at=began, ended_at=now_ms(), output_note=note)
