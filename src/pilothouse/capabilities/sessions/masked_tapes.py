"""Recordings without known values: what is asked for is replaced before anything of it is written.

The values are those of now, asked for in the transaction that records, so a value that was changed counts from the
commit of its change on. Those known before stay known: they may still be shown.
"""

import json
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import structlog

from pilothouse.call import House
from pilothouse.capabilities.sessions.masking import Masks
from pilothouse.capabilities.sessions.model import Session
from pilothouse.capabilities.sessions.tapes import TapeStore
from pilothouse.gateway.session_keeper import Tape, TapeEvent, Terms
from pilothouse.known_values import EVENT, Wanted
from pilothouse.storage import Transaction

log = structlog.get_logger()

_LISTS: Final = 64
"""Lists of names whose values a process remembers."""
_VALUES: Final = 4000
"""Values of one list that are remembered; the longest known go first."""
_TRY_AGAIN_MS: Final = 60_000


@dataclass(slots=True)
class _Known:
    """The values of one list."""

    values: OrderedDict[str, Sequence[bytes]] = field(default_factory=OrderedDict, repr=False)
    masks: Masks = field(default_factory=lambda: Masks(()))
    unreadable: dict[str, int] = field(default_factory=dict, repr=False)
    """And when that was found."""


class Masker:
    """Writes recordings for a process, without the values that they must not show."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, str, str], _Known] = OrderedDict()

    async def add(self, house: House, tx: Transaction, tapes: Sequence[Tape]) -> None:
        """Record what came."""
        store = TapeStore(tx, house.vault)
        if any(tape.terms.masks for tape in tapes):
            await store.lock(sorted({tape.terms.session_id for tape in tapes}))
            tapes = [await self._masked(house, tx, store, tape) if tape.terms.masks else tape for tape in tapes]
        await store.add(tapes)

    async def _masked(self, house: House, tx: Transaction, store: TapeStore, tape: Tape) -> Tape:
        masks, session_id = await self.masks(house, tx, tape.terms), tape.terms.session_id
        before = await store.held(session_id)
        held, events = dict(before), list[TapeEvent]()
        for event in tape.events:
            if event.kind in ("o", "i"):
                shown, held[event.kind] = masks.feed(held.get(event.kind, b""), event.data)
                events += [event._replace(data=shown)] if shown else []
            else:
                events.append(event)
        if held != before:
            await store.hold(session_id, held)
        return replace(tape, events=events)

    async def masks(self, house: House, tx: Transaction, terms: Terms) -> Masks:
        """What is not shown, as it is in this transaction."""
        place = terms.account_id, terms.region, terms.masks
        known = self._known.setdefault(place, _Known())
        self._known.move_to_end(place)
        if len(self._known) > _LISTS:
            self._known.popitem(last=False)
        now = house.clock.millis()
        known.unreadable = {each: at for each, at in known.unreadable.items() if now - at < _TRY_AGAIN_MS}
        wanted = Wanted(
            account_id=terms.account_id,
            region=terms.region,
            names=json.loads(terms.masks),
            known=known.values.keys() | known.unreadable.keys(),
        )
        await house.tell(tx, EVENT, wanted=wanted)
        for value_id, why in wanted.unreadable.items():
            log.warning("session.value_unreadable", account_id=terms.account_id, value_id=value_id, reason=why)
            known.unreadable[value_id] = now
        if wanted.given:
            known.values |= wanted.given
            while len(known.values) > max(_VALUES, len(wanted.there)):
                known.values.popitem(last=False)
            known.masks = Masks(value for values in known.values.values() for value in values)
        return known.masks


async def finish(house: House, tx: Transaction, session: Session) -> bool:
    """Write what is held of an ended session's recording; whether there was anything."""
    store = TapeStore(tx, house.vault)
    await store.lock([session.session_id])
    held = await store.held(session.session_id)
    if not held:
        return False
    masks, at = Masks(()), session.ended_at or session.started_at
    terms = Terms(
        session_id=session.session_id, account_id=session.account_id, region=session.region, node_id=session.node_id,
        began_at=session.started_at,
    )  # fmt: skip
    events = [TapeEvent(at, "i" if kind == "i" else "o", masks.rest(data)) for kind, data in held.items() if data]
    await store.add([Tape(terms, events)])
    await store.hold(session.session_id, {})
    return True
