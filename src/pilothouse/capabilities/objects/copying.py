"""CopyObject and UploadPartCopy: contents that come from another object. They are read and sealed anew."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities.objects import contents, rights
from pilothouse.capabilities.objects.errors import InvalidArgument, NoSuchKey
from pilothouse.capabilities.objects.model import (
    MOST_AT_ONCE,
    Bucket,
    Checksum,
    Conditions,
    Object,
    Piece,
    check_key,
    place_of,
    span,
)
from pilothouse.capabilities.objects.operations import (
    EVERYONE,
    Received,
    check_more,
    existing_tags,
    object_arn,
    opened,
)
from pilothouse.capabilities.objects.placing import check_place, locked_bucket, new_version, put
from pilothouse.capabilities.objects.store import ObjectStore
from pilothouse.capabilities.objects.uploads import check_part, keep_part, open_upload
from pilothouse.capabilities.objects.writing import (
    ENCRYPTION,
    algorithm_of,
    asked_context,
    check_asked,
    checksum_shape,
    conditions_of,
    kept_headers,
    metadata_of,
    tags_of,
    written_shape,
)
from pilothouse.crypto.checksums import ALGORITHMS, DEFAULT, Digests
from pilothouse.rest_errors import InvalidRequest
from pilothouse.runtime.clock import from_millis
from pilothouse.storage import Transaction

_TOO_LARGE: Final = (
    f"The specified copy source is larger than the maximum allowable size for a copy source: {MOST_AT_ONCE}"
)


@dataclass(frozen=True, slots=True)
class _Source:
    """What is copied from, with its pieces."""

    bucket: Bucket
    found: Object
    pieces: list[Piece]

    async def read(self, call: Call, start: int, end: int, digests: Digests) -> AsyncIterator[bytes]:
        place = place_of(self.bucket.account_id, self.bucket.name, self.found.key)
        async for piece in contents.read(call.house, place, self.pieces, start, end):
            digests.update(piece)
            yield piece


async def _source(call: Call, tx: Transaction, request: Shape) -> _Source:
    """Raises InvalidArgument, NoSuchBucket, NoSuchKey, AccessDeniedException, PreconditionFailed."""
    text = request["CopySource"]
    path, _, version = text.removeprefix("/").partition("?versionId=")
    name, _, key = unquote(path).partition("/")
    if not name or not key:
        raise InvalidArgument(
            "Copy Source must mention the source bucket and key: sourcebucket/sourcekey", "x-amz-copy-source", text
        )
    if version not in ("", "null"):
        raise InvalidArgument("Invalid version id specified", "x-amz-copy-source", text)
    bucket = await rights.source_bucket(tx, name, request.get("ExpectedSourceBucketOwner"))
    found = await ObjectStore(tx, bucket).find(key)
    rights.check(call, bucket, "s3:GetObject", key=key, context=existing_tags(found))
    if found is None:
        rights.check(call, bucket, "s3:ListBucket")
        raise NoSuchKey(key)
    found, pieces = await opened(tx, bucket, found)
    conditions = {
        member: request.get(f"CopySource{member}")
        for member in ("IfMatch", "IfNoneMatch", "IfModifiedSince", "IfUnmodifiedSince")
    }
    conditions_of(conditions).check(found.etag, from_millis(found.modified_at), copying=True)
    return _Source(bucket, found, pieces)


async def _copy(call: Call, request: Shape) -> Received:
    """Read the source and keep it under the new name."""
    key = request["Key"]
    check_asked(request)
    check_key(key)
    conditions = Conditions(if_match=request.get("IfMatch"), if_none_match=request.get("IfNoneMatch"))
    async with call.reading() as tx:
        source = await _source(call, tx, request)
        found = source.found
        if found.size > MOST_AT_ONCE:
            raise InvalidRequest(_TOO_LARGE)
        anew = request.get("MetadataDirective") == "REPLACE"
        tags = tags_of(request) if request.get("TaggingDirective") == "REPLACE" else dict(found.tags)
        bucket = await rights.entered(call, tx, request, "s3:PutObject", key=key, context=asked_context(request, tags))
        check_more(call, bucket, request, tags)
        await check_place(tx, bucket, key, conditions)
    if (source.bucket.name, found.key) == (bucket.name, key) and not anew:
        raise InvalidRequest(
            "This copy request is illegal because it is trying to copy an object to itself without changing the "
            "object's metadata, storage class, website redirect location or encryption attributes."
        )
    former = found.checksum.algorithm if found.checksum is not None else DEFAULT
    algorithm = request.get("ChecksumAlgorithm") or former
    if algorithm not in ALGORITHMS:
        algorithm = algorithm_of(request, None)
    digests = Digests(algorithm)
    pieces = source.read(call, 0, found.size, digests)
    place = place_of(bucket.account_id, bucket.name, key)
    piece = await contents.keep(call.house, place, new_version(call), 1, pieces, digests)
    made = Object(
        key=key,
        version=piece.version,
        size=piece.size,
        etag=piece.md5,
        modified_at=call.clock.millis(),
        headers=_headers(request, found) if not anew else kept_headers(request),
        metadata=metadata_of(request) if anew else found.metadata,
        tags=tags,
        checksum=Checksum(algorithm, digests.value(algorithm), "FULL_OBJECT"),
    )
    return Received(made, piece, conditions)


def _headers(request: Shape, found: Object) -> dict[str, str]:
    """Those of the source; where a web site would send its readers is not copied, but said anew."""
    copied = {name: value for name, value in found.headers.items() if name != "WebsiteRedirectLocation"}
    if (location := request.get("WebsiteRedirectLocation")) is not None:
        copied["WebsiteRedirectLocation"] = location
    return copied


@operation(
    "s3", "CopyObject", writes=True, callers=EVERYONE, action="s3:PutObject", resources=object_arn, asks_itself=True,
    prepare=_copy,
)  # fmt: skip
async def copy_object(call: Call, request: Shape) -> Shape:
    """Put an object that is a copy of another."""
    received: Received = call.prepared
    async with call.transaction() as tx:
        bucket = await locked_bucket(tx, request["Bucket"], request["Key"])
        await put(tx, bucket, received.found, [received.piece], received.conditions)
    found = received.found
    told = {
        "ETag": f'"{found.etag}"',
        "LastModified": from_millis(found.modified_at),
        **checksum_shape(found.checksum),
    }
    more = written_shape(bucket, found)
    return {
        "CopyObjectResult": told,
        "ServerSideEncryption": ENCRYPTION,
        "Expiration": more["Expiration"],
    }


async def _copy_part(call: Call, request: Shape) -> Piece:
    check_part(request["PartNumber"])
    async with call.reading() as tx:
        source = await _source(call, tx, request)
        bucket = await rights.entered(call, tx, request, "s3:PutObject", key=request["Key"])
        upload = await open_upload(tx, bucket, request)
    asked = request.get("CopySourceRange")
    found = span(asked, source.found.size)
    if asked is not None and found is None:
        raise InvalidArgument(
            "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the "
            "zero-based offsets of the first and last bytes to copy",
            "x-amz-copy-source-range",
            asked,
        )
    start, end = found or (0, source.found.size)
    if end - start > MOST_AT_ONCE:
        raise InvalidRequest(_TOO_LARGE)
    digests = Digests(upload.algorithm)
    pieces = source.read(call, start, end, digests)
    place = place_of(bucket.account_id, bucket.name, request["Key"])
    return await contents.keep(call.house, place, upload.upload_id, request["PartNumber"], pieces, digests)


@operation(
    "s3", "UploadPartCopy", writes=True, callers=EVERYONE, action="s3:PutObject", resources=object_arn,
    asks_itself=True, prepare=_copy_part,
)  # fmt: skip
async def upload_part_copy(call: Call, request: Shape) -> Shape:
    """Keep a part of an upload that is a copy of an object, or of a range of one."""
    piece: Piece = call.prepared
    async with call.transaction() as tx:
        upload = await keep_part(call, tx, request, piece)
    told: Shape = {"ETag": f'"{piece.md5}"', "LastModified": from_millis(call.clock.millis())}
    if upload.algorithm in piece.checksums:
        told[f"Checksum{upload.algorithm}"] = piece.checksums[upload.algorithm]
    return {"CopyPartResult": told, "ServerSideEncryption": ENCRYPTION}
