"""May they: the policies of the caller and of the bucket, asked together.

In the bucket's own account either may allow; another account needs both; an unsigned request needs a bucket policy
that allows everybody. A deny of either wins. Only then is anything told of what is in a bucket.
"""

from collections.abc import Mapping
from typing import Final

from pilothouse.call import Call, Shape
from pilothouse.capabilities.objects.errors import NoSuchBucket
from pilothouse.capabilities.objects.model import Bucket
from pilothouse.capabilities.objects.store import BucketStore
from pilothouse.errors import AccessDeniedException
from pilothouse.identity.authorise import context_of, refusal
from pilothouse.identity.permissions import Outcome, decide
from pilothouse.identity.policy import Ask, Decision, Verdict, parse
from pilothouse.identity.policy_patterns import Value
from pilothouse.storage import Transaction

_LEAVING: Final = frozenset({"s3:PutObject", "s3:PutObjectAcl", "s3:AbortMultipartUpload"})
_OF_POLICIES: Final = frozenset({"s3:PutBucketPolicy", "s3:GetBucketPolicy", "s3:DeleteBucketPolicy"})
"""What the root user of the bucket's account may do even where the policy denies it: nobody locks himself out."""


async def bucket_for(call: Call, tx: Transaction, request: Shape) -> Bucket:
    """The bucket that a request is about, whoever asks. Raises NoSuchBucket, AccessDeniedException."""
    return await source_bucket(tx, request["Bucket"], request.get("ExpectedBucketOwner"))


async def source_bucket(tx: Transaction, name: str, owner: str | None) -> Bucket:
    """A bucket by name, whose owner has to be this one, if one is given. Raises NoSuchBucket, AccessDeniedException."""
    bucket = await BucketStore(tx).find(name)
    if bucket is None:
        raise NoSuchBucket(name)
    if owner is not None and owner != bucket.account_id:
        raise AccessDeniedException("Access Denied")
    return bucket


async def entered(
    call: Call,
    tx: Transaction,
    request: Shape,
    action: str,
    *,
    key: str = "",
    context: Mapping[str, Value] | None = None,
) -> Bucket:
    """The bucket, if the caller may do this to it, or to the object of that key. Raises NoSuchBucket,
    AccessDeniedException."""
    bucket = await bucket_for(call, tx, request)
    check(call, bucket, action, key=key, context=context)
    recorded_at(call, bucket)
    return bucket


def recorded_at(call: Call, bucket: Bucket) -> None:
    """Let the record of an unsigned call that was let in stand in the trail of the bucket's account."""
    call.account_id = call.account_id or bucket.account_id
    call.region = call.region or bucket.region


def check(
    call: Call, bucket: Bucket, action: str, *, key: str = "", context: Mapping[str, Value] | None = None
) -> None:
    """Return if the caller may. Raises AccessDeniedException."""
    principal = call.principal
    ask = _ask(call, bucket, action, key, context or {})
    if bucket.is_inbox:
        allowed = _leaves(call, action, key)
        on_bucket = Decision(Verdict.ALLOW, reach="itself") if allowed else Decision(Verdict.DENY)
    else:
        on_bucket = parse(bucket.policy, kind="resource").decide(ask) if bucket.policy else Decision(Verdict.NEUTRAL)
    if principal.kind == "anonymous":
        if on_bucket.verdict is Verdict.ALLOW and on_bucket.reach != "account":
            return
        raise AccessDeniedException("Access Denied")
    elsewhere = principal.account_id != bucket.account_id
    if principal.kind == "root" and not elsewhere and action in _OF_POLICIES and not bucket.is_inbox:
        return
    if principal.permissions is not None:
        outcome = decide(principal.permissions, ask, on_bucket, elsewhere=elsewhere)
    elif principal.kind == "root" and on_bucket.verdict is not Verdict.DENY:
        allowed = not elsewhere or on_bucket.verdict is Verdict.ALLOW
        outcome = Outcome(Verdict.ALLOW if allowed else Verdict.NEUTRAL, "resource-based policy")
    else:
        outcome = Outcome(on_bucket.verdict, "resource-based policy")
    if outcome.verdict is not Verdict.ALLOW:
        text = refusal(principal, action, f'"{ask.resource}"', outcome.verdict, outcome.layer)
        raise AccessDeniedException(text)


def _leaves(call: Call, action: str, key: str) -> bool:
    """Whether a node leaves something in an inbox. What it is, is looked at by `admit`."""
    return call.principal.kind == "node" and bool(key) and action in _LEAVING


async def admit(call: Call, tx: Transaction, bucket: Bucket, key: str, size: int) -> None:
    """Return if something of this size may be put there, where it is an inbox: who reads it says so, by hearing
    `inbox.entered`. Raises AccessDeniedException, EntityTooLarge."""
    if bucket.is_inbox:
        entering = {"account_id": bucket.account_id, "node_id": call.principal.node_id, "key": key, "size": size}
        await call.house.tell(tx, "inbox.entered", **entering)


def may(call: Call, bucket: Bucket, action: str, *, key: str = "", context: Mapping[str, Value] | None = None) -> bool:
    """Whether the caller may."""
    try:
        check(call, bucket, action, key=key, context=context)
    except AccessDeniedException:
        return False
    return True


def lets_service(
    bucket: Bucket, service: str, action: str, key: str, context: Mapping[str, Value] | None = None
) -> bool:
    """Whether the bucket's policy allows this to a service, such as `ssm.amazonaws.com`, that acts for its account."""
    return _of_service(bucket, service, action, key, context or {}) is Verdict.ALLOW


def denies_service(bucket: Bucket, service: str, action: str, key: str, context: Mapping[str, Value]) -> bool:
    """Whether the bucket's policy denies it, whoever may do it besides."""
    return _of_service(bucket, service, action, key, context) is Verdict.DENY


def _of_service(bucket: Bucket, service: str, action: str, key: str, context: Mapping[str, Value]) -> Verdict:
    if bucket.is_inbox or not bucket.policy:
        return Verdict.NEUTRAL
    ask = Ask(
        principal_arn=service, principal_account="", principal_kind="service", action=action,
        resource=bucket.arn_of(key),
        context={"aws:SourceAccount": bucket.account_id, "aws:ResourceAccount": bucket.account_id, **context},
    )  # fmt: skip
    return parse(bucket.policy, kind="resource").decide(ask).verdict


def _ask(call: Call, bucket: Bucket, action: str, key: str, context: Mapping[str, Value]) -> Ask:
    principal = call.principal
    return Ask(
        principal_arn=principal.arn,
        principal_account=principal.account_id,
        principal_kind=principal.kind,
        action=action,
        resource=bucket.arn_of(key) if key else bucket.arn,
        context={
            **context_of(call, {}),
            "aws:RequestedRegion": call.region or bucket.region,
            "aws:ResourceAccount": bucket.account_id,
            "s3:ResourceAccount": bucket.account_id,
            "s3:authType": "REST-QUERY-STRING" if call.presigned else "REST-HEADER",
            **context,
        },
        role_arn=principal.role_arn,
    )
