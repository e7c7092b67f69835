"""IAM roles: who may take them on, and what they may do then."""

import json
from dataclasses import replace
from typing import Any, Final
from urllib.parse import quote

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities.access.bounds import (
    bound,
    boundary_of_owner,
    boundary_of_request,
    leave_policies,
    told_boundary,
)
from pilothouse.capabilities.access.model import (
    ROLE_ID,
    DeleteConflictException,
    LimitExceededException,
    MalformedPolicyDocumentException,
    Role,
)
from pilothouse.capabilities.access.owners import (
    ROLE,
    found,
    listed,
    locked,
    must_have_room,
    new_resource,
    resources_below,
    role_resource,
)
from pilothouse.capabilities.access.pages import checked_policy
from pilothouse.capabilities.access.policy_store import PolicyStore
from pilothouse.capabilities.access.profile_store import ProfileStore
from pilothouse.capabilities.access.role_store import RoleStore
from pilothouse.capabilities.access.tagged import tags_of, told_tags
from pilothouse.capabilities.access.users import UserStore
from pilothouse.identity.policy import size
from pilothouse.runtime.clock import from_millis
from pilothouse.storage import Transaction

_TRUST_CHARACTERS: Final = 2048
_HOUR: Final = 3600


@operation("iam", "CreateRole", writes=True, resources=new_resource(ROLE), conditions=boundary_of_request)
async def create_role(call: Call, request: Shape) -> Shape:
    """A role that may do nothing yet, and who may take it on."""
    trust = _checked_trust(request["AssumeRolePolicyDocument"])
    given = tags_of(request.get("Tags"))
    async with call.transaction() as tx:
        await must_have_room(tx, ROLE, call.account_id, request["RoleName"])
        made = Role(
            account_id=call.account_id,
            name=request["RoleName"],
            path=request.get("Path", "/"),
            role_id=call.ids.unique_id(ROLE_ID),
            description=request.get("Description", ""),
            trust=trust,
            max_session=request.get("MaxSessionDuration", _HOUR),
            created_at=call.clock.millis(),
        )
        await RoleStore(tx, call.account_id).add(made, given)
        boundary = await bound(tx, made, request.get("PermissionsBoundary"))
    told = told_role(made, given) | boundary
    del told["MaxSessionDuration"]  # which the service tells of roles that are there
    return {"Role": told}


@operation("iam", "GetRole", resources=role_resource, conditions=boundary_of_owner)
async def get_role(call: Call, request: Shape) -> Shape:
    """A role with its trust policy, percent-encoded as IAM does."""
    async with call.reading() as tx:
        store = RoleStore(tx, call.account_id)
        role = await found(tx, ROLE, call.account_id, request["RoleName"])
        told = told_role(role, await store.tags(role)) | await told_use(store, role)
        return {"Role": told | told_boundary(await PolicyStore(tx, call.account_id).boundary(role.role_id))}


@operation("iam", "ListRoles", resources=resources_below(ROLE))
async def list_roles(call: Call, request: Shape) -> Shape:
    """Roles by name."""

    async def tell(tx: Transaction, role: Role) -> Shape:
        return told_role(role, {})

    return await listed(call, request, ROLE, tell)


@operation("iam", "UpdateRole", writes=True, resources=role_resource, conditions=boundary_of_owner)
async def update_role(call: Call, request: Shape) -> Shape:
    """Another description, or another longest time for sessions that are made from now on."""
    async with call.transaction() as tx:
        store = RoleStore(tx, call.account_id)
        role = await locked(tx, ROLE, call.account_id, request["RoleName"])
        description = request.get("Description", role.description)
        await store.describe(role, description, request.get("MaxSessionDuration", role.max_session))
    return {}


@operation("iam", "UpdateRoleDescription", writes=True, resources=role_resource, conditions=boundary_of_owner)
async def update_role_description(call: Call, request: Shape) -> Shape:
    """The older way to change a description."""
    async with call.transaction() as tx:
        store = RoleStore(tx, call.account_id)
        role = await locked(tx, ROLE, call.account_id, request["RoleName"])
        await store.describe(role, request["Description"], role.max_session)
        changed = replace(role, description=request["Description"])
        return {"Role": told_role(changed, await store.tags(role))}


@operation("iam", "DeleteRole", writes=True, resources=role_resource, conditions=boundary_of_owner)
async def delete_role(call: Call, request: Shape) -> Shape:
    """The role goes once nothing hangs on it; its sessions are refused from the next request on."""
    async with call.transaction() as tx:
        store = RoleStore(tx, call.account_id)
        role = await locked(tx, ROLE, call.account_id, request["RoleName"])
        if await UserStore(tx, call.account_id).policies(role.role_id, most=1):
            raise DeleteConflictException("Cannot delete entity, must delete policies first.")
        if await ProfileStore(tx, call.account_id).of(role, most=1):
            raise DeleteConflictException("Cannot delete entity, must remove roles from instance profile first.")
        await leave_policies(tx, role)
        await store.remove(role)
    return {}


@operation("iam", "UpdateAssumeRolePolicy", writes=True, resources=role_resource, conditions=boundary_of_owner)
async def update_assume_role_policy(call: Call, request: Shape) -> Shape:
    """Who may take the role on from now on; sessions that are there stay."""
    trust = _checked_trust(request["PolicyDocument"])
    async with call.transaction() as tx:
        store = RoleStore(tx, call.account_id)
        await store.set_trust(await locked(tx, ROLE, call.account_id, request["RoleName"]), trust)
    return {}


def _checked_trust(document: str) -> str:
    if size(document) > _TRUST_CHARACTERS:
        raise LimitExceededException(f"Cannot exceed quota for ACLSizePerRole: {_TRUST_CHARACTERS}")
    checked_policy(document, "trust")
    statements = json.loads(document)["Statement"]
    for number, each in enumerate(statements if isinstance(statements, list) else [statements], 1):
        actions = each.get("Action", each.get("NotAction"))
        for action in actions if isinstance(actions, list) else [actions]:
            if not action.lower().startswith("sts:"):
                raise MalformedPolicyDocumentException(
                    f"AssumeRole policy may only specify STS AssumeRole actions. Statement {number}: Action: {action}"
                )
    return document


async def told_use(store: RoleStore, role: Role) -> Shape:
    """The member of a role about its last use: empty for one that nobody used."""
    at, region = await store.use(role)
    return {"RoleLastUsed": {"LastUsedDate": from_millis(at), "Region": region} if at else {}}


def told_role(role: Role, given: dict[str, str]) -> Shape:
    """A role with its tags, without its boundary."""
    told: dict[str, Any] = {
        "Path": role.path,
        "RoleName": role.name,
        "RoleId": role.role_id,
        "Arn": role.arn,
        "CreateDate": from_millis(role.created_at),
        "AssumeRolePolicyDocument": quote(role.trust, safe=""),
        "MaxSessionDuration": role.max_session,
    }
    if role.description:
        told["Description"] = role.description
    return told | told_tags(given)
