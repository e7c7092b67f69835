"""Targets: from what a request names to one value for each execution that is to be started."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from pilothouse.call import House
from pilothouse.capabilities import nodes, resource_groups
from pilothouse.capabilities.automation.model import InvalidTarget
from pilothouse.errors import ValidationException
from pilothouse.grouping import Groupable, TagFilter
from pilothouse.identity.principals import Principal
from pilothouse.storage import Transaction

_MOST_VALUES: Final = 50
_INSTANCES: Final = ("AWS::EC2::Instance", "AWS::SSM::ManagedInstance")


async def resolved(
    house: House, tx: Transaction, who: Principal, region: str, targets: Sequence[Mapping[str, Any]], target_type: str
) -> list[str]:
    """The values that the targets stand for, each once. Raises InvalidTarget."""
    if len(targets) != 1:
        raise InvalidTarget("Targets has one entry.")
    key, values = str(targets[0].get("Key") or ""), [str(each) for each in targets[0].get("Values") or ()]
    if not values:
        raise InvalidTarget(f"The target {key} names no values.")
    if key == "ParameterValues":
        if len(values) > _MOST_VALUES:
            raise InvalidTarget(f"ParameterValues takes at most {_MOST_VALUES} values.")
        return list(dict.fromkeys(values))
    if key == "ResourceGroup":
        return await _of_group(house, tx, who, region, values, _types(house, target_type))
    if key in ("AWS::EC2::Instance", "InstanceIds"):
        if "*" not in values:
            return list(dict.fromkeys(values))
        return await _nodes(tx, who.account_id, region, {"Key": "InstanceIds", "Values": ["*"]})
    if key == "tag-key" or (key.startswith("tag:") and len(key) > len("tag:")):
        types = _types(house, target_type)
        if any(each in types for each in _INSTANCES):
            return await _nodes(tx, who.account_id, region, {"Key": key, "Values": values})
        filters = (
            [TagFilter(each) for each in values]
            if key == "tag-key"
            else [TagFilter(key.removeprefix("tag:"), tuple(values))]
        )
        found: dict[str, None] = {}
        for groupable in types.values():
            for each in await groupable.tagged(tx, who.account_id, region, filters):
                found[each.resource_id] = None
        return list(found)
    raise InvalidTarget(
        f"The target key {key} is not known; there are ParameterValues, ResourceGroup, tag:KEY, tag-key, InstanceIds "
        "and AWS::EC2::Instance."
    )


def _types(house: House, target_type: str) -> Mapping[str, Groupable]:
    """The types of resources that a document is for (its TargetType): machines unless it says otherwise."""
    name = target_type.lstrip("/")
    if not name or name in _INSTANCES:
        return {each: house.groupable[each] for each in _INSTANCES if each in house.groupable}
    if name not in house.groupable:
        raise InvalidTarget(f"Resources of the type {name}, which the document is for, cannot be found by tags here.")
    return {name: house.groupable[name]}


async def _nodes(tx: Transaction, account_id: str, region: str, target: Mapping[str, Any]) -> list[str]:
    try:
        found = await nodes.resolve_targets(tx, account_id, region, [], [target])
    except ValidationException as error:
        raise InvalidTarget(error.message) from error
    return [each.node_id for each in found]


async def _of_group(
    house: House, tx: Transaction, who: Principal, region: str, names: Sequence[str], types: Mapping[str, Groupable]
) -> list[str]:
    if len(names) != 1:
        raise InvalidTarget("A target of the kind ResourceGroup names one group.")
    await house.inside.asked(
        tx, who, region, ("resource-groups", "ListGroupResources"), {"Group": names[0], "MaxResults": 1}
    )  # fmt: skip
    found = await resource_groups.ids_in(tx, who.account_id, region, names[0], types)
    if found is None:
        raise InvalidTarget(f"There is no resource group {names[0]}.")
    return sorted(found)


def group_of(targets: Sequence[Mapping[str, Any]]) -> str:
    """The resource group that the targets name, for lists that ask for it."""
    for each in targets:
        if each.get("Key") == "ResourceGroup" and each.get("Values"):
            return str(each["Values"][0])
    return ""


def specs_of_values(name: str, values: Sequence[str]) -> list[dict[str, Any]]:
    """One execution for each value of the parameter."""
    return [{"target": value, "parameters": {name: [value]}} for value in values]


def specs_of_maps(maps: Sequence[Mapping[str, Sequence[str]]]) -> list[dict[str, Any]]:
    """One execution for each map, which has the values of several parameters."""
    return [
        {
            "target": msgspec.json.encode(dict(each)).decode(),
            "parameters": {name: list(values) for name, values in each.items()},
        }
        for each in maps
    ]
