"""Public parameters: `/aws/service/...`, loaded by the operator, read by every account and node, written by none.

They lie among the others under an owner that no account can have, for one region or for every region; the region's own
come first.
"""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from pilothouse.capabilities.parameters.model import Value, Version
from pilothouse.capabilities.parameters.names import PUBLIC, Hierarchy
from pilothouse.capabilities.parameters.store import ParameterStore
from pilothouse.storage import Transaction

OWNER: Final = "public"
EVERYWHERE: Final = "every-region"


class PublicParameter(NamedTuple):
    """One entry to load. `name` begins with `/aws/service/`."""

    name: str
    value: str
    kind: str = "String"
    data_type: str = "text"
    description: str | None = None


async def store_for(tx: Transaction, account_id: str, region: str, path: str) -> ParameterStore:
    """Where the parameter of a path lies for an account."""
    if not path.startswith(PUBLIC):
        return ParameterStore(tx, account_id, region)
    own = ParameterStore(tx, OWNER, region)
    return own if await own.newest_value(path) is not None else ParameterStore(tx, OWNER, EVERYWHERE)


async def values_in(tx: Transaction, region: str, hierarchy: Hierarchy, *, after: str, count: int) -> list[Value]:
    """The values of a hierarchy in the order of their paths, as a region sees them."""
    merged: dict[str, Value] = {}
    for place in (EVERYWHERE, region):
        found = await ParameterStore(tx, OWNER, place).values_in(hierarchy, after=after, count=count)
        merged.update((value.path, value) for value in found)
    return [merged[path] for path in sorted(merged)][:count]


async def load(tx: Transaction, region: str | None, entries: Iterable[PublicParameter], *, at: int, by: str) -> int:
    """Make or replace public parameters, of one region or of every one; how many of them are new or changed.

    A parameter whose value changes gets its next version; the older ones are not kept.
    """
    store = ParameterStore(tx, OWNER, region or EVERYWHERE)
    await _lock(tx)
    changed = 0
    for entry in entries:
        path = entry.name.removeprefix("/")
        previous = await store.newest(path)
        if previous is not None and _same(previous, entry):
            continue
        version = _version(entry, path, 1 if previous is None else previous.number + 1, at=at, by=by)
        if previous is None:
            await store.add(version)
        else:
            await store.replace(version, previous=previous, drop=previous.number)
        changed += 1
    return changed


async def remove(tx: Transaction, region: str | None, name: str) -> int:
    """Remove the public parameter of that name and every one below it; how many there were."""
    store = ParameterStore(tx, OWNER, region or EVERYWHERE)
    await _lock(tx)
    path = name.strip("/")
    below = await store.about_in(Hierarchy(prefix=f"{path}/"), after="", count=1_000_000)
    return sum([await store.delete(each) for each in [path, *(version.path for version in below)]])


async def listed(tx: Transaction, region: str | None) -> Sequence[Value]:
    """Every public parameter of a region, or those of every region."""
    return await ParameterStore(tx, OWNER, region or EVERYWHERE).values_in(Hierarchy(), after="", count=1_000_000)


async def _lock(tx: Transaction) -> None:
    """One change at a time: a lock for each of many thousand names would be more than a database has room for."""
    await tx.lock("public parameters")


def _same(version: Version, entry: PublicParameter) -> bool:
    there = (version.value, version.kind, version.data_type, version.description)
    return there == (entry.value, entry.kind, entry.data_type, entry.description)


def _version(entry: PublicParameter, path: str, number: int, *, at: int, by: str) -> Version:
    return Version(
        path=path,
        name=f"/{path}",
        number=number,
        kind=entry.kind,
        key_ref=None,
        data_type=entry.data_type,
        tier="Standard",
        description=entry.description,
        allowed_pattern=None,
        policies=(),
        modified_at=at,
        modified_by=by,
        value=entry.value,
    )
