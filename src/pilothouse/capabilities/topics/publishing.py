"""Publish, PublishBatch, and messages that other capabilities tell a topic."""

import json
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pilothouse.call import Call, House, Shape, operation
from pilothouse.capabilities.events import parse_pattern
from pilothouse.capabilities.topics.bodies import text_for
from pilothouse.capabilities.topics.deliveries import QUEUED
from pilothouse.capabilities.topics.finding import named, topic_of
from pilothouse.capabilities.topics.model import (
    BY_BODY,
    MESSAGE_BYTES,
    NOTIFICATION,
    BatchEntryIdsNotDistinctException,
    BatchRequestTooLongException,
    EmptyBatchRequestException,
    InvalidBatchEntryIdException,
    InvalidParameterException,
    InvalidParameterValueException,
    Message,
    Subscription,
    TooManyEntriesInBatchRequestException,
    place_of,
)
from pilothouse.capabilities.topics.queue_store import QueueStore
from pilothouse.capabilities.topics.store import TopicStore
from pilothouse.errors import ApiError
from pilothouse.storage import Transaction

_SUBJECT: Final = re.compile(r"[!-~][ -~]{0,99}")
_BATCH: Final = 10
_ENTRY_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,80}")
_ATTRIBUTE: Final = re.compile(r"(?!\.)(?!.*\.\.)[A-Za-z0-9_.-]{1,256}(?<!\.)")
_TYPE: Final = re.compile(r"(String|String\.Array|Number|Binary)(?:\.[^\x00-\x1f]{1,249})?")
_NO_ATTRIBUTE: Final = "The message attribute '{name}' must contain {what}."


def _published(call: Call, request: Shape) -> list[str]:
    """The topic that a message is for."""
    arn = request.get("TopicArn") or request.get("TargetArn")
    if request.get("PhoneNumber"):
        raise InvalidParameterException("PhoneNumber", "messages go to topics here, and not to telephones")
    if not arn:
        raise InvalidParameterException("TopicArn or TargetArn", "no value for required parameter")
    return [place_of(arn, _member(request)).arn]


def _member(request: Shape) -> str:
    return "TopicArn" if request.get("TopicArn") else "TargetArn"


@operation("sns", "Publish", writes=True, action="SNS:Publish", resources=_published)
async def publish(call: Call, request: Shape) -> Shape:
    """Tell a topic something, which all of its subscribers get."""
    message = _message(call, request)
    if _size(message) > MESSAGE_BYTES:
        raise InvalidParameterException("Message too long")
    async with call.transaction() as tx:
        arn = _published(call, request)[0]
        topic = await topic_of(call, tx, arn, "SNS:Publish", _member(request))
        await send(call.house, tx, topic.account_id, topic.region, topic.name, [message])
    return {"MessageId": message.message_id}


@operation("sns", "PublishBatch", writes=True, action="SNS:Publish", resources=named)
async def publish_batch(call: Call, request: Shape) -> Shape:
    """Tell a topic up to ten messages; those that are not good are named, the others sent."""
    entries: list[Shape] = request["PublishBatchRequestEntries"]
    _check_entries(entries)
    good: dict[str, Message] = {}
    failed = []
    for entry in entries:
        try:
            good[entry["Id"]] = _message(call, entry)
        except ApiError as error:
            failed.append(_failure(entry["Id"], error))
    if sum(_size(each) for each in good.values()) > MESSAGE_BYTES:
        raise BatchRequestTooLongException("The length of all the messages put together is more than the limit.")
    async with call.transaction() as tx:
        topic = await topic_of(call, tx, request["TopicArn"], "SNS:Publish")
        await send(call.house, tx, topic.account_id, topic.region, topic.name, list(good.values()))
    sent = [{"Id": entry_id, "MessageId": message.message_id} for entry_id, message in good.items()]
    return {"Successful": sent, "Failed": failed}


async def told(house: House, tx: Transaction, facts: Mapping[str, Any]) -> None:
    """`topic.messages`: what a capability tells a topic, in its own transaction. A topic that is gone hears nothing."""
    try:
        place = place_of(facts["topic_arn"], "TopicArn")
    except InvalidParameterException:
        return
    if (place.account_id, place.region) != (facts["account_id"], facts["region"]):
        return
    now = house.clock.millis()
    attributes = {name: ("String", value) for name, value in facts.get("attributes", {}).items()}
    messages = [
        Message(message_id=house.ids.uuid(), at=now, subject=facts["subject"], message=text, attributes=attributes)
        for text in facts["messages"]
    ]
    only_for = facts.get("only_for", "")
    await send(house, tx, place.account_id, place.region, place.topic, messages, only_for=only_for)


async def send(
    house: House, tx: Transaction, account_id: str, region: str, topic: str, messages: Sequence[Message], *,
    only_for: str = "",
) -> None:  # fmt: skip
    """Write down who is to get the messages; deliveries begin after the commit.

    `only_for`: an attribute that a subscriber's filter must name; who takes everything does not get them.
    """
    subscribers = await TopicStore(tx, account_id, region).confirmed(topic)
    if only_for:
        subscribers = [each for each in subscribers if _filters_by(each, only_for)]
    wanted = [(each.subscription_id, message) for message in messages for each in subscribers if _wants(each, message)]
    if not wanted:
        return
    queue = QueueStore(tx, account_id, region)
    await queue.add(house.vault, topic, list({message.message_id: message for _, message in wanted}.values()))
    await queue.queue([(who, message.message_id) for who, message in wanted], NOTIFICATION, messages[0].at)
    tx.after_commit(lambda: house.bus.wake(QUEUED, f"{account_id}/{region}/{topic}"))


