"""Instance profiles: the name under which programs of the cloud give a role to a machine. Nothing here takes one on."""

from typing import Any, Final

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities.access.model import (
    DeleteConflictException,
    InstanceProfile,
    LimitExceededException,
    NoSuchEntityException,
    profile_arn,
)
from pilothouse.capabilities.access.owners import (
    ROLE,
    Kind,
    found,
    listed,
    locked,
    must_have_room,
    new_resource,
    resource_of,
    resources_below,
    role_resource,
)
from pilothouse.capabilities.access.pages import PAGE, page, position
from pilothouse.capabilities.access.profile_store import ProfileStore
from pilothouse.capabilities.access.role_store import RoleStore
from pilothouse.capabilities.access.roles import told_role
from pilothouse.capabilities.access.tagged import tags_of, told_tags
from pilothouse.identity.authorise import ask_each
from pilothouse.runtime.clock import from_millis
from pilothouse.storage import Transaction

PROFILE: Final[Kind[InstanceProfile]] = Kind(
    name="instance-profile",
    title="InstanceProfile",
    missing="Instance Profile",
    taken="Instance Profile",
    most=1000,
    arn=profile_arn,
    store=ProfileStore,
)
profile_resource: Final = resource_of(PROFILE)


@operation("iam", "CreateInstanceProfile", writes=True, resources=new_resource(PROFILE))
async def create_instance_profile(call: Call, request: Shape) -> Shape:
    """A profile without a role yet."""
    given = tags_of(request.get("Tags"))
    async with call.transaction() as tx:
        await must_have_room(tx, PROFILE, call.account_id, request["InstanceProfileName"])
        made = InstanceProfile(
            account_id=call.account_id,
            name=request["InstanceProfileName"],
            path=request.get("Path", "/"),
            profile_id=call.ids.unique_id("AIPA"),
            role_id="",
            created_at=call.clock.millis(),
        )
        await ProfileStore(tx, call.account_id).add(made, given)
        return {"InstanceProfile": await told_profile(tx, made) | told_tags(given)}


@operation("iam", "GetInstanceProfile", resources=profile_resource)
async def get_instance_profile(call: Call, request: Shape) -> Shape:
    """A profile with its role."""
    async with call.reading() as tx:
        profile = await found(tx, PROFILE, call.account_id, request["InstanceProfileName"])
        given = await ProfileStore(tx, call.account_id).tags(profile)
        return {"InstanceProfile": await told_profile(tx, profile) | told_tags(given)}


@operation("iam", "ListInstanceProfiles", resources=resources_below(PROFILE))
async def list_instance_profiles(call: Call, request: Shape) -> Shape:
    """Profiles by name."""
    return await listed(call, request, PROFILE, told_profile)


@operation("iam", "ListInstanceProfilesForRole", resources=role_resource)
async def list_instance_profiles_for_role(call: Call, request: Shape) -> Shape:
    """The profiles that hold a role, by name."""
    query = f"ListInstanceProfilesForRole {request['RoleName'].lower()}"
    most = request.get("MaxItems", PAGE)
    after = position(call, query, request)
    async with call.reading() as tx:
        role = await found(tx, ROLE, call.account_id, request["RoleName"])
        profiles = await ProfileStore(tx, call.account_id).of(role, after, most + 1)
        told = [await told_profile(tx, each) for each in profiles[:most]]
    last = profiles[:most][-1].name.lower() if told else ""
    return page(call, query, {"InstanceProfiles": told}, last, len(profiles) > most)


@operation("iam", "DeleteInstanceProfile", writes=True, resources=profile_resource)
async def delete_instance_profile(call: Call, request: Shape) -> Shape:
    """The profile goes once no role is in it."""
    async with call.transaction() as tx:
        profile = await locked(tx, PROFILE, call.account_id, request["InstanceProfileName"])
        if profile.role_id:
            raise DeleteConflictException("Cannot delete entity, must remove roles from instance profile first.")
        await ProfileStore(tx, call.account_id).remove(profile)
    return {}


@operation("iam", "AddRoleToInstanceProfile", writes=True, resources=profile_resource)
async def add_role_to_instance_profile(call: Call, request: Shape) -> Shape:
    """Whoever puts a role in must be let to pass it on."""
    async with call.transaction() as tx:
        profile = await locked(tx, PROFILE, call.account_id, request["InstanceProfileName"])
        role = await locked(tx, ROLE, call.account_id, request["RoleName"])
        await ask_each(call, tx, "iam:PassRole", [role.arn], _passed(call))
        if profile.role_id:
            raise LimitExceededException("Cannot exceed quota for InstanceSessionsPerInstanceProfile: 1")
        await ProfileStore(tx, call.account_id).hold(profile, role.role_id)
    return {}


def _passed(call: Call) -> dict[str, str]:
    """Condition keys of passing the role. The instance is any (API reference of AddRoleToInstanceProfile)."""
    return {
        "iam:PassedToService": "ec2.amazonaws.com",
        "iam:AssociatedResourceArn": f"arn:aws:ec2:*:{call.account_id}:instance/*",
    }


@operation("iam", "RemoveRoleFromInstanceProfile", writes=True, resources=profile_resource)
async def remove_role_from_instance_profile(call: Call, request: Shape) -> Shape:
    """The role stays as it is."""
    async with call.transaction() as tx:
        profile = await locked(tx, PROFILE, call.account_id, request["InstanceProfileName"])
        role = await found(tx, ROLE, call.account_id, request["RoleName"])
        if profile.role_id != role.role_id:
            raise NoSuchEntityException(f"Role {role.name} in Instance Profile {profile.name} cannot be found.")
        await ProfileStore(tx, call.account_id).hold(profile, "")
    return {}


async def told_profile(tx: Transaction, profile: InstanceProfile) -> Shape:
    """A profile with its role, without tags."""
    role = await RoleStore(tx, profile.account_id).by_id(profile.role_id) if profile.role_id else None
    told: dict[str, Any] = {
        "Path": profile.path,
        "InstanceProfileName": profile.name,
        "InstanceProfileId": profile.profile_id,
        "Arn": profile.arn,
        "CreateDate": from_millis(profile.created_at),
        "Roles": [] if role is None else [told_role(role, {})],
    }
    return told
