"""The control channel: CreateControlChannel gives a token, the websocket that shows it becomes the node's channel.

A token opens one channel, once, within a minute, for the node that asked; the table keeps only its hash. Answers to
CreateControlChannel are chosen with care: only a body that says AccessDeniedException turns an agent to GetMessages,
own trouble is 503, a node that may not come any more gets another 403. The credentials a channel was opened with may
expire without ending it; deregistration ends it.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any
from urllib.parse import unquote
from xml.sax.saxutils import escape

import structlog

from pilothouse.call import Extension, House, Said
from pilothouse.errors import AccessDeniedException, ApiError, ThrottlingException
from pilothouse.gateway import presence
from pilothouse.gateway.channel_trail import ChannelTrail
from pilothouse.gateway.channels import Channel, Channels, Connection, MessageIds
from pilothouse.gateway.delivery import Answer
from pilothouse.gateway.dispatcher import Dispatcher
from pilothouse.gateway.extension_intake import ExtensionIntake
from pilothouse.gateway.frames import MAX_FRAME, Frame, FrameInvalid, decode
from pilothouse.gateway.intake import Intake
from pilothouse.gateway.payloads import (
    AGENT_JOB_ACK,
    AGENT_JOB_REPLY,
    AGENT_JOB_REPLY_ACK,
    AGENT_STATISTICS,
    AGENT_TASK_ACKNOWLEDGE,
    AGENT_TASK_COMPLETE,
    EXTENSIONS,
    AgentJobReplyAck,
    AgentTaskAcknowledge,
    node_of,
    read_ack,
    read_open,
    read_reply,
    write,
)
from pilothouse.gateway.session_messages import read_task_complete
from pilothouse.gateway.session_teller import SessionTeller
from pilothouse.identity.authorise import may_node, refusal
from pilothouse.identity.policy import Verdict
from pilothouse.identity.principals import Principal
from pilothouse.storage import Stamp, StorageUnavailable, Transaction
from pilothouse.wire.http import Request, Response

log = structlog.get_logger()

PATH = "/v1/control-channel/"
TOKEN_SECONDS = 60
OPEN_SECONDS = 30.0
"""How long a new websocket may take to show its token."""
CHANNEL = "node.channel"
"""Bus topic; the key is a node whose channel another process may hold now."""

Authenticate = Callable[[Request], Awaitable[tuple[Principal, str]]]
"""(signed request, of the scope `ssmmessages`) to the principal and the region. Raises ApiError, StorageUnavailable."""
MayStay = Callable[[Sequence[str]], Awaitable[set[str]]]
"""Which of the nodes are still registered, with roles that let them hold a channel. Raises StorageUnavailable."""
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_ISSUE = """insert into control_channel_token (token_hash, account_id, region, node_id, expires_at)
values (:token_hash, :account_id, :region, :node_id, :expires_at)"""
_REDEEM = """delete from control_channel_token
where token_hash = :token_hash and node_id = :node_id and account_id = :account_id and expires_at > :now"""


class ControlChannels:
    """Both halves of the control channel, on the listeners of one process."""

    def __init__(
        self, house: House, authenticate: Authenticate, may_stay: MayStay, channels: Channels, dispatcher: Dispatcher,
        intake: Intake, process_id: str, extensions: Mapping[str, Extension], beyond: ExtensionIntake,
        sessions: SessionTeller,
    ) -> None:  # fmt: skip
        self._house = house
        self._extensions = extensions
        self._beyond = beyond
        self._sessions = sessions
        self._authenticate = authenticate
        self._may_stay = may_stay
        self._channels = channels
        self._dispatcher = dispatcher
        self._intake = intake
        self._process_id = process_id
        self._ids = MessageIds(house)
        self._looked_at: Stamp | None = None
        """The state of the database in which all channels were found to be this process's."""
        self._suspects: set[tuple[str, str]] = set()
        self._trail = ChannelTrail(house)
        house.bus.listen("node.gone", self._node_gone)

    async def create(self, request: Request) -> Response:
        """CreateControlChannel: `POST /v1/control-channel/<node>`."""
        try:
            principal, region = await self._node(request, "ssmmessages:CreateControlChannel")
            token = await self._new_token(principal, region)
        except StorageUnavailable as error:
            log.warning("control_channel.storage_unavailable", error=str(error))
            return _xml(503, _error("ServiceUnavailable", "Try again."))
        except ApiError as error:
            return refusal_of(error)
        made = _xml(
            201,
            "<CreateControlChannelResponse><MessageSchemaVersion>1.0</MessageSchemaVersion>"
            f"<TokenValue>{token}</TokenValue></CreateControlChannelResponse>",
        )
        made.signed = True
        return made

    async def websocket(self, request: Request, connection: Connection, receive: Receive, send: Send) -> None:
        """OpenControlChannel: the websocket at the same path, an ASGI conversation from `websocket.connect` on."""
        if (await receive())["type"] != "websocket.connect":
            return
        try:
            principal, region = await self._node(request, "ssmmessages:OpenControlChannel")
        except StorageUnavailable:
            await refuse_upgrade(send, 503)
            return
        except ApiError as error:
            await refuse_upgrade(send, 503 if _is_trouble(error) else 403)
            return
        await send({"type": "websocket.accept"})
        channel = Channel(
            str(principal.node_id), principal.account_id, region, self._house.ids.uuid(), connection, self._ids
        )
        del request, principal  # of no use for as long as the channel stays
        try:
            opened = await self._opened(channel, receive)
        except StorageUnavailable as error:
            log.warning("control_channel.storage_unavailable", error=str(error))
            opened = False
        if opened:
            await self._converse(channel)
        await _close(send, channel.why)

    async def _node(self, request: Request, action: str) -> tuple[Principal, str]:
        """The node that signed the request, which must be the one in the path, and whose role must allow the action."""
        principal, region = await self._authenticate(request)
        node_id = unquote(request.path.removeprefix(PATH))
        why = ""
        if principal.kind != "node" or principal.node_id != node_id:
            why = f"The credentials are not those of the node {node_id}."
        elif not may_node(principal, action):
            why = refusal(principal, action, "*", Verdict.NEUTRAL)
        if why:
            await self._trail.refused(principal, region, action, why)
            raise AccessDeniedException(why)
        return principal, region

    async def _new_token(self, principal: Principal, region: str) -> str:
        token = self._house.ids.random_bytes(32).hex()
        now = self._house.clock.millis()
        async with self._house.database.transaction() as tx:
            await tx.execute(
                _ISSUE,
                token_hash=_hash(token), account_id=principal.account_id, region=region, node_id=principal.node_id,
                expires_at=now + TOKEN_SECONDS * 1000,
            )  # fmt: skip
        return token

    async def _opened(self, channel: Channel, receive: Receive) -> bool:
        """Read the frame with the token; the channel then is the node's, and older ones give way."""
        try:
            async with asyncio.timeout(OPEN_SECONDS):
                event = await receive()
        except TimeoutError:
            channel.why = "no token came"
            return False
        try:
            shown = read_open(event.get("text") or event.get("bytes") or b"")
        except (ValueError, RecursionError):
            channel.why = "the first message holds no token"
            return False
        now = self._house.clock.millis()
        async with self._house.database.transaction() as tx:
            used = await tx.execute(
                _REDEEM, token_hash=_hash(shown.token), node_id=channel.node_id, account_id=channel.account_id, now=now
            )
            if not used:
                channel.why = "the token is not valid"
                await self._record(tx, channel, "OpenControlChannel", ("AccessDenied", channel.why))
                return False
            await presence.opened(
                tx, channel.account_id, channel.region, channel.node_id,
                process_id=self._process_id, channel_id=channel.channel_id, now_ms=now,
            )  # fmt: skip
            await self._contact(tx, channel)
            await self._house.tell(
                tx, "node.channel", account_id=channel.account_id, region=channel.region, node_id=channel.node_id
            )
            await self._record(tx, channel, "OpenControlChannel")
            tx.after_commit(lambda: self._house.bus.wake(CHANNEL, channel.node_id))
        channel.extensions = {
            name: each for name, each in self._extensions.items() if shown.extensions.get(name, 0) >= each.version
        }
        return True

    async def _converse(self, channel: Channel) -> None:
        """The node's messages are heard as they come; this task waits for the end."""
        self._channels.enter(channel)
        try:
            await self._look_once_more(channel)
            log.info("control_channel.opened", node_id=channel.node_id)
            channel.heard = True
            self._offer(channel)
            channel.connection.hear(partial(self._heard, channel), partial(channel.close, "the node closed it"))
            self._dispatcher.channel_opened(channel.node_id)
            self._sessions.channel_opened(channel.node_id)
            await channel.closing.wait()
        finally:
            channel.close("the connection has ended")
            self._channels.leave(channel)
            log.info("control_channel.closed", node_id=channel.node_id, why=channel.why)
        await self._left(channel)

    def _offer(self, channel: Channel) -> None:
        """Say what of the extensions that the agent knows is taken here."""
        if channel.extensions:
            offers = {name: {"version": each.version, **each.offer} for name, each in channel.extensions.items()}
            channel.put(EXTENSIONS, write({"schemaVersion": 1, **offers}), self._house)

    async def _look_once_more(self, channel: Channel) -> None:
        """It may have been deregistered since it showed its token; where that cannot be seen, it comes again."""
        try:
            await self._close_those_that_may_not([channel])
        except StorageUnavailable as error:
            log.warning("control_channel.storage_unavailable", node_id=channel.node_id, error=str(error))
            channel.close("the server cannot read its database")

    async def _left(self, channel: Channel) -> None:
        """Take the channel out of the table. Should that fail, the process's next beat does it."""
        try:
            async with self._house.database.transaction() as tx:
                if await presence.closed(tx, channel.node_id, channel.channel_id):
                    await self._contact(tx, channel)
                await self._record(tx, channel, "CloseControlChannel")
        except StorageUnavailable as error:
            log.warning("control_channel.storage_unavailable", node_id=channel.node_id, error=str(error))

    async def _record(self, tx: Transaction, channel: Channel, name: str, error: tuple[str, str] | None = None) -> None:
        """Into the audit trail: not more than so often for each node."""
        node = channel.account_id, channel.region, channel.node_id
        await self._trail.tell(tx, node, name, channel.why if name == "CloseControlChannel" else "", error)

    async def _contact(self, tx: Any, channel: Channel) -> None:
        await self._house.tell(
            tx, "node.contact",
            account_id=channel.account_id, region=channel.region, node_id=channel.node_id,
            at_ms=self._house.clock.millis(),
        )  # fmt: skip

    def _heard(self, channel: Channel, message: bytes) -> None:
        if channel.closing.is_set():
            return
        if len(message) > MAX_FRAME:
            channel.close("a message over 256 KiB came")
            return
        try:
            self._hear(channel, decode(message))
        except (FrameInvalid, ValueError, RecursionError) as error:
            log.warning("control_channel.frame_dropped", node_id=channel.node_id, reason=type(error).__name__)
        except Exception:
            log.exception("control_channel.frame_failed", node_id=channel.node_id)

    def _hear(self, channel: Channel, frame: Frame) -> None:
        handler = _HANDLERS.get(frame.message_type)
        if handler is not None:
            handler(self, channel, frame)
        elif any(frame.message_type in each.messages for each in channel.extensions.values()):
            self._hear_extension(channel, frame)
        elif frame.message_type not in AGENT_STATISTICS:
            log.info("control_channel.type_unknown", node_id=channel.node_id, message_type=frame.message_type[:32])

    def _hear_extension(self, channel: Channel, frame: Frame) -> None:
        def answer(message_type: str, payload: bytes) -> None:
            channel.put(message_type, payload, self._house)

        said = Said(
            account_id=channel.account_id, region=channel.region, node_id=channel.node_id, payload=frame.payload,
            answer=answer,
        )  # fmt: skip
        self._beyond.put(frame.message_type, said)

    def _job_ack(self, channel: Channel, frame: Frame) -> None:
        ack = read_ack(frame.payload)
        if _is_of(channel, ack.job_id):
            self._store(channel, Answer(ack.job_id, channel.node_id, code=ack.status_code, text=ack.error_message))

    def _job_reply(self, channel: Channel, frame: Frame) -> None:
        reply = read_reply(frame.payload)
        if not _is_of(channel, reply.job_id):
            return

        def receipt() -> None:
            channel.put(AGENT_JOB_REPLY_ACK, write(AgentJobReplyAck(reply.job_id, frame.message_id)), self._house)

        self._store(channel, Answer(reply.job_id, channel.node_id, content=reply.content), receipt)

    def _store(self, channel: Channel, answer: Answer, stored: Callable[[], None] = lambda: None) -> None:
        """While too many answers wait to be stored, the channels that bring more are not read on."""
        self._intake.put(answer, stored)
        if self._intake.is_full:
            channel.connection.hold(True)
            self._intake.when_room(partial(channel.connection.hold, False))

    def _task_complete(self, channel: Channel, frame: Frame) -> None:
        ended = read_task_complete(frame.payload)
        receipt = write(AgentTaskAcknowledge(1, frame.message_id, ended.task_id, ended.topic))
        node = channel.account_id, channel.region, channel.node_id
        self._sessions.completed(node, ended, lambda: channel.put(AGENT_TASK_ACKNOWLEDGE, receipt, self._house))

    def _node_gone(self, node_id: str) -> None:
        channel = self._channels.get(node_id)
        if channel is not None:
            channel.close("the node was deregistered")

    async def keep_true(self) -> None:
        """Say that this process lives, and close channels that the table no longer gives to it (a newer one elsewhere,
        a node that is gone), every half minute."""
        while True:
            began = self._house.clock.millis()
            try:
                await self._beat()
            except StorageUnavailable as error:
                log.warning("control_channel.storage_unavailable", error=str(error))
            await presence.until_next_beat(self._house.clock, began)

    async def _beat(self) -> None:
        now = self._house.clock.millis()
        before = {channel.channel_id for channel in self._channels}
        async with self._house.database.transaction() as tx:
            counted_as_dead = await presence.beat(tx, self._process_id, self._house.roles, now)
            await presence.forget_dead(tx, now)
            await tx.execute("delete from control_channel_token where expires_at < :now", now=now)
            held = await presence.held_by(tx, self._process_id)
            gone = [
                (node_id, channel_id)
                for node_id, channel_id in held.items()
                if node_id not in self._channels and channel_id not in before
            ]
            for node_id, channel_id in self._still_gone(gone):
                await presence.closed(tx, node_id, channel_id)
        self._close_unheld(before, held)
        if counted_as_dead:  # what came due for its nodes meanwhile waits for a channel, and theirs is open already
            for channel in self._channels:
                if channel.offered:
                    self._dispatcher.channel_opened(channel.node_id)
        await self._close_those_that_may_not([each for each in self._channels if each.channel_id in before])

    async def close_gone(self) -> None:
        """Close the channels that the table no longer gives to this process."""
        before = {channel.channel_id for channel in self._channels}
        if before:
            async with self._house.database.reading() as tx:
                stamp = await tx.stamp()
                if stamp == self._looked_at:
                    return
                held = await presence.held_by(tx, self._process_id)
            self._looked_at = stamp
            self._close_unheld(before, held)

    def _close_unheld(self, before: set[str], held: Mapping[str, str]) -> None:
        for channel in self._channels:
            if channel.channel_id in before and held.get(channel.node_id) != channel.channel_id:
                channel.close("another channel of the node is newer, or the node is gone")

    async def _close_those_that_may_not(self, channels: Sequence[Channel]) -> None:
        may = await self._may_stay([channel.node_id for channel in channels])
        for channel in channels:
            if channel.node_id not in may:
                channel.close("the node is gone, or its role no longer lets it hold a channel")

    def _still_gone(self, rows: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """Rows seen without a channel at two beats in a row: not those of channels that are just opening."""
        suspects, self._suspects = self._suspects, set(rows)
        return [row for row in rows if row in suspects]


_HANDLERS: Mapping[str, Callable[[ControlChannels, Channel, Frame], None]] = {
    AGENT_JOB_ACK: ControlChannels._job_ack,
    AGENT_JOB_REPLY: ControlChannels._job_reply,
    AGENT_TASK_COMPLETE: ControlChannels._task_complete,
}


def _is_of(channel: Channel, job_id: str) -> bool:
    """Whether the job is the node's own: a node speaks for itself only."""
    if node_of(job_id) == channel.node_id:
        return True
    log.warning("control_channel.foreign_job", node_id=channel.node_id)
    return False


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def refusal_of(error: ApiError) -> Response:
    """403 without the word that would turn the agent to GetMessages; 503 for our own trouble."""
    if _is_trouble(error):
        return _xml(503, _error("ServiceUnavailable", error.message or "Try again."))
    return _xml(403, _error("UnknownException", error.message))


def _is_trouble(error: ApiError) -> bool:
    """Whether the same request may be granted later."""
    return error.http_status >= 500 or isinstance(error, ThrottlingException)


def _error(name: str, text: str) -> str:
    return f"<{name}><message>{escape(text)}</message></{name}>"


def _xml(status: int, body: str) -> Response:
    return Response(status, {"content-type": "application/xml"}, body.encode())


async def refuse_upgrade(send: Send, status: int, text: str = "") -> None:
    """Answer a request for a websocket with an error."""
    headers = [(b"content-type", b"application/xml")]
    await send({"type": "websocket.http.response.start", "status": status, "headers": headers})
    name = "ServiceUnavailable" if status >= 500 else "UnknownException"
    text = text or ("Try again." if status >= 500 else "These credentials do not open this channel.")
    await send({"type": "websocket.http.response.body", "body": _error(name, text).encode()})


async def _close(send: Send, why: str) -> None:
    try:
        await send({"type": "websocket.close", "code": 1000, "reason": why})
    except (OSError, RuntimeError):
        return  # the peer, or the server on its way down, closed it first
