"""Automation: runbooks, done step by step.

Owns the tables automation_execution, automation_step, automation_wait, automation_runbook, automation_token,
automation_queue and automation_preview: what becomes of runbooks. The documents themselves belong to `documents`. An
action is a file in `actions`, and `actions/interface.py` says what it is. Who brings about what an action waits for
tells it by `happened`.

Who starts executions does it by StartAutomationExecution of the operation table, in its own transaction. That one has
ended is told inside the transaction that ended it, as `automation.ended` (facts: account_id, region, execution_id,
status, parent_id, failure): listen for it as for `command.finished`, and put due what follows rather than do it there.
`status_of` tells how one stands.
"""

from collections.abc import Mapping
from typing import Any

from pilothouse.call import Call, Capability, House, Lasting, Shape
from pilothouse.capabilities import tags
from pilothouse.capabilities.automation import approval_links, approving, jobs, listing, operations, previews, signals
from pilothouse.capabilities.automation.access_signals import execution_of_request
from pilothouse.capabilities.automation.actions import ACTIONS
from pilothouse.capabilities.automation.fanning import STOP
from pilothouse.capabilities.automation.going import execution_due, something_happened, stop_due
from pilothouse.capabilities.automation.performing import perform_all
from pilothouse.capabilities.automation.queueing import DUE, QUEUE, queue_due
from pilothouse.capabilities.automation.refusing import document_checking
from pilothouse.capabilities.automation.starting import TAGGED_AS, prepared
from pilothouse.capabilities.automation.store import SEALED, AutomationStore, place_of
from pilothouse.capabilities.automation.telling import HAPPENED, happened
from pilothouse.storage import Transaction


async def status_of(house: House, tx: Transaction, account_id: str, region: str, execution_id: str) -> str | None:
    """AutomationExecutionStatus of an execution; None if it is not there (any more)."""
    found = await AutomationStore(tx, house.vault).execution(execution_id)
    return None if found is None or (found.account_id, found.region) != (account_id, region) else found.status.value


async def outcome_of(
    house: House, tx: Transaction, account_id: str, region: str, execution_id: str
) -> tuple[str, str] | None:
    """The status of an execution, and why it failed where it did; None if it is not there (any more)."""
    found = await AutomationStore(tx, house.vault).execution(execution_id)
    if found is None or (found.account_id, found.region) != (account_id, region):
        return None
    return found.status.value, found.contents.failure


async def belongs_to(house: House, tx: Transaction, execution_id: str, association_id: str) -> None:
    """An association has started the execution, in this transaction."""
    store = AutomationStore(tx, house.vault)
    found = await store.execution(execution_id)
    assert found is not None
    found.association_id = association_id
    await store.save(found)


async def check_start(call: Call, tx: Transaction, request: Shape) -> None:
    """Raises what StartAutomationExecution would for whoever calls; nothing is started."""
    await prepared(call, tx, request)


async def _command_finished(house: House, tx: Transaction, facts: Mapping[str, Any]) -> None:
    """Whoever told it holds locks: what follows is done later."""
    key = f"command:{facts['command_id']}"
    if await AutomationStore(tx, house.vault).waiting_for(key):
        await happened(house, tx, key, account_id=facts["account_id"], region=facts["region"])


async def _find(tx: Transaction, account_id: str, region: str, resource_id: str) -> str | None:
    """The execution that tags hang on."""
    return resource_id if await place_of(tx, resource_id) == (account_id, region) else None


async def _tags(tx: Transaction, account_id: str, region: str, rest: str) -> dict[str, str]:
    """Of the execution that an ARN ends with."""
    return await tags.of(tx, account_id, region, TAGGED_AS, rest)


CAPABILITY = Capability.of(
    "automation",
    operations,
    listing,
    signals,
    previews,
    jobs,
    taggable={TAGGED_AS: _find},
    tags_of={"automation-execution": _tags},
    sealed=SEALED,
    due={DUE: execution_due, QUEUE: queue_due, HAPPENED: something_happened, STOP: stop_due},
    listeners={"command.finished": _command_finished, "document.checking": document_checking},
    lasting=(Lasting(name="automation.calls", run=perform_all),),
    visits={approval_links.PATH: approving.visited},
)

__all__ = [
    "ACTIONS",
    "CAPABILITY",
    "belongs_to",
    "check_start",
    "execution_of_request",
    "happened",
    "outcome_of",
    "status_of",
]
