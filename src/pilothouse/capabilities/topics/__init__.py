"""Topics: what is told to one is delivered to all who are subscribed to it, over HTTP, in the form of SNS.

Owns the tables topic, topic_subscription, topic_message, topic_delivery and topic_signing_key. Others tell a topic
something with `house.tell(tx, "topic.messages", account_id=, region=, topic_arn=, subject=, messages=)` in the
transaction that made it true; the messages are texts. `attributes` (name to text) go with all of them, and with
`only_for` they are told to nobody but those whose filter names that attribute: what is meant for one person.
"""

from collections.abc import Mapping
from typing import Any

from pilothouse.call import Capability, House, Lasting
from pilothouse.capabilities import tags
from pilothouse.capabilities.topics import jobs, operations, publishing, queue_store, subscriptions
from pilothouse.capabilities.topics.deliveries import deliver
from pilothouse.capabilities.topics.model import InvalidParameterException, place_of
from pilothouse.capabilities.topics.operations import TAGGED_AS
from pilothouse.capabilities.topics.policies import OnTopics
from pilothouse.capabilities.topics.publishing import told
from pilothouse.capabilities.topics.signing import CERTIFICATE_PATH, SEALED, certificate
from pilothouse.capabilities.topics.store import TopicStore, release
from pilothouse.storage import Transaction

__all__ = ["CAPABILITY", "arn_of"]


async def arn_of(tx: Transaction, account_id: str, region: str, arn: str) -> str | None:
    """The topic's ARN as policies know it, if there is such a topic in the account and region; else None."""
    try:
        place = place_of(arn, "TopicArn")
    except InvalidParameterException:
        return None
    if (place.account_id, place.region) != (account_id, region):
        return None
    found = await TopicStore(tx, account_id, region).topic(place.topic)
    return None if found is None else found.arn


async def _ended(house: House, tx: Transaction, facts: Mapping[str, Any]) -> None:
    """Others may deliver at once to the subscribers of a process that is gone."""
    await release(tx, facts["process_id"])


async def _tags(tx: Transaction, account_id: str, region: str, rest: str) -> dict[str, str]:
    return await tags.of(tx, account_id, region, TAGGED_AS, rest)


async def _find(tx: Transaction, account_id: str, region: str, name: str) -> str | None:
    return name if await TopicStore(tx, account_id, region).topic(name) else None


CAPABILITY = Capability.of(
    "topics",
    operations,
    subscriptions,
    publishing,
    jobs,
    sealed=(SEALED, queue_store.SEALED),
    files={CERTIFICATE_PATH: certificate},
    listeners={"topic.messages": told, "process.ended": _ended},
    lasting=(Lasting(name="topics.deliveries", run=deliver),),
    tags_of={TAGGED_AS: _tags},
    groupable={"AWS::SNS::Topic": tags.Tagged(TAGGED_AS, "sns", "", _find)},
    policies_on={TAGGED_AS: OnTopics()},
)
