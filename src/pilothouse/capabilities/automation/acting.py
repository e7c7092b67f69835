"""As whom an execution acts: the role that its runbook assumes, else whoever started it, with what they may do now."""

from pilothouse.call import House
from pilothouse.capabilities import access
from pilothouse.capabilities.automation.actions.interface import FailureType, StepFailed
from pilothouse.capabilities.automation.runs import Execution
from pilothouse.identity.principals import Principal
from pilothouse.storage import Transaction

SERVICE = "ssm.amazonaws.com"


async def actor_of(house: House, tx: Transaction, execution: Execution) -> Principal:
    """Who acts. Raises StepFailed (Permission) where there is nobody (any more)."""
    role = execution.contents.role
    if not role:
        who = await access.caller_of(house, tx, execution.contents.who)
        if who is None:
            raise StepFailed(
                f"{execution.contents.who.get('arn')}, who started this execution, is not there any more.",
                FailureType.PERMISSION,
            )
        return who
    rights = await access.rights_of_role(house, tx, execution.account_id, role)
    if rights.role_arn != role:
        raise StepFailed(
            f"The role {role} cannot be assumed: it is not there, or its trust policy does not name {SERVICE}.",
            FailureType.PERMISSION,
        )
    name = f"Automation-{execution.execution_id}"
    return Principal(
        kind="session",
        account_id=execution.account_id,
        arn=f"arn:aws:sts::{execution.account_id}:assumed-role/{role.rpartition('/')[2]}/{name}",
        user_id=f"{rights.role_id}:{name}",
        access_key_id="",
        role_arn=rights.role_arn,
        permissions=rights.permissions,
        guarded=rights.guarded,
        tags=rights.tags,
    )
