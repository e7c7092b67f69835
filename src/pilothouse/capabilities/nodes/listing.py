"""Lists of nodes: filters, pages by node id, and whether each node answers.

A list reads the nodes in the order of their ids, a batch at a time, until a page is full. What can be asked of the
node's row is asked in SQL; whether a node answers is known only with the gateway's channels, so it is looked at batch
by batch.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from pilothouse.capabilities.nodes.model import (
    RESOURCE_TYPE,
    SOURCE_TYPE,
    InvalidActivationId,
    InvalidFilterKey,
    InvalidInstanceId,
    InvalidInstancePropertyFilterValue,
    Node,
    Sighting,
    is_activation_id,
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
    elif key == "SourceIds":
        query.ids.append(set(values))  # every node is its own source
    elif key == "AssociationStatus":
        query.columns.append(("association_status", values))
    elif key == "tag-key" or re.fullmatch(r"tag:.+", key, re.DOTALL):
        query.tags.append((key, values))
    else:
        raise InvalidFilterKey(f"There is no filter {key}.")


def add_property_filter(query: NodeQuery, key: str, values: Sequence[str], operator: str) -> None:
    """Add a filter of DescribeInstanceProperties: Equal is as in `add_filter`, the others look at each node.

    A node without such a property fits NotEqual only. Raises like `add_filter`, and InvalidActivationId.
    """
    if key == "ActivationIds" and (wrong := [value for value in values if not is_activation_id(value)]):
        raise InvalidActivationId(f"Not the id of an activation: {wrong[0]}.")
    if operator == "Equal" and key not in _UNKNOWN_PROPERTIES:
        add_filter(query, key, values, unfit=InvalidInstancePropertyFilterValue)
        return
    if key not in _PROPERTIES:
        raise InvalidFilterKey(f"There is no filter {key} with the operator {operator}.")
    property_of, fits = _PROPERTIES[key], _OPERATORS[operator]

    def keep(seen: Seen) -> bool:
        found = property_of(seen)
        return operator == "NotEqual" if found is None else fits(found, values)

    query.keep.append(keep)


def in_order(text: str) -> list[tuple[int, str]]:
    """Sorts versions by their numbers: 3.9 before 3.10. A number compares as its length and digits, however long."""
    parts = re.split("([0-9]+)", text)
    numbers = {part: part.lstrip("0") for part in parts[1::2]}
    return [(len(numbers[part]), numbers[part]) if part in numbers else (-1, part) for part in parts]


_OPERATORS: Mapping[str, Callable[[str, Sequence[str]], bool]] = {
    "Equal": lambda found, values: found in values,
    "NotEqual": lambda found, values: found not in values,
    "BeginWith": lambda found, values: found.startswith(tuple(values)),
    "LessThan": lambda found, values: any(in_order(found) < in_order(value) for value in values),
    "GreaterThan": lambda found, values: any(in_order(found) > in_order(value) for value in values),
}
_PROPERTIES: Mapping[str, Callable[[Seen], str | None]] = {
    "InstanceIds": lambda seen: seen[0].node_id,
    "AgentVersion": lambda seen: seen[0].agent_version,
    "PingStatus": lambda seen: seen[1].status.value,
    "PlatformTypes": lambda seen: seen[0].platform_type,
    "ActivationIds": lambda seen: seen[0].activation_id,
    "IamRole": lambda seen: seen[0].iam_role,
    "ResourceType": lambda seen: seen[0].resource_type,
    "DocumentName": lambda seen: None,
    "AssociationStatus": lambda seen: seen[0].association_status,
}
_UNKNOWN_PROPERTIES = frozenset({"DocumentName"})
"""Properties that no node has."""


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


async def sightings(tx: Transaction, nodes: Sequence[Node], now_ms: int, online_seconds: int) -> dict[str, Sighting]:
    """Whether each of the nodes answers, by id."""
    connected = await presence.connected(tx, [node.node_id for node in nodes], now_ms)
    return {node.node_id: sighting(node, connected.get(node.node_id), now_ms, online_seconds) for node in nodes}


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
    seen = await sightings(tx, nodes, scope.now_ms, scope.online_seconds)
    return [(node, seen[node.node_id]) for node in nodes]
