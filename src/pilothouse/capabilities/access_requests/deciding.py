"""ListAccessRequests and DecideAccessRequest of our own service: for those who are asked for access."""

from typing import Any, Final

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities import access, automation
from pilothouse.capabilities.access_requests import telling
from pilothouse.capabilities.access_requests.model import (
    AccessRequest,
    Decision,
    Person,
    ResourceNotFoundException,
    Status,
    decides,
    level_for,
)
from pilothouse.capabilities.access_requests.operations import named
from pilothouse.capabilities.access_requests.store import AccessRequestStore
from pilothouse.errors import AccessDeniedException, ApiError
from pilothouse.runtime.clock import from_millis
from pilothouse.storage import Transaction
from pilothouse.storage.pages import InvalidPageToken

_PAGE: Final = 50


class InvalidNextTokenException(ApiError):
    """The page token is not of this list."""


@operation("pilothouse", "ListAccessRequests")
async def list_access_requests(call: Call, request: Shape) -> Shape:
    """The account's requests in the region, newest first: those that wait or hold, unless all are asked for."""
    limit, everything = request.get("MaxResults") or _PAGE, bool(request.get("All"))
    query: list[Any] = ["ListAccessRequests", call.account_id, call.region, everything]
    position, now = None, call.clock.millis()
    if request.get("NextToken"):
        try:
            position = tuple(call.house.pages.position(query, request["NextToken"]))
        except (InvalidPageToken, ValueError) as error:
            raise InvalidNextTokenException("The specified token is not valid.") from error
    async with call.reading() as tx:
        store = AccessRequestStore(tx)
        open_at = None if everything else now
        found = await store.listed(
            call.account_id, call.region, open_at=open_at, position=position, limit=limit + 1
        )  # fmt: skip
        said = await store.decisions([each.request_id for each in found])
    page, token = found[:limit], None
    if len(found) > limit:
        token = call.house.pages.token(query, [page[-1].created_at, page[-1].request_id])
    return {"AccessRequests": [_shape(each, said[each.request_id], now) for each in page], "NextToken": token}


@operation("pilothouse", "DecideAccessRequest", writes=True, resources=named)
async def decide_access_request(call: Call, request: Shape) -> Shape:
    """Approve, reject or revoke: what the policy of the request lets its approvers do, and no other permission."""
    now, wanted = call.clock.millis(), request["Decision"]
    async with call.transaction() as tx:
        store = AccessRequestStore(tx)
        await store.lock(request["AccessRequestId"])
        found = await store.find(call.account_id, call.region, request["AccessRequestId"])
        if found is None:
            raise ResourceNotFoundException(f"There is no access request {request['AccessRequestId']}.")
        person = await _person(call, tx)
        own = person.user_id == found.requester_id and wanted == "Revoke"
        if not own and not decides(found, person):
            raise AccessDeniedException("You are no approver of this access request.")
        was, said = found.standing(now), (await store.decisions([found.request_id]))[found.request_id]
        if was is Status.EXPIRED and found.status is not Status.EXPIRED:
            found = found.moved(Status.EXPIRED, now)
        level = level_for(found, person, said) if wanted == "Approve" and found.status is Status.PENDING else 0
        decision = Decision(
            decision=wanted, level=level, by_arn=person.arn, by_id=person.user_id,
            comment=request.get("Comment") or "", at=now,
        )  # fmt: skip
        decided = _decided(found, decision, person, now)
        await store.decide(found.request_id, len(said) + 1, decision)
        if decided is not found:
            await store.move(decided, found.status)
        await telling.changed(call.house, tx, decided, decision)
    return {"AccessRequestId": decided.request_id, "AccessRequestStatus": decided.status.value}


def _decided(request: AccessRequest, decision: Decision, person: Person, now: int) -> AccessRequest:
    """The request after it. Raises ValidationException where it is too late."""
    if decision.decision == "Reject":
        return request.moved(Status.REJECTED, now)
    if decision.decision == "Revoke":
        return request.moved(Status.REVOKED, now)
    approved = request.moved(Status.APPROVED, now)
    return approved if person.is_root or decision.level + 1 == len(request.levels) else request


async def _person(call: Call, tx: Transaction) -> Person:
    who = call.principal
    return Person(
        arn=who.arn,
        user_id=who.user_id,
        name=who.name,
        role=who.role_arn.rpartition("/")[2],
        groups=frozenset(await access.groups_of(tx, call.account_id, who.user_id)),
        is_root=who.kind == "root",
    )


def _shape(request: AccessRequest, said: list[Decision], now: int) -> Shape:
    return {
        "AccessRequestId": request.request_id,
        "AccessRequestStatus": request.standing(now).value,
        "AutomationExecutionId": automation.execution_of_request(request.request_id),
        "Target": request.node_id,
        "Reason": request.reason,
        "Requester": request.requester_arn,
        "Policy": request.policy,
        "CreatedTime": from_millis(request.created_at),
        "EndTime": None if request.ends_at is None else from_millis(request.ends_at),
        "Approvers": [[f"{each.kind}/{each.name}" for each in level] for level in request.levels],
        "Decisions": [
            {"Decision": each.decision, "By": each.by_arn, "Comment": each.comment, "Time": from_millis(each.at)}
            for each in said
        ],
    }
