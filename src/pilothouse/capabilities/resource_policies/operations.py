"""PutResourcePolicy, GetResourcePolicies, DeleteResourcePolicy."""

from collections.abc import Iterable

from pilothouse.call import Call, Shape, Shareable, operation
from pilothouse.capabilities.resource_policies.model import (
    MOST,
    Kept,
    ResourcePolicyConflictException,
    ResourcePolicyInvalidParameterException,
    ResourcePolicyLimitExceededException,
    ResourcePolicyNotFoundException,
    checked,
    hash_of,
    missing,
    place,
)
from pilothouse.capabilities.resource_policies.store import ResourcePolicyStore
from pilothouse.storage import Transaction
from pilothouse.storage.pages import InvalidPageToken


def _resource(call: Call, request: Shape) -> Iterable[str]:
    return [request["ResourceArn"]]


@operation("ssm", "PutResourcePolicy", writes=True, resources=_resource)
async def put_resource_policy(call: Call, request: Shape) -> Shape:
    """Put a policy on a resource, or with PolicyId and PolicyHash in place of an earlier one."""
    policy_id, policy_hash = request.get("PolicyId"), request.get("PolicyHash")
    if (policy_id is None) != (policy_hash is None):
        raise ResourcePolicyInvalidParameterException(
            "PolicyId and PolicyHash must be given together.", "PolicyId", "PolicyHash"
        )
    async with call.transaction() as tx:
        store = ResourcePolicyStore(tx, call.account_id, call.region)
        await store.lock((await _found(call, tx, request["ResourceArn"])).arn)
        found = await _found(call, tx, request["ResourceArn"], to_share=True)  # it may have gone while we waited
        policy = checked(request["Policy"], found.arn, found.actions)
        kept = await store.kept(found.arn)
        if policy_id is not None:
            _check(kept, policy_id, policy_hash)
        elif len(kept) >= MOST:
            raise ResourcePolicyLimitExceededException(
                f"A resource can have at most {MOST} resource policies.", Limit=MOST, LimitType="ResourcePolicy"
            )
        policy_id = policy_id or call.ids.uuid()
        made = Kept(policy_id=policy_id, policy_hash=hash_of(policy_id, request["Policy"]), text=request["Policy"])
        await store.put(found.arn, made, policy.accounts(), call.clock.millis())
    return {"PolicyId": made.policy_id, "PolicyHash": made.policy_hash}


@operation("ssm", "GetResourcePolicies", resources=_resource)
async def get_resource_policies(call: Call, request: Shape) -> Shape:
    """The policies on a resource, by id."""
    limit = request.get("MaxResults") or MOST
    query = ["GetResourcePolicies", call.account_id, call.region, request["ResourceArn"]]
    after = ""
    if token := request.get("NextToken"):
        try:
            (after,) = call.house.pages.position(query, token)
        except InvalidPageToken as error:
            raise ResourcePolicyInvalidParameterException("The token is not valid.", "NextToken") from error
    async with call.reading() as tx:
        found = await _found(call, tx, request["ResourceArn"])
        kept = await ResourcePolicyStore(tx, call.account_id, call.region).kept(found.arn, after=after, count=limit + 1)
    page = kept[:limit]
    return {
        "Policies": [
            {"PolicyId": each.policy_id, "PolicyHash": each.policy_hash, "Policy": each.text} for each in page
        ],
        "NextToken": call.house.pages.token(query, [page[-1].policy_id]) if len(kept) > limit else None,
    }


@operation("ssm", "DeleteResourcePolicy", writes=True, resources=_resource)
async def delete_resource_policy(call: Call, request: Shape) -> Shape:
    """Take a policy from a resource; its hash must be the current one."""
    async with call.transaction() as tx:
        store = ResourcePolicyStore(tx, call.account_id, call.region)
        found = await _found(call, tx, request["ResourceArn"])
        await store.lock(found.arn)
        _check(await store.kept(found.arn), request["PolicyId"], request["PolicyHash"])
        await store.remove(found.arn, request["PolicyId"])
    return {}


async def _found(call: Call, tx: Transaction, arn: str, *, to_share: bool = False) -> Shareable:
    kind, tail = place(arn, call.account_id, call.region)
    find = call.house.shareable.get(kind)
    found = await find(tx, call.account_id, call.region, tail) if find else None
    if found is None:
        raise missing(arn)
    if to_share and found.refusal:
        raise ResourcePolicyInvalidParameterException(found.refusal, "ResourceArn")
    return found


def _check(kept: list[Kept], policy_id: str, policy_hash: str | None) -> None:
    known = next((each for each in kept if each.policy_id == policy_id), None)
    if known is None:
        raise ResourcePolicyNotFoundException(f"The resource has no policy with the id {policy_id}.")
    if known.policy_hash != policy_hash:
        raise ResourcePolicyConflictException("The policy was changed: its hash is another. Get it and try again.")
