"""Putting and getting objects of 10 KB with signed bodies, beside the bare server and its durable write."""

import contextlib
import statistics
import tempfile
from pathlib import Path
from typing import Any

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from bench.get_parameter import client
from bench.load import COUNTED
from bench.parameters import Round
from bench.processes import echo, pilothouse

_SIZE = 10_000
_CONNECTIONS = 16
_BARE = b"POST %s HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


def _signed(values: dict[str, str], method: str, key: str, body: bytes) -> bytes:
    url = values["AWS_ENDPOINT_URL"]
    request = AWSRequest(method, f"{url}/bench/{key}", data=body)
    S3SigV4Auth(
        Credentials(values["AWS_ACCESS_KEY_ID"], values["AWS_SECRET_ACCESS_KEY"]), "s3", values["AWS_REGION"]
    ).add_auth(request)
    lines = [f"{name}: {value}" for name, value in request.headers.items()]
    if body:
        lines += [f"Content-Length: {len(body)}", f"amz-sdk-invocation-id: {COUNTED.decode()}"]
    head = "\r\n".join([f"{method} /bench/{key} HTTP/1.1", f"Host: {url.partition('//')[2]}", *lines])
    return f"{head}\r\n\r\n".encode() + body


def measure(rounds: int, seconds: float) -> dict[str, Any]:
    """Medians over the rounds; shares are taken round by round."""
    ours, bare = Round(), Round()
    with contextlib.ExitStack() as stack:
        data = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server, values = stack.enter_context(pilothouse(data))
        s3 = client(values, "s3")
        s3.create_bucket(Bucket="bench")
        plain = stack.enter_context(echo())
        body = bytes(range(250)) * (_SIZE // 250)
        for number in range(64):
            s3.put_object(Bucket="bench", Key=f"k{number}", Body=body)
        for _ in range(rounds):
            puts = [_signed(values, "PUT", f"k{number}", body) for number in range(64)]
            gets = [_signed(values, "GET", f"k{number}", b"") for number in range(64)]
            bare.measure(plain, "echo", [_BARE % b"/"], _CONNECTIONS, seconds)
            bare.measure(plain, "write", [_BARE % b"/write"], _CONNECTIONS, seconds)
            ours.measure(server, "put", puts, _CONNECTIONS, seconds)
            ours.measure(server, "get", gets, _CONNECTIONS, seconds)
        memory = server.resident_mib()
    figures: dict[str, Any] = {}
    for what, against in (("put", "write"), ("get", "echo")):
        one, other = ours.per_second[f"{what}, {_CONNECTIONS}"], bare.per_second[f"{against}, {_CONNECTIONS}"]
        figures[f"{what}s per second"] = statistics.median(one)
        figures[f"{what}, share of bare {against}"] = statistics.median(a / b for a, b in zip(one, other, strict=True))
        figures[f"CPU us per {what}"] = statistics.median(ours.cpu[f"{what}, {_CONNECTIONS}"])
    return figures | {"resident MiB": memory}
