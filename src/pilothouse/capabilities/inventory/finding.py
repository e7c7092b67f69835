"""From filters to nodes.

Filters are ANDed; those on one type must hold for one entry of it. An entry that many nodes have is looked at once:
first the index gives the entries that may fit, then it says who has them. Long searches let others have their turn.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pilothouse.call import House
from pilothouse.capabilities import nodes
from pilothouse.capabilities.inventory import server_side
from pilothouse.capabilities.inventory.built_in import BUILT_IN
from pilothouse.capabilities.inventory.index_store import IndexStore
from pilothouse.capabilities.inventory.model import (
    Entry,
    InvalidFilter,
    InvalidTypeNameException,
    check_type,
    is_indexed,
    moment_of,
)
from pilothouse.capabilities.inventory.store import InventoryStore
from pilothouse.storage import Transaction

_ENTRIES: Final = 1000
_FIRST: Final = 8
_MOST: Final = 400
"""Entries whose holders are asked for at once: few at first, for a common one may name every node."""


@dataclass(slots=True)
class Filters:
    """What nodes must have."""

    wanted: dict[str, list[nodes.Wanted]] = field(default_factory=dict)
    """Type to what an entry of it must be."""
    exist: list[tuple[str, ...]] = field(default_factory=list)
    """Types of which a node must have one, for each."""

    def __bool__(self) -> bool:
        return bool(self.wanted or self.exist)


def read(given: Sequence[Mapping[str, Any]], *, exists: bool) -> Filters:
    """The filters of a request. `exists`: whether they may ask for a type as such. Raises InvalidFilter."""
    filters = Filters()
    for each in given:
        key, values, how = each["Key"], tuple(each["Values"]), each.get("Type") or "Equal"
        if how == "Exists":
            if not exists:
                raise InvalidFilter("The filter Exists must be used with aggregators.")
            filters.exist.append(tuple(_type(name) for name in (values if key == "TypeName" else (key,))))
            continue
        type_name, dot, attribute = key.rpartition(".")
        if not dot or not attribute:
            raise InvalidFilter(f"The key of a filter is a type and an attribute, such as AWS:Application.Name: {key}.")
        filters.wanted.setdefault(_type(type_name), []).append(wanted(type_name, attribute, how, values))
    return filters


def wanted(type_name: str, attribute: str, how: str, values: tuple[str, ...]) -> nodes.Wanted:
    """What is asked of an attribute. Raises InvalidFilter for one that the type cannot have."""
    if type_name in (server_side.INFORMATION, server_side.TAG) and attribute not in BUILT_IN[type_name].attributes:
        raise InvalidFilter(f"There is no attribute {attribute} of {type_name}.")
    return nodes.Wanted(attribute, how, values)


def _type(name: str) -> str:
    try:
        check_type(name)
    except InvalidTypeNameException as error:
        raise InvalidFilter(error.message) from error
    return name


class Finder:
    """Looks for nodes of one account and region."""

    def __init__(self, house: House, tx: Transaction, account_id: str, region: str) -> None:
        self._house = house
        self._tx = tx
        self._store = InventoryStore(tx, account_id, region)
        self.scope = server_side.scope_of(house, account_id, region)

    async def ids(self, filters: Filters) -> set[str] | None:
        """Ids of those that fit; None for all, if nothing is asked."""
        found: set[str] | None = None
        for type_name, wanted in filters.wanted.items():
            fitting = await self.of_type(type_name, wanted)
            found = fitting if found is None else found & fitting
            if not found:
                return set()
        for some in filters.exist:
            having = set().union(*[await self.having(type_name) for type_name in some])
            found = having if found is None else found & having
        return found

    async def having(self, type_name: str) -> set[str]:
        """Ids of the nodes that have entries of the type."""
        if server_side.is_served(type_name):
            return await server_side.ids_fitting(self._tx, self.scope, type_name, [])
        kind = await self._store.kind(type_name)
        return set() if kind is None else await self._store.nodes_with(kind.kind_id)

    async def of_type(self, type_name: str, wanted: Sequence[nodes.Wanted]) -> set[str]:
        """Ids of the nodes with an entry of the type that is all that is wanted."""
        if server_side.is_served(type_name):
            return await server_side.ids_fitting(self._tx, self.scope, type_name, wanted)
        kind = await self._store.kind(type_name)
        if kind is None:
            return set()
        everybody = await self._store.nodes_with(kind.kind_id)
        moment = moment_of(type_name)
        by_moment = [each for each in wanted if each.attribute == moment]
        index = IndexStore(self._tx, kind.kind_id, type_name)
        found: set[str] = set()
        at_once = _FIRST
        waiting: dict[int, str | None] = {}
        async for entry_id, entry in self.entries(index, type_name, wanted):
            waiting[entry_id] = None if moment is None else entry.get(moment)
            if len(waiting) >= at_once:
                found |= await self._holders(index, waiting, by_moment)
                waiting, at_once = {}, min(at_once * 2, _MOST)
                if found >= everybody:
                    return found
        return found | await self._holders(index, waiting, by_moment)

    async def entries(
        self, index: IndexStore, type_name: str, wanted: Sequence[nodes.Wanted]
    ) -> AsyncIterator[tuple[int, Entry]]:
        """Distinct entries that are all that is wanted, but for the moment that is each node's own."""
        moment = moment_of(type_name)
        shared = [each for each in wanted if each.attribute != moment]
        first = next(
            (
                each
                for how in ("Equal", "BeginWith")
                for each in shared
                if each.how == how and is_indexed(type_name, each.attribute)
            ),
            None,
        )
        after = 0
        while True:
            if first is None:
                batch = await index.entries_after(after, _ENTRIES)
            else:
                batch = await index.entries_with(first.attribute, first.how, first.values, after, _ENTRIES)
            for entry_id, entry in batch:
                if server_side.fits(entry, shared):
                    yield entry_id, entry
            if len(batch) < _ENTRIES:
                return
            after = batch[-1][0]
            await self._house.clock.sleep(0)  # others have their turn

    async def _holders(
        self, index: IndexStore, entries: Mapping[int, str | None], by_moment: Sequence[nodes.Wanted]
    ) -> set[str]:
        """Who has one of the entries. `entries`: id to the moment that stands in the entry itself."""
        if not entries:
            return set()
        await self._house.clock.sleep(0)
        if not by_moment:
            return await index.holders(list(entries))
        return {
            node_id
            for entry_id, node_id, moment in await index.holdings(list(entries))
            if all(each.fits(moment or entries[entry_id]) for each in by_moment)
        }


async def sought(house: House, tx: Transaction, facts: Mapping[str, Any]) -> None:
    """The event `nodes.sought`: whoever filters by inventory asks which nodes fit."""
    finder = Finder(house, tx, facts["account_id"], facts["region"])
    for type_name, wanted in facts["wanted"].items():
        facts["found"].append(await finder.of_type(_type(type_name), wanted))
