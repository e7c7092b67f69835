"""Subscribe, ConfirmSubscription, Unsubscribe, and what there is to know and to set of subscriptions."""

import re
from dataclasses import replace
from typing import Any, Final

from pilothouse.call import Call, Caller, Shape, operation
from pilothouse.capabilities.topics.attributes import (
    shown_subscription,
    subscription_column,
    subscription_columns,
    subscription_value,
)
from pilothouse.capabilities.topics.deliveries import QUEUED
from pilothouse.capabilities.topics.finding import (
    any_topic,
    living,
    named,
    of_subscription,
    own,
    subscription_of,
    topic_of,
)
from pilothouse.capabilities.topics.model import (
    BY_ATTRIBUTES,
    DISABLED,
    PROTOCOLS,
    SUBSCRIBED,
    UNSUBSCRIBED,
    InvalidParameterException,
    Subscription,
    no_subscription,
    no_topic,
    place_of,
)
from pilothouse.capabilities.topics.operations import PAGE, read_token
from pilothouse.capabilities.topics.queue_store import QueueStore
from pilothouse.capabilities.topics.store import TopicStore
from pilothouse.capabilities.topics.tokens import read
from pilothouse.errors import AccessDeniedException
from pilothouse.runtime.outbound import OutboundFailed, check_url
from pilothouse.storage import Transaction

_ENDPOINT: Final = 2048
_PENDING: Final = "PendingConfirmation"
_HOST: Final = re.compile(r"[A-Za-z0-9.\-\[\]:]{1,255}")


def _conditions(call: Call, request: Shape) -> dict[str, str]:
    return {"sns:Protocol": request["Protocol"], "sns:Endpoint": request.get("Endpoint") or ""}


@operation(
    "sns", "Subscribe", writes=True, action="SNS:Subscribe", resources=named, conditions=_conditions
)  # fmt: skip
async def subscribe(call: Call, request: Shape) -> Shape:
    """Subscribe an endpoint, which is asked to confirm it. One that is subscribed is not subscribed twice."""
    columns = subscription_columns(request.get("Attributes") or {})
    protocol, endpoint = _checked_endpoint(call, request)
    async with call.transaction() as tx:
        topic = await topic_of(call, tx, request["TopicArn"], "SNS:Subscribe")
        store = TopicStore(tx, call.account_id, call.region)
        await store.lock(topic.name)
        if await store.topic(topic.name) is None:
            raise no_topic()
        subscription = await store.subscription_of(topic.name, protocol, endpoint)
        now = call.clock.millis()
        if subscription is None:
            subscription = _new(call, topic.name, protocol, endpoint, columns, now)
            await store.subscribe(subscription)
        elif any(_value(subscription, name) != value for name, value in columns.items()):
            raise InvalidParameterException("Attributes", "Subscription already exists with different attributes")
        if not subscription.is_confirmed:
            await store.forget_deliveries(subscription.subscription_id)  # of an earlier question
            await store.change_subscription(subscription.subscription_id, asked_at=now, server=_server(call))
            await _say(call, tx, subscription, SUBSCRIBED)
        elif subscription.state == DISABLED:
            await store.change_subscription(subscription.subscription_id)
            _wake(call, tx, subscription)
    whole = subscription.is_confirmed or request.get("ReturnSubscriptionArn")
    return {"SubscriptionArn": subscription.arn if whole else "pending confirmation"}


