"""GetInventory, ListInventoryEntries, GetInventorySchema."""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities import nodes
from pilothouse.capabilities.inventory import server_side
from pilothouse.capabilities.inventory.aggregating import aggregated
from pilothouse.capabilities.inventory.built_in import BUILT_IN, COUNTED
from pilothouse.capabilities.inventory.finding import Finder, read, wanted
from pilothouse.capabilities.inventory.model import (
    Entry,
    InvalidFilter,
    InvalidInstanceId,
    InvalidResultAttributeException,
    InvalidTypeNameException,
    check_type,
    is_custom,
    unpacked,
)
from pilothouse.capabilities.inventory.paging import position
from pilothouse.capabilities.inventory.store import InventoryStore
from pilothouse.storage import Transaction

_PAGE: Final = 50
_PAGE_BYTES: Final = 4 << 20
"""A page of nodes ends when it has more content than this."""


def _node(call: Call, request: Shape) -> list[str]:
    return [f"arn:aws:ssm:{call.region}:{call.account_id}:managed-instance/{request['InstanceId']}"]


@operation("ssm", "GetInventory")
async def get_inventory(call: Call, request: Shape) -> Shape:
    """Nodes by id with what one type says of each, or counts of nodes."""
    aggregators = request.get("Aggregators") or []
    filters = read(request.get("Filters") or (), exists=bool(aggregators))
    if aggregators:
        return await aggregated(call, request, filters)
    type_name = _result_type(request)
    query = ["GetInventory", call.account_id, call.region, request.get("Filters") or [], type_name]
    (after,) = position(call, query, request) or ("",)
    limit = request.get("MaxResults") or _PAGE
    async with call.reading() as tx:
        finder = Finder(call.house, tx, call.account_id, call.region)
        found = await finder.ids(filters)
        if found is not None and type_name != server_side.INFORMATION:
            found &= await finder.having(type_name)
        page = await _next_ids(tx, finder.scope, found, after, limit + 1)
        data = await _data(call, tx, finder.scope, type_name, page[:limit])
    shown: list[Shape] = []
    size = 0
    for node_id in page[:limit]:
        item = data.get(node_id)
        shown.append({"Id": node_id, "Data": {} if item is None else {type_name: item[0]}})
        size += 0 if item is None else item[1]
        if size > _PAGE_BYTES:
            break
    token = call.house.pages.token(query, [shown[-1]["Id"]]) if page[len(shown) :] else None
    return {"Entities": shown, "NextToken": token}


def _result_type(request: Shape) -> str:
    asked = request.get("ResultAttributes") or ()
    name: str = asked[0]["TypeName"] if asked else server_side.INFORMATION
    try:
        check_type(name)
    except InvalidTypeNameException as error:
        raise InvalidResultAttributeException(error.message) from error
    return name


async def _next_ids(
    tx: Transaction, scope: nodes.Scope, among: Iterable[str] | None, after: str, limit: int
) -> list[str]:
    if among is None:
        return [node.node_id for node, _ in await nodes.nodes_described(tx, scope, [], after, limit)]
    ordered = sorted(among)
    start = bisect_right(ordered, after)
    return ordered[start : start + limit]


async def _data(
    call: Call, tx: Transaction, scope: nodes.Scope, type_name: str, node_ids: Sequence[str]
) -> dict[str, tuple[Shape, int]]:
    """What the type says of each node, and how large it is."""
    found: dict[str, tuple[Shape, int]] = {}
    if server_side.is_served(type_name):
        for node_id, (when, entries) in (await server_side.entries_of(tx, scope, type_name, node_ids)).items():
            shape = _item_to_wire(type_name, BUILT_IN[type_name].version, when, "", entries)
            found[node_id] = shape, 300 * len(entries)
        return found
    store = InventoryStore(tx, call.account_id, call.region)
    kind = await store.kind(type_name)
    size = 0
    for node_id in node_ids if kind is not None else ():
        assert kind is not None
        for item in (await store.items(kind.kind_id, [node_id])).values():
            shape = _item_to_wire(
                type_name, item.schema_version, item.capture_time, item.content_hash, unpacked(item.content)
            )
            found[node_id] = shape, item.bytes
            size += item.bytes
        if size > _PAGE_BYTES:
            break
        if size:
            await call.clock.sleep(0)  # others have their turn
    return found


