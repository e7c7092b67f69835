"""CreateTags, DeleteTags, DescribeTags: of machines, images and snapshots."""

from collections.abc import Mapping
from typing import Final, NamedTuple

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities import tags
from pilothouse.capabilities.machines import shapes
from pilothouse.capabilities.machines.asking import (
    TAGGED_AS,
    arn,
    check_page,
    dry_run,
    machines_named,
    no_image,
    no_snapshot,
    page,
    put_tags,
    tag_context,
    tags_of,
)
from pilothouse.capabilities.machines.filters import Facts, fitting
from pilothouse.capabilities.machines.model import InvalidID, State, kind_of_id
from pilothouse.capabilities.machines.store import MachineStore
from pilothouse.errors import InvalidParameterValue
from pilothouse.identity.policy_patterns import Value
from pilothouse.storage import Transaction


class _Tag(NamedTuple):
    resource_id: str
    kind: str
    key: str
    value: str

    @property
    def place(self) -> str:
        return f"{self.resource_id} {self.key}"


_FACTS: Final[Facts[_Tag]] = {
    "resource-id": lambda each: [each.resource_id],
    "resource-type": lambda each: [each.kind],
    "key": lambda each: [each.key],
    "value": lambda each: [each.value],
}


def _resources(call: Call, request: Shape) -> list[str]:
    return [arn(call, kind_of_id(each) or "instance", each) for each in request["Resources"]]


def _conditions(call: Call, request: Shape) -> Mapping[str, Value]:
    return tag_context({each.get("Key") or "": each.get("Value") or "" for each in request.get("Tags") or ()})


async def _found(call: Call, tx: Transaction, request: Shape) -> list[tuple[str, str]]:
    """Kind and id of what is to be tagged. Raises InvalidID and the errors for what is not there."""
    if not request["Resources"]:
        raise InvalidParameterValue("At least one resource ID must be specified.")
    store = MachineStore(tx, call.account_id, call.region)
    found = []
    for each in dict.fromkeys(request["Resources"]):
        kind = kind_of_id(each)
        if not kind:
            raise InvalidID(f"The ID '{each[:64]}' is not valid")
        if kind == "instance":
            await machines_named(store, [each])
        elif kind == "image" and await store.image(each) is None:
            raise no_image(each)
        elif kind == "snapshot" and await store.snapshot(each) is None:
            raise no_snapshot(each)
        found.append((kind, each))
    return found


@operation("ec2", "CreateTags", writes=True, resources=_resources, conditions=_conditions)
async def create_tags(call: Call, request: Shape) -> Shape:
    """Put tags on machines, images and snapshots; one with the same key is overwritten."""
    given = tags_of(request["Tags"])
    if not given:
        raise InvalidParameterValue("At least one tag must be specified.")
    async with call.transaction() as tx:
        found = await _found(call, tx, request)
        dry_run(request)
        for kind, each in found:
            await put_tags(call, tx, kind, [each], given)
    return {}


@operation("ec2", "DeleteTags", writes=True, resources=_resources, conditions=_conditions)
async def delete_tags(call: Call, request: Shape) -> Shape:
    """Take tags away: those with the keys, and with the values where any are given; without keys all of them."""
    wanted = request.get("Tags") or []
    async with call.transaction() as tx:
        found = await _found(call, tx, request)
        dry_run(request)
        for kind, each in found:
            there = await tags.of(tx, call.account_id, call.region, TAGGED_AS[kind], each)
            keys = [
                tag.get("Key") or ""
                for tag in wanted
                if tag.get("Value") is None or there.get(tag.get("Key") or "") == tag["Value"]
            ]
            await tags.remove(tx, call.account_id, call.region, TAGGED_AS[kind], each, keys if wanted else list(there))
    return {}


@operation("ec2", "DescribeTags")
async def describe_tags(call: Call, request: Shape) -> Shape:
    """Every tag of machines, images and snapshots, also what this server knows of machines itself."""
    dry_run(request)
    check_page(request, "")
    found: list[_Tag] = []
    async with call.reading() as tx:
        store = MachineStore(tx, call.account_id, call.region)
        machines = {each.machine_id: each for each in await store.machines() if each.state is not State.TERMINATED}
        images = await store.images()
        snapshots = await store.snapshots()
        of_kind = {
            "instance": list(machines),
            "image": [each.image_id for each in images],
            "snapshot": [each.snapshot_id for each in snapshots],
        }
        for kind, ids in of_kind.items():
            given = await tags.of_each(tx, call.account_id, call.region, TAGGED_AS[kind], ids)
            for each in ids:
                own = given.get(each, {})
                whole = shapes.tags_of(machines[each], own) if kind == "instance" else own
                found += [_Tag(each, kind, key, value) for key, value in whole.items()]
    found = sorted(fitting(request, found, _FACTS), key=lambda each: each.place)
    part, token = page(call, "DescribeTags", request, found, lambda each: each.place)
    told = [
        {"ResourceId": each.resource_id, "ResourceType": each.kind, "Key": each.key, "Value": each.value}
        for each in part
    ]
    return {"Tags": told, "NextToken": token}
