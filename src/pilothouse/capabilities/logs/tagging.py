"""TagResource, UntagResource, ListTagsForResource, and the older TagLogGroup, UntagLogGroup, ListTagsLogGroup."""

from collections.abc import Mapping, Sequence
from typing import Final

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities import tags
from pilothouse.capabilities.logs.groups import TAGGED
from pilothouse.capabilities.logs.model import TooManyTagsException
from pilothouse.capabilities.logs.naming import found_group, of_arn, of_group, tags_of_request
from pilothouse.errors import InvalidParameterException

_MOST: Final = 50


@operation("logs", "TagResource", writes=True, resources=of_arn, conditions=tags_of_request)
async def tag_resource(call: Call, request: Shape) -> Shape:
    """Add tags to a group; one with the same key is overwritten."""
    await _tag(call, request["resourceArn"], request["tags"])
    return {}


@operation("logs", "TagLogGroup", writes=True, resources=of_group, conditions=tags_of_request)
async def tag_log_group(call: Call, request: Shape) -> Shape:
    """The same, for a group by its name."""
    await _tag(call, request["logGroupName"], request["tags"])
    return {}


@operation("logs", "UntagResource", writes=True, resources=of_arn, conditions=tags_of_request)
async def untag_resource(call: Call, request: Shape) -> Shape:
    """Remove tags by key; a key that is not there is no error."""
    await _untag(call, request["resourceArn"], request["tagKeys"])
    return {}


@operation("logs", "UntagLogGroup", writes=True, resources=of_group, conditions=tags_of_request)
async def untag_log_group(call: Call, request: Shape) -> Shape:
    """The same, for a group by its name."""
    await _untag(call, request["logGroupName"], request["tags"])
    return {}


@operation("logs", "ListTagsForResource", resources=of_arn)
async def list_tags_for_resource(call: Call, request: Shape) -> Shape:
    """The tags of a group."""
    return {"tags": await _tags(call, request["resourceArn"])}


@operation("logs", "ListTagsLogGroup", resources=of_group)
async def list_tags_log_group(call: Call, request: Shape) -> Shape:
    """The same, for a group by its name."""
    return {"tags": await _tags(call, request["logGroupName"])}


async def _tag(call: Call, said: str, added: Mapping[str, str]) -> None:
    for key in added:
        if key.lower().startswith("aws:"):
            raise InvalidParameterException(f"Tag keys that begin with aws: are reserved: {key}")
    async with call.transaction() as tx:
        group = await found_group(call, tx, said)
        try:
            await tags.put(tx, call.account_id, call.region, TAGGED, group.name, added)
        except tags.TooManyTagsError as error:
            raise TooManyTagsException(f"A log group can have at most {_MOST} tags.", resourceName=said) from error


async def _untag(call: Call, said: str, gone: Sequence[str]) -> None:
    async with call.transaction() as tx:
        group = await found_group(call, tx, said)
        await tags.remove(tx, call.account_id, call.region, TAGGED, group.name, gone)


async def _tags(call: Call, said: str) -> dict[str, str]:
    async with call.reading() as tx:
        group = await found_group(call, tx, said)
        return await tags.of(tx, call.account_id, call.region, TAGGED, group.name)
