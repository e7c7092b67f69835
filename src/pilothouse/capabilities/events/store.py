"""SQL of event and webhook."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from pilothouse.capabilities.events.model import ACTIVE, DISABLED, Cursor, Event, Kept, Setback, Told, Webhook
from pilothouse.storage import Row, Transaction

_COLUMNS = ("account_id", "region", "place", "event_id", "at", "detail_type", "source", "name", "envelope")
_WEBHOOK = ", ".join(each.name for each in fields(Webhook))


def scope_key(account_id: str, region: str) -> str:
    """The bus's key of an account and region."""
    return f"{account_id}/{region}"


class EventStore:
    """The events of one account and region."""

    def __init__(self, tx: Transaction, account_id: str, region: str) -> None:
        self._tx = tx
        self._scope = {"account_id": account_id, "region": region}

    def add(self, event: Event) -> None:
        """Write an event. Where writers run one after another it gets its place at once, else by `order`."""
        place = (
            """(select coalesce(max(place), 0) + 1 from event
                where account_id = :account_id and region = :region and place > 0)"""
            if self._tx.serial
            else "null"
        )
        self._tx.later(
            f"""insert into event (account_id, region, place, event_id, at, detail_type, source, name, envelope)
                values (:account_id, :region, {place}, :event_id, :at, :detail_type, :source, :name, :envelope)""",  # noqa: S608
            **self._scope, event_id=event.event_id, at=event.at_ms, detail_type=event.detail_type,
            source=event.source, name=event.name, envelope=event.envelope,
        )  # fmt: skip

    async def add_all(self, at_ms: int, source: str, detail_type: str, told: Sequence[Told]) -> None:
        """Write many events of one moment, at the cost of few."""
        place: int | None = None
        if self._tx.serial:
            last = await self._tx.value(
                "select max(place) from event where account_id = :account_id and region = :region and place > 0",
                **self._scope,
            )
            place = last or 0
        account_id, region = self._scope.values()
        await self._tx.fill("event", _COLUMNS, [
            (
                account_id, region, None if place is None else place + number, each.event_id, at_ms, detail_type,
                source, each.name, each.envelope,
            )
            for number, each in enumerate(told, 1)
        ])  # fmt: skip

    async def after(self, place: int, most: int) -> list[Event]:
        """The next events after a place, in their order."""
        rows = await self._tx.rows(
            """select place, event_id, at, detail_type, source, name, envelope from event
               where account_id = :account_id and region = :region and place > :place order by place limit :most""",
            **self._scope, place=place, most=most,
        )  # fmt: skip
        return [self._event(row) for row in rows]

    async def kept(self) -> Kept:
        """The first and the last event that have their places."""
        row = await self._tx.row(
            """select
                 (select min(place) from event where account_id = :account_id and region = :region and place > 0) as a,
                 (select max(place) from event where account_id = :account_id and region = :region and place > 0) as z
            """,
            **self._scope,
        )
        return Kept((row and row["a"]) or 0, (row and row["z"]) or 0)

    async def mark(self, place: int) -> str | None:
        """The begin of the id of the event at a place; None if there is none."""
        event_id: str | None = await self._tx.value(
            "select event_id from event where account_id = :account_id and region = :region and place = :place",
            **self._scope, place=place,
        )  # fmt: skip
        return None if event_id is None else event_id[:8]

    async def end(self) -> Cursor:
        """After the last event."""
        place = (await self.kept()).last
        return Cursor(place, (await self.mark(place)) or "")

    async def before(self, at_ms: int) -> Cursor:
        """Before the first event of a time or later; the end if there is none."""
        place = await self._tx.value(
            """select min(place) from event
               where account_id = :account_id and region = :region and place > 0 and at >= :at""",
            **self._scope, at=at_ms,
        )  # fmt: skip
        if place is None:
            return await self.end()
        return Cursor(place - 1, (await self.mark(place - 1)) or "")

    def _event(self, row: Row) -> Event:
        return Event(
            **self._scope, event_id=row["event_id"], at_ms=row["at"], source=row["source"],
            detail_type=row["detail_type"], name=row["name"], envelope=row["envelope"], place=row["place"],
        )  # fmt: skip


