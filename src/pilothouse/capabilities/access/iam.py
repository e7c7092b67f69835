"""IAM: users, their access keys and their inline policies.

Operations on access keys without a user name are about the caller's own, root's among them.
"""

from typing import Any, Final
from urllib.parse import quote

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities import tags
from pilothouse.capabilities.access.bounds import bound, boundary_of_request, leave_policies, told_boundary
from pilothouse.capabilities.access.group_store import GroupStore
from pilothouse.capabilities.access.model import (
    DeleteConflictException,
    EntityAlreadyExistsException,
    LimitExceededException,
    NoSuchEntityException,
    User,
    root_arn,
    user_arn,
)
from pilothouse.capabilities.access.owners import found_user, locked_user, user_resource
from pilothouse.capabilities.access.pages import checked_policy, page, position
from pilothouse.capabilities.access.policy_store import PolicyStore
from pilothouse.capabilities.access.users import UserStore
from pilothouse.errors import ValidationException
from pilothouse.identity.policy import size
from pilothouse.runtime.clock import from_millis
from pilothouse.storage import Transaction

_PAGE: Final = 100
_MOST_USERS: Final = 5000
_MOST_KEYS: Final = 2
_POLICY_CHARACTERS: Final = 2048
"""Of all inline policies of a user together, without white space."""


def _new_user(call: Call, request: Shape) -> list[str]:
    return [user_arn(call.account_id, request.get("Path", "/"), request["UserName"])]


def _users_below(call: Call, request: Shape) -> list[str]:
    return [f"arn:aws:iam::{call.account_id}:user{request.get('PathPrefix', '/')}"]


@operation("iam", "CreateUser", writes=True, resources=_new_user, conditions=boundary_of_request)
async def create_user(call: Call, request: Shape) -> Shape:
    """A user who may do nothing yet. Names differ by more than case."""
    given = tags.by_key(request.get("Tags") or [])
    async with call.transaction() as tx:
        await tx.lock("iam users", call.account_id)
        store = UserStore(tx, call.account_id)
        if await store.find(request["UserName"]) is not None:
            raise EntityAlreadyExistsException(f"User with name {request['UserName']} already exists.")
        if await store.count() >= _MOST_USERS:
            raise LimitExceededException(f"Cannot exceed quota for UsersPerAccount: {_MOST_USERS}")
        made = User(
            account_id=call.account_id,
            name=request["UserName"],
            path=request.get("Path", "/"),
            user_id=call.ids.unique_id("AIDA"),
            created_at=call.clock.millis(),
        )
        await store.add(made, given)
        boundary = await bound(tx, made, request.get("PermissionsBoundary"))
    return {"User": _told(made, given) | boundary}


@operation("iam", "GetUser", resources=user_resource)
async def get_user(call: Call, request: Shape) -> Shape:
    """A user, or without a name the caller."""
    async with call.reading() as tx:
        owner = await _owner(call, tx, request)
        if owner is None:
            root = {"Path": "/", "UserName": "root", "UserId": call.account_id, "Arn": root_arn(call.account_id)}
            made_at = await UserStore(tx, call.account_id).account_made_at()
            return {"User": root | {"CreateDate": from_millis(made_at)}}
        told = _told(owner, await UserStore(tx, call.account_id).tags(owner))
        return {"User": told | told_boundary(await PolicyStore(tx, call.account_id).boundary(owner.user_id))}


@operation("iam", "ListUsers", resources=_users_below)
async def list_users(call: Call, request: Shape) -> Shape:
    """Users by name."""
    path = request.get("PathPrefix", "/")
    most = request.get("MaxItems", _PAGE)
    after = position(call, f"ListUsers {path}", request)
    async with call.reading() as tx:
        found = await UserStore(tx, call.account_id).after(after, path, most + 1)
    shown = found[:most]
    last = shown[-1].name.lower() if shown else ""
    return page(call, f"ListUsers {path}", {"Users": [_told(each, {}) for each in shown]}, last, len(found) > most)


