"""Contents in parts: CreateMultipartUpload, UploadPart, CompleteMultipartUpload, AbortMultipartUpload, and their lists.

The parts of a completed upload stay what they are, pieces of the object: completing it copies nothing.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities.objects import rights
from pilothouse.capabilities.objects.errors import (
    EntityTooSmall,
    InvalidArgument,
    InvalidPart,
    InvalidPartOrder,
    NoSuchUpload,
)
from pilothouse.capabilities.objects.folding import page_of
from pilothouse.capabilities.objects.listings import bounded, encoder
from pilothouse.capabilities.objects.model import (
    LEAST_PART,
    MOST_PARTS,
    Bucket,
    Checksum,
    Conditions,
    Object,
    Piece,
    Upload,
    check_key,
    etag_of_parts,
    place_of,
)
from pilothouse.capabilities.objects.operations import (
    EVERYONE,
    NODES_TOO,
    bucket_arn,
    check_more,
    object_arn,
    received_piece,
)
from pilothouse.capabilities.objects.placing import garbage_due, locked_bucket, new_version, put
from pilothouse.capabilities.objects.store import ObjectStore, PieceStore
from pilothouse.capabilities.objects.writing import (
    ENCRYPTION,
    STORAGE_CLASS,
    algorithm_of,
    asked_context,
    canonical,
    check_asked,
    check_size,
    checksum_shape,
    expiration,
    kept_headers,
    metadata_of,
    owner,
    tags_of,
)
from pilothouse.crypto.checksums import ALGORITHMS, DEFAULT, WHOLE, combined, composite
from pilothouse.rest_errors import BadDigest, InvalidRequest, MalformedXML
from pilothouse.runtime.clock import from_millis
from pilothouse.storage import Transaction


@operation(
    "s3", "CreateMultipartUpload", writes=True, callers=NODES_TOO, action="s3:PutObject", resources=object_arn,
    asks_itself=True,
)  # fmt: skip
async def create_multipart_upload(call: Call, request: Shape) -> Shape:
    """Begin an object that comes in parts."""
    key = request["Key"]
    check_asked(request)
    check_key(key)
    tags = tags_of(request)
    algorithm = algorithm_of(request, None)
    kind = request.get("ChecksumType") or ("FULL_OBJECT" if algorithm == DEFAULT else "COMPOSITE")
    if (kind == "FULL_OBJECT" and algorithm not in WHOLE) or (kind == "COMPOSITE" and algorithm == DEFAULT):
        raise InvalidRequest(f"The {kind} checksum type cannot be used with the {algorithm} algorithm.")
    upload = Upload(
        upload_id=new_version(call),
        key=key,
        initiated_at=call.clock.millis(),
        initiator=call.principal.arn,
        headers=kept_headers(request),
        metadata=metadata_of(request),
        tags=tags,
        algorithm=algorithm,
        kind=kind,
    )
    async with call.transaction() as tx:
        bucket = await locked_bucket(tx, request["Bucket"], key)
        await rights.entered(call, tx, request, "s3:PutObject", key=key, context=asked_context(request, tags))
        check_more(call, bucket, request, tags)
        if bucket.is_inbox:
            await rights.admit(call, tx, bucket, key, 0)
            await _abort_former(tx, bucket, key, upload.initiated_at)
        await ObjectStore(tx, bucket).add_upload(upload)
    asked = request.get("ChecksumAlgorithm")
    return {
        "Bucket": bucket.name,
        "Key": key,
        "UploadId": upload.upload_id,
        "ServerSideEncryption": ENCRYPTION,
        "ChecksumAlgorithm": asked,
        "ChecksumType": kind if asked else None,
    }


async def _abort_former(tx: Transaction, bucket: Bucket, key: str, now: int) -> None:
    """In an inbox there is one upload of a key at a time, so that none can pile them up."""
    for former in await ObjectStore(tx, bucket).uploads(key, True, f"{key}\x01", MOST_PARTS):
        await abort(tx, bucket, former, now)


async def open_upload(tx: Transaction, bucket: Bucket, request: Shape) -> Upload:
    """Raises NoSuchUpload."""
    found = await ObjectStore(tx, bucket).upload(request["Key"], request["UploadId"])
    if found is None:
        raise NoSuchUpload(request["UploadId"])
    return found


def check_part(number: int) -> None:
    """Raises InvalidArgument."""
    if not 1 <= number <= MOST_PARTS:
        raise InvalidArgument(
            f"Part number must be an integer between 1 and {MOST_PARTS}, inclusive", "partNumber", str(number)
        )


async def _receive(call: Call, request: Shape) -> Piece:
    """Take a part's content in."""
    key, body, number = request["Key"], request["Body"], request["PartNumber"]
    check_part(number)
    check_asked(request)
    check_size(body)
    async with call.reading() as tx:
        bucket = await rights.entered(call, tx, request, "s3:PutObject", key=key)
        upload = await open_upload(tx, bucket, request)
        if bucket.is_inbox:
            there = await PieceStore(tx).pieces(upload.upload_id)
            size = sum(piece.size for piece in there if piece.number != number)
            await rights.admit(call, tx, bucket, key, size + body.size)
    if body.stated is not None and body.stated[0] != upload.algorithm and upload.algorithm != DEFAULT:
        raise InvalidRequest(
            f"Checksum Type mismatch occurred, expected checksum Type: {upload.algorithm.lower()}, "
            f"actual checksum Type: {body.stated[0].lower()}"
        )
    return await received_piece(call, bucket, key, upload.upload_id, number, body, upload.algorithm)


