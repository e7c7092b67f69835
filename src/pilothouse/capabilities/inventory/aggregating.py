"""Counts of nodes: by the values of attributes, one below the other, and of groups by filters.

A chain of attributes is counted along the first type in it that nodes send: its values come from the index, so many to
a page, and who has them is counted in the database, or looked at with what the other types say of those nodes.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Final

from pilothouse.call import Call, Shape
from pilothouse.capabilities import nodes
from pilothouse.capabilities.inventory import server_side
from pilothouse.capabilities.inventory.built_in import BUILT_IN
from pilothouse.capabilities.inventory.finding import Filters, Finder, read
from pilothouse.capabilities.inventory.index_store import IndexStore
from pilothouse.capabilities.inventory.model import (
    InvalidAggregatorException,
    InvalidFilter,
    InvalidInventoryGroupException,
    InvalidTypeNameException,
    check_type,
    is_indexed,
    unpacked,
)
from pilothouse.capabilities.inventory.paging import position
from pilothouse.capabilities.inventory.store import InventoryStore
from pilothouse.storage import Transaction

_PAGE: Final = 50
_VALUES: Final = 10
"""Values that are counted before others have their turn."""
_BATCH: Final = 1000

Attribute = tuple[str, str]
"""(type, attribute)."""
Line = tuple[tuple[str, ...], int]
"""(values along the chain, nodes)."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the aggregators ask for."""

    chains: list[tuple[Attribute, ...]]
    groups: list[tuple[str, Filters]]


async def aggregated(call: Call, request: Shape, filters: Filters) -> Shape:
    """The answer of GetInventory with aggregators."""
    asked = _read(request["Aggregators"])
    query = ["GetInventory", call.account_id, call.region, request.get("Filters") or [], request["Aggregators"]]
    number, after = position(call, query, request) or (0, None)
    limit = request.get("MaxResults") or _PAGE
    data: dict[str, Shape] = {}
    token = None
    async with call.reading() as tx:
        counter = _Counter(call, tx)
        among = await counter.finder.ids(filters)
        if number == 0 and after is None:
            data |= await counter.groups(asked.groups, among)
        for place, chain in enumerate(asked.chains[number:], number):
            lines, last = await counter.lines(chain, among, after if place == number else None, limit)
            type_name = chain[0][0]
            version = BUILT_IN[type_name].version if type_name in BUILT_IN else None
            shape = data.setdefault(type_name, {"TypeName": type_name, "SchemaVersion": version, "Content": []})
            shape["Content"] += [_row(chain, line) for line in lines]
            if last is not None:
                token = call.house.pages.token(query, [place, last])
                break
    return {"Entities": [{"Data": data}] if data else [], "NextToken": token}


def _row(chain: Sequence[Attribute], line: Line) -> dict[str, str]:
    values, many = line
    return {"Count": str(many)} | {name: value for (_, name), value in zip(chain, values, strict=True)}


def _read(aggregators: Sequence[Mapping[str, Any]]) -> _Asked:
    asked = _Asked([], [])
    for each in aggregators:
        asked.chains.extend(_chains(each, ()))
        for group in each.get("Groups") or ():
            try:
                asked.groups.append((group["Name"], read(group["Filters"], exists=True)))
            except InvalidFilter as error:
                raise InvalidInventoryGroupException(error.message) from error
        if not each.get("Groups") and not each.get("Expression"):
            raise InvalidAggregatorException("An aggregator needs an Expression or Groups.")
    names = [name for name, _ in asked.groups]
    if len(names) != len(set(names)):
        raise InvalidInventoryGroupException("Two groups have the same name.")
    return asked


def _chains(aggregator: Mapping[str, Any], before: tuple[Attribute, ...]) -> Iterator[tuple[Attribute, ...]]:
    expression = aggregator.get("Expression")
    if not expression:
        if before or aggregator.get("Aggregators"):
            raise InvalidAggregatorException("An aggregator that holds others, or is held, needs an Expression.")
        return
    if before and aggregator.get("Groups"):
        raise InvalidInventoryGroupException("Groups stand in no other aggregator.")
    chain = (*before, _attribute(expression))
    if len({name for _, name in chain}) != len(chain):
        raise InvalidAggregatorException(f"The attribute {chain[-1][1]} is named twice.")
    inner = aggregator.get("Aggregators") or ()
    if not inner:
        yield chain
    for each in inner:
        yield from _chains(each, chain)


def _attribute(expression: str) -> Attribute:
    type_name, dot, attribute = expression.rpartition(".")
    if not dot or not attribute:
        raise InvalidAggregatorException(
            f"An expression is a type and an attribute, such as AWS:Application.Name: {expression}."
        )
    try:
        check_type(type_name)
    except InvalidTypeNameException as error:
        raise InvalidAggregatorException(error.message) from error
    if server_side.is_served(type_name) and attribute not in BUILT_IN[type_name].attributes:
        raise InvalidAggregatorException(f"There is no attribute {attribute} of {type_name}.")
    if not is_indexed(type_name, attribute):
        raise InvalidAggregatorException(f"Nodes cannot be counted by {expression}.")
    return type_name, attribute


