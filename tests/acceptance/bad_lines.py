"""Nodes on bad lines: agents that keep the protocol as the official one does, over connections that lose, repeat, delay
and overtake frames and break at any time. What each of them ran, and how it ended, is written down here.
"""

import asyncio
import contextlib
import json
import random
import uuid
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import websockets

from pilothouse.gateway.frames import Frame, decode, encode
from tests.gateway.scripted_agent import (
    SHELL,
    Connect,
    Identity,
    Job,
    OverNetwork,
    Refused,
    ended,
    report,
    step,
)

AWAY = (OSError, EOFError, IndexError, Refused, websockets.WebSocketException, TimeoutError)
"""What a connection meets while the server is dead or dies."""


@dataclass(frozen=True)
class Faults:
    """Chances of one frame, in either direction; `cut`: seconds between two breaks of a line, on average."""

    lost: float = 0.03
    doubled: float = 0.05
    late: float = 0.1
    late_seconds: float = 1.5
    cut: float = 90.0
    busy: float = 0.02
    """That a node refuses a job for now."""


@dataclass
class Ledger:
    """What happened on all nodes, as an observer of the nodes alone sees it."""

    ran: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(command, node) to how often it was run."""
    outcomes: dict[tuple[str, str], str] = field(default_factory=dict)
    running: Counter[str] = field(default_factory=Counter)
    most: Counter[str] = field(default_factory=Counter)
    """Command to how many nodes ran it at once, at the most."""
    faults: Counter[str] = field(default_factory=Counter)

    def started(self, command_id: str, node_id: str) -> None:
        self.ran[command_id, node_id] += 1
        self.running[command_id] += 1
        self.most[command_id] = max(self.most[command_id], self.running[command_id])

    def ended(self, command_id: str, node_id: str, outcome: str) -> None:
        """Before the server can know."""
        self.outcomes[command_id, node_id] = outcome
        self.running[command_id] -= 1


class Node:
    """One agent. Its marks against duplicates and its unacknowledged replies outlive its connections, as on disk."""

    def __init__(self, who: Identity, connect: Connect, faults: Faults, ledger: Ledger, seed: int) -> None:
        self.who = who
        self.unacknowledged: dict[str, bytes] = {}
        self._connect = connect
        self._faults = faults
        self._ledger = ledger
        self._random = random.Random(seed)
        self._marks: set[str] = set()
        self._programs: dict[str, asyncio.Task[None]] = {}
        self._line: OverNetwork | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def live(self) -> None:
        """Connect again and again, until cancelled."""
        self._later(self._repeat)
        try:
            while True:
                await asyncio.sleep(self._random.uniform(0, 2))
                with contextlib.suppress(*AWAY):
                    await self._talk(cast(OverNetwork, await self._connect(self.who)))
        finally:
            for task in self._tasks:
                task.cancel()

    async def _talk(self, line: OverNetwork) -> None:
        self._line = line
        cut = asyncio.get_running_loop().call_later(self._random.expovariate(1 / self._faults.cut), self._cut, line)
        try:
            while (message := await line.receive()) is not None:
                self._carry(partial(self._hear, decode(message)))
        finally:
            cut.cancel()
            line.abort()
            self._line = None

    def _cut(self, line: OverNetwork) -> None:
        self._ledger.faults["cut"] += 1
        line.abort()

    def _carry(self, arrive: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """A frame on the line: it may come late, twice or not at all, and be overtaken."""
        chance, faults = self._random.random, self._faults
        if chance() < faults.lost:
            self._ledger.faults["lost"] += 1
            return
        copies = 2 if chance() < faults.doubled else 1
        self._ledger.faults["doubled"] += copies - 1
        for _ in range(copies):
            late = chance() < faults.late
            self._ledger.faults["late"] += late
            self._later(arrive, self._random.uniform(0, faults.late_seconds) if late else 0)

    def _later(self, work: Callable[[], Coroutine[Any, Any, None]], seconds: float = 0) -> None:
        async def wait() -> None:
            await asyncio.sleep(seconds)
            await work()

        task = asyncio.get_running_loop().create_task(wait())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _repeat(self) -> None:
        """Send what was not acknowledged again under the same id. The official agent does it every five minutes."""
        while True:
            await asyncio.sleep(5)
            for message in list(self.unacknowledged.values()):
                self._carry(partial(self._write, message))

    async def _write(self, message: bytes) -> None:
        if self._line is not None:
            with contextlib.suppress(*AWAY):
                await self._line.send(message)

    def _say(self, kind: str, payload: dict[str, Any], *, tracked: bool = False) -> None:
        message_id = str(uuid.UUID(int=self._random.getrandbits(128)))
        message = encode(Frame(kind, message_id, 1_764_000_000_000, json.dumps(payload).encode()))
        if tracked:
            self.unacknowledged[message_id] = message
        self._carry(partial(self._write, message))

    def _reply(self, job_id: str, content: dict[str, Any], *, tracked: bool) -> None:
        payload = {"schemaVersion": 1, "jobId": job_id, "topic": "aws.ssm.sendCommand", "content": json.dumps(content)}
        self._say("agent_job_reply", payload, tracked=tracked)

    async def _hear(self, frame: Frame) -> None:
        payload = json.loads(frame.payload)
        if frame.message_type == "agent_job_reply_ack":
            self.unacknowledged.pop(payload["acknowledgedMessageId"], None)
        elif frame.message_type == "agent_job":
            job = Job(frame.message_id, payload["JobId"], payload["Topic"], json.loads(payload["Content"]))
            code = self._code(job)
            self._say("agent_job_ack", {
                "jobId": job.job_id, "acknowledgedMessageId": job.message_id, "statusCode": code, "errorMessage": code,
            })  # fmt: skip
            if code == "200":
                self._marks.add(job.command_id)
                self._take(job)

    def _code(self, job: Job) -> str:
        if job.command_id in self._marks:
            return "51405"
        chance = random.Random(job.message_id).random()  # a frame that comes twice gets the same answer twice
        return "51402" if chance < self._faults.busy else "200"

    def _take(self, job: Job) -> None:
        self._reply(job.job_id, report("InProgress"), tracked=False)
        if "cancelCommand" in job.topic:
            program = self._programs.get(job.content["CancelMessageId"])
            if program is not None:
                program.cancel()
            return
        self._programs[job.job_id] = asyncio.get_running_loop().create_task(self._run(job))

    async def _run(self, job: Job) -> None:
        self._ledger.started(job.command_id, self.who.node_id)
        wanted = job.content["Parameters"]
        fails = self._random.random() < float(wanted["workingDirectory"].removeprefix("/fails/"))
        outcome = "Failed" if fails else "Success"
        try:
            await asyncio.sleep(self._random.uniform(0, 0.5))
            _, of_step, final = ended(outcome, code=int(fails), stdout=f"{job.command_id} on {self.who.node_id}")
            replies = [of_step, final]
            self._random.shuffle(replies)
        except asyncio.CancelledError:
            outcome = "Cancelled"
            replies = [report(outcome, {SHELL: step(outcome, code=137, stdout="stopped")})]
        self._ledger.ended(job.command_id, self.who.node_id, outcome)
        del self._programs[job.job_id]
        for content in replies:
            self._reply(job.job_id, content, tracked=True)
