"""What is set of buckets and objects: policies, tags, lifecycle rules, ACLs."""

import json
from collections.abc import Mapping
from typing import Any

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities.objects import rights
from pilothouse.capabilities.objects.buckets import acl_of
from pilothouse.capabilities.objects.errors import (
    InvalidArgument,
    MalformedPolicy,
    NoSuchBucketPolicy,
    NoSuchKey,
    NoSuchLifecycleConfiguration,
    NoSuchTagSet,
    UnsupportedFeature,
)
from pilothouse.capabilities.objects.model import Bucket, Rule, checked_tags
from pilothouse.capabilities.objects.operations import (
    EVERYONE,
    NODES_TOO,
    bucket_arn,
    existing_tags,
    object_arn,
    opened,
    seen,
)
from pilothouse.capabilities.objects.placing import locked_bucket
from pilothouse.capabilities.objects.store import BucketStore, ObjectStore
from pilothouse.capabilities.objects.writing import STORAGE_CLASS, check_acl, check_asked, checksum_shape
from pilothouse.identity.policy import MalformedPolicy as NotAPolicy
from pilothouse.identity.policy import parse
from pilothouse.rest_errors import InvalidRequest, MalformedXML
from pilothouse.runtime.clock import from_millis
from pilothouse.storage import Transaction

_MOST_POLICY = 20_480
"""Bytes of a bucket policy."""
_MOST_RULES = 1000


async def _held(call: Call, tx: Transaction, request: Shape, action: str) -> Bucket:
    """The bucket, which nobody else changes meanwhile, if the caller may do this to it."""
    await BucketStore(tx).lock(request["Bucket"])
    return await rights.entered(call, tx, request, action)


def _checked_policy(text: str, bucket: Bucket) -> None:
    """Raises MalformedPolicy."""
    if len(text.encode()) > _MOST_POLICY:
        raise MalformedPolicy("Policies must be at most 20480 bytes in size")
    try:
        parse(text, kind="resource")
    except NotAPolicy as error:
        raise MalformedPolicy(str(error)) from error
    statements = json.loads(text)["Statement"]
    for statement in statements if isinstance(statements, list) else [statements]:
        for action in _listed(statement.get("Action")) + _listed(statement.get("NotAction")):
            if action != "*" and not action.lower().startswith("s3:"):
                raise MalformedPolicy("Policy has invalid action")
        for resource in _listed(statement.get("Resource")) + _listed(statement.get("NotResource")):
            if resource != bucket.arn and not resource.startswith(f"{bucket.arn}/"):
                raise MalformedPolicy("Policy has invalid resource")


def _listed(value: Any) -> list[str]:
    return [] if value is None else value if isinstance(value, list) else [value]


@operation("s3", "PutBucketPolicy", writes=True, resources=bucket_arn, asks_itself=True)
async def put_bucket_policy(call: Call, request: Shape) -> Shape:
    """Say who may do what with the bucket, beside what their own policies say."""
    async with call.transaction() as tx:
        bucket = await _held(call, tx, request, "s3:PutBucketPolicy")
        _checked_policy(request["Policy"], bucket)
        await BucketStore(tx).set_policy(bucket.name, request["Policy"])
    return {}


@operation("s3", "GetBucketPolicy", resources=bucket_arn, asks_itself=True)
async def get_bucket_policy(call: Call, request: Shape) -> Shape:
    """The bucket's policy, as it was put."""
    async with call.reading() as tx:
        bucket = await rights.entered(call, tx, request, "s3:GetBucketPolicy")
    if not bucket.policy:
        raise NoSuchBucketPolicy(bucket.name)
    return {"Policy": bucket.policy}


@operation("s3", "DeleteBucketPolicy", writes=True, resources=bucket_arn, asks_itself=True)
async def delete_bucket_policy(call: Call, request: Shape) -> Shape:
    """Leave it to the policies of users and roles."""
    async with call.transaction() as tx:
        bucket = await _held(call, tx, request, "s3:DeleteBucketPolicy")
        await BucketStore(tx).set_policy(bucket.name, "")
    return {}


def _pairs(request: Shape) -> list[tuple[str, str]]:
    return [(tag["Key"], tag["Value"]) for tag in request["Tagging"]["TagSet"]]


def _tag_set(tags: Mapping[str, str]) -> Shape:
    return {"TagSet": [{"Key": key, "Value": value} for key, value in tags.items()]}


@operation("s3", "PutBucketTagging", writes=True, resources=bucket_arn, asks_itself=True)
async def put_bucket_tagging(call: Call, request: Shape) -> Shape:
    """Give the bucket these tags, and no others."""
    tags = checked_tags(_pairs(request), 50)
    async with call.transaction() as tx:
        bucket = await _held(call, tx, request, "s3:PutBucketTagging")
        await BucketStore(tx).set_tags(bucket.name, tags)
    return {}


