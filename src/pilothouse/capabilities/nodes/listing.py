"""Lists of nodes: filters, pages by node id, and whether each node answers.

A list reads the nodes in the order of their ids, a batch at a time, until a page is full. What can be asked of the
node's row is asked in SQL; whether a node answers is known only with the gateway's channels, so it is looked at batch
by batch.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pilothouse.capabilities.nodes.model import (
    RESOURCE_TYPE,
    SOURCE_TYPE,
    InvalidFilterKey,
    InvalidInstanceId,
    Node,
    Sighting,
    is_node_id,
    sighting,
)
from pilothouse.capabilities.nodes.registry import with_names
from pilothouse.capabilities.nodes.store import NodeStore
from pilothouse.capabilities.nodes.targets import ids_tagged
from pilothouse.errors import ApiError
from pilothouse.gateway import presence
from pilothouse.storage import Transaction

_BATCH = 500

_COLUMNS = {"ActivationIds": "activation_id", "AgentVersion": "agent_version", "IamRole": "iam_role"}
_PING = frozenset({"Online", "ConnectionLost", "Inactive"})
_PLATFORMS = frozenset({"Windows", "Linux", "MacOS"})
_RESOURCE_TYPES = frozenset({"ManagedInstance", "EC2Instance"})

Seen = tuple[Node, Sighting]
Keep = Callable[[Seen], bool]


@dataclass(slots=True)
class NodeQuery:
    """What a list asks for; everything in it must hold."""

    columns: list[tuple[str, Sequence[str]]] = field(default_factory=list)
    ids: list[set[str]] = field(default_factory=list)
    tags: list[tuple[str, Sequence[str]]] = field(default_factory=list)
    keep: list[Keep] = field(default_factory=list)
    empty: bool = False
    """A filter that no node can fit."""

    def must_be_among(self, values: Sequence[str], *those: str) -> None:
        """Every node has one of `those` values: nothing fits if none is wanted."""
        self.empty = self.empty or not set(those) & set(values)


def add_filter(query: NodeQuery, key: str, values: Sequence[str], *, unfit: type[ApiError]) -> None:
    """Add one filter with ORed values.

    Raises InvalidFilterKey, InvalidInstanceId (impossible form of an id), or `unfit` (value that the key cannot have).
    """
    if key == "InstanceIds":
        if wrong := [value for value in values if not is_node_id(value)]:
            raise InvalidInstanceId(f"Not the id of a managed node: {', '.join(wrong[:5])}.")
        query.ids.append(set(values))
    elif key in _COLUMNS:
        query.columns.append((_COLUMNS[key], values))
    elif key == "PingStatus":
        wanted = _checked(key, values, _PING, unfit)
        query.keep.append(lambda seen: seen[1].status.value in wanted)
    elif key == "PlatformTypes":
        query.columns.append(("platform_type", sorted(_checked(key, values, _PLATFORMS, unfit))))
    elif key == "ResourceType":
        query.must_be_among(sorted(_checked(key, values, _RESOURCE_TYPES, unfit)), RESOURCE_TYPE)
    elif key == "SourceTypes":
        query.must_be_among(values, SOURCE_TYPE)
    elif key in {"SourceIds", "AssociationStatus"}:
        query.empty = True  # no node has a source but itself, and none has run an association
    elif key == "tag-key" or re.fullmatch(r"tag:.+", key, re.DOTALL):
        query.tags.append((key, values))
    else:
        raise InvalidFilterKey(f"There is no filter {key}.")


def _checked(key: str, values: Sequence[str], known: frozenset[str], unfit: type[ApiError]) -> frozenset[str]:
    if wrong := sorted(set(values) - known):
        raise unfit(f"{wrong[0]} is not a value of {key}. Valid values: {', '.join(sorted(known))}.")
    return frozenset(values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Whose nodes, seen when, and how long a silent one counts as Online."""

    account_id: str
    region: str
    now_ms: int
    online_seconds: int


async def nodes_after(tx: Transaction, scope: Scope, query: NodeQuery, after: str, limit: int) -> list[Seen]:
    """Up to `limit` nodes with ids above `after` that fit the query, by id, each with its sighting and its name."""
    if query.empty:
        return []
    wanted = await _wanted_ids(tx, scope, query)
    found: list[Seen] = []
    while len(found) < limit:
        batch, last = await _batch(tx, scope, query, wanted, after)
        found += [seen for seen in await _seen(tx, scope, batch) if all(keep(seen) for keep in query.keep)]
        if last is None:
            break
        after = last
    del found[limit:]
    named = await with_names(tx, [node for node, _ in found])
    return [(node, seen) for node, (_, seen) in zip(named, found, strict=True)]


async def _wanted_ids(tx: Transaction, scope: Scope, query: NodeQuery) -> list[str] | None:
    """Ids that the id and tag filters leave, ascending; None if there are no such filters."""
    sets = list(query.ids)
    for key, values in query.tags:
        sets.append(await ids_tagged(tx, scope.account_id, scope.region, key, values))
    return sorted(set.intersection(*sets)) if sets else None


async def _batch(
    tx: Transaction, scope: Scope, query: NodeQuery, wanted: list[str] | None, after: str
) -> tuple[list[Node], str | None]:
    """The next nodes after an id, and the id up to which all were looked at (None: to the end)."""
    store = NodeStore(tx)
    columns = list(query.columns)
    if wanted is None:
        batch = await store.after(scope.account_id, scope.region, columns, after, _BATCH)
        return batch, batch[-1].node_id if len(batch) == _BATCH else None
    left = [node_id for node_id in wanted if node_id > after]
    if not left:
        return [], None
    chunk = left[:_BATCH]
    batch = await store.after(scope.account_id, scope.region, [*columns, ("node_id", chunk)], after, len(chunk))
    return batch, chunk[-1] if len(left) > len(chunk) else None


async def _seen(tx: Transaction, scope: Scope, nodes: list[Node]) -> list[Seen]:
    if not nodes:
        return []
    connected = await presence.connected(tx, [node.node_id for node in nodes], scope.now_ms)
    return [(node, sighting(node, connected.get(node.node_id), scope.now_ms, scope.online_seconds)) for node in nodes]
