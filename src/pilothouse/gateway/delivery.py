"""Delivery: which messages go out now, and what answers and silence mean. The redelivery rules, applied to the outbox.

A message is marked as sent in a committed transaction before its bytes leave, and is never sent again once the node has
taken it or replied. Without an answer it goes out again 15 s later, then every 30 s, and at once on a new channel, for
less than 25 min after the first time: the node's own mark against duplicates lasts 30. A refusal means that the node
does not have it; the clock starts anew.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

from pilothouse.call import House
from pilothouse.gateway import outbox
from pilothouse.gateway.outbox import COLUMNS, DONE, HELD, QUEUED, SENT, Message, Refusal, Reply, Sender
from pilothouse.gateway.presence import ALIVE_MS
from pilothouse.storage import Transaction

Via = Literal["mgs", "mds"]
"""The control channel, or GetMessages."""

FIRST_REDELIVERY_MS = 15_000
REDELIVERY_MS = 30_000
RENEWAL_MS = 60_000
"""From one transmission of a renewed message (cancel) to the next, after the first redelivery."""
GIVE_UP_MS = 25 * 60_000
REFUSED_FIRST_MS = 5_000
REFUSED_MOST_MS = 60_000
FAULTS_MOST = 3
"""So often a node may answer 51499 before the message counts as failed."""

TAKEN = frozenset({"200", "51405"})
RETRIED = frozenset({"51401", "51402"})
PER_NODE = 8
"""Messages that one node gets at once: it works on five and keeps five more. The others follow after `PER_NODE_MS`."""
PER_NODE_MS = 2_000
NEVER_POSSIBLE = "51407"
NOT_TAKEN_FINAL = frozenset({"51403", "51404", "51406", "51408"})


class Outgoing(NamedTuple):
    """A message that must leave now; `wire_id` is the id that the node sees."""

    wire_id: str
    node_id: str
    topic: str
    content: str
    created_ms: int

    def __repr__(self) -> str:
        return f"Outgoing({self.wire_id!r})"


class Senders:
    """Topic prefix to the Sender behind it; the longest prefix that fits rules."""

    def __init__(self, table: Mapping[str, Sender]) -> None:
        self._table = sorted(table.items(), key=lambda entry: -len(entry[0]))
        self._known: dict[str, Sender | None] = {}

    def of(self, topic: str) -> Sender:
        """The sender of a topic; a message can only be in the outbox for a topic that has one."""
        found = self._known.get(topic)
        if found is None:
            found = next((sender for prefix, sender in self._table if topic.startswith(prefix)), None)
            if found is None:
                raise LookupError(f"no capability sends messages of the topic {topic}")
            self._known[topic] = found
        return found


_DUE_GATES = {
    "due": """select distinct gate from outbox_message
where node_id in (:nodes) and state in ('queued', 'sent') and next_at <= :now""",
    "all": "select distinct gate from outbox_message where node_id in (:nodes) and state in ('queued', 'sent')",
    "poll": """select distinct gate from outbox_message
where node_id in (:nodes) and state in ('queued', 'sent') and (next_at is null or next_at <= :now)""",
}
_OPEN = """(m.first_sent_at is not null or m.start_deadline is null or m.start_deadline > :now) and m.expires_at > :now
 and (m.give_up_at is null or m.give_up_at > :now)"""
_SELECT = f"""select {COLUMNS}
from outbox_message m where m.node_id in (:nodes) and m.state in ('queued', 'sent')"""  # noqa: S608
_DUE_MESSAGES = {
    "due": f"{_SELECT} and m.next_at <= :now and {_OPEN} order by m.created_at, m.message_id",
    "all": f"{_SELECT} and {_OPEN} order by m.created_at, m.message_id",
    "poll": f"{_SELECT} and (m.next_at is null or m.next_at <= :now) and {_OPEN} order by m.created_at, m.message_id",
}
_DUE_BEHIND = {which: sql.replace(" where ", " where m.gate in (:gates) and ") for which, sql in _DUE_MESSAGES.items()}
_MARK_SENT = """update outbox_message set state = 'sent', via = :via, first_sent_at = coalesce(first_sent_at, :now),
  last_sent_at = :now, attempts = attempts + 1, next_at = :next_at, give_up_at = :give_up_at