@operation("s3", "GetBucketTagging", resources=bucket_arn, asks_itself=True)
async def get_bucket_tagging(call: Call, request: Shape) -> Shape:
    """The bucket's tags."""
    async with call.reading() as tx:
        bucket = await rights.entered(call, tx, request, "s3:GetBucketTagging")
    if not bucket.tags:
        raise NoSuchTagSet(bucket.name)
    return _tag_set(bucket.tags)


@operation(
    "s3", "DeleteBucketTagging", writes=True, action="s3:PutBucketTagging", resources=bucket_arn, asks_itself=True
)
async def delete_bucket_tagging(call: Call, request: Shape) -> Shape:
    """Take all tags from the bucket."""
    async with call.transaction() as tx:
        bucket = await _held(call, tx, request, "s3:PutBucketTagging")
        await BucketStore(tx).set_tags(bucket.name, {})
    return {}


@operation("s3", "PutObjectTagging", writes=True, callers=EVERYONE, resources=object_arn, asks_itself=True)
async def put_object_tagging(call: Call, request: Shape) -> Shape:
    """Give an object these tags, and no others."""
    await _set_object_tags(call, request, checked_tags(_pairs(request), 10), "s3:PutObjectTagging")
    return {}


@operation("s3", "DeleteObjectTagging", writes=True, callers=EVERYONE, resources=object_arn, asks_itself=True)
async def delete_object_tagging(call: Call, request: Shape) -> Shape:
    """Take all tags from an object."""
    await _set_object_tags(call, request, {}, "s3:DeleteObjectTagging")
    return {}


async def _set_object_tags(call: Call, request: Shape, tags: Mapping[str, str], action: str) -> None:
    key = request["Key"]
    async with call.transaction() as tx:
        bucket = await locked_bucket(tx, request["Bucket"], key)
        found = await ObjectStore(tx, bucket).find(key)
        context = existing_tags(found) | {f"s3:RequestObjectTag/{name}": value for name, value in tags.items()}
        await rights.entered(call, tx, request, action, key=key, context=context)
        if found is None:
            raise NoSuchKey(key)
        await ObjectStore(tx, bucket).set_tags(key, tags)


@operation("s3", "GetObjectTagging", callers=EVERYONE, resources=object_arn, asks_itself=True)
async def get_object_tagging(call: Call, request: Shape) -> Shape:
    """The tags of an object."""
    async with call.reading() as tx:
        _, found = await seen(call, tx, request, "s3:GetObjectTagging")
    return _tag_set(found.tags)


@operation("s3", "GetObjectAcl", callers=EVERYONE, resources=object_arn, asks_itself=True)
async def get_object_acl(call: Call, request: Shape) -> Shape:
    """The bucket owner's full control: there are no other ACLs."""
    async with call.reading() as tx:
        bucket, _ = await seen(call, tx, request, "s3:GetObjectAcl")
    return acl_of(bucket)


@operation("s3", "PutObjectAcl", writes=True, callers=NODES_TOO, resources=object_arn, asks_itself=True)
async def put_object_acl(call: Call, request: Shape) -> Shape:
    """Nothing changes: the only ACL that can be put is the one that there is."""
    async with call.transaction() as tx:
        await seen(call, tx, request, "s3:PutObjectAcl")
        check_acl(request)
        if request.get("AccessControlPolicy"):
            raise UnsupportedFeature("ACLs are switched off here: use the policy of the bucket.")
    return {}


@operation("s3", "GetObjectAttributes", callers=EVERYONE, resources=object_arn, asks_itself=True)
async def get_object_attributes(call: Call, request: Shape) -> Shape:
    """What is asked of an object's size, checksum and parts."""
    check_asked(request)
    wanted = set(request["ObjectAttributes"])
    async with call.reading() as tx:
        bucket, found = await seen(call, tx, request)
        rights.check(call, bucket, "s3:GetObjectAttributes", key=found.key, context=existing_tags(found))
        found, pieces = await opened(tx, bucket, found)
    told: Shape = {"LastModified": from_millis(found.modified_at)}
    if "ETag" in wanted:
        told["ETag"] = found.etag
    if "Checksum" in wanted and found.checksum is not None:
        bare = found.checksum._replace(value=found.checksum.value.partition("-")[0])  # as S3 has it here
        told["Checksum"] = checksum_shape(bare)
    if "ObjectParts" in wanted and found.parts:
        told["ObjectParts"] = {"TotalPartsCount": len(pieces)}
    if "StorageClass" in wanted:
        told["StorageClass"] = STORAGE_CLASS
    if "ObjectSize" in wanted:
        told["ObjectSize"] = found.size
    return told


