"""Attributes of topics and subscriptions: which there are, what they may be, and how they are shown."""

import json
from collections.abc import Mapping
from typing import Any, Final

from pilothouse.capabilities.events import MalformedPattern, parse_pattern
from pilothouse.capabilities.topics.model import (
    BY_ATTRIBUTES,
    BY_BODY,
    InvalidParameterException,
    Subscription,
    Topic,
    no_fifo,
)
from pilothouse.identity.policy import MalformedPolicy, parse
from pilothouse.runtime.clock import from_millis

_TOPIC_COLUMNS: Final = {
    "DisplayName": "display_name",
    "Policy": "policy",
    "DeliveryPolicy": "delivery_policy",
    "SignatureVersion": "signature_version",
}
_SUBSCRIPTION_COLUMNS: Final = {
    "RawMessageDelivery": "raw",
    "FilterPolicy": "filter_policy",
    "FilterPolicyScope": "filter_scope",
    "DeliveryPolicy": "delivery_policy",
}
_DISPLAY_NAME: Final = 100
_ACTIONS: Final = (
    "SNS:GetTopicAttributes",
    "SNS:SetTopicAttributes",
    "SNS:AddPermission",
    "SNS:RemovePermission",
    "SNS:DeleteTopic",
    "SNS:Subscribe",
    "SNS:ListSubscriptionsByTopic",
    "SNS:Publish",
)
"""What the policy speaks of that a topic is shown with while it has none of its own."""


def topic_columns(given: Mapping[str, str]) -> dict[str, str]:
    """Columns of a topic from a request's attributes. Raises InvalidParameterException."""
    if str(given.get("FifoTopic", "false")).lower() == "true":
        raise no_fifo()
    found = {}
    for name, value in given.items():
        if name in _TOPIC_COLUMNS:
            found[_TOPIC_COLUMNS[name]] = topic_value(name, value)
        elif name != "FifoTopic":
            raise _unknown("Attributes", name, _TOPIC_COLUMNS)
    return found


def topic_column(name: str) -> str:
    """The column of an attribute. Raises InvalidParameterException."""
    if name not in _TOPIC_COLUMNS:
        raise _unknown("AttributeName", name, _TOPIC_COLUMNS)
    return _TOPIC_COLUMNS[name]


def topic_value(name: str, value: str) -> str:
    """An attribute's value as it is stored; empty: as if it had never been set. Raises InvalidParameterException."""
    if name == "DisplayName" and (len(value) > _DISPLAY_NAME or not value.isprintable()):
        raise InvalidParameterException(
            "DisplayName", f"at most {_DISPLAY_NAME} characters, without control characters"
        )
    if name == "SignatureVersion" and value not in {"1", "2"}:
        raise InvalidParameterException("SignatureVersion", "1 or 2")
    if name == "Policy" and value:
        try:
            parse(value, kind="resource")
        except MalformedPolicy as error:
            raise InvalidParameterException("Policy", str(error)) from error
    if name == "DeliveryPolicy" and value:
        _json_object(name, value)
    return value


def subscription_columns(given: Mapping[str, str]) -> dict[str, Any]:
    """Columns of a subscription from a request's attributes. Raises InvalidParameterException."""
    found: dict[str, Any] = {}
    for name, value in given.items():
        found[subscription_column(name)] = subscription_value(name, value)
    return found


def subscription_column(name: str) -> str:
    """The column of an attribute. Raises InvalidParameterException."""
    if name not in _SUBSCRIPTION_COLUMNS:
        raise _unknown("AttributeName", name, _SUBSCRIPTION_COLUMNS)
    return _SUBSCRIPTION_COLUMNS[name]


def subscription_value(name: str, value: str) -> Any:
    """An attribute's value as it is stored. Raises InvalidParameterException."""
    if name == "RawMessageDelivery":
        if value.lower() not in {"true", "false"}:
            raise InvalidParameterException("RawMessageDelivery", "true or false")
        return int(value.lower() == "true")
    if name == "FilterPolicyScope" and value not in {BY_ATTRIBUTES, BY_BODY}:
        raise InvalidParameterException("FilterPolicyScope", f"{BY_ATTRIBUTES} or {BY_BODY}")
    if name == "DeliveryPolicy" and value:
        _json_object(name, value)
    if name == "FilterPolicy":
        return _filter(value)
    return value


def shown_topic(topic: Topic, confirmed: int, pending: int) -> dict[str, str]:
    """What GetTopicAttributes answers."""
    found = {
        "TopicArn": topic.arn,
        "Owner": topic.account_id,
        "DisplayName": topic.display_name,
        "Policy": topic.policy or default_policy(topic),
        "SubscriptionsConfirmed": str(confirmed),
        "SubscriptionsPending": str(pending),
        "SubscriptionsDeleted": "0",
    }
    more = {"DeliveryPolicy": topic.delivery_policy, "SignatureVersion": topic.signature_version}
    return found | {name: value for name, value in more.items() if value}


def shown_subscription(subscription: Subscription, waiting: int) -> dict[str, str]:
    """What GetSubscriptionAttributes answers. The last six are our own."""
    found = {
        "SubscriptionArn": subscription.arn,
        "TopicArn": subscription.topic_arn,
        "Owner": subscription.account_id,
        "Protocol": subscription.protocol,
        "Endpoint": subscription.endpoint,
        "RawMessageDelivery": _word(subscription.raw),
        "PendingConfirmation": _word(not subscription.is_confirmed),
        "ConfirmationWasAuthenticated": _word(subscription.authenticated),
    }
    if subscription.filter_policy:
        found["FilterPolicy"] = subscription.filter_policy
        found["FilterPolicyScope"] = subscription.filter_scope
    if subscription.delivery_policy:
        found["DeliveryPolicy"] = subscription.delivery_policy
    found |= {
        "DeliveryState": subscription.state,
        "MessagesWaiting": str(waiting),
        "MessagesDropped": str(subscription.dropped),
    }
    if subscription.last_error:
        found["LastDeliveryError"] = subscription.last_error
    if subscription.last_status is not None:
        found["LastStatusCode"] = str(subscription.last_status)
    if subscription.last_success_at:
        found["LastSuccessDate"] = from_millis(subscription.last_success_at).isoformat(timespec="seconds")
    return found


def default_policy(topic: Topic) -> str:
    """What a topic shows that has no policy of its own; it gives nobody anything beside what their policies do."""
    statement = {
        "Sid": "__default_statement_ID",
        "Effect": "Allow",
        "Principal": {"AWS": "*"},
        "Action": list(_ACTIONS),
        "Resource": topic.arn,
        "Condition": {"StringEquals": {"AWS:SourceOwner": topic.account_id}},
    }
    return json.dumps({"Version": "2008-10-17", "Id": "__default_policy_ID", "Statement": [statement]})


def _filter(value: str) -> str:
    if value in {"", "{}"}:
        return ""
    try:
        parse_pattern(value)
    except MalformedPattern as error:
        raise InvalidParameterException("FilterPolicy", str(error)) from error
    return value


def _json_object(name: str, value: str) -> None:
    try:
        found = json.loads(value)
    except (ValueError, RecursionError) as error:
        raise InvalidParameterException(name, "it is not JSON") from error
    if not isinstance(found, dict):
        raise InvalidParameterException(name, "it is not an object")


def _word(value: object) -> str:
    return "true" if value else "false"


def _unknown(member: str, name: str, known: Mapping[str, str]) -> InvalidParameterException:
    return InvalidParameterException(member, f"there is no attribute {name[:100]} here; there are {', '.join(known)}")
