"""Tag, Untag, GetTags, and GetAccountSettings. The tags themselves belong to the tags capability."""

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities import tags
from pilothouse.capabilities.resource_groups.finding import found, locked, of_group
from pilothouse.capabilities.resource_groups.model import TAGGED_AS, arn_of, check_tags
from pilothouse.capabilities.resource_groups.operations import put_tags
from pilothouse.capabilities.resource_groups.store import GroupStore
from pilothouse.identity.policy_patterns import Value


def _keys(call: Call, request: Shape) -> dict[str, Value]:
    return {"aws:TagKeys": tuple(request["Keys"])}


@operation("resource-groups", "Tag", writes=True, resources=of_group)
async def tag(call: Call, request: Shape) -> Shape:
    """Add tags to a group; one with the same key is overwritten."""
    check_tags(request["Tags"])
    async with call.transaction() as tx:
        group = await locked(call, GroupStore(tx, call.account_id, call.region), request["Arn"])
        await put_tags(call, tx, group.name, request["Tags"])
    return {"Arn": arn_of(call.account_id, call.region, group.name), "Tags": request["Tags"]}


@operation("resource-groups", "Untag", writes=True, resources=of_group, conditions=_keys)
async def untag(call: Call, request: Shape) -> Shape:
    """Remove tags by key; a key that is not there is no error."""
    async with call.transaction() as tx:
        group = await locked(call, GroupStore(tx, call.account_id, call.region), request["Arn"])
        await tags.remove(tx, call.account_id, call.region, TAGGED_AS, group.name, request["Keys"])
    return {"Arn": arn_of(call.account_id, call.region, group.name), "Keys": request["Keys"]}


@operation("resource-groups", "GetTags", resources=of_group)
async def get_tags(call: Call, request: Shape) -> Shape:
    """The tags of a group."""
    async with call.reading() as tx:
        group = await found(call, GroupStore(tx, call.account_id, call.region), request["Arn"])
        kept = await tags.of(tx, call.account_id, call.region, TAGGED_AS, group.name)
    return {"Arn": arn_of(call.account_id, call.region, group.name), "Tags": kept}


@operation("resource-groups", "GetAccountSettings")
async def get_account_settings(call: Call, request: Shape) -> Shape:
    """Group lifecycle events, which are told nowhere."""
    return {
        "AccountSettings": {
            "GroupLifecycleEventsDesiredStatus": "INACTIVE",
            "GroupLifecycleEventsStatus": "INACTIVE",
        }
    }
