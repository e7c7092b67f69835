"""IAM roles: who may take them on, and what they may do then."""

from dataclasses import replace
from typing import Any, Final
from urllib.parse import quote

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities import tags
from pilothouse.capabilities.access.bounds import bound, boundary_of_request, leave_policies, told_boundary
from pilothouse.capabilities.access.model import (
    DeleteConflictException,
    EntityAlreadyExistsException,
    LimitExceededException,
    NoSuchEntityException,
    Role,
    role_arn,
)
from pilothouse.capabilities.access.owners import found_role, locked_role, role_resource
from pilothouse.capabilities.access.pages import checked_policy, page, position
from pilothouse.capabilities.access.policy_store import PolicyStore
from pilothouse.capabilities.access.role_store import RoleStore
from pilothouse.capabilities.access.users import UserStore
from pilothouse.identity.policy import size
from pilothouse.runtime.clock import from_millis

_PAGE: Final = 100
_MOST_ROLES: Final = 1000
_TRUST_CHARACTERS: Final = 2048
_POLICY_CHARACTERS: Final = 10_240
"""Of all inline policies of a role together, without white space."""
_HOUR: Final = 3600


def _new_role(call: Call, request: Shape) -> list[str]:
    return [role_arn(call.account_id, request.get("Path", "/"), request["RoleName"])]


def _roles_below(call: Call, request: Shape) -> list[str]:
    return [f"arn:aws:iam::{call.account_id}:role{request.get('PathPrefix', '/')}"]


@operation("iam", "CreateRole", writes=True, resources=_new_role, conditions=boundary_of_request)
async def create_role(call: Call, request: Shape) -> Shape:
    """A role that may do nothing yet, and who may take it on."""
    trust = _checked_trust(request["AssumeRolePolicyDocument"])
    given = tags.by_key(request.get("Tags") or [])
    async with call.transaction() as tx:
        await tx.lock("iam roles", call.account_id)
        store = RoleStore(tx, call.account_id)
        if await store.find(request["RoleName"]) is not None:
            raise EntityAlreadyExistsException(f"Role with name {request['RoleName']} already exists.")
        if await store.count() >= _MOST_ROLES:
            raise LimitExceededException(f"Cannot exceed quota for RolesPerAccount: {_MOST_ROLES}")
        made = Role(
            account_id=call.account_id,
            name=request["RoleName"],
            path=request.get("Path", "/"),
            role_id=call.ids.unique_id("AROA"),
            description=request.get("Description", ""),
            trust=trust,
            max_session=request.get("MaxSessionDuration", _HOUR),
            created_at=call.clock.millis(),
        )
        await store.add(made, given)
        boundary = await bound(tx, made, request.get("PermissionsBoundary"))
    return {"Role": _told(made, given) | boundary}


@operation("iam", "GetRole", resources=role_resource)
async def get_role(call: Call, request: Shape) -> Shape:
    """A role with its trust policy, percent-encoded as IAM does."""
    async with call.reading() as tx:
        store = RoleStore(tx, call.account_id)
        role = await found_role(store, request["RoleName"])
        told = _told(role, await store.tags(role))
        return {"Role": told | told_boundary(await PolicyStore(tx, call.account_id).boundary(role.role_id))}


@operation("iam", "ListRoles", resources=_roles_below)
async def list_roles(call: Call, request: Shape) -> Shape:
    """Roles by name."""
    path = request.get("PathPrefix", "/")
    most = request.get("MaxItems", _PAGE)
    after = position(call, f"ListRoles {path}", request)
    async with call.reading() as tx:
        found = await RoleStore(tx, call.account_id).after(after, path, most + 1)
    shown = found[:most]
    last = shown[-1].name.lower() if shown else ""
    return page(call, f"ListRoles {path}", {"Roles": [_told(each, {}) for each in shown]}, last, len(found) > most)


@operation("iam", "UpdateRole", writes=True, resources=role_resource)
async def update_role(call: Call, request: Shape) -> Shape:
    """Another description, or another longest time for sessions that are made from now on."""
    async with call.transaction() as tx:
        store = RoleStore(tx, call.account_id)
        role = await locked_role(store, request["RoleName"])
        description = request.get("Description", role.description)
        await store.describe(role, description, request.get("MaxSessionDuration", role.max_session))
    return {}