async def some_pending(tx: Transaction) -> bool:
    """Whether events wait for their places."""
    return await tx.value("select 1 from event where place is null limit 1") is not None


async def give_places(tx: Transaction, most: int) -> list[tuple[str, str]]:
    """Give the next waiting events their places; (account id, region) of each. One transaction at a time does this.

    An event told after another was committed has the greater number, and when it can be seen, so can the other. So
    the order of numbers among what can be seen keeps to the order in which things happened to one resource.
    """
    await tx.lock("event places")
    rows = await tx.rows(
        """update event set place = fresh.place from (
             select waiting.number, row_number() over (
                 partition by waiting.account_id, waiting.region order by waiting.number
               ) + coalesce((
                 select max(placed.place) from event placed
                 where placed.account_id = waiting.account_id and placed.region = waiting.region and placed.place > 0
               ), 0) as place
             from (select number, account_id, region from event where place is null order by number limit :most) waiting
           ) fresh
           where event.number = fresh.number returning event.account_id, event.region""",
        most=most,
    )
    return [(row["account_id"], row["region"]) for row in rows]


async def oldest(tx: Transaction, after: int, most: int) -> Sequence[tuple[int, int]]:
    """(number, time) of the next events by number, of all accounts."""
    rows = await tx.rows(
        "select number, at from event where number > :after order by number limit :most", after=after, most=most
    )
    return [(row["number"], row["at"]) for row in rows]


async def prune(tx: Transaction, after: int, last: int) -> int:
    """Remove the events of a stretch of numbers; the newest of each account and region stays, to count on from."""
    return await tx.execute(
        """delete from event where number > :after and number <= :last and (place is null or place < (
             select max(newer.place) from event newer
             where newer.account_id = event.account_id and newer.region = event.region and newer.place > 0))""",
        after=after, last=last,
    )  # fmt: skip


class WebhookStore:
    """The webhooks of one account and region."""

    def __init__(self, tx: Transaction, account_id: str, region: str) -> None:
        self._tx = tx
        self._scope = {"account_id": account_id, "region": region}

    async def lock(self) -> None:
        """Their number stays as it is until the transaction ends, but for what it does itself."""
        await self._tx.lock("webhooks", *self._scope.values())

    async def count(self) -> int:
        """How many there are."""
        found: int = await self._tx.value(
            "select count(*) from webhook where account_id = :account_id and region = :region", **self._scope
        )
        return found

    async def add(self, webhook: Webhook) -> None:
        """A new webhook."""
        names = [each.name for each in fields(Webhook)]
        await self._tx.execute(
            f"insert into webhook ({_WEBHOOK}) values ({', '.join(f':{name}' for name in names)})",  # noqa: S608
            **{name: getattr(webhook, name) for name in names},
        )

    async def one(self, webhook_id: str) -> Webhook | None:
        """The webhook, or None."""
        row = await self._tx.row(
            f"""select {_WEBHOOK} from webhook
                where account_id = :account_id and region = :region and webhook_id = :webhook_id""",  # noqa: S608
            **self._scope, webhook_id=webhook_id,
        )  # fmt: skip
        return None if row is None else Webhook(**row)

    async def page(self, after: str, most: int) -> list[Webhook]:
        """The next webhooks by id."""
        rows = await self._tx.rows(
            f"""select {_WEBHOOK} from webhook where account_id = :account_id and region = :region
                and webhook_id > :after order by webhook_id limit :most""",  # noqa: S608
            **self._scope, after=after, most=most,
        )  # fmt: skip
        return [Webhook(**row) for row in rows]

    async def remove(self, webhook_id: str) -> bool:
        """Whether there was one."""
        return bool(
            await self._tx.execute(
                """delete from webhook
                   where account_id = :account_id and region = :region and webhook_id = :webhook_id""",
                **self._scope, webhook_id=webhook_id,
            )
        )  # fmt: skip

    async def change(self, webhook_id: str, now: int, **columns: Any) -> None:
        """Set columns (named by our own code); whoever delivers for it begins anew, without the failures so far."""
        columns |= {"updated_at": now, "failures": 0, "failing_since": None, "next_at": 0}
        await self._tx.execute(
            f"""update webhook set {", ".join(f"{name} = :{name}" for name in columns)}, generation = generation + 1
                where account_id = :account_id and region = :region and webhook_id = :webhook_id""",  # noqa: S608
            **self._scope, webhook_id=webhook_id, **columns,
        )  # fmt: skip