async def keep_part(call: Call, tx: Transaction, request: Shape, piece: Piece) -> Upload:
    """Make a kept content the upload's part, in place of an earlier one of its number. Raises NoSuchUpload."""
    bucket = await locked_bucket(tx, request["Bucket"], request["Key"])
    upload = await open_upload(tx, bucket, request)
    store, now = ObjectStore(tx, bucket), call.clock.millis()
    await store.remove_pieces(upload.upload_id, garbage_due(now), numbers=[piece.number])
    await store.add_pieces(place_of(bucket.account_id, bucket.name, request["Key"]), [piece], now)
    return upload


@operation(
    "s3", "UploadPart", writes=True, callers=NODES_TOO, action="s3:PutObject", resources=object_arn, asks_itself=True,
    prepare=_receive,
)  # fmt: skip
async def upload_part(call: Call, request: Shape) -> Shape:
    """Keep a part whose content has come."""
    piece: Piece = call.prepared
    async with call.transaction() as tx:
        await keep_part(call, tx, request, piece)
    body = request["Body"]
    told = {} if body.stated is None else {f"Checksum{body.stated[0]}": body.stated[1]}
    return {"ETag": f'"{piece.md5}"', "ServerSideEncryption": ENCRYPTION, **told}


def _chosen(request: Shape, upload: Upload, there: Mapping[int, Piece]) -> list[Piece]:
    """The parts that a request names, if they may become the object. Raises InvalidRequest, InvalidPart,
    InvalidPartOrder, EntityTooSmall."""
    named = (request.get("MultipartUpload") or {}).get("Parts") or []
    if not named:
        raise MalformedXML
    numbers = [each.get("PartNumber") or 0 for each in named]
    if any(later <= earlier for earlier, later in pairwise(numbers)):
        raise InvalidPartOrder(upload.upload_id)
    chosen = []
    for each, number in zip(named, numbers, strict=True):
        piece, etag = there.get(number), each.get("ETag") or ""
        if piece is None or etag.strip('"') != piece.md5:
            raise InvalidPart(upload.upload_id, number, etag)
        for algorithm in ALGORITHMS:
            stated = each.get(f"Checksum{algorithm}")
            if stated is not None and piece.checksums.get(algorithm, stated) != stated:
                raise InvalidPart(upload.upload_id, number, etag)
        chosen.append(piece)
    for piece in chosen[:-1]:
        if piece.size < LEAST_PART:
            raise EntityTooSmall(piece.size, LEAST_PART, piece.number, piece.md5)
    return chosen


