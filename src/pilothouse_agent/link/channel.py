"""The control channel: a websocket on which the server sends jobs and sessions, and hears acks and replies.

It is opened again whenever it breaks, after a random wait that grows, for as long as the agent runs.
"""

import asyncio
import json
import time
import uuid
from typing import Any

from pilothouse_agent import AGENT_VERSION, log, replies
from pilothouse_agent.commands import CANCEL_TOPIC, SEND_TOPIC, Answer, CommandRunner
from pilothouse_agent.endings import Strayed, apart, end_if_cancelled
from pilothouse_agent.link.api import ApiError, NodeApi
from pilothouse_agent.link.backoff import Backoff
from pilothouse_agent.link.frames import Frame, MalformedFrame, decode, encode
from pilothouse_agent.link.https import Unreachable
from pilothouse_agent.link.polling import MessagePolling
from pilothouse_agent.link.websocket import Websocket
from pilothouse_agent.sending import live
from pilothouse_agent.sending.live import LiveOutput
from pilothouse_agent.sessions import keeper
from pilothouse_agent.sessions.keeper import SessionKeeper
from pilothouse_agent.settings import Settings
from pilothouse_agent.state.outbox import Outbox, Reply, Sending
from pilothouse_agent.times import iso, now_ms

_STABLE = 10.0  # a channel that lived this many seconds was a success; the waits start small again
_FAILURES_BEFORE_POLLING = 2  # tries in a row before messages are polled for meanwhile


