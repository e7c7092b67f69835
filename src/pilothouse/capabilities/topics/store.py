"""SQL of topic, topic_subscription and topic_signing_key."""

from dataclasses import fields
from typing import Any, NamedTuple

from pilothouse.capabilities.topics.model import ACTIVE, DISABLED, Setback, Subscription, Topic
from pilothouse.storage import Transaction

_TOPIC = ", ".join(each.name for each in fields(Topic))
_SUBSCRIPTION = ", ".join(each.name for each in fields(Subscription))
_ALIVE = "left_at is null"


def _values(names: str) -> str:
    return ", ".join(f":{name}" for name in names.split(", "))


class TopicStore:
    """The topics of one account and region, and who is subscribed to them."""

    def __init__(self, tx: Transaction, account_id: str, region: str) -> None:
        self._tx = tx
        self._scope = {"account_id": account_id, "region": region}

    async def lock(self, name: str) -> None:
        """The topic and its subscriptions stay as they are until the transaction ends, but for what it does itself."""
        await self._tx.lock("topic", *self._scope.values(), name)

    async def topic(self, name: str) -> Topic | None:
        """The topic, or None."""
        row = await self._tx.row(
            f"select {_TOPIC} from topic where account_id = :account_id and region = :region and name = :name",  # noqa: S608
            **self._scope, name=name,
        )  # fmt: skip
        return None if row is None else Topic(**row)

    async def topics(self, after: str, most: int) -> list[str]:
        """The names of the next topics."""
        rows = await self._tx.rows(
            """select name from topic where account_id = :account_id and region = :region and name > :after
               order by name limit :most""",
            **self._scope, after=after, most=most,
        )  # fmt: skip
        return [row["name"] for row in rows]

    async def add(self, topic: Topic) -> None:
        """A new topic."""
        await self._tx.execute(
            f"insert into topic ({_TOPIC}) values ({_values(_TOPIC)})",  # noqa: S608
            **{each.name: getattr(topic, each.name) for each in fields(Topic)},
        )

    async def change(self, name: str, **columns: str) -> None:
        """Set columns, which our own code names."""
        await self._tx.execute(
            f"""update topic set {", ".join(f"{each} = :{each}" for each in columns)}
                where account_id = :account_id and region = :region and name = :name""",  # noqa: S608
            **self._scope, name=name, **columns,
        )  # fmt: skip

    async def remove(self, name: str) -> None:
        """Remove a topic, its subscriptions, and what these were still to get."""
        where = "account_id = :account_id and region = :region"
        await self._tx.execute(
            f"""delete from topic_delivery where {where} and subscription_id in (
                  select subscription_id from topic_subscription where {where} and topic = :name)""",  # noqa: S608
            **self._scope, name=name,
        )  # fmt: skip
        for table, column in (("topic_message", "topic"), ("topic_subscription", "topic"), ("topic", "name")):
            await self._tx.execute(
                f"delete from {table} where {where} and {column} = :name",  # noqa: S608
                **self._scope, name=name,
            )  # fmt: skip

    async def counts(self, name: str) -> tuple[int, int]:
        """How many of a topic's subscriptions are confirmed, and how many are not."""
        row = await self._tx.row(
            f"""select count(*) as subscriptions, count(confirmed_at) as confirmed from topic_subscription
                where account_id = :account_id and region = :region and topic = :name and {_ALIVE}""",  # noqa: S608
            **self._scope, name=name,
        )  # fmt: skip
        assert row is not None
        return row["confirmed"], row["subscriptions"] - row["confirmed"]

    async def guarded(self, most: int) -> list[Topic]:
        """Topics of the account, of all regions, that have policies of their own."""
        rows = await self._tx.rows(
            f"select {_TOPIC} from topic where account_id = :account_id and policy <> '' limit :most",  # noqa: S608
            account_id=self._scope["account_id"], most=most,
        )  # fmt: skip
        return [Topic(**row) for row in rows]

    async def subscription(self, topic: str, subscription_id: str) -> Subscription | None:
        """The subscription, also one that has left; or None."""
        row = await self._tx.row(
            f"""select {_SUBSCRIPTION} from topic_subscription where account_id = :account_id and region = :region
                and topic = :topic and subscription_id = :subscription_id""",  # noqa: S608
            **self._scope, topic=topic, subscription_id=subscription_id,
        )  # fmt: skip
        return None if row is None else Subscription(**row)

    async def subscription_of(self, topic: str, protocol: str, endpoint: str) -> Subscription | None:
        """The subscription of an endpoint, or None."""
        row = await self._tx.row(
            f"""select {_SUBSCRIPTION} from topic_subscription where account_id = :account_id and region = :region
                and topic = :topic and protocol = :protocol and endpoint = :endpoint and {_ALIVE}""",  # noqa: S608
            **self._scope, topic=topic, protocol=protocol, endpoint=endpoint,
        )  # fmt: skip
        return None if row is None else Subscription(**row)

    async def confirmed(self, topic: str) -> list[Subscription]:
        """Those who get what the topic is told."""
        rows = await self._tx.rows(
            f"""select {_SUBSCRIPTION} from topic_subscription where account_id = :account_id and region = :region
                and topic = :topic and confirmed_at > 0 and {_ALIVE}""",  # noqa: S608
            **self._scope, topic=topic,
        )  # fmt: skip
        return [Subscription(**row) for row in rows]

    async def subscriptions(self, after: tuple[str, str], most: int, topic: str = "") -> list[Subscription]:
        """The next subscriptions by topic and id, of one topic or of all."""
        only = "topic = :topic and subscription_id > :after_id"
        all_of = "(topic > :after_topic or (topic = :after_topic and subscription_id > :after_id))"
        values = {"topic": topic} if topic else {"after_topic": after[0]}
        rows = await self._tx.rows(
            f"""select {_SUBSCRIPTION} from topic_subscription where account_id = :account_id and region = :region
                and {only if topic else all_of} and {_ALIVE}
                order by topic, subscription_id limit :most""",  # noqa: S608
            **self._scope, **values, after_id=after[1], most=most,
        )  # fmt: skip
        return [Subscription(**row) for row in rows]

    async def subscribe(self, subscription: Subscription) -> None:
        """A new subscription."""
        await self._tx.execute(
            f"insert into topic_subscription ({_SUBSCRIPTION}) values ({_values(_SUBSCRIPTION)})",  # noqa: S608
            **{each.name: getattr(subscription, each.name) for each in fields(Subscription)},
        )

    async def change_subscription(self, subscription_id: str, **columns: Any) -> None:
        """Set columns, which our own code names; whoever delivers begins anew, without the failures so far."""
        columns = {"state": ACTIVE, "failures": 0, "failing_since": None, "next_at": 0, "last_error": "", **columns}
        await self._tx.execute(
            f"""update topic_subscription set {", ".join(f"{each} = :{each}" for each in columns)},
                  generation = generation + 1
                where account_id = :account_id and region = :region and subscription_id = :subscription_id""",  # noqa: S608
            **self._scope, subscription_id=subscription_id, **columns,
        )  # fmt: skip

    async def forget_deliveries(self, subscription_id: str) -> None:
        """What it was still to get goes."""
        await self._tx.execute(
            """delete from topic_delivery
               where account_id = :account_id and region = :region and subscription_id = :subscription_id""",
            **self._scope, subscription_id=subscription_id,
        )  # fmt: skip

    async def forget_subscription(self, subscription_id: str) -> None:
        """The subscription goes, with what it was still to get."""
        await self.forget_deliveries(subscription_id)
        await self._tx.execute(
            """delete from topic_subscription
               where account_id = :account_id and region = :region and subscription_id = :subscription_id""",
            **self._scope, subscription_id=subscription_id,
        )  # fmt: skip


