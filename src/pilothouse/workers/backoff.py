"""How long a worker's place stays empty after its end."""

from typing import Final

FIRST_SECONDS: Final = 0.5
MOST_SECONDS: Final = 30.0
STEADY_SECONDS: Final = 60.0
"""A worker that lived this long was well: what ended it has nothing to do with ends before."""


class Backoff:
    """Of one place. The first end costs no time; those that follow soon cost twice as much each time."""

    def __init__(self) -> None:
        self._next = 0.0

    def after(self, lived: float) -> float:
        """Seconds until the next worker, after one that lived so long."""
        if lived >= STEADY_SECONDS:
            self._next = 0.0
        seconds = self._next
        self._next = min(max(2 * seconds, FIRST_SECONDS), MOST_SECONDS)
        return seconds
