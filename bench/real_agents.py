"""One command on real agents of ours, each a process of its own: nodes per second, and what an agent costs."""

import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bench.fan_out import check, send_command
from bench.fleet import TAG
from bench.get_parameter import client
from bench.processes import Measured, pilothouse
from bench.published import SALT_MINION_MIB, beside_published

_AGENT = Path(sys.executable).parent / "pilothouse-agent"
_TICKS = os.sysconf("SC_CLK_TCK")
_LONG = 300.0


def measure(rounds: int, count: int, idle_seconds: float) -> dict[str, float]:
    """`count` agents, `rounds` commands."""
    with contextlib.ExitStack() as stack:
        data = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server, values = stack.enter_context(pilothouse(data))
        ssm = client(values, "ssm")
        processes = stack.enter_context(_running(ssm, server, data, count))
        _until(lambda: _online(ssm) == count, "all agents are there")
        time.sleep(2.0)
        before = _cpu(processes)
        time.sleep(idle_seconds)
        idle = (_cpu(processes) - before) / count / idle_seconds
        resident = statistics.median(Measured(process, 0).resident_mib() for process in processes)
        took: list[float] = []
        cpu: list[float] = []
        for _ in range(rounds + 1):
            spent, began = _cpu(processes), time.monotonic()
            command_id = send_command(ssm, [TAG["Value"]])
            _until(lambda sent=command_id: _status(ssm, sent) not in ("Pending", "InProgress"), "the command has ended")
            took.append(time.monotonic() - began)
            check(ssm, command_id, count)
            cpu.append((_cpu(processes) - spent) / count)
        rate = count / statistics.median(took[1:])
    return {
        "nodes per second": rate,
        **beside_published(rate),
        "ms of CPU of an agent for a command": statistics.median(cpu[1:]) * 1000,
        "resident MiB of an agent": resident,
        f"published figure, Salt minion: {SALT_MINION_MIB:g} MiB, so many times ours": SALT_MINION_MIB / resident,
        f"percent of a core of an idle agent, over {idle_seconds:g} s": idle * 100,
    }


@contextlib.contextmanager
def _running(ssm: Any, server: Measured, data: Path, count: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    activation = ssm.create_activation(IamRole="NodeRole", RegistrationLimit=count, Tags=[TAG])
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for number in range(count):
            state = str(data / f"agent-{number}")
            register = [
                str(_AGENT), "register", "--url", f"https://127.0.0.1:{server.tls_port}", "--ca", str(data / "ca.pem"),
                "--activation-id", activation["ActivationId"], "--activation-code", activation["ActivationCode"],
                "--state", state,
            ]  # fmt: skip
            subprocess.run(register, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            run = [str(_AGENT), "run", "--state", state]
            processes.append(subprocess.Popen(run, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        yield processes
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()
            process.wait()


def _cpu(processes: list[subprocess.Popen[bytes]]) -> float:
    """CPU seconds of the agents and of the children that have ended."""
    ticks = 0
    for process in processes:
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        ticks += sum(int(field) for field in fields[11:15])
    return ticks / _TICKS


def _online(ssm: Any) -> int:
    pages = ssm.get_paginator("describe_instance_information").paginate()
    return sum(node["PingStatus"] == "Online" for page in pages for node in page["InstanceInformationList"])


def _status(ssm: Any, command_id: str) -> str:
    status: str = ssm.list_commands(CommandId=command_id)["Commands"][0]["Status"]
    return status


def _until(is_so: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + _LONG
    while not is_so():
        if time.monotonic() > end:
            raise SystemExit(f"not within {_LONG:g} s: {what}")
        time.sleep(0.01)
