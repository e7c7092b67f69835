"""Tags of what IAM keeps, after its making. Keys differ by more than case, as IAM's do."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities.access.instance_profiles import PROFILE, profile_resource
from pilothouse.capabilities.access.login_store import MfaStore
from pilothouse.capabilities.access.managed import found_policy, own_policy, policy_resource
from pilothouse.capabilities.access.mfa_devices import device_resource, found_device
from pilothouse.capabilities.access.model import LimitExceededException
from pilothouse.capabilities.access.oidc_providers import found_provider, locked_provider, provider_resource
from pilothouse.capabilities.access.owners import (
    ROLE,
    USER,
    Entity,
    Kind,
    found,
    locked,
    role_resource,
    user_resource,
)
from pilothouse.capabilities.access.pages import PAGE, page, position
from pilothouse.capabilities.access.policy_store import PolicyStore
from pilothouse.capabilities.access.tagged import Tagged, tags_of
from pilothouse.storage import Transaction

_MOST: Final = 50

_Find = Callable[[Call, Transaction, Shape, str], Awaitable[str]]
"""The unique id of what the request names; the action if it is to be changed, else an empty text."""


def _named(kind: Kind[Entity]) -> _Find:
    async def find(call: Call, tx: Transaction, request: Shape, action: str) -> str:
        name = request[kind.member]
        return (await (locked if action else found)(tx, kind, call.account_id, name)).unique_id

    return find


async def _policy(call: Call, tx: Transaction, request: Shape, action: str) -> str:
    store, arn = PolicyStore(tx, call.account_id), request["PolicyArn"]
    return (await (own_policy(call, store, arn, action) if action else found_policy(store, arn))).policy_id


async def _provider(call: Call, tx: Transaction, request: Shape, action: str) -> str:
    find = locked_provider if action else found_provider
    return (await find(tx, call.account_id, request["OpenIDConnectProviderArn"])).url


async def _device(call: Call, tx: Transaction, request: Shape, action: str) -> str:
    if action:
        await MfaStore(tx, call.account_id).lock()
    return (await found_device(tx, call.account_id, request["SerialNumber"])).serial


_user: Final = _named(USER)
_role: Final = _named(ROLE)
_profile: Final = _named(PROFILE)


@operation("iam", "TagUser", writes=True, resources=user_resource)
async def tag_user(call: Call, request: Shape) -> Shape:
    """Add tags; those with the same keys are replaced."""
    return await _tag(call, request, _user, "user")


@operation("iam", "UntagUser", writes=True, resources=user_resource)
async def untag_user(call: Call, request: Shape) -> Shape:
    """Remove tags; a key that is not there is no error."""
    return await _untag(call, request, _user, "user")


@operation("iam", "ListUserTags", resources=user_resource)
async def list_user_tags(call: Call, request: Shape) -> Shape:
    """By key."""
    return await _list(call, request, _user, "user")


@operation("iam", "TagRole", writes=True, resources=role_resource)
async def tag_role(call: Call, request: Shape) -> Shape:
    """Add tags; those with the same keys are replaced."""
    return await _tag(call, request, _role, "role")


@operation("iam", "UntagRole", writes=True, resources=role_resource)
async def untag_role(call: Call, request: Shape) -> Shape:
    """Remove tags; a key that is not there is no error."""
    return await _untag(call, request, _role, "role")


@operation("iam", "ListRoleTags", resources=role_resource)
async def list_role_tags(call: Call, request: Shape) -> Shape:
    """By key."""
    return await _list(call, request, _role, "role")


@operation("iam", "TagPolicy", writes=True, resources=policy_resource)
async def tag_policy(call: Call, request: Shape) -> Shape:
    """Add tags; those with the same keys are replaced."""
    return await _tag(call, request, _policy, "policy")


@operation("iam", "UntagPolicy", writes=True, resources=policy_resource)
async def untag_policy(call: Call, request: Shape) -> Shape:
    """Remove tags; a key that is not there is no error."""
    return await _untag(call, request, _policy, "policy")


@operation("iam", "ListPolicyTags", resources=policy_resource)
async def list_policy_tags(call: Call, request: Shape) -> Shape:
    """By key."""
    return await _list(call, request, _policy, "policy")


@operation("iam", "TagInstanceProfile", writes=True, resources=profile_resource)
async def tag_instance_profile(call: Call, request: Shape) -> Shape:
    """Add tags; those with the same keys are replaced."""
    return await _tag(call, request, _profile, PROFILE.name)


@operation("iam", "UntagInstanceProfile", writes=True, resources=profile_resource)
async def untag_instance_profile(call: Call, request: Shape) -> Shape:
    """Remove tags; a key that is not there is no error."""
    return await _untag(call, request, _profile, PROFILE.name)


@operation("iam", "ListInstanceProfileTags", resources=profile_resource)
async def list_instance_profile_tags(call: Call, request: Shape) -> Shape:
    """By key."""
    return await _list(call, request, _profile, PROFILE.name)


@operation("iam", "TagMFADevice", writes=True, resources=device_resource)
async def tag_mfa_device(call: Call, request: Shape) -> Shape:
    """Add tags; those with the same keys are replaced."""
    return await _tag(call, request, _device, "mfa")


@operation("iam", "UntagMFADevice", writes=True, resources=device_resource)
async def untag_mfa_device(call: Call, request: Shape) -> Shape:
    """Remove tags; a key that is not there is no error."""
    return await _untag(call, request, _device, "mfa")


@operation("iam", "ListMFADeviceTags", resources=device_resource)
async def list_mfa_device_tags(call: Call, request: Shape) -> Shape:
    """By key."""
    return await _list(call, request, _device, "mfa")


@operation("iam", "TagOpenIDConnectProvider", writes=True, resources=provider_resource)
async def tag_open_id_connect_provider(call: Call, request: Shape) -> Shape:
    """Add tags; those with the same keys are replaced."""
    return await _tag(call, request, _provider, "oidc-provider")


@operation("iam", "UntagOpenIDConnectProvider", writes=True, resources=provider_resource)
async def untag_open_id_connect_provider(call: Call, request: Shape) -> Shape:
    """Remove tags; a key that is not there is no error."""
    return await _untag(call, request, _provider, "oidc-provider")


@operation("iam", "ListOpenIDConnectProviderTags", resources=provider_resource)
async def list_open_id_connect_provider_tags(call: Call, request: Shape) -> Shape:
    """By key."""
    return await _list(call, request, _provider, "oidc-provider")


async def _tag(call: Call, request: Shape, find: _Find, kind: str) -> Shape:
    added = tags_of(request["Tags"])
    async with call.transaction() as tx:
        unique_id = await find(call, tx, request, f"iam:Tag{kind.capitalize()}")
        await _remove(tx, call.account_id, kind, unique_id, list(added))
        kept = await Tagged(tx, call.account_id, kind).of(unique_id)
        if len(kept) + len(added) > _MOST:
            raise LimitExceededException(f"The number of tags has reached the maximum limit of {_MOST}.")
        await Tagged(tx, call.account_id, kind).put(unique_id, added)
    return {}


async def _untag(call: Call, request: Shape, find: _Find, kind: str) -> Shape:
    async with call.transaction() as tx:
        unique_id = await find(call, tx, request, f"iam:Untag{kind.capitalize()}")
        await _remove(tx, call.account_id, kind, unique_id, request["TagKeys"])
    return {}


async def _remove(tx: Transaction, account_id: str, kind: str, unique_id: str, keys: Sequence[str]) -> None:
    gone = {key.lower() for key in keys}
    there = await Tagged(tx, account_id, kind).of(unique_id)
    named = [key for key in there if key.lower() in gone]
    if named:
        await Tagged(tx, account_id, kind).remove(unique_id, named)


async def _list(call: Call, request: Shape, find: _Find, kind: str) -> Shape:
    async with call.reading() as tx:
        unique_id = await find(call, tx, request, "")
        there = await Tagged(tx, call.account_id, kind).of(unique_id)
    query, most = f"tags {kind} {unique_id}", request.get("MaxItems", PAGE)
    after = position(call, query, request)
    keys = [key for key in sorted(there) if key > after]
    shown = [{"Key": key, "Value": there[key]} for key in keys[:most]]
    return page(call, query, {"Tags": shown}, keys[:most][-1] if shown else "", len(keys) > most)
