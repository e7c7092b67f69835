"""TLS handshakes: begun a few in each turn of the event loop, so many at once, and each address in its turn.

A handshake costs about as much as ten calls. When a fleet comes back at once, or somebody plays it, calls go on beside.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

_PER_TURN: Final = 2
_SHARE: Final = 4
"""An address may have this part of the handshakes in progress."""

Begin = Callable[[], bool]
"""Begins a handshake; False if its client has gone meanwhile."""


class Handshakes:
    """Of one process, for all its listeners together."""

    def __init__(self, loop: asyncio.AbstractEventLoop, most: int) -> None:
        """`most` at once; 0: as many as come."""
        self._loop = loop
        self._most = most
        self._share = max(most // _SHARE, 1)
        self._waiting: dict[str, deque[Begin]] = {}
        self._ready: dict[str, None] = {}
        """Addresses with some waiting and less than their share in progress, in their turn."""
        self._running: dict[str, int] = {}
        self._total = 0
        self._is_scheduled = False

    def add(self, address: str, begin: Begin) -> None:
        """Begin it when its turn has come; `done` is then to be called once."""
        self._waiting.setdefault(address, deque()).append(begin)
        self._line_up(address)

    def done(self, address: str) -> None:
        """One has ended, well or not."""
        self._total -= 1
        left = self._running[address] - 1
        if left:
            self._running[address] = left
        else:
            del self._running[address]
        self._line_up(address)

    def _line_up(self, address: str) -> None:
        if address in self._waiting and (not self._most or self._running.get(address, 0) < self._share):
            self._ready.setdefault(address)
        if self._ready and not self._is_scheduled and not self._is_full():
            self._is_scheduled = True
            self._loop.call_soon(self._turn)

    def _is_full(self) -> bool:
        return bool(self._most) and self._total >= self._most

    def _turn(self) -> None:
        self._is_scheduled = False
        begun = 0
        while self._ready and begun < _PER_TURN and not self._is_full():
            address = next(iter(self._ready))
            del self._ready[address]
            waiting = self._waiting[address]
            begin = waiting.popleft()
            if not waiting:
                del self._waiting[address]
            self._total += 1
            self._running[address] = self._running.get(address, 0) + 1
            if begin():
                begun += 1
                self._line_up(address)
            else:
                self.done(address)
        if self._ready and not self._is_scheduled and not self._is_full():
            self._is_scheduled = True
            self._loop.call_soon(self._turn)
