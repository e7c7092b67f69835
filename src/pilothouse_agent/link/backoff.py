"""How long to wait before the next try: exponential with full jitter, so that a fleet spreads out."""

import random
from dataclasses import dataclass, field


@dataclass
class Backoff:
    """The n-th wait is uniform in 0..min(cap, first * 2^n) seconds."""

    first: float
    cap: float
    tries: int = field(default=0, init=False)

    def next(self) -> float:
        """Seconds to wait now; the following wait may be longer."""
        limit = min(self.cap, self.first * 2.0 ** min(self.tries, 30))
        self.tries += 1
        return random.uniform(0.0, limit)  # noqa: S311 -- spreading load, not a secret

    def reset(self) -> None:
        """The last try worked."""
        self.tries = 0
