"""ListNodes and ListNodesSummary: the fleet as one looks it over, and how many nodes have what.

All that these filters ask for stands in the node's row, so filters and counts are the database's work.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities.nodes.model import (
    RESOURCE_TYPE,
    SOURCE_TYPE,
    InvalidAggregatorException,
    InvalidFilter,
    InvalidNextToken,
    Node,
    ResourceDataSyncNotFoundException,
)
from pilothouse.capabilities.nodes.overview_store import Condition, OverviewStore
from pilothouse.capabilities.nodes.registry import with_names
from pilothouse.runtime.clock import from_millis
from pilothouse.storage.pages import InvalidPageToken

_PAGE: Final = 50
_UNKNOWN: Final = "Unknown"
"""What a summary counts nodes under that have not said it: the wire has no word for it."""

_COLUMNS: Final = {
    "AgentType": "agent_name",
    "AgentVersion": "agent_version",
    "ComputerName": "computer_name",
    "InstanceId": "node_id",
    "InstanceStatus": "agent_status",
    "IpAddress": "ip_address",
    "PlatformName": "platform_name",
    "PlatformType": "platform_type",
    "PlatformVersion": "platform_version",
    "SourceId": "node_id",
    "AvailabilityZone": "availability_zone",
    "AvailabilityZoneId": "availability_zone_id",
}
_NOBODY_HAS: Final = frozenset({"OrganizationalUnitId", "OrganizationalUnitPath", "SourceLocation"})
_MANAGED: Final = ("All", "Managed", "Unmanaged")


@operation("ssm", "ListNodes")
async def list_nodes(call: Call, request: Shape) -> Shape:
    """Nodes by id, whatever their state; a filter looks at what they last said of themselves."""
    conditions = _conditions(call, request)
    query = ["ListNodes", call.account_id, call.region, request.get("Filters") or []]
    after: str = _position(call, query, request) or ""
    limit: int = request.get("MaxResults") or _PAGE
    async with call.reading() as tx:
        found = [] if conditions is None else await OverviewStore(tx, call).after(conditions, after, limit + 1)
        page = await with_names(tx, found[:limit])
    token = call.house.pages.token(query, [page[-1].node_id]) if found[limit:] else None
    return {"Nodes": [_node_to_wire(node) for node in page], "NextToken": token}


@operation("ssm", "ListNodesSummary")
async def list_nodes_summary(call: Call, request: Shape) -> Shape:
    """How many nodes have each value of an attribute, or each pair of values where an aggregator holds another."""
    conditions = _conditions(call, request)
    asked = [names for each in request["Aggregators"] for names in _attributes(each)]
    if any(len(names) > 2 for names in asked):  # a line holds three entries: two attributes and the count
        raise InvalidAggregatorException("An aggregator can hold aggregators, and those none.")
    query = ["ListNodesSummary", call.account_id, call.region, request.get("Filters") or [], request["Aggregators"]]
    start: int = _position(call, query, request) or 0
    limit: int = request.get("MaxResults") or _PAGE
    lines: list[dict[str, str]] = []
    async with call.reading() as tx:
        for names in asked if conditions is not None else ():
            lines += await _counted(call, OverviewStore(tx, call), conditions or [], names)
    token = call.house.pages.token(query, [start + limit]) if lines[start + limit :] else None
    return {"Summary": lines[start : start + limit], "NextToken": token}


async def _counted(
    call: Call, store: OverviewStore, conditions: Sequence[Condition], names: Sequence[str]
) -> list[dict[str, str]]:
    columns = [_COLUMNS[name] for name in names if name in _COLUMNS]
    found = []
    for values, count in await store.counts(conditions, columns):
        by_column = dict(zip(columns, values, strict=True))
        line = {name: _constant(call, name) or by_column.get(_COLUMNS.get(name, "")) or _UNKNOWN for name in names}
        found.append({**line, "Count": str(count)})
    return found


def _attributes(aggregator: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """The attributes of each line of counts that the aggregator asks for."""
    name = aggregator["AttributeName"]
    inner = aggregator.get("Aggregators") or ()
    if not inner:
        yield (name,)
    for each in inner:
        for rest in _attributes(each):
            if name in rest:
                raise InvalidAggregatorException(f"The attribute {name} is named twice.")
            yield (name, *rest)


def _conditions(call: Call, request: Shape) -> list[Condition] | None:
    """What the filters ask of a node's row; None if no node can fit. Raises the operations' errors."""
    if name := request.get("SyncName"):
        raise ResourceDataSyncNotFoundException(f"There is no resource data sync {name}.")
    found = []
    for given in request.get("Filters") or ():
        key, values, how = given["Key"], given["Values"], given.get("Type") or "Equal"
        if key in _COLUMNS:
            found.append(Condition(_COLUMNS[key], how, tuple(values)))
        elif not _fits(_told(call, key, values), how, values):
            return None
    return found


def _told(call: Call, key: str, values: Sequence[str]) -> str | None:
    """The value that every node here has. Raises InvalidFilter."""
    if key in _NOBODY_HAS:
        return None
    if key == "ManagedStatus":
        if wrong := [value for value in values if value not in _MANAGED]:
            raise InvalidFilter(f"{wrong[0]} is not a value of ManagedStatus. Valid values: {', '.join(_MANAGED)}.")
        return "All" if "All" in values else "Managed"
    return _constant(call, key)


def _constant(call: Call, key: str) -> str | None:
    constants = {"Region": call.region, "AccountId": call.account_id}
    return constants.get(key) or {"ResourceType": RESOURCE_TYPE, "SourceType": SOURCE_TYPE}.get(key)


def _fits(told: str | None, how: str, values: Sequence[str]) -> bool:
    if told is None:
        return how == "NotEqual"
    if how == "BeginWith":
        return told.startswith(tuple(values))
    return (told in values) is (how == "Equal")


def _position(call: Call, query: list[Any], request: Shape) -> Any:
    """After what the page starts; None for the first. Raises InvalidNextToken."""
    token = request.get("NextToken")
    if not token:
        return None
    try:
        return call.house.pages.position(query, token)[0]
    except InvalidPageToken as error:
        raise InvalidNextToken("The specified token is not valid.") from error


def _node_to_wire(node: Node) -> Shape:
    instance = {
        "AgentType": node.agent_name,
        "AgentVersion": node.agent_version,
        "ComputerName": node.computer_name,
        "InstanceStatus": node.agent_status,
        "IpAddress": node.ip_address,
        "ManagedStatus": "Managed",
        "Name": node.name,
        "PlatformType": node.platform_type,
        "PlatformName": node.platform_name,
        "PlatformVersion": node.platform_version,
        "ResourceType": node.resource_type,
        "SourceType": node.source_type,
        "SourceId": node.node_id,
        "AvailabilityZone": node.availability_zone,
        "AvailabilityZoneId": node.availability_zone_id,
    }
    return {
        "CaptureTime": from_millis(node.last_contact_at or node.registered_at),
        "Id": node.node_id,
        "Owner": {"AccountId": node.account_id},
        "Region": node.region,
        "NodeType": {"Instance": {name: value for name, value in instance.items() if value}},
    }
