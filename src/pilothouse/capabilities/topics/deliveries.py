"""Delivering to subscribers: one message after another for each of them, many subscribers at once.

What is to be delivered are rows, which go after the receiver has answered; a process that dies in between delivers them
again. A process holds a subscription for HOLD_SECONDS at a time; when it dies, others take over when the time has
passed, or at once after its restart (`process.ended`).
"""

import asyncio
from dataclasses import replace
from typing import Final

import structlog

from pilothouse.call import House
from pilothouse.capabilities.topics import queue_store, store
from pilothouse.capabilities.topics.bodies import Stamp, post_of
from pilothouse.capabilities.topics.model import (
    TOKEN_MS,
    UNSUBSCRIBED,
    Delivery,
    Subscription,
    setback,
)
from pilothouse.capabilities.topics.signing import Signer, signer_of
from pilothouse.capabilities.topics.store import TopicStore
from pilothouse.capabilities.topics.tokens import token_of
from pilothouse.crypto.vault import SealBroken
from pilothouse.runtime.outbound import Refused
from pilothouse.runtime.waiting import wait
from pilothouse.storage import StorageUnavailable

log = structlog.get_logger()

QUEUED: Final = "topic.queued"
"""Something is to be delivered."""
LANES: Final = 32
"""Subscriptions that are delivered to at once."""
HOLD_SECONDS: Final = 60
SWEEP_SECONDS: Final = 1.0
_LANE_SECONDS: Final = 5
"""After this a subscription gives its lane to others that wait; with one delivery more it is far below the hold."""
_SAVE_MS: Final = 500
_PAGE: Final = 20


async def deliver(house: House) -> None:
    """Deliver for ever."""
    try:
        await Deliveries(house).run()
    finally:
        try:
            async with house.database.transaction() as tx:
                await store.release(tx, house.process_id)
        except StorageUnavailable as fault:  # then the holds run out by themselves
            log.warning("topics.storage_unavailable", error=str(fault))


class Deliveries:
    """The subscriptions that this process delivers to."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._lanes: set[str] = set()
        self._free = asyncio.Event()
        self._turns: dict[str, int] = {}
        """When each subscription that waits last had a lane."""
        self._signer: Signer | None = None
        self._making = asyncio.Lock()

    async def run(self) -> None:
        """Look when something may be due."""
        async with asyncio.TaskGroup() as group:
            with self._house.bus.waiting(QUEUED) as queued:
                while True:
                    queued.take()
                    self._free.clear()
                    await self._start_due(group)
                    await wait(self._house.clock, queued.event, SWEEP_SECONDS, self._free)

    async def _start_due(self, group: asyncio.TaskGroup) -> None:
        now = self._house.clock.millis()
        try:
            async with self._house.database.reading() as tx:
                found = await store.due(tx, self._house.process_id, now)
        except StorageUnavailable as fault:
            log.warning("topics.storage_unavailable", error=str(fault))
            return
        waiting = {each.subscription_id for each in found}
        self._turns = {key: at for key, at in self._turns.items() if key in waiting}
        for each in sorted(found, key=lambda one: self._turns.get(one.subscription_id, 0)):
            if each.subscription_id in self._lanes or len(self._lanes) >= LANES:
                continue
            self._lanes.add(each.subscription_id)
            self._turns[each.subscription_id] = now
            group.create_task(self._lane(each), name=f"subscription {each.subscription_id}")

    async def _lane(self, seen: Subscription) -> None:
        """A lane's failure ends this lane only; what it did not write down is done again."""
        house = self._house
        try:
            now = house.clock.millis()
            async with house.database.transaction() as tx:
                held = await store.hold(tx, seen, house.process_id, now, now + HOLD_SECONDS * 1000)
            if held is not None:
                await _Lane(house, held, await self._signed_by()).run()
        except (StorageUnavailable, SealBroken) as fault:
            log.warning("topics.not_delivered", subscription=seen.subscription_id, error=str(fault))
            await house.clock.sleep(SWEEP_SECONDS)
        except Exception:
            log.exception("topics.failed", subscription=seen.subscription_id)
            await house.clock.sleep(SWEEP_SECONDS)
        finally:
            self._lanes.discard(seen.subscription_id)
            self._free.set()

    async def _signed_by(self) -> Signer:
        async with self._making:
            if self._signer is None or self._signer.until <= self._house.clock.millis():
                self._signer = await signer_of(self._house)
            return self._signer


class _Lane:
    """One subscription's deliveries for a while."""

    def __init__(self, house: House, held: Subscription, signer: Signer) -> None:
        self._house = house
        self._held = held
        self._signer = signer
        self._version = "1"
        self._taken: list[Delivery] = []
        """What the receiver has and the rows do not tell."""
        self._status = 0
        self._saved_at = house.clock.millis()

    async def run(self) -> None:
        """Deliver until nothing is left, the receiver refuses, or others shall have the lane."""
        clock = self._house.clock
        until = clock.millis() + _LANE_SECONDS * 1000
        while True:
            async with self._house.database.reading() as tx:
                held = self._held
                topic = await TopicStore(tx, held.account_id, held.region).topic(held.topic)
                page = await queue_store.next_of(tx, self._house.vault, held, _PAGE)
            if topic is None or not page:
                return
            self._version = topic.signature_version or "1"
            try:
                for each in page:
                    if not await self._delivered(each):
                        return
                    if clock.millis() >= until:
                        return
                    if clock.millis() - self._saved_at >= _SAVE_MS and not await self._save():
                        return
            finally:
                same = await self._save()
            if not same:
                return

    async def _delivered(self, delivery: Delivery) -> bool:
        """Whether the next may have its turn; what came of a refusal is written down here."""
        held = self._held
        post = post_of(held, delivery, self._stamp(delivery))
        try:
            self._status = await self._house.outbound.deliver(held.endpoint, headers=post.headers, body=post.body)
        except Refused as refused:
            await self._save()
            return await self._refused(delivery, refused)
        self._taken.append(delivery)
        return True

    async def _refused(self, delivery: Delivery, refused: Refused) -> bool:
        held, now = self._held, self._house.clock.millis()
        if self._status:  # it took something before, so its failures begin anew
            held = replace(held, failures=0, failing_since=None)
        failures = held.failures + 1
        chance = self._house.ids.random_bytes(1)[0] / 255
        came = setback(held, delivery, failures, now, chance, str(refused), refused.status)
        log.info("topics.refused", subscription=held.subscription_id, failures=failures, status=refused.status)
        async with self._house.database.transaction() as tx:
            if came.bad:
                await queue_store.refused(tx, delivery)
            if came.drops:
                await queue_store.done(tx, [delivery])
            await store.failed(tx, held, now, failures, came, refused.status)
        return False

    async def _save(self) -> bool:
        """Write down what the receiver has; False if the subscription was changed or another process holds it."""
        taken, self._taken = self._taken, []
        if not taken:
            return True
        now = self._saved_at = self._house.clock.millis()
        async with self._house.database.transaction() as tx:
            await queue_store.done(tx, taken)
            return await store.delivered(tx, self._held, now, self._status)

    def _stamp(self, delivery: Delivery) -> Stamp:
        held, version = self._held, self._version
        begun = held.left_at if delivery.kind == UNSUBSCRIBED and held.left_at is not None else held.asked_at
        return Stamp(
            server=self._house.settings.topics.url or held.server,
            certificate_path=self._signer.certificate_path,
            version=version,
            sign=lambda text: self._signer.signature(text, version),
            token=token_of(self._house, held.subscription_id, begun + TOKEN_MS),
        )
