"""The outbox: messages to nodes as durable rows, written in the transaction of the operation that wants them sent.

Owns the tables outbox_message and outbox_content; `delivery` applies the redelivery rules to them. A message waits
behind a *gate* (for commands: the command id). Whoever reads or moves messages of a gate holds the gate (`hold`), so
that rate control decided by the message's `Sender` is exact. Messages start parked; `release` makes them due. A node
that connects is offered everything that waits for it, parked or not, and the Sender says what may go.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from pilothouse.call import House
from pilothouse.gateway.presence import ALIVE_MS, connected
from pilothouse.storage import Transaction

QUEUED, SENT, HELD, DONE = "queued", "sent", "held", "done"
"""Never transmitted or refused · sent, unanswered · the same, but not to be sent again · finished or answered."""

WAKE = "node.outbox"
"""Bus topic; the key is a node id with messages that are due."""
PUSHED = "outbox.pushed"
"""Bus topic; the key is a node that has a new message, parked or not. Nodes that poll look at once."""
GATE = "outbox.gate"
"""Bus topic; the key is a gate behind which there is room again. Nodes that poll look once more."""

KEPT_MS = 48 * 3_600_000
"""How long rows stay after their expiry, so that late replies still find their sender."""


class Message(NamedTuple):
    """One message to one node. `wire_id` is the JobId or MessageId that the node sees."""

    message_id: str
    account_id: str
    region: str
    node_id: str
    gate: str
    topic: str
    state: str
    renewed: int
    """1 if each transmission goes under a new id."""
    first_sent_at: int | None
    attempts: int
    refusals: int
    faults: int
    content_id: str | None
    """Of the content that it shares with others."""


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A message to be put in the outbox. `renewed`: each transmission goes under a new id and no answer to the message
    itself counts (cancel); it repeats until withdrawn. Without `content` the shared content is sent."""

    message_id: str
    node_id: str
    content: str | None = None
    renewed: bool = False


@dataclass(frozen=True, slots=True)
class Refusal:
    """The node did not take the message. `final`: never to be sent again. `undeliverable`: the node cannot ever."""

    message: Message
    code: str
    text: str
    final: bool
    undeliverable: bool = False


class Reply(NamedTuple):
    """What a node says about a message; `content` is its JSON text. It may repeat and come in any order."""

    message: Message
    content: str

    def __repr__(self) -> str:
        return f"Reply({self.message.message_id!r})"


class Sender(Protocol):
    """The capability behind a topic. Every hook runs inside the gateway's transaction, which holds the gates of all the
    messages given; messages come in the order in which things happened."""

    async def transmitting(self, house: House, tx: Transaction, messages: Sequence[Message]) -> Collection[str]:
        """The ids of the messages that may go out now; the sender records these as transmitted."""

    async def delivered(self, house: House, tx: Transaction, messages: Sequence[Message]) -> None:
        """The node has taken the messages. May repeat."""

    async def refused(self, house: House, tx: Transaction, refusals: Sequence[Refusal]) -> None:
        """The node has not taken them; those that are not final will be sent again."""

    async def replied(self, house: House, tx: Transaction, replies: Sequence[Reply]) -> None:
        """The node reports progress or results. Must bear duplicates."""

    async def unanswered(self, house: House, tx: Transaction, messages: Sequence[Message]) -> None:
        """No answer came in time and the node is away; they go out again when it returns."""

    async def gave_up(self, house: House, tx: Transaction, messages: Sequence[Message]) -> None:
        """No answer came within the time in which sending again is safe; they are never sent again."""


COLUMNS = (
    "message_id, account_id, region, node_id, gate, topic, state, renewed, first_sent_at, attempts, refusals, faults,"
    " content_id"
)
"""Those of a `Message`, in its order."""

_NEW = (
    "message_id", "account_id", "region", "node_id", "gate", "topic", "content_id", "content", "renewed", "state",
    "created_at", "attempts", "refusals", "faults", "next_at", "start_deadline", "expires_at",
)  # fmt: skip