@operation("iam", "UpdateRoleDescription", writes=True, resources=role_resource)
async def update_role_description(call: Call, request: Shape) -> Shape:
    """The older way to change a description."""
    async with call.transaction() as tx:
        store = RoleStore(tx, call.account_id)
        role = await locked_role(store, request["RoleName"])
        await store.describe(role, request["Description"], role.max_session)
        changed = replace(role, description=request["Description"])
        return {"Role": _told(changed, await store.tags(role))}


@operation("iam", "DeleteRole", writes=True, resources=role_resource)
async def delete_role(call: Call, request: Shape) -> Shape:
    """The role goes once nothing hangs on it; its sessions are refused from the next request on."""
    async with call.transaction() as tx:
        store = RoleStore(tx, call.account_id)
        role = await locked_role(store, request["RoleName"])
        if await UserStore(tx, call.account_id).policies(role.role_id, most=1):
            raise DeleteConflictException("Cannot delete entity, must delete policies first.")
        await leave_policies(tx, role)
        await store.remove(role)
    return {}


@operation("iam", "UpdateAssumeRolePolicy", writes=True, resources=role_resource)
async def update_assume_role_policy(call: Call, request: Shape) -> Shape:
    """Who may take the role on from now on; sessions that are there stay."""
    trust = _checked_trust(request["PolicyDocument"])
    async with call.transaction() as tx:
        store = RoleStore(tx, call.account_id)
        await store.set_trust(await locked_role(store, request["RoleName"]), trust)
    return {}


@operation("iam", "PutRolePolicy", writes=True, resources=role_resource)
async def put_role_policy(call: Call, request: Shape) -> Shape:
    """A policy that stands in the role; one of the same name is replaced."""
    document = checked_policy(request["PolicyDocument"], "identity")
    async with call.transaction() as tx:
        role = await locked_role(RoleStore(tx, call.account_id), request["RoleName"])
        store = UserStore(tx, call.account_id)
        others = [text for name, text in await store.policies(role.role_id) if name != request["PolicyName"]]
        if sum(map(size, [*others, document])) > _POLICY_CHARACTERS:
            raise LimitExceededException(
                f"Maximum policy size of {_POLICY_CHARACTERS} bytes exceeded for role {role.name}"
            )
        await store.put_policy(role.role_id, request["PolicyName"], document)
    return {}


@operation("iam", "GetRolePolicy", resources=role_resource)
async def get_role_policy(call: Call, request: Shape) -> Shape:
    """The document as it was put, percent-encoded as IAM does."""
    async with call.reading() as tx:
        role = await found_role(RoleStore(tx, call.account_id), request["RoleName"])
        documents = dict(await UserStore(tx, call.account_id).policies(role.role_id))
    document = documents.get(request["PolicyName"])
    if document is None:
        raise _no_policy(request)
    return {"RoleName": role.name, "PolicyName": request["PolicyName"], "PolicyDocument": quote(document, safe="")}


@operation("iam", "ListRolePolicies", resources=role_resource)
async def list_role_policies(call: Call, request: Shape) -> Shape:
    """Names of the inline policies."""
    query = f"ListRolePolicies {request['RoleName'].lower()}"
    most = request.get("MaxItems", _PAGE)
    after = position(call, query, request)
    async with call.reading() as tx:
        role = await found_role(RoleStore(tx, call.account_id), request["RoleName"])
        found = [name for name, _ in await UserStore(tx, call.account_id).policies(role.role_id, after, most + 1)]
    shown = found[:most]
    return page(call, query, {"PolicyNames": shown}, shown[-1] if shown else "", len(found) > most)


@operation("iam", "DeleteRolePolicy", writes=True, resources=role_resource)
async def delete_role_policy(call: Call, request: Shape) -> Shape:
    """What it allowed or denied counts no more from the next request on, for sessions that are there too."""
    async with call.transaction() as tx:
        role = await locked_role(RoleStore(tx, call.account_id), request["RoleName"])
        if not await UserStore(tx, call.account_id).remove_policy(role.role_id, request["PolicyName"]):
            raise _no_policy(request)
    return {}


def _checked_trust(document: str) -> str:
    if size(document) > _TRUST_CHARACTERS:
        raise LimitExceededException(f"Cannot exceed quota for ACLSizePerRole: {_TRUST_CHARACTERS}")
    return checked_policy(document, "trust")


def _told(role: Role, given: dict[str, str]) -> Shape:
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
    if given:
        told["Tags"] = [{"Key": key, "Value": value} for key, value in given.items()]
    return told


def _no_policy(request: Shape) -> NoSuchEntityException:
    return NoSuchEntityException(f"The role policy with name {request['PolicyName']} cannot be found.")