@operation(
    "sns", "ConfirmSubscription", writes=True, callers=Caller.ACCOUNT | Caller.ANYONE,
    action="SNS:ConfirmSubscription", resources=named,
)  # fmt: skip
async def confirm_subscription(call: Call, request: Shape) -> Shape:
    """Confirm a subscription with the token that its endpoint was sent, or take up again one that was ended.

    The token is proof enough; the call need not be signed.
    """
    place = place_of(request["TopicArn"], "TopicArn")
    anonymous = call.principal.kind == "anonymous"
    if not anonymous:
        own(call, place, "SNS:ConfirmSubscription", "TopicArn")
    try:
        subscription_id, ends_at = read(call.house, request["Token"])
    except ValueError as error:
        raise InvalidParameterException("Token") from error
    now = call.clock.millis()
    async with call.transaction() as tx:
        store = TopicStore(tx, place.account_id, place.region)
        await store.lock(place.topic)
        found = await store.subscription(place.topic, subscription_id)
        if found is None:
            raise no_subscription()
        call.account_id, call.region = place.account_id, place.region  # whose trail it is recorded in
        if ends_at < now:
            raise InvalidParameterException("Token", "it has expired; Subscribe again")
        columns: dict[str, Any] = {"confirmed_at": found.confirmed_at or now, "left_at": None}
        if not anonymous and str(request.get("AuthenticateOnUnsubscribe", "")).lower() == "true":
            columns["authenticated"] = 1
        if not found.is_confirmed:
            twin = await store.subscription_of(place.topic, found.protocol, found.endpoint)
            if twin is not None and twin.subscription_id != found.subscription_id:
                raise InvalidParameterException("Token", "the endpoint was subscribed anew meanwhile")
            await store.forget_deliveries(found.subscription_id)
        await store.change_subscription(found.subscription_id, **columns)
    return {"SubscriptionArn": found.arn}


@operation(
    "sns", "Unsubscribe", writes=True, callers=Caller.ACCOUNT | Caller.ANYONE, action="SNS:Unsubscribe",
    resources=of_subscription,
)  # fmt: skip
async def unsubscribe(call: Call, request: Shape) -> Shape:
    """End a subscription.

    The call need not be signed, unless that was wanted when the subscription was confirmed: who knows the ARN has it
    from the messages to the endpoint, or from the account. Then the endpoint is told, and may take the subscription up
    again for two days; whom the account itself sends away stays away.
    """
    place = place_of(request["SubscriptionArn"], "SubscriptionArn", subscription=True)
    anonymous = call.principal.kind == "anonymous"
    if not anonymous:
        own(call, place, "SNS:Unsubscribe", "SubscriptionArn")
    async with call.transaction() as tx:
        store = TopicStore(tx, place.account_id, place.region)
        await store.lock(place.topic)
        subscription = await living(tx, place)
        call.account_id, call.region = place.account_id, place.region  # whose trail it is recorded in
        if anonymous and (subscription.authenticated or not subscription.is_confirmed):
            raise AccessDeniedException(f"The subscription {subscription.arn} is ended by signed calls only.")
        if not anonymous:
            await store.forget_subscription(subscription.subscription_id)
            return {}
        await store.forget_deliveries(subscription.subscription_id)
        await store.change_subscription(subscription.subscription_id, left_at=call.clock.millis())
        await _say(call, tx, subscription, UNSUBSCRIBED)
    return {}


@operation("sns", "ListSubscriptions", action="SNS:ListSubscriptions", resources=any_topic)
async def list_subscriptions(call: Call, request: Shape) -> Shape:
    """The subscriptions of the account and region, by topic, 100 at a time."""
    return await _listed(call, request, "")


@operation("sns", "ListSubscriptionsByTopic", action="SNS:ListSubscriptionsByTopic", resources=named)
async def list_subscriptions_by_topic(call: Call, request: Shape) -> Shape:
    """The subscriptions of a topic, 100 at a time."""
    async with call.reading() as tx:
        topic = await topic_of(call, tx, request["TopicArn"], "SNS:ListSubscriptionsByTopic")
    return await _listed(call, request, topic.name)


@operation("sns", "GetSubscriptionAttributes", action="SNS:GetSubscriptionAttributes", resources=of_subscription)
async def get_subscription_attributes(call: Call, request: Shape) -> Shape:
    """What was set, and how deliveries fare."""
    async with call.reading() as tx:
        found = await subscription_of(call, tx, request["SubscriptionArn"], "SNS:GetSubscriptionAttributes")
        waiting = await QueueStore(tx, call.account_id, call.region).waiting(found.subscription_id)
    return {"Attributes": shown_subscription(found, waiting)}


