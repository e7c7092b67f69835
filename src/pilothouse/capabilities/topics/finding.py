"""From the ARN in a request to the topic or the subscription, and whose it is."""

from pilothouse.call import Call, Shape
from pilothouse.capabilities.topics.model import (
    InvalidParameterException,
    Place,
    Subscription,
    Topic,
    no_subscription,
    no_topic,
    place_of,
)
from pilothouse.capabilities.topics.store import TopicStore
from pilothouse.errors import AccessDeniedException
from pilothouse.storage import Transaction


def named(call: Call, request: Shape) -> list[str]:
    """The topic that policies are asked about."""
    return [place_of(request["TopicArn"], "TopicArn").arn]


def of_subscription(call: Call, request: Shape) -> list[str]:
    """The topic of the subscription that a request names."""
    return [place_of(request["SubscriptionArn"], "SubscriptionArn", subscription=True).arn]


def any_topic(call: Call, request: Shape) -> list[str]:
    """All topics of the region, for lists of them."""
    return [f"arn:aws:sns:{call.region}:{call.account_id}:*"]


def own(call: Call, place: Place, action: str, member: str) -> Place:
    """The place, if it is in the caller's account and region. Raises AccessDenied- and InvalidParameterException."""
    if place.account_id != call.account_id:
        raise AccessDeniedException(
            f"User: {call.principal.arn} is not authorized to perform: {action} on resource: {place.arn} "
            f"because no resource-based policy allows the {action} action"
        )
    if place.region != call.region:
        raise InvalidParameterException(member)
    return place


async def topic_of(call: Call, tx: Transaction, arn: str, action: str, member: str = "TopicArn") -> Topic:
    """The caller's topic. Raises also NotFoundException."""
    place = own(call, place_of(arn, member), action, member)
    found = await TopicStore(tx, place.account_id, place.region).topic(place.topic)
    if found is None:
        raise no_topic()
    return found


async def subscription_of(call: Call, tx: Transaction, arn: str, action: str) -> Subscription:
    """The caller's subscription. Raises also NotFoundException."""
    place = own(call, place_of(arn, "SubscriptionArn", subscription=True), action, "SubscriptionArn")
    return await living(tx, place)


async def living(tx: Transaction, place: Place) -> Subscription:
    """The subscription, if it has not left. Raises NotFoundException."""
    found = await TopicStore(tx, place.account_id, place.region).subscription(place.topic, place.subscription_id)
    if found is None or found.left_at is not None:
        raise no_subscription()
    return found
