"""A server for the agent's tests: the operations an agent calls, over TLS, with every signature checked.

It knows nothing of the agent's code. Signatures are checked with botocore and cryptography, frames
are put together and taken apart by hand.
"""

import asyncio
import base64
import datetime
import hashlib
import ipaddress
import json
import ssl
import struct
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol

from tests.agent.fake_sessions import FakeSession
from tests.agent.fake_stores import LiveStreams, LogGroups, Objects

ACTIVATION_ID = "11111111-2222-3333-4444-555555555555"
ACTIVATION_CODE = "ABCDEFGHIJKLMNOPQRST"
REGION = "eu-test-1"


@dataclass
class Node:
    public_key: rsa.RSAPublicKey
    fingerprint: str


@dataclass
class Reply:
    """One agent_job_reply or SendReply, in the order of arrival."""

    message_id: str
    job_id: str
    content: dict[str, Any]
    way: str

    @property
    def steps(self) -> dict[str, Any]:
        return self.content["runtimeStatus"] or {}

    @property
    def is_final(self) -> bool:
        return self.content["documentStatus"] not in ("InProgress", "SuccessAndReboot")


@dataclass
class Call:
    operation: str
    body: dict[str, Any]
    signer: str


class Refused(Exception):
    def __init__(self, status: int, code: str, message: str = "refused") -> None:
        super().__init__(f"{code}: {message}")
        self.status = status
        self.code = code


