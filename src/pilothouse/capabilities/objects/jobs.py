"""Background work: what lifecycle rules end, blobs that nobody needs any more, and blobs that nobody ever named."""

from datetime import timedelta
from typing import Final

from pilothouse.call import House, job
from pilothouse.capabilities.objects.errors import NoSuchBucket
from pilothouse.capabilities.objects.model import Bucket, Object, Rule, ends_at
from pilothouse.capabilities.objects.placing import locked_bucket, take_away
from pilothouse.capabilities.objects.store import BucketStore, ObjectStore, PieceStore
from pilothouse.capabilities.objects.uploads import abort
from pilothouse.storage.blobs import FOLDERS

_BATCH: Final = 200
_BATCHES: Final = 20
_DAY_MS: Final = 86_400_000
_LEFT_OVER: Final = timedelta(days=1)
"""A blob older than this that no row names is left over: no request takes so long."""
_SWEEP: Final = timedelta(minutes=10)


@job("objects.expire", every=timedelta(minutes=10))
async def expire(house: House) -> None:
    """End what the rules of the buckets say, a batch of each bucket."""
    after = ""
    while True:
        async with house.database.reading() as tx:
            buckets = await BucketStore(tx).with_rules(after, _BATCH)
        if not buckets:
            return
        for bucket in buckets:
            rules = [rule for rule in bucket.lifecycle if rule.enabled]
            await _expire_objects(house, bucket, rules)
            await _abort_uploads(house, bucket, rules)
        after = buckets[-1].name


async def _expire_objects(house: House, bucket: Bucket, rules: list[Rule]) -> None:
    days = [rule.days for rule in rules if rule.days is not None]
    if not days:
        return
    now = house.clock.millis()
    place = (0, "")
    for _ in range(_BATCHES):
        async with house.database.reading() as tx:
            older = await ObjectStore(tx, bucket).older(now - min(days) * _DAY_MS, place, _BATCH)
        if not older:
            return
        place = (older[-1].modified_at, older[-1].key)
        due = [found for found in older if _is_due(found, rules, now)]
        if due:
            await _remove(house, bucket.name, due, now)


def _is_due(found: Object, rules: list[Rule], now: int) -> bool:
    return any(
        rule.days is not None and rule.fits(found) and ends_at(found.modified_at, rule.days) <= now for rule in rules
    )


async def _remove(house: House, name: str, due: list[Object], now: int) -> None:
    """Remove those that are still what they were when their age was looked at."""
    async with house.database.transaction() as tx:
        try:
            bucket = await locked_bucket(tx, name, *(found.key for found in due))
        except NoSuchBucket:
            return
        store = ObjectStore(tx, bucket)
        for found in due:
            there = await store.find(found.key)
            if there is not None and there.version == found.version:
                await take_away(tx, bucket, there, now)


async def _abort_uploads(house: House, bucket: Bucket, rules: list[Rule]) -> None:
    now = house.clock.millis()
    for rule in rules:
        if rule.abort_days is None:
            continue
        async with house.database.reading() as tx:
            uploads = await ObjectStore(tx, bucket).uploads_before(now - rule.abort_days * _DAY_MS, _BATCH)
        due = [
            upload
            for upload in uploads
            if upload.key.startswith(rule.prefix) and ends_at(upload.initiated_at, rule.abort_days) <= now
        ]
        if not due:
            continue
        async with house.database.transaction() as tx:
            try:
                held = await locked_bucket(tx, bucket.name, *(upload.key for upload in due))
            except NoSuchBucket:
                return
            for upload in due:
                await abort(tx, held, upload, now)


@job("objects.remove_blobs", every=timedelta(minutes=1))
async def remove_blobs(house: House) -> None:
    """Remove the blobs of contents that went long enough ago."""
    for _ in range(_BATCHES):
        async with house.database.reading() as tx:
            blobs = await PieceStore(tx).garbage(house.clock.millis(), _BATCH)
        if not blobs:
            return
        await house.blobs.delete(blobs)
        async with house.database.transaction() as tx:
            await PieceStore(tx).forget(blobs)


@job("objects.sweep", every=_SWEEP)
async def sweep(house: House) -> None:
    """Remove blobs of one folder that no row names: of requests that ended before their row was written."""
    now = house.clock.millis()
    turn = now // int(_SWEEP.total_seconds() * 1000)
    folder = FOLDERS[turn % len(FOLDERS)]
    older = await house.blobs.written_before(folder, now - int(_LEFT_OVER.total_seconds() * 1000))
    for start in range(0, len(older), _BATCH):
        some = older[start : start + _BATCH]
        async with house.database.reading() as tx:
            named = await PieceStore(tx).named(some)
        await house.blobs.delete([blob for blob in some if blob not in named])
