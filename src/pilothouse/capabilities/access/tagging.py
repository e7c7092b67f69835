"""Tags of users, roles and policies after their making. Keys differ by more than case, as IAM's do."""

from collections.abc import Mapping, Sequence
from typing import Final

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities import tags
from pilothouse.capabilities.access.managed import found_policy, own_policy, policy_resource
from pilothouse.capabilities.access.model import InvalidInputException, LimitExceededException
from pilothouse.capabilities.access.owners import (
    found_role,
    found_user,
    locked_role,
    locked_user,
    role_resource,
    user_resource,
)
from pilothouse.capabilities.access.pages import page, position
from pilothouse.capabilities.access.policy_store import PolicyStore
from pilothouse.capabilities.access.role_store import RoleStore
from pilothouse.capabilities.access.users import UserStore
from pilothouse.storage import Transaction

_EVERYWHERE: Final = "aws-global"
_PAGE: Final = 100
_MOST: Final = 50


@operation("iam", "TagUser", writes=True, resources=user_resource)
async def tag_user(call: Call, request: Shape) -> Shape:
    """Add tags; those with the same keys are replaced."""
    async with call.transaction() as tx:
        user = await locked_user(UserStore(tx, call.account_id), request["UserName"])
        await _put(tx, call.account_id, "user", user.user_id, request["Tags"])
    return {}


@operation("iam", "TagRole", writes=True, resources=role_resource)
async def tag_role(call: Call, request: Shape) -> Shape:
    """Add tags; those with the same keys are replaced."""
    async with call.transaction() as tx:
        role = await locked_role(RoleStore(tx, call.account_id), request["RoleName"])
        await _put(tx, call.account_id, "role", role.role_id, request["Tags"])
    return {}


@operation("iam", "TagPolicy", writes=True, resources=policy_resource)
async def tag_policy(call: Call, request: Shape) -> Shape:
    """Add tags; those with the same keys are replaced."""
    async with call.transaction() as tx:
        policy = await own_policy(call, PolicyStore(tx, call.account_id), request["PolicyArn"], "iam:TagPolicy")
        await _put(tx, call.account_id, "policy", policy.policy_id, request["Tags"])
    return {}


@operation("iam", "UntagUser", writes=True, resources=user_resource)
async def untag_user(call: Call, request: Shape) -> Shape:
    """Remove tags; a key that is not there is no error."""
    async with call.transaction() as tx:
        user = await locked_user(UserStore(tx, call.account_id), request["UserName"])
        await _remove(tx, call.account_id, "user", user.user_id, request["TagKeys"])
    return {}


@operation("iam", "UntagRole", writes=True, resources=role_resource)
async def untag_role(call: Call, request: Shape) -> Shape:
    """Remove tags; a key that is not there is no error."""
    async with call.transaction() as tx:
        role = await locked_role(RoleStore(tx, call.account_id), request["RoleName"])
        await _remove(tx, call.account_id, "role", role.role_id, request["TagKeys"])
    return {}


@operation("iam", "UntagPolicy", writes=True, resources=policy_resource)
async def untag_policy(call: Call, request: Shape) -> Shape:
    """Remove tags; a key that is not there is no error."""
    async with call.transaction() as tx:
        policy = await own_policy(call, PolicyStore(tx, call.account_id), request["PolicyArn"], "iam:UntagPolicy")
        await _remove(tx, call.account_id, "policy", policy.policy_id, request["TagKeys"])
    return {}


@operation("iam", "ListUserTags", resources=user_resource)
async def list_user_tags(call: Call, request: Shape) -> Shape:
    """By key."""
    async with call.reading() as tx:
        store = UserStore(tx, call.account_id)
        user = await found_user(store, request["UserName"])
        return _listed(call, f"ListUserTags {user.user_id}", request, await store.tags(user))


@operation("iam", "ListRoleTags", resources=role_resource)
async def list_role_tags(call: Call, request: Shape) -> Shape:
    """By key."""
    async with call.reading() as tx:
        store = RoleStore(tx, call.account_id)
        role = await found_role(store, request["RoleName"])
        return _listed(call, f"ListRoleTags {role.role_id}", request, await store.tags(role))


@operation("iam", "ListPolicyTags", resources=policy_resource)
async def list_policy_tags(call: Call, request: Shape) -> Shape:
    """By key."""
    async with call.reading() as tx:
        store = PolicyStore(tx, call.account_id)
        policy = await found_policy(store, request["PolicyArn"])
        return _listed(call, f"ListPolicyTags {policy.arn}", request, await store.tags(policy))


async def _put(
    tx: Transaction, account_id: str, kind: str, resource_id: str, given: Sequence[Mapping[str, str]]
) -> None:
    added = tags.by_key(given)
    if len({key.lower() for key in added}) < len(added):
        raise InvalidInputException("Duplicate tag keys found. Please note that Tag keys are case insensitive.")
    await _remove(tx, account_id, kind, resource_id, list(added))
    kept = await tags.of(tx, account_id, _EVERYWHERE, f"iam:{kind}", resource_id)
    if len(kept) + len(added) > _MOST:
        raise LimitExceededException(f"The number of tags has reached the maximum limit of {_MOST}.")
    await tags.put(tx, account_id, _EVERYWHERE, f"iam:{kind}", resource_id, added)


async def _remove(tx: Transaction, account_id: str, kind: str, resource_id: str, keys: Sequence[str]) -> None:
    gone = {key.lower() for key in keys}
    there = await tags.of(tx, account_id, _EVERYWHERE, f"iam:{kind}", resource_id)
    named = [key for key in there if key.lower() in gone]
    if named:
        await tags.remove(tx, account_id, _EVERYWHERE, f"iam:{kind}", resource_id, named)


def _listed(call: Call, query: str, request: Shape, found: Mapping[str, str]) -> Shape:
    after, most = position(call, query, request), request.get("MaxItems", _PAGE)
    keys = [key for key in sorted(found) if key > after]
    told = [{"Key": key, "Value": found[key]} for key in keys[:most]]
    return page(call, query, {"Tags": told}, keys[:most][-1] if told else "", len(keys) > most)
