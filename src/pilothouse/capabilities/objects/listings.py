"""ListObjectsV2, ListObjects of older clients, and ListObjectVersions where there are no versions."""

from typing import Any
from urllib.parse import quote

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities.objects import rights
from pilothouse.capabilities.objects.errors import InvalidArgument
from pilothouse.capabilities.objects.folding import Page, page_of
from pilothouse.capabilities.objects.model import Bucket, Object
from pilothouse.capabilities.objects.operations import EVERYONE, NODES_TOO, bucket_arn
from pilothouse.capabilities.objects.store import ObjectStore
from pilothouse.capabilities.objects.writing import STORAGE_CLASS, owner
from pilothouse.identity.policy_patterns import Value
from pilothouse.runtime.clock import from_millis
from pilothouse.storage.pages import InvalidPageToken

MOST = 1000
"""Keys and common prefixes on one page."""


@operation("s3", "ListObjectsV2", callers=NODES_TOO, action="s3:ListBucket", resources=bucket_arn, asks_itself=True)
async def list_objects_v2(call: Call, request: Shape) -> Shape:
    """The objects of a bucket by key, folded at the delimiter."""
    prefix, delimiter = request.get("Prefix") or "", request.get("Delimiter") or ""
    query = ["ListObjectsV2", request["Bucket"], prefix, delimiter]
    after = request.get("StartAfter") or ""
    if (token := request.get("ContinuationToken")) is not None:
        try:
            (after,) = call.house.pages.position(query, token)
        except InvalidPageToken as error:
            raise InvalidArgument(
                "The continuation token provided is incorrect", "continuation-token", token
            ) from error
    bucket, page, most = await _page(call, request, after)
    encoded = encoder(request)
    return {
        "Name": bucket.name,
        "Prefix": encoded(prefix),
        "Delimiter": encoded(request.get("Delimiter")),
        "StartAfter": encoded(request.get("StartAfter")),
        "ContinuationToken": token,
        "NextContinuationToken": call.house.pages.token(query, [page.last]) if page.more else None,
        "KeyCount": len(page),
        "MaxKeys": most,
        "EncodingType": request.get("EncodingType"),
        "IsTruncated": page.more,
        "Contents": [_entry(found, encoded, bucket if request.get("FetchOwner") else None) for found in page.entries],
        "CommonPrefixes": [{"Prefix": encoded(each)} for each in page.prefixes],
    }


@operation("s3", "ListObjects", callers=NODES_TOO, action="s3:ListBucket", resources=bucket_arn, asks_itself=True)
async def list_objects(call: Call, request: Shape) -> Shape:
    """As ListObjectsV2, in the older form: a page goes on from a key that is told."""
    bucket, page, most = await _page(call, request, request.get("Marker") or "")
    encoded = encoder(request)
    return {
        "Name": bucket.name,
        "Prefix": encoded(request.get("Prefix") or ""),
        "Marker": encoded(request.get("Marker") or ""),
        "NextMarker": encoded(page.last) if page.more and request.get("Delimiter") else None,
        "Delimiter": encoded(request.get("Delimiter")),
        "MaxKeys": most,
        "EncodingType": request.get("EncodingType"),
        "IsTruncated": page.more,
        "Contents": [_entry(found, encoded, bucket) for found in page.entries],
        "CommonPrefixes": [{"Prefix": encoded(each)} for each in page.prefixes],
    }


@operation("s3", "ListObjectVersions", callers=EVERYONE, action="s3:ListBucketVersions", resources=bucket_arn,
           asks_itself=True)  # fmt: skip
async def list_object_versions(call: Call, request: Shape) -> Shape:
    """The one version that there is of each object: as in S3 where versions were never switched on."""
    bucket, page, most = await _page(call, request, request.get("KeyMarker") or "", "s3:ListBucketVersions")
    encoded = encoder(request)
    entries = []
    for found in page.entries:
        entry = _entry(found, encoded, bucket)
        entries.append({**entry, "VersionId": "null", "IsLatest": True})
    return {
        "Name": bucket.name,
        "Prefix": encoded(request.get("Prefix") or ""),
        "KeyMarker": encoded(request.get("KeyMarker") or ""),
        "VersionIdMarker": request.get("VersionIdMarker") or "",
        "NextKeyMarker": encoded(page.last) if page.more else None,
        "NextVersionIdMarker": "null" if page.more else None,
        "Delimiter": encoded(request.get("Delimiter")),
        "MaxKeys": most,
        "EncodingType": request.get("EncodingType"),
        "IsTruncated": page.more,
        "Versions": entries,
        "CommonPrefixes": [{"Prefix": encoded(each)} for each in page.prefixes],
    }


async def _page(
    call: Call, request: Shape, after: str, action: str = "s3:ListBucket"
) -> tuple[Bucket, Page[Object], int]:
    most = bounded(request, "MaxKeys", "max-keys")
    prefix, delimiter = request.get("Prefix") or "", request.get("Delimiter") or ""
    context: dict[str, Value] = {"s3:prefix": prefix, "s3:delimiter": delimiter, "s3:max-keys": str(most)}
    if request.get("Prefix") is None:
        del context["s3:prefix"]
    if request.get("Delimiter") is None:
        del context["s3:delimiter"]
    async with call.reading() as tx:
        bucket = await rights.entered(call, tx, request, action, context=context)
        if not most:
            return bucket, Page(), most
        page = await page_of(ObjectStore(tx, bucket).page, prefix=prefix, delimiter=delimiter, after=after, most=most)
    return bucket, page, most


def bounded(request: Shape, member: str, name: str) -> int:
    """How many a page may have. Raises InvalidArgument."""
    asked = request.get(member)
    if asked is None:
        return MOST
    if not 0 <= asked <= (1 << 31) - 1:
        said = "maxKeys" if name == "max-keys" else name
        raise InvalidArgument(f"Argument {said} must be an integer between 0 and 2147483647", name, str(asked))
    return min(int(asked), MOST)


def encoder(request: Shape) -> Any:
    """How keys are written in an answer: as they are, or for what XML cannot hold as in URLs."""
    if request.get("EncodingType") != "url":
        return lambda text: text
    return lambda text: None if text is None else quote(text, safe="/-_.~!*()'")


def _entry(found: Object, encoded: Any, bucket: Bucket | None) -> Shape:
    entry: Shape = {
        "Key": encoded(found.key),
        "LastModified": from_millis(found.modified_at),
        "ETag": f'"{found.etag}"',
    }
    if found.checksum is not None:
        entry |= {"ChecksumAlgorithm": [found.checksum.algorithm], "ChecksumType": found.checksum.kind}
    entry |= {"Size": found.size, "StorageClass": STORAGE_CLASS}
    if bucket is not None:
        entry["Owner"] = owner(bucket.account_id)
    return entry
