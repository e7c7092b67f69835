"""CreateBucket, HeadBucket, DeleteBucket, ListBuckets, and what buckets are asked about themselves."""

import re

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities.objects import rights
from pilothouse.capabilities.objects.errors import (
    BucketAlreadyExists,
    BucketAlreadyOwnedByYou,
    BucketNotEmpty,
    IllegalLocationConstraintException,
    InvalidArgument,
    InvalidBucketName,
    InvalidLocationConstraint,
    UnsupportedFeature,
)
from pilothouse.capabilities.objects.folding import after_all
from pilothouse.capabilities.objects.model import INBOX, Bucket, checked_tags, is_name
from pilothouse.capabilities.objects.operations import EVERYONE, NODES_TOO, bucket_arn
from pilothouse.capabilities.objects.placing import garbage_due
from pilothouse.capabilities.objects.store import BucketStore, ObjectStore
from pilothouse.capabilities.objects.writing import ENCRYPTION, check_acl, owner
from pilothouse.errors import AccessDeniedException
from pilothouse.identity.policy import parse
from pilothouse.runtime.clock import from_millis
from pilothouse.storage import Transaction
from pilothouse.storage.pages import InvalidPageToken

_FIRST_REGION = "us-east-1"
"""Where buckets are whose location is not said."""
_REGION = re.compile(r"[a-z]{2,4}(?:-[a-z]+)+-[0-9]+")
_MOST_LISTED = 10_000
_MOST_TAGS = 50


@operation("s3", "CreateBucket", writes=True, resources=bucket_arn)
async def create_bucket(call: Call, request: Shape) -> Shape:
    """Make a bucket in the region that the request is signed for; names are unique in the installation."""
    name = request["Bucket"]
    if not is_name(name) or name.startswith(INBOX):
        raise InvalidBucketName(name)
    check_acl(request)
    if request.get("ObjectLockEnabledForBucket"):
        raise UnsupportedFeature("Buckets have no object lock here.")
    asked = request.get("CreateBucketConfiguration") or {}
    constraint = asked.get("LocationConstraint")
    region = _place(call, "eu-west-1" if constraint == "EU" else constraint)
    tags = checked_tags([(tag["Key"], tag["Value"]) for tag in asked.get("Tags") or ()], _MOST_TAGS)
    bucket = Bucket(name=name, account_id=call.account_id, region=region, created_at=call.clock.millis(), tags=tags)
    async with call.transaction() as tx:
        store = BucketStore(tx)
        await store.lock(name)
        former = await store.find(name)
        if former is None:
            await store.add(bucket)
        elif former.account_id != call.account_id:
            raise BucketAlreadyExists(name)
        elif call.region != _FIRST_REGION or former.region != region:
            raise BucketAlreadyOwnedByYou(name)
    return {"Location": f"/{name}", "BucketArn": bucket.arn}


def _place(call: Call, constraint: str | None) -> str:
    """Where a bucket is to be: where the request is signed for, or, from the first region, wherever it says.

    Raises InvalidLocationConstraint, IllegalLocationConstraintException.
    """
    if call.region == _FIRST_REGION:
        if constraint == _FIRST_REGION or (constraint is not None and not _REGION.fullmatch(constraint)):
            raise InvalidLocationConstraint(constraint)
        return constraint or _FIRST_REGION
    if constraint != call.region:
        raise IllegalLocationConstraintException(
            f"The {constraint or 'unspecified'} location constraint is incompatible for the region specific endpoint "
            "this request was sent to."
        )
    return constraint


@operation("s3", "HeadBucket", callers=NODES_TOO, action="s3:ListBucket", resources=bucket_arn, asks_itself=True)
async def head_bucket(call: Call, request: Shape) -> Shape:
    """Whether there is the bucket and the caller may list it; and where it is."""
    async with call.reading() as tx:
        bucket = await rights.bucket_for(call, tx, request)
    try:
        rights.check(call, bucket, "s3:ListBucket")
    except AccessDeniedException as error:  # agents ask unsigned, for the region alone
        raise AccessDeniedException(error.message, **{"x-amz-bucket-region": bucket.region}) from error
    return {"BucketRegion": bucket.region, "AccessPointAlias": False, "BucketArn": bucket.arn}


@operation("s3", "DeleteBucket", writes=True, resources=bucket_arn, asks_itself=True)
async def delete_bucket(call: Call, request: Shape) -> Shape:
    """Remove a bucket that holds nothing; uploads that were not completed go with it."""
    name = request["Bucket"]
    async with call.transaction() as tx:
        store = BucketStore(tx)
        await store.lock(name)
        bucket = await rights.entered(call, tx, request, "s3:DeleteBucket")
        if not await store.is_empty(name):
            raise BucketNotEmpty(name)
        await _abort_all(tx, bucket, call.clock.millis())
        await store.remove(name)
    return {}


