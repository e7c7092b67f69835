"""As whom tasks act: the role that a task names, else the one that Systems Manager has by itself in every account."""

from pilothouse.call import House
from pilothouse.capabilities import access
from pilothouse.capabilities.maintenance_windows.model import TaskTerms
from pilothouse.capabilities.maintenance_windows.run_model import TaskRun
from pilothouse.errors import ApiError
from pilothouse.identity.principals import Principal
from pilothouse.storage import Transaction


class InvalidRole(ApiError):
    """The role is not there, or does not let Systems Manager take it on."""


def role_for(account_id: str, terms: TaskTerms) -> str:
    """The ARN of the role that a task acts with."""
    return terms.role_arn or access.linked_role(account_id)


async def actor(house: House, tx: Transaction, run: TaskRun) -> Principal:
    """Who does the work of a task: a session of its role, named after the window. Raises InvalidRole."""
    arn = role_for(run.account_id, run.task)
    who = await access.service_actor(house, tx, run.account_id, arn, run.window_id)
    if who is None:
        raise InvalidRole(f"There is no role {arn} in this account that ssm.amazonaws.com may assume.")
    return who