def _checksum(upload: Upload, pieces: Sequence[Piece]) -> Checksum | None:
    """Of the whole, from those of the parts."""
    algorithm = upload.algorithm
    if any(algorithm not in piece.checksums for piece in pieces):
        return None
    if upload.kind == "FULL_OBJECT":
        value = combined(algorithm, [(piece.checksums[algorithm], piece.size) for piece in pieces])
    else:
        value = composite(algorithm, [piece.checksums[algorithm] for piece in pieces])
    return Checksum(algorithm, value, upload.kind)


@operation(
    "s3", "CompleteMultipartUpload", writes=True, callers=NODES_TOO, action="s3:PutObject", resources=object_arn,
    asks_itself=True,
)  # fmt: skip
async def complete_multipart_upload(call: Call, request: Shape) -> Shape:
    """Make an object of the parts; asked for again, it is answered again."""
    key, upload_id, now = request["Key"], request["UploadId"], call.clock.millis()
    conditions = Conditions(if_match=request.get("IfMatch"), if_none_match=request.get("IfNoneMatch"))
    async with call.transaction() as tx:
        bucket = await locked_bucket(tx, request["Bucket"], key)
        await rights.entered(call, tx, request, "s3:PutObject", key=key)
        store = ObjectStore(tx, bucket)
        upload = await store.upload(key, upload_id)
        if upload is None:
            found = await store.find(key)
            if found is None or found.version != upload_id:
                raise NoSuchUpload(upload_id)
            return _completed(call, bucket, found)
        there = {piece.number: piece for piece in await PieceStore(tx).pieces(upload_id)}
        chosen = _chosen(request, upload, there)
        checksum = _checksum(upload, chosen)
        _check_whole(request, checksum, sum(piece.size for piece in chosen))
        await rights.admit(call, tx, bucket, key, sum(piece.size for piece in chosen))
        found = Object(
            key=key,
            version=upload_id,
            size=sum(piece.size for piece in chosen),
            etag=etag_of_parts([piece.md5 for piece in chosen]),
            modified_at=now,
            headers=upload.headers,
            metadata=upload.metadata,
            tags=upload.tags,
            checksum=checksum,
            parts=len(chosen),
        )
        await put(tx, bucket, found, [], conditions)
        left = sorted(set(there) - {piece.number for piece in chosen})
        for start in range(0, len(left), 500):
            await store.remove_pieces(upload_id, garbage_due(now), numbers=left[start : start + 500])
        await store.remove_upload(key, upload_id)
    return _completed(call, bucket, found)


def _check_whole(request: Shape, checksum: Checksum | None, size: int) -> None:
    """Raises InvalidRequest, if the whole is not what the request says."""
    stated = request.get("MpuObjectSize")
    if stated is not None and stated != size:
        raise InvalidRequest(f"The provided 'x-amz-mp-object-size' header does not match what was computed: {size}")
    for algorithm in ALGORITHMS:
        value = request.get(f"Checksum{algorithm}")
        if value is None or checksum is None or checksum.algorithm != algorithm:
            continue
        if value not in (checksum.value, checksum.value.partition("-")[0]):
            raise BadDigest(f"The {algorithm} you specified did not match the calculated checksum.")


def _completed(call: Call, bucket: Bucket, found: Object) -> Shape:
    host = call.headers.get("host", "")
    return {
        "Location": f"{'https' if call.secure else 'http'}://{host}/{bucket.name}/{found.key}",
        "Bucket": bucket.name,
        "Key": found.key,
        "ETag": f'"{found.etag}"',
        **checksum_shape(found.checksum),
        "ServerSideEncryption": ENCRYPTION,
        "Expiration": expiration(bucket, found),
    }


@operation("s3", "AbortMultipartUpload", writes=True, callers=NODES_TOO, resources=object_arn, asks_itself=True)
async def abort_multipart_upload(call: Call, request: Shape) -> Shape:
    """Give up an upload; its parts go."""
    key = request["Key"]
    async with call.transaction() as tx:
        bucket = await locked_bucket(tx, request["Bucket"], key)
        await rights.entered(call, tx, request, "s3:AbortMultipartUpload", key=key)
        upload = await open_upload(tx, bucket, request)
        await abort(tx, bucket, upload, call.clock.millis())
    return {}


async def abort(tx: Transaction, bucket: Bucket, upload: Upload, now: int) -> None:
    """Remove an upload with its parts; the caller holds its key."""
    store = ObjectStore(tx, bucket)
    await store.remove_pieces(upload.upload_id, garbage_due(now))
    await store.remove_upload(upload.key, upload.upload_id)


