"""PutInventory: each item replaces what the node said of its type before.

Items are taken by the names of their types, so that nodes that send the same new entries wait for one another in one
order. `inventory.put` tells of each (facts: account_id, region, node_id, type_name, schema_version, capture_time,
context, content: the entries, None if they are the same as before).
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final

from pilothouse.call import Call, Caller, House, Shape, operation
from pilothouse.capabilities import compliance, nodes
from pilothouse.capabilities.inventory import model, sync_marks
from pilothouse.capabilities.inventory.built_in import CONTEXTS
from pilothouse.capabilities.inventory.index import drop, reindex
from pilothouse.capabilities.inventory.model import Entry, Item, Kind, check_sent, is_custom
from pilothouse.capabilities.inventory.store import InventoryStore
from pilothouse.capabilities.inventory.telling import told
from pilothouse.runtime.clock import to_millis
from pilothouse.storage import Transaction

_COMPLIANCE: Final = "AWS:ComplianceItem"
_OWN: Final = frozenset({"Id", "Title", "Severity", "Status"})
"""What of an entry of AWS:ComplianceItem is no detail."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """An item as it came."""

    type_name: str
    schema_version: str
    capture_time: str
    content_hash: str
    content: list[Entry] | None = field(repr=False)
    """None: as before."""
    context: Mapping[str, str] = field(default_factory=dict)


def _node(call: Call, request: Shape) -> list[str]:
    return [f"arn:aws:ssm:{call.region}:{call.account_id}:managed-instance/{request['InstanceId']}"]


@operation(
    "ssm", "PutInventory",
    writes=True, callers=Caller.ACCOUNT | Caller.NODE, node_member="InstanceId", resources=_node,
)  # fmt: skip
async def put_inventory(call: Call, request: Shape) -> Shape:
    """Take what a node found of itself; all of it, or nothing."""
    sent = sorted((_sent(each) for each in request["Items"]), key=lambda each: each.type_name)
    for each in sent:
        check_sent(each.type_name, each.schema_version)
        if each.context and each.type_name not in CONTEXTS:
            raise model.UnsupportedInventoryItemContextException(
                f"Items of the type {each.type_name} have no context.", TypeName=each.type_name
            )
    if twice := sorted({a.type_name for a, b in itertools.pairwise(sent) if a.type_name == b.type_name}):
        raise model.InvalidItemContentException(f"There are two items of the type {twice[0]}.", TypeName=twice[0])
    async with call.transaction() as tx:
        await put_items(call.house, tx, call.account_id, call.region, request["InstanceId"], sent)
    return {"Message": "The inventory was stored."}


async def put_items(
    house: House, tx: Transaction, account_id: str, region: str, node_id: str, sent: "Sequence[Sent]"
) -> None:
    """Store items of a node. Raises the operation's errors."""
    await _Putter(house, tx, account_id, region, node_id).put(sent)


def _sent(item: Mapping[str, Any]) -> Sent:
    return Sent(
        type_name=item["TypeName"],
        schema_version=item["SchemaVersion"],
        capture_time=item["CaptureTime"],
        content_hash=item.get("ContentHash") or "",
        content=item.get("Content"),
        context=item.get("Context") or {},
    )


