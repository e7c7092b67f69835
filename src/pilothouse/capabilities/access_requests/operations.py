"""StartAccessRequest and GetAccessToken: access to one node for a while, once it is approved."""

from typing import Final

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities import access, nodes, tags
from pilothouse.capabilities.access_requests import telling
from pilothouse.capabilities.access_requests.model import (
    HOUR_MS,
    MOST_PENDING,
    TOKEN_MS,
    UNDECIDED_MS,
    AccessRequest,
    ResourceNotFoundException,
    ServiceQuotaExceededException,
    Status,
)
from pilothouse.capabilities.access_requests.policies import way_of
from pilothouse.capabilities.access_requests.store import AccessRequestStore
from pilothouse.errors import AccessDeniedException, ValidationException
from pilothouse.identity.authorise import ask_each
from pilothouse.identity.session_tokens import mint_for_access
from pilothouse.runtime.clock import from_millis

TAGGED_AS: Final = "OpsItem"


def node_arn(account_id: str, region: str, node_id: str) -> str:
    """As policies name a node."""
    if node_id.startswith("i-"):
        return f"arn:aws:ec2:{region}:{account_id}:instance/{node_id}"
    return f"arn:aws:ssm:{region}:{account_id}:managed-instance/{node_id}"


def _target(request: Shape) -> str:
    targets = request["Targets"]
    if len(targets) == 1 and targets[0].get("Key") == "InstanceIds" and len(targets[0].get("Values") or ()) == 1:
        return str(targets[0]["Values"][0])
    raise ValidationException("An access request has one target: the key InstanceIds with the id of one node.")


def _node(call: Call, request: Shape) -> list[str]:
    return [node_arn(call.account_id, call.region, _target(request))]


def named(call: Call, request: Shape) -> list[str]:
    """The request, as policies name it."""
    return [f"arn:aws:ssm:{call.region}:{call.account_id}:opsitem/{request['AccessRequestId']}"]


@operation("ssm", "StartAccessRequest", writes=True, resources=_node)
async def start_access_request(call: Call, request: Shape) -> Shape:
    """Ask for access to a node. A policy approves it at once, or says who must."""
    node_id, now, who = _target(request), call.clock.millis(), call.principal
    if who.access_request:
        raise AccessDeniedException("Credentials of an access request do not ask for another.")
    async with call.transaction() as tx:
        if await nodes.find(tx, call.account_id, call.region, node_id) is None:
            raise ResourceNotFoundException(f"There is no node {node_id}.")
        store = AccessRequestStore(tx)
        if await store.pending(call.account_id, call.region, who.user_id, now) >= MOST_PENDING:
            raise ServiceQuotaExceededException(f"{MOST_PENDING} of your access requests wait for a decision.")
        node_tags = await tags.of(tx, call.account_id, call.region, nodes.RESOURCE_TYPE, node_id)
        groups = await access.groups_of(tx, call.account_id, who.user_id)
        way = await way_of(tx, who, groups, call.region, node_id, node_tags)
        made = AccessRequest(
            request_id=f"oi-{call.ids.random_bytes(6).hex()}",
            account_id=call.account_id,
            region=call.region,
            node_id=node_id,
            reason=request["Reason"],
            requester_arn=who.arn,
            requester_id=who.user_id,
            requester_name="root" if who.kind == "root" else who.name or who.arn.rpartition("/")[2],
            status=Status.PENDING if way.levels else Status.APPROVED,
            policy=way.policy,
            levels=way.levels,
            topic_arn=way.topic_arn,
            access_hours=way.hours,
            created_at=now,
            changed_at=now,
            ends_at=now + (UNDECIDED_MS if way.levels else way.hours * HOUR_MS),
        )
        await store.add(made)
        given = tags.by_key(request.get("Tags") or [])
        await tags.put(tx, call.account_id, call.region, TAGGED_AS, made.request_id, given)
        await telling.changed(call.house, tx, made)
    return {"AccessRequestId": made.request_id}


@operation("ssm", "GetAccessToken", resources=named, audited=True)
async def get_access_token(call: Call, request: Shape) -> Shape:
    """How a request stands, and while it is approved credentials for sessions on its node, for who asked for it."""
    now = call.clock.millis()
    async with call.reading() as tx:
        found = await AccessRequestStore(tx).find(call.account_id, call.region, request["AccessRequestId"])
        if found is None:
            raise ResourceNotFoundException(f"There is no access request {request['AccessRequestId']}.")
        await ask_each(call, tx, "ssm:GetAccessToken", [found.arn])
    if found.requester_id != call.principal.user_id:
        raise AccessDeniedException("An access token is only for who asked for the access.")
    status = found.standing(now)
    if status is not Status.APPROVED or found.ends_at is None:
        return {"AccessRequestStatus": status.value}
    expires_at = min(now + TOKEN_MS, found.ends_at) // 1000 * 1000
    minted = mint_for_access(
        call.house, call.principal, call.region, found.request_id, ends_at=found.ends_at, expires_at=expires_at
    )  # fmt: skip
    return {
        "AccessRequestStatus": status.value,
        "Credentials": {
            "AccessKeyId": minted.access_key_id,
            "SecretAccessKey": minted.secret,
            "SessionToken": minted.token,
            "ExpirationTime": from_millis(expires_at),
        },
    }
