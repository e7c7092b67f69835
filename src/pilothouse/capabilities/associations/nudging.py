"""Nudges: a message that makes a node look at its associations at once. The truth is what it finds there.

It is a job with aws:refreshAssociation that names an association which nobody has: named ones are run by the official
agent whatever their state, and none named means all. So it runs those that are Pending, and no other.
"""

from collections.abc import Collection, Sequence
from typing import Final

import msgspec

from pilothouse.call import House
from pilothouse.capabilities.associations.model import Association
from pilothouse.gateway import outbox, presence
from pilothouse.gateway.outbox import Message, NewMessage, Refusal, Reply
from pilothouse.storage import Transaction

TOPIC: Final = "aws.ssm.sendCommand.associations"
"""Agents look at the beginning alone."""
NOBODYS: Final = "00000000-0000-0000-0000-000000000000"
_GOOD_FOR_MS = 10 * 60_000
"""Agents look by themselves every ten minutes."""


class NudgeSender:
    """Behind the nudges. They always go, and what nodes say to them tells nothing: the status reports do."""

    async def transmitting(self, house: House, tx: Transaction, messages: Sequence[Message]) -> Collection[str]:
        return [message.message_id for message in messages]

    async def delivered(self, house: House, tx: Transaction, messages: Sequence[Message]) -> None:
        """The node looks."""

    async def refused(self, house: House, tx: Transaction, refusals: Sequence[Refusal]) -> None:
        """It is busy; the nudge comes again in a moment."""

    async def replied(self, house: House, tx: Transaction, replies: Sequence[Reply]) -> None:
        """It has looked."""
        await outbox.withdraw(tx, [reply.message.message_id for reply in replies])

    async def unanswered(self, house: House, tx: Transaction, messages: Sequence[Message]) -> None:
        """It will look when it comes back."""

    async def gave_up(self, house: House, tx: Transaction, messages: Sequence[Message]) -> None:
        """It looks every ten minutes anyhow."""


async def nudge(house: House, tx: Transaction, association: Association, node_ids: Sequence[str]) -> None:
    """Make those of the nodes look that are connected; the others do when they come."""
    await nudge_nodes(house, tx, association.account_id, association.region, node_ids)


async def nudge_nodes(house: House, tx: Transaction, account_id: str, region: str, node_ids: Sequence[str]) -> None:
    """The same without an association."""
    now = house.clock.millis()
    connected = await presence.connected(tx, node_ids, now)
    if not connected:
        return
    gate = house.ids.uuid()
    await outbox.hold(tx, [gate])
    await outbox.push(
        house, tx,
        account_id=account_id, region=region, gate=gate, topic=f"{TOPIC}.{region}",
        messages=[NewMessage(f"aws.ssm.{gate}.{node_id}", node_id) for node_id in sorted(connected)],
        at_ms=now, start_deadline=now + _GOOD_FOR_MS, expires_at=now + 2 * _GOOD_FOR_MS, content=_content(gate),
    )  # fmt: skip
    await outbox.release(house, tx, gate, len(connected))


def _content(command_id: str) -> str:
    step = {"action": "aws:refreshAssociation", "name": "look", "inputs": {"associationIds": [NOBODYS]}}
    return msgspec.json.encode(
        {
            "CommandId": command_id,
            "DocumentName": "AWS-RefreshAssociation",
            "Parameters": {},
            "DocumentContent": {
                "schemaVersion": "2.2",
                "description": "Look at the associations.",
                "mainSteps": [step],
            },
            "OutputS3BucketName": "",
            "OutputS3KeyPrefix": "",
            "CloudWatchLogGroupName": "",
            "CloudWatchOutputEnabled": "false",
        }
    ).decode()
