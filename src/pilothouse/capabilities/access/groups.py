"""IAM groups: what a group holds, each of its users holds."""

from typing import Any, Final
from urllib.parse import quote

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities.access.bounds import leave_policies
from pilothouse.capabilities.access.group_store import GroupStore
from pilothouse.capabilities.access.model import (
    DeleteConflictException,
    EntityAlreadyExistsException,
    Group,
    LimitExceededException,
    NoSuchEntityException,
    group_arn,
)
from pilothouse.capabilities.access.owners import (
    found_group,
    found_user,
    group_resource,
    locked_group,
    locked_user,
    user_resource,
)
from pilothouse.capabilities.access.pages import checked_policy, page, position
from pilothouse.capabilities.access.users import UserStore
from pilothouse.identity.policy import size
from pilothouse.runtime.clock import from_millis

_PAGE: Final = 100
_MOST_GROUPS: Final = 300
_MOST_OF_USER: Final = 10
_POLICY_CHARACTERS: Final = 5120
"""Of all inline policies of a group together, without white space."""


def _new_group(call: Call, request: Shape) -> list[str]:
    return [group_arn(call.account_id, request.get("Path", "/"), request["GroupName"])]


def _groups_below(call: Call, request: Shape) -> list[str]:
    return [f"arn:aws:iam::{call.account_id}:group{request.get('PathPrefix', '/')}"]


@operation("iam", "CreateGroup", writes=True, resources=_new_group)
async def create_group(call: Call, request: Shape) -> Shape:
    """A group that holds nothing yet and has nobody in it."""
    async with call.transaction() as tx:
        await tx.lock("iam groups", call.account_id)
        store = GroupStore(tx, call.account_id)
        await _free(store, request["GroupName"])
        if await store.count() >= _MOST_GROUPS:
            raise LimitExceededException(f"Cannot exceed quota for GroupsPerAccount: {_MOST_GROUPS}")
        made = Group(
            account_id=call.account_id,
            name=request["GroupName"],
            path=request.get("Path", "/"),
            group_id=call.ids.unique_id("AGPA"),
            created_at=call.clock.millis(),
        )
        await store.add(made)
    return {"Group": _told(made)}


@operation("iam", "GetGroup", resources=group_resource)
async def get_group(call: Call, request: Shape) -> Shape:
    """A group with its users, by name."""
    query = f"GetGroup {request['GroupName'].lower()}"
    most = request.get("MaxItems", _PAGE)
    after = position(call, query, request)
    users: list[dict[str, Any]] = []
    async with call.reading() as tx:
        store = GroupStore(tx, call.account_id)
        group = await found_group(store, request["GroupName"])
        names = await store.members(group, after, most + 1)
        for name in names[:most]:
            user = await found_user(UserStore(tx, call.account_id), name)
            users.append(
                {"Path": user.path, "UserName": user.name, "UserId": user.user_id, "Arn": user.arn,
                 "CreateDate": from_millis(user.created_at)}
            )  # fmt: skip
    last = users[-1]["UserName"].lower() if users else ""
    return page(call, query, {"Group": _told(group), "Users": users}, last, len(names) > most)


@operation("iam", "ListGroups", resources=_groups_below)
async def list_groups(call: Call, request: Shape) -> Shape:
    """Groups by name."""
    path = request.get("PathPrefix", "/")
    query = f"ListGroups {path}"
    most = request.get("MaxItems", _PAGE)
    after = position(call, query, request)
    async with call.reading() as tx:
        found = await GroupStore(tx, call.account_id).after(after, path, most + 1)
    shown = found[:most]
    last = shown[-1].name.lower() if shown else ""
    return page(call, query, {"Groups": [_told(each) for each in shown]}, last, len(found) > most)


@operation("iam", "UpdateGroup", writes=True, resources=group_resource)
async def update_group(call: Call, request: Shape) -> Shape:
    """Another name or path. Who is in it and what it holds stay."""
    async with call.transaction() as tx:
        await tx.lock("iam groups", call.account_id)
        store = GroupStore(tx, call.account_id)
        group = await locked_group(store, request["GroupName"])
        name = request.get("NewGroupName", group.name)
        if name.lower() != group.name.lower():
            await _free(store, name)
        await store.rename(group, name, request.get("NewPath", group.path))
    return {}


