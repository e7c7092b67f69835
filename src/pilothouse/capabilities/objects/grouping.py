"""Buckets as groups find them. An account has few, so they are looked through."""

from collections.abc import Sequence
from typing import Final

from pilothouse.capabilities.objects.store import BucketStore
from pilothouse.grouping import Resource, TagFilter
from pilothouse.storage import Transaction

_AT_ONCE: Final = 200


class Buckets:
    """See `grouping.Groupable`."""

    async def tagged(
        self,
        tx: Transaction,
        account_id: str,
        region: str,
        filters: Sequence[TagFilter],
        *,
        after: str = "",
        limit: int | None = None,
    ) -> list[Resource]:
        found: list[Resource] = []
        while limit is None or len(found) < limit:
            page = await BucketStore(tx).of_account(
                account_id, after=after, prefix="", end=None, region=region, count=_AT_ONCE
            )
            found += [Resource(each.name, each.arn) for each in page if all(tag.fits(each.tags) for tag in filters)]
            if len(page) < _AT_ONCE:
                break
            after = page[-1].name
        return found[:limit]

    async def find(self, tx: Transaction, account_id: str, region: str, arn: str) -> Resource | None:
        bucket = await BucketStore(tx).find(arn.removeprefix("arn:aws:s3:::"))
        if bucket is None or (bucket.arn, bucket.account_id, bucket.region) != (arn, account_id, region):
            return None
        return Resource(bucket.name, bucket.arn)
