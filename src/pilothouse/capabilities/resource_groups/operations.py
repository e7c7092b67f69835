"""Groups themselves: CreateGroup, GetGroup, UpdateGroup, DeleteGroup, ListGroups, their queries and configurations."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities import tags
from pilothouse.capabilities.resource_groups.finding import asked, found, locked, of_group, position, token
from pilothouse.capabilities.resource_groups.model import (
    ALL,
    CONFIGURATIONS,
    TAGGED_AS,
    TAGS_MOST,
    Group,
    Item,
    Parameter,
    arn_of,
    check_configuration,
    check_name,
    check_tags,
    parsed,
)
from pilothouse.capabilities.resource_groups.store import GroupStore
from pilothouse.errors import BadRequestException
from pilothouse.identity.authorise import ask_each, context_of
from pilothouse.storage import Transaction

_PAGE: Final = 50
_AT_ONCE: Final = 200
_ABOUT: Final = {
    "Description": "description",
    "Criticality": "criticality",
    "Owner": "owner",
    "DisplayName": "display_name",
}


@operation("resource-groups", "CreateGroup", writes=True)
async def create_group(call: Call, request: Shape) -> Shape:
    """Make a group of what a query finds, or of members that its configuration lets be named."""
    name, given = request["Name"], request.get("Tags") or {}
    check_name(name)
    check_tags(given)
    query, items = request.get("ResourceQuery"), request.get("Configuration")
    if query is not None and items:
        raise BadRequestException("A group can have a ResourceQuery or a Configuration, and not both")
    group = Group(name=name, **{field: request.get(member) for member, field in _ABOUT.items()})
    if query is not None:
        group = _with_query(group, query)
    elif items:
        group = replace(group, configuration=_configuration(items))
    async with call.transaction() as tx:
        if given:
            arn = arn_of(call.account_id, call.region, name)
            await ask_each(call, tx, "resource-groups:Tag", [arn], context_of(call, request))
        store = GroupStore(tx, call.account_id, call.region)
        await store.lock(name)
        if await store.find(name) is not None:
            raise BadRequestException("Cannot create group: group already exists")
        await store.save(group)
        await put_tags(call, tx, name, given)
    return {
        "Group": _shape(call, group),
        "ResourceQuery": query,
        "Tags": given or None,
        "GroupConfiguration": _configured(group) or None,
    }


async def put_tags(call: Call, tx: Transaction, name: str, given: dict[str, str]) -> None:
    """Put tags on a group. Raises BadRequestException."""
    try:
        await tags.put(tx, call.account_id, call.region, TAGGED_AS, name, given)
    except tags.TooManyTagsError as error:
        raise BadRequestException(f"A group can have at most {TAGS_MOST} tags") from error


@operation("resource-groups", "GetGroup", resources=of_group)
async def get_group(call: Call, request: Shape) -> Shape:
    """What the group is called and said to be."""
    return {"Group": _shape(call, await _read(call, request))}


@operation("resource-groups", "GetGroupQuery", resources=of_group)
async def get_group_query(call: Call, request: Shape) -> Shape:
    """The group's query, as it was given."""
    group = await _read(call, request)
    if group.query is None:
        raise BadRequestException(f"Group {group.name} has no query")
    return {"GroupQuery": _query(group)}


@operation("resource-groups", "GetGroupConfiguration", resources=of_group)
async def get_group_configuration(call: Call, request: Shape) -> Shape:
    """The group's configuration; nothing is in it where there is none."""
    return {"GroupConfiguration": _configured(await _read(call, request))}


@operation("resource-groups", "UpdateGroup", writes=True, resources=of_group)
async def update_group(call: Call, request: Shape) -> Shape:
    """Change what is said of the group; what is not given stays."""
    async with call.transaction() as tx:
        store = GroupStore(tx, call.account_id, call.region)
        group = await locked(call, store, asked(request))
        given = {field: request[member] for member, field in _ABOUT.items() if member in request}
        group = replace(group, **given)
        await store.save(group)
    return {"Group": _shape(call, group)}


@operation("resource-groups", "UpdateGroupQuery", writes=True, resources=of_group)
async def update_group_query(call: Call, request: Shape) -> Shape:
    """Give the group another query."""
    async with call.transaction() as tx:
        store = GroupStore(tx, call.account_id, call.region)
        group = await locked(call, store, asked(request))
        if group.configuration:
            raise BadRequestException(f"Group {group.name} has a configuration and so no query")
        group = _with_query(group, request["ResourceQuery"])
        await store.save(group)
    return {"GroupQuery": _query(group)}


