"""Many scripted agents that keep to associations, in one process: those of `bench.agents`, and they look when told.

A node that is told to look asks for its associations; each that is Pending it runs, which is to report Pending,
InProgress and Success, as the official agent does. Driven by lines: standard input takes one JSON line that says where
and who, then for each round a line with the number of runs to come; standard output says `ready`, and one JSON line for
each round.
"""

import asyncio
import http.client
import json
import ssl
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import uvloop

from bench.agents import Agent, Fleet, signed

_CONNECTIONS = 64
"""That the nodes' requests share: each of them asks by one of these in turn."""
_STATES = ("Pending", "InProgress", "Success")
_SUMMARY = "1 out of 1 plugin processed, 1 success, 0 failed, 0 timedout, 0 skipped. "


class Keeper(Agent):
    """One node."""

    def _answer(self, job_id: str, message_id: str) -> None:
        super()._answer(job_id, message_id)
        assert isinstance(self._fleet, Keepers)
        self._fleet.look(self._who)


class Keepers(Fleet):
    """All nodes of the process."""

    kind = Keeper

    def __init__(self, address: str, trust: ssl.SSLContext) -> None:
        super().__init__(address, trust)
        self.runs: Counter[str] = Counter()
        self._left = 0
        self._ended = asyncio.Event()
        self._pool = ThreadPoolExecutor(_CONNECTIONS)
        self._own = threading.local()
        self._loop = asyncio.get_running_loop()

    def begin(self, runs: int) -> None:
        """So many are to come."""
        self.runs.clear()
        self._left = runs
        self._ended.clear()

    async def ended(self) -> None:
        """Wait for the last of them."""
        await self._ended.wait()

    def look(self, who: dict[str, str]) -> None:
        """A node was told to look."""
        self._pool.submit(self._looked, who)

    def _looked(self, who: dict[str, str]) -> None:
        try:
            for item in self._ask(who, "ListInstanceAssociations", InstanceId=who["node_id"])["Associations"]:
                if item["DetailedStatus"] == "Pending":
                    self._run(who, item["AssociationId"])
        except BaseException as error:
            print(json.dumps({"failed": repr(error)}), flush=True)
            raise

    def _run(self, who: dict[str, str], association_id: str) -> None:
        for status in _STATES:
            result = {
                "Status": status, "ErrorCode": "", "ExecutionDate": time.time(), "ExecutionSummary": _SUMMARY
            }  # fmt: skip
            self._ask(
                who, "UpdateInstanceAssociationStatus",
                AssociationId=association_id, InstanceId=who["node_id"], ExecutionResult=result,
            )  # fmt: skip
        self._loop.call_soon_threadsafe(self._ran, who["node_id"])

    def _ran(self, node_id: str) -> None:
        self.runs[node_id] += 1
        self._left -= 1
        if self._left <= 0:
            self._ended.set()

    def _ask(self, who: dict[str, str], operation: str, **members: Any) -> Any:
        body = json.dumps(members).encode()
        headers = signed(
            who, "POST", f"https://{self.address}/", body, "ssm",
            **{"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": f"AmazonSSM.{operation}"},
        )  # fmt: skip
        if not hasattr(self._own, "connection"):
            host, _, port = self.address.rpartition(":")
            self._own.connection = http.client.HTTPSConnection(host, int(port), context=self._trust, timeout=60)
        self._own.connection.request("POST", "/", body, headers)
        answer = self._own.connection.getresponse()
        said = answer.read()
        if answer.status != 200:
            raise SystemExit(f"{operation}: {answer.status} {said[:300]!r}")
        return json.loads(said or b"{}")


async def _run() -> None:
    loop = asyncio.get_running_loop()
    wanted: dict[str, Any] = json.loads(await loop.run_in_executor(None, sys.stdin.readline))
    keepers = Keepers(wanted["address"], ssl.create_default_context(cafile=wanted["ca"]))
    await keepers.connect_all(wanted["identities"], bare=False)
    print("ready", flush=True)
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        keepers.begin(int(line))
        print("go", flush=True)
        await keepers.ended()
        at = time.monotonic()
        await asyncio.sleep(1)  # for what should not come any more
        said = {"at": at, "nodes": len(keepers.runs), "runs": keepers.runs.total()}
        print(json.dumps(said), flush=True)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run())
