"""Who can hold policies: users, roles and groups, found by name, with the words of their refusals."""

from pilothouse.call import Call, Shape
from pilothouse.capabilities.access.group_store import GroupStore
from pilothouse.capabilities.access.model import (
    Group,
    NoSuchEntityException,
    Role,
    User,
    group_arn,
    role_arn,
    user_arn,
)
from pilothouse.capabilities.access.role_store import RoleStore
from pilothouse.capabilities.access.users import UserStore


async def user_resource(call: Call, request: Shape) -> list[str]:
    """The ARN that policies are asked about; a user who is not there has it without a path."""
    name = request.get("UserName")
    if name is None:
        return [call.principal.arn]
    async with call.reading() as tx:
        found = await UserStore(tx, call.account_id).find(name)
    return [found.arn if found is not None else user_arn(call.account_id, "/", name)]


async def role_resource(call: Call, request: Shape) -> list[str]:
    """The ARN that policies are asked about; a role that is not there has it without a path."""
    async with call.reading() as tx:
        found = await RoleStore(tx, call.account_id).find(request["RoleName"])
    return [found.arn if found is not None else role_arn(call.account_id, "/", request["RoleName"])]


async def found_user(store: UserStore, name: str) -> User:
    """The user of that name. Raises NoSuchEntityException."""
    user = await store.find(name)
    if user is None:
        raise NoSuchEntityException(f"The user with name {name} cannot be found.")
    return user


async def locked_user(store: UserStore, name: str) -> User:
    """The user, whom nobody else changes until the transaction ends. Raises NoSuchEntityException."""
    await store.lock(name)
    return await found_user(store, name)


async def found_role(store: RoleStore, name: str) -> Role:
    """The role of that name. Raises NoSuchEntityException."""
    role = await store.find(name)
    if role is None:
        raise NoSuchEntityException(f"The role with name {name} cannot be found.")
    return role


async def locked_role(store: RoleStore, name: str) -> Role:
    """The role, which nobody else changes until the transaction ends. Raises NoSuchEntityException."""
    await store.lock(name)
    return await found_role(store, name)


async def group_resource(call: Call, request: Shape) -> list[str]:
    """The ARN that policies are asked about; a group that is not there has it without a path."""
    async with call.reading() as tx:
        found = await GroupStore(tx, call.account_id).find(request["GroupName"])
    return [found.arn if found is not None else group_arn(call.account_id, "/", request["GroupName"])]


async def found_group(store: GroupStore, name: str) -> Group:
    """The group of that name. Raises NoSuchEntityException."""
    group = await store.find(name)
    if group is None:
        raise NoSuchEntityException(f"The group with name {name} cannot be found.")
    return group


async def locked_group(store: GroupStore, name: str) -> Group:
    """The group, which nobody else changes until the transaction ends. Raises NoSuchEntityException."""
    await store.lock(name)
    return await found_group(store, name)
