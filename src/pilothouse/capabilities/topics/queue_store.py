"""SQL of topic_message and topic_delivery: what was told, and who is still to get it."""

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from pilothouse.capabilities.topics.model import Delivery, Message, Subscription
from pilothouse.crypto.sealed import Sealed
from pilothouse.crypto.vault import Vault
from pilothouse.storage import Row, Transaction


def _context(row: Mapping[str, Any]) -> str:
    return f"topic_message {row['message_id']}"


SEALED: Final = Sealed(table="topic_message", keys=("message_id",), column="sealed", context=_context)


class QueueStore:
    """What the subscribers of one account and region are to get."""

    def __init__(self, tx: Transaction, account_id: str, region: str) -> None:
        self._tx = tx
        self._scope = {"account_id": account_id, "region": region}

    async def add(self, vault: Vault, topic: str, messages: Sequence[Message]) -> None:
        """Messages that somebody will get."""
        await self._tx.many(
            """insert into topic_message
                 (message_id, account_id, region, topic, at, subject, message, sealed, structured, attributes)
               values
                 (:message_id, :account_id, :region, :topic, :at, :subject, '', :sealed, :structured, :attributes)""",
            [
                {
                    **self._scope, "topic": topic, "message_id": each.message_id, "at": each.at,
                    "subject": each.subject, "structured": int(each.structured),
                    "sealed": vault.seal(each.message.encode(), _context({"message_id": each.message_id})),
                    "attributes": json.dumps(each.attributes),
                }
                for each in messages
            ],
        )  # fmt: skip

    async def queue(self, wanted: Sequence[tuple[str, str]], kind: str, at: int) -> None:
        """Who (a subscription's id) is to get what (a message's), in this order."""
        await self._tx.many(
            """insert into topic_delivery (subscription_id, account_id, region, kind, message_id, at, refusals)
               values (:subscription_id, :account_id, :region, :kind, :message_id, :at, 0)""",
            [
                {**self._scope, "subscription_id": who, "kind": kind, "message_id": message_id, "at": at}
                for who, message_id in wanted
            ],
        )

    async def waiting(self, subscription_id: str) -> int:
        """How much a subscriber is still to get."""
        found: int = await self._tx.value(
            """select count(*) from topic_delivery
               where account_id = :account_id and region = :region and subscription_id = :subscription_id""",
            **self._scope, subscription_id=subscription_id,
        )  # fmt: skip
        return found


async def next_of(tx: Transaction, vault: Vault, subscription: Subscription, most: int) -> list[Delivery]:
    """What a subscriber is to get next."""
    rows = await tx.rows(
        """select delivery.number, delivery.kind, delivery.message_id, delivery.at, delivery.refusals,
                  said.subject, said.message, said.sealed, said.structured, said.attributes, said.at as said_at
           from topic_delivery delivery left join topic_message said on said.message_id = delivery.message_id
           where delivery.subscription_id = :subscription_id
           order by delivery.number limit :most""",
        subscription_id=subscription.subscription_id, most=most,
    )  # fmt: skip
    return [await _delivery(vault, row) for row in rows]


async def _delivery(vault: Vault, row: Row) -> Delivery:
    message = None
    if row["message"] is not None:
        text = row["message"]
        if row["sealed"] is not None:
            text = (await vault.opened(bytes(row["sealed"]), _context(row))).decode()
        message = Message(
            message_id=row["message_id"],
            at=row["said_at"],
            subject=row["subject"],
            message=text,
            structured=bool(row["structured"]),
            attributes=json.loads(row["attributes"]),
        )
    return Delivery(
        number=row["number"],
        kind=row["kind"],
        message_id=row["message_id"],
        at=row["at"],
        refusals=row["refusals"],
        message=message,
    )


async def done(tx: Transaction, deliveries: Collection[Delivery]) -> None:
    """These go, and messages that nobody is to get any more."""
    await tx.execute(
        "delete from topic_delivery where number in (:numbers)", numbers=[each.number for each in deliveries]
    )
    await forget(tx, [each.message_id for each in deliveries])


async def refused(tx: Transaction, delivery: Delivery) -> None:
    """The receiver said once more that it is bad."""
    await tx.execute("update topic_delivery set refusals = refusals + 1 where number = :number", number=delivery.number)


async def old(tx: Transaction, before: int, most: int) -> list[tuple[int, str, str]]:
    """(number, subscription id, message id) of what waits for longer than it may."""
    rows = await tx.rows(
        """select number, subscription_id, message_id from topic_delivery where at < :before
           order by at, number limit :most""",
        before=before, most=most,
    )  # fmt: skip
    return [(row["number"], row["subscription_id"], row["message_id"]) for row in rows]


async def drop(tx: Transaction, waiting: Sequence[tuple[int, str, str]]) -> None:
    """Nobody gets these any more."""
    await tx.execute("delete from topic_delivery where number in (:numbers)", numbers=[each[0] for each in waiting])
    await forget(tx, [each[2] for each in waiting])


async def unwanted(tx: Transaction, before: int, most: int) -> list[str]:
    """Ids of messages from before a time that nobody is to get."""
    rows = await tx.rows(
        """select message_id from topic_message said where at < :before and not exists (
             select 1 from topic_delivery delivery where delivery.message_id = said.message_id)
           order by at limit :most""",
        before=before, most=most,
    )  # fmt: skip
    return [row["message_id"] for row in rows]


async def forget(tx: Transaction, message_ids: Sequence[str]) -> None:
    """Those of the messages that nobody is to get go."""
    await tx.execute(
        """delete from topic_message where message_id in (:ids) and not exists (
             select 1 from topic_delivery delivery where delivery.message_id = topic_message.message_id)""",
        ids=list(message_ids),
    )
