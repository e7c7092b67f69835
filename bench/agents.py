"""Many scripted agents in one process, apart from the server under measurement so that its CPU time is its own.

They speak the control channel over TLS with hand-made websocket frames, as little work as the protocol allows: a job is
acknowledged and answered with three replies, as the official agent does for a document with one step. Driven by lines:
standard input takes one JSON line that says where and who, then for each command to come a line with the number of the
agents that it will reach; standard output says `ready`, then one JSON line for each command, when the last of them has
the receipt of its last reply. While nothing else happens each agent pings every 54 s, as the official one does.
"""

import asyncio
import hashlib
import itertools
import json
import os
import ssl
import statistics
import sys
import time
import uuid
from collections.abc import Iterable
from typing import Any, cast

import uvloop
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from websockets.speedups import apply_mask

from pilothouse.gateway.frames import Frame, decode, encode

PATH = "/v1/control-channel/"
PING_SECONDS = 54.0
ADDRESSES = 8
_CREATE = json.dumps({"MessageSchemaVersion": "1.0", "RequestId": "11111111-2222-3333-4444-555555555555"}).encode()
_STEP = {
    "code": 0, "name": "aws:runShellScript", "output": "", "startDateTime": "2026-01-01T00:00:00.000Z",
    "endDateTime": "2026-01-01T00:00:00.100Z", "outputS3BucketName": "", "outputS3KeyPrefix": "", "stepName": "",
    "standardOutput": "", "standardError": "",
}  # fmt: skip


def _report(status: str, step: str | None) -> str:
    """The content of a reply."""
    steps = None if step is None else {"aws:runShellScript": {"status": step, **_STEP}}
    return json.dumps({
        "additionalInfo": {"agent": {"lang": "en-US", "name": "amazon-ssm-agent", "os": "linux", "ver": "3.3.0.0"}},
        "documentStatus": status, "documentTraceOutput": "", "runtimeStatus": steps,
    })  # fmt: skip


_REPLIES = [
    json.dumps({"schemaVersion": 1, "jobId": "JOB", "topic": "aws.ssm.sendCommand", "content": content})
    for content in (_report("InProgress", None), _report("InProgress", "Success"), _report("Success", "Success"))
]
_ACK = json.dumps({
    "jobId": "JOB", "acknowledgedMessageId": "MESSAGE", "createdDate": "2026-01-01T00:00:00.000Z",
    "statusCode": "200", "errorMessage": "Successful",
})  # fmt: skip


class Round:
    """One command on all agents."""

    def __init__(self, agents: int) -> None:
        self.missing = agents
        self.receipts: list[float] = []
        self.done: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    def ended(self) -> None:
        """One more agent has the receipt of its last reply."""
        self.missing -= 1
        if self.missing == 0:
            self.done.set_result(time.monotonic())