@operation(
    "sns", "SetSubscriptionAttributes", writes=True, action="SNS:SetSubscriptionAttributes",
    resources=of_subscription,
)  # fmt: skip
async def set_subscription_attributes(call: Call, request: Shape) -> Shape:
    """Set one attribute. Deliveries are tried again at once, also where the endpoint had said that it is gone."""
    name = request["AttributeName"]
    column = subscription_column(name)
    value = subscription_value(name, request.get("AttributeValue") or "")
    async with call.transaction() as tx:
        found = await subscription_of(call, tx, request["SubscriptionArn"], "SNS:SetSubscriptionAttributes")
        store = TopicStore(tx, call.account_id, call.region)
        await store.change_subscription(found.subscription_id, **{column: value})
        _wake(call, tx, found)
    return {}


async def _listed(call: Call, request: Shape, topic: str) -> Shape:
    bound_to = ["subscriptions", call.account_id, call.region, topic]
    after_topic, after_id = read_token(call, bound_to, request, ["", ""])
    async with call.reading() as tx:
        store = TopicStore(tx, call.account_id, call.region)
        found = await store.subscriptions((after_topic, after_id), PAGE + 1, topic)
    answer: Shape = {"Subscriptions": [_shape(each) for each in found[:PAGE]]}
    if len(found) > PAGE:
        last = found[PAGE - 1]
        answer["NextToken"] = call.house.pages.token(bound_to, [last.topic, last.subscription_id])
    return answer


def _shape(subscription: Subscription) -> Shape:
    return {
        "SubscriptionArn": subscription.arn if subscription.is_confirmed else _PENDING,
        "Owner": subscription.account_id,
        "Protocol": subscription.protocol,
        "Endpoint": subscription.endpoint,
        "TopicArn": subscription.topic_arn,
    }


def _checked_endpoint(call: Call, request: Shape) -> tuple[str, str]:
    protocol, endpoint = request["Protocol"], request.get("Endpoint") or ""
    if protocol not in PROTOCOLS:
        raise InvalidParameterException("Protocol", f"the protocols here are {' and '.join(PROTOCOLS)}")
    if not endpoint.lower().startswith(f"{protocol}://"):
        raise InvalidParameterException("Endpoint", "Endpoint must match the specified protocol")
    if len(endpoint) > _ENDPOINT:
        raise InvalidParameterException("Endpoint", f"it has more than {_ENDPOINT} characters")
    try:
        check_url(endpoint, call.house.outbound.allowed)
    except OutboundFailed as error:
        raise InvalidParameterException("Endpoint", str(error)) from error
    return protocol, endpoint


def _new(
    call: Call, topic: str, protocol: str, endpoint: str, columns: dict[str, Any], now: int
) -> Subscription:  # fmt: skip
    blank = Subscription(
        subscription_id=call.ids.uuid(),
        account_id=call.account_id,
        region=call.region,
        topic=topic,
        protocol=protocol,
        endpoint=endpoint,
        server=_server(call),
        raw=0,
        filter_policy="",
        filter_scope=BY_ATTRIBUTES,
        delivery_policy="",
        created_at=now,
        asked_at=now,
    )
    return replace(blank, **columns)


def _value(subscription: Subscription, column: str) -> Any:
    return {
        "raw": subscription.raw,
        "filter_policy": subscription.filter_policy,
        "filter_scope": subscription.filter_scope,
        "delivery_policy": subscription.delivery_policy,
    }[column]


def _server(call: Call) -> str:
    """Where receivers are told to come, unless a setting says: as the caller addressed this server over TLS, else to
    the first of the server's names, else as the caller addressed it."""
    host, settings = call.headers.get("host", ""), call.house.settings
    if settings.names and not call.secure:
        return f"https://{settings.names[0]}:{settings.https.rpartition(':')[2]}"
    return f"{'https' if call.secure else 'http'}://{host if _HOST.fullmatch(host) else 'localhost'}"


async def _say(call: Call, tx: Transaction, subscription: Subscription, kind: str) -> None:
    queue = QueueStore(tx, subscription.account_id, subscription.region)
    await queue.queue([(subscription.subscription_id, call.ids.uuid())], kind, call.clock.millis())
    _wake(call, tx, subscription)


def _wake(call: Call, tx: Transaction, subscription: Subscription) -> None:
    tx.after_commit(lambda: call.house.bus.wake(QUEUED, subscription.subscription_id))
