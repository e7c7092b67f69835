"""Nodes by what AWS:InstanceInformation and AWS:Tag say of them, for those who filter by inventory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pilothouse.capabilities import tags
from pilothouse.capabilities.nodes.listing import Scope, in_order, sightings
from pilothouse.capabilities.nodes.model import RESOURCE_TYPE, Node, PingStatus, Sighting
from pilothouse.capabilities.nodes.overview_store import Condition, OverviewStore
from pilothouse.storage import Transaction

_COLUMNS: Final = {
    "AgentType": "agent_name",
    "AgentVersion": "agent_version",
    "ComputerName": "computer_name",
    "InstanceId": "node_id",
    "IpAddress": "ip_address",
    "PlatformName": "platform_name",
    "PlatformType": "platform_type",
    "PlatformVersion": "platform_version",
}
INFORMATION: Final = (
    "AgentType", "AgentVersion", "ComputerName", "InstanceId", "InstanceStatus", "IpAddress", "PlatformName",
    "PlatformType", "PlatformVersion", "ResourceType",
)  # fmt: skip
"""Attributes of AWS:InstanceInformation."""
TAG: Final = ("Key", "Value")
"""Attributes of AWS:Tag, of which a node has an entry for each of its tags."""
_BY_COLUMN: Final = frozenset({"Equal", "NotEqual", "BeginWith"})
_BATCH: Final = 1000


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an attribute must be: one of the values, or none of them for NotEqual."""

    attribute: str
    how: str
    """Equal, NotEqual, BeginWith, LessThan or GreaterThan."""
    values: tuple[str, ...]

    def fits(self, found: str | None) -> bool:
        """Whether the value of an entry is so. What is not said fits NotEqual only."""
        if found is None:
            return self.how == "NotEqual"
        if self.how == "Equal":
            return found in self.values
        if self.how == "NotEqual":
            return found not in self.values
        if self.how == "BeginWith":
            return found.startswith(self.values)
        if self.how == "LessThan":
            return any(_less(found, value) for value in self.values)
        return any(_less(value, found) for value in self.values)


def _less(one: str, other: str) -> bool:
    """By numbers if both are, else piece by piece, with the numbers in them as numbers: 3.0.9-1 before 3.0.13."""
    try:
        return int(one) < int(other)
    except ValueError:
        return in_order(one) < in_order(other)


def information_of(node: Node, seen: Sighting) -> dict[str, str]:
    """The node's entry of AWS:InstanceInformation."""
    found = {
        "AgentType": node.agent_name,
        "AgentVersion": node.agent_version,
        "ComputerName": node.computer_name,
        "InstanceId": node.node_id,
        "InstanceStatus": "Active" if seen.status is PingStatus.ONLINE else "ConnectionLost",
        "IpAddress": node.ip_address,
        "PlatformName": node.platform_name,
        "PlatformType": node.platform_type,
        "PlatformVersion": node.platform_version,
        "ResourceType": node.resource_type,
    }
    return {name: value for name, value in found.items() if value}


async def nodes_described(
    tx: Transaction, scope: Scope, wanted: Sequence[Wanted], after: str, limit: int
) -> list[tuple[Node, Sighting]]:
    """The next nodes by id of which AWS:InstanceInformation says all that is wanted, with when each was seen."""
    conditions = [
        Condition(_COLUMNS[each.attribute], each.how, each.values)
        for each in wanted
        if each.attribute in _COLUMNS and each.how in _BY_COLUMN
    ]
    others = [each for each in wanted if each.attribute not in _COLUMNS or each.how not in _BY_COLUMN]
    store = OverviewStore(tx, scope)
    found: list[tuple[Node, Sighting]] = []
    while len(found) < limit:
        size = _BATCH if others else min(_BATCH, limit - len(found))
        batch = await store.after(conditions, after, size)
        seen = await sightings(tx, batch, scope.now_ms, scope.online_seconds)
        for node in batch:
            said = information_of(node, seen[node.node_id])
            if all(each.fits(said.get(each.attribute)) for each in others):
                found.append((node, seen[node.node_id]))
        if len(batch) < size:
            break
        after = batch[-1].node_id
    return found[:limit]


async def ids_described(tx: Transaction, scope: Scope, wanted: Sequence[Wanted]) -> set[str]:
    """Ids of all nodes of which AWS:InstanceInformation says what is wanted."""
    if all(each.attribute in _COLUMNS and each.how in _BY_COLUMN for each in wanted):
        conditions = [Condition(_COLUMNS[each.attribute], each.how, each.values) for each in wanted]
        return await OverviewStore(tx, scope).ids(conditions)
    return {node.node_id for node, _ in await nodes_described(tx, scope, wanted, "", 2**31)}


async def ids_tagged_so(tx: Transaction, scope: Scope, wanted: Sequence[Wanted]) -> set[str]:
    """Ids of all nodes with a tag that is all that is wanted."""
    return {
        node_id
        for node_id, own in (await tags_of_nodes(tx, scope)).items()
        if any(
            all(each.fits(key if each.attribute == "Key" else value) for each in wanted) for key, value in own.items()
        )
    }


async def tags_of_nodes(
    tx: Transaction, scope: Scope, node_ids: Sequence[str] | None = None
) -> Mapping[str, Mapping[str, str]]:
    """The tags of those nodes, or of all; what has none is not there."""
    if node_ids is None:
        node_ids = sorted(await OverviewStore(tx, scope).ids([]))
    found: dict[str, Mapping[str, str]] = {}
    for start in range(0, len(node_ids), _BATCH):
        chunk = node_ids[start : start + _BATCH]
        found |= await tags.of_each(tx, scope.account_id, scope.region, RESOURCE_TYPE, chunk)
    return found
