"""The errors of buckets and objects: codes, texts and elements of S3's list of error codes.

Members in small letters leave as headers, the others as elements of the answer.
"""

from pilothouse.errors import ApiError


class AccessControlListNotSupported(ApiError):
    """An ACL other than the bucket owner's full control: ACLs are switched off, as in S3 by default."""

    def __init__(self) -> None:
        super().__init__("The bucket does not allow ACLs")


class BadRequest(ApiError):
    """Too many tags on an object, as S3 says it."""


class BucketAlreadyExists(ApiError):
    """Somebody else has a bucket of that name."""

    http_status = 409

    def __init__(self, name: str) -> None:
        super().__init__(
            "The requested bucket name is not available. The bucket namespace is shared by all users of the system. "
            "Please select a different name and try again.",
            BucketName=name,
        )


class BucketAlreadyOwnedByYou(ApiError):
    """The account has this bucket already."""

    http_status = 409

    def __init__(self, name: str) -> None:
        super().__init__(
            "Your previous request to create the named bucket succeeded and you already own it.", BucketName=name
        )


class BucketNotEmpty(ApiError):
    """A bucket goes only when nothing is in it."""

    http_status = 409

    def __init__(self, name: str) -> None:
        super().__init__("The bucket you tried to delete is not empty", BucketName=name)


class EntityTooLarge(ApiError):
    """A content that is larger than one request may bring."""

    def __init__(self, size: int, most: int) -> None:
        super().__init__(
            "Your proposed upload exceeds the maximum allowed size",
            ProposedSize=str(size),
            MaxSizeAllowed=str(most),
        )


class EntityTooSmall(ApiError):
    """A part that is not the last one and too small."""

    def __init__(self, size: int, least: int, number: int, etag: str) -> None:
        super().__init__(
            "Your proposed upload is smaller than the minimum allowed size",
            ProposedSize=str(size),
            MinSizeAllowed=str(least),
            PartNumber=str(number),
            ETag=etag,
        )


class IllegalLocationConstraintException(ApiError):
    """A bucket is made in the region that the request is signed for."""


class InvalidArgument(ApiError):
    """A value that cannot be."""

    def __init__(self, message: str, name: str = "", value: str = "") -> None:
        super().__init__(message, **({"ArgumentName": name, "ArgumentValue": value} if name else {}))


class InvalidBucketName(ApiError):
    """Not a name for a bucket."""

    def __init__(self, name: str) -> None:
        super().__init__("The specified bucket is not valid.", BucketName=name)


class InvalidLocationConstraint(ApiError):
    """No bucket can be made there."""

    def __init__(self, constraint: str) -> None:
        super().__init__("The specified location-constraint is not valid", LocationConstraint=constraint)


class InvalidPart(ApiError):
    """A part that was not uploaded, or not with this ETag."""

    def __init__(self, upload_id: str, number: int, etag: str) -> None:
        super().__init__(
            "One or more of the specified parts could not be found.  The part may not have been uploaded, or the "
            "specified entity tag may not match the part's entity tag.",
            UploadId=upload_id,
            PartNumber=str(number),
            ETag=etag.strip('"'),
        )


class InvalidPartNumber(ApiError):
    """The object has not so many parts."""

    http_status = 416

    def __init__(self, asked: int, there: int) -> None:
        super().__init__(
            "The requested partnumber is not satisfiable",
            PartNumberRequested=str(asked),
            ActualPartCount=str(there),
        )


class InvalidPartOrder(ApiError):
    """Parts are named in the order of their numbers."""

    def __init__(self, upload_id: str) -> None:
        super().__init__(
            "The list of parts was not in ascending order. Parts must be ordered by part number.", UploadId=upload_id
        )


class InvalidRange(ApiError):
    """The content is shorter than where the range begins."""

    http_status = 416

    def __init__(self, asked: str, size: int) -> None:
        super().__init__(
            "The requested range is not satisfiable",
            RangeRequested=asked,
            ActualObjectSize=str(size),
            **{"content-range": f"bytes */{size}"},
        )


class InvalidTag(ApiError):
    """A tag that cannot be."""

    def __init__(self, message: str = "The TagKey you have provided is invalid", key: str = "") -> None:
        super().__init__(message, **({"TagKey": key} if key else {}))


class KeyTooLongError(ApiError):
    """A key has at most 1,024 bytes."""

    def __init__(self, size: int) -> None:
        super().__init__("Your key is too long", Size=str(size), MaxSizeAllowed="1024")


class MalformedPolicy(ApiError):
    """A bucket policy that is none, or speaks of something else than this bucket."""


class MetadataTooLarge(ApiError):
    """The user metadata of an object has at most 2 KiB."""

    def __init__(self, size: int) -> None:
        super().__init__(
            "Your metadata headers exceed the maximum allowed metadata size", Size=str(size), MaxSizeAllowed="2048"
        )


class NoSuchBucket(ApiError):
    """There is no bucket of that name."""

    http_status = 404

    def __init__(self, name: str) -> None:
        super().__init__("The specified bucket does not exist", BucketName=name)


class NoSuchBucketPolicy(ApiError):
    """The bucket has no policy."""

    http_status = 404

    def __init__(self, name: str) -> None:
        super().__init__("The bucket policy does not exist", BucketName=name)


class NoSuchKey(ApiError):
    """There is no object of that key."""

    http_status = 404

    def __init__(self, key: str) -> None:
        super().__init__("The specified key does not exist.", Key=key)


class NoSuchLifecycleConfiguration(ApiError):
    """The bucket has no rules of that kind."""

    http_status = 404

    def __init__(self, name: str) -> None:
        super().__init__("The lifecycle configuration does not exist", BucketName=name)


class NoSuchTagSet(ApiError):
    """The bucket has no tags."""

    http_status = 404

    def __init__(self, name: str) -> None:
        super().__init__("The TagSet does not exist", BucketName=name)


class NoSuchUpload(ApiError):
    """The upload is not there: it was completed, aborted, or never begun."""

    http_status = 404

    def __init__(self, upload_id: str) -> None:
        super().__init__(
            "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted "
            "or completed.",
            UploadId=upload_id,
        )


class NotModified(ApiError):
    """The caller has the object as it is."""

    http_status = 304


class PreconditionFailed(ApiError):
    """A condition of the request does not hold."""

    http_status = 412

    def __init__(self, condition: str) -> None:
        super().__init__("At least one of the pre-conditions you specified did not hold", Condition=condition)


class UnsupportedFeature(ApiError):
    """Something of S3 that is not here."""

    http_status = 501

    @property
    def code(self) -> str:
        return "NotImplemented"
