"""Many scripted agents on one server: idle, and one command on 100, 1,000 and 10,000 of them.

The bare gateway moves the same frames on as many websockets; the two are measured in turn. Beside the figures stand
those that are published for others: they ran a real agent on each node, which the scripted ones only pretend to do, so
of those only the CPU time of the server says much; what the idle fleet takes meanwhile is not counted in it.
`bench.real_agents` has real ones.
"""

import contextlib
import resource
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from bench.fan_out import Run, agents, check, figures_of, send_by_bare, send_command
from bench.fleet import registered
from bench.get_parameter import client
from bench.processes import Measured, bare_gateway, pilothouse
from bench.published import SALT_CPU_US, beside_published

SIZES = (100, 1_000, 10_000)
_SETTLES = 5.0
"""Seconds after the last channel was opened."""


def measure(rounds: int, nodes: int, idle_seconds: float, *options: str) -> dict[str, dict[str, float | str]]:
    """Idle with `nodes` agents, then by size up to `nodes`."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    sizes = [size for size in SIZES if size < nodes] + [nodes]
    runs: dict[int, tuple[list[Run], list[Run]]] = {size: ([], []) for size in sizes}
    with contextlib.ExitStack() as stack:
        data = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server, values = stack.enter_context(pilothouse(data, *options))
        ssm = client(values, "ssm")
        groups = [f"Bench{size}" for size in sizes]
        parts = [size - before for size, before in zip(sizes, [0, *sizes], strict=False)]
        identities = [
            who
            for group, part in zip(groups, parts, strict=True)
            for who in registered(ssm, server.port, values["AWS_REGION"], part, group)
        ]
        ca = data / "ca.pem"
        before = server.resident_mib()
        fleet = stack.enter_context(agents(f"127.0.0.1:{server.tls_port}", ca, identities, bare=False))
        idle = _idle(server, nodes, before, idle_seconds)
        gateway = stack.enter_context(bare_gateway(data))
        others = stack.enter_context(agents(f"127.0.0.1:{gateway.tls_port}", ca, identities, bare=True))
        for again in range(rounds + 1):  # the first makes the code warm, and the statements ready
            for number, size in enumerate(sizes):
                sent: list[str] = []
                bare = others.run(gateway, lambda size=size: send_by_bare(gateway, size), size)
                own = fleet.run(
                    server, lambda to=groups[: number + 1], sent=sent: sent.append(send_command(ssm, to)), size
                )
                check(ssm, sent[0], size)
                if again:  # what the fleet costs idle is not the command's
                    own = replace(own, cpu=own.cpu - idle["percent of a core"] / 100 * own.seconds)
                    runs[size][0].append(own)
                    runs[size][1].append(bare)
        idle["resident MiB after the commands"] = server.resident_mib()
    results: dict[str, dict[str, float | str]] = {f"{nodes:,} idle scripted agents over TLS": dict(idle)}
    per_node: list[float] = []
    for size in sizes:
        figures = figures_of(*runs[size], size)
        per_node.append(figures["server CPU us per node"])
        results[f"One command on {size:,} scripted agents"] = {
            **figures,
            f"CPU per node, share of that with {sizes[0]:,}": per_node[-1] / per_node[0],
            f"published figure, Salt master: {SALT_CPU_US:,} us CPU per node, so many times ours": SALT_CPU_US
            / per_node[-1],
            **beside_published(figures["nodes per second"]),
        }
    return results


def _idle(server: Measured, nodes: int, before: float, seconds: float) -> dict[str, float]:
    opened = server.resident_mib()
    time.sleep(_SETTLES)
    cpu, began = server.cpu_seconds(), time.monotonic()
    time.sleep(seconds)
    share = (server.cpu_seconds() - cpu) / (time.monotonic() - began)
    resident = server.resident_mib()
    return {
        "agents held": nodes,
        "resident MiB": resident,
        "KiB per agent": (max(opened, resident) - before) * 1024 / nodes,
        "percent of a core": share * 100,
    }
