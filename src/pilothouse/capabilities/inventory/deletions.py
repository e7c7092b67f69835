"""DeleteInventory and DescribeInventoryDeletions: custom types are deleted bit by bit."""

from dataclasses import replace
from typing import Any, Final

from pilothouse.call import Call, House, Shape, operation
from pilothouse.capabilities.inventory import sync_marks
from pilothouse.capabilities.inventory.deletion_store import Deletion, DeletionStore
from pilothouse.capabilities.inventory.index import drop
from pilothouse.capabilities.inventory.model import (
    InvalidDeleteInventoryParametersException,
    InvalidDeletionIdException,
    InvalidTypeNameException,
    Kind,
    is_custom,
)
from pilothouse.capabilities.inventory.paging import position
from pilothouse.capabilities.inventory.store import InventoryStore
from pilothouse.capabilities.inventory.telling import told
from pilothouse.runtime.clock import from_millis
from pilothouse.scheduling import due
from pilothouse.scheduling.firing import Due
from pilothouse.storage import Transaction

DELETION: Final = "inventory.deletion"
_AT_ONCE: Final = 50
_PAGE: Final = 50


@operation("ssm", "DeleteInventory", writes=True)
async def delete_inventory(call: Call, request: Shape) -> Shape:
    """Begin to delete what nodes have of a custom type, and with an option the type or this version of it as well."""
    type_name, option = request["TypeName"], request.get("SchemaDeleteOption") or ""
    token = request.get("ClientToken")
    async with call.transaction() as tx:
        store = InventoryStore(tx, call.account_id, call.region)
        deletions = DeletionStore(tx, call.account_id, call.region)
        await store.lock_kinds()
        known = await deletions.with_token(token) if token else None
        if known is not None:
            if (known.type_name, known.schema_option) != (type_name, option):
                raise InvalidDeleteInventoryParametersException("The client token was used for another deletion.")
            return _begun(known)
        kind = await store.kind(type_name) if is_custom(type_name) else None
        if kind is None:
            raise InvalidTypeNameException(f"There is no custom inventory type {type_name}.")
        versions = await store.versions_of(kind.kind_id)
        now = call.clock.millis()
        deletion = Deletion(
            deletion_id=call.ids.uuid(), type_name=type_name, schema_option=option, started_at=now, updated_at=now,
            ended=False, versions=versions, remaining=versions,
        )  # fmt: skip
        if request.get("DryRun"):
            return {"TypeName": type_name, "DeletionSummary": _summary(deletion)}
        if option == "DisableSchema":
            await store.set_kind(replace(kind, disabled=tuple(sorted({*kind.disabled, kind.version, *versions}))))
        await deletions.add(deletion, token)
        await due.put(
            call.house, tx, DELETION, deletion.deletion_id, now, account_id=call.account_id, region=call.region
        )
    return _begun(deletion)


@operation("ssm", "DescribeInventoryDeletions")
async def describe_inventory_deletions(call: Call, request: Shape) -> Shape:
    """Deletions, the newest first."""
    deletion_id = request.get("DeletionId")
    query = ["DescribeInventoryDeletions", call.account_id, call.region, deletion_id]
    before = position(call, query, request)
    limit = request.get("MaxResults") or _PAGE
    async with call.reading() as tx:
        store = DeletionStore(tx, call.account_id, call.region)
        if deletion_id:
            one = await store.find(deletion_id)
            if one is None:
                raise InvalidDeletionIdException(f"There is no deletion {deletion_id}.")
            return {"InventoryDeletions": [_to_wire(one)]}
        found = await store.page(None if before is None else (before[0], before[1]), limit + 1)
    page = found[:limit]
    token = call.house.pages.token(query, [page[-1].started_at, page[-1].deletion_id]) if found[limit:] else None
    return {"InventoryDeletions": [_to_wire(each) for each in page], "NextToken": token}


async def go_on(house: House, tx: Transaction, due: Due) -> int | None:
    """Delete some more; when to go on."""
    deletions = DeletionStore(tx, due.account_id, due.region)
    deletion = await deletions.find(due.key)
    if deletion is None or deletion.ended:
        return None
    store = InventoryStore(tx, due.account_id, due.region)
    kind = await store.kind(deletion.type_name)
    left = kind is not None and await _some(tx, store, kind, deletion, (due.account_id, due.region))
    remaining = await store.versions_of(kind.kind_id) if kind is not None and left else {}
    now = house.clock.millis()
    deletion = replace(deletion, remaining=remaining, updated_at=now, ended=not left)
    await deletions.save(deletion)
    if left:
        return max(now, due.at + 1)
    if kind is not None and deletion.schema_option == "DeleteSchema":
        await _remove_kind(store, kind)
    await told(
        house, tx, due.account_id, due.region, deletion.type_name,
        {"type-name": deletion.type_name, "deletion-id": deletion.deletion_id, "state": "deletion-complete",
         "total-count": str(sum(deletion.versions.values()))},
    )  # fmt: skip
    return None


async def _some(tx: Transaction, store: InventoryStore, kind: Kind, deletion: Deletion, where: tuple[str, str]) -> bool:
    """Delete items that were there when the deletion began; whether there may be more."""
    after = deletion.after
    items = await store.items_after(kind.kind_id, after, _AT_ONCE)
    for each in items:
        await store.lock(each.node_id)
        item = await store.item(kind.kind_id, each.node_id)
        if item is not None and item.changed_at <= deletion.started_at:
            await drop(tx, store, kind, item)
            await sync_marks.mark(tx, *where, item.node_id, [kind.type_name])
    deletion.after = items[-1].node_id if items else after
    return len(items) == _AT_ONCE


async def _remove_kind(store: InventoryStore, kind: Kind) -> None:
    """Unless somebody has sent it again."""
    await store.lock_kinds()
    if not await store.items_after(kind.kind_id, "", 1):
        await store.remove_kind(kind.kind_id)


def _begun(deletion: Deletion) -> Shape:
    return {
        "DeletionId": deletion.deletion_id,
        "TypeName": deletion.type_name,
        "DeletionSummary": _summary(deletion),
    }


def _summary(deletion: Deletion) -> Shape:
    items: list[dict[str, Any]] = [
        {"Version": version, "Count": many, "RemainingCount": deletion.remaining.get(version, 0)}
        for version, many in sorted(deletion.versions.items())
    ]
    return {
        "TotalCount": sum(deletion.versions.values()),
        "RemainingCount": sum(each["RemainingCount"] for each in items),
        "SummaryItems": items,
    }


def _to_wire(deletion: Deletion) -> Shape:
    return {
        "DeletionId": deletion.deletion_id,
        "TypeName": deletion.type_name,
        "DeletionStartTime": from_millis(deletion.started_at),
        "LastStatus": "Complete" if deletion.ended else "InProgress",
        "LastStatusMessage": "The inventory was deleted." if deletion.ended else "The inventory is being deleted.",
        "DeletionSummary": _summary(deletion),
        "LastStatusUpdateTime": from_millis(deletion.updated_at),
    }
