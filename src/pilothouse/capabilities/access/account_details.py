"""Everything that policies are about in an account, in one list: for those who look whether it is as it should be."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final
from urllib.parse import quote

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities.access.bounds import told_boundary
from pilothouse.capabilities.access.group_store import GroupStore
from pilothouse.capabilities.access.groups import told_group
from pilothouse.capabilities.access.iam import told_user
from pilothouse.capabilities.access.instance_profiles import told_profile
from pilothouse.capabilities.access.managed import told_policy, told_version
from pilothouse.capabilities.access.model import Group, ManagedPolicy, Role, User
from pilothouse.capabilities.access.owners import OWNERS, Owner
from pilothouse.capabilities.access.pages import PAGE, page, position
from pilothouse.capabilities.access.policy_store import PolicyStore
from pilothouse.capabilities.access.profile_store import ProfileStore
from pilothouse.capabilities.access.provided import all_provided
from pilothouse.capabilities.access.role_store import RoleStore
from pilothouse.capabilities.access.roles import told_role, told_use
from pilothouse.capabilities.access.users import UserStore
from pilothouse.storage import Transaction

_PARTS: Final = ("user", "group", "role", "LocalManagedPolicy", "AWSManagedPolicy")
"""In the order of the pages."""
_MEMBERS: Final = {
    "user": "UserDetailList",
    "group": "GroupDetailList",
    "role": "RoleDetailList",
    "LocalManagedPolicy": "Policies",
    "AWSManagedPolicy": "Policies",
}


@operation("iam", "GetAccountAuthorizationDetails")
async def get_account_authorization_details(call: Call, request: Shape) -> Shape:
    """Users, groups, roles and the policies they hold; of policies that every account has those in use."""
    wanted = {each.lower() for each in request.get("Filter") or _PARTS}
    query = f"GetAccountAuthorizationDetails {' '.join(sorted(wanted))}"
    most = request.get("MaxItems", PAGE)
    began, _, after = position(call, query, request).partition(" ")
    answer: Shape = {member: [] for member in _MEMBERS.values()}
    last, count = "", 0
    async with call.reading() as tx:
        for number, part in enumerate(_PARTS):
            if part.lower() not in wanted or number < int(began or 0):
                continue
            start = after if number == int(began or 0) else ""
            for key, tell in await _of_part(tx, call.account_id, part, start, most + 1 - count):
                if count == most:
                    return page(call, query, answer, last, True)
                answer[_MEMBERS[part]].append(await tell())
                last, count = f"{number} {key}", count + 1
    return page(call, query, answer, last, False)


async def _of_part(
    tx: Transaction, account_id: str, part: str, after: str, most: int
) -> list[tuple[str, Callable[[], Awaitable[Shape]]]]:
    """(key, function that tells it) of those after a key, by key."""
    if part in OWNERS:
        owners = await OWNERS[part].store(tx, account_id).after(after, "/", most)
        return [(each.name.lower(), partial(_told_owner, tx, each)) for each in owners]
    store = PolicyStore(tx, account_id)
    policies = await store.own() if part == "LocalManagedPolicy" else await _in_use(store)
    placed = sorted((policy.arn.lower(), policy) for policy in policies if policy.arn.lower() > after)
    return [(key, partial(_told_policy, store, policy)) for key, policy in placed[:most]]


async def _in_use(store: PolicyStore) -> list[ManagedPolicy]:
    return [each for each in all_provided() if await store.holders(each.arn, ["attached", "boundary"])]


async def _told_owner(tx: Transaction, owner: Owner) -> Shape:
    inline = await UserStore(tx, owner.account_id).policies(owner.unique_id)
    policies = PolicyStore(tx, owner.account_id)
    held = [{"PolicyName": name, "PolicyArn": arn} for name, arn in await policies.attached(owner.unique_id)]
    within = [{"PolicyName": name, "PolicyDocument": quote(document, safe="")} for name, document in inline]
    boundary = told_boundary(await policies.boundary(owner.unique_id))
    more: Shape = {"AttachedManagedPolicies": held} | boundary
    if isinstance(owner, Group):
        return told_group(owner) | more | {"GroupPolicyList": within}
    if isinstance(owner, User):
        return await _told_user(tx, owner) | more | {"UserPolicyList": within}
    return await _told_role(tx, owner) | more | {"RolePolicyList": within}


async def _told_user(tx: Transaction, user: User) -> Shape:
    groups = await GroupStore(tx, user.account_id).of(user)
    given = await UserStore(tx, user.account_id).tags(user)
    return told_user(user, given) | {"GroupList": [each.name for each in groups]}


async def _told_role(tx: Transaction, role: Role) -> Shape:
    profiles = await ProfileStore(tx, role.account_id).of(role)
    told = told_role(role, await RoleStore(tx, role.account_id).tags(role))
    told = {name: value for name, value in told.items() if name not in ("Description", "MaxSessionDuration")}
    told |= await told_use(RoleStore(tx, role.account_id), role)
    return told | {"InstanceProfileList": [await told_profile(tx, each) for each in profiles]}


async def _told_policy(store: PolicyStore, policy: ManagedPolicy) -> Shape:
    versions = [
        told_version(policy, number, made_at) | {"Document": quote(document, safe="")}
        for number, document, made_at in await store.versions(policy)
    ]
    return await told_policy(store, policy) | {"PolicyVersionList": versions}