class ControlChannel:
    """The one control channel of this node."""

    def __init__(
        self,
        *,
        api: NodeApi,
        runner: CommandRunner,
        outbox: Outbox,
        polling: MessagePolling,
        live_output: LiveOutput,
        sessions: SessionKeeper,
        settings: Settings,
    ) -> None:
        self._api = api
        self._runner = runner
        self._outbox = outbox
        self._polling = polling
        self._live = live_output
        self._sessions = sessions
        self._settings = settings
        self._socket: Websocket | None = None

    @property
    def is_open(self) -> bool:
        return self._socket is not None

    async def hold(self) -> None:
        """Open it, serve it, open it again."""
        backoff = Backoff(self._settings.reconnect_first, self._settings.reconnect_cap)
        while True:
            opened = time.monotonic()
            reason: BaseException | None = None
            try:
                await apart(self._serve_once())
            except* (Unreachable, ApiError, Strayed) as errors:
                reason = errors.exceptions[0]
            end_if_cancelled()
            if time.monotonic() - opened > _STABLE:
                backoff.reset()
            self._turn_to_polling(reason, backoff.tries)
            pause = backoff.next()
            log.event("channel.closed", level="warning", reason=reason, retry_seconds=pause)
            await asyncio.sleep(pause)

    def _turn_to_polling(self, error: BaseException | None, failures: int) -> None:
        """Refused: at once. Otherwise when a second try has failed as well."""
        refused = isinstance(error, ApiError) and error.code == "AccessDeniedException"
        if refused or failures >= _FAILURES_BEFORE_POLLING:
            self._polling.start()

    async def _serve_once(self) -> None:
        token = await self._api.create_control_channel()
        target, headers = await self._api.control_channel_request()
        socket = await Websocket.connect(self._api.endpoint, target, headers)
        try:
            await socket.send_text(
                json.dumps(
                    {
                        "Cookie": None,
                        "MessageSchemaVersion": "1.0",
                        "RequestId": str(uuid.uuid4()),
                        "TokenValue": token,
                        "AgentVersion": AGENT_VERSION,
                        "PlatformType": "linux",
                        "Extensions": {**live.OFFER, **keeper.OFFER},
                    }
                )
            )
            self._socket = socket
            log.event("channel.opened", node_id=self._api.instance_id)
            self._polling.stop()
            self._outbox.all_due()
            self._sessions.opened(self._send)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._ping(socket))
                async for data in socket.messages():
                    self._receive(data, group)
                raise Unreachable("closed by the server")  # ends what the channel's other tasks are at
        finally:
            self._socket = None
            self._live.closed()
            self._sessions.closed()
            await socket.close()

    async def _ping(self, socket: Websocket) -> None:
        while True:
            await asyncio.sleep(self._settings.ping_interval)
            await socket.ping(b"keepalive", self._settings.pong_timeout)

    def _receive(self, data: bytes, group: asyncio.TaskGroup) -> None:
        """One message. Jobs are read in tasks of their own: that may take calls to the server."""
        try:
            frame = decode(data)
            payload = json.loads(frame.payload)
            if not isinstance(payload, dict):
                raise MalformedFrame("the payload is no JSON object")
            members: dict[str, Any] = {str(name).lower(): value for name, value in payload.items()}
        except (MalformedFrame, ValueError) as error:
            log.event("frame.dropped", level="warning", reason=error)
            return
        if frame.kind == "agent_job":
            group.create_task(self._job(str(frame.message_id), members))
        elif frame.kind == "agent_job_reply_ack":
            self._outbox.acknowledged(str(members.get("acknowledgedmessageid", "")))
        elif frame.kind == live.EXTENSIONS:
            self._live.opened(payload, self._send_new)
        elif frame.kind == live.OUTPUT_ACK:
            self._live.acknowledged(payload)
        elif not self._sessions.receive(frame.kind, members):
            log.event("frame.dropped", level="warning", message_type=frame.kind, reason="not a type this agent knows")

    async def _job(self, message_id: str, members: dict[str, Any]) -> None:
        job_id, topic, payload = (members.get(name) for name in ("jobid", "topic", "content"))
        if not isinstance(job_id, str) or not isinstance(topic, str) or not isinstance(payload, str):
            log.event("job.dropped", level="warning", reason="JobId, Topic or Content is missing")
            return
        if topic.startswith(CANCEL_TOPIC):
            answer = await self._runner.cancel(job_id, payload)
            await self._acknowledge(job_id, message_id, answer)
            if answer is Answer.ACCEPTED:
                await self._received(job_id, CANCEL_TOPIC)
        elif topic.startswith(SEND_TOPIC):
            await self._command(job_id, message_id, payload)
        else:
            log.event("job.dropped", level="warning", job_id=job_id, reason="its topic is neither send nor cancel")

    async def _command(self, job_id: str, message_id: str, payload: str) -> None:
        acceptance = await self._runner.accept(job_id, payload, "mgs")
        try:
            await self._acknowledge(job_id, message_id, acceptance.answer, acceptance.reason)
            if acceptance.run is not None:
                await self._received(job_id, SEND_TOPIC)
        finally:
            if acceptance.run is not None:  # it is on disk: it runs, whether or not the server heard of it
                self._runner.begin(acceptance.run)
        if acceptance.answer is Answer.UNREADABLE:
            self._runner.refuse(job_id, "mgs", acceptance.reason)

    async def _acknowledge(self, job_id: str, message_id: str, answer: Answer, reason: str = "") -> None:
        if answer is Answer.IN_HAND:
            return
        code, text = answer.value
        if answer is Answer.BROKEN and reason:
            text = reason[:500]
        log.event("job.answered", job_id=job_id, code=code)
        await self._send(
            "agent_job_ack",
            uuid.uuid4(),
            {
                "jobId": job_id,
                "acknowledgedMessageId": message_id,
                "createdDate": iso(now_ms()),
                "statusCode": code,
                "errorMessage": text,
            },
        )

    async def _received(self, job_id: str, topic: str) -> None:
        """The reply that says "received"; sent once, nobody keeps it."""
        payload = {"schemaVersion": 1, "jobId": job_id, "topic": topic, "content": replies.received("mgs")}
        await self._send("agent_job_reply", uuid.uuid4(), payload)

    async def send_reply(self, reply: Reply) -> Sending:
        """The outbox's way to the server over this channel."""
        if self._socket is None:
            return Sending.NOT_NOW
        payload = {"schemaVersion": 1, "jobId": reply.job_id, "topic": reply.topic, "content": reply.content}
        try:
            await self._send("agent_job_reply", uuid.UUID(reply.reply_id), payload)
        except Unreachable:
            return Sending.NOT_NOW
        return Sending.SENT

    async def _send_new(self, kind: str, payload: dict[str, Any]) -> None:
        await self._send(kind, uuid.uuid4(), payload)

    async def _send(self, kind: str, message_id: uuid.UUID, payload: dict[str, Any]) -> None:
        if self._socket is None:
            raise Unreachable("the control channel is closed")
        data = json.dumps(payload, ensure_ascii=False).encode()
        await self._socket.send(encode(Frame(kind=kind, message_id=message_id, created_at=now_ms(), payload=data)))
