"""One command on many scripted agents: SendCommand by tag to the last final status, every reply stored durably.

The bare gateway moves the same frames over the same TLS websockets and stores nothing; both are measured in turn.
"""

import contextlib
import json
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.fleet import TAG, place
from bench.processes import Measured, bare_gateway

COMMANDS = 3
"""Commands in one round; each is measured by itself."""


@dataclass(frozen=True)
class Run:
    """One command: seconds to the last final status, server CPU seconds, p50 and p99 of reply to receipt."""

    seconds: float
    cpu: float
    receipt_p50: float
    receipt_p99: float


class Agents:
    """The process of the scripted agents; see `bench.agents`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def tell(self, line: str) -> None:
        """One line to the agents."""
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def hear(self) -> str:
        """One line from them; ends the benchmark when they have ended."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"the scripted agents ended with {self._process.wait()}")
        return line.strip()

    def run(self, server: Measured, send: Callable[[], object], nodes: int) -> Run:
        """Measure one command on so many of the agents from the call of `send`."""
        self.tell(str(nodes))
        self.hear()
        cpu, began = server.cpu_seconds(), time.monotonic()
        send()
        ended: dict[str, float] = json.loads(self.hear())
        return Run(ended["at"] - began, server.cpu_seconds() - cpu, ended["receipt_p50"], ended["receipt_p99"])


@contextlib.contextmanager
def agents(
    address: str, ca: Path, identities: list[dict[str, str]], *, bare: bool, module: str = "bench.agents"
) -> Iterator[Agents]:
    """Scripted agents with open channels, for the length of the block."""
    process = subprocess.Popen([sys.executable, "-m", module], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    made = Agents(process)
    try:
        made.tell(json.dumps({"address": address, "ca": str(ca), "identities": identities, "bare": bare}))
        made.hear()
        yield made
    finally:
        process.kill()
        process.communicate()


def measure(rounds: int, nodes: int, *options: str) -> dict[str, float]:
    """The bare gateway and Pilothouse in turn, `rounds` times `COMMANDS` commands."""
    own: list[Run] = []
    plain: list[Run] = []
    with (
        place(nodes, *options) as here,
        bare_gateway(here.data) as gateway,
        agents(here.address, here.ca, here.identities, bare=False) as fleet,
        agents(f"127.0.0.1:{gateway.tls_port}", here.ca, here.identities, bare=True) as others,
    ):
        server, ssm = here.server, here.ssm
        sent: list[str] = []

        def send() -> None:
            sent.append(send_command(ssm, [TAG["Value"]]))

        def send_bare() -> None:
            send_by_bare(gateway, nodes)

        fleet.run(server, send, nodes)  # statements are prepared, code is warm
        others.run(gateway, send_bare, nodes)
        for _ in range(rounds * COMMANDS):
            plain.append(others.run(gateway, send_bare, nodes))
            own.append(fleet.run(server, send, nodes))
        for command_id in sent:
            check(ssm, command_id, nodes)
        memory = server.resident_mib()
    return figures_of(own, plain, nodes) | {"resident MiB": memory}


def figures_of(own: list[Run], plain: list[Run], nodes: int) -> dict[str, float]:
    """Medians of runs that took turns."""
    shares = [bare.seconds / run.seconds for run, bare in zip(own, plain, strict=True)]
    cpu = [sum(run.cpu for run in some) / len(some) / nodes * 1e6 for some in (own, plain)]
    return {
        "nodes per second": nodes / statistics.median(run.seconds for run in own),
        "nodes per second, bare gateway": nodes / statistics.median(run.seconds for run in plain),
        "share of the bare gateway": statistics.median(shares),
        "server CPU us per node": cpu[0],
        "server CPU us per node, bare gateway": cpu[1],
        "ms to the last status": statistics.median(run.seconds for run in own) * 1000,
        "ms from reply to receipt, p50": statistics.median(run.receipt_p50 for run in own) * 1000,
        "ms from reply to receipt, p99": statistics.median(run.receipt_p99 for run in own) * 1000,
    }


def send_by_bare(gateway: Measured, nodes: int) -> None:
    """A command's frames without a command."""
    with urllib.request.urlopen(f"http://127.0.0.1:{gateway.port}/send/{nodes}") as answer:
        answer.read()


def send_command(ssm: Any, groups: list[str]) -> str:
    """Send `true` to the nodes whose tag has one of the values; the command's id."""
    command = ssm.send_command(
        DocumentName="AWS-RunShellScript",
        Targets=[{"Key": f"tag:{TAG['Key']}", "Values": groups}],
        Parameters={"commands": ["true"]},
        MaxConcurrency="100%",
        MaxErrors="100%",
    )
    command_id: str = command["Command"]["CommandId"]
    return command_id


def check(ssm: Any, command_id: str, nodes: int) -> None:
    """The command ended well on every node, or the figures mean nothing."""
    (command,) = ssm.list_commands(CommandId=command_id)["Commands"]
    if command["Status"] != "Success" or command["CompletedCount"] != nodes:
        raise SystemExit(f"command {command_id}: {command['Status']}, {command['CompletedCount']} of {nodes} nodes")
