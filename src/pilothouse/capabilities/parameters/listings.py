"""GetParametersByPath and DescribeParameters: pages over a hierarchy.

A call looks at a bounded number of parameters. If the filters leave too few of them, the page is short or even empty
and has a token to go on, as the cloud service does.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final, TypeVar

from pilothouse.call import Call, Caller, Shape, operation
from pilothouse.capabilities import tags
from pilothouse.capabilities.parameters import filters, public, settings
from pilothouse.capabilities.parameters.changes import TAGGED_AS
from pilothouse.capabilities.parameters.filters import Filter
from pilothouse.capabilities.parameters.labels import is_label
from pilothouse.capabilities.parameters.model import InvalidNextToken, Value, Version
from pilothouse.capabilities.parameters.names import PUBLIC, Hierarchy, arn, below, check_path, parent, resource
from pilothouse.capabilities.parameters.operations import Reader, metadata_shape, policies_shape
from pilothouse.capabilities.parameters.secrecy import reads_secrets
from pilothouse.capabilities.parameters.sharing import shared_in
from pilothouse.capabilities.parameters.store import Labelled, ParameterStore
from pilothouse.errors import ValidationException
from pilothouse.runtime.clock import Clock
from pilothouse.storage import Transaction
from pilothouse.storage.pages import InvalidPageToken

_BY_PATH_PAGE: Final = 10
_DESCRIBE_PAGE: Final = 10
_BATCH: Final = 200
_LOOKED_AT: Final = 4000
"""How many parameters one call looks at for a page."""

T = TypeVar("T")


def _path(call: Call, request: Shape) -> Iterable[str]:
    return [resource(call.account_id, call.region, request["Path"])]


def _by_path_conditions(call: Call, request: Shape) -> dict[str, str]:
    return {"ssm:Recursive": "true" if request.get("Recursive") else "false"}


@operation(
    "ssm",
    "GetParametersByPath",
    callers=Caller.ACCOUNT | Caller.NODE,
    resources=_path,
    relaxed={"MaxResults": settings.LARGEST_PAGE},
    conditions=_by_path_conditions,
    audited=reads_secrets,
)
async def get_parameters_by_path(call: Call, request: Shape) -> Shape:
    """The values below a path, never of the path itself; one level unless Recursive."""
    path = check_path(request["Path"])
    chosen = filters.for_by_path(request.get("ParameterFilters") or [])
    recursive = request.get("Recursive") or False
    limit = request.get("MaxResults") or _BY_PATH_PAGE
    query = ["GetParametersByPath", call.account_id, call.region, path, recursive, _identity(chosen)]
    after = _position(call, query, request.get("NextToken"), ["", ""])
    labels = next((each.values for each in chosen if each.key == "Label"), None)
    async with call.reading() as tx:
        await settings.check_page_size(call, tx, request.get("MaxResults"))
        reader = Reader(call, tx, decrypt=request.get("WithDecryption") or False)
        store = ParameterStore(tx, call.account_id, call.region)
        if labels is None:
            found, end = await _values(call, store, chosen, below(path, recursive=recursive), after[0], limit)
            shapes = [await reader.shape(value, value.name) for value in found]
            last = None if end is None else (end, "")
        else:
            walk = _LabelWalk(call.clock, store, reader, chosen, labels, path, recursive=recursive)
            walked, last = await walk.page((after[0], after[1]), limit)
            shapes = [await reader.shape(walk.values[each], walk.values[each].name, each.label) for each in walked]
    token = call.house.pages.token(query, [last[0], last[1]]) if last else None
    return {"Parameters": shapes, "NextToken": token}


async def _values(
    call: Call, store: ParameterStore, chosen: Sequence[Filter], hierarchy: Hierarchy, after: str, limit: int
) -> tuple[list[Value], str | None]:
    async def read(after: str, count: int) -> list[Value]:
        if f"{hierarchy.parent or hierarchy.prefix}/".startswith(PUBLIC):
            return await public.values_in(store.tx, call.region, hierarchy, after=after, count=count)
        return await store.values_in(hierarchy, after=after, count=count)

    async def fitting(batch: list[Value]) -> list[Value]:
        return [value for value in batch if filters.matches_value(chosen, value)]

    return await page(call.clock, read, fitting if chosen else None, lambda value: value.path, after, limit)


class _LabelWalk:
    """Walks the labelled versions below a path."""

    def __init__(
        self,
        clock: Clock,
        store: ParameterStore,
        reader: Reader,
        chosen: Sequence[Filter],
        labels: Sequence[str],
        path: str,
        *,
        recursive: bool,
    ) -> None:
        self._clock = clock
        self._store = store
        self._reader = reader
        self._chosen = chosen
        self._labels = [label for label in labels if is_label(label)]
        self._path = path
        self._recursive = recursive
        self.values: dict[Labelled, Value] = {}
        """The versions that the fitting labels sit on."""

    async def page(self, after: tuple[str, str], limit: int) -> tuple[list[Labelled], tuple[str, str] | None]:
        """The next fitting labels, and where the page after them starts."""
        return await page(self._clock, self.read, self.fitting, _label_position, after, limit)

    async def read(self, after: tuple[str, str], count: int) -> list[Labelled]:
        """The next labels."""
        prefix = f"{self._path}/" if self._path else ""
        return await self._store.labelled_below(prefix, self._labels, after=after, count=count)

    async def fitting(self, batch: list[Labelled]) -> list[Labelled]:
        """Those on the right level whose versions the other filters let through."""
        if not self._recursive:
            batch = [each for each in batch if parent(each.path) == self._path]
        newest = await self._store.newest_values({each.path for each in batch})
        found = []
        for each in batch:
            if each.path not in newest:
                continue  # deleted since the label was read
            value = await self._reader.version(newest[each.path], each.number)
            if value is not None and filters.matches_value(self._chosen, value):
                self.values[each] = value
                found.append(each)
        return found


def _label_position(labelled: Labelled) -> tuple[str, str]:
    return labelled.path, labelled.label


@operation("ssm", "DescribeParameters", relaxed={"MaxResults": settings.LARGEST_PAGE})
async def describe_parameters(call: Call, request: Shape) -> Shape:
    """What is known about parameters, but for their values."""
    chosen = _described(request)
    limit = request.get("MaxResults") or _DESCRIBE_PAGE
    query = ["DescribeParameters", call.account_id, call.region, _identity(chosen), request.get("Shared") or False]
    (after,) = _position(call, query, request.get("NextToken"), [""])
    if request.get("Shared"):
        return await _shared_in(call, chosen, query, after, limit)
    async with call.reading() as tx:
        await settings.check_page_size(call, tx, request.get("MaxResults"))
        found, end = await _descriptions(call, tx, chosen, after, limit)
    return {
        "Parameters": [_described_shape(call, version) for version in found],
        "NextToken": None if end is None else call.house.pages.token(query, [end]),
    }


async def _shared_in(call: Call, chosen: Sequence[Filter], query: list[Any], after: str, limit: int) -> Shape:
    """Other accounts' parameters that this one may describe, by ARN."""
    shapes: list[Shape] = []
    last = ""
    async with call.reading() as tx:
        async for owner, version in shared_in(call, tx, after):
            if not filters.matches(chosen, version, {}):
                continue
            if len(shapes) == limit:
                return {"Parameters": shapes, "NextToken": call.house.pages.token(query, [last])}
            shapes.append(_described_shape(owner, version))
            last = shapes[-1]["ARN"]
    return {"Parameters": shapes}