@dataclass
class FakeServer:
    """Start it, let agents come, send jobs, look at what came back."""

    directory: Path
    port: int = 0
    acknowledge_replies: bool = True
    control_channel_error: str | None = None
    """Code that CreateControlChannel is answered with, if any."""
    token_error: str | None = None
    credentials_life: float = 3600.0
    parameters: dict[str, dict[str, Any]] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)
    """What GET answers, by path, or by path and Accept."""
    guarded: dict[str, str] = field(default_factory=dict)
    """The Authorization that a path wants."""
    documents: dict[str, str] = field(default_factory=dict)
    """Content by name, or by name:version."""
    packages: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Content and AttachmentsContent, by name or by name:version name."""
    inventory: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The last item of each type."""
    associations: list[dict[str, Any]] = field(default_factory=list)
    reports: list[dict[str, Any]] = field(default_factory=list)
    """What was said of associations, in the order in which it came."""
    away: bool = False
    """Every operation is answered as a server does that has no database."""
    objects: Objects = field(default_factory=Objects)
    logs: LogGroups = field(default_factory=LogGroups)
    live: LiveStreams | None = None
    """If there is one, the server says that it takes output while it grows."""

    sessions: dict[str, FakeSession] = field(default_factory=dict)
    completions: list[dict[str, Any]] = field(default_factory=list)
    """All agent_task_complete, with their MessageId."""
    acknowledge_completions: bool = True
    keys: dict[str, tuple[bytes, dict[str, str]]] = field(default_factory=dict)
    """Data keys of KMS by their wrapped form (base64), with the encryption context that opens them."""

    nodes: dict[str, Node] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    acks: list[dict[str, Any]] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    """Everything that was wrong with what an agent sent."""

    def __post_init__(self) -> None:
        self.ca_file = self.directory / "ca.pem"
        self._secrets: dict[str, tuple[str, str, float, str]] = {}
        self._tokens: dict[str, str] = {}
        self._channels: dict[str, Channel] = {}
        self._messages: list[dict[str, Any]] = []
        self._polled: dict[str, float] = {}
        self._changed = asyncio.Condition()
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.StreamWriter] = set()
        make_certificates(self.directory)

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"

    async def start(self) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.directory / "server.pem", self.directory / "server.key")
        self._server = await asyncio.start_server(self._connection, "localhost", self.port, ssl=context)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Gone at once, with all connections, as after kill -9."""
        if self._server is None:
            return
        server, self._server = self._server, None
        server.close()
        self._channels.clear()
        self._tokens.clear()
        while self._connections:
            for writer in self._connections:
                writer.transport.abort()
            await self._wake()
            await asyncio.sleep(0.01)
        await server.wait_closed()

    async def until(self, condition: Callable[[], bool], what: str = "", timeout: float = 20.0) -> None:
        try:
            async with asyncio.timeout(timeout), self._changed:
                await self._changed.wait_for(condition)
        except TimeoutError:
            raise AssertionError(
                f"waited {timeout} s for {what or condition}; refusals: {self.refusals}; acks: {self.acks}; "
                f"replies: {[(reply.job_id, reply.content['documentStatus']) for reply in self.replies]}"
            ) from None

    async def online(self, instance_id: str) -> None:
        await self.until(lambda: instance_id in self._channels, "the control channel")

    def is_online(self, instance_id: str) -> bool:
        return instance_id in self._channels

    async def final_reply(self, job_id: str, timeout: float = 20.0) -> Reply:
        def found() -> list[Reply]:
            return [reply for reply in self.replies if reply.job_id == job_id and reply.is_final]

        await self.until(lambda: bool(found()), f"the final reply of {job_id}", timeout)
        return found()[0]

    def replies_of(self, job_id: str) -> list[Reply]:
        return [reply for reply in self.replies if reply.job_id == job_id]

    # -- what the server sends

    async def send(
        self,
        instance_id: str,
        content: dict[str, Any] | str,
        *,
        topic: str = "sendCommand",
        command_id: str | None = None,
    ) -> str:
        """An agent_job over the control channel; its job id."""
        job_id = f"aws.ssm.{command_id or uuid.uuid4()}.{instance_id}"
        await self._channels[instance_id].send_frame(
            "agent_job",
            {
                "SchemaVersion": 1,
                "JobId": job_id,
                "Topic": f"aws.ssm.{topic}.{REGION}",
                "Content": content if isinstance(content, str) else json.dumps(content),
            },
        )
        return job_id

    async def run(self, instance_id: str, lines: list[str], **inputs: str) -> str:
        """AWS-RunShellScript."""
        return await self.send(instance_id, shell_command(lines, **inputs))

    async def cancel(self, instance_id: str, job_id: str) -> str:
        return await self.send(instance_id, {"CancelMessageId": job_id}, topic="cancelCommand")

    async def offer(self, instance_id: str, content: dict[str, Any], *, topic: str = "sendCommand") -> str:
        """A message for the next GetMessages."""
        message_id = f"aws.ssm.{uuid.uuid4()}.{instance_id}"
        message = {
            "CreatedDate": "2026-11-23T17:07:31.000Z",
            "Destination": instance_id,
            "MessageId": message_id,
            "Topic": f"aws.ssm.{topic}.{REGION}",
            "Payload": json.dumps(content),
        }
        self._messages.append(message)
        await self._wake()
        return message_id

    async def start_session(
        self, instance_id: str, document: dict[str, Any], parameters: dict[str, Any] | None = None, **given: Any
    ) -> FakeSession:
        """interactive_shell over the control channel; given are members of its content, or `client` and `wrapped`."""
        session_id = given.pop("session_id", f"alice-{uuid.uuid4().hex[:17]}")
        session = FakeSession(session_id, instance_id, wake=self._wake, until=self.until)
        for name in ("client", "wrapped"):
            if name in given:
                setattr(session, name, given.pop(name))
        self.sessions[session_id] = session
        await self.order_session(session, document, parameters, **given)
        return session

    async def order_session(
        self, session: FakeSession, document: dict[str, Any], parameters: dict[str, Any] | None = None, **given: Any
    ) -> None:
        content = {
            "DocumentName": "Test",
            "DocumentContent": {"schemaVersion": "1.0", **document},
            "SessionId": session.session_id,
            "Parameters": parameters or {},
            "RunAsUser": "",
            "SessionOwner": "arn:aws:iam::000000000000:user/alice",
            **given,
        }
        order = {
            "Content": json.dumps(content),
            "TaskId": session.session_id,
            "Topic": "aws.ssm.interactiveShell",
            "SchemaVersion": 1,
        }
        await self._channels[session.instance_id].send_frame("interactive_shell", order)

    async def close_session(self, session: FakeSession) -> None:
        """channel_closed on the control channel."""
        await self._channels[session.instance_id].send_frame("channel_closed", session.closing(""))

    async def completion(self, session: FakeSession, timeout: float = 20.0) -> dict[str, Any]:
        def found() -> list[dict[str, Any]]:
            return [each for each in self.completions if each["TaskId"] == session.session_id]

        await self.until(lambda: bool(found()), f"the end of {session}", timeout)
        return found()[0]

    async def cut(self, instance_id: str) -> None:
        """Break the control channel as a network does."""
        self._channels.pop(instance_id).writer.transport.abort()

    # -- HTTP

    async def _wake(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(writer)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            lines = head.decode("latin-1").split("\r\n")
            method, target, _ = lines[0].split(" ", 2)
            headers = {
                name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:] if line)
            }
            if headers.get("upgrade", "").lower() == "websocket":
                await self._websocket(head, target, headers, reader, writer)
                return
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            status, kind, answer = await self._answer(method, target, headers, body)
            writer.write(
                f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {len(answer)}\r\n\r\n".encode()
                + answer
            )
            writer.close()
            await writer.wait_closed()
        except (OSError, EOFError):
            pass  # the agent went away
        finally:
            self._connections.discard(writer)
            writer.transport.abort()

    async def _answer(self, method: str, target: str, headers: dict[str, str], body: bytes) -> tuple[int, str, bytes]:
        path = target.partition("?")[0]
        if "/s3/aws4_request" in headers.get("authorization", ""):
            try:
                self._verify(method, target, headers, body, "s3")
            except Refused as refusal:
                return refusal.status, "application/xml", f"<Error><Code>{refusal.code}</Code></Error>".encode()
            try:
                return self.objects.answer(method, target, headers, body)
            finally:
                await self._wake()
        if method == "GET":
            if path in self.guarded and headers.get("authorization") != self.guarded[path]:
                return 401, "text/plain", b"who are you?"
            found = self.files.get(f"{path} {headers.get('accept')}") or self.files.get(path)
            return (200 if found else 404), "application/octet-stream", found.read_bytes() if found else b""
        try:
            if path.startswith("/v1/control-channel/"):
                return self._create_control_channel(method, path, headers, body)
            if path.startswith("/v1/data-channel/"):
                return self._create_data_channel(method, path, headers, body)
            service, _, operation = headers.get("x-amz-target", "").partition(".")
            answer = await self._operation(service, operation, method, target, headers, body)
        except Refused as refusal:
            text = json.dumps({"__type": refusal.code, "message": str(refusal)})
            if path.startswith("/v1/"):
                text = f"<{refusal.code}><message>no</message></{refusal.code}>"
            return refusal.status, "application/x-amz-json-1.1", text.encode()
        finally:
            await self._wake()
        return 200, "application/x-amz-json-1.1", json.dumps(answer).encode()

    async def _operation(
        self, service: str, operation: str, method: str, target: str, headers: dict[str, str], body: bytes
    ) -> dict[str, Any]:
        request = json.loads(body)
        signer = ""
        if operation == "RequestManagedInstanceRoleToken":
            signer = self._verify_rsa(method, target, headers, body)
        elif operation != "RegisterManagedInstance":
            names = {"AmazonSSM": "ssm", "Logs_20140328": "logs", "TrentService": "kms"}
            signer = self._verify(method, target, headers, body, names.get(service, "ec2messages"))
        elif "authorization" in headers:
            self._complain("registration must not be signed")
        self.calls.append(Call(operation, request, signer))
        if self.away:
            raise Refused(503, "ServiceUnavailable")
        if service == "Logs_20140328":
            code, answer = self.logs.answer(operation, request)
            if code:
                raise Refused(400, code)
            return answer
        handler = getattr(self, f"_op_{operation}", None)
        if handler is None:
            raise Refused(400, "UnknownOperationException")
        return dict(await handler(request, signer))

    def _complain(self, what: str) -> None:
        self.refusals.append(what)
        raise Refused(400, "InvalidSignatureException", what)

    # -- operations

    async def _op_RegisterManagedInstance(self, request: dict[str, Any], _signer: str) -> dict[str, Any]:  # noqa: N802
        if (request["ActivationId"], request["ActivationCode"]) != (ACTIVATION_ID, ACTIVATION_CODE):
            raise Refused(400, "InvalidActivation")
        if request["PublicKeyType"] != "Rsa" or len(request["PublicKey"]) != 392:
            self._complain("public key is not as the protocol says")
        key = serialization.load_der_public_key(base64.b64decode(request["PublicKey"]))
        assert isinstance(key, rsa.RSAPublicKey)
        assert key.key_size == 2048
        instance_id = f"mi-{uuid.uuid4().hex[:17]}"
        self.nodes[instance_id] = Node(key, str(uuid.UUID(request["Fingerprint"])))
        return {"InstanceId": instance_id}

    async def _op_RequestManagedInstanceRoleToken(self, request: dict[str, Any], signer: str) -> dict[str, Any]:  # noqa: N802
        if self.token_error is not None:
            raise Refused(400, self.token_error)
        if request != {"Fingerprint": self.nodes[signer].fingerprint}:
            raise Refused(400, "MachineFingerprintDoesNotMatch")
        key, secret, token = f"ASIA{uuid.uuid4().hex[:16].upper()}", uuid.uuid4().hex, uuid.uuid4().hex
        expires = time.time() + self.credentials_life
        self._secrets[key] = (secret, token, expires, signer)
        return {
            "AccessKeyId": key,
            "SecretAccessKey": secret,
            "SessionToken": token,
            "TokenExpirationDate": expires,
            "UpdateKeyPair": False,
        }

    async def _op_UpdateInstanceInformation(self, request: dict[str, Any], signer: str) -> dict[str, Any]:  # noqa: N802
        if request["InstanceId"] != signer or request["AgentName"] != "amazon-ssm-agent":
            self._complain("UpdateInstanceInformation for another node or agent name")
        return {}

    async def _op_Decrypt(self, request: dict[str, Any], _signer: str) -> dict[str, Any]:  # noqa: N802
        plain, context = self.keys.get(request["CiphertextBlob"], (b"", {}))
        if not plain or request["EncryptionContext"] != context:
            raise Refused(400, "InvalidCiphertextException")
        return {"Plaintext": base64.b64encode(plain).decode(), "KeyId": request["KeyId"]}

    async def _op_GetParameters(self, request: dict[str, Any], _signer: str) -> dict[str, Any]:  # noqa: N802
        names = [name.partition(":")[0] for name in request["Names"]]
        return {
            "Parameters": [{"Name": name, **self.parameters[name]} for name in names if name in self.parameters],
            "InvalidParameters": [name for name in names if name not in self.parameters],
        }

    async def _op_GetDocument(self, request: dict[str, Any], _signer: str) -> dict[str, Any]:  # noqa: N802
        name = ":".join(request[member] for member in ("Name", "DocumentVersion", "VersionName") if member in request)
        if name in self.packages:
            return {"Name": request["Name"], "DocumentType": "Package", "Status": "Active", **self.packages[name]}
        if name not in self.documents or request["DocumentFormat"] != "JSON":
            raise Refused(400, "InvalidDocument", "The specified document does not exist.")
        return {"Name": request["Name"], "Content": self.documents[name], "DocumentFormat": "JSON"}

    async def _op_PutInventory(self, request: dict[str, Any], signer: str) -> dict[str, Any]:  # noqa: N802
        if request["InstanceId"] != signer:
            self._complain("an inventory of another node")
        for item in request["Items"]:
            kind = item["TypeName"]
            if "Content" not in item and self.inventory.get(kind, {}).get("ContentHash") != item["ContentHash"]:
                raise Refused(400, "ItemContentMismatchException")
            self.inventory[kind] = {**self.inventory.get(kind, {}), **item}
        return {}

    async def _op_ListInstanceAssociations(self, request: dict[str, Any], signer: str) -> dict[str, Any]:  # noqa: N802
        if request["InstanceId"] != signer:
            self._complain("associations of another node")
        if request.get("Extensions") != ["associations"]:
            self._complain("associations asked for without their extension")
        return {"Associations": [{"InstanceId": signer, **one} for one in self.associations]}

    async def _op_UpdateInstanceAssociationStatus(self, request: dict[str, Any], signer: str) -> dict[str, Any]:  # noqa: N802
        if request["InstanceId"] != signer:
            self._complain("a report of another node")
        if request["AssociationId"] not in {one["AssociationId"] for one in self.associations}:
            raise Refused(400, "AssociationDoesNotExist")
        self.reports.append(request)
        return {}

    async def _op_GetMessages(self, request: dict[str, Any], signer: str) -> dict[str, Any]:  # noqa: N802
        def mine() -> list[dict[str, Any]]:
            return [message for message in self._messages if message["Destination"] == signer]

        try:
            async with asyncio.timeout(3), self._changed:
                await self._changed.wait_for(lambda: bool(mine()) or self._server is None)
        except TimeoutError:
            return {"Destination": signer, "Messages": [], "MessagesRequestId": request["MessagesRequestId"]}
        found = mine()
        self._messages = [message for message in self._messages if message not in found]
        return {"Destination": signer, "Messages": found, "MessagesRequestId": request["MessagesRequestId"]}

    async def _op_AcknowledgeMessage(self, _request: dict[str, Any], _signer: str) -> dict[str, Any]:  # noqa: N802
        return {}

    async def _op_SendReply(self, request: dict[str, Any], signer: str) -> dict[str, Any]:  # noqa: N802
        if not request["MessageId"].endswith(signer):
            self._complain("a reply for another node")
        self.replies.append(Reply(request["ReplyId"], request["MessageId"], json.loads(request["Payload"]), "mds"))
        return {}

    # -- control channel

    def _create_control_channel(
        self, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, str, bytes]:
        signer = self._verify(method, path, headers, body, "ssmmessages")
        if path != f"/v1/control-channel/{signer}" or json.loads(body)["MessageSchemaVersion"] != "1.0":
            self._complain("a control channel for another node")
        self.calls.append(Call("CreateControlChannel", json.loads(body), signer))
        if self.control_channel_error is not None:
            raise Refused(403, self.control_channel_error)
        token = uuid.uuid4().hex
        self._tokens[token] = signer
        xml = f"<R><MessageSchemaVersion>1.0</MessageSchemaVersion><TokenValue>{token}</TokenValue></R>"
        return 201, "text/xml", xml.encode()

    def _create_data_channel(
        self, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, str, bytes]:
        signer = self._verify(method, path, headers, body, "ssmmessages")
        session = self.sessions.get(path.rpartition("/")[2])
        if session is None or session.instance_id != signer or json.loads(body)["ClientId"] != "":
            self._complain(f"a data channel for {path}")
        assert session is not None
        self.calls.append(Call("CreateDataChannel", json.loads(body), signer))
        if session.is_over:
            return 410, "text/xml", b"<GoneException><message>Session is already terminated</message></GoneException>"
        if session.refusals:
            session.refusals -= 1
            raise Refused(503, "InternalServerError")
        session.token = uuid.uuid4().hex
        xml = f"<R><MessageSchemaVersion>1.0</MessageSchemaVersion><TokenValue>{session.token}</TokenValue></R>"
        return 201, "text/xml", xml.encode()

    async def _websocket(
        self,
        head: bytes,
        target: str,
        headers: dict[str, str],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        signer = self._verify("GET", target, headers, b"", "ssmmessages")
        if target.startswith("/v1/data-channel/"):
            await self._data_channel(head, target, signer, reader, writer)
            return
        if target != f"/v1/control-channel/{signer}?role=subscribe&stream=input":
            self._complain(f"unexpected websocket target {target}")
        protocol = ServerProtocol()
        protocol.receive_data(head)
        (request,) = protocol.events_received()
        assert isinstance(request, Request)
        protocol.send_response(protocol.accept(request))
        channel = Channel(reader, writer, protocol)
        await channel.flush()
        first = await anext(channel.messages())
        opening = json.loads(first)
        if self._tokens.pop(opening["TokenValue"], None) != signer or opening["Cookie"] is not None:
            self._complain("the channel token is not valid")
        self._channels[signer] = channel
        if self.live is not None and opening["Extensions"]["output"] == 1:
            await channel.send_frame("pilothouse_extensions", {"schemaVersion": 1, "output": self.live.offer})
        await self._wake()
        async for message in channel.messages():
            await self._frame(channel, message)
            await self._wake()
        if self._channels.get(signer) is channel:
            del self._channels[signer]
        await self._wake()

    async def _data_channel(
        self, head: bytes, target: str, signer: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        session_id, _, query = target.removeprefix("/v1/data-channel/").partition("?")
        session = self.sessions[session_id]
        if query != "role=publish_subscribe" or session.instance_id != signer:
            self._complain(f"unexpected websocket target {target}")
        protocol = ServerProtocol(max_size=None)
        protocol.receive_data(head)
        (request,) = protocol.events_received()
        assert isinstance(request, Request)
        protocol.send_response(protocol.accept(request))
        channel = Channel(reader, writer, protocol)
        await channel.flush()
        opening = json.loads(await anext(channel.messages()))
        if opening.pop("TokenValue") != session.token or session.is_over:
            self._complain("the token of the data channel is not valid")
        opening.pop("RequestId")
        if opening != {"MessageSchemaVersion": "1.0", "ClientInstanceId": signer, "ClientId": ""}:
            self._complain(f"unexpected opening {opening}")
        await session.serve(channel)

    async def _frame(self, channel: "Channel", message: bytes) -> None:
        kind, message_id, payload = decode_frame(message)
        if kind == "agent_job_ack":
            self.acks.append(payload)
        elif kind == "agent_job_reply":
            content = json.loads(payload["content"])
            if len(message) > 120_120:
                self.refusals.append(f"a reply of {len(message)} bytes")
            self.replies.append(Reply(message_id, payload["jobId"], content, "mgs"))
            if self.acknowledge_replies:
                answer = {"jobId": payload["jobId"], "acknowledgedMessageId": message_id}
                await channel.send_frame("agent_job_reply_ack", answer)
        elif kind == "agent_task_complete":
            self.completions.append({**payload, "MessageId": message_id})
            if self.acknowledge_completions:
                answer = {"SchemaVersion": 1, "MessageId": message_id, "TaskId": payload["TaskId"], "Topic": "x"}
                await channel.send_frame("agent_task_acknowledge", answer)
        elif kind == "pilothouse_output" and self.live is not None:
            for answer in self.live.answers(payload):
                await channel.send_frame("pilothouse_output_ack", answer)
        else:
            self.refusals.append(f"unexpected message type {kind}")

    # -- signatures

    def _signature_parts(
        self, method: str, target: str, headers: dict[str, str], body: bytes, service: str
    ) -> tuple[str, str, AWSRequest, SigV4Auth, str]:
        """Key id, given signature, the request as botocore signs it, a signer without secret, string to sign."""
        label, _, rest = headers.get("authorization", "").partition(" ")
        if label != "AWS4-HMAC-SHA256":
            self._complain(f"no signature on {target} {headers.get('x-amz-target', '')}")
        fields = dict(part.strip().split("=", 1) for part in rest.split(","))
        key_id, *scope = fields["Credential"].split("/")
        if scope != [headers["x-amz-date"][:8], REGION, service, "aws4_request"]:
            self._complain(f"credential scope {scope}")
        signed = fields["SignedHeaders"].split(";")
        if signed != sorted(signed) or not {"host", "x-amz-date"} <= set(signed):
            self._complain(f"signed headers {signed}")
        if headers["host"] != f"localhost:{self.port}":
            self._complain(f"host {headers['host']}")
        request = AWSRequest(
            method=method, url=f"{self.url}{target}", headers={name: headers[name] for name in signed}, data=body
        )
        request.context["timestamp"] = headers["x-amz-date"]
        if service == "s3" and hashlib.sha256(body).hexdigest() != headers.get("x-amz-content-sha256"):
            self._complain(f"the digest of the body of {target}")
        kind = S3SigV4Auth if service == "s3" else SigV4Auth
        auth = kind(Credentials(key_id, self._secrets.get(key_id, ("",))[0]), service, REGION)
        return key_id, fields["Signature"], request, auth, auth.string_to_sign(request, auth.canonical_request(request))

    def _verify(self, method: str, target: str, headers: dict[str, str], body: bytes, service: str) -> str:
        """The node whose role credentials signed the request."""
        key_id, given, request, auth, text = self._signature_parts(method, target, headers, body, service)
        if key_id not in self._secrets:
            raise Refused(400, "UnrecognizedClientException")
        _, token, expires, node = self._secrets[key_id]
        if "x-amz-security-token" not in request.headers or headers["x-amz-security-token"] != token:
            self._complain("session token")
        if auth.signature(text, request) != given:
            self._complain(f"signature of {target}")
        if expires < time.time():
            raise Refused(400, "ExpiredTokenException")
        return node

    def expire_credentials(self) -> None:
        """The server's clock says so."""
        self._secrets = {key: (*parts[:2], 0.0, parts[3]) for key, parts in self._secrets.items()}

    def _verify_rsa(self, method: str, target: str, headers: dict[str, str], body: bytes) -> str:
        node_id, given, _, _, text = self._signature_parts(method, target, headers, body, "ssm")
        if node_id not in self.nodes:
            raise Refused(400, "AccessDeniedException")
        pss = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32)
        try:
            self.nodes[node_id].public_key.verify(base64.b64decode(given), text.encode(), pss, hashes.SHA256())
        except InvalidSignature:
            self._complain("RSA signature")
        return node_id