def _filters_by(subscription: Subscription, attribute: str) -> bool:
    if not subscription.filter_policy or subscription.filter_scope == BY_BODY:
        return False
    return attribute in json.loads(subscription.filter_policy)


def _wants(subscription: Subscription, message: Message) -> bool:
    if not subscription.filter_policy:
        return True
    if subscription.filter_scope == BY_BODY:
        try:
            found = json.loads(text_for(message, subscription.protocol))
        except (ValueError, RecursionError):
            return False
    else:
        found = {name: _seen(kind, value) for name, (kind, value) in message.attributes.items()}
    return isinstance(found, dict) and parse_pattern(subscription.filter_policy).matches(found)


def _seen(kind: str, value: str) -> Any:
    """An attribute as filters see it; what is binary has no value for them."""
    if kind.startswith("Binary"):
        return {}
    return value if kind.partition(".")[0] == "String" and kind != "String.Array" else json.loads(value)


def _message(call: Call, request: Shape) -> Message:
    """What is to be told. Raises InvalidParameterException, InvalidParameterValueException."""
    text, subject = request["Message"], request.get("Subject")
    if not text:
        raise InvalidParameterException("Empty message")
    if subject is not None and not _SUBJECT.fullmatch(subject):
        raise InvalidParameterException("Subject")
    if request.get("MessageDeduplicationId"):
        reason = "The request includes MessageDeduplicationId parameter that is not valid for this topic type"
        raise InvalidParameterException("MessageDeduplicationId", reason)
    structure = request.get("MessageStructure")
    if structure not in (None, "", "json"):
        raise InvalidParameterException("MessageStructure")
    if structure:
        _check_structure(text)
    attributes = {name: _attribute(name, each) for name, each in (request.get("MessageAttributes") or {}).items()}
    return Message(
        message_id=call.ids.uuid(),
        at=call.clock.millis(),
        message=text,
        subject=subject,
        structured=bool(structure),
        attributes=attributes,
    )


def _check_structure(text: str) -> None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidParameterException("Message Structure - JSON message body failed to parse") from error
    if not isinstance(found, dict) or not isinstance(found.get("default"), str):
        raise InvalidParameterException("Message Structure - No default entry in JSON message body")


def _attribute(name: str, given: Shape) -> tuple[str, str]:
    """Type and text of a message attribute."""
    kind = given["DataType"]
    if not _ATTRIBUTE.fullmatch(name):
        raise InvalidParameterValueException(_NO_ATTRIBUTE.format(name=name[:256], what="a valid name"))
    found = _TYPE.fullmatch(kind)
    if found is None:
        what = "a type that is Binary, Number, String or String.Array"
        raise InvalidParameterValueException(_NO_ATTRIBUTE.format(name=name, what=what))
    value = given.get("BinaryValue" if found[1] == "Binary" else "StringValue")
    if not value:
        what = f"non-empty message attribute value for message attribute type '{kind}'"
        raise InvalidParameterValueException(_NO_ATTRIBUTE.format(name=name, what=what))
    if found[1] == "Binary":
        return kind, b64encode(value).decode()
    if found[1] in {"Number", "String.Array"}:
        _check_value(name, found[1], value)
    return kind, value


def _check_value(name: str, kind: str, value: str) -> None:
    try:
        found = json.loads(value, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        found = None
    good = isinstance(found, list) if kind == "String.Array" else type(found) in (int, float)
    if not good:
        what = "a list in JSON" if kind == "String.Array" else "a number"
        raise InvalidParameterValueException(_NO_ATTRIBUTE.format(name=name, what=what))


def _no_constant(name: str) -> Any:
    raise ValueError(name)


def _size(message: Message) -> int:
    attributes = sum(len(f"{name}{kind}{value}".encode()) for name, (kind, value) in message.attributes.items())
    return len(message.message.encode()) + attributes


def _check_entries(entries: Sequence[Shape]) -> None:
    if not entries:
        raise EmptyBatchRequestException("The batch request doesn't contain any entries.")
    if len(entries) > _BATCH:
        raise TooManyEntriesInBatchRequestException(
            f"The batch request contains more entries than permissible (no more than {_BATCH})."
        )
    if not all(_ENTRY_ID.fullmatch(each["Id"]) for each in entries):
        raise InvalidBatchEntryIdException(
            "The Id of a batch entry in a batch request doesn't abide by the specification."
        )
    if len({each["Id"] for each in entries}) < len(entries):
        raise BatchEntryIdsNotDistinctException("Two or more batch entries in the request have the same Id.")


def _failure(entry_id: str, error: ApiError) -> Shape:
    code = "ParameterValueInvalid" if isinstance(error, InvalidParameterValueException) else "InvalidParameter"
    return {"Id": entry_id, "Code": code, "Message": error.message, "SenderFault": True}
