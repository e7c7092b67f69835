"""Access requests: access to one node for a while, approved by a policy or by those whom it names.

Owns the tables access_request and access_decision. While a request is approved, `granted` says what its credentials
allow. When an access is revoked, the event `access.ended` says so in the same transaction (facts: account_id, region,
request_id).
"""

from pilothouse.call import Capability
from pilothouse.capabilities import keys, sessions
from pilothouse.capabilities.access_requests import deciding, jobs, operations
from pilothouse.capabilities.access_requests.granting import allowed
from pilothouse.capabilities.access_requests.model import AccessRequest, Status
from pilothouse.capabilities.access_requests.operations import node_arn
from pilothouse.capabilities.access_requests.store import AccessRequestStore
from pilothouse.storage import Transaction

__all__ = ["CAPABILITY", "granted"]


async def granted(tx: Transaction, account_id: str, region: str, request_id: str, now: int) -> str | None:
    """The policy of the request's credentials; None if it gives no access now."""
    found = await AccessRequestStore(tx).find(account_id, region, request_id)
    if found is None or found.standing(now) is not Status.APPROVED:
        return None
    return allowed(found, node_arn(account_id, region, found.node_id), await _keys(tx, found))


async def _keys(tx: Transaction, request: AccessRequest) -> dict[str, list[str]]:
    """ARNs of the keys that sessions of the access are encrypted with, and which sessions."""
    sessions_of: dict[str, list[str]] = {}
    for session_id, named in (await sessions.keys_of_access(tx, request.account_id, request.request_id)).items():
        arn = await keys.arn_of(tx, request.account_id, request.region, named)
        if arn is not None:
            sessions_of.setdefault(arn, []).append(session_id)
    return sessions_of


CAPABILITY = Capability.of(
    "access_requests", operations, deciding, jobs, listeners={"node.deregistered": jobs.node_deregistered}
)
