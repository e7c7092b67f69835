"""What is told of requests: an event at each change of status, a message to the topic of the policy, and to sessions
that an access has ended."""

from typing import Any, Final

import msgspec

from pilothouse.call import House
from pilothouse.capabilities import automation
from pilothouse.capabilities.access_requests.model import AccessRequest, Decision, Status
from pilothouse.runtime.clock import from_millis
from pilothouse.storage import Transaction

DETAIL_TYPE: Final = "Access Request Status Change"
ENDED: Final = "access.ended"


async def changed(house: House, tx: Transaction, request: AccessRequest, last: Decision | None = None) -> None:
    """Its status is another, or it is new, or a level approved it."""
    detail: dict[str, Any] = {
        "access-request-id": request.request_id,
        "automation-execution-id": automation.execution_of_request(request.request_id),
        "status": request.status.value,
        "target": request.node_id,
        "requester": request.requester_arn,
        "reason": request.reason,
        "policy": request.policy,
    }
    if request.ends_at is not None:
        detail["end-time"] = from_millis(request.ends_at).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if last is not None:
        detail["decision"] = {"decision": last.decision, "by": last.by_arn, "comment": last.comment}
    where = {"account_id": request.account_id, "region": request.region}
    await house.tell(
        tx, "event", **where, source="aws.ssm", detail_type=DETAIL_TYPE, resources=[request.arn], detail=detail
    )
    if request.topic_arn:
        subject = f"Access request {request.request_id}: {request.status.value}"
        messages = [msgspec.json.encode(detail).decode()]
        await house.tell(
            tx, "topic.messages", **where, topic_arn=request.topic_arn, subject=subject, messages=messages
        )  # fmt: skip
    if request.status is Status.REVOKED:
        await house.tell(tx, ENDED, **where, request_id=request.request_id)