class Agent(asyncio.Protocol):
    """One node on one websocket; the upgrade is part of it."""

    def __init__(self, fleet: "Fleet", who: dict[str, str], hello: str | None) -> None:
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._fleet = fleet
        self._who = who
        self._hello = hello
        self._buffer = b""
        self._upgraded = False
        self._sent: dict[str, float] = {}
        self._last = ""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        target = f"{PATH}{self._who['node_id']}?role=subscribe&stream=input"
        address = self._fleet.address
        headers = {
            "Host": address, "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        }  # fmt: skip
        if self._hello is not None:
            signed_headers = signed(self._who, "GET", f"https://{address}{target}", b"")
            headers |= {name: value for name, value in signed_headers.items() if name.lower() != "host"}
        lines = [f"GET {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        self._transport.write("\r\n".join(lines).encode())

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._upgraded:
            head, found, rest = self._buffer.partition(b"\r\n\r\n")
            if not found:
                return
            if b" 101 " not in head.partition(b"\r\n")[0]:
                self.opened.set_exception(SystemExit(f"no upgrade: {head[:80]!r}"))
                return
            self._upgraded, self._buffer = True, rest
            if self._hello is not None:
                self._send(1, self._hello.encode())
            self.opened.set_result(None)
        while (message := self._message()) is not None:
            self._hear(decode(message))

    def connection_lost(self, exc: Exception | None) -> None:
        self._fleet.lost()

    def ping(self) -> None:
        """Say that it is there, now and from now on."""
        if self._transport is not None and not self._transport.is_closing():
            self._send(9, b"keepalive")
            asyncio.get_running_loop().call_later(PING_SECONDS, self.ping)

    def _message(self) -> bytes | None:
        """The next whole binary message. The server's are neither masked nor fragmented."""
        while len(buffer := self._buffer) >= 2:
            kind, length, start = buffer[0] & 15, buffer[1], 2
            if length == 126:
                length, start = int.from_bytes(buffer[2:4], "big"), 4
            elif length == 127:
                length, start = int.from_bytes(buffer[2:10], "big"), 10
            if len(buffer) < start + length:
                return None
            body, self._buffer = buffer[start : start + length], buffer[start + length :]
            if kind == 2:
                return body
            if kind == 9:
                self._send(10, body)
        return None

    def _send(self, kind: int, body: bytes) -> None:
        mask = os.urandom(4)
        size = bytes([128 | len(body)]) if len(body) < 126 else b"\xfe" + len(body).to_bytes(2, "big")
        assert self._transport is not None
        self._transport.write(bytes([128 | kind]) + size + mask + apply_mask(body, mask))

    def _hear(self, frame: Frame) -> None:
        payload = json.loads(frame.payload)
        if frame.message_type == "agent_job":
            self._answer(payload["JobId"], frame.message_id)
        elif frame.message_type == "agent_job_reply_ack":
            receipt = payload["acknowledgedMessageId"]
            self._fleet.round.receipts.append(time.monotonic() - self._sent.pop(receipt))
            if receipt == self._last:
                self._fleet.round.ended()

    def _answer(self, job_id: str, message_id: str) -> None:
        self._frame("agent_job_ack", _ACK.replace("JOB", job_id).replace("MESSAGE", message_id))
        for reply in _REPLIES:
            self._last = self._frame("agent_job_reply", reply.replace("JOB", job_id))
            self._sent[self._last] = time.monotonic()

    def _frame(self, kind: str, payload: str) -> str:
        message_id = str(uuid.UUID(int=next(self._fleet.numbers)))
        self._send(2, encode(Frame(kind, message_id, 1_764_000_000_000, payload.encode())))
        return message_id


class Fleet:
    """All agents of the process."""

    kind: type[Agent] = Agent

    def __init__(self, address: str, trust: ssl.SSLContext) -> None:
        self.address = address
        self.numbers = itertools.count(int.from_bytes(hashlib.sha256(os.urandom(16)).digest()[:14], "big") << 16)
        self.round = Round(0)
        self._trust = trust

    async def connect(self, who: dict[str, str], bare: bool) -> None:
        """Open one agent's channel."""
        hello = None if bare else json.dumps({
            "Cookie": None, "MessageSchemaVersion": "1.0", "RequestId": str(uuid.uuid4()),
            "TokenValue": await self._token(who), "AgentVersion": "3.3.0.0", "PlatformType": "linux",
        })  # fmt: skip
        host, _, port = self.address.rpartition(":")
        loop = asyncio.get_running_loop()
        _, agent = await loop.create_connection(
            lambda: self.kind(self, who, hello), host, int(port), ssl=self._trust, local_addr=self._from()
        )
        await agent.opened
        loop.call_later(PING_SECONDS * (next(self.numbers) % 997) / 997, agent.ping)

    async def connect_all(self, identities: Iterable[dict[str, str]], bare: bool) -> None:
        """Open all channels, a few at a time."""
        room = asyncio.Semaphore(16)

        async def one(who: dict[str, str]) -> None:
            async with room:
                await self.connect(who, bare)

        async with asyncio.TaskGroup() as group:
            for who in identities:
                group.create_task(one(who))

    def lost(self) -> None:
        """A connection ended: the round under way cannot be measured."""
        if not self.round.done.done():
            self.round.done.set_exception(SystemExit("an agent lost its control channel"))

    def _from(self) -> tuple[str, int]:
        """An address to connect from: one has not ports enough for a large fleet."""
        return f"127.0.0.{1 + next(self.numbers) % ADDRESSES}", 0

    async def _token(self, who: dict[str, str]) -> str:
        path = PATH + who["node_id"]
        headers = signed(who, "POST", f"https://{self.address}{path}", _CREATE)
        headers |= {"Content-Length": str(len(_CREATE)), "Connection": "close", "Host": self.address}
        host, _, port = self.address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port), ssl=self._trust, local_addr=self._from())
        lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        writer.write("\r\n".join(lines).encode() + _CREATE)
        answer = (await reader.read()).decode()
        writer.close()
        if " 201 " not in answer.partition("\r\n")[0]:
            raise SystemExit(f"CreateControlChannel: {answer.partition(chr(13))[0]}")
        return answer.partition("<TokenValue>")[2].partition("</TokenValue>")[0]


def signed(
    who: dict[str, str], method: str, url: str, body: bytes, service: str = "ssmmessages", **headers: str
) -> dict[str, str]:
    """Headers with the signature of the node's role credentials."""
    request = AWSRequest(method, url, headers, body)
    credentials = Credentials(who["access_key_id"], who["secret"], who["token"])
    SigV4Auth(credentials, service, who["region"]).add_auth(request)
    return dict(request.headers.items())


async def _run() -> None:
    loop = asyncio.get_running_loop()
    wanted: dict[str, Any] = json.loads(await loop.run_in_executor(None, sys.stdin.readline))
    trust = ssl.create_default_context(cafile=wanted["ca"])
    fleet = Fleet(wanted["address"], trust)
    await fleet.connect_all(wanted["identities"], wanted["bare"])
    print("ready", flush=True)
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        fleet.round = Round(int(line))
        print("go", flush=True)
        at = await fleet.round.done
        percentiles = statistics.quantiles(fleet.round.receipts, n=100)
        print(json.dumps({"at": at, "receipt_p50": percentiles[49], "receipt_p99": percentiles[98]}), flush=True)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run())
