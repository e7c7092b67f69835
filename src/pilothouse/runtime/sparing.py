"""Saying something at most so often about each of many, and how often it was left unsaid."""

from collections import OrderedDict
from dataclasses import dataclass

from pilothouse.runtime.clock import Clock

_KEYS = 10_000


@dataclass(slots=True)
class _Said:
    began_at: int
    count: int = 0
    unsaid: int = 0


class Sparing:
    """Bounds by key, and for all keys together, in windows of time."""

    def __init__(self, clock: Clock, *, each: int, within_ms: int, together: int, minute_ms: int = 60_000) -> None:
        """`each`: so often for one key `within_ms`; `together`: so often for all keys in a minute."""
        self._clock = clock
        self._each, self._within = each, within_ms
        self._together, self._minute = together, minute_ms
        self._said: OrderedDict[str, _Said] = OrderedDict()
        self._all = _Said(0)

    def may_say(self, key: str) -> int | None:
        """None if it stays unsaid now; else how often it stayed unsaid since it was said last."""
        now = self._clock.millis()
        if now - self._all.began_at >= self._minute:
            self._all = _Said(now)
        said = self._said.get(key)
        if said is None or now - said.began_at >= self._within:
            said = self._said[key] = _Said(now, unsaid=0 if said is None else said.unsaid)
            while len(self._said) > _KEYS:
                self._said.popitem(last=False)
        self._said.move_to_end(key)
        if said.count >= self._each or self._all.count >= self._together:
            said.unsaid += 1
            return None
        said.count += 1
        self._all.count += 1
        unsaid, said.unsaid = said.unsaid, 0
        return unsaid
