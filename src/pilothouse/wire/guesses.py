"""Bad signatures: so many of an address, and then nothing that is not known to be good is looked at for a while.

Behind one address may stand a whole fleet and one bad neighbour, so the address's budget holds only for what might be a
guess. Looked at in any case are access keys that have signed well on this process, from wherever, and temporary
credentials, whose token proves by itself that they were made here. Either ends for one address with a budget of its
own, so a key that somebody there signs badly with is no way around.
"""

from collections import OrderedDict
from typing import Final

from pilothouse.errors import ThrottlingException
from pilothouse.runtime.clock import Clock
from pilothouse.runtime.metrics import THROTTLED
from pilothouse.runtime.peers import site_of

_REMEMBERED: Final = 10_000
"""Addresses, and keys of addresses, with failures; who failed longest ago is forgotten first."""
_GOOD_KEYS: Final = 65_536
_OF_A_KEY: Final = 10
"""A key's budget at one address is this part of the address's."""
_MINUTE: Final = 60_000


class Guesses:
    """Of one process, in memory."""

    def __init__(self, clock: Clock, per_minute: int) -> None:
        """`per_minute`: failures of an address, all of which may come at once; 0: as many as come."""
        self._clock = clock
        self._per_minute = per_minute
        self._of_address = _Budgets(per_minute)
        self._of_key = _Budgets(max(per_minute // _OF_A_KEY, 1))
        self._good: OrderedDict[str, None] = OrderedDict()

    def admit(self, peer: str, access_key_id: str, *, has_token: bool) -> None:
        """Whether the signature may be looked at. Raises ThrottlingException."""
        if not self._of_address.spent:
            return
        site, now = site_of(peer), self._clock.millis()
        if not self._of_address.is_spent(site, now):
            return
        if not has_token and access_key_id not in self._good:
            raise _throttled()
        if self._of_key.is_spent(_pair(site, access_key_id), now):
            raise _throttled()

    def failed(self, peer: str, access_key_id: str) -> None:
        """The key is unknown, or the signature is not made with its secret."""
        if self._per_minute:
            site, now = site_of(peer), self._clock.millis()
            self._of_address.spend(site, now)
            self._of_key.spend(_pair(site, access_key_id), now)

    def succeeded(self, access_key_id: str) -> None:
        """The key has signed well."""
        if access_key_id not in self._good:
            self._good[access_key_id] = None
            if len(self._good) > _GOOD_KEYS:
                self._good.popitem(last=False)


class _Budgets:
    """A budget for each name, which fills up within a minute."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.spent: OrderedDict[str, tuple[float, int]] = OrderedDict()
        """By name, the longest untouched first: what was spent, and when that was."""

    def is_spent(self, name: str, now: int) -> bool:
        found = self.spent.get(name)
        if found is None:
            return False
        left_over = self._at(found, now)
        if left_over <= 0:
            del self.spent[name]
        return left_over > self._most - 1

    def spend(self, name: str, now: int) -> None:
        found = self.spent.get(name)
        self.spent[name] = (min(1 + (0.0 if found is None else self._at(found, now)), self._most), now)
        self.spent.move_to_end(name)
        if len(self.spent) > _REMEMBERED:
            self.spent.popitem(last=False)

    def _at(self, found: tuple[float, int], now: int) -> float:
        """What of the spent has not come back yet."""
        spent, at = found
        return max(spent - (now - at) * self._most / _MINUTE, 0.0)


def _pair(site: str, access_key_id: str) -> str:
    return f"{site} {access_key_id}"


def _throttled() -> ThrottlingException:
    THROTTLED.labels("signatures").inc()
    return ThrottlingException("Rate exceeded")
