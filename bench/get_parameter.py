"""GetParameter with decryption: signature, validation, authorisation, one sealed value; as a share of the bare echo."""

import contextlib
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from bench.load import drive
from bench.processes import echo, pilothouse


def signed(
    url: str,
    values: dict[str, str],
    target: str,
    members: dict[str, Any],
    more: dict[str, str] | None = None,
    *,
    service: str = "ssm",
) -> bytes:
    """The bytes of one signed JSON 1.1 request, good for as long as the clocks agree (five minutes)."""
    body = json.dumps(members).encode()
    headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": target}
    request = AWSRequest("POST", url + "/", headers=headers, data=body)
    credentials = Credentials(values["AWS_ACCESS_KEY_ID"], values["AWS_SECRET_ACCESS_KEY"])
    SigV4Auth(credentials, service, values["AWS_REGION"]).add_auth(request)
    lines = [f"{name}: {value}" for name, value in {**dict(request.headers.items()), **(more or {})}.items()]
    head = "\r\n".join(["POST / HTTP/1.1", f"Host: {url.partition('//')[2]}", *lines, f"Content-Length: {len(body)}"])
    return f"{head}\r\n\r\n".encode() + body


def client(values: dict[str, str], service: str) -> Any:
    """A boto3 client of the measured server."""
    made: Any = boto3.client  # its stubs want the service as a literal
    return made(
        service,
        region_name=values["AWS_REGION"],
        endpoint_url=values["AWS_ENDPOINT_URL"],
        aws_access_key_id=values["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=values["AWS_SECRET_ACCESS_KEY"],
    )


def measure(rounds: int, seconds: float, *, database: str = "") -> dict[str, float]:
    """Bare server and GetParameter in turn, `rounds` times; medians, and the share taken round by round.

    With the URL of a PostgreSQL `database` the bare server reads one row of it for each answer.
    """
    options = ("--database", database) if database else ()
    name = "bare read" if database else "echo"
    shares, reads, bare, cpu, bare_cpu = [], [], [], [], []
    with contextlib.ExitStack() as stack:
        data = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server, values = stack.enter_context(pilothouse(data, *options))
        client(values, "ssm").put_parameter(
            Name="/bench/password", Value="correct horse battery staple", Type="SecureString"
        )
        other = stack.enter_context(echo(database) if database else echo())
        members = {"Name": "/bench/password", "WithDecryption": True}
        for _ in range(rounds):
            request = signed(values["AWS_ENDPOINT_URL"], values, "AmazonSSM.GetParameter", members)
            before = other.cpu_seconds()
            plain = drive(other.port, request, seconds=seconds)
            bare_cpu.append((other.cpu_seconds() - before) / max(plain.with_warm_up, 1) * 1e6)
            before = server.cpu_seconds()
            read = drive(server.port, request, seconds=seconds)
            if read.failures or not read.answers or not plain.answers:
                raise SystemExit(f"GetParameter failed {read.failures} times, the bare server {plain.failures} times")
            cpu.append((server.cpu_seconds() - before) / read.with_warm_up * 1e6)
            bare.append(plain.per_second)
            reads.append(read.per_second)
            shares.append(read.per_second / plain.per_second)
        memory = server.resident_mib()
    return {
        f"{name} per second": statistics.median(bare),
        "GetParameter per second": statistics.median(reads),
        f"share of {name}": statistics.median(shares),
        "server CPU us per read": statistics.median(cpu),
        f"server CPU us per {name}": statistics.median(bare_cpu),
        "resident MiB": memory,
    }
