"""The agent edge of one process: what `app` builds, hands its tables to, and runs.

`app` gives it the senders of the outbox's topics and the function that authenticates signed requests; it gives back
operations, jobs, listeners, the control channel's route and websocket handler.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import structlog

from pilothouse.call import Extension, House, Job, Operation
from pilothouse.errors import RoleMissing
from pilothouse.gateway import control_channel, data_channel, delivery, outbox, presence, terminal_pages
from pilothouse.gateway.channels import Channels
from pilothouse.gateway.control_channel import Authenticate, ControlChannels, MayStay, Receive, Send
from pilothouse.gateway.data_channel import DataChannels
from pilothouse.gateway.dispatcher import Dispatcher
from pilothouse.gateway.ec2messages import Ec2Messages
from pilothouse.gateway.extension_intake import ExtensionIntake
from pilothouse.gateway.intake import Intake
from pilothouse.gateway.outbox import Sender
from pilothouse.gateway.session_keeper import SessionKeeper
from pilothouse.gateway.session_teller import SessionTeller
from pilothouse.gateway.terminal_pages import TerminalPages
from pilothouse.runtime.settings import GATEWAY
from pilothouse.storage import StorageUnavailable, Transaction
from pilothouse.wire.asgi import CONNECTION
from pilothouse.wire.http import BadRequest, Request, Response, header_map

log = structlog.get_logger()


class Edge:
    """Build it once per process. `process_id`: a name that no other living process of the installation has."""

    def __init__(
        self, house: House, senders: Mapping[str, Sender], authenticate: Authenticate, may_stay: MayStay,
        process_id: str, keeper: SessionKeeper, extensions: Mapping[str, Extension] | None = None,
    ) -> None:  # fmt: skip
        self._house = house
        self._process_id = process_id
        self._holds = GATEWAY in house.roles
        """Whether this process has channels at all."""
        self._senders = delivery.Senders(senders)
        self._intake = Intake(house, self._senders)
        self._beyond = ExtensionIntake(house, extensions or {})
        self.channels = Channels()
        self._dispatcher = Dispatcher(house, self._senders, self.channels, self._intake, process_id)
        self._teller = SessionTeller(house, keeper, self.channels)
        self.control = ControlChannels(
            house, authenticate, may_stay, self.channels, self._dispatcher, self._intake, process_id,
            extensions or {}, self._beyond, self._teller,
        )  # fmt: skip
        self.data = DataChannels(house, authenticate, keeper, process_id)
        self._pages = TerminalPages(self.data)
        self._polling = Ec2Messages(house, self._senders, self._intake)
        self.operations: tuple[Operation, ...] = self._polling.operations()
        self.jobs = (
            Job(name="gateway.silence", every=timedelta(seconds=2), run=self._silence),
            Job(name="gateway.gone", every=timedelta(seconds=3), run=self._close_gone, local=True),
            Job(name="gateway.sessions", every=timedelta(seconds=1), run=self.data.flush, local=True),
            Job(name="gateway.prune", every=timedelta(minutes=5), run=prune),
        )
        house.listeners.setdefault("node.deregistered", []).append(node_deregistered)

    async def create(self, request: Request) -> Response:
        """The handler of requests below the paths of control and data channels."""
        if not self._holds:
            return control_channel.refusal_of(RoleMissing(self._house.roles, GATEWAY))
        if request.path.startswith(data_channel.PATH):
            return await self.data.create(request)
        return await self.control.create(request)

    async def websocket(self, scope: Any, receive: Receive, send: Send) -> None:
        """The ASGI handler of websockets below the paths of control and data channels, and of terminals."""
        if not self._holds:
            await receive()
            await control_channel.refuse_upgrade(send, 503, RoleMissing(self._house.roles, GATEWAY).message)
            return
        try:
            opening = _opening(scope)
        except BadRequest:
            await receive()
            await send({"type": "websocket.close", "code": 1008})
            return
        conversation: Coroutine[Any, Any, None]
        if opening.path.startswith(data_channel.PATH):
            conversation = self.data.websocket(opening, scope, receive, send)
        elif opening.path == terminal_pages.PATH:
            conversation = self._pages.websocket(opening, scope, receive, send)
        else:
            conversation = self.control.websocket(opening, scope[CONNECTION], receive, send)
        del opening  # a channel may stay for months
        await conversation

    def drain(self) -> None:
        """The server is about to stop: end the long polls, so that nobody waits for them."""
        self._polling.close()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Dispatch, store and keep presence true until the block ends; then close every channel.

        A process that holds no channels says that it is there, and nothing else.
        """
        await self._beat()
        work: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {"presence": self._keep_seen}
        if self._holds:
            work = {
                "intake": self._intake.run,
                "dispatcher": self._dispatcher.run,
                "extensions": self._beyond.run,
                "presence": self.control.keep_true,
                "session teller": self._teller.run,
                "sessions": self.data.run,
            }
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(run(), name=name) for name, run in work.items()]
            try:
                yield
            finally:
                for channel in self.channels:
                    channel.close("the server stops")
                self.data.close("the server stops")
                for task in tasks:
                    task.cancel()
        with contextlib.suppress(StorageUnavailable):  # then the rows grow old by themselves
            async with self._house.database.transaction() as tx:
                await presence.process_stopped(tx, self._process_id)

    async def _beat(self) -> None:
        now = self._house.clock.millis()
        async with self._house.database.transaction() as tx:
            await presence.beat(tx, self._process_id, self._house.roles, now)
            await presence.forget_dead(tx, now)

    async def _keep_seen(self) -> None:
        began = self._house.clock.millis()
        while True:
            await presence.until_next_beat(self._house.clock, began)
            began = self._house.clock.millis()
            try:
                await self._beat()
            except StorageUnavailable as error:
                log.warning("presence.storage_unavailable", error=str(error))

    async def _close_gone(self, house: House) -> None:
        """Channels of nodes that were deregistered at another process, whose wake-up does not come here."""
        await self.control.close_gone()

    async def _silence(self, house: House) -> None:
        """What goes unanswered is parked or given up. Looks first, and writes only when something is due."""
        now = house.clock.millis()
        async with house.database.reading() as tx:
            due = await tx.value("select 1 from outbox_message where next_at <= :now limit 1", now=now)
            late = await tx.value("select 1 from outbox_message where give_up_at <= :now limit 1", now=now)
        if due:
            async with house.database.transaction() as tx:
                await delivery.note_silence(house, tx, self._senders)
        while late:
            async with house.database.transaction() as tx:
                late = await delivery.give_up(house, tx, self._senders)


