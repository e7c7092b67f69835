"""Tags: keys and values on resources of every capability.

Owns the table resource_tag. Does not know the resources: their owners announce how to find one (`taggable` in their
`CAPABILITY`), call `put` when one is created with tags, and `remove_all` when it goes. Groups find them by `Tagged`.
`tags.changed` tells of what users change later (facts: account_id, region, resource_type, resource_id).
"""

from collections.abc import Collection, Mapping

from pilothouse.call import Capability
from pilothouse.capabilities.tags import operations
from pilothouse.capabilities.tags.finding import Tagged
from pilothouse.capabilities.tags.model import InvalidResourceId, TooManyTagsError, by_key, check_count
from pilothouse.capabilities.tags.store import TagStore, with_all
from pilothouse.storage import Transaction

__all__ = [
    "CAPABILITY",
    "InvalidResourceId",
    "Tagged",
    "TooManyTagsError",
    "by_key",
    "ids_with",
    "of",
    "of_each",
    "put",
    "remove",
    "remove_all",
    "with_all",
]


async def put(
    tx: Transaction, account_id: str, region: str, resource_type: str, resource_id: str, tags: Mapping[str, str]
) -> None:
    """Add tags (from `by_key`); one with the same key is overwritten. Raises TooManyTagsError."""
    if not tags:
        return
    store = TagStore(tx, account_id, region)
    await store.lock(resource_type, resource_id)
    check_count(resource_type, len((await store.of(resource_type, resource_id)) | dict(tags)))
    await store.put(resource_type, resource_id, tags)


async def of(tx: Transaction, account_id: str, region: str, resource_type: str, resource_id: str) -> dict[str, str]:
    """Every tag of the resource, by key."""
    return await TagStore(tx, account_id, region).of(resource_type, resource_id)


async def of_each(
    tx: Transaction, account_id: str, region: str, resource_type: str, resource_ids: Collection[str]
) -> dict[str, dict[str, str]]:
    """Tags of several resources in one question; a resource without tags has no entry."""
    return await TagStore(tx, account_id, region).of_each(resource_type, resource_ids)


async def remove(
    tx: Transaction, account_id: str, region: str, resource_type: str, resource_id: str, keys: Collection[str]
) -> None:
    """Remove tags by their keys; one that is not there is no error."""
    store = TagStore(tx, account_id, region)
    await store.lock(resource_type, resource_id)
    await store.remove(resource_type, resource_id, keys)


async def remove_all(tx: Transaction, account_id: str, region: str, resource_type: str, resource_id: str) -> None:
    """Remove every tag of a resource that goes. Waits for those who are adding some."""
    store = TagStore(tx, account_id, region)
    await store.lock(resource_type, resource_id)
    await store.remove_all(resource_type, resource_id)


async def ids_with(
    tx: Transaction, account_id: str, region: str, resource_type: str, key: str, values: Collection[str] | None
) -> set[str]:
    """Ids of the resources that have the tag key: with one of the values, or with any value if `values` is None."""
    return await TagStore(tx, account_id, region).ids_with(resource_type, key, values)


CAPABILITY = Capability.of("tags", operations)