class _Putter:
    """Stores the items of one node."""

    def __init__(self, house: House, tx: Transaction, account_id: str, region: str, node_id: str) -> None:
        self._house = house
        self._tx = tx
        self._where = account_id, region
        self._node_id = node_id
        self._store = InventoryStore(tx, account_id, region)
        self._settings = house.settings.inventory

    async def put(self, sent: Sequence[Sent]) -> None:
        await self._store.lock(self._node_id)
        if await nodes.find(self._tx, *self._where, self._node_id) is None:
            raise model.InvalidInstanceId(f"There is no managed node {self._node_id} in this region.")
        for each in sent:
            if each.type_name == _COMPLIANCE:
                await self._judge(each)
                continue
            kind = await self._kind(each)
            if kind is None:
                continue
            content = await self._take(kind, each)
            await self._house.tell(
                self._tx, "inventory.put",
                account_id=self._where[0], region=self._where[1], node_id=self._node_id, type_name=each.type_name,
                schema_version=each.schema_version, capture_time=each.capture_time, context=each.context,
                content=content,
            )  # fmt: skip
        total = sum(size for _, _, size in await self._store.of_node(self._node_id))
        if total > self._settings.node_bytes:
            raise model.TotalSizeLimitExceededException(
                f"The node would have {total} bytes of inventory; {self._settings.node_bytes} are allowed."
            )
        await sync_marks.mark(self._tx, *self._where, self._node_id, [each.type_name for each in sent])

    async def _kind(self, sent: Sent) -> Kind | None:
        """The type as it is with this item; None if this version of it is taken no more."""
        kind = await self._store.kind(sent.type_name)
        if kind is not None and sent.schema_version in kind.disabled:
            return None
        content = sent.content or []
        if kind is not None and not self._changes(kind, sent, content):
            await self._note_old(kind, sent)
            return kind
        await self._store.lock_kinds()
        kind = await self._store.kind(sent.type_name)
        if kind is None:
            return await self._new_kind(sent, content)
        newest = max(kind.version, sent.schema_version, key=model.version_key)
        kind = replace(kind, version=newest, attributes=self._attributes(sent, kind.attributes, content))
        await self._store.set_kind(kind)
        await self._note_old(kind, sent)
        return kind

    def _changes(self, kind: Kind, sent: Sent, content: Sequence[Entry]) -> bool:
        if model.version_key(sent.schema_version) > model.version_key(kind.version):
            return True
        return self._attributes(sent, kind.attributes, content) != kind.attributes

    def _attributes(self, sent: Sent, known: Sequence[str], content: Sequence[Entry]) -> tuple[str, ...]:
        return model.widened(known, content) if is_custom(sent.type_name) else tuple(known)

    async def _new_kind(self, sent: Sent, content: Sequence[Entry]) -> Kind:
        attributes = self._attributes(sent, (), content)
        if is_custom(sent.type_name):
            known = sum(1 for each in await self._store.kinds() if is_custom(each.type_name))
            if known >= self._settings.custom_types:
                raise model.CustomSchemaCountLimitExceededException(
                    f"There are {known} custom inventory types already."
                )
        await self._store.add_kind(sent.type_name, sent.schema_version, attributes)
        made = await self._store.kind(sent.type_name)
        assert made is not None
        return made

    async def _note_old(self, kind: Kind, sent: Sent) -> None:
        """An item of an older version than the newest is taken, and told of."""
        if is_custom(kind.type_name) and model.version_key(sent.schema_version) < model.version_key(kind.version):
            await told(
                self._house, self._tx, *self._where, kind.type_name,
                {"type-name": kind.type_name, "resource-id": self._node_id, "resource-type": "managed-instance",
                 "schema-version": sent.schema_version, "latest-schema-version": kind.version,
                 "state": "outdated-schema-version"},
            )  # fmt: skip

    async def _take(self, kind: Kind, sent: Sent) -> list[Entry] | None:
        """Store the item; what its entries are if they are others than before."""
        before = await self._store.item(kind.kind_id, self._node_id)
        if sent.content is None:
            if not sent.content_hash:
                raise model.InvalidItemContentException(
                    "An item has neither Content nor ContentHash.", TypeName=kind.type_name
                )
            if before is None or before.content_hash != sent.content_hash:
                raise model.ItemContentMismatchException(
                    f"The stored content of {kind.type_name} has another hash; send the content.",
                    TypeName=kind.type_name,
                )
            await self._store.captured(kind.kind_id, self._node_id, sent.capture_time)
            return None
        content, size = model.packed(sent.content)
        if size > self._settings.item_bytes:
            raise model.ItemSizeLimitExceededException(
                f"The item {kind.type_name} has {size} bytes; {self._settings.item_bytes} are allowed.",
                TypeName=kind.type_name,
            )
        item = Item(
            node_id=self._node_id, schema_version=sent.schema_version, capture_time=sent.capture_time,
            content_hash=sent.content_hash, content=content, entries=len(sent.content), bytes=size,
            number=1 if before is None else before.number, changed_at=self._house.clock.millis(),
        )  # fmt: skip
        old: list[Entry] = [] if before is None else model.unpacked(before.content)
        if before is not None and old == sent.content:
            await self._store.set_item(kind.kind_id, replace(item, changed_at=before.changed_at))
            return None
        if before is not None:
            await self._store.keep_version(kind.kind_id, before, self._settings.versions)
            item = replace(item, number=before.number + 1)
        await self._store.set_item(kind.kind_id, item)
        await reindex(self._tx, kind, self._node_id, old, sent.content)
        return sent.content

    async def _judge(self, sent: Sent) -> None:
        """AWS:ComplianceItem: items of the compliance type that the context names."""
        name = sent.context.get("ComplianceType")
        if not name:
            raise model.InvalidInventoryItemContextException(f"The context of {_COMPLIANCE} needs a ComplianceType.")
        keeper = compliance.Keeper(self._house, self._tx, *self._where)
        moment = datetime.fromisoformat(sent.context.get("ExecutionTime") or sent.capture_time)
        execution = compliance.Execution(
            at=to_millis(moment if moment.tzinfo else moment.replace(tzinfo=UTC)),
            execution_id=sent.context.get("ExecutionId", ""), execution_type=sent.context.get("ExecutionType", ""),
        )  # fmt: skip
        if await keeper.same_again(self._node_id, name, execution, sent.content_hash):
            return
        if sent.content is None:
            raise model.ItemContentMismatchException(
                f"The stored content of {_COMPLIANCE} has another hash; send the content.", TypeName=_COMPLIANCE
            )
        items = [_item(entry) for entry in sent.content]
        await keeper.put(self._node_id, name, items, execution, by_system=False, content_hash=sent.content_hash)


def _item(entry: Mapping[str, str]) -> compliance.Item:
    status, severity = entry.get("Status", ""), entry.get("Severity") or compliance.UNSPECIFIED
    if not entry.get("Id") or severity not in compliance.SEVERITIES or status not in ("", *compliance.STATUSES):
        raise model.InvalidItemContentException(
            f"An entry of {_COMPLIANCE} needs an Id, a Severity and a Status.", TypeName=_COMPLIANCE
        )
    return compliance.Item(
        item_id=entry["Id"], title=entry.get("Title", ""), severity=severity, status=status,
        details={name: value for name, value in entry.items() if name not in _OWN},
    )  # fmt: skip


async def node_gone(house: House, tx: Transaction, facts: Mapping[str, Any]) -> None:
    """The event `node.deregistered`: all that the node said goes."""
    where = facts["account_id"], facts["region"]
    node_id = facts["node_id"]
    store = InventoryStore(tx, *where)
    await store.lock(node_id)
    kinds = {kind.kind_id: kind for kind in await store.kinds()}
    had = await store.of_node(node_id)
    for kind_id, _, _ in had:
        item = await store.item(kind_id, node_id)
        if item is not None:
            await drop(tx, store, kinds[kind_id], item)
    await sync_marks.mark(tx, *where, node_id, [type_name for _, type_name, _ in had])
