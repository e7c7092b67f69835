"""Managed policies: made once, in up to five versions, and held by any number of users and roles."""

from dataclasses import replace
from typing import Any, Final
from urllib.parse import quote

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities.access.model import (
    DeleteConflictException,
    EntityAlreadyExistsException,
    LimitExceededException,
    MalformedPolicyDocumentException,
    ManagedPolicy,
    NoSuchEntityException,
    policy_arn,
)
from pilothouse.capabilities.access.pages import checked_policy, paged, position
from pilothouse.capabilities.access.policy_store import PolicyStore
from pilothouse.capabilities.access.provided import OWNER, all_provided
from pilothouse.capabilities.access.tagged import tags_of, told_tags
from pilothouse.errors import AccessDeniedException
from pilothouse.identity.policy import parse, size
from pilothouse.runtime.clock import from_millis

_MOST: Final = 1500
_VERSIONS: Final = 5
_VERSION: Final = "2012-10-17"
"""Of the language; inline policies and trust policies may be of the older one."""
_CHARACTERS: Final = 6144
"""Of a version, without white space."""


def policy_resource(call: Call, request: Shape) -> list[str]:
    """What policies are asked about."""
    return [request["PolicyArn"]]


def _new_policy(call: Call, request: Shape) -> list[str]:
    return [policy_arn(call.account_id, request.get("Path", "/"), request["PolicyName"])]


@operation("iam", "CreatePolicy", writes=True, resources=_new_policy)
async def create_policy(call: Call, request: Shape) -> Shape:
    """A policy with its first version, held by nobody yet."""
    document = _checked(request["PolicyDocument"])
    given = tags_of(request.get("Tags"))
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
        told = await told_policy(store, made)
    return {"Policy": _without_description(told) | told_tags(given)}


@operation("iam", "GetPolicy", resources=policy_resource)
async def get_policy(call: Call, request: Shape) -> Shape:
    """A policy with how often it is used; its documents are in its versions."""
    async with call.reading() as tx:
        store = PolicyStore(tx, call.account_id)
        policy = await found_policy(store, request["PolicyArn"])
        tagged: Shape = {"Tags": []}  # which of all reads this one never leaves out
        tagged |= told_tags(await store.tags(policy))
        return {"Policy": await told_policy(store, policy) | tagged}


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
            told = _without_description(await told_policy(store, policy))
            if request.get("OnlyAttached") and not told["AttachmentCount"]:
                continue
            if use is not None and not told[_COUNTS[use]]:
                continue
            found.append((_place(policy), told))
    return paged(call, query, request, "Policies", found)


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
    return {"PolicyVersion": told_version(policy, number, made_at) | {"Document": quote(document, safe="")}}


@operation("iam", "ListPolicyVersions", resources=policy_resource)
async def list_policy_versions(call: Call, request: Shape) -> Shape:
    """The newest first; there are never more than one page."""
    position(call, f"ListPolicyVersions {request['PolicyArn']}", request)
    async with call.reading() as tx:
        store = PolicyStore(tx, call.account_id)
        policy = await found_policy(store, request["PolicyArn"])
        found = await store.versions(policy)
    told = [told_version(policy, number, made_at) for number, _, made_at in found]
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


_COUNTS: Final = {"PermissionsPolicy": "AttachmentCount", "PermissionsBoundary": "PermissionsBoundaryUsageCount"}


def _place(policy: ManagedPolicy) -> str:
    return f"{policy.name.lower()} {policy.arn}"


def _checked(document: str) -> str:
    if size(document) > _CHARACTERS:
        raise LimitExceededException(f"Cannot exceed quota for PolicySize: {_CHARACTERS}")
    checked_policy(document, "identity")
    if parse(document, kind="identity").version != _VERSION:
        raise MalformedPolicyDocumentException(f"Policy document must be version {_VERSION} or greater.")
    return document


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


async def told_policy(store: PolicyStore, policy: ManagedPolicy) -> dict[str, Any]:
    """A policy without its documents and tags."""
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


def told_version(policy: ManagedPolicy, number: int, made_at: int) -> Shape:
    """A version without its document."""
    return {
        "VersionId": f"v{number}",
        "IsDefaultVersion": number == policy.default_version,
        "CreateDate": from_millis(made_at),
    }
