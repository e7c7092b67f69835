"""Guessing is slow: failed attempts to prove who one is make the next ones wait, on all processes alike.

Counted are a name from an address, a name, and an address. Each attempt is counted before it is looked at, so that
attempts at the same time do not slip through, and a good one is taken back. The wait for a name alone is short, and
there is none for an address from which the name has signed in: nobody locks others out. Names that do not exist count
as others do.
"""

import hmac
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from pilothouse.call import House, job
from pilothouse.capabilities.access.login_model import TooManyAttemptsException
from pilothouse.capabilities.access.login_store import AttemptStore
from pilothouse.runtime.peers import site_of

_FORGIVEN_MS: Final = 3_600_000
_KEPT_MS: Final = 24 * 3_600_000
_KNOWN_MS: Final = 30 * 24 * 3_600_000
_AT_ONCE: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Limit:
    free: int
    """Failures before there is a wait."""
    first: int
    longest: int
    """Seconds; each failure doubles the wait."""

    def wait(self, failures: int) -> int:
        """Seconds after the last of so many failures."""
        over = failures - self.free
        return 0 if over < 0 else min(self.longest, self.first << min(over, 12))


_PAIR: Final = _Limit(free=5, first=15, longest=900)
_NAME: Final = _Limit(free=30, first=5, longest=60)
_ADDRESS: Final = _Limit(free=60, first=5, longest=300)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One that was let, and is counted as failed until it is said to be good."""

    house: House
    pair: str
    name: str
    address: str

    async def good(self) -> None:
        """Take it back with the failures of the name; the address is known for the name from now on."""
        now = self.house.clock.millis()
        async with self.house.database.transaction() as tx:
            store = AttemptStore(tx)
            for key in self._keys:
                failures, _, _ = await store.counted(key)
                left = max(failures - 1, 0) if key == self.address else 0
                await store.count(key, left, now, now if key == self.pair else 0)

    async def undecided(self) -> None:
        """Take this one back alone: nothing was wrong, and something is still missing."""
        async with self.house.database.transaction() as tx:
            store = AttemptStore(tx)
            for key in self._keys:
                failures, last_at, good_at = await store.counted(key)
                await store.count(key, max(failures - 1, 0), last_at, good_at)

    @property
    def _keys(self) -> list[str]:
        return sorted(filter(None, (self.pair, self.name, self.address)))


async def begin_attempt(house: House, name: str, address: str) -> Attempt:
    """Count an attempt of a name, empty where none is said. Raises TooManyAttemptsException."""
    address = site_of(address)
    attempt = Attempt(
        house=house,
        pair=_hidden(house, "pair", name, address) if name else "",
        name=_hidden(house, "name", name) if name else "",
        address=_hidden(house, "address", address),
    )
    limits = {attempt.pair: _PAIR, attempt.name: _NAME, attempt.address: _ADDRESS}
    limits.pop("", None)
    now = house.clock.millis()
    async with house.database.transaction() as tx:
        store = AttemptStore(tx)
        found = {key: await store.counted(key) for key in sorted(limits)}
        known = bool(attempt.pair) and found[attempt.pair][2] > now - _KNOWN_MS
        wait = 0
        for key, (failures, last_at, good_at) in found.items():
            counts = 0 if now - last_at > _FORGIVEN_MS else failures
            if not (known and key == attempt.name):
                wait = max(wait, last_at + limits[key].wait(counts) * 1000 - now)
            await store.count(key, counts + 1, now, good_at)
        if wait > 0:
            raise TooManyAttemptsException(-(-wait // 1000))
    return attempt


def _hidden(house: House, *parts: str) -> str:
    key = house.vault.subkey("sign-in attempts")
    return hmac.new(key, "\0".join(parts).encode(), "sha256").hexdigest()


@job("access.sign_in_attempts", every=timedelta(minutes=10))
async def forget_attempts(house: House) -> None:
    """Those of long ago."""
    now = house.clock.millis()
    async with house.database.transaction() as tx:
        await AttemptStore(tx).forget(now - _KEPT_MS, now - _KNOWN_MS, _AT_ONCE)