_INSERT_CONTENT = """insert into outbox_content (content_id, content, expires_at)
values (:content_id, :content, :expires_at) on conflict (content_id) do nothing"""

_RELEASABLE = """select m.message_id, m.node_id
from outbox_message m join node_channel c on c.node_id = m.node_id
  join gateway_process p on p.process_id = c.process_id and p.seen_at > :alive
where m.gate = :gate and m.state = 'queued' and m.next_at is null
  and (m.start_deadline is null or m.start_deadline > :now)
order by m.node_id limit :limit"""

_MAKE_DUE = "update outbox_message set next_at = :now where message_id in (:ids) and state = 'queued'"
_WITHDRAW = """update outbox_message set state = 'done', next_at = null, give_up_at = null
where message_id in (:ids) and state in ('queued', 'sent', 'held')"""
_SEND_NO_MORE = "update outbox_message set state = 'held', next_at = null where message_id in (:ids) and state = 'sent'"


async def for_each(tx: Transaction, sql: str, ids: Iterable[str], /, **values: Any) -> None:
    """Run the statement for all `:ids`, many at once."""
    for part in chunks(ids):
        await tx.execute(sql, ids=part, **values)


def chunks(ids: Iterable[str], size: int = 1024) -> list[list[str]]:
    """Ids for `in (:ids)`, cut into lists of few different lengths (statements are prepared once for each length);
    the last id is repeated as filling."""
    known = list(ids)
    cut = []
    for start in range(0, len(known), size):
        part = known[start : start + size]
        length = 1
        while length < len(part):
            length *= 2 if length >= 64 else 4
        cut.append(part + part[-1:] * (min(length, size) - len(part)))
    return cut


async def hold(tx: Transaction, gates: Iterable[str]) -> None:
    """Take the gates until the end of the transaction, always in the same order."""
    for gate in sorted(set(gates)):
        await tx.lock("outbox", gate)


async def push(
    house: House,
    tx: Transaction,
    *,
    account_id: str,
    region: str,
    gate: str,
    topic: str,
    messages: Sequence[NewMessage],
    at_ms: int,
    start_deadline: int | None,
    expires_at: int,
    content: str | None = None,
    variant: str = "",
    room: int = 0,
) -> None:
    """Put messages in the outbox. `content` is shared by all of them that bring none of their own; what a gate has of
    another `variant` is another content.

    Not sent for the first time after `start_deadline`, nor at all after `expires_at` (epoch milliseconds). Of the nodes
    that hold a channel `room` get theirs now, as `release` would do it; the other messages are parked.
    """
    due = await _released_at_once(house, tx, gate, [each.node_id for each in messages], room)
    if content is not None:
        await tx.execute(_INSERT_CONTENT, content_id=gate + variant, content=content, expires_at=expires_at)
    await tx.fill("outbox_message", _NEW, [
        (
            each.message_id, account_id, region, each.node_id, gate, topic,
            gate + variant if each.content is None else None, each.content, int(each.renewed), QUEUED, at_ms, 0, 0, 0,
            at_ms if each.node_id in due else None, start_deadline, expires_at,
        )
        for each in messages
    ])  # fmt: skip

    def tell() -> None:
        house.bus.wake_all(PUSHED, [each.node_id for each in messages])

    tx.after_commit(tell)


async def _released_at_once(
    house: House, tx: Transaction, gate: str, node_ids: Sequence[str], room: int
) -> Collection[str]:
    if room <= 0 or not node_ids:
        return ()
    reached = await connected(tx, node_ids, house.clock.millis())
    nodes = sorted(reached)[:room]
    _wake_after(house, tx, gate, nodes)
    return set(nodes)


def _wake_after(house: House, tx: Transaction, gate: str, node_ids: Sequence[str]) -> None:
    def wake() -> None:
        house.bus.wake_all(WAKE, node_ids)
        house.bus.wake(GATE, gate)

    tx.after_commit(wake)