class _Counter:
    """Counts nodes of the call's account and region."""

    def __init__(self, call: Call, tx: Transaction) -> None:
        self._call = call
        self._tx = tx
        self._store = InventoryStore(tx, call.account_id, call.region)
        self.finder = Finder(call.house, tx, call.account_id, call.region)

    async def groups(self, groups: Sequence[tuple[str, Filters]], among: set[str] | None) -> dict[str, Shape]:
        """How many nodes each group has, and how many not."""
        if not groups:
            return {}
        everybody = await self._everybody(among)
        found: dict[str, Shape] = {}
        for name, filters in groups:
            fitting = await self.finder.ids(filters)
            many = len(everybody if fitting is None else everybody & fitting)
            content = [{"notMatchingCount": str(len(everybody) - many)}, {"matchingCount": str(many)}]
            found[name] = {"Content": content}
        return found

    async def _everybody(self, among: set[str] | None) -> set[str]:
        return await nodes.ids_described(self._tx, self.finder.scope, []) if among is None else among

    async def lines(
        self, chain: Sequence[Attribute], among: set[str] | None, after: str | None, limit: int
    ) -> tuple[list[Line], str | None]:
        """Lines by their values, and after what the next page goes on (None: nothing is left)."""
        driver = next((each for each in chain if not server_side.is_served(each[0])), None)
        if driver is None:
            return _cut(await self._served(chain, await self._everybody(among)), after, limit)
        kind = await self._store.kind(driver[0])
        if kind is None:
            return [], None
        index = IndexStore(self._tx, kind.kind_id, driver[0])
        values = await index.values_after(driver[1], after, limit + 1)
        lines: list[Line] = []
        for start in range(0, len(values[:limit]), _VALUES):
            some = values[start : min(start + _VALUES, limit)]
            if len(chain) == 1 and among is None:
                lines += [((value,), many) for value, many in await index.nodes_by_value(driver[1], some)]
            else:
                lines += await self._sent(chain, driver, index, some, among)
            await self._call.clock.sleep(0)
        return lines, values[limit - 1] if values[limit:] else None

    async def _served(self, chain: Sequence[Attribute], node_ids: set[str]) -> list[Line]:
        counts: dict[tuple[str, ...], int] = defaultdict(int)
        for node_id, values in (await self._others(chain, node_ids)).items():
            if node_id in node_ids:
                for each in values:
                    counts[each] += 1
        return sorted(counts.items())

    async def _others(self, chain: Sequence[Attribute], node_ids: set[str]) -> Mapping[str, set[tuple[str, ...]]]:
        """By node the combinations of values of a chain of attributes; those of one type stand in one entry."""
        types = list(dict.fromkeys(type_name for type_name, _ in chain))
        found: dict[str, list[dict[Attribute, str]]] = {node_id: [{}] for node_id in node_ids}
        for type_name in types:
            names = [name for kind, name in chain if kind == type_name]
            entries = await self._entries(type_name, sorted(found))
            found = {
                node_id: [
                    known | {(type_name, name): entry[name] for name in names}
                    for known, entry in product(combinations, entries.get(node_id, ()))
                    if all(name in entry for name in names)
                ]
                for node_id, combinations in found.items()
            }
        return {
            node_id: {tuple(each[attribute] for attribute in chain) for each in combinations}
            for node_id, combinations in found.items()
            if combinations
        }

    async def _entries(self, type_name: str, node_ids: Sequence[str]) -> dict[str, list[dict[str, str]]]:
        if server_side.is_served(type_name):
            captured = await server_side.entries_of(self._tx, self.finder.scope, type_name, node_ids)
            return {node_id: entries for node_id, (_, entries) in captured.items()}
        kind = await self._store.kind(type_name)
        found = {} if kind is None else await self._store.items(kind.kind_id, node_ids)
        return {node_id: unpacked(item.content) for node_id, item in found.items()}

    async def _sent(
        self,
        chain: Sequence[Attribute],
        driver: Attribute,
        index: IndexStore,
        values: Sequence[str],
        among: set[str] | None,
    ) -> list[Line]:
        """Lines of some values of the attribute that drives."""
        own = [name for type_name, name in chain if type_name == driver[0]]
        rest = [each for each in chain if each[0] != driver[0]]
        holders: dict[tuple[str, ...], set[str]] = defaultdict(set)
        entries: dict[int, tuple[str, ...]] = {}
        after = 0
        while True:
            batch = await index.entries_with(driver[1], "Equal", values, after, _BATCH)
            for entry_id, entry in batch:
                if all(name in entry for name in own):
                    entries[entry_id] = tuple(entry[name] for name in own)
            if len(batch) < _BATCH:
                break
            after = batch[-1][0]
        ids = list(entries)
        for start in range(0, len(ids), _BATCH // 10):
            for entry_id, node_id, _ in await index.holdings(ids[start : start + _BATCH // 10]):
                if among is None or node_id in among:
                    holders[entries[entry_id]].add(node_id)
            await self._call.clock.sleep(0)
        if not rest:
            return sorted((values, len(node_ids)) for values, node_ids in holders.items())
        others = await self._others(rest, set().union(*holders.values()))
        counts: dict[tuple[str, ...], int] = defaultdict(int)
        for own_values, node_ids in holders.items():
            for node_id in node_ids:
                for other in others.get(node_id, ()):
                    known = dict(zip([(driver[0], name) for name in own], own_values, strict=True))
                    known |= dict(zip(rest, other, strict=True))
                    counts[tuple(known[attribute] for attribute in chain)] += 1
        return sorted(counts.items())


def _cut(lines: list[Line], after: str | None, limit: int) -> tuple[list[Line], str | None]:
    """A page of lines that are all known."""
    start = 0 if after is None else int(after)
    page = lines[start : start + limit]
    return page, str(start + limit) if lines[start + limit :] else None
