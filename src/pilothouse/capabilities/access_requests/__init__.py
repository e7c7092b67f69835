"""Access requests: access to one node for a while, approved by a policy or by those whom it names.

Owns the tables access_request and access_decision. While a request is approved, `granted` says what its credentials
allow. When an access is revoked, the event `access.ended` says so in the same transaction (facts: account_id, region,
request_id).
"""

from pilothouse.call import Capability
from pilothouse.capabilities.access_requests import deciding, jobs, operations
from pilothouse.capabilities.access_requests.granting import allowed
from pilothouse.capabilities.access_requests.model import Status
from pilothouse.capabilities.access_requests.operations import node_arn
from pilothouse.capabilities.access_requests.store import AccessRequestStore
from pilothouse.storage import Transaction

__all__ = ["CAPABILITY", "granted"]


async def granted(tx: Transaction, account_id: str, region: str, request_id: str, now: int) -> str | None:
    """The policy of the request's credentials; None if it gives no access now."""
    found = await AccessRequestStore(tx).find(account_id, region, request_id)
    if found is None or found.standing(now) is not Status.APPROVED:
        return None
    return allowed(found, node_arn(account_id, region, found.node_id))


CAPABILITY = Capability.of(
    "access_requests", operations, deciding, jobs, listeners={"node.deregistered": jobs.node_deregistered}
)
