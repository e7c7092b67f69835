"""PutLogEvents under load, with one and with a hundred events to a call, beside bare durable rows, round by round."""

import contextlib
import statistics
import tempfile
import time
from pathlib import Path

from bench.get_parameter import client, signed
from bench.load import COUNTED, drive
from bench.processes import echo, pilothouse

CONNECTIONS = 16
TO_A_CALL = (1, 100)
MESSAGE = "2026-11-24T17:20:01Z INFO request finished method=GET path=/orders/42 status=200 milliseconds=17"
_ROW = b"POST /write HTTP/1.1\r\nHost: bench\r\nContent-Type: application/x-amz-json-1.1\r\nContent-Length: 2\r\n\r\n{}"


def _requests(values: dict[str, str], count: int) -> list[bytes]:
    """Signed calls, one for each connection's stream; good for five minutes."""
    now = int(time.time() * 1000)
    events = [{"timestamp": now, "message": f"{MESSAGE} {number}"} for number in range(count)]
    return [
        signed(
            values["AWS_ENDPOINT_URL"], values, "Logs_20140328.PutLogEvents",
            {"logGroupName": "/bench", "logStreamName": str(number), "logEvents": events},
            {"amz-sdk-invocation-id": COUNTED.decode()}, service="logs",
        )
        for number in range(CONNECTIONS)
    ]  # fmt: skip


def measure(rounds: int, seconds: float, *, database: str = "") -> dict[str, float]:
    """Medians; shares are taken round by round. `database`: a PostgreSQL URL."""
    options = ("--database", database) if database else ()
    rows: list[float] = []
    found: dict[str, list[float]] = {}
    with contextlib.ExitStack() as stack:
        data = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server, values = stack.enter_context(pilothouse(data, *options))
        client(values, "ssm").put_parameter(Name="/bench/password", Value="x", Type="SecureString")  # the bare one's
        logs = client(values, "logs")
        logs.create_log_group(logGroupName="/bench")
        for number in range(CONNECTIONS):
            logs.create_log_stream(logGroupName="/bench", logStreamName=str(number))
        bare = stack.enter_context(echo(database) if database else echo())
        for _ in range(rounds):
            rows.append(drive(bare.port, [_ROW], connections=CONNECTIONS, seconds=seconds).per_second)
            for count in TO_A_CALL:
                before = server.cpu_seconds()
                rate = drive(server.port, _requests(values, count), connections=CONNECTIONS, seconds=seconds)
                if rate.failures or not rate.answers:
                    raise SystemExit(f"PutLogEvents: {rate.failures} requests failed")
                cpu = (server.cpu_seconds() - before) / rate.with_warm_up / count * 1e6
                figures = {
                    f"events per second, {count} to a call": rate.per_second * count,
                    f"share of bare rows, {count} to a call": rate.per_second * count / rows[-1],
                    f"CPU us for an event, {count} to a call": cpu,
                }
                for name, value in figures.items():
                    found.setdefault(name, []).append(value)
    return {"bare rows per second": statistics.median(rows)} | {
        name: statistics.median(values) for name, values in found.items()
    }