where message_id in (:ids)"""
_PARK = "update outbox_message set next_at = null where message_id in (:ids)"
_POSTPONE = "update outbox_message set next_at = :next_at where message_id in (:ids)"
_MARK_DONE = """update outbox_message set state = 'done', next_at = null, give_up_at = null
where message_id in (:ids)"""
_MARK_REFUSED = """update outbox_message set state = 'queued', first_sent_at = null, give_up_at = null,
  refusals = :refusals, faults = :faults, next_at = :next_at where message_id = :message_id"""

_STATE = Message._fields.index("state")

Which = Literal["due", "all", "poll"]
"""`due`: what is due on an open channel. `all`: everything that waits, on a channel that has just opened.
`poll`: what is due or parked, for a node that asks."""


async def take(
    house: House, tx: Transaction, senders: Senders, node_ids: Sequence[str], *, which: Which, via: Via,
    visible_ms: int = 0,
) -> tuple[list[Outgoing], set[str]]:  # fmt: skip
    """Mark what goes out to these nodes now as sent, and give it; also the gates that had no room.

    Send it only after the transaction has committed. `visible_ms`: how long a polled message stays hidden.
    """
    now = house.clock.millis()
    waiting = await _waiting(tx, node_ids, which, now)
    waiting, later = _fair(waiting)
    await outbox.for_each(tx, _POSTPONE, _ids(later), next_at=now + PER_NODE_MS)
    admitted: set[str] = set()
    for sender, messages in _by_sender(senders, waiting):
        admitted.update(await sender.transmitting(house, tx, messages))
    parked = [message for message in waiting if message.message_id not in admitted]
    going = [message for message in waiting if message.message_id in admitted]
    await outbox.for_each(tx, _PARK, _ids(message for message in parked if message.state == QUEUED))
    for (next_at, give_up_at), ids in _sent_alike(going, now, via, visible_ms).items():
        await outbox.for_each(tx, _MARK_SENT, ids, via=via, now=now, next_at=next_at, give_up_at=give_up_at)
    texts = await outbox.contents(tx, going)
    return (
        [
            Outgoing(_wire_id(house, message), message.node_id, message.topic, texts[message.message_id], now)
            for message in going
        ],
        {message.gate for message in parked},
    )


async def _waiting(tx: Transaction, node_ids: Sequence[str], which: Which, now: int) -> list[Message]:
    """What may go out to the nodes, with its gates held. Where writers take turns, nobody need hold them first."""
    parts = outbox.chunks(node_ids)
    if tx.serial:
        return [Message(*row) for part in parts for row in await tx.tuples(_DUE_MESSAGES[which], nodes=part, now=now)]
    gates: set[str] = set()
    for part in parts:
        gates.update(gate for (gate,) in await tx.tuples(_DUE_GATES[which], **_bound(which, part, now)))
    await outbox.hold(tx, gates)
    some = outbox.chunks(sorted(gates))
    rows = [await tx.tuples(_DUE_BEHIND[which], nodes=part, gates=gates, now=now) for part in parts for gates in some]
    return [Message(*row) for found in rows for row in found]


def _fair(waiting: Sequence[Message]) -> tuple[list[Message], list[Message]]:
    """The first few messages of each node, and the others."""
    now: list[Message] = []
    later: list[Message] = []
    counts: dict[str, int] = {}
    for message in waiting:
        counts[message.node_id] = counts.get(message.node_id, 0) + 1
        (now if counts[message.node_id] <= PER_NODE else later).append(message)
    return now, later


def _bound(which: Which, nodes: list[str], now: int) -> dict[str, object]:
    return {"nodes": nodes} if which == "all" else {"nodes": nodes, "now": now}


def _ids(messages: Iterable[Message]) -> list[str]:
    return [message.message_id for message in messages]


def _sent_alike(
    messages: Sequence[Message], now: int, via: Via, visible_ms: int
) -> dict[tuple[int, int | None], list[str]]:
    """Ids by when the message goes out again, and until when an answer is waited for."""
    alike: dict[tuple[int, int | None], list[str]] = {}
    for message in messages:
        if via == "mds":
            wait = visible_ms
        elif message.attempts == 0 or message.first_sent_at is None:
            wait = FIRST_REDELIVERY_MS
        else:
            wait = RENEWAL_MS if message.renewed else REDELIVERY_MS
        first = now if message.first_sent_at is None else message.first_sent_at
        give_up_at = None if message.renewed else first + GIVE_UP_MS
        alike.setdefault((now + wait, give_up_at), []).append(message.message_id)
    return alike


def _wire_id(house: House, message: Message) -> str:
    return f"aws.ssm.{house.ids.uuid()}.{message.node_id}" if message.renewed else message.message_id


def _by_sender(senders: Senders, messages: Sequence[Message]) -> list[tuple[Sender, list[Message]]]:
    grouped: dict[int, tuple[Sender, list[Message]]] = {}
    for message in messages:
        sender = senders.of(message.topic)
        grouped.setdefault(id(sender), (sender, []))[1].append(message)
    return list(grouped.values())


class Answer(NamedTuple):
    """What a node said about a message, on its own authenticated channel.

    An acknowledgement has a `code`, a reply has `content`, FailMessage and AcknowledgeMessage are codes as well.
    """

    wire_id: str
    node_id: str
    code: str = ""
    text: str = ""
    content: str | None = None

    def __repr__(self) -> str:
        return f"Answer({self.wire_id!r}, {self.code!r})"


async def answered(house: House, tx: Transaction, senders: Senders, answers: Sequence[Answer]) -> None:
    """Record what nodes said, in the order in which it came. Answers about messages that are not the node's, or not
    known (cancels, and rows that were pruned), change nothing."""
    known = await outbox.messages_held(tx, {answer.wire_id for answer in answers})
    if not known:
        return
    for sender, run in _runs(senders, answers, known):
        kind = run[0][0].content is not None
        if kind:
            await _replied(house, tx, sender, run, known)
        elif run[0][0].code in TAKEN:
            await _taken(house, tx, sender, [message for _, message in run], known)
        else:
            await _refused(house, tx, sender, run, known)


def _runs(
    senders: Senders, answers: Sequence[Answer], known: Mapping[str, Message]
) -> list[tuple[Sender, list[tuple[Answer, Message]]]]:
    """Answers of one kind for one sender in a row; no message twice with an acknowledgement in one run.

    Acknowledgements come before replies as far as one message's order allows it: the order between nodes is free.
    """
    waves: list[dict[tuple[int, str], tuple[Sender, list[tuple[Answer, Message]]]]] = []
    depth: dict[str, int] = {}
    last: dict[str, str] = {}
    for answer in answers:
        message = known.get(answer.wire_id)
        if message is None or message.node_id != answer.node_id:
            continue
        sender = senders.of(message.topic)
        kind = "reply" if answer.content is not None else "taken" if answer.code in TAKEN else "refused"
        wave = depth.get(answer.wire_id, 0)
        if answer.wire_id in last and (last[answer.wire_id] != kind or kind == "refused"):
            wave += 1
        depth[answer.wire_id], last[answer.wire_id] = wave, kind
        while len(waves) <= wave:
            waves.append({})
        waves[wave].setdefault((id(sender), kind), (sender, []))[1].append((answer, message))
    return [entry for wave in waves for entry in wave.values()]


async def _taken(
    house: House, tx: Transaction, sender: Sender, messages: Sequence[Message], known: dict[str, Message]
) -> None:
    fresh = [known[message.message_id] for message in messages]
    await _mark_done(tx, fresh, known)
    await sender.delivered(house, tx, fresh)


async def _replied(
    house: House, tx: Transaction, sender: Sender, run: Sequence[tuple[Answer, Message]], known: dict[str, Message]
) -> None:
    await _mark_done(tx, [known[message.message_id] for _, message in run], known)
    await sender.replied(house, tx, [
        Reply(known[message.message_id], answer.content) for answer, message in run if answer.content is not None
    ])  # fmt: skip


async def _mark_done(tx: Transaction, messages: Sequence[Message], known: dict[str, Message]) -> None:
    open_ = {message.message_id: message for message in messages if message.state != DONE and not message.renewed}
    await outbox.for_each(tx, _MARK_DONE, open_)
    for each, message in open_.items():
        known[each] = Message._make((*message[:_STATE], DONE, *message[_STATE + 1 :]))


async def _refused(
    house: House, tx: Transaction, sender: Sender, run: Sequence[tuple[Answer, Message]], known: dict[str, Message]
) -> None:
    now = house.clock.millis()
    refusals: list[Refusal] = []
    for answer, old in run:
        message = known[old.message_id]
        if message.state not in (SENT, HELD) or message.renewed:
            continue
        faults = message.faults + (answer.code not in RETRIED)
        final = answer.code in NOT_TAKEN_FINAL or answer.code == NEVER_POSSIBLE or faults > FAULTS_MOST
        refusals.append(Refusal(message, answer.code, answer.text, final, answer.code == NEVER_POSSIBLE))
        if final:
            await _mark_done(tx, [message], known)
            continue
        wait = min(REFUSED_MOST_MS, REFUSED_FIRST_MS * 2 ** min(message.refusals, 10))
        again = message._replace(state=QUEUED, refusals=message.refusals + 1, faults=faults, first_sent_at=None)
        known[message.message_id] = again
        await tx.execute(
            _MARK_REFUSED,
            message_id=message.message_id, refusals=again.refusals, faults=faults, next_at=now + wait,
        )  # fmt: skip
    if refusals:
        await sender.refused(house, tx, refusals)


_UNANSWERED_GATES = """select distinct m.gate from outbox_message m
where m.next_at <= :late and not exists (
  select 1 from node_channel c join gateway_process p on p.process_id = c.process_id
  where c.node_id = m.node_id and p.seen_at > :alive) limit 50"""
_UNANSWERED = f"""select {COLUMNS} from outbox_message m
where m.gate in (:gates) and m.state in ('queued', 'sent') and m.next_at <= :late and not exists (
  select 1 from node_channel c join gateway_process p on p.process_id = c.process_id
  where c.node_id = m.node_id and p.seen_at > :alive) limit 500"""  # noqa: S608
_GIVEN_UP_GATES = "select distinct gate from outbox_message where give_up_at <= :now limit 50"
_GIVEN_UP = f"""select {COLUMNS}
from outbox_message where gate in (:gates) and state in ('sent', 'held') and give_up_at <= :now limit 500"""  # noqa: S608


_TOO_LATE = """next_at <= :now and state = 'queued' and first_sent_at is null
  and (start_deadline <= :now or expires_at <= :now)"""


async def note_silence(house: House, tx: Transaction, senders: Senders) -> int:
    """Park what is due for nodes without a channel (it goes out when they return), and what may not start any more.

    Returns how many were parked for want of a channel.
    """
    now = house.clock.millis()
    bounds = {"late": now, "alive": now - ALIVE_MS}
    late_gates = await tx.rows(f"select distinct gate from outbox_message where {_TOO_LATE} limit 50", now=now)  # noqa: S608
    gates = {row["gate"] for row in [*late_gates, *await tx.rows(_UNANSWERED_GATES, **bounds)]}
    if not gates:
        return 0
    await outbox.hold(tx, gates)
    silent = []
    for part in outbox.chunks(sorted(gates)):
        await tx.execute(
            f"update outbox_message set next_at = null where gate in (:gates) and {_TOO_LATE}",  # noqa: S608
            gates=part,
            now=now,
        )
        silent += [Message(*row) for row in await tx.tuples(_UNANSWERED, gates=part, **bounds)]
    await outbox.for_each(tx, _PARK, _ids(silent))
    for sender, messages in _by_sender(senders, [message for message in silent if message.state == SENT]):
        await sender.unanswered(house, tx, messages)
    return len(silent)


async def give_up(house: House, tx: Transaction, senders: Senders) -> int:
    """End the wait for answers that can no longer come safely. Returns how many."""
    now = house.clock.millis()
    gates = [row["gate"] for row in await tx.rows(_GIVEN_UP_GATES, now=now)]
    if not gates:
        return 0
    await outbox.hold(tx, gates)
    found = [Message(*row) for part in outbox.chunks(gates) for row in await tx.tuples(_GIVEN_UP, gates=part, now=now)]
    await outbox.for_each(tx, _MARK_DONE, _ids(found))
    for sender, messages in _by_sender(senders, found):
        await sender.gave_up(house, tx, messages)
    return len(found)
