"""Objects: buckets and what is in them, as S3 has them, and the door by which other capabilities keep large contents.

Owns the tables bucket, bucket_object, object_piece, object_upload and object_garbage, and the blobs that they name.
Who comes by the face acts for the account that it names: no policy is asked, so its own operation has asked before.
"""

from pilothouse.call import Capability
from pilothouse.capabilities.objects import (
    buckets,
    contents,
    copying,
    jobs,
    listings,
    operations,
    settings,
    uploads,
)
from pilothouse.capabilities.objects.door import (
    Opened,
    delete,
    empty_inbox,
    ensure_bucket,
    ensure_inbox,
    got,
    inbox_of,
    keep,
    may_be_filled,
    may_not_be_filled,
    open_object,
    place,
    presigned,
    readable,
)
from pilothouse.capabilities.objects.errors import EntityTooLarge, NoSuchBucket, NoSuchKey
from pilothouse.capabilities.objects.grouping import Buckets

__all__ = [
    "CAPABILITY",
    "EntityTooLarge",
    "NoSuchBucket",
    "NoSuchKey",
    "Opened",
    "delete",
    "empty_inbox",
    "ensure_bucket",
    "ensure_inbox",
    "got",
    "inbox_of",
    "keep",
    "may_be_filled",
    "may_not_be_filled",
    "open_object",
    "place",
    "presigned",
    "readable",
]

CAPABILITY = Capability.of(
    "objects",
    buckets,
    copying,
    jobs,
    listings,
    operations,
    settings,
    uploads,
    sealed=contents.SEALED,
    groupable={"AWS::S3::Bucket": Buckets()},
)
