"""What subscribers get: the headers and the signed body of a delivery, in the form that SNS gives them."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

from pilothouse.capabilities.topics.model import (
    NOTIFICATION,
    UNSUBSCRIBED,
    Delivery,
    Message,
    Subscription,
)
from pilothouse.runtime.clock import from_millis

VERSION: Final = "2010-03-31"
_NOTIFICATION: Final = ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type")
_CONFIRMATION: Final = ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type")
"""The members that are signed, in this order."""


@dataclass(frozen=True, slots=True)
class Post:
    """What is sent to a receiver."""

    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Stamp:
    """How bodies are signed, and what they say about where the server is."""

    server: str
    """Scheme and host."""
    certificate_path: str
    version: str
    sign: Callable[[str], str]
    """From the text to be signed to the signature in base64."""
    token: str
    """With which the subscription can be confirmed or taken up again."""


def post_of(subscription: Subscription, delivery: Delivery, stamp: Stamp) -> Post:
    """The request for one delivery."""
    kind = {NOTIFICATION: "Notification", UNSUBSCRIBED: "UnsubscribeConfirmation"}.get(
        delivery.kind, "SubscriptionConfirmation"
    )
    headers = {
        "content-type": "text/plain; charset=UTF-8",
        "user-agent": "pilothouse",
        "x-amz-sns-message-type": kind,
        "x-amz-sns-message-id": delivery.message_id,
        "x-amz-sns-topic-arn": subscription.topic_arn,
    }
    if delivery.message is None:
        if kind == "UnsubscribeConfirmation":
            headers["x-amz-sns-subscription-arn"] = subscription.arn
        return Post(headers, _encoded(_confirmation(subscription, delivery, stamp, kind)))
    headers["x-amz-sns-subscription-arn"] = subscription.arn
    text = text_for(delivery.message, subscription.protocol)
    if subscription.raw:
        return Post(headers | {"x-amz-sns-rawdelivery": "true"}, text.encode())
    return Post(headers, _encoded(_notification(subscription, delivery.message, text, stamp)))


def text_for(message: Message, protocol: str) -> str:
    """The message as receivers of a protocol get it."""
    if not message.structured:
        return message.message
    texts = json.loads(message.message)
    found = texts.get(protocol)
    return found if isinstance(found, str) else str(texts["default"])


def _notification(subscription: Subscription, message: Message, text: str, stamp: Stamp) -> dict[str, Any]:
    body: dict[str, Any] = {
        "Type": "Notification",
        "MessageId": message.message_id,
        "TopicArn": subscription.topic_arn,
    }
    if message.subject is not None:
        body["Subject"] = message.subject
    body |= {"Message": text, "Timestamp": _moment(message.at)}
    body |= _signed(body, _NOTIFICATION, stamp)
    body["UnsubscribeURL"] = _url(stamp, "Unsubscribe", SubscriptionArn=subscription.arn)
    if message.attributes:
        body["MessageAttributes"] = {
            name: {"Type": kind, "Value": value} for name, (kind, value) in message.attributes.items()
        }
    return body


def _confirmation(subscription: Subscription, delivery: Delivery, stamp: Stamp, kind: str) -> dict[str, Any]:
    text = (
        f"You have chosen to subscribe to the topic {subscription.topic_arn}.\n"
        "To confirm the subscription, visit the SubscribeURL included in this message."
    )
    if kind == "UnsubscribeConfirmation":
        text = (
            f"You have chosen to deactivate subscription {subscription.arn}.\n"
            "To cancel this operation and restore the subscription, visit the SubscribeURL included in this message."
        )
    body: dict[str, Any] = {
        "Type": kind,
        "MessageId": delivery.message_id,
        "Token": stamp.token,
        "TopicArn": subscription.topic_arn,
        "Message": text,
        "SubscribeURL": _url(stamp, "ConfirmSubscription", TopicArn=subscription.topic_arn, Token=stamp.token),
        "Timestamp": _moment(delivery.at),
    }
    return body | _signed(body, _CONFIRMATION, stamp)


def _signed(body: Mapping[str, Any], names: tuple[str, ...], stamp: Stamp) -> dict[str, str]:
    to_sign = "".join(f"{name}\n{body[name]}\n" for name in names if name in body)
    return {
        "SignatureVersion": stamp.version,
        "Signature": stamp.sign(to_sign),
        "SigningCertURL": stamp.server + stamp.certificate_path,
    }


def _url(stamp: Stamp, action: str, **members: str) -> str:
    return f"{stamp.server}/?{urlencode({'Action': action, 'Version': VERSION, **members}, safe=':')}"


def _encoded(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body, indent=2, ensure_ascii=False).encode()


def _moment(at_ms: int) -> str:
    return from_millis(at_ms).isoformat(timespec="milliseconds").replace("+00:00", "Z")
