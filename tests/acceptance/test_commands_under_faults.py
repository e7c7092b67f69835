"""Commands on many nodes with bad lines, while the server is killed again and again: each node runs each command once,
every status is true, rate control is exact, and everything ends.

The suite sends a few hundred. `PILOTHOUSE_TEST_INVOCATIONS=20000` makes it a judgment; `PILOTHOUSE_TEST_NODES`,
`PILOTHOUSE_TEST_WORKERS` and `PILOTHOUSE_TEST_SEED` say how.
"""

import asyncio
import contextlib
import os
import random
import signal
import ssl
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from bench.fleet import TAG, registered
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

from tests.acceptance.bad_lines import Faults, Ledger, Node
from tests.acceptance.installation import Installation
from tests.acceptance.test_workers import House, options_of
from tests.gateway.scripted_agent import Identity, OverNetwork

INVOCATIONS = int(os.environ.get("PILOTHOUSE_TEST_INVOCATIONS", "135"))
NODES = int(os.environ.get("PILOTHOUSE_TEST_NODES", "15"))
WORKERS = os.environ.get("PILOTHOUSE_TEST_WORKERS", "")
SEED = int(os.environ.get("PILOTHOUSE_TEST_SEED", "0")) or random.SystemRandom().getrandbits(32)
JUDGMENT = INVOCATIONS > 1000
FAULTS = Faults() if JUDGMENT else Faults(lost=0, late_seconds=0.3, cut=4.0, busy=0)  # else seconds of waiting
AT_ONCE = 30 if JUDGMENT else 8
"""Commands that are under way together."""
KILLS = 1_000_000 if JUDGMENT else 3
BETWEEN_KILLS = (15.0, 45.0) if JUDGMENT else (0.5, 2.5)
PATIENCE = 600.0
"""Seconds in which a command must have come nearer to its end."""


@dataclass(frozen=True)
class Kind:
    """A command: its rate control, the chance that it fails on a node, whether it is cancelled under way."""

    concurrency: str
    errors: str
    fails: float
    cancelled: bool = False

    def limits(self, nodes: int) -> tuple[int, int]:
        """Both as numbers."""

        def number(text: str, up: int) -> int:
            return (int(text[:-1]) * nodes + up) // 100 if text.endswith("%") else int(text)

        return max(1, number(self.concurrency, 99)), number(self.errors, 0)


KINDS = [
    Kind("100%", "100%", 0),
    Kind("100%", "100%", 0.3),
    Kind("30%", "100%", 0.1),
    Kind("10", "100%", 0),
    Kind("30%", "0", 0.05),
    Kind("10", "3", 0.2),
    Kind("20%", "10%", 1),
    Kind("100%", "100%", 0, cancelled=True),
    Kind("30%", "100%", 0, cancelled=True),
]


