"""Which managed policies users, roles and groups have attached."""

from typing import Final

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities.access.bounds import attachable, boundary_of_owner
from pilothouse.capabilities.access.managed import found_policy, policy_resource
from pilothouse.capabilities.access.model import LimitExceededException, NoSuchEntityException, is_arn
from pilothouse.capabilities.access.owners import (
    GROUP,
    OWNERS,
    ROLE,
    USER,
    OwnerKind,
    found,
    group_resource,
    locked,
    role_resource,
    user_resource,
)
from pilothouse.capabilities.access.pages import PAGE, page, paged, position
from pilothouse.capabilities.access.policy_store import PolicyStore, Use
from pilothouse.errors import ValidationException

_HELD: Final = 10
"""Policies that one user, role or group may have attached."""
_USES: Final[dict[str, Use]] = {"PermissionsPolicy": "attached", "PermissionsBoundary": "boundary"}


def _attaching(call: Call, request: Shape) -> dict[str, str]:
    return {"iam:PolicyARN": request["PolicyArn"]}


@operation("iam", "AttachUserPolicy", writes=True, resources=user_resource, conditions=boundary_of_owner)
async def attach_user_policy(call: Call, request: Shape) -> Shape:
    """What the policy says counts for the user from the next request on."""
    return await _attach(call, request, USER)


@operation("iam", "DetachUserPolicy", writes=True, resources=user_resource, conditions=boundary_of_owner)
async def detach_user_policy(call: Call, request: Shape) -> Shape:
    """What the policy says counts for the user no more."""
    return await _detach(call, request, USER)


@operation("iam", "ListAttachedUserPolicies", resources=user_resource)
async def list_attached_user_policies(call: Call, request: Shape) -> Shape:
    """By name."""
    return await _list(call, request, USER)


@operation("iam", "AttachRolePolicy", writes=True, resources=role_resource, conditions=boundary_of_owner)
async def attach_role_policy(call: Call, request: Shape) -> Shape:
    """What the policy says counts for sessions of the role from the next request on."""
    return await _attach(call, request, ROLE)


@operation("iam", "DetachRolePolicy", writes=True, resources=role_resource, conditions=boundary_of_owner)
async def detach_role_policy(call: Call, request: Shape) -> Shape:
    """What the policy says counts for sessions of the role no more."""
    return await _detach(call, request, ROLE)


@operation("iam", "ListAttachedRolePolicies", resources=role_resource)
async def list_attached_role_policies(call: Call, request: Shape) -> Shape:
    """By name."""
    return await _list(call, request, ROLE)


@operation("iam", "AttachGroupPolicy", writes=True, resources=group_resource, conditions=_attaching)
async def attach_group_policy(call: Call, request: Shape) -> Shape:
    """What the policy says counts for the group's users from the next request on."""
    return await _attach(call, request, GROUP)


@operation("iam", "DetachGroupPolicy", writes=True, resources=group_resource, conditions=_attaching)
async def detach_group_policy(call: Call, request: Shape) -> Shape:
    """What the policy says counts for the group's users no more."""
    return await _detach(call, request, GROUP)


@operation("iam", "ListAttachedGroupPolicies", resources=group_resource)
async def list_attached_group_policies(call: Call, request: Shape) -> Shape:
    """By name."""
    return await _list(call, request, GROUP)


@operation("iam", "ListEntitiesForPolicy", resources=policy_resource)
async def list_entities_for_policy(call: Call, request: Shape) -> Shape:
    """The users, roles and groups that hold the policy, or are bounded by it."""
    arn, path = request["PolicyArn"], request.get("PathPrefix", "/")
    wanted, use = request.get("EntityFilter"), request.get("PolicyUsageFilter")
    query = f"ListEntitiesForPolicy {arn} {path} {wanted} {use}"
    after = position(call, query, request)
    most = request.get("MaxItems", PAGE)
    answer: Shape = {"PolicyGroups": [], "PolicyUsers": [], "PolicyRoles": []}
    last, count = "", 0
    async with call.reading() as tx:
        store = PolicyStore(tx, call.account_id)
        await found_policy(store, arn)
        for kind, owner_id in await store.holders(arn, list(_USES.values()) if use is None else [_USES[use]]):
            if f"{kind} {owner_id}" <= after or (wanted is not None and wanted.lower() != kind):
                continue
            owner = await OWNERS[kind].store(tx, call.account_id).by_id(owner_id)
            if owner is None or not owner.path.startswith(path):
                continue
            if count == most:
                return page(call, query, answer, last, True)
            named = kind.capitalize()
            answer[f"Policy{named}s"].append({f"{named}Name": owner.name, f"{named}Id": owner_id})
            last, count = f"{kind} {owner_id}", count + 1
    return page(call, query, answer, last, False)


async def _attach(call: Call, request: Shape, kind: OwnerKind) -> Shape:
    if not is_arn(request["PolicyArn"]):
        raise ValidationException("Invalid ARN:  Could not be parsed!")
    async with call.transaction() as tx:
        owner = await locked(tx, kind, call.account_id, request[kind.member])
        store = PolicyStore(tx, call.account_id)
        policy = await attachable(store, request["PolicyArn"])
        held = [arn for _, arn in await store.attached(owner.unique_id)]
        if policy.arn not in held and len(held) >= _HELD:
            raise LimitExceededException(f"Cannot exceed quota for PoliciesPer{kind.title}: {_HELD}")
        await store.attach(policy, kind.name, owner.unique_id, "attached")
    return {}


async def _detach(call: Call, request: Shape, kind: OwnerKind) -> Shape:
    async with call.transaction() as tx:
        owner = await locked(tx, kind, call.account_id, request[kind.member])
        if not await PolicyStore(tx, call.account_id).detach(request["PolicyArn"], owner.unique_id, "attached"):
            raise NoSuchEntityException(f"Policy {request['PolicyArn']} was not found.")
    return {}


async def _list(call: Call, request: Shape, kind: OwnerKind) -> Shape:
    path = request.get("PathPrefix", "/")
    query = f"ListAttached{kind.title}Policies {request[kind.member].lower()} {path}"
    after = position(call, query, request)
    async with call.reading() as tx:
        owner = await found(tx, kind, call.account_id, request[kind.member])
        held = await PolicyStore(tx, call.account_id).attached(owner.unique_id)
    shown = [
        (f"{name} {arn}", {"PolicyName": name, "PolicyArn": arn})
        for name, arn in held
        if f"{name} {arn}" > after and arn.partition(":policy")[2].startswith(path)
    ]
    return paged(call, query, request, "AttachedPolicies", shown)
