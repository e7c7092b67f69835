"""Whether somebody who was let in before still is somebody, for what lasts longer than a call."""

from pilothouse.capabilities.access.group_store import GroupStore
from pilothouse.capabilities.access.role_store import RoleStore
from pilothouse.capabilities.access.store import AccessStore
from pilothouse.capabilities.access.users import UserStore
from pilothouse.storage import Transaction


async def still_there(tx: Transaction, account_id: str, user_id: str, access_key_id: str) -> bool:
    """Whether the key that was used is active, and its user or role there. Temporary credentials may have expired."""
    if access_key_id.startswith("AKIA"):
        key = await AccessStore(tx).key(access_key_id)
        if key is None or key["status"] != "Active":
            return False
    owner = user_id.partition(":")[0]
    if owner.startswith("AIDA"):
        return await UserStore(tx, account_id).by_id(owner) is not None
    if owner.startswith("AROA"):
        return await RoleStore(tx, account_id).by_id(owner) is not None
    return True


async def groups_of(tx: Transaction, account_id: str, user_id: str) -> list[str]:
    """The names of the groups that a user is in; none for others."""
    user = await UserStore(tx, account_id).by_id(user_id) if user_id.startswith("AIDA") else None
    return [] if user is None else [group.name for group in await GroupStore(tx, account_id).of(user)]
