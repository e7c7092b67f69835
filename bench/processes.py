"""Servers under measurement, each a process of its own that ends with the benchmark."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PILOTHOUSE = [sys.executable, "-c", "from pilothouse.cli.main import main; main()"]


@dataclass
class Measured:
    """A running server."""

    process: subprocess.Popen[bytes]
    url: str
    port: int

    def cpu_seconds(self) -> float:
        """CPU time it has used so far, user and system."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_mib(self) -> float:
        """Resident memory now."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        return 0.0


@contextlib.contextmanager
def running(command: list[str], health: str, port: int) -> Iterator[Measured]:
    """Start a server, wait until `health` answers, end it at the end of the block."""
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        _wait(process, health)
        yield Measured(process, health.rpartition("/")[0], port)
    finally:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.kill()
        process.wait()


@contextlib.contextmanager
def pilothouse(data: Path, *options: str) -> Iterator[tuple[Measured, dict[str, str]]]:
    """`pilothouse serve` on a data directory, and the values of `pilothouse env`."""
    command = [*PILOTHOUSE, "serve", "--data", str(data), "--http", "127.0.0.1:17700", "--https", "127.0.0.1:17743"]
    with running([*command, "--log-level", "warning", *options], "http://127.0.0.1:17700/health", 17700) as server:
        text = subprocess.run(
            [*PILOTHOUSE, "env", "--data", str(data), "--output", "json"], check=True, capture_output=True
        ).stdout
        yield server, json.loads(text)


@contextlib.contextmanager
def echo() -> Iterator[Measured]:
    """The bare server: the same uvicorn, an application that reads the body and answers as much."""
    with running([sys.executable, "-m", "bench.echo", "17701"], "http://127.0.0.1:17701/health", 17701) as server:
        yield server


def _wait(process: subprocess.Popen[bytes], health: str) -> None:
    for _ in range(300):
        if process.poll() is not None:
            raise SystemExit(f"{process.args}: ended with {process.returncode} before it was ready")
        try:
            with urllib.request.urlopen(health, timeout=1) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.05)
    raise SystemExit(f"{health} did not answer")
