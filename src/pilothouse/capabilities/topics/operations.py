"""CreateTopic, DeleteTopic, ListTopics, GetTopicAttributes, SetTopicAttributes, and the tags of topics."""

from typing import Final

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities import tags
from pilothouse.capabilities.topics.attributes import shown_topic, topic_column, topic_columns, topic_value
from pilothouse.capabilities.topics.finding import any_topic, named, own, topic_of
from pilothouse.capabilities.topics.model import (
    InvalidParameterException,
    Place,
    ResourceNotFoundException,
    TagLimitExceededException,
    Topic,
    checked_name,
    place_of,
)
from pilothouse.capabilities.topics.store import TopicStore
from pilothouse.errors import ValidationException
from pilothouse.identity.authorise import ask_each
from pilothouse.storage import Transaction
from pilothouse.storage.pages import InvalidPageToken

PAGE: Final = 100
TAGGED_AS: Final = "sns:topic"


def _to_be_made(call: Call, request: Shape) -> list[str]:
    return [Place(call.region, call.account_id, checked_name(request["Name"])).arn]


def _resource(call: Call, request: Shape) -> list[str]:
    return [place_of(request["ResourceArn"], "ResourceArn").arn]


@operation("sns", "CreateTopic", writes=True, action="SNS:CreateTopic", resources=_to_be_made)
async def create_topic(call: Call, request: Shape) -> Shape:
    """A topic of the name, or the one that there is, if it has the attributes and tags that are asked for."""
    columns = topic_columns(request.get("Attributes") or {})
    given = _by_key(request)
    if request.get("DataProtectionPolicy"):
        raise InvalidParameterException("DataProtectionPolicy", "there are no such policies here")
    topic = Topic(
        account_id=call.account_id,
        region=call.region,
        name=checked_name(request["Name"]),
        created_at=call.clock.millis(),
        **columns,
    )
    async with call.transaction() as tx:
        store = TopicStore(tx, call.account_id, call.region)
        await store.lock(topic.name)
        there = await store.topic(topic.name)
        if there is None:
            if given:
                await ask_each(call, tx, "SNS:TagResource", [topic.arn], _tag_keys(given))
            await store.add(topic)
            await _put_tags(call, tx, topic.name, given)
        else:
            kept = {"display_name": there.display_name, "policy": there.policy} | {
                "delivery_policy": there.delivery_policy, "signature_version": there.signature_version
            }  # fmt: skip
            if any(kept[name] != value for name, value in columns.items()):
                raise InvalidParameterException("Attributes", "Topic already exists with different attributes")
            if given and given != await _tags(call, tx, topic.name):
                raise InvalidParameterException("Tags", "Topic already exists with different tags")
    return {"TopicArn": topic.arn}


@operation("sns", "DeleteTopic", writes=True, action="SNS:DeleteTopic", resources=named)
async def delete_topic(call: Call, request: Shape) -> Shape:
    """Remove the topic with its subscriptions and what these were still to get. One that is not there is no error."""
    place = own(call, place_of(request["TopicArn"], "TopicArn"), "SNS:DeleteTopic", "TopicArn")
    async with call.transaction() as tx:
        store = TopicStore(tx, place.account_id, place.region)
        await store.lock(place.topic)
        await store.remove(place.topic)
        await tags.remove_all(tx, place.account_id, place.region, TAGGED_AS, place.topic)
    return {}


@operation("sns", "ListTopics", action="SNS:ListTopics", resources=any_topic)
async def list_topics(call: Call, request: Shape) -> Shape:
    """The topics of the account and region, by name, 100 at a time."""
    bound_to = ["topics", call.account_id, call.region]
    after = read_token(call, bound_to, request, [""])[0]
    async with call.reading() as tx:
        names = await TopicStore(tx, call.account_id, call.region).topics(after, PAGE + 1)
    answer: Shape = {"Topics": [{"TopicArn": Place(call.region, call.account_id, name).arn} for name in names[:PAGE]]}
    if len(names) > PAGE:
        answer["NextToken"] = call.house.pages.token(bound_to, [names[PAGE - 1]])
    return answer


