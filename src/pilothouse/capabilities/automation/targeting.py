"""Targets: from what a request names to one value for each execution that is to be started."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from pilothouse.call import House
from pilothouse.capabilities import machines, nodes, resource_groups
from pilothouse.capabilities.automation.model import InvalidTarget
from pilothouse.errors import ValidationException
from pilothouse.grouping import Groupable, TagFilter
from pilothouse.identity.principals import Principal
from pilothouse.storage import Transaction

_MOST_VALUES: Final = 50
_MACHINE, _NODE = "AWS::EC2::Instance", "AWS::SSM::ManagedInstance"
_INSTANCES: Final = (_MACHINE, _NODE)


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
        types = _types(house, target_type)
        return await _instances(house, tx, who, region, {"Key": "InstanceIds", "Values": ["*"]}, types)
    if key == "tag-key" or (key.startswith("tag:") and len(key) > len("tag:")):
        types = _types(house, target_type)
        if any(each in types for each in _INSTANCES):
            return await _instances(house, tx, who, region, {"Key": key, "Values": values}, types)
        found: dict[str, None] = {}
        for groupable in types.values():
            for each in await groupable.tagged(tx, who.account_id, region, _filters(key, values)):
                found[each.resource_id] = None
        return list(found)
    raise InvalidTarget(
        f"The target key {key} is not known; there are ParameterValues, ResourceGroup, tag:KEY, tag-key, InstanceIds "
        "and AWS::EC2::Instance."
    )


def _filters(key: str, values: Sequence[str]) -> list[TagFilter]:
    if key == "tag-key":
        return [TagFilter(each) for each in values]
    return [TagFilter(key.removeprefix("tag:"), tuple(values))]


async def _instances(
    house: House, tx: Transaction, who: Principal, region: str, target: Mapping[str, Any],
    types: Mapping[str, Groupable],
) -> list[str]:  # fmt: skip
    """Machines of this server and nodes. A machine that is a node stands for both: commands on it go to the node."""
    account_id, key, values = who.account_id, str(target["Key"]), target["Values"]
    found: list[str] = []
    if _MACHINE in types:
        found = await machines.live(tx, account_id, region)
        if key != "InstanceIds":
            tagged = await types[_MACHINE].tagged(tx, account_id, region, _filters(key, values))
            wanted = {each.resource_id for each in tagged}
            found = [each for each in found if each in wanted]
    named = await _nodes(tx, account_id, region, target) if _NODE in types else []
    return await _each_once(tx, account_id, region, [*found, *named])


async def _each_once(tx: Transaction, account_id: str, region: str, found: Sequence[str]) -> list[str]:
    """Without the nodes whose machines are among them."""
    ours = [each for each in found if each.startswith("i-")]
    twice = {await machines.node_of(tx, account_id, region, each) for each in ours}
    return list(dict.fromkeys(each for each in found if each not in twice))


def _types(house: House, target_type: str) -> Mapping[str, Groupable]:
    """The types of resources that a document is for (its TargetType): machines unless it says otherwise."""
    name = target_type.lstrip("/")
    if not name or name == _MACHINE:
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
    return await _each_once(tx, who.account_id, region, sorted(found))


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