class Sender:
    """Sends the commands as an SDK does, through servers that die, and reads what became of them."""

    def __init__(self, house: Installation) -> None:
        self._ssm: Any = house.boto(
            "ssm", retries={"max_attempts": 12, "mode": "standard"}, connect_timeout=5, read_timeout=20,
            max_pool_connections=AT_ONCE * 2,
        )  # fmt: skip

    async def ask(self, operation: str, **members: Any) -> Any:
        """Call until there is an answer."""
        while True:
            try:
                return await asyncio.to_thread(getattr(self._ssm, operation), **members)
            except ClientError as error:
                if error.response["ResponseMetadata"]["HTTPStatusCode"] < 500:
                    raise
            except (HTTPClientError, BotoCoreError):
                await asyncio.sleep(0.2)

    async def send(self, kind: Kind, name: str) -> str:
        """SendCommand; where even the SDK has given up, what it may have sent is looked for."""
        while True:
            try:
                sent = await asyncio.to_thread(
                    self._ssm.send_command,
                    Targets=[{"Key": f"tag:{TAG['Key']}", "Values": [TAG["Value"]]}],
                    DocumentName="AWS-RunShellScript",
                    Parameters={
                        "commands": ["true"], "workingDirectory": [f"/fails/{kind.fails}"],
                    },
                    MaxConcurrency=kind.concurrency, MaxErrors=kind.errors, Comment=name,
                )  # fmt: skip
            except (HTTPClientError, BotoCoreError, ClientError) as error:
                if isinstance(error, ClientError) and error.response["ResponseMetadata"]["HTTPStatusCode"] < 500:
                    raise
                found = [each for each in await self.pages("list_commands", "Commands") if each["Comment"] == name]
                if found:
                    return str(found[0]["CommandId"])
            else:
                return str(sent["Command"]["CommandId"])

    async def ended(self, command_id: str, ledger: Ledger) -> None:
        """Wait for the command's end. A cancelled one is not sent again, so of nodes that it never reached nobody will
        know until it expires: those are not waited for.
        """
        end, before = time.monotonic() + PATIENCE, 0
        while True:
            (command,) = (await self.ask("list_commands", CommandId=command_id))["Commands"]
            if command["Status"] not in {"Pending", "InProgress", "Cancelling"}:
                return
            if command["Status"] == "Cancelling":
                found = await self.invocations(command_id)
                open_ = [each["InstanceId"] for each in found if each["StatusDetails"] in {"Cancelling", "InProgress"}]
                if not any(ledger.ran[command_id, node_id] for node_id in open_):
                    return
            if command["CompletedCount"] > before:
                end, before = time.monotonic() + PATIENCE, command["CompletedCount"]
            assert time.monotonic() < end, f"stuck: {command}"
            await asyncio.sleep(5 if JUDGMENT else 0.2)

    async def invocations(self, command_id: str) -> list[dict[str, Any]]:
        """All of the command's, with their steps."""
        return await self.pages(
            "list_command_invocations", "CommandInvocations", CommandId=command_id, Details=True
        )  # fmt: skip

    async def pages(self, operation: str, member: str, **members: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while True:
            page = await self.ask(operation, MaxResults=50, **members)
            found += page[member]
            if not page.get("NextToken"):
                return found
            members["NextToken"] = page["NextToken"]


@pytest.fixture
def house(database_url: str, tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path, *options_of(database_url), *(("--workers", WORKERS) if WORKERS else ()))
    try:
        made.start()
        yield made
    finally:
        made.close()


async def _kill(house: House, chance: random.Random, killed: Counter[str]) -> None:
    """kill -9 at random times; with workers one of them, or the supervisor and so all."""
    for _ in range(KILLS):
        await asyncio.sleep(chance.uniform(*BETWEEN_KILLS))
        if WORKERS and chance.random() < 0.6:
            killed["worker"] += 1
            with contextlib.suppress(ProcessLookupError):
                os.kill(chance.choice(list(house.workers().values())), signal.SIGKILL)
        else:
            killed["server"] += 1
            house.kill()
            await asyncio.to_thread(house.start)
    await asyncio.Event().wait()


async def _command(sender: Sender, kind: Kind, name: str, ledger: Ledger, chance: random.Random) -> str:
    command_id = await sender.send(kind, name)
    if kind.cancelled:
        await asyncio.sleep(chance.uniform(0, 1.5))
        await sender.ask("cancel_command", CommandId=command_id)
    await sender.ended(command_id, ledger)
    return command_id


async def _work(
    sender: Sender, kinds: list[Kind], nodes: list[Node], ledger: Ledger, chance: random.Random
) -> list[str]:
    """Send all commands, a few at a time, until they have ended and no node has anything left to say; their ids."""
    room = asyncio.Semaphore(AT_ONCE)

    async def one(number: int, kind: Kind) -> str:
        async with room:
            return await _command(sender, kind, f"command-{number}", ledger, chance)

    done = await asyncio.gather(*(one(number, kind) for number, kind in enumerate(kinds)))
    end = time.monotonic() + PATIENCE
    while any(node.unacknowledged for node in nodes):
        assert time.monotonic() < end, "replies that are never acknowledged"
        await asyncio.sleep(0.5)
    return done


async def _judge(house: House, identities: list[Identity], ledger: Ledger, chance: random.Random) -> str:
    trust = ssl.create_default_context(cafile=house.data / "ca.pem")
    connect = OverNetwork.to(f"127.0.0.1:{house.https}", trust)
    nodes = [Node(who, connect, FAULTS, ledger, chance.getrandbits(64)) for who in identities]
    lives = [asyncio.create_task(node.live()) for node in nodes]
    sender = Sender(house)
    kinds = [KINDS[number % len(KINDS)] for number in range(INVOCATIONS // NODES)]
    killed: Counter[str] = Counter()
    killer = asyncio.create_task(_kill(house, chance, killed))
    work = asyncio.create_task(_work(sender, kinds, nodes, ledger, chance))
    await asyncio.wait([killer, work], return_when=asyncio.FIRST_COMPLETED)
    if killer.done():  # a server that did not come back
        work.cancel()
        await killer
    killer.cancel()
    await asyncio.wait([killer])
    done = await work
    known = Counter(each["Comment"] for each in await sender.pages("list_commands", "Commands"))
    assert known == Counter(f"command-{number}" for number in range(len(kinds))), "a retried command came twice"
    seen: Counter[str] = Counter()
    for kind, command_id in zip(kinds, done, strict=True):
        seen += await _check(sender, kind, command_id, ledger)
    for task in lives:
        task.cancel()
    return f"{dict(seen)} on {NODES} nodes, {len(kinds)} commands, {dict(killed)} killed, {dict(ledger.faults)} frames"


async def _check(sender: Sender, kind: Kind, command_id: str, ledger: Ledger) -> Counter[str]:
    """What the server says of a command is what happened at the nodes."""
    (command,) = (await sender.ask("list_commands", CommandId=command_id))["Commands"]
    found = await sender.invocations(command_id)
    assert len({each["InstanceId"] for each in found}) == len(found) == NODES == command["TargetCount"]
    not_run = {"Cancelled", "Cancelling"} if kind.cancelled else {"Terminated"}
    seen: Counter[str] = Counter()
    for each in found:
        place = command_id, each["InstanceId"]
        details, ran = each["StatusDetails"], ledger.ran[place]
        seen[details] += 1
        if ran:
            assert (ran, details) == (1, ledger.outcomes[place]), (place, each)
        else:
            assert details in not_run, (place, each)
        if details == "Success":
            assert each["CommandPlugins"][0]["Output"] == f"{place[0]} on {place[1]}"
    errors = seen["Failed"]
    concurrency, tolerated = kind.limits(NODES)
    assert command["CompletedCount"] == NODES - seen["Cancelling"]
    assert (command["ErrorCount"], command["DeliveryTimedOutCount"]) == (errors, 0)
    assert ledger.most[command_id] <= concurrency, (kind, ledger.most[command_id])
    assert errors <= tolerated + concurrency, (kind, errors)
    assert seen["Terminated"] == 0 or errors > tolerated, (kind, seen)
    first = [name for name in ("Cancelling", "Cancelled") if seen[name]]
    first += ["Failed"] if errors > tolerated else []
    first += ["Incomplete"] if errors else ["Success"]
    assert command["StatusDetails"] == first[0], (command, seen)
    return seen


@pytest.mark.timeout(0 if JUDGMENT else 300)
def test_each_node_runs_each_command_once_over_kills_and_bad_lines(house: House, tmp_path: Path) -> None:
    print(f"PILOTHOUSE_TEST_SEED={SEED}")
    values = house.known()
    found = registered(house.boto("ssm"), house.http, values["AWS_REGION"], NODES)
    identities = [Identity(**each) for each in found]
    print(asyncio.run(_judge(house, identities, Ledger(), random.Random(SEED))))
