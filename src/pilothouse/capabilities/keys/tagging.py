"""TagResource, UntagResource, ListResourceTags. The tags themselves belong to the tags capability."""

from collections.abc import Sequence

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities import tags
from pilothouse.capabilities.keys import conditions, finding
from pilothouse.capabilities.keys.errors import KMSInvalidStateException, TagException
from pilothouse.capabilities.keys.model import RESOURCE_TYPE, Key, KeyState
from pilothouse.capabilities.keys.paging import at_most, page, position
from pilothouse.identity.authorise import ask_each
from pilothouse.storage import Transaction


@operation("kms", "TagResource", asks_itself=True, writes=True)
async def tag_resource(call: Call, request: Shape) -> Shape:
    """Add tags to a key; one with the same key is overwritten."""
    async with call.transaction() as tx:
        key = await finding.locked(call, tx, request["KeyId"], "kms:TagResource", request)
        _refuse_while_pending_deletion(key)
        await put(tx, key, request["Tags"])
    return {}


@operation("kms", "UntagResource", asks_itself=True, writes=True)
async def untag_resource(call: Call, request: Shape) -> Shape:
    """Remove tags by key; one that is not there is no error."""
    async with call.transaction() as tx:
        key = await finding.locked(call, tx, request["KeyId"], "kms:UntagResource", request)
        _refuse_while_pending_deletion(key)
        kept = await tags.of(tx, key.account_id, key.region, RESOURCE_TYPE, key.key_id)
        await tags.remove_all(tx, key.account_id, key.region, RESOURCE_TYPE, key.key_id)
        kept = {name: value for name, value in kept.items() if name not in request["TagKeys"]}
        await tags.put(tx, key.account_id, key.region, RESOURCE_TYPE, key.key_id, kept)
    return {}


@operation("kms", "ListResourceTags", asks_itself=True)
async def list_resource_tags(call: Call, request: Shape) -> Shape:
    """The tags of a key, by tag key. Pages hold up to `Limit` of them."""
    from_here = position(call, f"ListResourceTags {request['KeyId']}", request)
    limit = at_most(50, request.get("Limit", 50))
    async with call.reading() as tx:
        key = await finding.asked(call, tx, request["KeyId"], "kms:ListResourceTags", request)
        found = sorted((await tags.of(tx, key.account_id, key.region, RESOURCE_TYPE, key.key_id)).items())
    found = [(name, value) for name, value in found if name > from_here]
    shown = [{"TagKey": name, "TagValue": value} for name, value in found[:limit]]
    last = found[limit - 1][0] if len(found) > limit else None
    return page(call, f"ListResourceTags {request['KeyId']}", {"Tags": shown}, last)


async def ask_for_new(call: Call, tx: Transaction, region: str, request: Shape) -> None:
    """May the caller put the tags of the request on a key that is to be made there. Raises AccessDeniedException."""
    context = {**conditions.of_request(call, request), "aws:RequestedRegion": region}
    await ask_each(call, tx, "kms:TagResource", [f"arn:aws:kms:{region}:{call.account_id}:key/*"], context)


async def put(tx: Transaction, key: Key, asked: Sequence[Shape]) -> None:
    """Add a request's tags to a key. Raises TagException."""
    given: dict[str, str] = {}
    for tag in asked:
        if tag["TagKey"].lower().startswith("aws:"):
            raise TagException("Tags beginning with aws: are reserved")
        if tag["TagKey"] in given:
            raise TagException("Duplicate tag keys")
        given[tag["TagKey"]] = tag["TagValue"]
    try:
        await tags.put(tx, key.account_id, key.region, RESOURCE_TYPE, key.key_id, given)
    except tags.TooManyTagsError as error:
        raise TagException("Too many tags") from error


def _refuse_while_pending_deletion(key: Key) -> None:
    if key.state is KeyState.PENDING_DELETION:
        raise KMSInvalidStateException(f"{key.arn} is pending deletion.")
