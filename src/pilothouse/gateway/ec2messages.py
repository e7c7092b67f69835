"""The ec2messages operations: how nodes fetch and answer messages while they hold no control channel.

A message leaves over one way at a time: while the node's control channel is open, GetMessages waits and gives nothing.
A waiting poll holds no database connection; a wake-up, or a look every few seconds, ends it.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import structlog

from pilothouse.call import Call, Caller, House, Operation, Shape, operation
from pilothouse.errors import AccessDeniedException, ServiceUnavailable
from pilothouse.gateway import outbox, presence
from pilothouse.gateway.delivery import Answer, Outgoing, Senders, take
from pilothouse.gateway.intake import Intake, IntakeFailed
from pilothouse.gateway.payloads import node_of
from pilothouse.runtime.waiting import wait

log = structlog.get_logger()

POLL_SECONDS = 15.0
"""The agent's HTTP client waits 20 s."""
LOOK_SECONDS = 5.0
VISIBILITY_SECONDS = 10
CONTACT_SECONDS = 60
"""A node's polling is recorded as a contact at most this often."""

_WAITS = """select 1 from outbox_message where node_id = :node_id and state in ('queued', 'sent')
  and (next_at is null or next_at <= :now) limit 1"""
_REMEMBERED = 100_000


class Pollers:
    """The nodes whose GetMessages waits in this process, and the gates at which they found no room."""

    def __init__(self, house: House) -> None:
        self._waiting: dict[str, asyncio.Event] = {}
        self._gates: dict[str, set[str]] = {}
        self._closed = False
        house.bus.listen(outbox.WAKE, self._wake)
        house.bus.listen(outbox.PUSHED, self._wake)
        house.bus.listen(outbox.GATE, self._wake_gate)

    def enter(self, node_id: str) -> asyncio.Event:
        """Wait for the node; a newer poll of the node takes the place of an older one, which ends empty."""
        older = self._waiting.get(node_id)
        event = self._waiting[node_id] = asyncio.Event()
        if older is not None:
            older.set()
        return event

    def close(self) -> None:
        """End every poll with an empty answer, and each that still comes: the server stops."""
        self._closed = True
        for event in self._waiting.values():
            event.set()

    def at_gates(self, node_id: str, gates: set[str]) -> None:
        """Wake the node when there is room behind one of these."""
        for gate in gates:
            self._gates.setdefault(gate, set()).add(node_id)

    def leave(self, node_id: str, event: asyncio.Event) -> None:
        """The poll has ended."""
        if self._waiting.get(node_id) is event:
            del self._waiting[node_id]

    def is_newest(self, node_id: str, event: asyncio.Event) -> bool:
        """Whether no later poll of the node came."""
        return self._waiting.get(node_id) is event and not self._closed

    def _wake(self, node_id: str) -> None:
        if event := self._waiting.get(node_id):
            event.set()

    def _wake_gate(self, gate: str) -> None:
        for node_id in self._gates.pop(gate, ()):
            self._wake(node_id)


