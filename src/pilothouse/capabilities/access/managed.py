"""Managed policies: made once, in up to five versions, and held by any number of users and roles."""

from dataclasses import replace
from typing import Any, Final
from urllib.parse import quote

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities import tags
from pilothouse.capabilities.access.bounds import attachable, kind_and_id
from pilothouse.capabilities.access.group_store import GroupStore
from pilothouse.capabilities.access.model import (
    DeleteConflictException,
    EntityAlreadyExistsException,
    Group,
    LimitExceededException,
    ManagedPolicy,
    NoSuchEntityException,
    Role,
    User,
    policy_arn,
)
from pilothouse.capabilities.access.owners import (
    found_group,
    found_role,
    found_user,
    group_resource,
    locked_group,
    locked_role,
    locked_user,
    role_resource,
    user_resource,
)
from pilothouse.capabilities.access.pages import checked_policy, page, position
from pilothouse.capabilities.access.policy_store import PolicyStore, Use
from pilothouse.capabilities.access.provided import OWNER, all_provided
from pilothouse.capabilities.access.role_store import RoleStore
from pilothouse.capabilities.access.users import UserStore
from pilothouse.errors import AccessDeniedException
from pilothouse.identity.policy import size
from pilothouse.runtime.clock import from_millis
from pilothouse.storage import Transaction

_PAGE: Final = 100
_MOST: Final = 1500
_VERSIONS: Final = 5
_CHARACTERS: Final = 6144
"""Of a version, without white space."""
_HELD: Final = 10
"""Policies that one user or role may have attached."""
_USES: Final[dict[str, Use]] = {"PermissionsPolicy": "attached", "PermissionsBoundary": "boundary"}


def policy_resource(call: Call, request: Shape) -> list[str]:
    """What policies are asked about."""
    return [request["PolicyArn"]]


def _new_policy(call: Call, request: Shape) -> list[str]:
    return [policy_arn(call.account_id, request.get("Path", "/"), request["PolicyName"])]


def _attaching(call: Call, request: Shape) -> dict[str, str]:
    return {"iam:PolicyARN": request["PolicyArn"]}


@operation("iam", "CreatePolicy", writes=True, resources=_new_policy)
async def create_policy(call: Call, request: Shape) -> Shape:
    """A policy with its first version, held by nobody yet."""
    document = _checked(request["PolicyDocument"])
    given = tags.by_key(request.get("Tags") or [])
    now = call.clock.millis()
    async with call.transaction() as tx:
        await tx.lock("iam policies", call.account_id)
        store = PolicyStore(tx, call.account_id)
        if await store.named(request["PolicyName"]):
            raise EntityAlreadyExistsException(
                f"A policy called {request['PolicyName']} already exists. Duplicate names are not allowed."
            )
        if await store.count() >= _MOST:
            raise LimitExceededException(f"Cannot exceed quota for PoliciesPerAccount: {_MOST}")
        made = ManagedPolicy(
            account_id=call.account_id,
            name=request["PolicyName"],
            path=request.get("Path", "/"),
            policy_id=call.ids.unique_id("ANPA"),
            description=request.get("Description", ""),
            default_version=1,
            last_version=1,
            created_at=now,
            updated_at=now,
        )
        await store.add(made, document, given)
        told = await _told(store, made)
    return {"Policy": _without_description(told) | _tagged(given)}


@operation("iam", "GetPolicy", resources=policy_resource)
async def get_policy(call: Call, request: Shape) -> Shape:
    """A policy with how often it is used; its documents are in its versions."""
    async with call.reading() as tx:
        store = PolicyStore(tx, call.account_id)
        policy = await found_policy(store, request["PolicyArn"])
        return {"Policy": await _told(store, policy) | _tagged(await store.tags(policy))}


@operation("iam", "ListPolicies")
async def list_policies(call: Call, request: Shape) -> Shape:
    """Policies by name: the account's own, and those that every account has."""
    scope, path = request.get("Scope", "All"), request.get("PathPrefix", "/")
    use = request.get("PolicyUsageFilter")
    query = f"ListPolicies {scope} {path} {request.get('OnlyAttached', False)} {use}"
    after = position(call, query, request)
    async with call.reading() as tx:
        store = PolicyStore(tx, call.account_id)
        every = ([] if scope == "AWS" else await store.own()) + ([] if scope == "Local" else all_provided())
        found = []
        for policy in sorted(every, key=_place):
            if _place(policy) <= after or not policy.path.startswith(path):
                continue
            told = _without_description(await _told(store, policy))
            if request.get("OnlyAttached") and not told["AttachmentCount"]:
                continue
            if use is not None and not told[_COUNTS[use]]:
                continue
            found.append((_place(policy), told))
    return _paged(call, query, request, "Policies", found)