def _opening(scope: Any) -> Request:
    client = scope.get("client")
    return Request(
        method="GET",
        path=scope["raw_path"].decode("latin-1") if "raw_path" in scope else scope["path"],
        query=scope["query_string"].decode("latin-1"),
        headers=header_map(scope["headers"]),
        body=b"",
        peer=client[0] if client else "",
        secure=scope["scheme"] == "wss",
    )


async def prune(house: House) -> None:
    """Remove messages and contents some time after their expiry."""
    old = house.clock.millis() - outbox.KEPT_MS
    async with house.database.reading() as tx:
        some = await tx.value("select 1 from outbox_message where expires_at < :old limit 1", old=old)
        texts = await tx.value("select 1 from outbox_content where expires_at < :old limit 1", old=old)
    while some:
        async with house.database.transaction() as tx:
            some = await tx.execute(
                "delete from outbox_message where message_id in"
                " (select message_id from outbox_message where expires_at < :old limit 1000)",
                old=old,
            )
    if texts:
        async with house.database.transaction() as tx:
            await tx.execute("delete from outbox_content where expires_at < :old", old=old)


async def node_deregistered(house: House, tx: Transaction, facts: Mapping[str, Any]) -> None:
    """Queue and channel of the node go with it; the wake-up `node.gone` closes the channel itself."""
    await outbox.forget_node(tx, facts["node_id"])
    await presence.node_gone(tx, facts["node_id"])