class Ec2Messages:
    """The operations, bound to the outbox's senders."""

    def __init__(self, house: House, senders: Senders, intake: Intake) -> None:
        self._house = house
        self._senders = senders
        self._intake = intake
        self._pollers = Pollers(house)
        self._contacts: dict[str, int] = {}

    def close(self) -> None:
        """End the long polls; nothing else changes."""
        self._pollers.close()

    def operations(self) -> tuple[Operation, ...]:
        """The operation table's entries."""
        found = []
        for name, handler, member in (
            ("GetMessages", self.get_messages, "Destination"),
            ("AcknowledgeMessage", self.acknowledge_message, None),
            ("SendReply", self.send_reply, None),
            ("FailMessage", self.fail_message, None),
            ("DeleteMessage", self.delete_message, None),
            ("GetEndpoint", self.get_endpoint, None),
        ):

            async def answer(call: Call, request: Shape, handler: Any = handler) -> Shape:
                shape: Shape = await handler(call, request)
                return shape

            marked: Any = operation("ec2messages", name, callers=Caller.NODE, node_member=member)(answer)
            found.append(marked.__operation__)
        return tuple(found)

    async def get_messages(self, call: Call, request: Shape) -> Shape:
        """Long poll: what waits for the node, or an empty list after 15 s."""
        node_id = _caller(call)
        await self._contact(call, node_id)
        async with self._waiting(node_id, call.gone) as event:
            going = await self._poll(node_id, event, request.get("VisibilityTimeoutInSeconds") or VISIBILITY_SECONDS)
        return {
            "Destination": request["Destination"],
            "MessagesRequestId": request["MessagesRequestId"],
            "Messages": [_wire(message) for message in going],
        }

    async def acknowledge_message(self, call: Call, request: Shape) -> Shape:
        """The node has taken the message."""
        await self._store(call, Answer(request["MessageId"], _caller(call), code="200"))
        return {}

    async def send_reply(self, call: Call, request: Shape) -> Shape:
        """Progress or results; durable when answered. The same reply may come again and changes nothing then."""
        await self._store(call, Answer(request["MessageId"], _caller(call), content=request["Payload"]))
        return {}

    async def fail_message(self, call: Call, request: Shape) -> Shape:
        """The node cannot handle the message, and never will."""
        await self._store(call, Answer(request["MessageId"], _caller(call), code="51404", text=request["FailureType"]))
        return {}

    async def delete_message(self, call: Call, request: Shape) -> Shape:
        """The agent's updater has read the message; results tell what matters."""
        _own(call, request["MessageId"])
        return {}

    async def get_endpoint(self, call: Call, request: Shape) -> Shape:
        """Where messages are: here."""
        return {"Endpoint": call.headers.get("host", "")}

    @asynccontextmanager
    async def _waiting(self, node_id: str, gone: Callable[[], Awaitable[None]] | None) -> AsyncIterator[asyncio.Event]:
        """The event of the node's newest poll. A poll whose client leaves ends at once: what it were given would be
        lost until it is offered again, and would count as sent."""
        event = self._pollers.enter(node_id)
        watch = None if gone is None else asyncio.ensure_future(self._end_with(gone, node_id, event))
        try:
            yield event
        finally:
            self._pollers.leave(node_id, event)
            if watch is not None:
                watch.cancel()
                await asyncio.gather(watch, return_exceptions=True)

    async def _end_with(self, gone: Callable[[], Awaitable[None]], node_id: str, event: asyncio.Event) -> None:
        await gone()
        self._pollers.leave(node_id, event)
        event.set()

    async def _poll(self, node_id: str, event: asyncio.Event, visibility: int) -> list[Outgoing]:
        clock = self._house.clock
        deadline = clock.millis() + int(POLL_SECONDS * 1000)
        while True:
            event.clear()
            going = await self._take(node_id, visibility)
            left = (deadline - clock.millis()) / 1000
            if going or left <= 0 or not self._pollers.is_newest(node_id, event):
                return going
            await wait(clock, event, min(left, LOOK_SECONDS))
            if not self._pollers.is_newest(node_id, event):
                return []

    async def _take(self, node_id: str, visibility: int) -> list[Outgoing]:
        """What the node gets now. Nothing while its control channel is open."""
        now = self._house.clock.millis()
        async with self._house.database.reading() as tx:
            if not await tx.value(_WAITS, node_id=node_id, now=now):
                return []
            if await presence.is_connected(tx, node_id, now):
                return []
        async with self._house.database.transaction() as tx:
            going, full = await take(
                self._house, tx, self._senders, [node_id], which="poll", via="mds", visible_ms=visibility * 1000
            )
        self._pollers.at_gates(node_id, full)
        return going

    async def _store(self, call: Call, answer: Answer) -> None:
        _own(call, answer.wire_id)
        try:
            await self._intake.store(answer)
        except IntakeFailed as error:
            raise ServiceUnavailable("The message could not be stored. The request can be retried.") from error

    async def _contact(self, call: Call, node_id: str) -> None:
        now = self._house.clock.millis()
        if now - self._contacts.get(node_id, 0) < CONTACT_SECONDS * 1000:
            return
        async with self._house.database.transaction() as tx:
            await self._house.tell(
                tx, "node.contact", account_id=call.account_id, region=call.region, node_id=node_id, at_ms=now
            )
        if len(self._contacts) > _REMEMBERED:
            self._contacts.clear()
        self._contacts[node_id] = now


def _caller(call: Call) -> str:
    return call.principal.node_id or ""


def _own(call: Call, message_id: str) -> None:
    """A node speaks of its own messages only."""
    if node_of(message_id) != call.principal.node_id:
        raise AccessDeniedException("The message is not one of this node.")


def _wire(message: Outgoing) -> Shape:
    moment = datetime.fromtimestamp(message.created_ms / 1000, UTC)
    return {
        "CreatedDate": f"{moment:%Y-%m-%dT%H:%M:%S}.{message.created_ms % 1000:03d}Z",
        "Destination": message.node_id,
        "MessageId": message.wire_id,
        "Topic": message.topic,
        "Payload": message.content,
    }
