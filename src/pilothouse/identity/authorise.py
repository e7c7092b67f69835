"""May they: the one authoriser, default deny.

Root may do everything in its account. A node may use the closed list of verbs that operations declare with
`Caller.NODE`, on itself only. Policies of users and roles join here.
"""

from pilothouse.call import Call, Caller, Operation, Shape
from pilothouse.errors import AccessDeniedException
from pilothouse.runtime.metrics import NODE_REFUSALS


async def authorise(call: Call, operation: Operation, request: Shape) -> None:
    """Return if the call's principal may do this. Raises AccessDeniedException."""
    principal = call.principal
    if principal.kind == "root" and Caller.ACCOUNT in operation.callers:
        return
    if principal.kind == "anonymous" and Caller.ANYONE in operation.callers:
        return
    if principal.kind == "node":
        if Caller.NODE in operation.callers and _is_itself(call, operation, request):
            return
        NODE_REFUSALS.inc()
    resource = next(iter(operation.resources(call, request)), "*") if operation.resources else "*"
    raise AccessDeniedException(
        f"User: {principal.arn} is not authorized to perform: {operation.action} on resource: {resource} "
        f"because no identity-based policy allows the {operation.action} action"
    )


def _is_itself(call: Call, operation: Operation, request: Shape) -> bool:
    return operation.node_member is None or request.get(operation.node_member) == call.principal.node_id
