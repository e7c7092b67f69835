"""GetParameter by well-behaved callers, alone and beside a flood: how much longer do they wait?"""

import contextlib
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.get_parameter import client, signed
from bench.load import Rate, drive
from bench.processes import Measured, pilothouse

CONNECTIONS = 16
_SETTLES = 2.0
"""Seconds until all of the flood is there."""
KINDS = (
    "slow heads", "silent TLS", "unread answers", "1 MiB bodies", "16 MiB bodies", "bad signatures", "TLS handshakes"
)  # fmt: skip


@contextlib.contextmanager
def flooded(server: Measured, *kinds: str) -> Iterator[None]:
    """The flood runs within the block; of all kinds if none is named."""
    command = [sys.executable, "-m", "bench.flood", str(server.port), str(server.tls_port), *kinds]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        time.sleep(_SETTLES)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def measure(rounds: int, seconds: float, *, kinds: bool = False, database: str = "") -> dict[str, float]:
    """Alone and beside in turn, `rounds` times: medians, and ratios taken round by round; with `kinds` each alone."""
    options = ("--database", database) if database else ()
    figures: dict[str, float] = {}
    with contextlib.ExitStack() as stack:
        data = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server, values = stack.enter_context(pilothouse(data, *options))
        client(values, "ssm").put_parameter(Name="/bench/plain", Value="some value", Type="String")

        def called() -> Rate:
            members = {"Name": "/bench/plain"}
            request = signed(values["AWS_ENDPOINT_URL"], values, "AmazonSSM.GetParameter", members)
            found = drive(server.port, request, connections=CONNECTIONS, seconds=seconds)
            if found.failures or not found.answers:
                raise SystemExit(f"GetParameter failed {found.failures} times of {found.answers}")
            return found

        for kind in KINDS if kinds else ((),):
            pairs: list[tuple[Rate, Rate]] = []
            for _ in range(rounds):
                alone = called()
                with flooded(server, *([kind] if isinstance(kind, str) else [])):
                    pairs.append((alone, called()))
            figures |= _figures(pairs, f"{kind}: " if isinstance(kind, str) else "")
        figures["resident MiB"] = server.resident_mib()
    return figures


def _figures(pairs: list[tuple[Rate, Rate]], prefix: str) -> dict[str, float]:
    def median(share: float, which: int) -> float:
        return statistics.median(pair[which].wait_ms(share) for pair in pairs)

    def ratio(share: float) -> float:
        return statistics.median(beside.wait_ms(share) / alone.wait_ms(share) for alone, beside in pairs)

    found: dict[str, Any] = {}
    for name, share in (("median", 0.5), ("p99", 0.99)):
        found[f"{prefix}{name} ms alone"] = median(share, 0)
        found[f"{prefix}{name} ms beside"] = median(share, 1)
        found[f"{prefix}{name}, ratio"] = ratio(share)
    return found
