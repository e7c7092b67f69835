"""Delivering events to webhooks: one event after another for each webhook, many webhooks at once.

A webhook's place moves after its receiver has answered. A process that dies in between delivers that event again. A
process holds a webhook for HOLD_SECONDS at a time; when it dies, others take over when the time has passed, or at once
after its restart (`process.ended`).
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import msgspec
import structlog

from pilothouse.call import House
from pilothouse.capabilities.events import store
from pilothouse.capabilities.events.model import (
    DISABLED,
    Cursor,
    Event,
    Setback,
    Webhook,
    is_below,
    resumed,
    seal_context,
    setback,
)
from pilothouse.capabilities.events.ordering import ORDERED, SWEEP_SECONDS
from pilothouse.capabilities.events.patterns import parse
from pilothouse.capabilities.events.signing import signed_headers
from pilothouse.crypto.vault import SealBroken
from pilothouse.runtime.outbound import Refused
from pilothouse.runtime.waiting import wait
from pilothouse.storage import StorageUnavailable, Transaction

log = structlog.get_logger()

CHANGED = "webhook.changed"
"""A webhook was made or changed."""
LANES = 32
"""Webhooks that are delivered to at once."""
HOLD_SECONDS = 60
_RENEW_SECONDS = 20
"""A lane begins with more of its hold left than this: more than _LANE_SECONDS and one delivery take."""
_LANE_SECONDS = 5
"""After this a webhook gives its lane to others that wait."""
_SAVE_MS = 500
_PAGE = 50
_GATHER_SECONDS = 0.01
_GONE = 410


async def deliver(house: House) -> None:
    """Deliver for ever."""
    try:
        await Deliveries(house).run()
    finally:
        try:
            async with house.database.transaction() as tx:
                await store.release(tx, house.process_id)
        except StorageUnavailable as fault:  # then the holds run out by themselves
            log.warning("webhooks.storage_unavailable", error=str(fault))


async def post(house: House, webhook: Webhook, event_id: str, body: bytes) -> int:
    """Send one event; the status of the answer, which is 2xx. Raises Refused."""
    now = house.clock.millis()
    try:
        secrets = [await house.vault.opened(webhook.secret, seal_context(webhook.webhook_id))]
        if webhook.old_secret is not None and (webhook.old_until or 0) > now:
            secrets.append(await house.vault.opened(webhook.old_secret, seal_context(webhook.webhook_id)))
    except SealBroken as error:
        raise Refused("the webhook's secret does not open; give it a new one with RotateWebhookSecret") from error
    headers = {"content-type": "application/json", "user-agent": "pilothouse"}
    headers |= signed_headers(event_id, now // 1000, body, secrets)
    return await house.outbound.deliver(webhook.url, headers=headers, body=body)


class Deliveries:
    """The webhooks that this process delivers to."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._lanes: set[str] = set()
        self._free = asyncio.Event()
        self._turns: dict[str, int] = {}
        """When each webhook last had a lane."""
        self._seen: dict[tuple[str, int], Cursor] = {}
        """Past events that a webhook does not want, up to where nothing was written down."""

    async def run(self) -> None:
        """Look when something may be due. Without webhooks nobody waits for events, and they may stay unordered."""
        bus, clock = self._house.bus, self._house.clock
        async with asyncio.TaskGroup() as group:
            with bus.waiting(CHANGED) as changed:
                while True:
                    changed.take()
                    if not await self._start_due(group):
                        await wait(clock, changed.event, SWEEP_SECONDS)
                        continue
                    with bus.waiting(ORDERED) as ordered:
                        while await self._start_due(group):
                            await wait(clock, ordered.event, SWEEP_SECONDS, changed.event, self._free)
                            await clock.sleep(_GATHER_SECONDS)
                            for each in (ordered, changed):
                                each.take()
                            self._free.clear()

    async def _start_due(self, group: asyncio.TaskGroup) -> bool:
        """Give lanes to webhooks with something to deliver; whether there are webhooks at all."""
        now = self._house.clock.millis()
        ends: dict[tuple[str, str], int] = {}
        async with self._house.database.reading() as tx:
            webhooks = await store.deliverable(tx)
            for scope in {(each.account_id, each.region) for each in webhooks}:
                ends[scope] = (await store.EventStore(tx, *scope).kept()).last
        self._forget_gone(webhooks)
        webhooks.sort(key=lambda each: self._turns.get(each.webhook_id, 0))
        for each in webhooks:
            seen = self._seen.get((each.webhook_id, each.generation), each.cursor)
            idle = ends[each.account_id, each.region] == max(seen.place, each.place)
            theirs = not each.is_free_for(self._house.process_id, now)
            if idle or theirs or each.next_at > now or each.webhook_id in self._lanes or len(self._lanes) >= LANES:
                continue
            self._lanes.add(each.webhook_id)
            self._turns[each.webhook_id] = now
            group.create_task(self._lane(each), name=f"webhook {each.webhook_id}")
        return bool(webhooks)

    def _forget_gone(self, webhooks: Sequence[Webhook]) -> None:
        living = {(each.webhook_id, each.generation) for each in webhooks}
        for key in self._seen.keys() - living:
            del self._seen[key]  # in place: lanes hold the table
        ids = {webhook_id for webhook_id, _ in living}
        self._turns = {key: at for key, at in self._turns.items() if key in ids}

    async def _lane(self, webhook: Webhook) -> None:
        """A lane's failure ends this lane only; what it did not write down is done again."""
        try:
            held = await self._held(webhook)
            if held is not None:
                await _Lane(self._house, held, self._seen).run()
        except StorageUnavailable as fault:
            log.warning("webhooks.storage_unavailable", error=str(fault))
        except Exception:
            log.exception("webhooks.failed", webhook=webhook.webhook_id)
        finally:
            self._lanes.discard(webhook.webhook_id)
            self._free.set()

    async def _held(self, seen: Webhook) -> Webhook | None:
        """The webhook as it stands once this process holds it; None if another does, or it was changed.

        What a look saw may be old: since then a lane, here or in another process, may have delivered more.
        """
        now, process_id = self._house.clock.millis(), self._house.process_id
        async with self._house.database.reading() as tx:
            fresh = await store.still(tx, seen)
        if fresh is None or (fresh.holder == process_id and (fresh.held_until or 0) > now + _RENEW_SECONDS * 1000):
            return fresh
        async with self._house.database.transaction() as tx:
            if not await store.hold(tx, seen, process_id, now, now + HOLD_SECONDS * 1000):
                return None
            return await store.still(tx, seen)


