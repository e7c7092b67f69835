"""The same requests against other servers of this interface, where they are installed beside us."""

import contextlib
import shutil
import sys
from pathlib import Path

from bench.get_parameter import client
from bench.load import drive
from bench.parameters import VALUE, requests
from bench.processes import free_port, running

COMMANDS = {"moto": ("moto_server", "/moto-api/"), "ministack": ("ministack", "/_localstack/health")}
"""Name to its command and a path that answers 200 once it is ready. OpenBao speaks another interface: not driven."""


def measure(seconds: float) -> dict[str, dict[str, float] | str]:
    """By peer: requests per second and CPU by operation at 16 connections, or that it is not installed."""
    results: dict[str, dict[str, float] | str] = {}
    for name, (command, ready) in COMMANDS.items():
        beside = Path(sys.executable).parent / command
        found = str(beside) if beside.exists() else shutil.which(command)
        results[name] = "not installed"
        if found is None or "/shims/" in found:  # a version manager's stand-in is not the program
            continue
        port = free_port()
        arguments = [found, "-H", "127.0.0.1", "-p", str(port)] if name == "moto" else [found, "--port", str(port)]
        with contextlib.suppress(SystemExit), running(arguments, port, ready=ready) as server:
            url = f"http://127.0.0.1:{port}"
            values = {
                "AWS_ENDPOINT_URL": url,
                "AWS_REGION": "eu-west-1",
                "AWS_ACCESS_KEY_ID": "test",
                "AWS_SECRET_ACCESS_KEY": "test",
            }
            ssm = client(values, "ssm")
            for number in range(10):
                ssm.put_parameter(Name=f"/bench/ten/{number}", Value=VALUE, Type="SecureString")
                client(values, "secretsmanager").create_secret(Name=f"bench/{number}", SecretString=VALUE)
            figures: dict[str, float] = {}
            for what, asked in requests(url, values).items():
                before = server.cpu_seconds()
                rate = drive(port, asked, connections=16, seconds=seconds)
                if rate.answers:
                    figures[f"{what} per second"] = rate.per_second
                    figures[f"{what}, CPU us"] = (server.cpu_seconds() - before) / rate.with_warm_up * 1e6
            results[name] = figures
    results["OpenBao"] = "speaks another interface, not driven" if shutil.which("bao") else "not installed"
    return results