@operation("iam", "UpdateUser", writes=True, resources=user_resource)
async def update_user(call: Call, request: Shape) -> Shape:
    """Another name or path. Keys, policies and groups stay; policies that name the old ARN speak of it no more."""
    async with call.transaction() as tx:
        await tx.lock("iam users", call.account_id)
        store = UserStore(tx, call.account_id)
        user = await locked_user(store, request["UserName"])
        name = request.get("NewUserName", user.name)
        if name.lower() != user.name.lower() and await store.find(name) is not None:
            raise EntityAlreadyExistsException(f"User with name {name} already exists.")
        await store.rename(user, name, request.get("NewPath", user.path))
    return {}


@operation("iam", "DeleteUser", writes=True, resources=user_resource)
async def delete_user(call: Call, request: Shape) -> Shape:
    """The user goes once nothing hangs on it any more; a user of the same name is another one."""
    async with call.transaction() as tx:
        store = UserStore(tx, call.account_id)
        user = await locked_user(store, request["UserName"])
        if await store.keys(user.user_id):
            raise DeleteConflictException("Cannot delete entity, must delete access keys first.")
        if await store.policies(user.user_id, most=1):
            raise DeleteConflictException("Cannot delete entity, must delete policies first.")
        if await GroupStore(tx, call.account_id).of(user):
            raise DeleteConflictException("Cannot delete entity, must remove user from all groups first.")
        await leave_policies(tx, user)
        await store.remove(user)
    return {}


@operation("iam", "CreateAccessKey", writes=True, resources=user_resource)
async def create_access_key(call: Call, request: Shape) -> Shape:
    """A key with its secret, which is shown this once; at most two for each user."""
    async with call.transaction() as tx:
        store = UserStore(tx, call.account_id)
        owner = await _owner(call, tx, request, lock=True)
        owner_id = call.account_id if owner is None else owner.user_id
        if len(await store.keys(owner_id)) >= _MOST_KEYS:
            raise LimitExceededException(f"Cannot exceed quota for AccessKeysPerUser: {_MOST_KEYS}")
        made = await store.add_key(call.house, owner_id, root_arn(call.account_id) if owner is None else owner.arn)
    key = {
        "AccessKeyId": made.access_key_id,
        "Status": "Active",
        "SecretAccessKey": made.secret,
        "CreateDate": call.clock.now(),
    }
    return {"AccessKey": _named(owner) | key}


@operation("iam", "ListAccessKeys", resources=user_resource)
async def list_access_keys(call: Call, request: Shape) -> Shape:
    """The keys of a user; there are never more than one page."""
    position(call, "ListAccessKeys", request)
    async with call.reading() as tx:
        owner = await _owner(call, tx, request)
        owner_id = call.account_id if owner is None else owner.user_id
        found = await UserStore(tx, call.account_id).keys(owner_id)
    told = [
        _named(owner)
        | {"AccessKeyId": each.access_key_id, "Status": each.status, "CreateDate": from_millis(each.created_at)}
        for each in found
    ]
    return {"AccessKeyMetadata": told, "IsTruncated": False}


@operation("iam", "UpdateAccessKey", writes=True, resources=user_resource)
async def update_access_key(call: Call, request: Shape) -> Shape:
    """Active or Inactive; a key that is disabled is refused from the next request on."""
    if request["Status"] == "Expired":
        raise ValidationException("The status of an access key can be set to Active or Inactive.")
    async with call.transaction() as tx:
        owner = await _owner(call, tx, request, lock=True)
        owner_id = call.account_id if owner is None else owner.user_id
        store = UserStore(tx, call.account_id)
        if not await store.set_key_status(owner_id, request["AccessKeyId"], request["Status"]):
            raise _no_key(request)
    return {}


@operation("iam", "DeleteAccessKey", writes=True, resources=user_resource)
async def delete_access_key(call: Call, request: Shape) -> Shape:
    """The key is refused from the next request on."""
    async with call.transaction() as tx:
        owner = await _owner(call, tx, request, lock=True)
        owner_id = call.account_id if owner is None else owner.user_id
        if not await UserStore(tx, call.account_id).remove_key(owner_id, request["AccessKeyId"]):
            raise _no_key(request)
    return {}


