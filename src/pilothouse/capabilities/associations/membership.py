"""Which nodes an association is for, as tags, registrations and groups change.

What changes a node only notes that the node is to be looked at; the look is due at once, in a transaction of its own.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from pilothouse.call import House
from pilothouse.capabilities import nodes, tags
from pilothouse.capabilities.associations.executions import begin_by_terms
from pilothouse.capabilities.associations.ledger import Ledger
from pilothouse.capabilities.associations.model import (
    ASSOCIATED,
    Association,
    OnNode,
    Reason,
    Result,
    State,
    Status,
)
from pilothouse.capabilities.associations.run_store import RunStore
from pilothouse.capabilities.associations.store import AssociationStore
from pilothouse.scheduling import due
from pilothouse.scheduling.firing import Due
from pilothouse.storage import Transaction

LOOK: Final = "association.node"
"""Kind of what is due: a node whose associations may have become others."""
_NODE: Final = "ManagedInstance"
GROUP: Final = "resource-groups:Name"
RUNBOOKS_GROUP: Final = "ResourceGroup"
"""What runbooks call it; nodes do not join those."""
_MOST: Final = 10_000
_NEW: Final = Result(status=Status.PENDING, details=ASSOCIATED)
_LEFT: Final = Result(status=Status.SKIPPED, details=Status.SKIPPED, summary="The node is no target any more.")


def pairs(association: Association) -> Iterable[tuple[str, str]]:
    """By which keys and values the association is found when a node changes, and when one asks for those of a group."""
    if association.terms.runbook:
        for target in association.terms.targets:
            if target["Key"] == RUNBOOKS_GROUP:
                yield from ((RUNBOOKS_GROUP, value) for value in target.get("Values") or ())
        return
    if association.instance_id:
        yield "InstanceIds", association.instance_id
    for target in association.terms.targets:
        for value in target.get("Values") or ():
            yield target["Key"], value


def targets_of(association: Association) -> list[dict[str, Any]]:
    """As the resolver of targets takes them; none where nodes do not run it."""
    if association.terms.runbook:
        return []
    if association.instance_id:
        return [{"Key": "InstanceIds", "Values": [association.instance_id]}]
    return association.terms.targets


async def node_changed(house: House, tx: Transaction, facts: Mapping[str, Any]) -> None:
    """`node.registered`, `node.deregistered`: the node is looked at soon."""
    where = {"account_id": facts["account_id"], "region": facts["region"]}
    await due.put(house, tx, LOOK, facts["node_id"], house.clock.millis(), **where)


async def tags_changed(house: House, tx: Transaction, facts: Mapping[str, Any]) -> None:
    """`tags.changed`."""
    if facts["resource_type"] == _NODE:
        await node_changed(house, tx, {**facts, "node_id": facts["resource_id"]})


async def look_at_node(house: House, tx: Transaction, looked: Due) -> int | None:
    """The node joins the associations whose targets it fits now, and leaves the others."""
    node_id = looked.key
    where = looked.account_id, looked.region
    store = AssociationStore(tx)
    now_in = {each.association_id for each in await RunStore(tx).on_node(node_id, "", _MOST)}
    node = await nodes.find(tx, *where, node_id)
    of_node = await tags.of(tx, *where, _NODE, node_id) if node is not None else {}
    candidates = set(now_in)
    if node is not None:
        candidates |= await store.matching(*where, "InstanceIds", ["*", node_id])
        candidates |= await store.matching(*where, "tag-key", list(of_node))
        for key, value in of_node.items():
            candidates |= await store.matching(*where, f"tag:{key}", [value])
    for association_id in sorted(candidates):
        ledger = await Ledger.opened(house, tx, association_id)
        if ledger is None:
            continue
        fits = node is not None and await _fits(tx, ledger.association, node_id, of_node)
        if fits and association_id not in now_in:
            await _join(ledger, [node_id])
        elif not fits and association_id in now_in:
            await _leave(ledger, [node_id])
        await ledger.close()
    return None


async def refresh(ledger: Ledger, reason: Reason = Reason.JOINED) -> None:
    """Bring the nodes of the association up to date with its targets."""
    association = ledger.association
    where = association.account_id, association.region
    targets = targets_of(association)
    fitting = (
        {each.node_id for each in await nodes.resolve_targets(ledger.tx, *where, [], targets)} if targets else set()
    )
    members = await ledger.runs.members(association.association_id)
    await _leave(ledger, sorted(members.keys() - fitting))
    await _join(ledger, sorted(fitting - members.keys()), reason)


async def add_first(ledger: Ledger) -> None:
    """The nodes of a new association."""
    association = ledger.association
    where = association.account_id, association.region
    if not association.terms.runbook:
        found = await nodes.resolve_targets(ledger.tx, *where, [], targets_of(association))
        await ledger.join(_new(ledger, [each.node_id for each in found]))


async def _join(ledger: Ledger, node_ids: Sequence[str], reason: Reason = Reason.JOINED) -> None:
    if not node_ids:
        return
    await ledger.join(_new(ledger, node_ids))
    await begin_by_terms(ledger, reason, node_ids)
    ledger.tell_node(node_ids)


def _new(ledger: Ledger, node_ids: Sequence[str]) -> list[OnNode]:
    association_id = ledger.association.association_id
    return [OnNode(association_id=association_id, node_id=each, result=_NEW, since=ledger.now) for each in node_ids]


async def _leave(ledger: Ledger, node_ids: Sequence[str]) -> None:
    if not node_ids:
        return
    members = await ledger.runs.members(ledger.association.association_id)
    for execution in await ledger.runs.open_executions(ledger.association.association_id):
        execution = ledger.known(execution)
        for run in await ledger.runs.open_runs(execution.execution_id):
            if run.node_id in node_ids and run.state is not State.RUNNING:
                ledger.move(execution, run, State.ENDED, _LEFT)
        await ledger.give_room(execution)
    await ledger.leave([members[each] for each in node_ids if each in members])


async def _fits(tx: Transaction, association: Association, node_id: str, of_node: Mapping[str, str]) -> bool:
    """Whether this node fits all targets; they are not resolved for all nodes."""
    targets = targets_of(association)
    for target in targets:
        key, values = target["Key"], target.get("Values") or []
        if key == "InstanceIds":
            fits = "*" in values or node_id in values
        elif key == "tag-key":
            fits = bool(set(values) & of_node.keys())
        elif key.startswith("tag:"):
            fits = of_node.get(key.removeprefix("tag:")) in values
        else:
            where = association.account_id, association.region
            fits = any(each.node_id == node_id for each in await nodes.resolve_targets(tx, *where, [], [target]))
        if not fits:
            return False
    return bool(targets)
