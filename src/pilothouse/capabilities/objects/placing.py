"""Putting an object in its place, and taking it away, in the transaction of the caller."""

from datetime import timedelta
from typing import Final

from pilothouse.call import Call, House
from pilothouse.capabilities.objects.errors import NoSuchBucket, NoSuchKey
from pilothouse.capabilities.objects.model import Bucket, Conditions, Object, Piece, place_of
from pilothouse.capabilities.objects.store import BucketStore, ObjectStore
from pilothouse.storage import Transaction

GRACE: Final = timedelta(hours=1)
"""How long the blobs of a content that went are kept for those who are reading it."""


def garbage_due(now: int) -> int:
    """When blobs that go now are removed."""
    return now + int(GRACE.total_seconds() * 1000)


async def locked_bucket(tx: Transaction, name: str, *keys: str) -> Bucket:
    """The bucket as it is now; nobody writes to the keys, or removes it, before the transaction ends.

    Raises NoSuchBucket.
    """
    store = BucketStore(tx)
    await store.lock_keys(name, keys)
    bucket = await store.find(name)
    if bucket is None:
        raise NoSuchBucket(name)
    return bucket


async def check_place(tx: Transaction, bucket: Bucket, key: str, conditions: Conditions) -> Object | None:
    """What is at the key, if an object may be put there. Raises PreconditionFailed, NoSuchKey."""
    former = await ObjectStore(tx, bucket).find(key)
    if not conditions.check_write(None if former is None else former.etag):
        raise NoSuchKey(key)
    return former


async def put(
    tx: Transaction,
    bucket: Bucket,
    found: Object,
    pieces: list[Piece],
    conditions: Conditions = Conditions(),  # noqa: B008 - a frozen value
) -> None:
    """Put an object with its pieces; `bucket` is from `locked_bucket`. Raises PreconditionFailed, NoSuchKey."""
    store = ObjectStore(tx, bucket)
    former = await check_place(tx, bucket, found.key, conditions)
    if former is not None:
        await store.remove_pieces(former.version, garbage_due(found.modified_at))
    await store.put(found)
    if pieces:
        await store.add_pieces(place_of(bucket.account_id, bucket.name, found.key), pieces, found.modified_at)


async def take_away(tx: Transaction, bucket: Bucket, found: Object, now: int) -> None:
    """Remove an object that is there; the caller holds its key."""
    store = ObjectStore(tx, bucket)
    await store.remove(found.key)
    await store.remove_pieces(found.version, garbage_due(now))


def new_version(house: House | Call) -> str:
    """An id for a content."""
    return house.ids.uuid().replace("-", "")
