"""Permission boundaries of users and roles: a managed policy beyond which nothing that they hold reaches."""

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities.access.model import (
    DeleteConflictException,
    ManagedPolicy,
    NoSuchEntityException,
    Role,
    User,
)
from pilothouse.capabilities.access.owners import GROUP, ROLE, USER, Owner, locked, role_resource, user_resource
from pilothouse.capabilities.access.policy_store import PolicyStore
from pilothouse.storage import Transaction


def boundary_of_request(call: Call, request: Shape) -> dict[str, str]:
    """The condition key about the boundary that a request sets."""
    arn = request.get("PermissionsBoundary")
    return {} if arn is None else {"iam:PermissionsBoundary": arn}


async def boundary_of_owner(call: Call, request: Shape) -> dict[str, str]:
    """The condition keys about the boundary that the user or role has, and the policy that it gets or loses."""
    found: dict[str, str] = {}
    kind = USER if "UserName" in request else ROLE
    async with call.reading() as tx:
        owner = await kind.store(tx, call.account_id).find(request[kind.member])
        boundary = None if owner is None else await PolicyStore(tx, call.account_id).boundary(owner.unique_id)
    if boundary is not None:
        found["iam:PermissionsBoundary"] = boundary
    if "PolicyArn" in request:
        found["iam:PolicyARN"] = request["PolicyArn"]
    return found


@operation(
    "iam", "PutUserPermissionsBoundary", writes=True, resources=user_resource, conditions=boundary_of_request
)  # fmt: skip
async def put_user_permissions_boundary(call: Call, request: Shape) -> Shape:
    """What the user may do is from now on no more than the boundary allows."""
    async with call.transaction() as tx:
        user = await locked(tx, USER, call.account_id, request["UserName"])
        await bound(tx, user, request["PermissionsBoundary"])
    return {}


@operation(
    "iam", "PutRolePermissionsBoundary", writes=True, resources=role_resource, conditions=boundary_of_request
)  # fmt: skip
async def put_role_permissions_boundary(call: Call, request: Shape) -> Shape:
    """What sessions of the role may do is from now on no more than the boundary allows."""
    async with call.transaction() as tx:
        role = await locked(tx, ROLE, call.account_id, request["RoleName"])
        await bound(tx, role, request["PermissionsBoundary"])
    return {}


@operation(
    "iam", "DeleteUserPermissionsBoundary", writes=True, resources=user_resource, conditions=boundary_of_owner
)  # fmt: skip
async def delete_user_permissions_boundary(call: Call, request: Shape) -> Shape:
    """What the user holds counts whole again."""
    async with call.transaction() as tx:
        await _unbound(tx, await locked(tx, USER, call.account_id, request["UserName"]))
    return {}


@operation(
    "iam", "DeleteRolePermissionsBoundary", writes=True, resources=role_resource, conditions=boundary_of_owner
)  # fmt: skip
async def delete_role_permissions_boundary(call: Call, request: Shape) -> Shape:
    """What the role holds counts whole again."""
    async with call.transaction() as tx:
        await _unbound(tx, await locked(tx, ROLE, call.account_id, request["RoleName"]))
    return {}


async def attachable(store: PolicyStore, arn: str) -> ManagedPolicy:
    """The policy, which nobody deletes until the transaction ends. Raises NoSuchEntityException."""
    await store.lock(arn)
    policy = await store.find(arn)
    if policy is None:
        raise NoSuchEntityException(f"Policy {arn} does not exist or is not attachable.")
    return policy


async def bound(tx: Transaction, owner: User | Role, arn: str | None) -> Shape:
    """Set the boundary, if there is one to be set, and give what is told of it. Raises NoSuchEntityException."""
    if arn is None:
        return {}
    store = PolicyStore(tx, owner.account_id)
    policy = await attachable(store, arn)
    await _unbound(tx, owner)
    await store.attach(policy, *kind_and_id(owner), use="boundary")
    return told_boundary(arn)


def told_boundary(arn: str | None) -> Shape:
    """The member of a user or role about its boundary."""
    if arn is None:
        return {}
    return {"PermissionsBoundary": {"PermissionsBoundaryType": "Policy", "PermissionsBoundaryArn": arn}}


async def leave_policies(tx: Transaction, owner: Owner) -> None:
    """Before the owner goes: its boundary goes, attached policies have to be gone. Raises DeleteConflictException."""
    if await PolicyStore(tx, owner.account_id).attached(owner.unique_id):
        raise DeleteConflictException("Cannot delete entity, must detach all policies first.")
    await _unbound(tx, owner)


def kind_and_id(owner: Owner) -> tuple[str, str]:
    """`user`, `role` or `group`, and the unique id."""
    kind = USER if isinstance(owner, User) else ROLE if isinstance(owner, Role) else GROUP
    return kind.name, owner.unique_id


async def _unbound(tx: Transaction, owner: Owner) -> None:
    store = PolicyStore(tx, owner.account_id)
    owner_id = owner.unique_id
    before = await store.boundary(owner_id)
    if before is not None:
        await store.detach(before, owner_id, "boundary")
