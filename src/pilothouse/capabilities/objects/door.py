"""How other capabilities put, read and remove objects of an account, and make URLs that open one for a while.

A content is kept before the transaction and placed in it, since a transaction waits for nothing but itself:

    kept = await objects.keep(house, account_id, "outputs", "a/stdout", pieces, content_type="text/plain")
    async with house.database.transaction() as tx:
        await objects.place(tx, kept)
"""

import hashlib
import hmac
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote

from pilothouse.call import Call, House
from pilothouse.capabilities.objects import contents, rights
from pilothouse.capabilities.objects.errors import BucketAlreadyExists, NoSuchBucket, NoSuchKey
from pilothouse.capabilities.objects.model import (
    DEFAULT_TYPE,
    INBOX,
    Bucket,
    Checksum,
    Object,
    Piece,
    Rule,
    check_key,
    place_of,
)
from pilothouse.capabilities.objects.operations import existing_tags, opened, seen
from pilothouse.capabilities.objects.placing import locked_bucket, new_version, put, take_away
from pilothouse.capabilities.objects.store import BucketStore, ObjectStore
from pilothouse.crypto.checksums import DEFAULT, Digests
from pilothouse.identity.policy_patterns import Value
from pilothouse.storage import Transaction

_ALGORITHM: Final = "AWS4-HMAC-SHA256"
_BATCH: Final = 200


@dataclass(frozen=True, slots=True)
class Kept:
    """A content that is durable, and belongs to nobody until it is placed."""

    bucket: Bucket
    found: Object = field(repr=False)
    piece: Piece = field(repr=False)

    @property
    def size(self) -> int:
        return self.found.size


@dataclass(frozen=True, slots=True)
class Opened:
    """An object that is being read."""

    size: int
    etag: str
    content_type: str
    whole: int
    """The size of all of the object."""
    pieces: AsyncIterator[bytes] = field(repr=False)
    """Raises SealBroken, BlobMissing, StorageUnavailable."""


async def ensure_bucket(house: House, tx: Transaction, account_id: str, region: str, name: str) -> None:
    """Make the account's bucket if it is not there. Raises BucketAlreadyExists if it is another account's."""
    store = BucketStore(tx)
    await store.lock(name)
    found = await store.find(name)
    if found is None:
        made = Bucket(name=name, account_id=account_id, region=region, created_at=house.clock.millis())
        await store.add(made)
    elif found.account_id != account_id:
        raise BucketAlreadyExists(name)


async def ensure_inbox(house: House, tx: Transaction, account_id: str, region: str) -> str:
    """The name of the account's inbox, which is there then: where nodes put what the hearers of `inbox.entered` let in.

    What it holds is read, and removed, by this face alone.
    """
    name = inbox_of(account_id)
    store = BucketStore(tx)
    if await store.find(name) is None:
        await store.lock(name)
        if await store.find(name) is None:
            rule = Rule(identifier="unfinished", prefix="", enabled=True, abort_days=1)
            now = house.clock.millis()
            await store.add(Bucket(name=name, account_id=account_id, region=region, created_at=now, lifecycle=(rule,)))
    return name


def inbox_of(account_id: str) -> str:
    """The name of an account's inbox, be it there or not."""
    return f"{INBOX}{account_id}"


async def empty_inbox(house: House, account_id: str, folder: str) -> None:
    """Remove what nodes have put into a folder of the account's inbox."""
    name = inbox_of(account_id)
    while True:
        async with house.database.reading() as tx:
            its = await BucketStore(tx).find(name)
            there = [] if its is None else await ObjectStore(tx, its).page(f"{folder}/", True, f"{folder}0", _BATCH)
        if not there:
            return
        async with house.database.transaction() as tx:
            its = await locked_bucket(tx, name, *(each.key for each in there))
            for each in there:
                found = await ObjectStore(tx, its).find(each.key)
                if found is not None:
                    await take_away(tx, its, found, house.clock.millis())


async def got(call: Call, tx: Transaction, bucket: str, key: str) -> Opened:
    """An object as the caller gets it. Raises NoSuchBucket, NoSuchKey, AccessDeniedException."""
    its, found = await seen(call, tx, {"Bucket": bucket, "Key": key})
    return await open_object(call.house, tx, its.account_id, its.name, found.key)


async def readable(call: Call, tx: Transaction, account_id: str, bucket: str, key: str) -> bool:
    """Whether there is such an object of the account, and the caller may get it."""
    its = await BucketStore(tx).find(bucket)
    if its is None or its.account_id != account_id:
        return False
    found = await ObjectStore(tx, its).find(key)
    return found is not None and rights.may(call, its, "s3:GetObject", key=key, context=existing_tags(found))


async def _own(tx: Transaction, account_id: str, name: str) -> Bucket:
    found = await BucketStore(tx).find(name)
    if found is None or found.account_id != account_id:
        raise NoSuchBucket(name)
    return found


