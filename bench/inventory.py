"""GetInventory over a fleet with a thousand packages on each node: filters, counts, and what a put costs.

Nodes and packages are written by the house's own code. Run as a program it adds them to an installation. Times are of
the server's processor, as one client asks: how busy the machine is does not matter.
"""

import asyncio
import contextlib
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench import postgresql
from bench.get_parameter import client
from bench.processes import Measured, pilothouse

NODES, PACKAGES = 5_000, 1_000
_NAME, _VERSION = "AWS:Application.Name", "AWS:Application.Version"
_CALLS = 50


def measure(nodes: int = NODES, packages: int = PACKAGES, *, database: str = "") -> dict[str, float]:
    """Medians and the worst of some calls each. `database`: a PostgreSQL URL."""
    options = ("--database", database) if database else ()
    with contextlib.ExitStack() as stack:
        data = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        with pilothouse(data, *options) as (_, values):
            account_id = client(values, "sts").get_caller_identity()["Account"]
        command = [sys.executable, "-m", "bench.inventory", data, nodes, packages, account_id, values["AWS_REGION"]]
        filled = subprocess.run(
            [str(each) for each in command], check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        if database:
            postgresql.vacuum(database)
        server, values = stack.enter_context(pilothouse(data, *options))
        ssm = client(values, "ssm")
        figures = {"CPU ms of a first PutInventory": float(filled.stdout)}
        for name, request in _questions(packages).items():
            figures |= _asked(server, ssm, name, request)
    return figures


def _questions(packages: int) -> dict[str, Any]:
    def name(number: int) -> str:
        return _package(number * 7 % (3 * packages))

    def having(key: str, value: str, how: str = "Equal") -> dict[str, Any]:
        return {"Key": key, "Values": [value], "Type": how}

    platform = having("AWS:InstanceInformation.PlatformType", "Linux")
    return {
        "name": lambda n: {"Filters": [having(_NAME, name(n))]},
        "name, version less": lambda n: {"Filters": [having(_NAME, name(n)), having(_VERSION, "1.2.0", "LessThan")]},
        "name, platform": lambda n: {"Filters": [having(_NAME, name(n)), platform]},
        "count by name, a page": lambda n: {"Aggregators": [{"Expression": _NAME}]},
    }


def _asked(server: Measured, ssm: Any, name: str, request: Any) -> dict[str, float]:
    cpu, wall = [], []
    for number in range(_CALLS):
        before, began = server.cpu_seconds(), time.perf_counter()
        ssm.get_inventory(**request(number))
        wall.append((time.perf_counter() - began) * 1000)
        cpu.append((server.cpu_seconds() - before) * 1000)
    return {f"CPU ms, {name}": sum(cpu) / len(cpu), f"ms p99, {name}": sorted(wall)[-1 - len(wall) // 100]}


def _package(number: int) -> str:
    return f"package-{number:05}"


def _content(seed: int, packages: int) -> list[dict[str, str]]:
    """Packages of one node: a third of those that there are, in a few versions."""
    chance = random.Random(seed)
    return [
        {
            "Name": name, "Version": f"1.{chance.randrange(4)}.{len(name) % 7}-{1 + chance.randrange(2)}",
            "Architecture": "x86_64", "Publisher": "Maintainer <maintainer@example.org>", "ApplicationType": "admin",
            "URL": f"https://example.org/{name}", "Summary": f"What {name} does", "PackageId": f"{name}.deb",
            "InstalledTime": f"2026-0{1 + chance.randrange(9)}-11T10:{chance.randrange(60):02}:00Z",
        }
        for name in map(_package, chance.sample(range(3 * packages), packages))
    ]  # fmt: skip


async def fill(data: Path, nodes: int, packages: int, account_id: str, region: str) -> float:
    """Add nodes with packages to an installation that is not running; CPU ms of a put, without making its content."""
    from pilothouse.app import opened_house
    from pilothouse.capabilities.inventory.putting import Sent, put_items
    from pilothouse.runtime.settings import Settings, load

    settings = load(data)
    async with opened_house(settings if settings.data == data else Settings(data=data), create=False) as house:
        now = house.clock.millis()
        ids = [f"mi-{number:017x}" for number in range(nodes)]
        columns = (
            "node_id", "account_id", "region", "activation_id", "iam_role", "default_instance_name", "public_key",
            "public_key_hash", "fingerprint", "registered_at", "platform_type",
        )  # fmt: skip
        async with house.database.transaction() as tx:
            await tx.fill("node", columns, [
                (each, account_id, region, "bench", "NodeRole", each, b"", each, each, now, "Linux") for each in ids
            ])  # fmt: skip
        spent = 0.0
        for number, node_id in enumerate(ids):
            sent = Sent(
                type_name="AWS:Application", schema_version="1.1", capture_time="2026-03-10T12:00:00Z",
                content_hash=node_id, content=_content(number, packages),
            )  # fmt: skip
            before = time.process_time()
            async with house.database.transaction() as tx:
                await put_items(house, tx, account_id, region, node_id, [sent])
            spent += time.process_time() - before
        return spent / nodes * 1000


if __name__ == "__main__":
    print(asyncio.run(fill(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:])))
