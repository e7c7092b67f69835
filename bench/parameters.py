"""Parameter Store under load: four operations at 1, 16 and 64 connections, beside a bare server, round by round."""

import contextlib
import statistics
import tempfile
import uuid
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.get_parameter import client, signed
from bench.load import COUNTED, drive
from bench.processes import Measured, echo, pilothouse

CONNECTIONS = (1, 16, 64)
VALUE = "correct horse battery staple"
_PLAIN = b"POST %s HTTP/1.1\r\nHost: bench\r\nContent-Type: application/x-amz-json-1.1\r\nContent-Length: 2\r\n\r\n{}"
_BARE_READ, _BARE_WRITE = [_PLAIN % b"/"], [_PLAIN % b"/write"]


_PUTS = 4000
"""New versions, more than a server makes in the second that is measured."""
_WRITES = ("PutParameter", "PutSecretValue")


def requests(url: str, values: dict[str, str], tree: str = "/bench") -> dict[str, list[bytes]]:
    """Signed requests by operation, good for five minutes."""

    def one(operation: str, members: dict[str, Any]) -> bytes:
        invocation = {"amz-sdk-invocation-id": COUNTED.decode()} if operation == "PutParameter" else {}
        return signed(url, values, f"AmazonSSM.{operation}", members, invocation)

    def of_secrets(operation: str, members: dict[str, Any]) -> bytes:
        return signed(url, values, f"secretsmanager.{operation}", members, service="secretsmanager")

    def puts(count: int) -> list[bytes]:
        """Each makes a version of its own: its token is in the body, which is signed."""
        return [
            of_secrets(
                "PutSecretValue",
                {"SecretId": f"bench/{at % 10}", "SecretString": VALUE, "ClientRequestToken": str(uuid.uuid4())},
            )
            for at in range(count)
        ]  # fmt: skip

    ten = [f"{tree}/ten/{number}" for number in range(10)]
    secret = {"Value": VALUE, "Type": "SecureString", "Overwrite": True}
    return {
        "GetParameter": [one("GetParameter", {"Name": name, "WithDecryption": True}) for name in ten],
        "GetParameters of 10": [one("GetParameters", {"Names": ten, "WithDecryption": True})],
        "GetParametersByPath of 10": [one("GetParametersByPath", {"Path": f"{tree}/ten", "WithDecryption": True})],
        "PutParameter": [one("PutParameter", {"Name": f"{tree}/put/{number}", **secret}) for number in range(64)],
        "GetSecretValue": [of_secrets("GetSecretValue", {"SecretId": f"bench/{number}"}) for number in range(10)],
        "PutSecretValue": puts(_PUTS),
    }


class Round:
    """One server's figures over the rounds, by what was asked."""

    def __init__(self) -> None:
        self.per_second: dict[str, list[float]] = defaultdict(list)
        self.cpu: dict[str, list[float]] = defaultdict(list)
        self.p50: dict[str, list[float]] = defaultdict(list)
        self.p99: dict[str, list[float]] = defaultdict(list)

    def measure(self, server: Measured, what: str, asked: Sequence[bytes], connections: int, seconds: float) -> None:
        """Drive the server for a while. What it does later for that counts here, and not for what is asked next."""
        before = server.cpu_seconds()
        rate = drive(server.port, asked, connections=connections, seconds=seconds)
        if rate.failures or not rate.answers:
            raise SystemExit(f"{what}: {rate.failures} of {rate.answers + rate.failures} requests failed")
        server.until_quiet()
        key = f"{what}, {connections}"
        self.cpu[key].append((server.cpu_seconds() - before) / rate.with_warm_up * 1e6)
        self.per_second[key].append(rate.per_second)
        self.p50[key].append(rate.wait_ms(0.5))
        self.p99[key].append(rate.wait_ms(0.99))


def measure(rounds: int, seconds: float, *, database: str = "") -> dict[str, dict[str, float]]:
    """Medians by operation and connections; shares are taken round by round. `database`: a PostgreSQL URL."""
    options = ("--database", database) if database else ()
    ours, bare = Round(), Round()
    with contextlib.ExitStack() as stack:
        data = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server, values = stack.enter_context(pilothouse(data, *options))
        ssm = client(values, "ssm")
        for number in range(10):
            client(values, "secretsmanager").create_secret(Name=f"bench/{number}", SecretString=VALUE)
        for number in range(10):
            ssm.put_parameter(Name=f"/bench/ten/{number}", Value=VALUE, Type="SecureString")
        ssm.put_parameter(Name="/bench/password", Value=VALUE, Type="SecureString")  # what the bare server reads
        plain = stack.enter_context(echo())
        other = stack.enter_context(echo(database)) if database else plain
        for _ in range(rounds):
            for connections in CONNECTIONS:
                bare.measure(plain, "echo", _BARE_READ, connections, seconds)
                if database:
                    bare.measure(other, "bare read", _BARE_READ, connections, seconds)
                bare.measure(other, "bare write", _BARE_WRITE, connections, seconds)
                for what, asked in requests(values["AWS_ENDPOINT_URL"], values).items():
                    ours.measure(server, what, asked, connections, seconds)
        memory = server.resident_mib()
    results = {key: _figures(ours, bare, key, bool(database)) for key in ours.per_second}
    results |= {key: _own(bare, key) for key in bare.per_second}
    results["server after all"] = {"resident MiB": memory}
    return results


def _own(one: Round, key: str) -> dict[str, float]:
    cpu = statistics.median(one.cpu[key])
    return {
        "per second": statistics.median(one.per_second[key]),
        "per second and core": 1e6 / cpu,
        "p50 ms": statistics.median(one.p50[key]),
        "p99 ms": statistics.median(one.p99[key]),
        "CPU us": cpu,
    }


def _share(one: list[float], other: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(one, other, strict=True))


def _figures(ours: Round, bare: Round, key: str, database: bool) -> dict[str, float]:
    """Shares: of requests per second, and of requests per second of CPU time, which other work disturbs less."""
    operation, _, connections = key.rpartition(", ")
    figures = _own(ours, key)
    if operation in _WRITES:
        against = f"bare write, {connections}"
    else:
        against = f"{'bare read' if database else 'echo'}, {connections}"
    figures[f"of {against.partition(',')[0]}"] = _share(ours.per_second[key], bare.per_second[against])
    figures[f"of {against.partition(',')[0]}, by CPU"] = _share(bare.cpu[against], ours.cpu[key])
    if operation not in ("GetParameter", *_WRITES):
        single = f"GetParameter, {connections}"
        figures["of GetParameter"] = _share(ours.per_second[key], ours.per_second[single])
        figures["of GetParameter, by CPU"] = _share(ours.cpu[single], ours.cpu[key])
    return figures
