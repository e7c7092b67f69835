"""What a request says of an object besides its content, and the words in which answers tell it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from urllib.parse import parse_qsl

from pilothouse.call import Body, Shape
from pilothouse.capabilities.objects.errors import (
    AccessControlListNotSupported,
    EntityTooLarge,
    InvalidArgument,
    UnsupportedFeature,
)
from pilothouse.capabilities.objects.model import (
    DEFAULT_TYPE,
    MOST_AT_ONCE,
    Bucket,
    Checksum,
    Conditions,
    Object,
    check_metadata,
    checked_tags,
    expiry,
)
from pilothouse.crypto.checksums import ALGORITHMS, DEFAULT
from pilothouse.identity.policy_patterns import Value
from pilothouse.rest_errors import InvalidRequest
from pilothouse.runtime.clock import from_millis

KEPT_HEADERS: Final = (
    "CacheControl",
    "ContentDisposition",
    "ContentEncoding",
    "ContentLanguage",
    "ContentType",
    "Expires",
    "WebsiteRedirectLocation",
)
"""Members that come with a content and leave with it as they came."""
ENCRYPTION: Final = "AES256"
"""What clients are told: contents are sealed in any case, under the installation's keys."""
STORAGE_CLASS: Final = "STANDARD"
_OWNER_ONLY: Final = frozenset({"private", "bucket-owner-full-control", "bucket-owner-read"})
_GRANTS: Final = ("GrantFullControl", "GrantRead", "GrantReadACP", "GrantWrite", "GrantWriteACP")
_NOT_HERE: Final = (
    "SSECustomerAlgorithm",
    "SSECustomerKey",
    "CopySourceSSECustomerKey",
    "ObjectLockMode",
    "ObjectLockRetainUntilDate",
    "ObjectLockLegalHoldStatus",
    "WriteOffsetBytes",
)


def check_asked(request: Shape) -> None:
    """Refuse what an object is asked to be and cannot be here. Raises UnsupportedFeature,
    AccessControlListNotSupported, InvalidArgument."""
    for member in _NOT_HERE:
        if request.get(member) is not None:
            raise UnsupportedFeature("A header you provided implies functionality that is not implemented")
    if request.get("ServerSideEncryption") not in (None, ENCRYPTION):
        raise UnsupportedFeature("Contents are sealed under the installation's own keys: use AES256, or say nothing.")
    check_acl(request)
    if request.get("VersionId") not in (None, "null"):
        raise InvalidArgument("Invalid version id specified", "versionId", request["VersionId"])


def check_acl(request: Shape) -> None:
    """Raises AccessControlListNotSupported."""
    if request.get("ACL") not in (None, *_OWNER_ONLY) or any(request.get(member) for member in _GRANTS):
        raise AccessControlListNotSupported


def check_size(body: Body) -> None:
    """Raises EntityTooLarge."""
    if body.size > MOST_AT_ONCE:
        raise EntityTooLarge(body.size, MOST_AT_ONCE)


def kept_headers(request: Shape) -> dict[str, str]:
    """Those that the object keeps. The coding that only the body was sent in is none of the object's."""
    found = {member: _text(request[member]) for member in KEPT_HEADERS if request.get(member) is not None}
    codings = [each.strip() for each in found.pop("ContentEncoding", "").split(",")]
    codings = [each for each in codings if each and each != "aws-chunked"]
    if codings:
        found["ContentEncoding"] = ",".join(codings)
    found.setdefault("ContentType", DEFAULT_TYPE)
    return found


def _text(value: Any) -> str:
    return value.strftime("%a, %d %b %Y %H:%M:%S GMT") if isinstance(value, datetime) else str(value)


def metadata_of(request: Shape) -> dict[str, str]:
    """Raises MetadataTooLarge."""
    metadata: dict[str, str] = request.get("Metadata") or {}
    check_metadata(metadata)
    return metadata


def tags_of(request: Shape) -> dict[str, str]:
    """Tags from a header, which is written as a query is. Raises InvalidArgument, InvalidTag."""
    text = request.get("Tagging") or ""
    try:
        pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text), max_num_fields=100)
    except ValueError as error:
        raise InvalidArgument(
            "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag "
            "name duplicates.",
            "x-amz-tagging",
            text,
        ) from error
    return checked_tags(pairs, 10)


def asked_context(request: Shape, tags: Mapping[str, str]) -> dict[str, Value]:
    """Condition keys of a request that writes an object."""
    found: dict[str, Value] = {f"s3:RequestObjectTag/{key}": value for key, value in tags.items()}
    if tags:
        found["s3:RequestObjectTagKeys"] = tuple(tags)
    if request.get("ACL"):
        found["s3:x-amz-acl"] = request["ACL"]
    if request.get("ServerSideEncryption"):
        found["s3:x-amz-server-side-encryption"] = request["ServerSideEncryption"]
    if request.get("CopySource"):
        found["s3:x-amz-copy-source"] = request["CopySource"]
    return found


def conditions_of(request: Shape) -> Conditions:
    """Of a request about an object that is there."""
    return Conditions(
        if_match=request.get("IfMatch"),
        if_none_match=request.get("IfNoneMatch"),
        if_modified_since=request.get("IfModifiedSince"),
        if_unmodified_since=request.get("IfUnmodifiedSince"),
    )


def algorithm_of(request: Shape, body: Body | None) -> str:
    """The checksum that is to be kept of a content: the one it came with, the one asked for, or S3's default.

    Raises InvalidRequest.
    """
    asked: str | None = request.get("ChecksumAlgorithm")
    stated = body.stated[0] if body is not None and body.stated is not None else None
    algorithm = stated or asked or DEFAULT
    if algorithm not in ALGORITHMS:
        raise InvalidRequest(f"The checksum algorithm {algorithm} is not supported here.")
    return algorithm


def checksum_shape(checksum: Checksum | None, *, kind: bool = True) -> Shape:
    """The members that tell a checksum."""
    if checksum is None:
        return {}
    told: Shape = {f"Checksum{checksum.algorithm}": checksum.value}
    return told | {"ChecksumType": checksum.kind} if kind else told


def written_shape(bucket: Bucket, found: Object) -> Shape:
    """The answer to a request that put an object."""
    return {
        "ETag": f'"{found.etag}"',
        **checksum_shape(found.checksum),
        "ServerSideEncryption": ENCRYPTION,
        "Expiration": expiration(bucket, found),
    }


def expiration(bucket: Bucket, found: Object) -> str | None:
    """When the bucket's rules end the object, as the header says it."""
    due = expiry(found, bucket.lifecycle)
    if due is None:
        return None
    return f'expiry-date="{from_millis(due[0]):%a, %d %b %Y %H:%M:%S GMT}", rule-id="{due[1]}"'


def owner(account_id: str) -> Shape:
    """Who owns a bucket and all that is in it: its account."""
    return {"ID": canonical(account_id)}


def canonical(account_id: str) -> str:
    """An account as S3 names owners: 64 characters."""
    return account_id.rjust(64, "0")
