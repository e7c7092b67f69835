"""GetParameter by a server of one process and by one of two, in turn: what a second process gives on two cores."""

import contextlib
import statistics
import tempfile
from pathlib import Path

from bench.get_parameter import client, signed
from bench.load import drive
from bench.processes import pilothouse


def measure(rounds: int, seconds: float) -> dict[str, float]:
    """Medians, and the ratio taken round by round."""
    found: dict[int, list[float]] = {1: [], 2: []}
    with contextlib.ExitStack() as stack:
        servers = {}
        for workers in found:
            data = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            servers[workers] = stack.enter_context(pilothouse(data, "--workers", str(workers)))
            client(servers[workers][1], "ssm").put_parameter(
                Name="/bench/password", Value="correct horse battery staple", Type="SecureString"
            )
        for _ in range(rounds):
            for workers, (server, values) in servers.items():
                members = {"Name": "/bench/password", "WithDecryption": True}
                request = signed(values["AWS_ENDPOINT_URL"], values, "AmazonSSM.GetParameter", members)
                read = drive(server.port, request, seconds=seconds)
                if read.failures or not read.answers:
                    raise SystemExit(f"GetParameter by {workers} failed {read.failures} times")
                found[workers].append(read.per_second)
    return {
        "one worker per second": statistics.median(found[1]),
        "two workers per second": statistics.median(found[2]),
        "two in place of one": statistics.median([two / one for one, two in zip(found[1], found[2], strict=True)]),
    }