class _Lane:
    """One webhook's deliveries for a while."""

    def __init__(self, house: House, webhook: Webhook, seen: dict[tuple[str, int], Cursor]) -> None:
        self._house = house
        self._webhook = webhook
        self._seen = seen
        self._key = (webhook.webhook_id, webhook.generation)
        self._pattern = parse(webhook.pattern)
        self._cursor = webhook.cursor
        self._missed = webhook.missed
        self._status = 0
        self._unsaved: Event | None = None
        """The last event that the receiver has and the row does not tell."""
        self._saved_at = house.clock.millis()

    async def run(self) -> None:
        """Deliver until nothing is left, the receiver refuses, or others shall have the lane."""
        until = self._house.clock.millis() + _LANE_SECONDS * 1000
        await self._resume()
        try:
            while True:
                async with self._house.database.reading() as tx:
                    page = await self._events(tx).after(self._cursor.place, _PAGE)
                for event in page:
                    if self._wants(event) and not await self._delivered(event):
                        return
                    self._cursor = event.cursor
                    if self._is_time_to_save() and not await self._save():
                        return
                    if self._house.clock.millis() >= until:  # a slow receiver must not outlast the hold
                        return
                if not await self._save(passed=len(page) == _PAGE):
                    return
                if len(page) < _PAGE:
                    return
        finally:
            await self._save()

    async def _resume(self) -> None:
        seen = self._seen.get(self._key)
        async with self._house.database.reading() as tx:
            events = self._events(tx)
            kept = await events.kept()
            found = resumed(self._cursor, kept, await events.mark(self._cursor.place))
        if found is None:
            self._missed += kept.beginning.place - self._cursor.place
            log.warning("webhooks.missed", webhook=self._webhook.webhook_id, missed=self._missed)
        elif found == self._cursor and seen is not None and found.place < seen.place <= kept.last:
            found = seen
        self._cursor = found or kept.beginning

    def _events(self, tx: Transaction) -> store.EventStore:
        return store.EventStore(tx, self._webhook.account_id, self._webhook.region)

    def _wants(self, event: Event) -> bool:
        if not is_below(self._webhook.path, event.name):
            return False
        return not self._webhook.pattern or self._pattern.matches(msgspec.json.decode(event.envelope))

    async def _delivered(self, event: Event) -> bool:
        """Whether the receiver took it; what came of a refusal is written down here."""
        try:
            self._status = await post(self._house, self._webhook, event.event_id, event.envelope.encode())
        except Refused as refused:
            await self._save()
            await self._refused(refused)
            return False
        self._unsaved = event
        return True

    async def _refused(self, refused: Refused) -> None:
        webhook, now = self._webhook, self._house.clock.millis()
        if self._status:  # it took something before, so its failures begin anew
            webhook = replace(webhook, failures=0, failing_since=None)
        failures = webhook.failures + 1
        chance = self._house.ids.random_bytes(1)[0] / 255
        came = setback(webhook, failures, now, chance, str(refused))
        if refused.status == _GONE:
            came = Setback(DISABLED, 0, f"{refused}: it wants no more; UpdateWebhook can enable the webhook again")
        log.info("webhooks.refused", webhook=webhook.webhook_id, failures=failures, status=refused.status)
        async with self._house.database.transaction() as tx:
            await store.failed(tx, webhook, self._house.process_id, now, failures, came, refused.status)

    def _is_time_to_save(self) -> bool:
        return self._unsaved is not None and self._house.clock.millis() - self._saved_at >= _SAVE_MS

    async def _save(self, *, passed: bool = False) -> bool:
        """Write down the place after deliveries, and with `passed` also without; False if the webhook was changed or
        another process holds it."""
        event, now, holder = self._unsaved, self._house.clock.millis(), self._house.process_id
        if event is None and not passed:
            self._seen[self._key] = self._cursor
            return True
        async with self._house.database.transaction() as tx:
            if event is None:
                same = await store.passed(tx, self._webhook, holder, self._cursor, self._missed)
            else:
                cursor = self._cursor_after(event)
                same = await store.delivered(
                    tx, self._webhook, holder, cursor, self._missed, now, self._status, event.event_id
                )
        self._unsaved, self._saved_at = None, now
        return same

    def _cursor_after(self, event: Event) -> Cursor:
        """The event may be newer than the cursor, where the lane ends right after its delivery."""
        return event.cursor if event.place > self._cursor.place else self._cursor