@operation("s3", "ListParts", callers=NODES_TOO, action="s3:ListMultipartUploadParts", resources=object_arn,
           asks_itself=True)  # fmt: skip
async def list_parts(call: Call, request: Shape) -> Shape:
    """The parts of an upload that have come."""
    most = bounded(request, "MaxParts", "max-parts")
    after = request.get("PartNumberMarker") or 0
    async with call.reading() as tx:
        bucket = await rights.entered(call, tx, request, "s3:ListMultipartUploadParts", key=request["Key"])
        upload = await open_upload(tx, bucket, request)
        pieces = await PieceStore(tx).pieces(upload.upload_id, after=after, count=most + 1)
    page = pieces[:most]
    return {
        "Bucket": bucket.name,
        "Key": upload.key,
        "UploadId": upload.upload_id,
        "PartNumberMarker": after,
        "NextPartNumberMarker": page[-1].number if page else 0,
        "MaxParts": most,
        "IsTruncated": len(pieces) > most,
        "Parts": [
            {
                "PartNumber": piece.number,
                "LastModified": from_millis(piece.modified_at),
                "ETag": f'"{piece.md5}"',
                "Size": piece.size,
                **{f"Checksum{name}": value for name, value in piece.checksums.items() if name == upload.algorithm},
            }
            for piece in page
        ],
        "Initiator": _initiator(bucket, upload),
        "Owner": owner(bucket.account_id),
        "StorageClass": STORAGE_CLASS,
        "ChecksumAlgorithm": upload.algorithm,
        "ChecksumType": upload.kind,
    }


def _initiator(bucket: Bucket, upload: Upload) -> Shape:
    arn = upload.initiator or canonical(bucket.account_id)
    return {"ID": arn, "DisplayName": arn.rpartition("/")[2]}


@operation("s3", "ListMultipartUploads", callers=EVERYONE, action="s3:ListBucketMultipartUploads",
           resources=bucket_arn, asks_itself=True)  # fmt: skip
async def list_multipart_uploads(call: Call, request: Shape) -> Shape:
    """The uploads of a bucket that were not completed, by key, folded at the delimiter."""
    most = bounded(request, "MaxUploads", "max-uploads")
    prefix, delimiter = request.get("Prefix") or "", request.get("Delimiter") or ""
    marker, id_marker = request.get("KeyMarker") or "", request.get("UploadIdMarker") or ""
    encoded = encoder(request)
    async with call.reading() as tx:
        bucket = await rights.entered(call, tx, request, "s3:ListBucketMultipartUploads")
        store = ObjectStore(tx, bucket)
        same: list[Upload] = []  # the rest of those of the key that the page before ended with
        if marker and id_marker:
            same = await store.uploads(marker, True, f"{marker}\x01", most + 1, id_marker)
        left = max(0, most - len(same))
        page = await page_of(store.uploads, prefix=prefix, delimiter=delimiter, after=marker, most=left)
    more = page.more or len(same) > most
    found = [*same[:most], *page.entries]
    last = page.last or marker
    return {
        "Bucket": bucket.name,
        "KeyMarker": encoded(marker),
        "UploadIdMarker": id_marker,
        "NextKeyMarker": encoded(last) if more else None,
        "NextUploadIdMarker": found[-1].upload_id if more and found and found[-1].key == last else None,
        "Prefix": encoded(prefix),
        "Delimiter": encoded(request.get("Delimiter")),
        "MaxUploads": most,
        "IsTruncated": more,
        "EncodingType": request.get("EncodingType"),
        "Uploads": [
            {
                "Key": encoded(each.key),
                "UploadId": each.upload_id,
                "Initiator": _initiator(bucket, each),
                "Owner": owner(bucket.account_id),
                "StorageClass": STORAGE_CLASS,
                "Initiated": from_millis(each.initiated_at),
                "ChecksumAlgorithm": each.algorithm,
                "ChecksumType": each.kind,
            }
            for each in found
        ],
        "CommonPrefixes": [{"Prefix": encoded(each)} for each in page.prefixes],
    }
