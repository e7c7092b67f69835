"""Events: what happened to resources, for those who want to react: a stream, and signed webhooks.

Owns the tables event and webhook. Others tell an event with `house.tell(tx, "event", account_id=, region=, source=,
detail_type=, resources=, detail=)` in the transaction that made it true, or many with `"events"` and a list `each=` of
the facts that differ; nothing of a secret value may be in them.
"""

from collections.abc import Mapping
from typing import Any

from pilothouse.call import Capability, House, Lasting
from pilothouse.capabilities.events import jobs, operations
from pilothouse.capabilities.events.deliveries import deliver
from pilothouse.capabilities.events.model import Event, made_together
from pilothouse.capabilities.events.ordering import ORDERED, WRITTEN, keep_order
from pilothouse.capabilities.events.patterns import MalformedPattern
from pilothouse.capabilities.events.patterns import parse as parse_pattern
from pilothouse.capabilities.events.sealed import SEALED
from pilothouse.capabilities.events.signing import secret_bytes, signed_headers
from pilothouse.capabilities.events.store import EventStore, release, scope_key
from pilothouse.capabilities.events.streaming import stream_events
from pilothouse.storage import Transaction

__all__ = ["CAPABILITY", "MalformedPattern", "parse_pattern", "secret_bytes", "signed_headers"]


async def _told(house: House, tx: Transaction, facts: Mapping[str, Any]) -> None:
    """Write the event in the teller's own transaction; readers are woken once it is durable."""
    event = Event.made(house.ids.uuid(), house.clock.millis(), **facts)
    EventStore(tx, event.account_id, event.region).add(event)
    _wake_readers(house, tx, event.account_id, event.region)


async def _told_many(house: House, tx: Transaction, facts: Mapping[str, Any]) -> None:
    """The same for many events of one account and region: `each` has the facts that differ."""
    store = EventStore(tx, facts["account_id"], facts["region"])
    now = house.clock.millis()
    told = made_together(now, [(house.ids.uuid(), each) for each in facts["each"]], **_but(facts, "each"))
    if told:
        await store.add_all(now, facts["source"], facts["detail_type"], told)
        _wake_readers(house, tx, facts["account_id"], facts["region"])


def _but(facts: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {each: value for each, value in facts.items() if each != name}


def _wake_readers(house: House, tx: Transaction, account_id: str, region: str) -> None:
    key = scope_key(account_id, region)
    if tx.serial:
        tx.after_commit(lambda: house.bus.wake(ORDERED, key))
    else:  # this process orders what it wrote
        tx.after_commit(lambda: house.bus.wake_here(WRITTEN, key))


async def _ended(house: House, tx: Transaction, facts: Mapping[str, Any]) -> None:
    """Others may deliver at once to the webhooks of a process that is gone."""
    await release(tx, facts["process_id"])


CAPABILITY = Capability.of(
    "events",
    operations,
    jobs,
    sealed=SEALED,
    listeners={"event": _told, "events": _told_many, "process.ended": _ended},
    lasting=(Lasting(name="events.order", run=keep_order, local=True), Lasting(name="events.webhooks", run=deliver)),
    streams=(stream_events,),
)
