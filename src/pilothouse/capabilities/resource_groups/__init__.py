"""Resource groups: saved queries by tags, and lists of members, by which other operations choose resources.

Owns the tables resource_group and resource_group_member. Does not know the resources: their owners announce how to find
those of a type (`groupable` in their `CAPABILITY`). Who acts on what is in a group asks `ids_in` for its own types, and
`may_read` before, on behalf of the caller.
"""

from collections.abc import Mapping
from typing import Final

from pilothouse.call import Call, Capability
from pilothouse.capabilities import tags
from pilothouse.capabilities.resource_groups import members, operations, tagging
from pilothouse.capabilities.resource_groups.members import READ, SEARCH
from pilothouse.capabilities.resource_groups.model import TAGGED_AS, TYPE, Group, arn_of
from pilothouse.capabilities.resource_groups.store import GroupStore
from pilothouse.grouping import Groupable
from pilothouse.identity.authorise import allowed_of
from pilothouse.storage import Transaction

__all__ = ["CAPABILITY", "groups_by_id", "ids_in", "may_read"]

_AT_ONCE: Final = 100


async def ids_in(
    tx: Transaction, account_id: str, region: str, name: str, of_types: Mapping[str, Groupable]
) -> set[str] | None:
    """Ids of the resources of these types in the group; None if there is no such group.

    Members that are named may be gone. It costs what the group's first tag finds, and no more.
    """
    store = GroupStore(tx, account_id, region)
    group = await store.find(name)
    if group is None:
        return None
    return await _ids(tx, account_id, region, group, of_types)


async def groups_by_id(
    tx: Transaction, account_id: str, region: str, of_types: Mapping[str, Groupable]
) -> dict[str, list[tuple[str, str]]]:
    """(name, ARN) of all groups that each resource of these types is in, by its id. It costs what all groups find."""
    store = GroupStore(tx, account_id, region)
    found: dict[str, list[tuple[str, str]]] = {}
    after = ""
    while groups := await store.after(after, _AT_ONCE):
        for group in groups:
            for resource_id in await _ids(tx, account_id, region, group, of_types):
                found.setdefault(resource_id, []).append((group.name, arn_of(account_id, region, group.name)))
        after = groups[-1].name
    return found


async def _ids(
    tx: Transaction, account_id: str, region: str, group: Group, of_types: Mapping[str, Groupable]
) -> set[str]:
    query, store = group.parsed(), GroupStore(tx, account_id, region)
    found: set[str] = set()
    for kind, groupable in of_types.items():
        if query is None:
            found |= {each.resource_id for each in await store.members(group.name, kind)}
        elif query.takes(kind):
            found |= {each.resource_id for each in await groupable.tagged(tx, account_id, region, query.filters)}
    return found


async def may_read(call: Call, tx: Transaction, name: str) -> bool:
    """Whether the caller's policies let it see what is in the group; also of a group that is not there."""
    if not await allowed_of(call, tx, READ, [arn_of(call.account_id, call.region, name)]):
        return False
    group = await GroupStore(tx, call.account_id, call.region).find(name)
    return group is None or group.query is None or bool(await allowed_of(call, tx, SEARCH, ["*"]))


async def _tags(tx: Transaction, account_id: str, region: str, name: str) -> dict[str, str]:
    return await tags.of(tx, account_id, region, TAGGED_AS, name)


async def _find(tx: Transaction, account_id: str, region: str, name: str) -> str | None:
    return name if await GroupStore(tx, account_id, region).find(name) else None


CAPABILITY = Capability.of(
    "resource_groups",
    operations,
    members,
    tagging,
    tags_of={"resource-groups:group": _tags},
    groupable={TYPE: tags.Tagged(TAGGED_AS, "resource-groups", "group/", _find)},
)
