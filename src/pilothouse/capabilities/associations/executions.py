"""Executions begin: on all nodes of an association or on some, for a time of its schedule or for another reason.

On a node runs do not overlap: where one is under way the new one is Skipped, and one that has not begun gives its place
to the new one.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from pilothouse.capabilities import commands, documents
from pilothouse.capabilities.associations import calendars, runbooks
from pilothouse.capabilities.associations.ledger import Ledger
from pilothouse.capabilities.associations.model import (
    Association,
    Execution,
    OnNode,
    Reason,
    Result,
    Run,
    State,
    Status,
)
from pilothouse.capabilities.associations.run_store import RunStore
from pilothouse.capabilities.associations.store import AssociationStore
from pilothouse.errors import ApiError
from pilothouse.gateway import presence
from pilothouse.scheduling import due
from pilothouse.storage import Transaction

LEFTOVERS = "association.leftovers"
"""Kind of what is due: runs that nodes should have begun by their own clocks, or could not be told of."""
_OWN_CLOCK_MS = 20_000
"""The official agent forgets its timer when it runs something else meanwhile, and then looks each 5 minutes only."""
_SEEN_AGAIN_MS = int(presence.BEAT_SECONDS * 1500)
"""Where a clock is put forward, a process counts as dead, and its nodes as away, until it says that it is there."""
_INVENTORY = "aws:softwareInventory"

_PENDING = Result(status=Status.PENDING, details=Status.PENDING)
_BUSY = Result(status=Status.SKIPPED, details=Status.SKIPPED, summary="An earlier run is still under way on the node.")
_REPLACED = Result(status=Status.SKIPPED, details=Status.SKIPPED, summary="A later run has taken its place.")
_CLOSED = "A calendar is closed."


@dataclass(frozen=True, slots=True)
class Occasion:
    """Why an execution begins, and for which time of the schedule."""

    reason: Reason
    due_at: int | None = None
    late_ms: int = 0
    execution_id: str | None = None
    """The id that it shall have."""


async def begin(ledger: Ledger, occasion: Occasion, node_ids: Collection[str] | None = None) -> Execution | None:
    """A new execution, on these nodes or all; None where there is no node that anything could be done on.

    A time of the schedule, and somebody's wish, have an execution even if no node is left to run it.
    """
    if ledger.association.terms.runbook:
        return await _runbook(ledger, occasion)
    members = await ledger.runs.members(ledger.association.association_id)
    chosen = {each: member for each, member in members.items() if node_ids is None or each in node_ids}
    if not chosen and occasion.reason not in (Reason.SCHEDULE, Reason.ASKED):
        return None
    document = await _document(ledger)
    execution = _new(ledger, occasion, len(chosen), document)
    if await calendars.closed(ledger.tx, ledger.association, ledger.now):
        execution.status = execution.details = Status.SKIPPED
        await ledger.runs.add(execution, [])
        return execution
    failed = await _failing(ledger, chosen, document)
    busy = await _make_way(ledger, chosen)
    gated = execution.concurrency_limit < len(chosen)
    runs = []
    for node_id in chosen:
        run = _run(ledger, execution, node_id, State.HELD if gated else State.LET_GO, _PENDING)
        if node_id in busy:
            run = replace(run, state=State.ENDED, result=_BUSY)
        elif node_id in failed:
            run = replace(run, state=State.ENDED, result=failed[node_id])
        execution.add(run)
        runs.append(run)
    execution.settle()
    await ledger.runs.add(execution, runs)
    execution = ledger.known(execution)
    for run in runs:
        if run.node_id not in busy:
            result = run.result if run.state is State.ENDED else _kept(chosen[run.node_id], run.result)
            ledger.stand(chosen[run.node_id], result, execution)
    await ledger.give_room(execution)
    await ledger.watch(execution)
    if occasion.reason is Reason.SCHEDULE and by_own_clock(ledger.association):
        await _look_again(ledger, execution, _OWN_CLOCK_MS)
    else:
        ledger.tell_node(run.node_id for run in runs if run.state is State.LET_GO)
        waiting = [run.node_id for run in runs if run.state is not State.ENDED]
        if len(await presence.connected(ledger.tx, waiting, ledger.now)) < len(waiting):
            await _look_again(ledger, execution, _SEEN_AGAIN_MS)
    return execution


async def _runbook(ledger: Ledger, occasion: Occasion) -> Execution:
    execution = _new(ledger, occasion, 1, await _document(ledger))
    if await calendars.closed(ledger.tx, ledger.association, ledger.now):
        execution.status = execution.details = Status.SKIPPED
        await ledger.runs.add(execution, [])
        return execution
    return await runbooks.begin(ledger, execution)


async def extend(ledger: Ledger, execution: Execution) -> None:
    """An execution that some nodes began ahead of the server's clock is on all of the association's nodes."""
    execution = ledger.known(execution)
    members = await ledger.runs.members(ledger.association.association_id)
    there = {run.node_id for run in await ledger.runs.runs(execution.execution_id, "", 2**31)}
    missing = {each: member for each, member in members.items() if each not in there}
    busy = await _make_way(ledger, missing)
    runs = []
    for node_id, member in missing.items():
        run = _run(ledger, execution, node_id, State.LET_GO, _PENDING)
        if node_id in busy:
            run = replace(run, state=State.ENDED, result=_BUSY)
        else:
            ledger.stand(member, _kept(member, run.result), execution)
        execution.add(run)
        runs.append(run)
    await ledger.runs.add_runs(runs)
    await _look_again(ledger, execution, _OWN_CLOCK_MS)


async def _look_again(ledger: Ledger, execution: Execution, after_ms: int) -> None:
    where = {"account_id": execution.account_id, "region": execution.region}
    at = ledger.now + after_ms
    await due.put(ledger.house, ledger.tx, LEFTOVERS, execution.execution_id, at, **where)


async def alone(ledger: Ledger, occasion: Occasion, node_id: str) -> tuple[Execution, Run]:
    """An execution that a node began by itself, with its run."""
    execution = _new(ledger, occasion, 1, await _document(ledger))
    await ledger.runs.add(execution, [])
    return await joined(ledger, execution, node_id)


async def joined(ledger: Ledger, execution: Execution, node_id: str) -> tuple[Execution, Run]:
    """The node's run of an execution that had none for it."""
    execution = ledger.known(execution)
    run = _run(ledger, execution, node_id, State.LET_GO, _PENDING)
    execution.add(run)
    await ledger.runs.add_runs([run])
    return execution, run


