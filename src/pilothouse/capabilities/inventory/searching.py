"""SearchInventory and ListInventoryVersions, of our own service: which entries fit on which nodes, and what changed."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities import nodes
from pilothouse.capabilities.inventory import server_side
from pilothouse.capabilities.inventory.finding import Finder, read
from pilothouse.capabilities.inventory.model import (
    Entry,
    InvalidInstanceId,
    Item,
    check_type,
    unpacked,
)
from pilothouse.capabilities.inventory.operations import entries_on
from pilothouse.capabilities.inventory.paging import position
from pilothouse.capabilities.inventory.store import InventoryStore
from pilothouse.runtime.clock import from_millis
from pilothouse.storage import Transaction

_PAGE: Final = 100
_VERSIONS: Final = 5


def _node(call: Call, request: Shape) -> list[str]:
    return [f"arn:aws:ssm:{call.region}:{call.account_id}:managed-instance/{request['InstanceId']}"]


@operation("pilothouse", "SearchInventory", action="ssm:GetInventory")
async def search_inventory(call: Call, request: Shape) -> Shape:
    """Entries of one type that fit, by node; filters on other types choose the nodes.

    A page ends with a node: it may have more than was asked for.
    """
    type_name = request["TypeName"]
    check_type(type_name)
    given = [_whole(type_name, each) for each in request.get("Filters") or ()]
    filters = read(given, exists=False)
    query = ["SearchInventory", call.account_id, call.region, type_name, given]
    (after,) = position(call, query, request) or ("",)
    limit = request.get("MaxResults") or _PAGE
    wanted = filters.wanted.get(type_name, [])
    matches: list[Shape] = []
    async with call.reading() as tx:
        finder = Finder(call.house, tx, call.account_id, call.region)
        found = await finder.ids(filters)
        left = sorted(each for each in (await finder.having(type_name) if found is None else found) if each > after)
        done = 0
        for node_id in left:
            if len(matches) >= limit:
                break
            _, when, entries = await entries_on(tx, finder.scope, type_name, node_id)
            name = await _name(tx, call, node_id)
            matches += [
                {"InstanceId": node_id, "ComputerName": name, "CaptureTime": when, "Entry": entry}
                for entry in entries
                if server_side.fits(entry, wanted)
            ]
            done += 1
            await call.clock.sleep(0)  # others have their turn
    token = call.house.pages.token(query, [left[done - 1]]) if left[done:] else None
    return {"Matches": matches, "NextToken": token}


def _whole(type_name: str, given: Shape) -> Shape:
    """A filter whose key may be an attribute of the type alone."""
    key = given["Key"]
    return {**given, "Key": key if key.startswith(("AWS:", "Custom:")) else f"{type_name}.{key}"}


async def _name(tx: Transaction, call: Call, node_id: str) -> str | None:
    node = await nodes.find(tx, call.account_id, call.region, node_id)
    return None if node is None else node.name or node.computer_name


@operation("pilothouse", "ListInventoryVersions", action="ssm:ListInventoryEntries", resources=_node)
async def list_inventory_versions(call: Call, request: Shape) -> Shape:
    """What a node said of a type, the newest first, each with what is other than before."""
    node_id, type_name = request["InstanceId"], request["TypeName"]
    check_type(type_name)
    query = ["ListInventoryVersions", call.account_id, call.region, node_id, type_name]
    (below,) = position(call, query, request) or (None,)
    limit = request.get("MaxResults") or _VERSIONS
    async with call.reading() as tx:
        if await nodes.find(tx, call.account_id, call.region, node_id) is None:
            raise InvalidInstanceId(f"There is no managed node {node_id} in this region.")
        found = await _versions(InventoryStore(tx, call.account_id, call.region), type_name, node_id, below, limit + 1)
    shown = [_to_wire(new, old) for new, old in pairwise([*found, None]) if new is not None][:limit]
    token = call.house.pages.token(query, [found[limit - 1].number]) if found[limit:] else None
    return {"Versions": shown, "NextToken": token}


async def _versions(store: InventoryStore, type_name: str, node_id: str, below: int | None, limit: int) -> list[Item]:
    kind = await store.kind(type_name)
    if kind is None:
        return []
    newest = await store.item(kind.kind_id, node_id) if below is None else None
    found = [] if newest is None else [newest]
    top = 2**62 if below is None else below
    return found + await store.versions(kind.kind_id, node_id, top, limit - len(found))


def _to_wire(new: Item, old: Item | None) -> Shape:
    shape: dict[str, Any] = {
        "Number": new.number,
        "SchemaVersion": new.schema_version,
        "CaptureTime": new.capture_time,
        "ChangedTime": from_millis(new.changed_at),
        "Count": new.entries,
    }
    if old is not None:
        now, before = unpacked(new.content), unpacked(old.content)
        shape |= {"Added": _but(now, before), "Removed": _but(before, now)}
    return shape


def _but(some: Sequence[Entry], others: Sequence[Entry]) -> list[Entry]:
    known = {frozenset(each.items()) for each in others}
    return [each for each in some if frozenset(each.items()) not in known]
