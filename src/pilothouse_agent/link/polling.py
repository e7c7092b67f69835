"""Polling for messages (ec2messages), the second way: used while the control channel is refused or away."""

import asyncio
import json
import time
import uuid
from typing import Any

from pilothouse_agent import log, replies
from pilothouse_agent.commands import CANCEL_TOPIC, SEND_TOPIC, Answer, CommandRunner
from pilothouse_agent.link.api import MESSAGES, ApiError, NodeApi
from pilothouse_agent.link.backoff import Backoff
from pilothouse_agent.link.https import Unreachable
from pilothouse_agent.settings import Settings
from pilothouse_agent.state.outbox import Outbox, Reply, Sending

_POLL_TIMEOUT = 20.0  # the server answers an idle poll after 15 s
_QUICK = 1.0  # an answer faster than this asks for a pause
_PAUSE = 2.0


class MessagePolling:
    """Polls between start() and stop()."""

    def __init__(self, *, api: NodeApi, runner: CommandRunner, outbox: Outbox, settings: Settings) -> None:
        self._api = api
        self._runner = runner
        self._outbox = outbox
        self._settings = settings
        self._on = asyncio.Event()

    @property
    def is_on(self) -> bool:
        return self._on.is_set()

    def start(self) -> None:
        if not self._on.is_set():
            log.event("polling.started", node_id=self._api.instance_id)
            self._on.set()
            self._outbox.all_due()

    def stop(self) -> None:
        """A poll under way still ends; what it brings is taken."""
        if self._on.is_set():
            log.event("polling.stopped", node_id=self._api.instance_id)
            self._on.clear()

    async def hold(self) -> None:
        """Poll whenever it is on, for as long as the agent runs."""
        backoff = Backoff(self._settings.reconnect_first, self._settings.reconnect_cap)
        while True:
            await self._on.wait()
            began = time.monotonic()
            try:
                messages = await self._poll()
                for message in messages:
                    await self._message(message)
                backoff.reset()
            except (ApiError, Unreachable) as error:
                pause = backoff.next()
                log.event("polling.failed", level="warning", reason=error, retry_seconds=pause)
                await asyncio.sleep(pause)
                continue
            if not messages and time.monotonic() - began < _QUICK:
                await asyncio.sleep(_PAUSE)

    async def _poll(self) -> list[dict[str, Any]]:
        request = {
            "Destination": self._api.instance_id,
            "MessagesRequestId": str(uuid.uuid4()),
            "VisibilityTimeoutInSeconds": 10,
        }
        answer = await self._api.call(MESSAGES, "GetMessages", request, timeout=_POLL_TIMEOUT)
        found = answer.get("Messages") or []
        return [message for message in found if isinstance(message, dict)]

    async def _message(self, message: dict[str, Any]) -> None:
        message_id, topic, payload = (message.get(name) for name in ("MessageId", "Topic", "Payload"))
        if not isinstance(message_id, str) or not isinstance(topic, str) or not isinstance(payload, str):
            log.event("message.dropped", level="warning", reason="MessageId, Topic or Payload is missing")
        elif topic.startswith(CANCEL_TOPIC):
            await self._reply(message_id)
            await self._acknowledge(message_id)
            await self._runner.cancel(message_id, payload)
        elif topic.startswith(SEND_TOPIC):
            await self._command(message_id, payload)
        else:
            failure = {"MessageId": message_id, "FailureType": "InternalHandlerException"}
            await self._api.call(MESSAGES, "FailMessage", failure)

    async def _command(self, message_id: str, payload: str) -> None:
        acceptance = await self._runner.accept(message_id, payload, "mds")
        log.event("job.answered", job_id=message_id, code=acceptance.answer.value[0])
        if acceptance.answer is Answer.UNREADABLE:
            self._runner.refuse(message_id, "mds", acceptance.reason)
        elif acceptance.answer in (Answer.ACCEPTED, Answer.DUPLICATE):
            try:
                await self._reply(message_id)
                await self._acknowledge(message_id)
            finally:
                if acceptance.run is not None:  # it is on disk: it runs, whether or not the server heard of it
                    self._runner.begin(acceptance.run)
        # a full or stopping agent leaves the message unacknowledged: the server offers it again

    async def _reply(self, message_id: str) -> None:
        reply = {"MessageId": message_id, "Payload": replies.received("mds"), "ReplyId": str(uuid.uuid4())}
        await self._api.call(MESSAGES, "SendReply", reply)

    async def _acknowledge(self, message_id: str) -> None:
        await self._api.call(MESSAGES, "AcknowledgeMessage", {"MessageId": message_id})

    async def send_reply(self, reply: Reply) -> Sending:
        """The outbox's way to the server by calls. An answer means that the server has it."""
        request = {"MessageId": reply.job_id, "Payload": _for_polling(reply), "ReplyId": reply.reply_id}
        try:
            await self._api.call(MESSAGES, "SendReply", request)
        except (ApiError, Unreachable) as error:
            log.event("reply.failed", level="warning", reply_id=reply.reply_id, reason=error)
            return Sending.NOT_NOW
        return Sending.DELIVERED


def _for_polling(reply: Reply) -> str:
    """The content as this way has it; the one member that differs is added to a reply made for the other way."""
    if reply.channel == "mds":
        return reply.content
    content = json.loads(reply.content)
    content["additionalInfo"]["ableToOpenMGSConnection"] = False
    return json.dumps(content, ensure_ascii=False)
