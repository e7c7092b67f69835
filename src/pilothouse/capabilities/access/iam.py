"""IAM: users and their access keys.

Operations on access keys without a user name are about the caller's own, root's among them.
"""

from typing import Any, Final

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities.access.bounds import bound, boundary_of_request, leave_policies, told_boundary
from pilothouse.capabilities.access.group_store import GroupStore
from pilothouse.capabilities.access.login_store import LoginStore, MfaStore
from pilothouse.capabilities.access.model import (
    DeleteConflictException,
    LimitExceededException,
    NoSuchEntityException,
    User,
    root_arn,
)
from pilothouse.capabilities.access.owners import (
    USER,
    found,
    listed,
    locked,
    must_be_free,
    must_have_room,
    new_resource,
    renamed_resources,
    resources_below,
    user_resource,
)
from pilothouse.capabilities.access.pages import position
from pilothouse.capabilities.access.policy_store import PolicyStore
from pilothouse.capabilities.access.tagged import tags_of, told_tags
from pilothouse.capabilities.access.users import UserStore
from pilothouse.errors import ValidationException
from pilothouse.runtime.clock import from_millis
from pilothouse.storage import Transaction

_MOST_KEYS: Final = 2


@operation("iam", "CreateUser", writes=True, resources=new_resource(USER), conditions=boundary_of_request)
async def create_user(call: Call, request: Shape) -> Shape:
    """A user who may do nothing yet. Names differ by more than case."""
    given = tags_of(request.get("Tags"))
    async with call.transaction() as tx:
        await must_have_room(tx, USER, call.account_id, request["UserName"])
        made = User(
            account_id=call.account_id,
            name=request["UserName"],
            path=request.get("Path", "/"),
            user_id=call.ids.unique_id("AIDA"),
            created_at=call.clock.millis(),
        )
        await UserStore(tx, call.account_id).add(made, given)
        boundary = await bound(tx, made, request.get("PermissionsBoundary"))
    return {"User": told_user(made, given) | boundary}


@operation("iam", "GetUser", resources=user_resource)
async def get_user(call: Call, request: Shape) -> Shape:
    """A user, or without a name the caller."""
    async with call.reading() as tx:
        owner = await _owner(call, tx, request)
        if owner is None:
            root = {"Path": "/", "UserName": "root", "UserId": call.account_id, "Arn": root_arn(call.account_id)}
            made_at = await UserStore(tx, call.account_id).account_made_at()
            return {"User": root | {"CreateDate": from_millis(made_at)}}
        told = told_user(owner, await UserStore(tx, call.account_id).tags(owner)) | await _signed_in(tx, owner)
        return {"User": told | told_boundary(await PolicyStore(tx, call.account_id).boundary(owner.user_id))}


@operation("iam", "ListUsers", resources=resources_below(USER))
async def list_users(call: Call, request: Shape) -> Shape:
    """Users by name."""

    async def tell(tx: Transaction, user: User) -> Shape:
        return told_user(user, {}) | await _signed_in(tx, user)

    return await listed(call, request, USER, tell)


@operation("iam", "UpdateUser", writes=True, resources=renamed_resources(USER))
async def update_user(call: Call, request: Shape) -> Shape:
    """Another name or path. Keys, policies and groups stay; policies that name the old ARN speak of it no more."""
    async with call.transaction() as tx:
        user = await locked(tx, USER, call.account_id, request["UserName"])
        name = request.get("NewUserName", user.name)
        if name.lower() != user.name.lower():
            await must_be_free(tx, USER, call.account_id, name)
        await UserStore(tx, call.account_id).rename(user, name, request.get("NewPath", user.path))
    return {}


@operation("iam", "DeleteUser", writes=True, resources=user_resource)
async def delete_user(call: Call, request: Shape) -> Shape:
    """The user goes once nothing hangs on it any more; a user of the same name is another one."""
    async with call.transaction() as tx:
        store = UserStore(tx, call.account_id)
        user = await locked(tx, USER, call.account_id, request["UserName"])
        if await LoginStore(tx, call.account_id).find(user.user_id) is not None:
            raise DeleteConflictException("Cannot delete entity, must delete login profile first.")
        if await MfaStore(tx, call.account_id).of_user(user.user_id):
            raise DeleteConflictException("Cannot delete entity, must delete MFA device first.")
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


async def _owner(call: Call, tx: Transaction, request: Shape, *, lock: bool = False) -> User | None:
    """The user whom the request names, or else the caller; None is root."""
    name = request.get("UserName") or call.principal.name
    if name:
        return await (locked if lock else found)(tx, USER, call.account_id, name)
    if call.principal.kind != "root":
        raise ValidationException("Must specify userName when calling with non-User credentials")
    if lock:
        await tx.lock("iam root", call.account_id)
    return None


def told_user(user: User, given: dict[str, str]) -> Shape:
    """A user with its tags, without its boundary."""
    told: dict[str, Any] = {
        "Path": user.path,
        "UserName": user.name,
        "UserId": user.user_id,
        "Arn": user.arn,
        "CreateDate": from_millis(user.created_at),
    }
    return told | told_tags(given)


async def _signed_in(tx: Transaction, user: User) -> Shape:
    """When the user signed in last, if ever."""
    profile = await LoginStore(tx, user.account_id).find(user.user_id)
    return {"PasswordLastUsed": from_millis(profile.used_at)} if profile is not None and profile.used_at else {}


def _named(owner: User | None) -> Shape:
    return {} if owner is None else {"UserName": owner.name}


def _no_key(request: Shape) -> NoSuchEntityException:
    return NoSuchEntityException(f"The Access Key with id {request['AccessKeyId']} cannot be found.")
