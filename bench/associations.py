"""One association on many scripted agents at once: from the call to the last node's report, each stored durably.

Whoever runs it twice, or not at all, ends the benchmark: the figures would mean nothing.
"""

import json
import statistics
import time
from collections.abc import Callable
from typing import Any

from bench.fan_out import agents
from bench.fleet import TAG, place

NODES = 2_000
_REPORTS = 3
"""Of each run."""


def measure(rounds: int, nodes: int, *options: str) -> dict[str, float]:
    """Medians over the rounds; the first, which makes the association, counts as the others do not."""
    seconds: list[float] = []
    cpu: list[float] = []
    with (
        place(nodes, *options) as here,
        agents(here.address, here.ca, here.identities, bare=False, module="bench.keepers") as keepers,
    ):
        server, ssm = here.server, here.ssm

        def run(begin: Callable[[], Any]) -> tuple[float, float]:
            keepers.tell(str(nodes))
            keepers.hear()
            used, began = server.cpu_seconds(), time.monotonic()
            begin()
            ended = json.loads(keepers.hear())
            if ended.get("failed") or (ended["nodes"], ended["runs"]) != (nodes, nodes):
                raise SystemExit(f"not each of {nodes} nodes ran it once: {ended}")
            return ended["at"] - began, server.cpu_seconds() - used

        made: list[str] = []
        first, _ = run(lambda: made.append(_made(ssm)))
        check(ssm, made[0], 1, nodes)
        for number in range(rounds):
            took, used = run(lambda: ssm.start_associations_once(AssociationIds=made))
            check(ssm, made[0], number + 2, nodes)
            seconds.append(took)
            cpu.append(used)
        memory = server.resident_mib()
    return {
        "seconds to the last report, when it is made": first,
        "seconds to the last report": statistics.median(seconds),
        "nodes per second": nodes / statistics.median(seconds),
        "reports per second": nodes * _REPORTS / statistics.median(seconds),
        "server CPU us per node": statistics.median(cpu) / nodes * 1e6,
        "resident MiB": memory,
    }


def _made(ssm: Any) -> str:
    made: str = ssm.create_association(
        Name="AWS-RunShellScript",
        Parameters={"commands": ["true"]},
        Targets=[{"Key": f"tag:{TAG['Key']}", "Values": [TAG["Value"]]}],
    )["AssociationDescription"]["AssociationId"]
    return made


def check(ssm: Any, association_id: str, executions: int, nodes: int) -> None:
    """So many executions, the newest of which succeeded on each node, or the figures mean nothing."""
    found = ssm.describe_association_executions(AssociationId=association_id)["AssociationExecutions"]
    newest = found[0]
    pages = ssm.get_paginator("describe_association_execution_targets").paginate(
        AssociationId=association_id, ExecutionId=newest["ExecutionId"]
    )
    ended = [each["ResourceId"] for page in pages for each in page["AssociationExecutionTargets"]
             if each["Status"] == "Success"]  # fmt: skip
    said = newest["Status"], newest["ResourceCountByStatus"], len(found), len(ended), len(set(ended))
    if said != ("Success", f"{{Success={nodes}}}", executions, nodes, nodes):
        raise SystemExit(f"association {association_id}: {said}")
