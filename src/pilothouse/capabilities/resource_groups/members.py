"""What is in groups: ListGroupResources, SearchResources, GroupResources, UngroupResources."""

from collections.abc import Mapping, Sequence
from typing import Final

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities.resource_groups.finding import asked, found, locked, of_group, position, token
from pilothouse.capabilities.resource_groups.model import Group, Query, parsed
from pilothouse.capabilities.resource_groups.store import GroupStore
from pilothouse.errors import BadRequestException
from pilothouse.grouping import Resource
from pilothouse.identity.authorise import ask_each
from pilothouse.storage import Transaction

_PAGE: Final = 50
READ: Final = "resource-groups:ListGroupResources"
SEARCH: Final = "tag:GetResources"
Found = tuple[str, Resource]
"""A resource with its type."""


@operation("resource-groups", "ListGroupResources", resources=of_group)
async def list_group_resources(call: Call, request: Shape) -> Shape:
    """What is in the group, by type and ARN."""
    wanted = _wanted(request.get("Filters") or [])
    query: list[object] = ["ListGroupResources", asked(request), sorted(wanted or ())]
    after = position(call, query, request)
    limit: int = request.get("MaxResults") or _PAGE
    async with call.reading() as tx:
        store = GroupStore(tx, call.account_id, call.region)
        group = await found(call, store, asked(request))
        by_tags = group.parsed()
        if by_tags is None:
            resources = await _named(call, tx, group, wanted, after, limit + 1)
        else:
            await ask_each(call, tx, SEARCH, ["*"])
            _check_types(by_tags, wanted)
            resources = await _searched(call, tx, by_tags, wanted, after, limit + 1)
    shown = _shown(resources[:limit])
    return {
        "Resources": [{"Identifier": each} for each in shown],
        "ResourceIdentifiers": shown,
        "NextToken": _next(call, query, resources, limit),
        "QueryErrors": _unknown(call, by_tags),
    }


@operation("resource-groups", "SearchResources")
async def search_resources(call: Call, request: Shape) -> Shape:
    """What a query finds, which needs no group."""
    asked_for = request["ResourceQuery"]
    by_tags = parsed(asked_for["Type"], asked_for["Query"])
    query: list[object] = ["SearchResources", asked_for["Query"]]
    after = position(call, query, request)
    limit: int = request.get("MaxResults") or _PAGE
    async with call.reading() as tx:
        await ask_each(call, tx, SEARCH, ["*"])
        resources = await _searched(call, tx, by_tags, None, after, limit + 1)
    return {
        "ResourceIdentifiers": _shown(resources[:limit]),
        "NextToken": _next(call, query, resources, limit),
        "QueryErrors": _unknown(call, by_tags),
    }


@operation("resource-groups", "GroupResources", writes=True, resources=of_group)
async def group_resources(call: Call, request: Shape) -> Shape:
    """Name resources as members of a group; those that cannot be are told with the reason."""
    failed: list[Shape] = []
    members: dict[str, list[Resource]] = {}
    async with call.transaction() as tx:
        store = GroupStore(tx, call.account_id, call.region)
        group = await _by_hand(call, store, request)
        for arn in dict.fromkeys(request["ResourceArns"]):
            kind, resource = await _at(call, tx, arn)
            if resource is None:
                failed.append(_failed(arn, "RESOURCE_NOT_FOUND", "There is no such resource in this region."))
            elif not group.may_hold(kind):
                failed.append(_failed(arn, "RESOURCE_TYPE_NOT_ALLOWED", f"The group cannot hold {kind}."))
            else:
                members.setdefault(kind, []).append(resource)
        await store.put(group.name, members)
    refused = {each["ResourceArn"] for each in failed}
    return _told([each for each in dict.fromkeys(request["ResourceArns"]) if each not in refused], failed)


@operation("resource-groups", "UngroupResources", writes=True, resources=of_group)
async def ungroup_resources(call: Call, request: Shape) -> Shape:
    """Take resources out of a group; one that is gone by itself may be taken out too."""
    arns = list(dict.fromkeys(request["ResourceArns"]))
    async with call.transaction() as tx:
        store = GroupStore(tx, call.account_id, call.region)
        group = await _by_hand(call, store, request)
        own = await store.named_among(group.name, arns)
        await store.take_out(group.name, own)
    failed = [_failed(each, "RESOURCE_NOT_FOUND", "It is no member of the group.") for each in arns if each not in own]
    return _told([each for each in arns if each in own], failed)


