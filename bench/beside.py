"""GetParameter by well-behaved callers, alone and beside a flood: how much longer do they wait?"""

import contextlib
import json
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
from bench.processes import pilothouse

CONNECTIONS = 16
_SETTLES = 2.0
"""Seconds until all of the flood is there."""
KINDS = (
    "slow heads", "silent TLS", "unread answers", "1 MiB bodies", "16 MiB bodies", "bad signatures", "TLS handshakes"
)  # fmt: skip


@contextlib.contextmanager
def flooded(port: int, tls_port: int, *kinds: str) -> Iterator[dict[str, float]]:
    """The flood runs within the block, of all kinds if none is named; then it says how often it did something."""
    began, said = time.perf_counter(), {"times": 0.0}
    command = [sys.executable, "-m", "bench.flood", str(port), str(tls_port)]
    processes = [
        subprocess.Popen([*command, kind], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) for kind in kinds or KINDS
    ]
    try:
        time.sleep(_SETTLES)
        yield said
    finally:
        for process in processes:
            process.send_signal(signal.SIGTERM)
        for process in processes:
            said["times"] += sum(json.loads(process.communicate(timeout=20)[0] or b"{}").values())
        said["times"] /= time.perf_counter() - began


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

        for kind in KINDS if kinds else ("",):
            pairs: list[tuple[Rate, Rate]] = []
            did = []
            for _ in range(rounds):
                alone = called()
                with flooded(server.port, server.tls_port, *([kind] if kind else [])) as flood:
                    pairs.append((alone, called()))
                did.append(flood["times"])
            prefix = f"{kind}: " if kind else ""
            figures |= _figures(pairs, prefix)
            figures[f"{prefix}refused or cut off, per second"] = statistics.median(did)
        figures["resident MiB"] = server.resident_mib()
    return figures


def _figures(pairs: list[tuple[Rate, Rate]], prefix: str) -> dict[str, float]:
    def waits(share: float, which: int) -> list[float]:
        return [pair[which].wait_ms(share) for pair in pairs]

    found: dict[str, Any] = {}
    for name, share in (("median", 0.5), ("p99", 0.99)):
        alone, beside = waits(share, 0), waits(share, 1)
        found[f"{prefix}{name} ms alone"] = statistics.median(alone)
        found[f"{prefix}{name} ms beside"] = statistics.median(beside)
        found[f"{prefix}{name}, ratio"] = statistics.median(b / a for a, b in zip(alone, beside, strict=True))
        found[f"{prefix}{name}, ratio of the quietest rounds"] = min(beside) / min(alone)
    return found
