"""ListDocuments: the account's own documents, those that come with the installation, and those that others share."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities import tags
from pilothouse.capabilities.documents import library, naming, shapes
from pilothouse.capabilities.documents.model import InvalidFilterKey, InvalidNextToken
from pilothouse.capabilities.documents.operations import PAGE, TAGGED_AS
from pilothouse.capabilities.documents.store import DocumentStore, Listed
from pilothouse.errors import ValidationException
from pilothouse.storage import Transaction
from pilothouse.storage.pages import InvalidPageToken

_OWNERS: Final = ("Amazon", "Private", "Public", "Self", "ThirdParty", "All")
_KEYS: Final = frozenset({"Name", "Owner", "DocumentType", "PlatformTypes", "TargetType", "SearchKeyword"})
_SEEN: Final[Mapping[str, frozenset[str]]] = {
    "provided": frozenset({"Amazon", "Public", "All"}),
    "own": frozenset({"Self", "Private", "All"}),
    "shared": frozenset({"Private", "All"}),
    "public": frozenset({"Public", "All"}),
}
"""Where a document comes from to the values of the Owner filter that show it."""
_BATCH: Final = 200

Filters = list[tuple[str, list[str]]]


@dataclass(frozen=True, slots=True)
class _Entry:
    """A document in the list, under the name by which the account uses it."""

    shown: Listed
    name: str


@operation("ssm", "ListDocuments")
async def list_documents(call: Call, request: Shape) -> Shape:
    """Documents that the account sees, by name."""
    filters = _filters(request)
    query = ["ListDocuments", call.account_id, call.region, sorted((key, values) for key, values in filters)]
    after = ""
    if token := request.get("NextToken"):
        try:
            (after,) = call.house.pages.position(query, token)
        except InvalidPageToken as error:
            raise InvalidNextToken("The specified token is not valid.") from error
    limit = request.get("MaxResults") or PAGE
    async with call.reading() as tx:
        found = await _page(call, tx, filters, after, limit + 1)
        page = found[:limit]
        own = [each.name for each in page if each.shown.account_id == call.account_id]
        tagged = await tags.of_each(tx, call.account_id, call.region, TAGGED_AS, own)
    return {
        "DocumentIdentifiers": [shapes.identifier(each.shown, each.name, tagged.get(each.name)) for each in page],
        "NextToken": call.house.pages.token(query, [page[-1].name]) if len(found) > limit else None,
    }


async def _page(call: Call, tx: Transaction, filters: Filters, after: str, count: int) -> list[_Entry]:
    """The next documents that fit: two lists in one order, merged."""
    others = [each for each in await _others(call, tx, filters) if each.name > after]
    page: list[_Entry] = []
    async with aclosing(_own(call, tx, filters, after)) as own:
        async for mine in own:
            while others and others[0].name < mine.name and len(page) < count:
                page.append(others.pop(0))
            if len(page) >= count:
                return page
            page.append(mine)
    return (page + others)[:count]


async def _own(call: Call, tx: Transaction, filters: Filters, after: str) -> AsyncGenerator[_Entry, None]:
    if not _owner_fits("own", filters):
        return
    tagged = await _tagged(call, tx, filters)
    store = DocumentStore(tx, call.account_id, call.region)
    while batch := await store.defaults(after=after, count=_BATCH):
        for each in batch:
            if (tagged is None or each.name in tagged) and _fits(each, filters):
                yield _Entry(each, each.name)
        after = batch[-1].name


async def _others(call: Call, tx: Transaction, filters: Filters) -> list[_Entry]:
    """What is not the account's own, as far as it fits, by name; tags hang on own documents only."""
    found: list[_Entry] = []
    if any(key.startswith("tag:") for key, _ in filters):
        return found
    store = DocumentStore(tx, call.account_id, call.region)
    if _owner_fits("provided", filters):
        replaced = await store.kinds(naming.REPLACEABLE)
        found = [_Entry(shapes.listed(each), each.name) for each in library.provided().values()]
        found = [each for each in found if each.name not in replaced]
    for shown, publicly in await store.shared_by_others():
        if _owner_fits("public" if publicly else "shared", filters):
            found.append(_Entry(shown, naming.arn(shown.account_id, call.region, shown.name)))
    found = [each for each in found if _fits(each.shown, filters)]
    return sorted(found, key=lambda each: each.name)


async def _tagged(call: Call, tx: Transaction, filters: Filters) -> set[str] | None:
    """The documents that every tag filter fits; None if there is no such filter."""
    found: set[str] | None = None
    for key, values in filters:
        if key.startswith("tag:"):
            ids = await tags.ids_with(tx, call.account_id, call.region, TAGGED_AS, key[4:], values or None)
            found = ids if found is None else found & ids
    return found


def _owner_fits(origin: str, filters: Filters) -> bool:
    return all(not _SEEN[origin].isdisjoint(values) for key, values in filters if key == "Owner" and values)


def _fits(shown: Listed, filters: Filters) -> bool:
    return all(_one_fits(shown, key, values) for key, values in filters)


def _one_fits(shown: Listed, key: str, values: list[str]) -> bool:
    match key:
        case "Name":
            return any(shown.name.startswith(value) for value in values)
        case "DocumentType":
            return shown.kind in values
        case "PlatformTypes":
            return not set(shown.platforms).isdisjoint(values)
        case "TargetType":
            return (shown.target_type or "/") in values
        case "SearchKeyword":
            where = f"{shown.name} {shown.display_name or ''} {shown.description}".lower()
            return any(value.lower() in where for value in values)
    return True  # by owner and by tag it is chosen elsewhere


def _filters(request: Shape) -> Filters:
    """Both forms of filters as (key, values). Raises ValidationException, InvalidFilterKey."""
    new, legacy = request.get("Filters") or [], request.get("DocumentFilterList") or []
    if new and legacy:
        raise ValidationException("Filters and DocumentFilterList cannot be given together.")
    filters = [(each["key"], [each["value"]]) for each in legacy]
    filters += [(each.get("Key", ""), list(each.get("Values") or [])) for each in new]
    for key, values in filters:
        if key not in _KEYS and not (key.startswith("tag:") and key[4:]):
            raise InvalidFilterKey(f"The filter key {key} is not known." if key else "A filter needs a Key.")
        if key == "Owner":
            if len(values) > 1:
                raise ValidationException("Owner filter can only have one value.")
            if values and values[0] not in _OWNERS:
                raise ValidationException(f"The Owner filter takes one of: {', '.join(_OWNERS)}.")
    return filters
