"""The default role of an account's machines: the service setting default-ec2-instance-management-role by other names.

It is kept; nothing registers by it, as there is no instance identity to register with.
"""

from typing import Final

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities import access, service_settings
from pilothouse.errors import AccessDeniedException, ValidationException

SETTING: Final = "/ssm/managed-instance/default-ec2-instance-management-role"
_SERVICE_ROLE: Final = "service-role/AWSSystemsManagerDefaultEC2InstanceManagementRole"
"""What the service takes by itself: the name that AWS's own console makes."""


@operation("ssm", "RegisterDefaultHostManagementConfiguration", writes=True)
async def register_default_host_management_configuration(call: Call, request: Shape) -> Shape:
    """Name the default role. One that is there stays, unless it is to be overwritten."""
    arn = request.get("RoleArn")
    if request["PermissionModel"] == "SELF_MANAGED" and not arn:
        raise ValidationException("The permission model SELF_MANAGED needs a RoleArn.")
    role = arn.partition(":role/")[2] if arn else _SERVICE_ROLE
    if arn and arn.split(":")[4] != call.account_id:
        raise AccessDeniedException("Cross-account pass role is not allowed.")
    async with call.transaction() as tx:
        there = await service_settings.value(tx, call.account_id, call.region, SETTING)
        if there not in ("", role) and not request.get("Overwrite"):
            raise ValidationException(
                f"The role {there} is registered already. Give Overwrite to register {role} in its place."
            )
        passed = await access.pass_to_nodes(call, tx, role)
        await service_settings.change(call, tx, SETTING, role)
    return {"RoleArn": passed}


@operation("ssm", "DeregisterDefaultHostManagementConfiguration", writes=True)
async def deregister_default_host_management_configuration(call: Call, request: Shape) -> Shape:
    """No default role any more; no error if there was none."""
    async with call.transaction() as tx:
        await service_settings.reset(call, tx, SETTING)
    return {}