class Channel:
    """The server's end of a control channel."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, protocol: ServerProtocol) -> None:
        self._reader = reader
        self.writer = writer
        self._protocol = protocol
        self._events: list[Frame] = []

    async def flush(self) -> None:
        for data in self._protocol.data_to_send():
            if data:
                self.writer.write(data)
        await self.writer.drain()

    async def send(self, message: bytes) -> None:
        self._protocol.send_binary(message)
        await self.flush()

    async def send_frame(self, kind: str, payload: dict[str, Any]) -> None:
        self._protocol.send_binary(encode_frame(kind, json.dumps(payload).encode()))
        await self.flush()

    async def messages(self) -> Any:
        while True:
            while self._events:
                frame = self._events.pop(0)
                if frame.opcode in (Opcode.TEXT, Opcode.BINARY):
                    assert frame.fin
                    yield bytes(frame.data)
            if self._protocol.state is State.CLOSED:
                return
            try:
                data = await self._reader.read(65536)
            except OSError:
                data = b""
            if data:
                self._protocol.receive_data(data)
            else:
                self._protocol.receive_eof()
            self._events += [event for event in self._protocol.events_received() if isinstance(event, Frame)]
            if data:
                await self.flush()


def encode_frame(kind: str, payload: bytes) -> bytes:
    message_id = uuid.uuid4().bytes
    return (
        struct.pack(">I", 116)
        + kind.encode().ljust(32, b"\0")
        + struct.pack(">IQqQ", 1, int(time.time() * 1000), 0, 0)
        + message_id[8:]
        + message_id[:8]
        + hashlib.sha256(payload).digest()
        + struct.pack(">II", 0, len(payload))
        + payload
    )


def decode_frame(message: bytes) -> tuple[str, str, dict[str, Any]]:
    """Type, message id and payload; strict."""
    header_length, kind, version, created, sequence, flags = struct.unpack_from(">I32sIQqQ", message)
    payload_type, length = struct.unpack_from(">II", message, 112)
    payload = message[120:]
    assert (header_length, version, sequence, flags, payload_type, length) == (116, 1, 0, 0, 0, len(payload))
    assert abs(created - time.time() * 1000) < 60_000
    assert message[80:112] == hashlib.sha256(payload).digest()
    return kind.decode().rstrip(" "), str(uuid.UUID(bytes=message[72:80] + message[64:72])), json.loads(payload)


def shell_command(lines: list[str], **inputs: str) -> dict[str, Any]:
    """The payload that AWS-RunShellScript sends: schema 1.2, everything through parameters."""
    return {
        "CommandId": "",
        "DocumentName": "AWS-RunShellScript",
        "Parameters": {"commands": lines, **inputs},
        "DocumentContent": {
            "schemaVersion": "1.2",
            "description": "Run a shell script.",
            "parameters": {
                "commands": {"type": "StringList", "minItems": 1},
                "workingDirectory": {"type": "String", "default": "", "maxChars": 4096},
                "executionTimeout": {
                    "type": "String",
                    "default": "3600",
                    "allowedPattern": "([1-9][0-9]{0,4})|(1[0-6][0-9]{4})|(17[0-1][0-9]{3})|(172[0-7][0-9]{2})"
                    "|(172800)",
                },
            },
            "runtimeConfig": {
                "aws:runShellScript": {
                    "properties": [
                        {
                            "id": "0.aws:runShellScript",
                            "runCommand": "{{ commands }}",
                            "workingDirectory": "{{ workingDirectory }}",
                            "timeoutSeconds": "{{ executionTimeout }}",
                        }
                    ]
                }
            },
        },
        "OutputS3BucketName": "",
        "OutputS3KeyPrefix": "",
        "CloudWatchLogGroupName": "",
        "CloudWatchOutputEnabled": "false",
    }


def steps_command(steps: list[dict[str, Any]], schema: str = "2.2", **members: Any) -> dict[str, Any]:
    """The payload of a document with mainSteps. A step is {name, lines}, plus members of it or of its inputs."""
    made = []
    for step in steps:
        script = {"runCommand": step["lines"]} if "lines" in step else {}
        inputs = {**script, **step.get("inputs", {})}
        rest = {name: value for name, value in step.items() if name not in ("lines", "inputs")}
        made.append({"action": "aws:runShellScript", "inputs": inputs, **rest})
    return {
        "CommandId": "",
        "DocumentName": "Steps",
        "Parameters": members.pop("Parameters", {}),
        "DocumentContent": {"schemaVersion": schema, "mainSteps": made, **members},
        "CloudWatchOutputEnabled": "false",
    }


def make_certificates(directory: Path) -> None:
    """A CA and a certificate for localhost; made once per directory."""
    if (directory / "server.key").exists():
        return
    now = datetime.datetime.now(datetime.UTC)
    ca_key, key = (rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(2))
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test CA")])

    def certificate(name: x509.Name, public: rsa.RSAPublicKey, extensions: list[tuple[Any, bool]]) -> bytes:
        builder = x509.CertificateBuilder(
            issuer_name=ca_name,
            subject_name=name,
            public_key=public,
            serial_number=x509.random_serial_number(),
            not_valid_before=now - datetime.timedelta(hours=1),
            not_valid_after=now + datetime.timedelta(days=1),
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(ca_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    ca_extensions: list[tuple[Any, bool]] = [
        (x509.BasicConstraints(ca=True, path_length=None), True),
        (
            x509.KeyUsage(
                digital_signature=False,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                key_cert_sign=True,
                crl_sign=True,
                encipher_only=False,
                decipher_only=False,
            ),
            True,
        ),
        (x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), False),
    ]
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    server_extensions: list[tuple[Any, bool]] = [
        (x509.SubjectAlternativeName(names), False),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), False),
    ]
    server_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    (directory / "ca.key").write_bytes(
        ca_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    (directory / "ca.pem").write_bytes(certificate(ca_name, ca_key.public_key(), ca_extensions))
    (directory / "server.pem").write_bytes(certificate(server_name, key.public_key(), server_extensions))
    (directory / "server.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
