"""Targets: from ids, tags and groups to nodes.

Entries are ANDed, values of an entry ORed; tags match exactly, by letter case too. Nodes that are deregistered are
never among the result.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pilothouse.call import Call
from pilothouse.capabilities import resource_groups, tags
from pilothouse.capabilities.nodes.model import (
    RESOURCE_TYPE,
    SOURCE_TYPE,
    DuplicateInstanceId,
    InvalidInstanceId,
    Node,
    is_node_id,
)
from pilothouse.capabilities.nodes.registry import chunks, taggable, with_names
from pilothouse.capabilities.nodes.store import NodeStore
from pilothouse.errors import ValidationException
from pilothouse.grouping import Groupable
from pilothouse.storage import Transaction

GROUPABLE: Final[Mapping[str, Groupable]] = {
    "AWS::EC2::Instance": tags.Tagged(RESOURCE_TYPE, "ec2", "instance/", taggable, ids="i-"),
    SOURCE_TYPE: tags.Tagged(RESOURCE_TYPE, "ssm", "managed-instance/", taggable, ids="mi-"),
}
"""Nodes as groups find them."""
_GROUP = "resource-groups:Name"
_MANY = 500


async def resolve_targets(
    tx: Transaction,
    account_id: str,
    region: str,
    instance_ids: Sequence[str],
    targets: Sequence[Mapping[str, Any]],
) -> list[Node]:
    """The nodes that ids or targets (`{"Key": ..., "Values": [...]}`) name; both together are not allowed.

    Ids keep their order and each must be a node: DuplicateInstanceId, InvalidInstanceId otherwise. Targets give those
    that fit, by id, and none if none does; a key that is not known raises ValidationException.
    """
    if instance_ids and targets:
        raise ValidationException("InstanceIds and Targets cannot be given together.")
    if instance_ids:
        return await _named(tx, account_id, region, instance_ids)
    if not targets:
        return []
    chosen: set[str] | None = None
    for target in targets:
        fitting = await _fitting(tx, account_id, region, target.get("Key", ""), target.get("Values") or [])
        chosen = fitting if chosen is None else chosen & fitting
        if not chosen:
            return []
    return await with_names(tx, await NodeStore(tx).with_ids(account_id, region, sorted(chosen or ())))


async def may_read_groups(call: Call, tx: Transaction, targets: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the caller may see what is in all groups that the targets name."""
    names = [name for each in targets if each.get("Key") == _GROUP for name in each.get("Values") or ()]
    for name in names:
        if not await resource_groups.may_read(call, tx, name):
            return False
    return True


async def groups_of_nodes(tx: Transaction, account_id: str, region: str) -> dict[str, list[tuple[str, str]]]:
    """(name, ARN) of the resource groups that each node is in; nodes that a group still names may be gone."""
    return await resource_groups.groups_by_id(tx, account_id, region, GROUPABLE)


async def why_not(
    tx: Transaction, account_id: str, region: str, targets: Sequence[Mapping[str, Any]]
) -> list[tuple[Node, str]]:
    """Every node that does not fit the targets, by id, and the first target that it does not fit."""
    others: dict[str, str] = {}
    everybody = await NodeStore(tx).ids(account_id, region)
    for target in targets:
        key, values = target.get("Key", ""), target.get("Values") or []
        unfit = sorted(everybody - others.keys() - await _fitting(tx, account_id, region, key, values))
        if key.startswith("tag:"):
            others |= await _told_by_tag(tx, account_id, region, unfit, key.removeprefix("tag:"))
        elif key == _GROUP:
            there = await resource_groups.ids_in(tx, account_id, region, values[0], {}) is not None
            said = (
                f"it is not in the resource group {values[0]}" if there else f"there is no resource group {values[0]}"
            )
            others |= dict.fromkeys(unfit, said)
        else:
            others |= dict.fromkeys(unfit, f"{key} names others")
    found = await with_names(tx, await NodeStore(tx).with_ids(account_id, region, sorted(others)))
    return [(node, others[node.node_id]) for node in found]


async def _told_by_tag(
    tx: Transaction, account_id: str, region: str, node_ids: Sequence[str], key: str
) -> dict[str, str]:
    found = {}
    for chunk in chunks(node_ids, _MANY):
        of_each = await tags.of_each(tx, account_id, region, RESOURCE_TYPE, chunk)
        for node_id in chunk:
            value = of_each.get(node_id, {}).get(key)
            found[node_id] = f"it has no tag {key}" if value is None else f"its tag {key} is {value}"
    return found


async def ids_tagged(tx: Transaction, account_id: str, region: str, key: str, values: Sequence[str]) -> set[str]:
    """Ids of the nodes that fit `tag:<key>` with one of the values, or `tag-key` with one of the keys as values."""
    if key == "tag-key":
        present: set[str] = set()
        for tag_key in values:
            present |= await tags.ids_with(tx, account_id, region, RESOURCE_TYPE, tag_key, None)
        return present
    return await tags.ids_with(tx, account_id, region, RESOURCE_TYPE, key.removeprefix("tag:"), values)


async def _fitting(tx: Transaction, account_id: str, region: str, key: str, values: Sequence[str]) -> set[str]:
    if key == "InstanceIds":
        return await NodeStore(tx).ids(account_id, region) if "*" in values else set(values)
    if key == "tag-key" or (key.startswith("tag:") and len(key) > len("tag:")):
        return await ids_tagged(tx, account_id, region, key, values)
    if key == _GROUP:
        if len(values) != 1:
            raise ValidationException(f"A target with the key {_GROUP} has one value: the name of a resource group.")
        return await resource_groups.ids_in(tx, account_id, region, values[0], GROUPABLE) or set()
    if not key:
        raise ValidationException("A target needs a Key.")
    raise ValidationException(
        f"Unknown target key {key}. Valid keys: InstanceIds, tag:<key>, tag-key, resource-groups:Name."
    )


async def _named(tx: Transaction, account_id: str, region: str, instance_ids: Sequence[str]) -> list[Node]:
    if twice := sorted({node_id for node_id in instance_ids if instance_ids.count(node_id) > 1}):
        raise DuplicateInstanceId(f"Named more than once: {', '.join(twice)}.")
    found = {node.node_id: node for node in await NodeStore(tx).with_ids(account_id, region, instance_ids)}
    missing = [node_id for node_id in instance_ids if node_id not in found]
    if missing:
        gone = await NodeStore(tx).deregistered_among(account_id, region, missing)
        reasons = "; ".join(f"{node_id} {_reason(node_id, gone)}" for node_id in missing)
        raise InvalidInstanceId(
            f"Instances [[{', '.join(missing)}]] not in a valid state for account {account_id}: {reasons}."
        )
    return await with_names(tx, [found[node_id] for node_id in instance_ids])


def _reason(node_id: str, gone: set[str]) -> str:
    if node_id in gone:
        return "is deregistered"
    return "is not registered in this region" if is_node_id(node_id) else "is not the id of a managed node"
