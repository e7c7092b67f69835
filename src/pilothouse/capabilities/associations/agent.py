"""What agents ask about associations. They ask soon after their start and then every ten minutes."""

from pilothouse.call import Call, Caller, Shape, operation
from pilothouse.errors import ApiError


class AssociationDoesNotExist(ApiError):
    """No such association."""


def _node(call: Call, request: Shape) -> list[str]:
    return [f"arn:aws:ssm:{call.region}:{call.account_id}:managed-instance/{request['InstanceId']}"]


def _association_and_node(call: Call, request: Shape) -> list[str]:
    return [
        f"arn:aws:ssm:{call.region}:{call.account_id}:association/{request['AssociationId']}",
        *_node(call, request),
    ]


@operation("ssm", "ListInstanceAssociations", callers=Caller.NODE, node_member="InstanceId", resources=_node)
async def list_instance_associations(call: Call, request: Shape) -> Shape:
    """Associations that target the node: none, as none can be made. The agent needs the list, also when it is empty."""
    return {"Associations": []}


@operation(
    "ssm",
    "UpdateInstanceAssociationStatus",
    callers=Caller.NODE,
    node_member="InstanceId",
    resources=_association_and_node,
)
async def update_instance_association_status(call: Call, request: Shape) -> Shape:
    """A report on an association; there is none that it could be about."""
    raise AssociationDoesNotExist(f"There is no association {request['AssociationId']}.")