@operation("iam", "DeletePolicy", writes=True, resources=policy_resource)
async def delete_policy(call: Call, request: Shape) -> Shape:
    """The policy goes once nobody holds it and only its default version is left."""
    async with call.transaction() as tx:
        store = PolicyStore(tx, call.account_id)
        policy = await own_policy(call, store, request["PolicyArn"], "iam:DeletePolicy")
        if await store.holders(policy.arn, ["attached", "boundary"]):
            raise DeleteConflictException("Cannot delete a policy attached to entities.")
        if len(await store.versions(policy)) > 1:
            raise DeleteConflictException(
                "This policy has more than one version. Before you delete a policy, you must delete the policy's"
                " versions. The default version is deleted with the policy."
            )
        await store.remove(policy)
    return {}


@operation("iam", "CreatePolicyVersion", writes=True, resources=policy_resource)
async def create_policy_version(call: Call, request: Shape) -> Shape:
    """A further version; it counts once it is the default."""
    document = _checked(request["PolicyDocument"])
    now = call.clock.millis()
    async with call.transaction() as tx:
        store = PolicyStore(tx, call.account_id)
        policy = await own_policy(call, store, request["PolicyArn"], "iam:CreatePolicyVersion")
        if len(await store.versions(policy)) >= _VERSIONS:
            raise LimitExceededException(
                f"A managed policy can have up to {_VERSIONS} versions. Before you create a new version, you must"
                " delete an existing version."
            )
        number = policy.last_version + 1
        default = number if request.get("SetAsDefault") else policy.default_version
        await store.add_version(policy, number, document, now)
        await store.change(replace(policy, default_version=default, last_version=number, updated_at=now))
    told = {"VersionId": f"v{number}", "IsDefaultVersion": default == number, "CreateDate": from_millis(now)}
    return {"PolicyVersion": told}


@operation("iam", "GetPolicyVersion", resources=policy_resource)
async def get_policy_version(call: Call, request: Shape) -> Shape:
    """The document as it was put, percent-encoded as IAM does."""
    async with call.reading() as tx:
        store = PolicyStore(tx, call.account_id)
        policy = await found_policy(store, request["PolicyArn"])
        number, document, made_at = await _version(store, policy, request["VersionId"])
    return {"PolicyVersion": _told_version(policy, number, made_at) | {"Document": quote(document, safe="")}}


@operation("iam", "ListPolicyVersions", resources=policy_resource)
async def list_policy_versions(call: Call, request: Shape) -> Shape:
    """The newest first; there are never more than one page."""
    position(call, f"ListPolicyVersions {request['PolicyArn']}", request)
    async with call.reading() as tx:
        store = PolicyStore(tx, call.account_id)
        policy = await found_policy(store, request["PolicyArn"])
        found = await store.versions(policy)
    told = [_told_version(policy, number, made_at) for number, _, made_at in found]
    return {"Versions": told, "IsTruncated": False}


@operation("iam", "SetDefaultPolicyVersion", writes=True, resources=policy_resource)
async def set_default_policy_version(call: Call, request: Shape) -> Shape:
    """What this version says counts from the next request on, for all who hold the policy."""
    async with call.transaction() as tx:
        store = PolicyStore(tx, call.account_id)
        policy = await own_policy(call, store, request["PolicyArn"], "iam:SetDefaultPolicyVersion")
        number, _, _ = await _version(store, policy, request["VersionId"])
        await store.change(replace(policy, default_version=number, updated_at=call.clock.millis()))
    return {}


@operation("iam", "DeletePolicyVersion", writes=True, resources=policy_resource)
async def delete_policy_version(call: Call, request: Shape) -> Shape:
    """Its number is not given again."""
    async with call.transaction() as tx:
        store = PolicyStore(tx, call.account_id)
        policy = await own_policy(call, store, request["PolicyArn"], "iam:DeletePolicyVersion")
        number, _, _ = await _version(store, policy, request["VersionId"])
        if number == policy.default_version:
            raise DeleteConflictException("Cannot delete the default version of a policy.")
        await store.remove_version(policy, number)
    return {}


@operation("iam", "AttachUserPolicy", writes=True, resources=user_resource, conditions=_attaching)
async def attach_user_policy(call: Call, request: Shape) -> Shape:
    """What the policy says counts for the user from the next request on."""
    async with call.transaction() as tx:
        user = await locked_user(UserStore(tx, call.account_id), request["UserName"])
        await _attach(tx, user, request["PolicyArn"], "PoliciesPerUser")
    return {}


