"""Associations: what nodes shall keep to, by which document, on which schedule, and how they do.

Owns the tables association, association_version, association_target, association_node, association_execution and
association_run. Nodes pull their associations and run them, most by their own clocks; the server decides where limits
or calendars are in the way, knows which times were due, and keeps what became of each. Runbooks it starts itself.
Told is `node.associations` (see `telling`); what nodes keep to is judged in compliance (see `judging`).
"""

from collections.abc import Mapping
from typing import Any

from pilothouse.call import Capability, House, Shape
from pilothouse.capabilities import tags
from pilothouse.capabilities.associations import agent, coming, explaining, jobs, listing, operations, runbooks, shapes
from pilothouse.capabilities.associations.contact import BACK, came_back, channel_opened
from pilothouse.capabilities.associations.executions import LEFTOVERS
from pilothouse.capabilities.associations.judging import JUDGE, judgement_due
from pilothouse.capabilities.associations.ledger import WATCH
from pilothouse.capabilities.associations.membership import LOOK, look_at_node, node_changed, tags_changed
from pilothouse.capabilities.associations.model import AssociatedInstances
from pilothouse.capabilities.associations.nudging import TOPIC, NudgeSender
from pilothouse.capabilities.associations.run_store import RunStore
from pilothouse.capabilities.associations.store import AssociationStore
from pilothouse.storage import Transaction


async def _find(tx: Transaction, account_id: str, region: str, resource_id: str) -> str | None:
    """The association that tags hang on."""
    found = await AssociationStore(tx).find(account_id, region, resource_id)
    return None if found is None else resource_id


async def _tags(tx: Transaction, account_id: str, region: str, rest: str) -> dict[str, str]:
    """Of the association that an ARN ends with."""
    return await tags.of(tx, account_id, region, operations.TAGGED_AS, rest)


async def _invocation(
    tx: Transaction, account_id: str, region: str, execution_id: str, node_id: str
) -> Shape | None:  # fmt: skip
    """What OutputSourceId of an execution's target leads to."""
    runs = RunStore(tx)
    run = await runs.run(execution_id, node_id)
    execution = await runs.execution(execution_id) if run is not None else None
    if run is None or execution is None:
        return None
    association = await AssociationStore(tx).find(account_id, region, execution.association_id)
    return None if association is None else shapes.invocation(association, execution, run)


async def _document_deleting(house: House, tx: Transaction, facts: Mapping[str, Any]) -> None:
    """A document that is associated stays."""
    ids = await AssociationStore(tx).of_document(facts["account_id"], facts["region"], facts["name"])
    if ids:
        raise AssociatedInstances(
            f"You must disassociate a document from all managed nodes before you can delete it: {ids[0]}."
        )


CAPABILITY = Capability.of(
    "associations",
    operations,
    listing,
    agent,
    coming,
    explaining,
    jobs,
    topics={TOPIC: NudgeSender()},
    taggable={operations.TAGGED_AS: _find},
    tags_of={"association": _tags},
    listeners={
        "node.registered": node_changed,
        "node.deregistered": node_changed,
        "node.channel": channel_opened,
        "tags.changed": tags_changed,
        "document.deleting": _document_deleting,
        "automation.ended": runbooks.automation_ended,
    },
    coming=(coming.associations_coming,),
    invocations=(_invocation,),
    due={
        "association": jobs.association_due,
        WATCH: jobs.execution_watched,
        LEFTOVERS: jobs.leftovers,
        LOOK: look_at_node,
        BACK: came_back,
        JUDGE: judgement_due,
        runbooks.ENDED: runbooks.runbook_ended,
    },
)

__all__ = ["CAPABILITY"]
