"""Times as the protocol writes them: UTC, milliseconds, ISO 8601 with Z."""

import time


def now_ms() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def iso(milliseconds: int) -> str:
    """`2026-11-23T17:03:41.127Z`."""
    whole = time.gmtime(milliseconds // 1000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", whole) + f".{milliseconds % 1000:03d}Z"


def amz_date(seconds: float | None = None) -> str:
    """`20261123T170341Z`, the form signatures use."""
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(time.time() if seconds is None else seconds))