async def may_be_filled(
    call: Call, tx: Transaction, bucket: str, key: str, service: str, context: Mapping[str, Value]
) -> bool:
    """Whether the caller may put such an object into the bucket of the account, or its policy lets the service.

    `context`: the condition keys that the service's requests have. Raises NoSuchBucket.
    """
    its = await _own(tx, call.account_id, bucket)
    return rights.may(call, its, "s3:PutObject", key=key) or rights.lets_service(
        its, service, "s3:PutObject", key, context
    )


async def may_not_be_filled(
    tx: Transaction, account_id: str, bucket: str, key: str, service: str, context: Mapping[str, Value]
) -> bool:
    """Whether the policy of the account's bucket denies the service such an object. Raises NoSuchBucket."""
    return rights.denies_service(await _own(tx, account_id, bucket), service, "s3:PutObject", key, context)


async def keep(
    house: House,
    account_id: str,
    bucket: str,
    key: str,
    pieces: AsyncIterator[bytes],
    *,
    content_type: str = DEFAULT_TYPE,
) -> Kept:
    """Take a content in. What `pieces` raises is raised. Raises NoSuchBucket, KeyTooLongError."""
    check_key(key)
    async with house.database.reading() as tx:
        its = await _own(tx, account_id, bucket)
    digests = Digests(DEFAULT)

    async def seen() -> AsyncIterator[bytes]:
        async for piece in pieces:
            digests.update(piece)
            yield piece

    place = place_of(its.account_id, its.name, key)
    piece = await contents.keep(house, place, new_version(house), 1, seen(), digests)
    found = Object(
        key=key,
        version=piece.version,
        size=piece.size,
        etag=piece.md5,
        modified_at=house.clock.millis(),
        headers={"ContentType": content_type},
        checksum=Checksum(DEFAULT, digests.value(DEFAULT), "FULL_OBJECT"),
    )
    return Kept(its, found, piece)


async def place(tx: Transaction, kept: Kept) -> None:
    """Make a kept content the object of its key. Raises NoSuchBucket."""
    bucket = await locked_bucket(tx, kept.bucket.name, kept.found.key)
    if bucket.account_id != kept.bucket.account_id:  # another's by now, of the same name
        raise NoSuchBucket(bucket.name)
    await put(tx, bucket, kept.found, [kept.piece])


async def open_object(
    house: House, tx: Transaction, account_id: str, bucket: str, key: str, *, start: int = 0, end: int | None = None
) -> Opened:
    """An object of the account, from byte `start` to before `end`. Raises NoSuchBucket, NoSuchKey."""
    its = await _own(tx, account_id, bucket)
    found = await ObjectStore(tx, its).find(key)
    if found is None:
        raise NoSuchKey(key)
    found, pieces = await opened(tx, its, found)
    end = found.size if end is None else min(end, found.size)
    content = contents.read(house, place_of(its.account_id, its.name, key), pieces, start, end)
    return Opened(max(0, end - start), found.etag, found.headers.get("ContentType", DEFAULT_TYPE), found.size, content)


async def delete(house: House, tx: Transaction, account_id: str, bucket: str, key: str) -> None:
    """Remove an object, if it is there. Raises NoSuchBucket."""
    its = await locked_bucket(tx, bucket, key)
    if its.account_id != account_id:
        raise NoSuchBucket(bucket)
    found = await ObjectStore(tx, its).find(key)
    if found is not None:
        await take_away(tx, its, found, house.clock.millis())


def presigned(
    base: str, access_key_id: str, secret: str, region: str, bucket: str, key: str, *, now: datetime, seconds: int
) -> str:
    """A URL that lets whoever has it get the object for some seconds, with the rights of the access key.

    `base` is how the server is reached, such as `https://pilothouse.example.com:7743`.
    """
    stamp = now.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    scope = f"{stamp[:8]}/{region}/s3/aws4_request"
    path = f"/{bucket}/{quote(key, safe='/-_.~')}"
    host = base.partition("://")[2].rstrip("/")
    query = "&".join(
        f"{name}={quote(value, safe='-_.~')}"
        for name, value in (
            ("X-Amz-Algorithm", _ALGORITHM),
            ("X-Amz-Credential", f"{access_key_id}/{scope}"),
            ("X-Amz-Date", stamp),
            ("X-Amz-Expires", str(seconds)),
            ("X-Amz-SignedHeaders", "host"),
        )
    )
    request = f"GET\n{path}\n{query}\nhost:{host}\n\nhost\nUNSIGNED-PAYLOAD"
    text = f"{_ALGORITHM}\n{stamp}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    signing = b"AWS4" + secret.encode()
    for part in (stamp[:8], region, "s3", "aws4_request"):
        signing = hmac.digest(signing, part.encode(), "sha256")
    return f"{base.rstrip('/')}{path}?{query}&X-Amz-Signature={hmac.digest(signing, text.encode(), 'sha256').hex()}"
