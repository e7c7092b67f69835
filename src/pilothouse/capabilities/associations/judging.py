"""What associations say of nodes in compliance: one item for each association and node, while it is a target.

Where many nodes change at once, each is judged in a transaction of its own.
"""

from collections.abc import Collection, Sequence
from typing import Final

from pilothouse.call import House
from pilothouse.capabilities import compliance
from pilothouse.capabilities.associations.model import Association, OnNode, Status
from pilothouse.capabilities.associations.run_store import RunStore
from pilothouse.capabilities.associations.store import AssociationStore
from pilothouse.scheduling import due
from pilothouse.scheduling.firing import Due
from pilothouse.storage import Transaction

JUDGE: Final = "association.judge"
"""Kind of what is due: an association on a node is to be judged; the key names both."""
_AT_ONCE: Final = 20
_JUDGED: Final = {
    Status.SUCCESS: compliance.COMPLIANT,
    Status.FAILED: compliance.NON_COMPLIANT,
    Status.TIMED_OUT: compliance.NON_COMPLIANT,
}
_MANUAL: Final = "MANUAL"


async def judge(house: House, tx: Transaction, association: Association, members: Sequence[OnNode]) -> None:
    """By how it stands on these nodes now. What has not ended keeps the judgement of the run before."""
    if association.terms.sync_compliance == _MANUAL:
        return
    judged = [each for each in members if Status(each.result.status) in _JUDGED]
    if len(judged) > _AT_ONCE:
        await _later(house, tx, association, [each.node_id for each in judged])
        return
    for each in judged:
        await _put(house, tx, association, each)


async def forget(house: House, tx: Transaction, association: Association, node_ids: Collection[str]) -> None:
    """It is for these nodes no more."""
    if len(node_ids) > _AT_ONCE:
        await _later(house, tx, association, node_ids)
        return
    keeper = compliance.Keeper(house, tx, association.account_id, association.region)
    for node_id in sorted(node_ids):
        await keeper.remove(node_id, compliance.ASSOCIATION, [association.association_id])


async def judgement_due(house: House, tx: Transaction, now: Due) -> int | None:
    """Bring the item of one node up to date."""
    association_id, _, node_id = now.key.partition("/")
    association = await AssociationStore(tx).by_id(association_id)
    member = await RunStore(tx).member(association_id, node_id)
    if association is None or member is None:
        keeper = compliance.Keeper(house, tx, now.account_id, now.region)
        await keeper.remove(node_id, compliance.ASSOCIATION, [association_id])
    else:
        await judge(house, tx, association, [member])
    return None


async def _later(house: House, tx: Transaction, association: Association, node_ids: Collection[str]) -> None:
    where = {"account_id": association.account_id, "region": association.region}
    at = house.clock.millis()
    for node_id in node_ids:
        await due.put(house, tx, JUDGE, f"{association.association_id}/{node_id}", at, **where)


async def _put(house: House, tx: Transaction, association: Association, member: OnNode) -> None:
    terms = association.terms
    item = compliance.Item(
        item_id=association.association_id,
        severity=terms.severity or compliance.UNSPECIFIED,
        status=_JUDGED[Status(member.result.status)],
        details={"DocumentName": terms.document, "DocumentVersion": terms.document_version or "$DEFAULT"},
    )
    at = member.result.executed_at
    found_by = compliance.Execution(
        at=house.clock.millis() if at is None else at,
        execution_id=member.execution_id or "",
        execution_type="Command",
    )
    keeper = compliance.Keeper(house, tx, association.account_id, association.region)
    try:
        await keeper.put(member.node_id, compliance.ASSOCIATION, [item], found_by, whole=False)
    except compliance.InvalidResourceId:
        return  # it was deregistered meanwhile
