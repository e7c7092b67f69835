"""Reports on one association wait for their turn before they take a connection to the database.

One association is changed by one transaction at a time. The nodes of a large one report all at once, and would hold
every connection while they wait for each other; what else is written in the meantime had to wait behind all of them.
Where all writers share one connection there is nothing to hold, and many of them share a commit: there nobody waits.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final
from weakref import WeakKeyDictionary

from pilothouse.call import Call, Shape
from pilothouse.crypto.vault import Vault


@dataclass(slots=True)
class _Turn:
    """Of one association in this process."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    wanted: int = 0
    """By how many, the one whose turn it is among them."""


_turns: Final[WeakKeyDictionary[Vault, dict[str, _Turn]]] = WeakKeyDictionary()


@asynccontextmanager
async def in_turn(call: Call, request: Shape) -> AsyncIterator[None]:
    """The turn of the association that the request names; who came first has it first."""
    if call.house.database.engine == "sqlite":
        yield
        return
    turns = _turns.setdefault(call.house.vault, {})
    name = request["AssociationId"].lower()
    turn = turns.setdefault(name, _Turn())
    turn.wanted += 1
    try:
        async with turn.lock:
            yield
    finally:
        turn.wanted -= 1
        if not turn.wanted:
            del turns[name]
