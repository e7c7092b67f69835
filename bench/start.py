"""How soon the server is ready: on an empty directory, and with much stored; and whether a command costs more then.

Parameters, nodes and invocations are written by the house's own stores. Run as a program it adds nodes, and commands
that ran on all of them, to one installation.
"""

import asyncio
import contextlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.fan_out import Agents, Run, agents, check, send_command
from bench.fleet import TAG, registered
from bench.get_parameter import client
from bench.processes import Measured, pilothouse

PARAMETERS, NODES, INVOCATIONS = 100_000, 5_000, 1_000_000
_FLEET = 200
"""Scripted agents of the commands that are compared."""

_Server = tuple[Measured, Any, Agents]


def measure(
    rounds: int, parameters: int = PARAMETERS, nodes: int = NODES, invocations: int = INVOCATIONS
) -> dict[str, float]:
    """Start times are medians of `rounds` starts; the commands on an empty and on the full installation take turns."""
    what = f"{parameters:,} parameters, {nodes:,} nodes, {invocations:,} invocations"
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        figures = _starts([folder / f"empty-{number}" for number in range(rounds)], "empty directory")
        full = folder / "full"
        with pilothouse(full) as (_, values):
            account_id = client(values, "sts").get_caller_identity()["Account"]
        _fill("bench.scale", full, parameters, account_id, values["AWS_REGION"])
        _fill("bench.start", full, nodes, invocations, account_id, values["AWS_REGION"])
        figures |= _starts([full] * rounds, what)
        cost = _commands([stack.enter_context(_fleet(each)) for each in (folder / "few", full)], rounds)
    figures["server CPU us per node of a command, nothing else stored"] = cost[0]
    figures[f"server CPU us per node of a command, {what}"] = cost[1]
    figures["ratio"] = cost[1] / cost[0]
    return figures


def _starts(directories: list[Path], what: str) -> dict[str, float]:
    ready, resident = [], []
    for directory in directories:
        with pilothouse(directory) as (server, _):
            time.sleep(1.0)
            ready.append(server.ready_seconds)
            resident.append(server.resident_mib())
    return {
        f"seconds to ready, {what}": statistics.median(ready),
        f"resident MiB, idle, {what}": statistics.median(resident),
    }


@contextlib.contextmanager
def _fleet(data: Path) -> Iterator[_Server]:
    with pilothouse(data) as (server, values):
        ssm = client(values, "ssm")
        identities = list(registered(ssm, server.port, values["AWS_REGION"], _FLEET))
        with agents(f"127.0.0.1:{server.tls_port}", data / "ca.pem", identities, bare=False) as fleet:
            yield server, ssm, fleet


def _commands(servers: list[_Server], rounds: int) -> list[float]:
    """Microseconds of CPU per node, of each."""
    runs: list[list[Run]] = [[] for _ in servers]
    for again in range(rounds + 1):  # the first makes the code warm
        for (server, ssm, fleet), mine in zip(servers, runs, strict=True):
            sent: list[str] = []
            run = fleet.run(server, lambda to=sent, by=ssm: to.append(send_command(by, [TAG["Value"]])), _FLEET)
            check(ssm, sent[0], _FLEET)
            if again:
                mine.append(run)
    return [statistics.median(run.cpu for run in mine) / _FLEET * 1e6 for mine in runs]


def _fill(module: str, data: Path, *arguments: object) -> None:
    command = [sys.executable, "-m", module, str(data), *map(str, arguments)]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)


async def fill(data: Path, nodes: int, invocations: int, account_id: str, region: str) -> None:
    """Write the nodes of an installation that is not running, and commands that have ended on all of them."""
    from pilothouse.app import opened_house
    from pilothouse.capabilities.commands.model import Command, Counts, Details, Invocation, PlannedStep
    from pilothouse.capabilities.commands.store import CommandStore
    from pilothouse.runtime.settings import Settings

    async with opened_house(Settings(data=data), create=False) as house:
        now = house.clock.millis()
        ids = [f"mi-{number:017x}" for number in range(nodes)]
        async with house.database.transaction() as tx:
            columns = (
                "node_id", "account_id", "region", "activation_id", "iam_role", "default_instance_name", "public_key",
                "public_key_hash", "fingerprint", "registered_at",
            )  # fmt: skip
            await tx.fill("node", columns, [
                (each, account_id, region, "bench", "NodeRole", each, b"", each, each, now) for each in ids
            ])  # fmt: skip
        for number in range(invocations // nodes):
            at = now - 60_000 * (number + 1)
            command = Command(
                command_id=house.ids.uuid(), account_id=account_id, region=region, document_name="AWS-RunShellScript",
                document_version="$DEFAULT", comment="", parameters={"commands": ["true"]}, instance_ids=[],
                targets=[], settings={}, steps=(PlannedStep("runShellScript", "awsrunShellScript"),), requested_at=at,
                start_deadline=at + 3_600_000, expires_at=at + 7_200_000, timeout_seconds=3600, max_concurrency="100%",
                max_errors="100%", concurrency_limit=nodes, error_limit=nodes, cancel_asked=False,
                counts=Counts(target_count=nodes, started=1, ended={Details.SUCCESS: nodes}), status="Success",
                details="Success",
            )  # fmt: skip
            ended = [
                Invocation(
                    command.command_id, node_id, account_id, region, node_id, command.document_name, at,
                    Details.SUCCESS, finished_at=at + 1_000,
                )
                for node_id in ids
            ]  # fmt: skip
            async with house.database.transaction() as tx:
                await CommandStore(tx).add(command, ended)


if __name__ == "__main__":
    asyncio.run(fill(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:]))
