"""The policies of topics, as the authoriser asks for them: within the account they count beside those of users."""

from collections.abc import Collection
from typing import Final

from pilothouse.capabilities.topics.store import TopicStore
from pilothouse.identity.permissions import Source
from pilothouse.identity.resources import place_of
from pilothouse.storage import Transaction

_CARRIED: Final = 100
"""ARNs of topics with policies that principals carry about; with more of them each topic is looked up."""


class OnTopics:
    """See `PoliciesOn`."""

    needed = False

    async def guarded(self, tx: Transaction, account_id: str) -> Collection[str] | None:
        found = await TopicStore(tx, account_id, "").guarded(_CARRIED + 1)
        return None if len(found) > _CARRIED else [each.arn for each in found]

    async def of(self, tx: Transaction, arn: str) -> list[Source]:
        place = place_of(arn)
        if place is None:
            return []
        topic = await TopicStore(tx, place.account_id, place.region).topic(place.tail)
        if topic is None or not topic.policy:
            return []
        return [Source(kind="resource", name=topic.name, document=topic.policy, owner=topic.arn)]