@operation("iam", "AttachRolePolicy", writes=True, resources=role_resource, conditions=_attaching)
async def attach_role_policy(call: Call, request: Shape) -> Shape:
    """What the policy says counts for sessions of the role from the next request on."""
    async with call.transaction() as tx:
        role = await locked_role(RoleStore(tx, call.account_id), request["RoleName"])
        await _attach(tx, role, request["PolicyArn"], "PoliciesPerRole")
    return {}


@operation("iam", "DetachUserPolicy", writes=True, resources=user_resource, conditions=_attaching)
async def detach_user_policy(call: Call, request: Shape) -> Shape:
    """What the policy says counts for the user no more."""
    async with call.transaction() as tx:
        user = await locked_user(UserStore(tx, call.account_id), request["UserName"])
        await _detach(tx, user, request["PolicyArn"])
    return {}


@operation("iam", "DetachRolePolicy", writes=True, resources=role_resource, conditions=_attaching)
async def detach_role_policy(call: Call, request: Shape) -> Shape:
    """What the policy says counts for sessions of the role no more."""
    async with call.transaction() as tx:
        role = await locked_role(RoleStore(tx, call.account_id), request["RoleName"])
        await _detach(tx, role, request["PolicyArn"])
    return {}


@operation("iam", "ListAttachedUserPolicies", resources=user_resource)
async def list_attached_user_policies(call: Call, request: Shape) -> Shape:
    """By name."""
    query = f"ListAttachedUserPolicies {request['UserName'].lower()}"
    async with call.reading() as tx:
        user = await found_user(UserStore(tx, call.account_id), request["UserName"])
        return await _attached(call, tx, user, query, request)


@operation("iam", "ListAttachedRolePolicies", resources=role_resource)
async def list_attached_role_policies(call: Call, request: Shape) -> Shape:
    """By name."""
    query = f"ListAttachedRolePolicies {request['RoleName'].lower()}"
    async with call.reading() as tx:
        role = await found_role(RoleStore(tx, call.account_id), request["RoleName"])
        return await _attached(call, tx, role, query, request)


@operation("iam", "AttachGroupPolicy", writes=True, resources=group_resource, conditions=_attaching)
async def attach_group_policy(call: Call, request: Shape) -> Shape:
    """What the policy says counts for the group's users from the next request on."""
    async with call.transaction() as tx:
        group = await locked_group(GroupStore(tx, call.account_id), request["GroupName"])
        await _attach(tx, group, request["PolicyArn"], "PoliciesPerGroup")
    return {}


@operation("iam", "DetachGroupPolicy", writes=True, resources=group_resource, conditions=_attaching)
async def detach_group_policy(call: Call, request: Shape) -> Shape:
    """What the policy says counts for the group's users no more."""
    async with call.transaction() as tx:
        group = await locked_group(GroupStore(tx, call.account_id), request["GroupName"])
        await _detach(tx, group, request["PolicyArn"])
    return {}


@operation("iam", "ListAttachedGroupPolicies", resources=group_resource)
async def list_attached_group_policies(call: Call, request: Shape) -> Shape:
    """By name."""
    query = f"ListAttachedGroupPolicies {request['GroupName'].lower()}"
    async with call.reading() as tx:
        group = await found_group(GroupStore(tx, call.account_id), request["GroupName"])
        return await _attached(call, tx, group, query, request)


@operation("iam", "ListEntitiesForPolicy", resources=policy_resource)
async def list_entities_for_policy(call: Call, request: Shape) -> Shape:
    """The users, roles and groups that hold the policy, or are bounded by it."""
    arn, path = request["PolicyArn"], request.get("PathPrefix", "/")
    wanted, use = request.get("EntityFilter"), request.get("PolicyUsageFilter")
    query = f"ListEntitiesForPolicy {arn} {path} {wanted} {use}"
    after = position(call, query, request)
    most = request.get("MaxItems", _PAGE)
    answer: Shape = {"PolicyGroups": [], "PolicyUsers": [], "PolicyRoles": []}
    last, count = "", 0
    async with call.reading() as tx:
        store = PolicyStore(tx, call.account_id)
        await found_policy(store, arn)
        for kind, owner_id in await store.holders(arn, list(_USES.values()) if use is None else [_USES[use]]):
            if f"{kind} {owner_id}" <= after or (wanted is not None and wanted.lower() != kind):
                continue
            owner = await _owner(tx, call.account_id, kind, owner_id)
            if owner is None or not owner.path.startswith(path):
                continue
            if count == most:
                return page(call, query, answer, last, True)
            named = kind.capitalize()
            answer[f"Policy{named}s"].append({f"{named}Name": owner.name, f"{named}Id": owner_id})
            last, count = f"{kind} {owner_id}", count + 1
    return page(call, query, answer, last, False)


_COUNTS: Final = {"PermissionsPolicy": "AttachmentCount", "PermissionsBoundary": "PermissionsBoundaryUsageCount"}


