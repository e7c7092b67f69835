"""IAM groups: what a group holds, each of its users holds."""

from typing import Any, Final

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities.access.bounds import leave_policies
from pilothouse.capabilities.access.group_store import GroupStore
from pilothouse.capabilities.access.model import (
    DeleteConflictException,
    Group,
    LimitExceededException,
    NoSuchEntityException,
)
from pilothouse.capabilities.access.owners import (
    GROUP,
    USER,
    found,
    group_resource,
    listed,
    locked,
    must_be_free,
    must_have_room,
    new_resource,
    renamed_resources,
    resources_below,
    user_resource,
)
from pilothouse.capabilities.access.pages import PAGE, page, position
from pilothouse.capabilities.access.users import UserStore
from pilothouse.runtime.clock import from_millis
from pilothouse.storage import Transaction

_MOST_OF_USER: Final = 10


@operation("iam", "CreateGroup", writes=True, resources=new_resource(GROUP))
async def create_group(call: Call, request: Shape) -> Shape:
    """A group that holds nothing yet and has nobody in it."""
    async with call.transaction() as tx:
        await must_have_room(tx, GROUP, call.account_id, request["GroupName"])
        made = Group(
            account_id=call.account_id,
            name=request["GroupName"],
            path=request.get("Path", "/"),
            group_id=call.ids.unique_id("AGPA"),
            created_at=call.clock.millis(),
        )
        await GroupStore(tx, call.account_id).add(made)
    return {"Group": told_group(made)}


@operation("iam", "GetGroup", resources=group_resource)
async def get_group(call: Call, request: Shape) -> Shape:
    """A group with its users, by name."""
    query = f"GetGroup {request['GroupName'].lower()}"
    most = request.get("MaxItems", PAGE)
    after = position(call, query, request)
    users: list[dict[str, Any]] = []
    async with call.reading() as tx:
        store = GroupStore(tx, call.account_id)
        group = await found(tx, GROUP, call.account_id, request["GroupName"])
        names = await store.members(group, after, most + 1)
        for name in names[:most]:
            user = await found(tx, USER, call.account_id, name)
            users.append(
                {"Path": user.path, "UserName": user.name, "UserId": user.user_id, "Arn": user.arn,
                 "CreateDate": from_millis(user.created_at)}
            )  # fmt: skip
    last = users[-1]["UserName"].lower() if users else ""
    return page(call, query, {"Group": told_group(group), "Users": users}, last, len(names) > most)


@operation("iam", "ListGroups", resources=resources_below(GROUP))
async def list_groups(call: Call, request: Shape) -> Shape:
    """Groups by name."""

    async def tell(tx: Transaction, group: Group) -> Shape:
        return told_group(group)

    return await listed(call, request, GROUP, tell)


@operation("iam", "UpdateGroup", writes=True, resources=renamed_resources(GROUP))
async def update_group(call: Call, request: Shape) -> Shape:
    """Another name or path. Who is in it and what it holds stay."""
    async with call.transaction() as tx:
        group = await locked(tx, GROUP, call.account_id, request["GroupName"])
        name = request.get("NewGroupName", group.name)
        if name.lower() != group.name.lower():
            await must_be_free(tx, GROUP, call.account_id, name)
        await GroupStore(tx, call.account_id).rename(group, name, request.get("NewPath", group.path))
    return {}


@operation("iam", "DeleteGroup", writes=True, resources=group_resource)
async def delete_group(call: Call, request: Shape) -> Shape:
    """The group goes once it holds nothing and nobody is in it."""
    async with call.transaction() as tx:
        store = GroupStore(tx, call.account_id)
        group = await locked(tx, GROUP, call.account_id, request["GroupName"])
        if await store.members(group, "", 1):
            raise DeleteConflictException("Cannot delete entity, must remove users from group first.")
        if await UserStore(tx, call.account_id).policies(group.group_id, most=1):
            raise DeleteConflictException("Cannot delete entity, must delete policies first.")
        await leave_policies(tx, group)
        await store.remove(group)
    return {}


@operation("iam", "AddUserToGroup", writes=True, resources=group_resource)
async def add_user_to_group(call: Call, request: Shape) -> Shape:
    """What the group holds counts for the user from the next request on."""
    async with call.transaction() as tx:
        store = GroupStore(tx, call.account_id)
        group = await locked(tx, GROUP, call.account_id, request["GroupName"])
        user = await locked(tx, USER, call.account_id, request["UserName"])
        groups = {each.group_id for each in await store.of(user)}
        if group.group_id not in groups and len(groups) >= _MOST_OF_USER:
            raise LimitExceededException(f"Cannot exceed quota for GroupsPerUser: {_MOST_OF_USER}")
        await store.put_in(group, user)
    return {}


@operation("iam", "RemoveUserFromGroup", writes=True, resources=group_resource)
async def remove_user_from_group(call: Call, request: Shape) -> Shape:
    """What the group holds counts for the user no more."""
    async with call.transaction() as tx:
        store = GroupStore(tx, call.account_id)
        group = await locked(tx, GROUP, call.account_id, request["GroupName"])
        user = await locked(tx, USER, call.account_id, request["UserName"])
        if not await store.take_out(group, user):
            raise NoSuchEntityException(f"User {user.name} not in group {group.name}")
    return {}


@operation("iam", "ListGroupsForUser", resources=user_resource)
async def list_groups_for_user(call: Call, request: Shape) -> Shape:
    """The groups of a user; there are never more than one page."""
    position(call, f"ListGroupsForUser {request['UserName'].lower()}", request)
    async with call.reading() as tx:
        user = await found(tx, USER, call.account_id, request["UserName"])
        groups = await GroupStore(tx, call.account_id).of(user)
    return {"Groups": [told_group(each) for each in groups], "IsTruncated": False}


def told_group(group: Group) -> Shape:
    """A group."""
    return {
        "Path": group.path,
        "GroupName": group.name,
        "GroupId": group.group_id,
        "Arn": group.arn,
        "CreateDate": from_millis(group.created_at),
    }
