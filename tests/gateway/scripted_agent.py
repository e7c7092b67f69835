"""An agent that speaks the protocol and runs nothing: it answers jobs as its script says.

It signs as the official agent does, keeps its mark against duplicates, and re-sends nothing by itself. Thousands of
them fit in one process: each is one task on one connection (`InProcess` to an edge, `OverNetwork` to a server).
"""

import asyncio
import json
import ssl
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import websockets.asyncio.client
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from pilothouse.gateway.edge import Edge
from pilothouse.gateway.frames import Frame, decode, encode
from pilothouse.wire.asgi import CONNECTION
from pilothouse.wire.http import Request

SHELL = "aws:runShellScript"


@dataclass(frozen=True)
class Identity:
    """Who the agent is, and its role credentials."""

    node_id: str
    region: str
    access_key_id: str
    secret: str = field(repr=False)
    token: str = field(repr=False)

    def signed(self, method: str, url: str, body: bytes, service: str, **headers: str) -> dict[str, str]:
        """Lower-case headers of a request with its signature."""
        request = AWSRequest(
            method=method,
            url=url,
            data=body,
            headers={name.replace("_", "-"): value for name, value in headers.items()},
        )
        SigV4Auth(Credentials(self.access_key_id, self.secret, self.token), service, self.region).add_auth(request)
        host = url.partition("//")[2].partition("/")[0]
        return {name.lower(): value for name, value in request.headers.items()} | {"host": host}


class Connection(Protocol):
    """An open control channel."""

    async def send(self, message: bytes | str) -> None: ...

    async def receive(self) -> bytes | None:
        """The next message, None when the channel is closed."""

    async def close(self) -> None: ...


Connect = Callable[[Identity], Awaitable[Connection]]


class Refused(Exception):
    """The server did not open the channel; `status` is its HTTP status."""

    def __init__(self, status: int, body: bytes = b"") -> None:
        super().__init__(status)
        self.status = status
        self.body = body


def _token_frame(token: str) -> str:
    return json.dumps({
        "Cookie": None, "MessageSchemaVersion": "1.0", "RequestId": str(uuid.uuid4()), "TokenValue": token,
        "AgentVersion": "3.3.0.0", "PlatformType": "linux",
    })  # fmt: skip


def _token_in(body: bytes) -> str:
    return body.decode().partition("<TokenValue>")[2].partition("</TokenValue>")[0]


_CREATE = json.dumps({"MessageSchemaVersion": "1.0", "RequestId": "11111111-2222-3333-4444-555555555555"}).encode()
_ORIGIN = "https://ssmmessages.pilothouse.test"


class InProcess:
    """A control channel to an edge of this process and event loop, without a socket."""

    def __init__(self) -> None:
        self._to_server: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._to_agent: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        self._heard: Callable[[bytes], None] | None = None
        self._ended: Callable[[], None] = lambda: None

    @classmethod
    async def create(cls, edge: Edge, who: Identity, path: str | None = None) -> str:
        """CreateControlChannel; the token."""
        path = path or f"/v1/control-channel/{who.node_id}"
        headers = who.signed("POST", _ORIGIN + path, _CREATE, "ssmmessages", content_type="application/json")
        answer = await edge.control.create(Request("POST", path, "", headers, _CREATE, "127.0.0.1", True))
        if answer.status != 201:
            raise Refused(answer.status, answer.body)
        return _token_in(answer.body)

    @classmethod
    async def open(cls, edge: Edge, who: Identity, token: str) -> "InProcess":
        """OpenControlChannel with the token."""
        made = cls()
        path = f"/v1/control-channel/{who.node_id}"
        query = "role=subscribe&stream=input"
        headers = who.signed("GET", f"{_ORIGIN}{path}?{query}", b"", "ssmmessages")
        scope = {
            "type": "websocket", "scheme": "wss", "path": path, "raw_path": path.encode(),
            "query_string": query.encode(), "client": ("127.0.0.1", 1),
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()], CONNECTION: made,
        }  # fmt: skip
        made._task = asyncio.get_running_loop().create_task(
            edge.websocket(scope, made._to_server.get, made._from_server)
        )
        made._to_server.put_nowait({"type": "websocket.connect"})
        first = await made._to_agent.get()
        if first["type"] != "websocket.accept":
            raise Refused(first.get("status", 403))
        await made.send(_token_frame(token))
        return made

    @classmethod
    def to(cls, edge: Edge) -> Connect:
        """Connect to this edge."""

        async def connect(who: Identity) -> Connection:
            return await cls.open(edge, who, await cls.create(edge, who))

        return connect

    async def _from_server(self, message: dict[str, Any]) -> None:
        self._to_agent.put_nowait(message)

    async def send(self, message: bytes | str) -> None:
        if self._heard is not None:
            self._heard(message.encode() if isinstance(message, str) else message)
            return
        kind = "text" if isinstance(message, str) else "bytes"
        self._to_server.put_nowait({"type": "websocket.receive", kind: message})

    def hear(self, heard: Callable[[bytes], None], ended: Callable[[], None]) -> None:
        """The server wants to be called with what the agent sends."""
        self._heard, self._ended = heard, ended
        while not self._to_server.empty():
            earlier = self._to_server.get_nowait()
            if earlier["type"] == "websocket.disconnect":
                ended()
            else:
                heard(earlier["text"].encode() if "text" in earlier else earlier["bytes"])

    def hold(self, held: bool) -> None:
        """The server has enough to do; this agent does not wait for it."""

    def write(self, message: bytes) -> None:
        """The server sends."""
        self._to_agent.put_nowait({"type": "websocket.send", "bytes": message})

    unsent = 0

    async def receive(self) -> bytes | None:
        message = await self._to_agent.get()
        return message["bytes"] if message["type"] == "websocket.send" else None

    async def close(self) -> None:
        self._to_server.put_nowait({"type": "websocket.disconnect", "code": 1006})
        self._ended()
        if self._task is not None:
            await self._task