def by_own_clock(association: Association) -> bool:
    """Whether every agent begins by itself at the times of the schedule: those with rates, and with plain crons."""
    terms = association.terms
    plain = terms.schedule is not None and not terms.schedule.startswith("at(") and not terms.schedule_offset
    return plain and not terms.server_decides and not terms.runbook


async def begin_by_terms(ledger: Ledger, reason: Reason, node_ids: Collection[str] | None = None) -> None:
    """What creation, a change, and new nodes begin: nothing, where it shall run at the times of its schedule only."""
    if not ledger.association.terms.only_at_interval and ledger.association.paused_at is None:
        await begin(ledger, Occasion(reason), node_ids)


async def plan_next(ledger: Ledger) -> None:
    """Have the association called when it is due next."""
    association = ledger.association
    await due.put(
        ledger.house, ledger.tx, "association", association.association_id, association.next_due(ledger.now),
        account_id=association.account_id, region=association.region,
    )  # fmt: skip


async def _document(ledger: Ledger) -> documents.Document | ApiError:
    terms = ledger.association.terms
    where = ledger.association.account_id, ledger.association.region
    try:
        return await documents.for_run(ledger.tx, *where, terms.document, terms.document_version)
    except (documents.InvalidDocument, documents.InvalidDocumentVersion) as error:
        return error