def _item_to_wire(type_name: str, version: str, when: str, content_hash: str, entries: Sequence[Entry]) -> Shape:
    return {
        "TypeName": type_name,
        "SchemaVersion": version,
        "CaptureTime": when,
        "ContentHash": content_hash or None,
        "Content": list(entries),
    }


@operation("ssm", "ListInventoryEntries", resources=_node)
async def list_inventory_entries(call: Call, request: Shape) -> Shape:
    """Entries of a type on a node, in the order in which it sent them."""
    node_id, type_name = request["InstanceId"], request["TypeName"]
    check_type(type_name)
    asked = [_wanted(type_name, each) for each in request.get("Filters") or ()]
    query = ["ListInventoryEntries", call.account_id, call.region, node_id, type_name, request.get("Filters") or []]
    (start,) = position(call, query, request) or (0,)
    limit = request.get("MaxResults") or _PAGE
    async with call.reading() as tx:
        if await nodes.find(tx, call.account_id, call.region, node_id) is None:
            raise InvalidInstanceId(f"There is no managed node {node_id} in this region.")
        scope = server_side.scope_of(call.house, call.account_id, call.region)
        version, when, entries = await entries_on(tx, scope, type_name, node_id)
    fitting = [
        (place, entry) for place, entry in enumerate(entries) if place >= start and server_side.fits(entry, asked)
    ]
    page = fitting[:limit]
    token = call.house.pages.token(query, [page[-1][0] + 1]) if fitting[limit:] else None
    return {
        "TypeName": type_name,
        "InstanceId": node_id,
        "SchemaVersion": version,
        "CaptureTime": when,
        "Entries": [entry for _, entry in page],
        "NextToken": token,
    }


async def entries_on(
    tx: Transaction, scope: nodes.Scope, type_name: str, node_id: str
) -> tuple[str | None, str | None, list[Entry]]:
    """(schema version, capture time, entries) of a type on a node; the first two are None where there are none."""
    if server_side.is_served(type_name):
        captured = (await server_side.entries_of(tx, scope, type_name, [node_id])).get(node_id)
        return (None, None, []) if captured is None else (BUILT_IN[type_name].version, *captured)
    store = InventoryStore(tx, scope.account_id, scope.region)
    kind = await store.kind(type_name)
    item = None if kind is None else await store.item(kind.kind_id, node_id)
    if item is None or not item.entries:
        return None, None, []
    return item.schema_version, item.capture_time, unpacked(item.content)


def _wanted(type_name: str, given: Mapping[str, Any]) -> nodes.Wanted:
    how = given.get("Type") or "Equal"
    if how == "Exists":
        raise InvalidFilter("The filter Exists must be used with aggregators.")
    attribute = given["Key"].removeprefix(f"{type_name}.")
    return wanted(type_name, attribute, how, tuple(given["Values"]))


@operation("ssm", "GetInventorySchema")
async def get_inventory_schema(call: Call, request: Shape) -> Shape:
    """Types by name, with their attributes."""
    begin: str = request.get("TypeName") or ""
    if begin and not any(each.startswith(begin) or begin.startswith(each) for each in ("AWS:", "Custom:")):
        raise InvalidTypeNameException(f"There is no inventory type {begin}.")
    counted, sub = bool(request.get("Aggregator")), bool(request.get("SubType"))
    query = ["GetInventorySchema", call.account_id, call.region, begin, counted, sub]
    (after,) = position(call, query, request) or ("",)
    limit = request.get("MaxResults") or _PAGE
    async with call.reading() as tx:
        kinds = await InventoryStore(tx, call.account_id, call.region).kinds()
    schemas = {
        name: (each.version, COUNTED.get(name, ()) if counted else each.attributes) for name, each in BUILT_IN.items()
    }
    schemas |= {each.type_name: (each.version, each.attributes) for each in kinds if is_custom(each.type_name)}
    names = sorted(
        name for name, (_, attributes) in schemas.items() if attributes and name.startswith(begin) and name > after
    )
    if sub:  # no type here has others below it
        names = []
    token = call.house.pages.token(query, [names[limit - 1]]) if names[limit:] else None
    return {"Schemas": [_schema(name, *schemas[name]) for name in names[:limit]], "NextToken": token}


def _schema(name: str, version: str, attributes: Sequence[str]) -> Shape:
    return {
        "TypeName": name,
        "Version": version,
        "Attributes": [{"Name": each, "DataType": "string"} for each in attributes],
        "DisplayName": name.partition(":")[2],
    }
