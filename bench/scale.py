"""The same reads with 1,000 to 1,000,000 parameters stored, and how long the server takes to start on them.

The parameters are written by the house's own store, ten to a path; every hundredth path holds SecureStrings, and reads
are spread over those. Run as a program it fills one installation.
"""

import asyncio
import contextlib
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench import postgresql
from bench.get_parameter import client, signed
from bench.load import drive
from bench.processes import pilothouse

SIZES = (1_000, 100_000, 1_000_000)
_BATCH = 5_000
_READ = 50
"""Paths that are read."""


def measure(rounds: int, seconds: float, *, database: str = "", sizes: tuple[int, ...] = SIZES) -> dict[str, Any]:
    """By number of parameters: reads per second at 16 connections, their CPU, and the share of the smallest size.

    The installations run beside each other and are measured in turn. `database`: a PostgreSQL server's URL; each size
    gets a database of its own on it.
    """
    results: dict[str, Any] = {}
    with contextlib.ExitStack() as stack:
        opened = []
        for size in sizes:
            data = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            options = ("--database", stack.enter_context(postgresql.database(database))) if database else ()
            with pilothouse(data, *options) as (_, values):  # makes the installation
                account_id = client(values, "sts").get_caller_identity()["Account"]
            arguments = [str(data), str(size), account_id, values["AWS_REGION"]]
            subprocess.run([sys.executable, "-m", "bench.scale", *arguments], check=True, stderr=subprocess.DEVNULL)
            server, values = stack.enter_context(pilothouse(data, *options))
            opened.append((size, server, values))
            results[f"{size:,}"] = {"seconds from start to ready": server.ready_seconds}
        figures: dict[tuple[int, str], list[tuple[float, float]]] = {}
        for _ in range(rounds):
            for size, server, values in opened:
                for what, asked in _requests(values, size).items():
                    before = server.cpu_seconds()
                    rate = drive(server.port, asked, connections=16, seconds=seconds)
                    if rate.failures or not rate.answers:
                        raise SystemExit(f"{what} failed {rate.failures} times with {size} parameters")
                    cpu = (server.cpu_seconds() - before) / rate.with_warm_up * 1e6
                    figures.setdefault((size, what), []).append((rate.per_second, cpu))
    for (size, what), each in figures.items():
        mine = results[f"{size:,}"]
        mine[f"{what} per second"] = statistics.median(rate for rate, _ in each)
        mine[f"{what}, CPU us"] = statistics.median(cpu for _, cpu in each)
        least = figures[sizes[0], what]
        mine[f"{what}, share of {sizes[0]:,}"] = statistics.median(
            a[0] / b[0] for a, b in zip(each, least, strict=True)
        )
        mine[f"{what}, share by CPU"] = statistics.median(b[1] / a[1] for a, b in zip(each, least, strict=True))
    return results


def _paths(size: int) -> list[int]:
    """The numbers of the paths that are read: all over the tree, each holding SecureStrings."""
    secure = range(0, size // 10, 100) if size >= 10_000 else range(size // 10)
    return [secure[each * len(secure) // _READ] for each in range(_READ)]


def _requests(values: dict[str, str], size: int) -> dict[str, list[bytes]]:
    url = values["AWS_ENDPOINT_URL"]
    single = [{"Name": f"/scale/g{path}/p{path % 10}", "WithDecryption": True} for path in _paths(size)]
    below = [{"Path": f"/scale/g{path}", "WithDecryption": True} for path in _paths(size)]
    return {
        "GetParameter": [signed(url, values, "AmazonSSM.GetParameter", each) for each in single],
        "GetParametersByPath": [signed(url, values, "AmazonSSM.GetParametersByPath", each) for each in below],
    }


async def fill(data: Path, size: int, account_id: str, region: str) -> None:
    """Write the parameters of an installation that is not running."""
    from pilothouse.app import opened_house
    from pilothouse.capabilities import keys
    from pilothouse.capabilities.parameters.model import Version
    from pilothouse.capabilities.parameters.names import arn, parent
    from pilothouse.capabilities.parameters.store import ADD, ParameterStore
    from pilothouse.runtime.settings import Settings

    async with opened_house(Settings(data=data), create=False) as house:
        now = house.clock.millis()
        secure = set(_paths(size))
        for start in range(0, size, _BATCH):
            async with house.database.transaction() as tx:
                store = ParameterStore(tx, account_id, region)
                rows = []
                for number in range(start, min(start + _BATCH, size)):
                    path = f"scale/g{number // 10}/p{number % 10}"
                    sealed = None
                    if number // 10 in secure:
                        context = {"PARAMETER_ARN": arn(account_id, region, path)}
                        place = f"parameter version 1 of {now}"
                        sealed, _ = await keys.encrypt(
                            house, tx, account_id, region, "alias/aws/ssm", b"correct horse", context, place=place
                        )
                    version = Version(
                        path=path, name=f"/{path}", number=1, kind="SecureString" if sealed else "String",
                        key_ref="alias/aws/ssm" if sealed else None, data_type="text", tier="Standard",
                        description=None, allowed_pattern=None, policies=(), modified_at=now, modified_by="bench",
                        value=None if sealed else "correct horse", sealed=sealed,
                    )  # fmt: skip
                    rows.append({**store._columns(version), "parent": parent(path), "name": f"/{path}"})
                await tx.many(ADD, rows)


if __name__ == "__main__":
    asyncio.run(fill(Path(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:]))