@operation(
    "s3", "PutBucketLifecycleConfiguration", writes=True, action="s3:PutLifecycleConfiguration",
    resources=bucket_arn, asks_itself=True,
)  # fmt: skip
async def put_bucket_lifecycle_configuration(call: Call, request: Shape) -> Shape:
    """Say when objects go, and uploads that nobody completes."""
    rules = [_rule(call, each) for each in (request.get("LifecycleConfiguration") or {}).get("Rules") or ()]
    if not 1 <= len(rules) <= _MOST_RULES:
        raise InvalidRequest("A lifecycle configuration has 1 to 1000 rules.")
    if len({rule.identifier for rule in rules}) != len(rules):
        raise InvalidArgument("Rule ID must be unique. Found same ID for more than one rule")
    async with call.transaction() as tx:
        bucket = await _held(call, tx, request, "s3:PutLifecycleConfiguration")
        await BucketStore(tx).set_rules(bucket.name, rules)
    return {}


def _rule(call: Call, said: Shape) -> Rule:
    """Raises UnsupportedFeature, InvalidArgument."""
    for member in ("Transitions", "NoncurrentVersionTransitions", "NoncurrentVersionExpiration"):
        if said.get(member):
            raise UnsupportedFeature(f"Lifecycle rules end objects and uploads here; {member} is not supported.")
    ends, aborts = said.get("Expiration") or {}, said.get("AbortIncompleteMultipartUpload") or {}
    if ends.get("Date") is not None or ends.get("ExpiredObjectDeleteMarker"):
        raise UnsupportedFeature("Lifecycle rules count days here; use Expiration with Days.")
    days, abort_days = ends.get("Days"), aborts.get("DaysAfterInitiation")
    if days is None and abort_days is None:
        raise InvalidRequest("At least one action needs to be specified in a rule")
    if any(each is not None and each < 1 for each in (days, abort_days)):
        raise InvalidArgument("'Days' for Expiration action must be a positive integer")
    identifier = said.get("ID") or call.ids.uuid()
    if len(identifier) > 255:
        raise InvalidArgument("ID length should not exceed allowed limit of 255")
    where, form = said.get("Filter") or {}, "filter"
    if "Filter" not in said and "Prefix" not in said:
        raise MalformedXML
    if "Filter" not in said:
        where, form = {"Prefix": said.get("Prefix") or ""}, "prefix"
    elif where.get("And"):
        where, form = where["And"], "and"
    tags = where.get("Tags") or ([where["Tag"]] if where.get("Tag") else [])
    return Rule(
        identifier=identifier,
        prefix=where.get("Prefix") or "",
        enabled=said["Status"] == "Enabled",
        days=days,
        abort_days=abort_days,
        tags=checked_tags([(tag["Key"], tag["Value"]) for tag in tags], 50),
        larger_than=where.get("ObjectSizeGreaterThan"),
        smaller_than=where.get("ObjectSizeLessThan"),
        form=form,
    )


@operation(
    "s3", "GetBucketLifecycleConfiguration", action="s3:GetLifecycleConfiguration", resources=bucket_arn,
    asks_itself=True,
)  # fmt: skip
async def get_bucket_lifecycle_configuration(call: Call, request: Shape) -> Shape:
    """The bucket's rules."""
    async with call.reading() as tx:
        bucket = await rights.entered(call, tx, request, "s3:GetLifecycleConfiguration")
    if not bucket.lifecycle:
        raise NoSuchLifecycleConfiguration(bucket.name)
    return {"Rules": [_rule_shape(rule) for rule in bucket.lifecycle]}


def _rule_shape(rule: Rule) -> Shape:
    told: Shape = {"ID": rule.identifier}
    tags = [{"Key": key, "Value": value} for key, value in rule.tags.items()]
    sizes = {"ObjectSizeGreaterThan": rule.larger_than, "ObjectSizeLessThan": rule.smaller_than}
    sizes = {name: value for name, value in sizes.items() if value is not None}
    if rule.form == "prefix":
        told["Prefix"] = rule.prefix
    elif rule.form == "and":
        told["Filter"] = {"And": {"Prefix": rule.prefix, "Tags": tags, **sizes}}
    elif tags:
        told["Filter"] = {"Tag": tags[0]}
    else:
        told["Filter"] = sizes or {"Prefix": rule.prefix}
    told["Status"] = "Enabled" if rule.enabled else "Disabled"
    if rule.days is not None:
        told["Expiration"] = {"Days": rule.days}
    if rule.abort_days is not None:
        told["AbortIncompleteMultipartUpload"] = {"DaysAfterInitiation": rule.abort_days}
    return told


@operation(
    "s3", "DeleteBucketLifecycle", writes=True, action="s3:PutLifecycleConfiguration", resources=bucket_arn,
    asks_itself=True,
)  # fmt: skip
async def delete_bucket_lifecycle(call: Call, request: Shape) -> Shape:
    """Keep everything until somebody removes it."""
    async with call.transaction() as tx:
        bucket = await _held(call, tx, request, "s3:PutLifecycleConfiguration")
        await BucketStore(tx).set_rules(bucket.name, [])
    return {}