@operation("resource-groups", "PutGroupConfiguration", writes=True, resources=of_group)
async def put_group_configuration(call: Call, request: Shape) -> Shape:
    """Give the group another configuration, which its members must fit."""
    async with call.transaction() as tx:
        store = GroupStore(tx, call.account_id, call.region)
        group = await locked(call, store, asked(request))
        if group.query is not None:
            raise BadRequestException(f"Group {group.name} has a query and so no configuration")
        group = replace(group, configuration=_configuration(request.get("Configuration") or []))
        unfit = sorted(each for each in await store.types(group.name) if not group.may_hold(each))
        if unfit:
            raise BadRequestException(f"Group {group.name} has members of other types: {', '.join(unfit)}")
        await store.save(group)
    return {}


@operation("resource-groups", "DeleteGroup", writes=True, resources=of_group)
async def delete_group(call: Call, request: Shape) -> Shape:
    """Remove the group; the resources in it stay."""
    async with call.transaction() as tx:
        store = GroupStore(tx, call.account_id, call.region)
        group = await locked(call, store, asked(request))
        if group.is_protected and await store.types(group.name):
            raise BadRequestException(f"Group {group.name} cannot be deleted while it has members")
        await store.remove(group.name)
        await tags.remove_all(tx, call.account_id, call.region, TAGGED_AS, group.name)
    return {"Group": _shape(call, group)}


@operation("resource-groups", "ListGroups")
async def list_groups(call: Call, request: Shape) -> Shape:
    """The account's groups by name, those that fit all filters."""
    filters = _filters(request.get("Filters") or [])
    query: list[object] = ["ListGroups", filters]
    after = position(call, query, request)
    limit: int = request.get("MaxResults") or _PAGE
    groups: list[Group] = []
    async with call.reading() as tx:
        store = GroupStore(tx, call.account_id, call.region)
        page = await store.after(after[0] if after else "", _AT_ONCE)
        while page and len(groups) <= limit:
            groups += [each for each in page if all(_fits(each, name, values) for name, values in filters)]
            page = await store.after(page[-1].name, _AT_ONCE) if len(page) == _AT_ONCE else []
    shown = groups[:limit]
    return {
        "GroupIdentifiers": [
            {
                "GroupName": each.name,
                "GroupArn": arn_of(call.account_id, call.region, each.name),
                **{member: getattr(each, field) for member, field in _ABOUT.items()},
            }
            for each in shown
        ],
        "Groups": [_shape(call, each) for each in shown],
        "NextToken": token(call, query, [shown[-1].name]) if len(groups) > limit else None,
    }


def _filters(given: Sequence[Shape]) -> list[tuple[str, list[str]]]:
    """Raises BadRequestException."""
    for each in given:
        wrong: list[str] = []
        if each["Name"] == "configuration-type":
            wrong = [value for value in each["Values"] if value not in CONFIGURATIONS]
        elif each["Name"] == "resource-type":
            wrong = [value for value in each["Values"] if not value.startswith("AWS::")]
        if wrong:
            raise BadRequestException(
                f"Filters not valid: One or more filter values are not supported: {', '.join(wrong)}"
            )
    return [(each["Name"], each["Values"]) for each in given]


def _fits(group: Group, name: str, values: Sequence[str]) -> bool:
    if name == "configuration-type":
        return any(item.type in values for item in group.configuration or ())
    if name == "resource-type":
        query = group.parsed()
        named = () if query is None else {ALL} if query.types is None else query.types
        return any(value in named for value in values)
    said = {"owner": group.owner, "display-name": group.display_name, "criticality": group.criticality}[name]
    return said is not None and str(said) in values


async def _read(call: Call, request: Shape) -> Group:
    async with call.reading() as tx:
        return await found(call, GroupStore(tx, call.account_id, call.region), asked(request))


def _with_query(group: Group, query: Shape) -> Group:
    parsed(query["Type"], query["Query"])
    return replace(group, query_type=query["Type"], query=query["Query"])


def _configuration(items: Sequence[Shape]) -> tuple[Item, ...] | None:
    """Raises BadRequestException."""
    read = tuple(
        Item(
            each["Type"],
            [Parameter(one["Name"], one.get("Values") or []) for one in each["Parameters"]]
            if "Parameters" in each
            else None,
        )
        for each in items
    )
    check_configuration(read)
    return read or None


def _shape(call: Call, group: Group) -> dict[str, Any]:
    return {
        "GroupArn": arn_of(call.account_id, call.region, group.name),
        "Name": group.name,
        **{member: getattr(group, field) for member, field in _ABOUT.items()},
    }


def _query(group: Group) -> Shape:
    return {"GroupName": group.name, "ResourceQuery": {"Type": group.query_type, "Query": group.query}}


def _configured(group: Group) -> Shape:
    if not group.configuration:
        return {}
    items = [
        {
            "Type": item.type,
            "Parameters": None
            if item.parameters is None
            else [{"Name": each.name, "Values": each.values} for each in item.parameters],
        }
        for item in group.configuration
    ]
    return {"Configuration": items, "Status": "UPDATE_COMPLETE"}
