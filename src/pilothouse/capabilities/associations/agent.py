"""What agents ask about associations. They ask soon after their start and then every ten minutes."""

from pilothouse.call import Call, Caller, Shape, operation
from pilothouse.errors import ApiError


class AssociationDoesNotExist(ApiError):
    """No such association."""


@operation("ssm", "ListInstanceAssociations", callers=Caller.NODE, node_member="InstanceId")
async def list_instance_associations(call: Call, request: Shape) -> Shape:
    """Associations that target the node: none, as none can be made. The agent needs the list, also when it is empty."""
    return {"Associations": []}


@operation("ssm", "UpdateInstanceAssociationStatus", callers=Caller.NODE, node_member="InstanceId")
async def update_instance_association_status(call: Call, request: Shape) -> Shape:
    """A report on an association; there is none that it could be about."""
    raise AssociationDoesNotExist(f"There is no association {request['AssociationId']}.")