@operation("sns", "GetTopicAttributes", action="SNS:GetTopicAttributes", resources=named)
async def get_topic_attributes(call: Call, request: Shape) -> Shape:
    """What was set, and how many are subscribed."""
    async with call.reading() as tx:
        topic = await topic_of(call, tx, request["TopicArn"], "SNS:GetTopicAttributes")
        counts = await TopicStore(tx, topic.account_id, topic.region).counts(topic.name)
    return {"Attributes": shown_topic(topic, *counts)}


@operation("sns", "SetTopicAttributes", writes=True, action="SNS:SetTopicAttributes", resources=named)
async def set_topic_attributes(call: Call, request: Shape) -> Shape:
    """Set one attribute; an empty value takes it away."""
    name = request["AttributeName"]
    column, value = topic_column(name), topic_value(name, request.get("AttributeValue") or "")
    async with call.transaction() as tx:
        topic = await topic_of(call, tx, request["TopicArn"], "SNS:SetTopicAttributes")
        await TopicStore(tx, topic.account_id, topic.region).change(topic.name, **{column: value})
    return {}


@operation("sns", "TagResource", writes=True, action="SNS:TagResource", resources=_resource)
async def tag_resource(call: Call, request: Shape) -> Shape:
    """Add tags to a topic; one with the same key is overwritten."""
    async with call.transaction() as tx:
        name = await _tagged(call, tx, request, "SNS:TagResource")
        await _put_tags(call, tx, name, _by_key(request))
    return {}


@operation("sns", "UntagResource", writes=True, action="SNS:UntagResource", resources=_resource)
async def untag_resource(call: Call, request: Shape) -> Shape:
    """Remove tags of a topic by key; a key that is not there is no error."""
    async with call.transaction() as tx:
        name = await _tagged(call, tx, request, "SNS:UntagResource")
        await tags.remove(tx, call.account_id, call.region, TAGGED_AS, name, request["TagKeys"])
    return {}


@operation("sns", "ListTagsForResource", action="SNS:ListTagsForResource", resources=_resource)
async def list_tags_for_resource(call: Call, request: Shape) -> Shape:
    """Every tag of a topic, by key."""
    async with call.reading() as tx:
        found = await _tags(call, tx, await _tagged(call, tx, request, "SNS:ListTagsForResource"))
    return {"Tags": [{"Key": key, "Value": value} for key, value in found.items()]}


def read_token(call: Call, bound_to: list[str], request: Shape, beginning: list[str]) -> list[str]:
    """Where a list goes on. Raises InvalidParameterException."""
    token = request.get("NextToken")
    if not token:
        return beginning
    try:
        return call.house.pages.position(bound_to, token)
    except InvalidPageToken as error:
        raise InvalidParameterException("NextToken") from error


async def _tagged(call: Call, tx: Transaction, request: Shape, action: str) -> str:
    place = own(call, place_of(request["ResourceArn"], "ResourceArn"), action, "ResourceArn")
    store = TopicStore(tx, place.account_id, place.region)
    if action != "SNS:ListTagsForResource":
        await store.lock(place.topic)
    if await store.topic(place.topic) is None:
        raise ResourceNotFoundException
    return place.topic


async def _tags(call: Call, tx: Transaction, name: str) -> dict[str, str]:
    return await tags.of(tx, call.account_id, call.region, TAGGED_AS, name)


async def _put_tags(call: Call, tx: Transaction, name: str, given: dict[str, str]) -> None:
    try:
        await tags.put(tx, call.account_id, call.region, TAGGED_AS, name, given)
    except tags.TooManyTagsError as error:
        raise TagLimitExceededException("Could not complete request: tag quota of per resource exceeded") from error


def _by_key(request: Shape) -> dict[str, str]:
    try:
        return tags.by_key(request.get("Tags") or [])
    except ValidationException as error:
        raise InvalidParameterException("Tags", error.message) from error


def _tag_keys(given: dict[str, str]) -> dict[str, str | tuple[str, ...]]:
    return {"aws:TagKeys": tuple(given), **{f"aws:RequestTag/{key}": value for key, value in given.items()}}
