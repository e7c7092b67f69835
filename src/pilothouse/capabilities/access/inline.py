"""Policies that stand in a user, role or group, and go with it."""

from typing import Final
from urllib.parse import quote

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities.access.bounds import boundary_of_owner
from pilothouse.capabilities.access.model import LimitExceededException, NoSuchEntityException
from pilothouse.capabilities.access.owners import (
    GROUP,
    ROLE,
    USER,
    OwnerKind,
    found,
    group_resource,
    locked,
    role_resource,
    user_resource,
)
from pilothouse.capabilities.access.pages import PAGE, checked_policy, page, position
from pilothouse.capabilities.access.users import UserStore
from pilothouse.identity.policy import size

_CHARACTERS: Final = {"user": 2048, "role": 10_240, "group": 5120}
"""Of all inline policies of an owner together, without white space."""


@operation("iam", "PutUserPolicy", writes=True, resources=user_resource, conditions=boundary_of_owner)
async def put_user_policy(call: Call, request: Shape) -> Shape:
    """A policy that stands in the user; one of the same name is replaced."""
    return await _put(call, request, USER)


@operation("iam", "GetUserPolicy", resources=user_resource)
async def get_user_policy(call: Call, request: Shape) -> Shape:
    """The document as it was put, percent-encoded as IAM does."""
    return await _get(call, request, USER)


@operation("iam", "ListUserPolicies", resources=user_resource)
async def list_user_policies(call: Call, request: Shape) -> Shape:
    """Names of the inline policies."""
    return await _list(call, request, USER)


@operation("iam", "DeleteUserPolicy", writes=True, resources=user_resource, conditions=boundary_of_owner)
async def delete_user_policy(call: Call, request: Shape) -> Shape:
    """What it allowed or denied counts no more from the next request on."""
    return await _delete(call, request, USER)


@operation("iam", "PutRolePolicy", writes=True, resources=role_resource, conditions=boundary_of_owner)
async def put_role_policy(call: Call, request: Shape) -> Shape:
    """A policy that stands in the role; one of the same name is replaced."""
    return await _put(call, request, ROLE)


@operation("iam", "GetRolePolicy", resources=role_resource)
async def get_role_policy(call: Call, request: Shape) -> Shape:
    """The document as it was put, percent-encoded as IAM does."""
    return await _get(call, request, ROLE)


@operation("iam", "ListRolePolicies", resources=role_resource)
async def list_role_policies(call: Call, request: Shape) -> Shape:
    """Names of the inline policies."""
    return await _list(call, request, ROLE)


@operation("iam", "DeleteRolePolicy", writes=True, resources=role_resource, conditions=boundary_of_owner)
async def delete_role_policy(call: Call, request: Shape) -> Shape:
    """What it allowed or denied counts no more from the next request on, for sessions that are there too."""
    return await _delete(call, request, ROLE)


@operation("iam", "PutGroupPolicy", writes=True, resources=group_resource)
async def put_group_policy(call: Call, request: Shape) -> Shape:
    """A policy that stands in the group; one of the same name is replaced."""
    return await _put(call, request, GROUP)


@operation("iam", "GetGroupPolicy", resources=group_resource)
async def get_group_policy(call: Call, request: Shape) -> Shape:
    """The document as it was put, percent-encoded as IAM does."""
    return await _get(call, request, GROUP)


@operation("iam", "ListGroupPolicies", resources=group_resource)
async def list_group_policies(call: Call, request: Shape) -> Shape:
    """Names of the inline policies."""
    return await _list(call, request, GROUP)


@operation("iam", "DeleteGroupPolicy", writes=True, resources=group_resource)
async def delete_group_policy(call: Call, request: Shape) -> Shape:
    """What it allowed or denied counts no more from the next request on, for the group's users."""
    return await _delete(call, request, GROUP)


async def _put(call: Call, request: Shape, kind: OwnerKind) -> Shape:
    document = request["PolicyDocument"]
    most = _CHARACTERS[kind.name]
    if size(document) <= most:
        checked_policy(document, "identity")
    async with call.transaction() as tx:
        owner = await locked(tx, kind, call.account_id, request[kind.member])
        store = UserStore(tx, call.account_id)
        others = [text for name, text in await store.policies(owner.unique_id) if name != request["PolicyName"]]
        if sum(map(size, [*others, document])) > most:
            raise LimitExceededException(f"Maximum policy size of {most} bytes exceeded for {kind.name} {owner.name}")
        await store.put_policy(owner.unique_id, request["PolicyName"], document)
    return {}


async def _get(call: Call, request: Shape, kind: OwnerKind) -> Shape:
    async with call.reading() as tx:
        owner = await found(tx, kind, call.account_id, request[kind.member])
        documents = dict(await UserStore(tx, call.account_id).policies(owner.unique_id))
    document = documents.get(request["PolicyName"])
    if document is None:
        raise _missing(kind, request)
    told = {"PolicyName": request["PolicyName"], "PolicyDocument": quote(document, safe="")}
    return {kind.member: owner.name} | told


async def _list(call: Call, request: Shape, kind: OwnerKind) -> Shape:
    query = f"List{kind.title}Policies {request[kind.member].lower()}"
    most = request.get("MaxItems", PAGE)
    after = position(call, query, request)
    async with call.reading() as tx:
        owner = await found(tx, kind, call.account_id, request[kind.member])
        kept = await UserStore(tx, call.account_id).policies(owner.unique_id, after, most + 1)
    shown = [name for name, _ in kept[:most]]
    return page(call, query, {"PolicyNames": shown}, shown[-1] if shown else "", len(kept) > most)


async def _delete(call: Call, request: Shape, kind: OwnerKind) -> Shape:
    async with call.transaction() as tx:
        owner = await locked(tx, kind, call.account_id, request[kind.member])
        if not await UserStore(tx, call.account_id).remove_policy(owner.unique_id, request["PolicyName"]):
            raise _missing(kind, request)
    return {}


def _missing(kind: OwnerKind, request: Shape) -> NoSuchEntityException:
    return NoSuchEntityException(f"The {kind.name} policy with name {request['PolicyName']} cannot be found.")