async def release(house: House, tx: Transaction, gate: str, limit: int) -> None:
    """Make at most `limit` parked messages of the gate due, of nodes that hold a channel; wake their channels.

    Nodes without a channel get theirs when they come; if they poll, the gate's wake-up lets them look again.
    """
    if limit <= 0:
        return
    now = house.clock.millis()
    found = await tx.tuples(_RELEASABLE, gate=gate, now=now, alive=now - ALIVE_MS, limit=limit)
    await for_each(tx, _MAKE_DUE, [message_id for message_id, _ in found], now=now)
    _wake_after(house, tx, gate, [node_id for _, node_id in found])


async def releasable(house: House, tx: Transaction, gate: str) -> bool:
    """Whether `release` would find a message."""
    now = house.clock.millis()
    return bool(await tx.rows(_RELEASABLE, gate=gate, now=now, alive=now - ALIVE_MS, limit=1))


async def make_due(house: House, tx: Transaction, messages: Mapping[str, str]) -> None:
    """Make these messages (id to node id) due now, whatever their gate says about others."""
    now = house.clock.millis()
    await for_each(tx, _MAKE_DUE, messages, now=now)
    nodes = sorted(set(messages.values()))
    tx.after_commit(lambda: house.bus.wake_all(WAKE, nodes))


async def withdraw(tx: Transaction, message_ids: Iterable[str]) -> None:
    """Never send these (again), and wait for no answer."""
    await for_each(tx, _WITHDRAW, message_ids)


async def withdraw_waiting(tx: Transaction, gate: str) -> None:
    """Withdraw every message of the gate that is not on a node: never transmitted, or refused."""
    await tx.execute(
        "update outbox_message set state = 'done', next_at = null, give_up_at = null"
        " where gate = :gate and state = 'queued' and renewed = 0",
        gate=gate,
    )


async def withdraw_all(tx: Transaction, gate: str) -> None:
    """Withdraw every message of the gate."""
    await tx.execute(
        "update outbox_message set state = 'done', next_at = null, give_up_at = null"
        " where gate = :gate and state in ('queued', 'sent', 'held')",
        gate=gate,
    )


async def send_no_more(tx: Transaction, message_ids: Iterable[str]) -> None:
    """Do not send these again, but go on waiting for an answer to what was sent."""
    await for_each(tx, _SEND_NO_MORE, message_ids)


async def forget_node(tx: Transaction, node_id: str) -> None:
    """The node is gone: nothing is ever sent to it again."""
    await tx.execute("delete from outbox_message where node_id = :node_id", node_id=node_id)


async def messages_held(tx: Transaction, message_ids: Collection[str]) -> dict[str, Message]:
    """Messages by id, for those that exist, with their gates held. A message never changes its gate."""
    if not tx.serial:
        gates: set[str] = set()
        for part in chunks(message_ids):
            rows = await tx.tuples("select distinct gate from outbox_message where message_id in (:ids)", ids=part)
            gates.update(gate for (gate,) in rows)
        await hold(tx, gates)
    found: dict[str, Message] = {}
    for part in chunks(message_ids):
        rows = await tx.tuples(f"select {COLUMNS} from outbox_message where message_id in (:ids)", ids=part)  # noqa: S608
        found.update({row[0]: Message(*row) for row in rows})
    return found


async def contents(tx: Transaction, messages: Sequence[Message]) -> dict[str, str]:
    """Message id to content. Shared contents are read once."""
    texts: dict[str, str] = {}
    for part in chunks({message.content_id for message in messages if message.content_id is not None}):
        texts.update(
            await tx.tuples("select content_id, content from outbox_content where content_id in (:ids)", ids=part)
        )
    own: dict[str, str] = {}
    for part in chunks(message.message_id for message in messages if message.content_id is None):
        own.update(
            await tx.tuples("select message_id, content from outbox_message where message_id in (:ids)", ids=part)
        )
    return {
        message.message_id: own[message.message_id] if message.content_id is None else texts[message.content_id]
        for message in messages
    }