def _described(request: Shape) -> tuple[Filter, ...]:
    older, newer = request.get("Filters") or [], request.get("ParameterFilters") or []
    if older and newer:
        raise ValidationException("You can use either Filters or ParameterFilters in a single request.")
    return filters.legacy(older) if older else filters.for_describe(newer)


async def _descriptions(
    call: Call, tx: Transaction, chosen: Sequence[Filter], after: str, limit: int
) -> tuple[list[Version], str | None]:
    store = ParameterStore(tx, call.account_id, call.region)
    paths = filters.exact_paths(chosen)
    hierarchy = filters.narrowest(chosen)
    asks_tags = any(each.tag is not None for each in chosen)

    async def read(after: str, count: int) -> list[Version]:
        if paths is not None:
            return await store.about(paths, after=after, count=count)
        return await store.about_in(hierarchy, after=after, count=count)

    async def fitting(batch: list[Version]) -> list[Version]:
        tagged: dict[str, dict[str, str]] = {}
        if asks_tags and batch:
            ids = [version.path for version in batch]
            tagged = await tags.of_each(tx, call.account_id, call.region, TAGGED_AS, ids)
        return [version for version in batch if filters.matches(chosen, version, tagged.get(version.path, {}))]

    return await page(call.clock, read, fitting if chosen else None, lambda version: version.path, after, limit)


def _described_shape(call: Call, version: Version) -> Shape:
    return {
        **metadata_shape(version, version.name),
        "ARN": arn(call.account_id, call.region, version.path),
        "Policies": policies_shape(version.policies),  # also when empty, as recordings of the real service have it
    }


P = TypeVar("P")


async def page(
    clock: Clock,
    read: Callable[[P, int], Awaitable[list[T]]],
    fitting: Callable[[list[T]], Awaitable[list[T]]] | None,
    position: Callable[[T], P],
    after: P,
    limit: int,
) -> tuple[list[T], P | None]:
    """Up to `limit` rows that fit, and the position after which the next page starts (None: there is no next page).

    `read(after, count)` gives the next rows in order; `fitting` leaves those that fit (None: all do).
    """
    found: list[T] = []
    looked_at = 0
    while True:
        count = limit + 1 if fitting is None else _BATCH
        batch = await read(after, count)
        for row in batch if fitting is None else await fitting(batch):
            if len(found) == limit:
                return found, position(found[-1])
            found.append(row)
        if len(batch) < count:
            return found, None
        after = position(batch[-1])
        looked_at += len(batch)
        if looked_at >= _LOOKED_AT:
            return found, after
        await clock.sleep(0)  # a long search lets other requests pass between its batches


def _identity(chosen: Sequence[Filter]) -> list[Any]:
    return [[each.key, each.option, list(each.values)] for each in chosen]


def _position(call: Call, query: list[Any], token: str | None, beginning: list[str]) -> list[str]:
    if not token:
        return beginning
    try:
        return call.house.pages.position(query, token)
    except InvalidPageToken as error:
        raise InvalidNextToken from error