async def _abort_all(tx: Transaction, bucket: Bucket, now: int) -> None:
    objects = ObjectStore(tx, bucket)
    while uploads := await objects.uploads_before(now + 1, 100):
        for upload in uploads:
            await objects.remove_pieces(upload.upload_id, garbage_due(now))
            await objects.remove_upload(upload.key, upload.upload_id)


@operation("s3", "ListBuckets", action="s3:ListAllMyBuckets")
async def list_buckets(call: Call, request: Shape) -> Shape:
    """The account's buckets by name."""
    most = request.get("MaxBuckets")
    prefix, region = request.get("Prefix") or "", request.get("BucketRegion")
    query = ["ListBuckets", call.account_id, prefix, region or ""]
    after = ""
    if token := request.get("ContinuationToken"):
        try:
            (after,) = call.house.pages.position(query, token)
        except InvalidPageToken as error:
            raise InvalidArgument("The continuation token provided is incorrect") from error
    limit = most or _MOST_LISTED
    async with call.reading() as tx:
        found = await BucketStore(tx).of_account(
            call.account_id, after=after, prefix=prefix, end=after_all(prefix), region=region, count=limit + 1
        )
    page = found[:limit]
    more = len(found) > limit
    return {
        "Owner": owner(call.account_id),
        "Buckets": [
            {
                "Name": each.name,
                "CreationDate": from_millis(each.created_at),
                "BucketRegion": each.region,
                "BucketArn": each.arn,
            }
            for each in page
        ],
        "Prefix": request.get("Prefix"),
        "ContinuationToken": call.house.pages.token(query, [page[-1].name]) if more else None,
    }


@operation("s3", "GetBucketLocation", callers=NODES_TOO, resources=bucket_arn, asks_itself=True)
async def get_bucket_location(call: Call, request: Shape) -> Shape:
    """The bucket's region; nothing for the first of all regions."""
    async with call.reading() as tx:
        bucket = await rights.entered(call, tx, request, "s3:GetBucketLocation")
    return {"LocationConstraint": None if bucket.region == _FIRST_REGION else bucket.region}


@operation("s3", "GetBucketAcl", callers=EVERYONE, resources=bucket_arn, asks_itself=True)
async def get_bucket_acl(call: Call, request: Shape) -> Shape:
    """The owner's full control: there are no other ACLs."""
    async with call.reading() as tx:
        bucket = await rights.entered(call, tx, request, "s3:GetBucketAcl")
    return acl_of(bucket)


def acl_of(bucket: Bucket) -> Shape:
    """The only ACL that there is."""
    its = owner(bucket.account_id)
    return {"Owner": its, "Grants": [{"Grantee": {"Type": "CanonicalUser", **its}, "Permission": "FULL_CONTROL"}]}


@operation("s3", "GetBucketPolicyStatus", callers=EVERYONE, resources=bucket_arn, asks_itself=True)
async def get_bucket_policy_status(call: Call, request: Shape) -> Shape:
    """Whether the bucket's policy lets everybody in."""
    async with call.reading() as tx:
        bucket = await rights.entered(call, tx, request, "s3:GetBucketPolicyStatus")
    public = bool(bucket.policy) and parse(bucket.policy, kind="resource").is_public()
    return {"PolicyStatus": {"IsPublic": public}}


@operation(
    "s3", "GetBucketEncryption", callers=NODES_TOO, action="s3:GetEncryptionConfiguration", resources=bucket_arn,
    asks_itself=True,
)  # fmt: skip
async def get_bucket_encryption(call: Call, request: Shape) -> Shape:
    """All contents are sealed, under the installation's keys."""
    async with call.reading() as tx:
        await rights.entered(call, tx, request, "s3:GetEncryptionConfiguration")
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": ENCRYPTION}, "BucketKeyEnabled": False}
    return {"ServerSideEncryptionConfiguration": {"Rules": [rule]}}


@operation("s3", "GetBucketVersioning", callers=EVERYONE, resources=bucket_arn, asks_itself=True)
async def get_bucket_versioning(call: Call, request: Shape) -> Shape:
    """Nothing: buckets keep one version of an object, and that cannot be changed."""
    async with call.reading() as tx:
        await rights.entered(call, tx, request, "s3:GetBucketVersioning")
    return {}
