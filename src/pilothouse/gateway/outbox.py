"""The outbox: messages to nodes as durable rows, written in the transaction of the operation that wants them sent.

Owns the tables outbox_message and outbox_content; `delivery` applies the redelivery rules to them. A message waits
behind a *gate* (for commands: the command id). Whoever reads or moves messages of a gate holds the gate (`hold`), so
that rate control decided by the message's `Sender` is exact. Messages start parked; `release` makes them due. A node
that connects is offered everything that waits for it, parked or not, and the Sender says what may go.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from pilothouse.call import House
from pilothouse.gateway.presence import ALIVE_MS
from pilothouse.storage import Row, Transaction

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
    renewed: bool
    first_sent_at: int | None
    attempts: int
    refusals: int
    faults: int


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


_COLUMNS = (
    "message_id, account_id, region, node_id, gate, topic, state, renewed, first_sent_at, attempts, refusals, faults"
)

_INSERT = """insert into outbox_message (message_id, account_id, region, node_id, gate, topic, content_id, content,
  renewed, state, via, created_at, first_sent_at, last_sent_at, attempts, refusals, faults, next_at, give_up_at,
  start_deadline, expires_at)
values (:message_id, :account_id, :region, :node_id, :gate, :topic, :content_id, :content,
  :renewed, 'queued', null, :created_at, null, null, 0, 0, 0, null, null,
  :start_deadline, :expires_at)"""

_INSERT_CONTENT = """insert into outbox_content (content_id, content, expires_at)
values (:content_id, :content, :expires_at) on conflict (content_id) do nothing"""

_RELEASABLE = """select m.message_id, m.node_id
from outbox_message m join node_channel c on c.node_id = m.node_id
  join gateway_process p on p.process_id = c.process_id and p.seen_at > :alive
where m.gate = :gate and m.state = 'queued' and m.next_at is null
  and (m.start_deadline is null or m.start_deadline > :now)
order by m.node_id limit :limit"""

_MAKE_DUE = "update outbox_message set next_at = :now where message_id = :message_id and state = 'queued'"


def message_of(row: Row) -> Message:
    """The message in a row selected with `_COLUMNS`."""
    return Message(
        row["message_id"], row["account_id"], row["region"], row["node_id"], row["gate"], row["topic"], row["state"],
        bool(row["renewed"]), row["first_sent_at"], row["attempts"], row["refusals"], row["faults"],
    )  # fmt: skip


def chunks(ids: Iterable[str], size: int = 256) -> list[list[str]]:
    """Ids for `in (:ids)`, cut into lists of few different lengths (statements are prepared once for each length);
    the last id is repeated as filling."""
    known = list(ids)
    cut = []
    for start in range(0, len(known), size):
        part = known[start : start + size]
        length = 1
        while length < len(part):
            length *= 4
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
) -> None:
    """Put messages in the outbox, parked. `content` is shared by all of them that bring none of their own.

    Not sent for the first time after `start_deadline`, nor at all after `expires_at` (epoch milliseconds).
    """
    if content is not None:
        await tx.execute(_INSERT_CONTENT, content_id=gate, content=content, expires_at=expires_at)
    await tx.many(_INSERT, [
        {
            "message_id": each.message_id, "account_id": account_id, "region": region, "node_id": each.node_id,
            "gate": gate, "topic": topic, "content_id": gate if each.content is None else None,
            "content": each.content, "renewed": int(each.renewed), "created_at": at_ms,
            "start_deadline": start_deadline, "expires_at": expires_at,
        }
        for each in messages
    ])  # fmt: skip

    def tell() -> None:
        for each in messages:
            house.bus.wake(PUSHED, each.node_id)

    tx.after_commit(tell)


async def release(house: House, tx: Transaction, gate: str, limit: int) -> None:
    """Make at most `limit` parked messages of the gate due, of nodes that hold a channel; wake their channels.

    Nodes without a channel get theirs when they come; if they poll, the gate's wake-up lets them look again.
    """
    if limit <= 0:
        return
    now = house.clock.millis()
    found = await tx.rows(_RELEASABLE, gate=gate, now=now, alive=now - ALIVE_MS, limit=limit)
    await tx.many(_MAKE_DUE, [{"now": now, "message_id": row["message_id"]} for row in found])
    nodes = [row["node_id"] for row in found]

    def wake() -> None:
        for node_id in nodes:
            house.bus.wake(WAKE, node_id)
        house.bus.wake(GATE, gate)

    tx.after_commit(wake)


async def releasable(house: House, tx: Transaction, gate: str) -> bool:
    """Whether `release` would find a message."""
    now = house.clock.millis()
    return bool(await tx.rows(_RELEASABLE, gate=gate, now=now, alive=now - ALIVE_MS, limit=1))


async def make_due(house: House, tx: Transaction, messages: Mapping[str, str]) -> None:
    """Make these messages (id to node id) due now, whatever their gate says about others."""
    now = house.clock.millis()
    await tx.many(_MAKE_DUE, [{"now": now, "message_id": each} for each in messages])
    nodes = set(messages.values())

    def wake() -> None:
        for node_id in nodes:
            house.bus.wake(WAKE, node_id)

    tx.after_commit(wake)


async def withdraw(tx: Transaction, message_ids: Iterable[str]) -> None:
    """Never send these (again), and wait for no answer."""
    await tx.many(
        "update outbox_message set state = 'done', next_at = null, give_up_at = null where message_id = :message_id",
        [{"message_id": each} for each in message_ids],
    )


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
    await tx.many(
        "update outbox_message set state = 'held', next_at = null where message_id = :message_id and state = 'sent'",
        [{"message_id": each} for each in message_ids],
    )


async def forget_node(tx: Transaction, node_id: str) -> None:
    """The node is gone: nothing is ever sent to it again."""
    await tx.execute("delete from outbox_message where node_id = :node_id", node_id=node_id)


async def gates_of(tx: Transaction, message_ids: Iterable[str]) -> dict[str, str]:
    """Message id to gate, for those that exist. A message never changes its gate."""
    found: dict[str, str] = {}
    for part in chunks(message_ids):
        rows = await tx.rows("select message_id, gate from outbox_message where message_id in (:ids)", ids=part)
        found.update({row["message_id"]: row["gate"] for row in rows})
    return found


async def messages_by_id(tx: Transaction, message_ids: Iterable[str]) -> dict[str, Message]:
    """Messages by id, for those that exist."""
    found: dict[str, Message] = {}
    for part in chunks(message_ids):
        rows = await tx.rows(f"select {_COLUMNS} from outbox_message where message_id in (:ids)", ids=part)  # noqa: S608
        found.update({row["message_id"]: message_of(row) for row in rows})
    return found


async def contents(tx: Transaction, message_ids: Sequence[str]) -> dict[str, str]:
    """Message id to content. Shared contents are read once."""
    own: dict[str, str] = {}
    shared: dict[str, str] = {}
    for part in chunks(message_ids):
        rows = await tx.rows(
            "select message_id, content_id, content from outbox_message where message_id in (:ids)", ids=part
        )
        for row in rows:
            if row["content_id"] is None:
                own[row["message_id"]] = row["content"]
            else:
                shared[row["message_id"]] = row["content_id"]
    texts: dict[str, str] = {}
    for part in chunks(sorted(set(shared.values()))):
        rows = await tx.rows("select content_id, content from outbox_content where content_id in (:ids)", ids=part)
        texts.update({row["content_id"]: row["content"] for row in rows})
    return own | {message_id: texts[content_id] for message_id, content_id in shared.items()}
