"""Fair shares: who has many calls in work at once leaves room for the others.

Nobody is held back who is alone, or while there is room. Only when as many calls are in work as the setting says does a
principal with more than its share get no further one; its client asks again a little later, as all AWS SDKs do.
"""

from typing import Final

from pilothouse.errors import ThrottlingException
from pilothouse.runtime.metrics import THROTTLED

_LEAST: Final = 4
"""Calls that a principal may have in work however many others there are."""
NODE: Final = 32
"""Calls that a node may have in work. Those of nodes wait for work mostly, and are no load that is to be shared."""


class Shares:
    """The calls that one process has in work, by principal."""

    def __init__(self, most: int) -> None:
        """`most`: calls in work from which on shares count; 0: never."""
        self._most = most
        self._accounts: dict[str, int] = {}
        self._nodes: dict[str, int] = {}
        self._total = 0

    def take(self, who: str, *, is_node: bool) -> None:
        """One more call of a principal. Raises ThrottlingException."""
        if not self._most:
            return
        if is_node:
            own = self._nodes.get(who, 0)
            if own >= NODE:
                raise _throttled()
            self._nodes[who] = own + 1
            return
        own = self._accounts.get(who, 0)
        if self._total >= self._most and own >= _LEAST:
            others = len(self._accounts) - 1
            if others and own >= self._most // (others + 1):
                raise _throttled()
        self._accounts[who] = own + 1
        self._total += 1

    def free(self, who: str, *, is_node: bool) -> None:
        """The call has its answer."""
        if not self._most:
            return
        held = self._nodes if is_node else self._accounts
        left = held[who] - 1
        if left:
            held[who] = left
        else:
            del held[who]
        if not is_node:
            self._total -= 1


def _throttled() -> ThrottlingException:
    THROTTLED.labels("shares").inc()
    return ThrottlingException("Rate exceeded")
