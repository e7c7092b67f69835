"""What nodes report of their runs, and which run each report is about.

The official agent names the association alone: its word is about the run that is open on it, or about one that it began
by its own clock. Our agent names the execution and the time of the schedule, also hours later. Reports repeat.
"""

from dataclasses import dataclass, replace

from pilothouse.call import House
from pilothouse.capabilities.associations.executions import Occasion, alone, joined
from pilothouse.capabilities.associations.ledger import Ledger
from pilothouse.capabilities.associations.model import (
    AssociationDoesNotExist,
    Execution,
    Reason,
    Result,
    Run,
    State,
    Status,
)
from pilothouse.storage import Transaction

_AHEAD_MS = 5 * 60_000
"""A node whose clock is fast begins before the server thinks it is time."""

_STATES = {Status.PENDING: State.LET_GO, Status.IN_PROGRESS: State.RUNNING}


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a node says."""

    node_id: str
    association_id: str
    result: Result
    execution_id: str | None = None
    due_at: int | None = None

    @property
    def state(self) -> State:
        return _STATES.get(Status(self.result.status), State.ENDED)


async def hear(house: House, tx: Transaction, account_id: str, region: str, report: Report) -> None:
    """Move the run that the report is about. Raises AssociationDoesNotExist."""
    ledger = await Ledger.opened(house, tx, report.association_id)
    if ledger is None or (ledger.association.account_id, ledger.association.region) != (account_id, region):
        raise AssociationDoesNotExist
    found = await _run_of(ledger, report)
    if found is None:
        return
    execution, run = found
    state = report.state
    if state is State.LET_GO and run.state is State.LET_GO:  # it says what it was told
        await ledger.close()
        return
    after = ledger.move(execution, run, state, report.result, by_node=True)
    if after is not run:
        member = await ledger.runs.member(report.association_id, report.node_id)
        if member is not None and _is_newest(member.execution_id, execution, member.result.executed_at, report):
            ledger.stand(member, report.result, execution)
        if state is State.RUNNING:
            await ledger.watch(execution)
        if state is State.ENDED:
            await ledger.give_room(execution)
    await ledger.close(nudge=True)


def _is_newest(shown: str | None, execution: Execution, executed_at: int | None, report: Report) -> bool:
    """A report of an earlier time that comes late does not change how the association stands on the node."""
    if shown == execution.execution_id or executed_at is None or report.result.executed_at is None:
        return True
    return report.result.executed_at >= executed_at


async def _run_of(ledger: Ledger, report: Report) -> tuple[Execution, Run] | None:
    """The execution and the run that the report is about; None for one that is known to have ended so."""
    if report.execution_id is not None or report.due_at is not None:
        return await _named(ledger, report)
    open_ = await ledger.runs.open_on(report.association_id, report.node_id)
    if open_:
        execution = await ledger.runs.execution(open_[0].execution_id)
        assert execution is not None
        return ledger.known(execution), open_[0]
    member = await ledger.runs.member(report.association_id, report.node_id)
    if member is None:
        raise AssociationDoesNotExist
    if report.state is State.ENDED:
        return await _ended_before(ledger, report, member.execution_id)
    due_at = _due_now(ledger)
    if due_at is not None:
        return await _of_schedule(ledger, due_at, report)
    return await alone(ledger, Occasion(Reason.NODE), report.node_id)


async def _ended_before(
    ledger: Ledger, report: Report, execution_id: str | None
) -> tuple[Execution, Run] | None:  # fmt: skip
    """A final word on a run that the server gave up meanwhile, or on one that it knows to have ended."""
    run = await ledger.runs.run(execution_id, report.node_id) if execution_id is not None else None
    execution = await ledger.runs.execution(execution_id) if execution_id is not None else None
    if run is None or execution is None:
        return await alone(ledger, Occasion(Reason.NODE), report.node_id)
    return None if run.by_node else (ledger.known(execution), run)


def _due_now(ledger: Ledger) -> int | None:
    """The latest time of the schedule that has come, or is about to, and that the server has not dealt with."""
    association = ledger.association
    table = None if association.terms.server_decides else association.timetable
    if table is None or association.paused_at is not None:
        return None
    found = None
    since = association.last_due_at
    for moment in table.moments(association.updated_at if since is None else since):
        if moment > ledger.now + _AHEAD_MS:
            break
        found = moment
    return found


async def _named(ledger: Ledger, report: Report) -> tuple[Execution, Run] | None:
    """Of our agent: the same execution for the same report, however often and late it comes."""
    association_id = report.association_id
    if report.execution_id is not None:
        execution = await ledger.runs.execution(report.execution_id)
        if execution is not None:
            if execution.association_id != association_id:
                raise AssociationDoesNotExist
            return await _within(ledger, execution, report)
    if report.due_at is not None and _is_due(ledger, report.due_at):
        return await _of_schedule(ledger, report.due_at, report)
    if await ledger.runs.member(association_id, report.node_id) is None:
        raise AssociationDoesNotExist
    return await alone(ledger, Occasion(Reason.NODE, execution_id=report.execution_id), report.node_id)


def _is_due(ledger: Ledger, moment: int) -> bool:
    table = ledger.association.timetable
    if table is None or moment > ledger.now + _AHEAD_MS:
        return False
    return table.next_after(moment - 1) == moment


async def _of_schedule(ledger: Ledger, due_at: int, report: Report) -> tuple[Execution, Run]:
    execution = await ledger.runs.due(report.association_id, due_at)
    if execution is not None:
        return await _within(ledger, execution, report)
    late = max(0, ledger.now - due_at)
    occasion = Occasion(Reason.SCHEDULE, due_at=due_at, late_ms=late, execution_id=report.execution_id)
    return await alone(ledger, occasion, report.node_id)


async def _within(ledger: Ledger, execution: Execution, report: Report) -> tuple[Execution, Run]:
    run = await ledger.runs.run(execution.execution_id, report.node_id)
    if run is not None:
        return ledger.known(execution), run
    if await ledger.runs.member(report.association_id, report.node_id) is None:
        raise AssociationDoesNotExist
    return await joined(ledger, execution, report.node_id)


def shortened(result: Result) -> Result:
    """With texts of the lengths that are kept."""
    return replace(result, summary=result.summary[:512], error_code=result.error_code[:100],
                   output_url=result.output_url[:500])  # fmt: skip