async def due(tx: Transaction, process_id: str, now: int) -> list[Subscription]:
    """Subscriptions of all accounts that something waits for, and that no other process holds."""
    rows = await tx.rows(
        f"""select {_SUBSCRIPTION} from topic_subscription subscriber
            where state <> :disabled and next_at <= :now and (holder is null or holder = :holder or held_until < :now)
              and exists (
                select 1 from topic_delivery delivery where delivery.subscription_id = subscriber.subscription_id)""",  # noqa: S608
        disabled=DISABLED, now=now, holder=process_id,
    )  # fmt: skip
    return [Subscription(**row) for row in rows]


async def hold(tx: Transaction, seen: Subscription, holder: str, now: int, until: int) -> Subscription | None:
    """Take the subscription for one process, if no other has it and nobody changed it; as it stands then."""
    row = await tx.row(
        f"""update topic_subscription set holder = :holder, held_until = :until
            where subscription_id = :subscription_id and generation = :generation and next_at <= :now
              and (holder is null or holder = :holder or held_until < :now)
            returning {_SUBSCRIPTION}""",  # noqa: S608
        subscription_id=seen.subscription_id, generation=seen.generation, holder=holder, now=now, until=until,
    )  # fmt: skip
    return None if row is None else Subscription(**row)


async def release(tx: Transaction, holder: str) -> None:
    """Let go of all that a process holds."""
    await tx.execute(
        "update topic_subscription set holder = null, held_until = null where holder = :holder", holder=holder
    )


