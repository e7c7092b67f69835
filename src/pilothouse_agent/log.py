"""Log lines: one event per line on stderr, ids first. Callers pass ids, counts and reasons, never
parameter values, script text, output or credentials.
"""

import contextlib
import json
import re
import sys
import time

_PLAIN = re.compile(r"[A-Za-z0-9_.:/@+-]+\Z")


def event(name: str, /, level: str = "info", **fields: object) -> None:
    """Write one line: time, level, event name, then fields in the order given."""
    now = time.time()
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now * 1000) % 1000:03d}Z"
    parts = [stamp, level, name]
    parts += [f"{key}={_readable(value)}" for key, value in fields.items() if value is not None]
    with contextlib.suppress(OSError):  # a log that cannot be written must not end what it tells of
        print(" ".join(parts), file=sys.stderr, flush=True)


def _readable(value: object) -> str:
    """Text on one line; whatever could break the line or pose as another field is quoted."""
    text = f"{value:.3f}" if isinstance(value, float) else str(value)
    return text if _PLAIN.match(text) else json.dumps(text[:500])