async def _owner(tx: Transaction, account_id: str, kind: str, owner_id: str) -> User | Role | Group | None:
    if kind == "user":
        return await UserStore(tx, account_id).by_id(owner_id)
    return await (RoleStore(tx, account_id) if kind == "role" else GroupStore(tx, account_id)).by_id(owner_id)


async def _attach(tx: Transaction, owner: User | Role | Group, arn: str, quota: str) -> None:
    store = PolicyStore(tx, owner.account_id)
    policy = await attachable(store, arn)
    kind, owner_id = kind_and_id(owner)
    held = [each for _, each in await store.attached(owner_id)]
    if policy.arn not in held and len(held) >= _HELD:
        raise LimitExceededException(f"Cannot exceed quota for {quota}: {_HELD}")
    await store.attach(policy, kind, owner_id, "attached")


async def _detach(tx: Transaction, owner: User | Role | Group, arn: str) -> None:
    if not await PolicyStore(tx, owner.account_id).detach(arn, kind_and_id(owner)[1], "attached"):
        raise NoSuchEntityException(f"Policy {arn} was not found.")


async def _attached(call: Call, tx: Transaction, owner: User | Role | Group, query: str, request: Shape) -> Shape:
    path = request.get("PathPrefix", "/")
    after = position(call, f"{query} {path}", request)
    held = await PolicyStore(tx, owner.account_id).attached(kind_and_id(owner)[1])
    found = [
        (f"{name} {arn}", {"PolicyName": name, "PolicyArn": arn})
        for name, arn in held
        if f"{name} {arn}" > after and arn.partition(":policy")[2].startswith(path)
    ]
    return _paged(call, f"{query} {path}", request, "AttachedPolicies", found)


def _paged(call: Call, query: str, request: Shape, member: str, found: list[tuple[str, Shape]]) -> Shape:
    most = request.get("MaxItems", _PAGE)
    shown = found[:most]
    last = shown[-1][0] if shown else ""
    return page(call, query, {member: [told for _, told in shown]}, last, len(found) > most)


def _place(policy: ManagedPolicy) -> str:
    return f"{policy.name.lower()} {policy.arn}"


def _checked(document: str) -> str:
    if size(document) > _CHARACTERS:
        raise LimitExceededException(f"Cannot exceed quota for PolicySize: {_CHARACTERS}")
    return checked_policy(document, "identity")


async def found_policy(store: PolicyStore, arn: str) -> ManagedPolicy:
    """The policy of that ARN. Raises NoSuchEntityException."""
    policy = await store.find(arn)
    if policy is None:
        raise NoSuchEntityException(f"Policy {arn} was not found.")
    return policy


async def own_policy(call: Call, store: PolicyStore, arn: str, action: str) -> ManagedPolicy:
    """A policy of the account, to be changed. Nobody changes those that every account has."""
    await store.lock(arn)
    policy = await found_policy(store, arn)
    if policy.account_id == OWNER:
        raise AccessDeniedException(
            f"User: {call.principal.arn} is not authorized to perform: {action} on resource: policy {arn}"
        )
    return policy


async def _version(store: PolicyStore, policy: ManagedPolicy, version_id: str) -> tuple[int, str, int]:
    for number, document, made_at in await store.versions(policy):
        if f"v{number}" == version_id:
            return number, document, made_at
    raise NoSuchEntityException(f"Policy {policy.arn} version {version_id} does not exist or is not attachable.")


async def _told(store: PolicyStore, policy: ManagedPolicy) -> dict[str, Any]:
    told: dict[str, Any] = {
        "PolicyName": policy.name,
        "PolicyId": policy.policy_id,
        "Arn": policy.arn,
        "Path": policy.path,
        "DefaultVersionId": f"v{policy.default_version}",
        "AttachmentCount": await store.uses(policy.arn, "attached"),
        "PermissionsBoundaryUsageCount": await store.uses(policy.arn, "boundary"),
        "IsAttachable": True,
        "CreateDate": from_millis(policy.created_at),
        "UpdateDate": from_millis(policy.updated_at),
    }
    return told | ({"Description": policy.description} if policy.description else {})


def _without_description(told: dict[str, Any]) -> dict[str, Any]:
    """As IAM does it everywhere but in GetPolicy."""
    return {name: value for name, value in told.items() if name != "Description"}


def _told_version(policy: ManagedPolicy, number: int, made_at: int) -> Shape:
    return {
        "VersionId": f"v{number}",
        "IsDefaultVersion": number == policy.default_version,
        "CreateDate": from_millis(made_at),
    }


def _tagged(given: dict[str, str]) -> Shape:
    return {"Tags": [{"Key": key, "Value": value} for key, value in given.items()]} if given else {}