class OverNetwork:
    """A control channel to a server's TLS listener."""

    def __init__(self, socket: websockets.asyncio.client.ClientConnection) -> None:
        self._socket = socket

    @classmethod
    def to(cls, address: str, trust: ssl.SSLContext) -> Connect:
        """Connect to `host:port` with certificates by `trust`."""

        async def connect(who: Identity) -> Connection:
            path = f"/v1/control-channel/{who.node_id}"
            token = await _post(address, trust, who, path)
            url = f"wss://{address}{path}?role=subscribe&stream=input"
            headers = who.signed("GET", "https" + url.removeprefix("wss"), b"", "ssmmessages")
            del headers["host"]
            socket = await websockets.asyncio.client.connect(
                url, ssl=trust, additional_headers=headers, compression=None, ping_interval=54, max_size=None
            )
            await socket.send(_token_frame(token))
            return cls(socket)

        return connect

    async def send(self, message: bytes | str) -> None:
        await self._socket.send(message)

    async def receive(self) -> bytes | None:
        try:
            message = await self._socket.recv(decode=False)
        except websockets.ConnectionClosed:
            return None
        return message

    async def close(self) -> None:
        await self._socket.close()

    def abort(self) -> None:
        """Break the connection; the server hears nothing more, as when a cable is cut."""
        self._socket.transport.abort()


async def _post(address: str, trust: ssl.SSLContext, who: Identity, path: str) -> str:
    """CreateControlChannel over the network; the token."""
    headers = who.signed("POST", f"https://{address}{path}", _CREATE, "ssmmessages", content_type="application/json")
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port), ssl=trust)
    headers |= {"content-length": str(len(_CREATE)), "connection": "close"}
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    try:
        writer.write("\r\n".join(lines).encode() + _CREATE)
        answer = await reader.read()
    finally:
        writer.close()
    status = int(answer.split(b" ", 2)[1])
    if status != 201:
        raise Refused(status, answer)
    return _token_in(answer)


@dataclass(frozen=True)
class Job:
    """An agent_job as it came."""

    message_id: str
    job_id: str
    topic: str
    content: Mapping[str, Any]

    @property
    def command_id(self) -> str:
        """The second last part of the JobId."""
        return self.job_id.split(".")[-2]


def report(status: str, steps: Mapping[str, Mapping[str, Any]] | None = None, trace: str = "") -> dict[str, Any]:
    """The content of a reply."""
    return {
        "additionalInfo": {"agent": {"lang": "en-US", "name": "amazon-ssm-agent", "os": "linux", "ver": "3.3.0.0"}},
        "documentStatus": status,
        "documentTraceOutput": trace,
        "runtimeStatus": steps,
    }


def step(status: str = "Success", *, code: int = 0, stdout: str = "", stderr: str = "") -> dict[str, Any]:
    """One entry of `runtimeStatus`, as the official agent fills it."""
    output = stdout if not stderr else f"{stdout}\n----------ERROR-------\n{stderr}"
    return {
        "status": status, "code": code, "name": SHELL, "output": output[:2500],
        "startDateTime": "2026-11-23T17:03:41.143Z", "endDateTime": "2026-11-23T17:03:41.266Z",
        "outputS3BucketName": "", "outputS3KeyPrefix": "", "stepName": "", "standardOutput": stdout,
        "standardError": stderr,
    }  # fmt: skip


def ended(status: str = "Success", name: str = SHELL, **of_step: Any) -> list[dict[str, Any]]:
    """All replies of a document with one step."""
    result = {name: step(status, **of_step)}
    return [report("InProgress"), report("InProgress", result), report(status, result)]


@dataclass
class Script:
    """How an agent answers a command: the code of its acknowledgement (None: silence), then these replies."""

    code: str | None = "200"
    message: str = "Successful"
    replies: list[dict[str, Any]] = field(default_factory=ended)
    heeds_cancel: bool = True