def _new(ledger: Ledger, occasion: Occasion, nodes: int, document: documents.Document | ApiError) -> Execution:
    association = ledger.association
    terms = association.terms
    seconds = 0 if isinstance(document, ApiError) else document.execution_seconds(terms.parameters)
    errors = terms.max_errors
    return Execution(
        execution_id=occasion.execution_id or ledger.house.ids.uuid(),
        association_id=association.association_id,
        account_id=association.account_id,
        region=association.region,
        version=association.version,
        reason=occasion.reason,
        created_at=ledger.now,
        due_at=occasion.due_at,
        late_ms=occasion.late_ms,
        concurrency_limit=commands.concurrency_limit(terms.max_concurrency or "100%", nodes),
        error_limit=None if errors is None else commands.error_limit(errors, nodes),
        ends_at=None if terms.duration is None else ledger.now + terms.duration * 3_600_000,
        run_seconds=seconds,
    )


def _run(ledger: Ledger, execution: Execution, node_id: str, state: State, result: Result) -> Run:
    return Run(
        execution_id=execution.execution_id,
        node_id=node_id,
        association_id=ledger.association.association_id,
        state=state,
        result=result,
        changed_at=ledger.now,
    )


def _kept(member: OnNode, result: Result) -> Result:
    """What is pending on a node keeps the time of the run before."""
    return replace(result, executed_at=member.result.executed_at)


async def _make_way(ledger: Ledger, nodes: Collection[str]) -> set[str]:
    """End what waits on the nodes for earlier executions; the nodes on which something is under way."""
    busy = set()
    for earlier in await ledger.runs.open_executions(ledger.association.association_id):
        earlier = ledger.known(earlier)
        for run in await ledger.runs.open_runs(earlier.execution_id):
            if run.node_id not in nodes:
                continue
            if run.state is State.RUNNING:
                busy.add(run.node_id)
            else:
                ledger.move(earlier, run, State.ENDED, _REPLACED)
    return busy


async def _failing(
    ledger: Ledger, nodes: Iterable[str], document: documents.Document | ApiError
) -> dict[str, Result]:  # fmt: skip
    """Nodes on which it fails from the beginning: nothing can be run, or an older association gathers inventory."""
    if isinstance(document, ApiError):
        text = f"The document {ledger.association.terms.document} cannot be run: {document.message}"
        failed = Result(status=Status.FAILED, details=Status.FAILED, summary=text, error_code="InvalidAssoc",
                        executed_at=ledger.now)  # fmt: skip
        return dict.fromkeys(nodes, failed)
    if not any(step.action == _INVENTORY for step in document.steps):
        return {}
    found = {}
    for node_id in nodes:
        other = await _older_inventory(ledger.tx, ledger.association, node_id)
        if other is not None:
            text = f"The node has an inventory association already: {other}. There can be one on a node."
            found[node_id] = Result(status=Status.FAILED, details=Status.FAILED, summary=text, executed_at=ledger.now,
                                    error_code="InvalidAssoc")  # fmt: skip
    return found


async def _older_inventory(tx: Transaction, association: Association, node_id: str) -> str | None:
    ids = [each.association_id for each in await RunStore(tx).on_node(node_id, "", 1000)]
    others = await AssociationStore(tx).by_ids([each for each in ids if each != association.association_id])
    for other in sorted(others.values(), key=_age):
        if _age(other) < _age(association) and await _gathers_inventory(tx, other):
            return other.association_id
    return None


def _age(association: Association) -> tuple[int, str]:
    return association.created_at, association.association_id


async def _gathers_inventory(tx: Transaction, association: Association) -> bool:
    terms = association.terms
    try:
        document = await documents.for_run(
            tx, association.account_id, association.region, terms.document, terms.document_version
        )
    except (documents.InvalidDocument, documents.InvalidDocumentVersion):
        return False
    return any(step.action == _INVENTORY for step in document.steps)
