"""Servers under measurement, each a process of its own that ends with the benchmark."""

import contextlib
import json
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PILOTHOUSE = [sys.executable, "-c", "from pilothouse.cli.main import main; main()"]

_BETWEEN, _LOOKS, _IDLE = 0.2, 100, 0.03
"""Seconds between two looks, how many there are at most, and the share of a core that counts as none."""


@dataclass
class Measured:
    """A running server."""

    process: subprocess.Popen[bytes]
    port: int
    """Of plain HTTP."""
    tls_port: int = 0
    ready_seconds: float = 0.0
    """From its start to its first answer."""

    def cpu_seconds(self) -> float:
        """CPU time that its threads have used so far, user and system."""
        nanoseconds = 0
        for thread in Path(f"/proc/{self.process.pid}/task").iterdir():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that has just ended
                nanoseconds += int((thread / "schedstat").read_text().split()[0])
        return nanoseconds / 1e9

    def until_quiet(self) -> None:
        """Return once it has done what an answer leaves for later, such as the trail's indexes."""
        before = self.cpu_seconds()
        for _ in range(_LOOKS):
            time.sleep(_BETWEEN)
            now = self.cpu_seconds()
            if now - before < _BETWEEN * _IDLE:
                return
            before = now

    def resident_mib(self) -> float:
        """Resident memory now."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        return 0.0


def free_port() -> int:
    """A loopback port that nobody listens on."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """Loopback ports that nobody listens on, each another one."""
    with contextlib.ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


@contextlib.contextmanager
def running(command: list[str], port: int, tls_port: int = 0, *, ready: str = "/health") -> Iterator[Measured]:
    """Start a server, wait until it answers at `ready`, end it at the end of the block."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        _wait(process, f"http://127.0.0.1:{port}{ready}")
        yield Measured(process, port, tls_port, time.perf_counter() - began)
    finally:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.kill()
        process.wait()


@contextlib.contextmanager
def pilothouse(data: Path, *options: str) -> Iterator[tuple[Measured, dict[str, str]]]:
    """`pilothouse serve` on a data directory, and the values of `pilothouse env`."""
    port, tls_port = free_ports(2)
    listeners = ["--http", f"127.0.0.1:{port}", "--https", f"127.0.0.1:{tls_port}"]
    command = [*PILOTHOUSE, "serve", "--data", str(data), *listeners, "--log-level", "warning", *options]
    with running(command, port, tls_port) as server:
        text = subprocess.run(
            [*PILOTHOUSE, "env", "--data", str(data), "--output", "json"], check=True, capture_output=True
        ).stdout
        yield server, json.loads(text)


@contextlib.contextmanager
def echo(*options: str) -> Iterator[Measured]:
    """The bare server: the same uvicorn, an application that reads the body and answers as much."""
    port = free_port()
    with running([sys.executable, "-m", "bench.echo", str(port), *options], port) as server:
        yield server


@contextlib.contextmanager
def bare_gateway(data: Path) -> Iterator[Measured]:
    """The bare websocket server, with the certificate of a data directory."""
    port, tls_port = free_ports(2)
    files = [str(data / "server.pem"), str(data / "server.key")]
    with running([sys.executable, "-m", "bench.bare_gateway", str(port), str(tls_port), *files], port, tls_port) as one:
        yield one


def _wait(process: subprocess.Popen[bytes], health: str) -> None:
    for _ in range(300):
        if process.poll() is not None:
            raise SystemExit(f"{process.args!r}: ended with {process.returncode} before it was ready")
        try:
            with urllib.request.urlopen(health, timeout=1) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.05)
    raise SystemExit(f"{health} did not answer")