async def deliverable(tx: Transaction) -> list[Webhook]:
    """Webhooks of all accounts that are not disabled."""
    rows = await tx.rows(f"select {_WEBHOOK} from webhook where state <> :disabled", disabled=DISABLED)  # noqa: S608
    return [Webhook(**row) for row in rows]


async def still(tx: Transaction, webhook: Webhook) -> Webhook | None:
    """The webhook as it is now; None if it was changed or removed."""
    row = await tx.row(
        f"select {_WEBHOOK} from webhook where webhook_id = :webhook_id and generation = :generation",  # noqa: S608
        webhook_id=webhook.webhook_id, generation=webhook.generation,
    )  # fmt: skip
    return None if row is None else Webhook(**row)


async def hold(tx: Transaction, webhook: Webhook, holder: str, now: int, until: int) -> bool:
    """Take the webhook for one process, if no other has it."""
    return bool(
        await tx.execute(
            """update webhook set holder = :holder, held_until = :until
               where webhook_id = :webhook_id and generation = :generation
                 and (holder is null or holder = :holder or held_until < :now)""",
            webhook_id=webhook.webhook_id, generation=webhook.generation, holder=holder, now=now, until=until,
        )
    )  # fmt: skip


async def release(tx: Transaction, holder: str) -> None:
    """Let go of all that a process holds."""
    await tx.execute("update webhook set holder = null, held_until = null where holder = :holder", holder=holder)


async def passed(tx: Transaction, webhook: Webhook, holder: str, cursor: Cursor, missed: int) -> bool:
    """Events up to the cursor needed no delivery. False if the webhook was changed meanwhile, or another holds it."""
    return bool(
        await tx.execute(
            """update webhook set place = :place, mark = :mark, missed = :missed
               where webhook_id = :webhook_id and generation = :generation and holder = :holder""",
            webhook_id=webhook.webhook_id, generation=webhook.generation, holder=holder,
            place=cursor.place, mark=cursor.mark, missed=missed,
        )
    )  # fmt: skip


async def delivered(
    tx: Transaction, webhook: Webhook, holder: str, cursor: Cursor, missed: int, now: int, status: int, event_id: str
) -> bool:
    """The receiver has all up to the cursor. False if the webhook was changed meanwhile, or another holds it."""
    return bool(
        await tx.execute(
            """update webhook set place = :place, mark = :mark, missed = :missed, state = :active, failures = 0,
                 failing_since = null, next_at = 0, last_error = '', last_status = :status, last_success_at = :now,
                 last_event_id = :event_id
               where webhook_id = :webhook_id and generation = :generation and holder = :holder""",
            webhook_id=webhook.webhook_id, generation=webhook.generation, holder=holder,
            place=cursor.place, mark=cursor.mark, missed=missed, active=ACTIVE, status=status, now=now,
            event_id=event_id,
        )
    )  # fmt: skip


async def failed(
    tx: Transaction, webhook: Webhook, holder: str, now: int, failures: int, setback: Setback, status: int | None
) -> bool:
    """A delivery failed. False if the webhook was changed meanwhile, or another holds it."""
    return bool(
        await tx.execute(
            """update webhook set state = :state, failures = :failures,
                 failing_since = coalesce(failing_since, :now), next_at = :next_at, last_error = :error,
                 last_status = :status
               where webhook_id = :webhook_id and generation = :generation and holder = :holder""",
            webhook_id=webhook.webhook_id, generation=webhook.generation, holder=holder, now=now, failures=failures,
            state=setback.state, next_at=setback.next_at, error=setback.error, status=status,
        )
    )  # fmt: skip