async def _by_hand(call: Call, store: GroupStore, request: Shape) -> Group:
    """The group, locked, if its members are named one by one. Raises BadRequestException."""
    group = await locked(call, store, asked(request))
    if not group.configuration:
        raise BadRequestException(f"Group {group.name} has no configuration that lets members be named")
    return group


async def _at(call: Call, tx: Transaction, arn: str) -> tuple[str, Resource | None]:
    for kind, groupable in call.house.groupable.items():
        resource = await groupable.find(tx, call.account_id, call.region, arn)
        if resource is not None:
            return kind, resource
    return "", None


def _wanted(filters: Sequence[Shape]) -> frozenset[str] | None:
    """The types that are asked for; None: all."""
    wanted: frozenset[str] | None = None
    for each in filters:
        named = frozenset(each["Values"])
        wanted = named if wanted is None else wanted & named
    return wanted


def _check_types(query: Query, wanted: frozenset[str] | None) -> None:
    foreign = sorted(each for each in wanted or () if not query.takes(each))
    if foreign:
        raise BadRequestException(
            f"The resource types specified as filters in the request are not valid: {', '.join(foreign)}"
        )


def _kinds(known: Mapping[str, object], wanted: frozenset[str] | None, after: list[str] | None) -> list[str]:
    return sorted(
        each for each in known if (wanted is None or each in wanted) and (after is None or each >= after[0])
    )  # fmt: skip


async def _searched(
    call: Call, tx: Transaction, query: Query, wanted: frozenset[str] | None, after: list[str] | None, count: int
) -> list[Found]:
    resources: list[Found] = []
    for kind in _kinds(call.house.groupable, wanted, after):
        if not query.takes(kind) or len(resources) >= count:
            continue
        more = await call.house.groupable[kind].tagged(
            tx, call.account_id, call.region, query.filters,
            after=after[1] if after and after[0] == kind else "", limit=count - len(resources),
        )  # fmt: skip
        resources += [(kind, each) for each in more]
    return resources


async def _named(
    call: Call, tx: Transaction, group: Group, wanted: frozenset[str] | None, after: list[str] | None, count: int
) -> list[Found]:
    """Members that are named and still there."""
    store = GroupStore(tx, call.account_id, call.region)
    resources: list[Found] = []
    for kind in _kinds(dict.fromkeys(await store.types(group.name)), wanted, after):
        begin = after[1] if after and after[0] == kind else ""
        while len(resources) < count:
            page = await store.members(group.name, kind, after=begin, limit=count)
            for each in page:
                there = await call.house.groupable[kind].find(tx, call.account_id, call.region, each.arn)
                resources += [(kind, each)] if there is not None else []
            if len(page) < count:
                break
            begin = page[-1].resource_id
    return resources[:count]


def _shown(resources: Sequence[Found]) -> list[Shape]:
    return [{"ResourceArn": each.arn, "ResourceType": kind} for kind, each in resources]


def _next(call: Call, query: list[object], resources: Sequence[Found], limit: int) -> str | None:
    if len(resources) <= limit:
        return None
    kind, last = resources[limit - 1]
    return token(call, query, [kind, last.resource_id])


def _unknown(call: Call, query: Query | None) -> list[Shape]:
    """Types that a query names and of which there are no resources here."""
    named = (query.types if query is not None else None) or ()
    return [
        {"ErrorCode": "RESOURCE_TYPE_NOT_SUPPORTED", "Message": f"{each} is not a type of resources in Pilothouse."}
        for each in sorted(named)
        if each not in call.house.groupable
    ]


def _failed(arn: str, code: str, message: str) -> Shape:
    return {"ResourceArn": arn, "ErrorCode": code, "ErrorMessage": message}


def _told(done: list[str], failed: list[Shape]) -> Shape:
    return {"Succeeded": done, "Failed": failed, "Pending": []}