async def delivered(tx: Transaction, held: Subscription, now: int, status: int) -> bool:
    """The receiver took something. False if the subscription was changed meanwhile, or another process holds it."""
    return bool(
        await tx.execute(
            """update topic_subscription set state = :active, failures = 0, failing_since = null, next_at = 0,
                 last_error = '', last_status = :status, last_success_at = :now
               where subscription_id = :subscription_id and generation = :generation and holder = :holder""",
            subscription_id=held.subscription_id, generation=held.generation, holder=held.holder,
            active=ACTIVE, status=status, now=now,
        )
    )  # fmt: skip


async def failed(
    tx: Transaction, held: Subscription, now: int, failures: int, setback: Setback, status: int | None
) -> bool:
    """A delivery failed. False if the subscription was changed meanwhile, or another process holds it."""
    return bool(
        await tx.execute(
            """update topic_subscription set state = :state, failures = :failures,
                 failing_since = coalesce(failing_since, :now), next_at = :next_at, last_error = :error,
                 last_status = :status, dropped = dropped + :dropped
               where subscription_id = :subscription_id and generation = :generation and holder = :holder""",
            subscription_id=held.subscription_id, generation=held.generation, holder=held.holder, now=now,
            failures=0 if setback.drops else failures, state=setback.state, next_at=setback.next_at,
            error=setback.error, status=status, dropped=int(setback.drops),
        )
    )  # fmt: skip


async def count_dropped(tx: Transaction, subscription_id: str, count: int) -> None:
    """Messages of a subscription were given up."""
    await tx.execute(
        "update topic_subscription set dropped = dropped + :count where subscription_id = :subscription_id",
        subscription_id=subscription_id, count=count,
    )  # fmt: skip


async def lapsed(tx: Transaction, before: int, most: int) -> list[Subscription]:
    """Subscriptions of all accounts that nobody confirmed, or that were ended, before a time."""
    rows = await tx.rows(
        f"""select {_SUBSCRIPTION} from topic_subscription
            where (confirmed_at is null and asked_at < :before) or left_at < :before limit :most""",  # noqa: S608
        before=before, most=most,
    )  # fmt: skip
    return [Subscription(**row) for row in rows]


class SigningKey(NamedTuple):
    """A key that notifications are signed with, and its certificate."""

    fingerprint: str
    certificate: str
    sealed_key: bytes
    created_at: int
    expires_at: int


async def signing_key(tx: Transaction) -> SigningKey | None:
    """The newest one."""
    row = await tx.row(
        """select fingerprint, certificate, sealed_key, created_at, expires_at from topic_signing_key
           order by created_at desc, fingerprint limit 1"""
    )
    return None if row is None else SigningKey(**row)


async def add_signing_key(tx: Transaction, key: SigningKey) -> None:
    """One more."""
    await tx.execute(
        """insert into topic_signing_key (fingerprint, certificate, sealed_key, created_at, expires_at)
           values (:fingerprint, :certificate, :sealed_key, :created_at, :expires_at)""",
        **key._asdict(),
    )


async def certificate(tx: Transaction, fingerprint: str) -> str | None:
    """The certificate of a key, also of one that signs no more."""
    found: str | None = await tx.value(
        "select certificate from topic_signing_key where fingerprint = :fingerprint", fingerprint=fingerprint
    )
    return found


async def lock_signing_keys(tx: Transaction) -> None:
    """Nobody else makes one until the transaction ends."""
    await tx.lock("topic signing keys")