@operation("iam", "PutUserPolicy", writes=True, resources=user_resource)
async def put_user_policy(call: Call, request: Shape) -> Shape:
    """A policy that stands in the user; one of the same name is replaced."""
    document = checked_policy(request["PolicyDocument"], "identity")
    async with call.transaction() as tx:
        store = UserStore(tx, call.account_id)
        user = await locked_user(store, request["UserName"])
        others = [text for name, text in await store.policies(user.user_id) if name != request["PolicyName"]]
        if sum(map(size, [*others, document])) > _POLICY_CHARACTERS:
            raise LimitExceededException(
                f"Maximum policy size of {_POLICY_CHARACTERS} bytes exceeded for user {user.name}"
            )
        await store.put_policy(user.user_id, request["PolicyName"], document)
    return {}


@operation("iam", "GetUserPolicy", resources=user_resource)
async def get_user_policy(call: Call, request: Shape) -> Shape:
    """The document as it was put, percent-encoded as IAM does."""
    async with call.reading() as tx:
        store = UserStore(tx, call.account_id)
        user = await found_user(store, request["UserName"])
        documents = dict(await store.policies(user.user_id))
    document = documents.get(request["PolicyName"])
    if document is None:
        raise _no_policy(request)
    return {"UserName": user.name, "PolicyName": request["PolicyName"], "PolicyDocument": quote(document, safe="")}


@operation("iam", "ListUserPolicies", resources=user_resource)
async def list_user_policies(call: Call, request: Shape) -> Shape:
    """Names of the inline policies."""
    query = f"ListUserPolicies {request['UserName'].lower()}"
    most = request.get("MaxItems", _PAGE)
    after = position(call, query, request)
    async with call.reading() as tx:
        store = UserStore(tx, call.account_id)
        user = await found_user(store, request["UserName"])
        found = [name for name, _ in await store.policies(user.user_id, after, most + 1)]
    shown = found[:most]
    return page(call, query, {"PolicyNames": shown}, shown[-1] if shown else "", len(found) > most)


@operation("iam", "DeleteUserPolicy", writes=True, resources=user_resource)
async def delete_user_policy(call: Call, request: Shape) -> Shape:
    """What it allowed or denied counts no more from the next request on."""
    async with call.transaction() as tx:
        store = UserStore(tx, call.account_id)
        user = await locked_user(store, request["UserName"])
        if not await store.remove_policy(user.user_id, request["PolicyName"]):
            raise _no_policy(request)
    return {}


async def _owner(call: Call, tx: Transaction, request: Shape, *, lock: bool = False) -> User | None:
    """The user whom the request names, or else the caller; None is root."""
    store = UserStore(tx, call.account_id)
    name = request.get("UserName") or call.principal.name
    if name:
        return await (locked_user if lock else found_user)(store, name)
    if call.principal.kind != "root":
        raise ValidationException("Must specify userName when calling with non-User credentials")
    if lock:
        await tx.lock("iam root", call.account_id)
    return None


def _told(user: User, given: dict[str, str]) -> Shape:
    told: dict[str, Any] = {
        "Path": user.path,
        "UserName": user.name,
        "UserId": user.user_id,
        "Arn": user.arn,
        "CreateDate": from_millis(user.created_at),
    }
    if given:
        told["Tags"] = [{"Key": key, "Value": value} for key, value in given.items()]
    return told


def _named(owner: User | None) -> Shape:
    return {} if owner is None else {"UserName": owner.name}


def _no_key(request: Shape) -> NoSuchEntityException:
    return NoSuchEntityException(f"The Access Key with id {request['AccessKeyId']} cannot be found.")


def _no_policy(request: Shape) -> NoSuchEntityException:
    return NoSuchEntityException(f"The user policy with name {request['PolicyName']} cannot be found.")
