"""Executions of runbooks: many of ten quick steps each, by what they cost the server in CPU time."""

import contextlib
import json
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bench.get_parameter import client
from bench.processes import pilothouse

_STEPS = 10
_CLIENTS = 8


def _runbook() -> str:
    """Every other step asks the server something, the others keep what it said."""
    steps: list[dict[str, Any]] = []
    for number in range(_STEPS // 2):
        steps += [
            {
                "name": f"ask{number}", "action": "aws:executeAwsApi",
                "inputs": {"Service": "ssm", "Api": "GetParameter", "Name": "/bench/value"},
                "outputs": [{"Name": "value", "Selector": "$.Parameter.Value", "Type": "String"}],
            },
            {
                "name": f"keep{number}", "action": "aws:updateVariable",
                "inputs": {"Name": "variable:kept", "Value": f"{{{{ ask{number}.value }}}}"},
            },
        ]  # fmt: skip
    content = {"schemaVersion": "0.3", "variables": {"kept": {"type": "String"}}, "mainSteps": steps}
    return json.dumps(content)


def measure(rounds: int, executions: int, *options: str) -> dict[str, Any]:
    """Medians over the rounds. The CPU time counts the calls that start them, and those that ask for their end."""
    per_core, wall = [], []
    with contextlib.ExitStack() as stack:
        data = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server, values = stack.enter_context(pilothouse(data, *options))
        ssm = client(values, "ssm")
        ssm.put_parameter(Name="/bench/value", Value="x", Type="String")
        ssm.create_document(Name="bench", Content=_runbook(), DocumentType="Automation", DocumentFormat="JSON")
        for _ in range(rounds):
            cpu, began = server.cpu_seconds(), time.perf_counter()
            with ThreadPoolExecutor(_CLIENTS) as pool:
                ids = list(pool.map(lambda _: _start(ssm), range(executions)))
            _wait(ssm, ids)
            steps = executions * _STEPS
            per_core.append(steps / (server.cpu_seconds() - cpu))
            wall.append(steps / (time.perf_counter() - began))
        memory = server.resident_mib()
    return {
        "steps per second of CPU": statistics.median(per_core),
        "steps per second": statistics.median(wall),
        "resident MiB": memory,
    }


def _start(ssm: Any) -> str:
    return str(ssm.start_automation_execution(DocumentName="bench")["AutomationExecutionId"])


def _wait(ssm: Any, ids: list[str]) -> None:
    """Until all have ended; each must have gone well."""
    open_ = [{"Key": "ExecutionStatus", "Values": ["Pending", "InProgress"]}]
    while ssm.describe_automation_executions(Filters=open_, MaxResults=1)["AutomationExecutionMetadataList"]:
        time.sleep(0.2)
    for each in ids[:: max(1, len(ids) // 20)]:
        found = ssm.get_automation_execution(AutomationExecutionId=each)["AutomationExecution"]
        if found["AutomationExecutionStatus"] != "Success":
            raise RuntimeError(f"{each} ended as {found['AutomationExecutionStatus']}: {found.get('FailureMessage')}")
