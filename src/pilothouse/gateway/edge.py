"""The agent edge of one process: what `app` builds, hands its tables to, and runs.

`app` gives it the senders of the outbox's topics and the function that authenticates signed requests; it gives back
operations, jobs, listeners, the control channel's route and websocket handler.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import structlog

from pilothouse.call import Extension, House, Job, Operation
from pilothouse.gateway import delivery, outbox, presence
from pilothouse.gateway.channels import Channels
from pilothouse.gateway.control_channel import Authenticate, ControlChannels, MayStay, Receive, Send
from pilothouse.gateway.dispatcher import Dispatcher
from pilothouse.gateway.ec2messages import Ec2Messages
from pilothouse.gateway.extension_intake import ExtensionIntake
from pilothouse.gateway.intake import Intake
from pilothouse.gateway.outbox import Sender
from pilothouse.storage import StorageUnavailable, Transaction
from pilothouse.wire.http import BadRequest, Request, header_map

log = structlog.get_logger()


class Edge:
    """Build it once per process. `process_id`: a name that no other living process of the installation has."""

    def __init__(
        self, house: House, senders: Mapping[str, Sender], authenticate: Authenticate, may_stay: MayStay,
        process_id: str, extensions: Mapping[str, Extension] | None = None,
    ) -> None:  # fmt: skip
        self._house = house
        self._process_id = process_id
        self._senders = delivery.Senders(senders)
        self._intake = Intake(house, self._senders)
        self._beyond = ExtensionIntake(house, extensions or {})
        self.channels = Channels()
        self._dispatcher = Dispatcher(house, self._senders, self.channels, process_id)
        self.control = ControlChannels(
            house, authenticate, may_stay, self.channels, self._dispatcher, self._intake, process_id,
            extensions or {}, self._beyond,
        )  # fmt: skip
        self._polling = Ec2Messages(house, self._senders, self._intake)
        self.operations: tuple[Operation, ...] = self._polling.operations()
        self.jobs = (
            Job(name="gateway.silence", every=timedelta(seconds=2), run=self._silence),
            Job(name="gateway.gone", every=timedelta(seconds=3), run=self._close_gone),
            Job(name="gateway.prune", every=timedelta(minutes=5), run=prune),
        )
        house.listeners.setdefault("node.deregistered", []).append(node_deregistered)

    async def websocket(self, scope: Any, receive: Receive, send: Send) -> None:
        """The ASGI handler of websockets below `control_channel.PATH`."""
        try:
            headers = header_map(scope["headers"])
        except BadRequest:
            await receive()
            await send({"type": "websocket.close", "code": 1008})
            return
        client = scope.get("client")
        request = Request(
            method="GET",
            path=scope["raw_path"].decode("latin-1") if "raw_path" in scope else scope["path"],
            query=scope["query_string"].decode("latin-1"),
            headers=headers,
            body=b"",
            peer=client[0] if client else "",
            secure=scope["scheme"] == "wss",
        )
        await self.control.websocket(request, receive, send)

    def drain(self) -> None:
        """The server is about to stop: end the long polls, so that nobody waits for them."""
        self._polling.close()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Dispatch, store and keep presence true until the block ends; then close every channel."""
        async with self._house.database.transaction() as tx:
            await presence.beat(tx, self._process_id, self._house.clock.millis())
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._intake.run(), name="intake"),
                group.create_task(self._dispatcher.run(), name="dispatcher"),
                group.create_task(self._beyond.run(), name="extensions"),
                group.create_task(self.control.keep_true(), name="presence"),
            ]
            try:
                yield
            finally:
                for channel in self.channels:
                    channel.close("the server stops")
                for task in tasks:
                    task.cancel()
        with contextlib.suppress(StorageUnavailable):  # then the rows grow old by themselves
            async with self._house.database.transaction() as tx:
                await presence.process_stopped(tx, self._process_id)

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