class ScriptedAgent:
    """One node. `script` may be changed under way, and may be a function of the job."""

    def __init__(self, who: Identity, connect: Connect, script: Script | Callable[[Job], Script] | None = None) -> None:
        self.who = who
        self.script = script or Script()
        self.jobs: list[Job] = []
        self.receipts: set[str] = set()
        self.running: set[str] = set()
        self.shells: list[dict[str, Any]] = []
        """What interactive_shell said, each time."""
        self.closings: list[str] = []
        """Sessions that the server said are over."""
        self.on_shell: Callable[[dict[str, Any]], None] | None = None
        self.came = asyncio.Event()
        self._connect = connect
        self._seen: set[str] = set()
        self._connection: Connection | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Open the control channel and answer what comes."""
        self._connection = await self._connect(self.who)
        self._task = asyncio.get_running_loop().create_task(self._answer(self._connection))

    async def stop(self) -> None:
        """Lose the connection."""
        if self._connection is not None:
            await self._connection.close()
        await self.closed()

    async def closed(self) -> None:
        """Wait until the channel has ended."""
        if self._task is not None:
            await self._task

    @property
    def commands(self) -> list[Job]:
        """Every transmission of a command."""
        return [job for job in self.jobs if "sendCommand" in job.topic]

    @property
    def cancels(self) -> list[Job]:
        """Every transmission of a cancel."""
        return [job for job in self.jobs if "cancelCommand" in job.topic]

    async def reply(self, job_id: str, content: dict[str, Any], *, message_id: str | None = None) -> str:
        """Send an agent_job_reply; its message id."""
        message_id = message_id or str(uuid.uuid4())
        payload = {"schemaVersion": 1, "jobId": job_id, "topic": "aws.ssm.sendCommand", "content": json.dumps(content)}
        await self._send("agent_job_reply", payload, message_id)
        return message_id

    async def acknowledge(self, job: Job, code: str, message: str) -> None:
        """Send an agent_job_ack."""
        await self._send("agent_job_ack", {
            "jobId": job.job_id, "acknowledgedMessageId": job.message_id, "createdDate": "2026-11-23T17:03:41.127Z",
            "statusCode": code, "errorMessage": message,
        })  # fmt: skip

    async def complete(self, session_id: str, status: str = "Success", output: str = "") -> str:
        """Say that a session has ended; the message's id."""
        message_id = str(uuid.uuid4())
        await self._send("agent_task_complete", {
            "SchemaVersion": 1, "TaskId": session_id, "Topic": "agent_task_complete", "FinalTaskStatus": status,
            "IsRoutingFailure": False, "AwsAccountId": "", "InstanceId": self.who.node_id, "Output": output,
            "S3Bucket": "", "S3UrlSuffix": "", "CwlGroup": "", "CwlStream": "", "RetryNumber": 1,
        }, message_id)  # fmt: skip
        return message_id

    async def send_raw(self, message: bytes | str) -> None:
        """Send any bytes."""
        assert self._connection is not None
        await self._connection.send(message)

    async def _send(self, kind: str, payload: dict[str, Any], message_id: str | None = None) -> None:
        frame = Frame(kind, message_id or str(uuid.uuid4()), 1_764_000_000_000, json.dumps(payload).encode())
        await self.send_raw(encode(frame))

    async def _answer(self, connection: Connection) -> None:
        while (message := await connection.receive()) is not None:
            frame = decode(message)
            payload = json.loads(frame.payload)
            if frame.message_type == "agent_job":
                job = Job(frame.message_id, payload["JobId"], payload["Topic"], json.loads(payload["Content"]))
                self.jobs.append(job)
                await (self._cancelled(job) if "cancelCommand" in job.topic else self._run(job))
            elif frame.message_type == "agent_job_reply_ack":
                self.receipts.add(payload["acknowledgedMessageId"])
            elif frame.message_type == "interactive_shell":
                self.shells.append(json.loads(payload["Content"]))
                if self.on_shell is not None:
                    self.on_shell(self.shells[-1])
            elif frame.message_type == "channel_closed":
                self.closings.append(payload["SessionId"])
            elif frame.message_type == "agent_task_acknowledge":
                self.receipts.add(payload["MessageId"])
            self.came.set()

    async def _run(self, job: Job) -> None:
        script = self.script(job) if callable(self.script) else self.script
        if script.code is None:
            return
        if job.command_id in self._seen:
            await self.acknowledge(job, "51405", "DuplicateCommand")
            return
        await self.acknowledge(job, script.code, script.message)
        if script.code != "200":
            return
        self._seen.add(job.command_id)
        self.running.add(job.job_id)
        for content in script.replies:
            await self.reply(job.job_id, content)
            if content["documentStatus"] in {"Success", "Failed", "TimedOut", "Cancelled"}:
                self.running.discard(job.job_id)

    async def _cancelled(self, job: Job) -> None:
        await self.acknowledge(job, "200", "Successful")
        await self.reply(job.job_id, report("InProgress"))
        command = str(job.content["CancelMessageId"])
        script = self.script(job) if callable(self.script) else self.script
        if command in self.running and script.heeds_cancel:
            self.running.discard(command)
            await self.reply(command, report("Cancelled", {SHELL: step("Cancelled", code=137)}))