@operation("iam", "DeleteGroup", writes=True, resources=group_resource)
async def delete_group(call: Call, request: Shape) -> Shape:
    """The group goes once it holds nothing and nobody is in it."""
    async with call.transaction() as tx:
        store = GroupStore(tx, call.account_id)
        group = await locked_group(store, request["GroupName"])
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
        group = await locked_group(store, request["GroupName"])
        user = await locked_user(UserStore(tx, call.account_id), request["UserName"])
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
        group = await locked_group(store, request["GroupName"])
        user = await locked_user(UserStore(tx, call.account_id), request["UserName"])
        if not await store.take_out(group, user):
            raise NoSuchEntityException(f"User {user.name} not in group {group.name}")
    return {}


@operation("iam", "ListGroupsForUser", resources=user_resource)
async def list_groups_for_user(call: Call, request: Shape) -> Shape:
    """The groups of a user; there are never more than one page."""
    position(call, f"ListGroupsForUser {request['UserName'].lower()}", request)
    async with call.reading() as tx:
        user = await found_user(UserStore(tx, call.account_id), request["UserName"])
        found = await GroupStore(tx, call.account_id).of(user)
    return {"Groups": [_told(each) for each in found], "IsTruncated": False}


@operation("iam", "PutGroupPolicy", writes=True, resources=group_resource)
async def put_group_policy(call: Call, request: Shape) -> Shape:
    """A policy that stands in the group; one of the same name is replaced."""
    document = checked_policy(request["PolicyDocument"], "identity")
    async with call.transaction() as tx:
        group = await locked_group(GroupStore(tx, call.account_id), request["GroupName"])
        store = UserStore(tx, call.account_id)
        others = [text for name, text in await store.policies(group.group_id) if name != request["PolicyName"]]
        if sum(map(size, [*others, document])) > _POLICY_CHARACTERS:
            raise LimitExceededException(
                f"Maximum policy size of {_POLICY_CHARACTERS} bytes exceeded for group {group.name}"
            )
        await store.put_policy(group.group_id, request["PolicyName"], document)
    return {}


@operation("iam", "GetGroupPolicy", resources=group_resource)
async def get_group_policy(call: Call, request: Shape) -> Shape:
    """The document as it was put, percent-encoded as IAM does."""
    async with call.reading() as tx:
        group = await found_group(GroupStore(tx, call.account_id), request["GroupName"])
        documents = dict(await UserStore(tx, call.account_id).policies(group.group_id))
    document = documents.get(request["PolicyName"])
    if document is None:
        raise _no_policy(request)
    return {"GroupName": group.name, "PolicyName": request["PolicyName"], "PolicyDocument": quote(document, safe="")}


@operation("iam", "ListGroupPolicies", resources=group_resource)
async def list_group_policies(call: Call, request: Shape) -> Shape:
    """Names of the inline policies."""
    query = f"ListGroupPolicies {request['GroupName'].lower()}"
    most = request.get("MaxItems", _PAGE)
    after = position(call, query, request)
    async with call.reading() as tx:
        group = await found_group(GroupStore(tx, call.account_id), request["GroupName"])
        found = [name for name, _ in await UserStore(tx, call.account_id).policies(group.group_id, after, most + 1)]
    shown = found[:most]
    return page(call, query, {"PolicyNames": shown}, shown[-1] if shown else "", len(found) > most)


@operation("iam", "DeleteGroupPolicy", writes=True, resources=group_resource)
async def delete_group_policy(call: Call, request: Shape) -> Shape:
    """What it allowed or denied counts no more from the next request on."""
    async with call.transaction() as tx:
        group = await locked_group(GroupStore(tx, call.account_id), request["GroupName"])
        if not await UserStore(tx, call.account_id).remove_policy(group.group_id, request["PolicyName"]):
            raise _no_policy(request)
    return {}


async def _free(store: GroupStore, name: str) -> None:
    if await store.find(name) is not None:
        raise EntityAlreadyExistsException(f"Group with name {name} already exists.")


def _told(group: Group) -> Shape:
    return {
        "Path": group.path,
        "GroupName": group.name,
        "GroupId": group.group_id,
        "Arn": group.arn,
        "CreateDate": from_millis(group.created_at),
    }


def _no_policy(request: Shape) -> NoSuchEntityException:
    return NoSuchEntityException(f"The group policy with name {request['PolicyName']} cannot be found.")
