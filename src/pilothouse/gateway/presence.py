"""Presence: which processes there are, and which holds which node's control channel, in tables that all of them read.

Owns node_channel and gateway_process. A channel counts while its row stands and its process was seen within the last
150 s; the process writes one row for all its channels, so that ten thousand idle nodes cost one small write. The edge
drops peers that answer no ping, so an open channel of a living process is a living node.
"""

from collections.abc import Iterable
from typing import Any

from pilothouse.runtime.clock import Clock
from pilothouse.storage import Transaction

ALIVE_MS = 150_000
"""A process (and with it the channels it holds) that was not seen for this long is dead."""
BEAT_SECONDS = 30.0
"""How often a process says that it is there."""

_UPSERT = """insert into node_channel (node_id, account_id, region, process_id, channel_id, opened_at)
values (:node_id, :account_id, :region, :process_id, :channel_id, :now)
on conflict (node_id) do update set account_id = excluded.account_id, region = excluded.region,
  process_id = excluded.process_id, channel_id = excluded.channel_id, opened_at = excluded.opened_at"""

_CONNECTED = """select c.node_id, c.opened_at, p.seen_at
from node_channel c join gateway_process p on p.process_id = c.process_id
where c.node_id in (:nodes) and p.seen_at > :alive"""

_ALL = """select c.node_id, c.opened_at, p.seen_at
from node_channel c join gateway_process p on p.process_id = c.process_id
where c.account_id = :account_id and c.region = :region and p.seen_at > :alive"""


async def connected(tx: Transaction, node_ids: Iterable[str], now_ms: int) -> dict[str, int]:
    """The nodes among these whose control channel is open, with the time (epoch ms) they were last seen on it."""
    nodes = sorted(set(node_ids))
    seen: dict[str, int] = {}
    for start in range(0, len(nodes), 500):
        part = nodes[start : start + 500]
        seen.update(_seen(await tx.tuples(_CONNECTED, nodes=part, alive=now_ms - ALIVE_MS)))
    return seen


async def all_connected(tx: Transaction, account_id: str, region: str, now_ms: int) -> dict[str, int]:
    """Every node of the account and region with an open control channel, as `connected` gives it."""
    return _seen(await tx.tuples(_ALL, account_id=account_id, region=region, alive=now_ms - ALIVE_MS))


async def is_connected(tx: Transaction, node_id: str, now_ms: int) -> bool:
    """Whether the node's control channel is open now."""
    return node_id in await connected(tx, [node_id], now_ms)


def _seen(rows: list[tuple[Any, ...]]) -> dict[str, int]:
    return {node_id: max(opened_at, seen_at) for node_id, opened_at, seen_at in rows}


async def opened(
    tx: Transaction, account_id: str, region: str, node_id: str, *, process_id: str, channel_id: str, now_ms: int
) -> None:
    """The node's channel is now this one; an older one loses its row."""
    await tx.execute(
        _UPSERT,
        node_id=node_id, account_id=account_id, region=region, process_id=process_id, channel_id=channel_id, now=now_ms,
    )  # fmt: skip


async def closed(tx: Transaction, node_id: str, channel_id: str) -> bool:
    """The channel is gone; False when a newer one had taken its place already."""
    return bool(await tx.execute(
        "delete from node_channel where node_id = :node_id and channel_id = :channel_id",
        node_id=node_id, channel_id=channel_id,
    ))  # fmt: skip


async def node_gone(tx: Transaction, node_id: str) -> None:
    """The node was deregistered."""
    await tx.execute("delete from node_channel where node_id = :node_id", node_id=node_id)
    await tx.execute("delete from control_channel_token where node_id = :node_id", node_id=node_id)


async def process_stopped(tx: Transaction, process_id: str) -> None:
    """All channels of the process are closed, or it is known to be gone."""
    await tx.execute("delete from node_channel where process_id = :process_id", process_id=process_id)
    await tx.execute("delete from gateway_process where process_id = :process_id", process_id=process_id)


async def beat(tx: Transaction, process_id: str, roles: Iterable[str], now_ms: int) -> bool:
    """The process is there, and does this. Whether it counted as dead until now, as after a leap of the clock or a time
    without the database.
    """
    seen_at = await tx.value("select seen_at from gateway_process where process_id = :id", id=process_id)
    await tx.execute(
        "insert into gateway_process (process_id, seen_at, roles) values (:process_id, :now, :roles)"
        " on conflict (process_id) do update set seen_at = excluded.seen_at, roles = excluded.roles",
        process_id=process_id, now=now_ms, roles=" ".join(sorted(roles)),
    )  # fmt: skip
    return seen_at is not None and seen_at <= now_ms - ALIVE_MS


async def until_next_beat(clock: Clock, began_ms: int) -> None:
    """Wait for the beat after the one that began then. It is due at once if the clock was put forward meanwhile: what
    was written is of the time before."""
    await clock.sleep(BEAT_SECONDS - (clock.millis() - began_ms) / 1000)


async def alive(tx: Transaction, now_ms: int) -> list[frozenset[str]]:
    """The roles of each process that is there."""
    rows = await tx.rows("select roles from gateway_process where seen_at > :alive", alive=now_ms - ALIVE_MS)
    return [frozenset(row["roles"].split()) for row in rows]


async def gone(tx: Transaction, process_ids: Iterable[str], now_ms: int) -> list[str]:
    """Those of the processes that are not there any more."""
    asked = sorted(set(process_ids))
    there = set[str]()
    for start in range(0, len(asked), 500):
        rows = await tx.rows(
            "select process_id from gateway_process where process_id in (:ids) and seen_at > :alive",
            ids=asked[start : start + 500], alive=now_ms - ALIVE_MS,
        )  # fmt: skip
        there.update(row["process_id"] for row in rows)
    return [each for each in asked if each not in there]


async def held_by(tx: Transaction, process_id: str) -> dict[str, str]:
    """Node id to channel id of every channel that the table gives to the process."""
    return dict(await tx.tuples("select node_id, channel_id from node_channel where process_id = :p", p=process_id))


async def forget_dead(tx: Transaction, now_ms: int) -> None:
    """Remove processes that died long ago, and their channels' rows."""
    dead = now_ms - 10 * ALIVE_MS
    await tx.execute(
        "delete from node_channel where process_id in (select process_id from gateway_process where seen_at < :dead)",
        dead=dead,
    )
    await tx.execute("delete from gateway_process where seen_at < :dead", dead=dead)
