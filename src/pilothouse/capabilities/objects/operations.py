"""PutObject, GetObject, HeadObject, DeleteObject, DeleteObjects."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pilothouse.call import Body, Call, Caller, Content, Shape, operation
from pilothouse.capabilities.objects import contents, rights
from pilothouse.capabilities.objects.errors import InvalidPartNumber, NoSuchKey, PreconditionFailed
from pilothouse.capabilities.objects.model import (
    Bucket,
    Checksum,
    Conditions,
    Object,
    Piece,
    check_key,
    place_of,
    span,
)
from pilothouse.capabilities.objects.placing import check_place, locked_bucket, new_version, put, take_away
from pilothouse.capabilities.objects.store import ObjectStore, PieceStore
from pilothouse.capabilities.objects.writing import (
    ENCRYPTION,
    KEPT_HEADERS,
    algorithm_of,
    asked_context,
    check_asked,
    check_size,
    checksum_shape,
    conditions_of,
    expiration,
    kept_headers,
    metadata_of,
    tags_of,
    written_shape,
)
from pilothouse.errors import AccessDeniedException
from pilothouse.identity.policy_patterns import Value
from pilothouse.rest_errors import InvalidRequest, MalformedXML
from pilothouse.runtime.clock import from_millis
from pilothouse.storage import Transaction

EVERYONE = Caller.ACCOUNT | Caller.ANYONE
"""As far as policies allow, which for unsigned requests are those of the bucket."""
NODES_TOO = EVERYONE | Caller.NODE
"""What agents ask, and scripts on a machine."""
_OVERRIDES = {
    "ResponseCacheControl": "CacheControl",
    "ResponseContentDisposition": "ContentDisposition",
    "ResponseContentEncoding": "ContentEncoding",
    "ResponseContentLanguage": "ContentLanguage",
    "ResponseContentType": "ContentType",
    "ResponseExpires": "Expires",
}
_TRIES = 5


def bucket_arn(call: Call, request: Shape) -> Iterable[str]:
    """What a request about a bucket is about."""
    return [f"arn:aws:s3:::{request['Bucket']}"]


def object_arn(call: Call, request: Shape) -> Iterable[str]:
    """What a request about an object is about."""
    return [f"arn:aws:s3:::{request['Bucket']}/{request['Key']}"]


@dataclass(frozen=True, slots=True)
class Received:
    """A content that was kept, and what is to be known of its object."""

    found: Object
    piece: Piece
    conditions: Conditions


async def _receive(call: Call, request: Shape) -> Received:
    """Take the content in, once it is clear that it may be put."""
    key, body = request["Key"], request["Body"]
    check_asked(request)
    check_key(key)
    check_size(body)
    tags = tags_of(request)
    metadata = metadata_of(request)
    conditions = Conditions(if_match=request.get("IfMatch"), if_none_match=request.get("IfNoneMatch"))
    async with call.reading() as tx:
        bucket = await rights.entered(call, tx, request, "s3:PutObject", key=key, context=asked_context(request, tags))
        check_more(call, bucket, request, tags)
        await rights.admit(call, tx, bucket, key, body.size)
        await check_place(tx, bucket, key, conditions)
    algorithm = algorithm_of(request, body)
    piece = await received_piece(call, bucket, key, new_version(call), 1, body, algorithm)
    found = Object(
        key=key,
        version=piece.version,
        size=piece.size,
        etag=piece.md5,
        modified_at=call.clock.millis(),
        headers=kept_headers(request),
        metadata=metadata,
        tags=tags,
        checksum=Checksum(algorithm, body.digests.value(algorithm), "FULL_OBJECT"),
    )
    return Received(found, piece, conditions)


def check_more(call: Call, bucket: Bucket, request: Shape, tags: dict[str, str]) -> None:
    """What else a request that writes an object does besides. Raises AccessDeniedException."""
    context = asked_context(request, tags)
    if request.get("ACL"):
        rights.check(call, bucket, "s3:PutObjectAcl", key=request["Key"], context=context)
    if tags:
        rights.check(call, bucket, "s3:PutObjectTagging", key=request["Key"], context=context)


async def received_piece(
    call: Call, bucket: Bucket, key: str, version: str, number: int, body: Body, algorithm: str
) -> Piece:
    """Keep the content of a request."""
    body.want(algorithm)
    place = place_of(bucket.account_id, bucket.name, key)
    return await contents.keep(call.house, place, version, number, body.pieces(), body.digests)


@operation("s3", "PutObject", writes=True, callers=NODES_TOO, resources=object_arn, asks_itself=True, prepare=_receive)
async def put_object(call: Call, request: Shape) -> Shape:
    """Put an object whose content has come."""
    received: Received = call.prepared
    async with call.transaction() as tx:
        bucket = await locked_bucket(tx, request["Bucket"], request["Key"])
        await rights.admit(call, tx, bucket, request["Key"], received.found.size)
        await put(tx, bucket, received.found, [received.piece], received.conditions)
    return written_shape(bucket, received.found)


async def seen(call: Call, tx: Transaction, request: Shape, action: str = "s3:GetObject") -> tuple[Bucket, Object]:
    """The object, if the caller may do this to it. Raises NoSuchBucket, NoSuchKey, AccessDeniedException.

    Who may not list the bucket is not told that there is no such object.
    """
    key = request["Key"]
    bucket = await rights.bucket_for(call, tx, request)
    found = await ObjectStore(tx, bucket).find(key)
    rights.check(call, bucket, action, key=key, context=existing_tags(found))
    rights.recorded_at(call, bucket)
    if found is None:
        if rights.may(call, bucket, "s3:ListBucket"):
            raise NoSuchKey(key)
        raise AccessDeniedException(_unlisted(call, bucket))
    return bucket, found


def _unlisted(call: Call, bucket: Bucket) -> str:
    try:
        rights.check(call, bucket, "s3:ListBucket")
    except AccessDeniedException as error:
        return error.message
    return "Access Denied"


def existing_tags(found: Object | None) -> dict[str, Value]:
    """The condition keys of the tags that an object has."""
    return {} if found is None else {f"s3:ExistingObjectTag/{key}": value for key, value in found.tags.items()}


async def opened(tx: Transaction, bucket: Bucket, found: Object) -> tuple[Object, list[Piece]]:
    """The object with its pieces; as it is by now, if another took its place meanwhile. Raises NoSuchKey."""
    for _ in range(_TRIES):
        pieces = await PieceStore(tx).pieces(found.version)
        if sum(piece.size for piece in pieces) == found.size and pieces:
            break
        again = await ObjectStore(tx, bucket).find(found.key)
        if again is None:
            raise NoSuchKey(found.key)
        found = again
    return found, pieces


@operation("s3", "GetObject", callers=NODES_TOO, resources=object_arn, asks_itself=True, audited=True)
async def get_object(call: Call, request: Shape) -> Shape:
    """An object with its content, or a range of it."""
    check_asked(request)
    async with call.reading() as tx:
        bucket, found = await seen(call, tx, request)
        found, pieces = await opened(tx, bucket, found)
    answer, start, end = _described(call, request, bucket, found, pieces)
    place = place_of(bucket.account_id, bucket.name, found.key)
    content = await contents.begun(contents.read(call.house, place, pieces, start, end))
    return {**answer, "Body": Content(end - start, content)}


@operation("s3", "HeadObject", callers=NODES_TOO, action="s3:GetObject", resources=object_arn, asks_itself=True)
async def head_object(call: Call, request: Shape) -> Shape:
    """What GetObject says of an object, without the content."""
    check_asked(request)
    async with call.reading() as tx:
        bucket, found = await seen(call, tx, request)
        pieces: Sequence[Piece] = ()
        if request.get("PartNumber") is not None:
            found, pieces = await opened(tx, bucket, found)
    answer, _, _ = _described(call, request, bucket, found, pieces)
    return answer


def _described(
    call: Call, request: Shape, bucket: Bucket, found: Object, pieces: Sequence[Piece]
) -> tuple[Shape, int, int]:
    """The answer without the content, and from where to where of that is asked for."""
    conditions_of(request).check(found.etag, from_millis(found.modified_at))
    asked = _part(request, found, pieces) or span(request.get("Range"), found.size)
    start, end = asked or (0, found.size)
    headers = dict(found.headers)
    for member, header in _OVERRIDES.items():
        if (value := request.get(member)) is not None:
            if call.principal.kind == "anonymous":
                raise InvalidRequest("Request specific response headers cannot be used for anonymous GET requests.")
            headers[header] = kept_headers({header: value})[header] if header in KEPT_HEADERS else value
    answer: Shape = {
        "AcceptRanges": "bytes",
        "LastModified": from_millis(found.modified_at),
        "ContentLength": end - start,
        "ETag": f'"{found.etag}"',
        "ServerSideEncryption": ENCRYPTION,
        "Expiration": expiration(bucket, found),
        "Metadata": found.metadata,
        "TagCount": len(found.tags) or None,
        **headers,
    }
    if asked is not None:
        answer["ContentRange"] = f"bytes {start}-{max(start, end - 1)}/{found.size}"
    elif request.get("ChecksumMode") == "ENABLED":
        answer |= checksum_shape(found.checksum)
    if request.get("PartNumber") is not None and found.parts:
        answer["PartsCount"] = found.parts
    return answer, start, end


def _part(request: Shape, found: Object, pieces: Sequence[Piece]) -> tuple[int, int] | None:
    """Where the part lies that a request asks for. Raises InvalidPartNumber, InvalidRequest."""
    number = request.get("PartNumber")
    if number is None:
        return None
    if request.get("Range") is not None:
        raise InvalidRequest("Cannot specify both Range header and partNumber query parameter")
    if not 1 <= number <= max(1, found.parts):
        raise InvalidPartNumber(number, max(1, found.parts))
    if not found.size:
        return None
    start = sum(piece.size for piece in pieces[: number - 1])
    return start, start + pieces[number - 1].size


@operation("s3", "DeleteObject", writes=True, callers=EVERYONE, resources=object_arn, asks_itself=True)
async def delete_object(call: Call, request: Shape) -> Shape:
    """Remove an object; what is not there is removed as well."""
    check_asked(request)
    key = request["Key"]
    async with call.transaction() as tx:
        bucket = await locked_bucket(tx, request["Bucket"], key)
        found = await ObjectStore(tx, bucket).find(key)
        await rights.entered(call, tx, request, "s3:DeleteObject", key=key, context=existing_tags(found))
        if not Conditions(if_match=request.get("IfMatch")).check_write(None if found is None else found.etag):
            raise NoSuchKey(key)
        if found is not None:
            await take_away(tx, bucket, found, call.clock.millis())
    return {}


def _each_object(call: Call, request: Shape) -> Iterable[str]:
    return [f"arn:aws:s3:::{request['Bucket']}/{each['Key']}" for each in request["Delete"]["Objects"]]


@operation(
    "s3", "DeleteObjects", writes=True, callers=EVERYONE, action="s3:DeleteObject", resources=_each_object,
    asks_itself=True,
)  # fmt: skip
async def delete_objects(call: Call, request: Shape) -> Shape:
    """Remove up to 1,000 objects; each that may not be removed is told."""
    named = {each["Key"]: each for each in request["Delete"]["Objects"]}
    keys = [each["Key"] for each in request["Delete"]["Objects"]]
    if not 1 <= len(keys) <= 1000:
        raise MalformedXML
    deleted, errors = [], []
    async with call.transaction() as tx:
        bucket = await locked_bucket(tx, request["Bucket"], *keys)
        await rights.bucket_for(call, tx, request)
        store = ObjectStore(tx, bucket)
        for key, each in named.items():
            found = await store.find(key)
            try:
                rights.check(call, bucket, "s3:DeleteObject", key=key, context=existing_tags(found))
                Conditions(if_match=each.get("ETag")).check_write(None if found is None else found.etag)
            except AccessDeniedException as error:
                errors.append({"Key": key, "Code": "AccessDenied", "Message": error.message})
                continue
            except PreconditionFailed as error:
                errors.append({"Key": key, "Code": error.code, "Message": error.message})
                continue
            rights.recorded_at(call, bucket)
            if found is not None:
                await take_away(tx, bucket, found, call.clock.millis())
            deleted.append({"Key": key})
    return {"Deleted": [] if request["Delete"].get("Quiet") else deleted, "Errors": errors}
