"""How long to wait before something is tried again that another machine did not take."""

from typing import Final

_MINUTE_MS: Final = 60_000
_HOUR_MS: Final = 60 * _MINUTE_MS

GIVE_UP_MS: Final = 24 * _HOUR_MS
"""After failing this long it is tried each hour only."""


def is_given_up(since: int, now: int) -> bool:
    """Whether it has failed for so long, from `since` on, that there is little hope."""
    return now - since >= GIVE_UP_MS


def next_try(failures: int, since: int, now: int, chance: float) -> int:
    """When to try again, in epoch milliseconds. `failures`: in a row; `chance`: random, from 0 to 1.

    After 1, 2, 4 … seconds, 10 minutes at most, each shortened by chance down to a half; an hour once it is given up.
    """
    wait_ms = _HOUR_MS if is_given_up(since, now) else min(1000 << min(failures - 1, 10), 10 * _MINUTE_MS)
    return now + int(wait_ms * (1 - chance / 2))
