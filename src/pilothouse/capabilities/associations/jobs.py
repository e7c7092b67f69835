"""What happens by itself: times of schedules, runs that are given up, groups that are looked over, old history."""

from dataclasses import replace
from datetime import timedelta
from typing import Final

import structlog

from pilothouse.call import House, job
from pilothouse.capabilities.associations import runbooks
from pilothouse.capabilities.associations.executions import Occasion, begin, extend
from pilothouse.capabilities.associations.ledger import LOST_MS, Ledger
from pilothouse.capabilities.associations.membership import GROUP, refresh
from pilothouse.capabilities.associations.model import Execution, Reason, Result, State, Status
from pilothouse.capabilities.associations.run_store import RunStore
from pilothouse.capabilities.associations.store import AssociationStore
from pilothouse.errors import ApiError
from pilothouse.scheduling.firing import Due
from pilothouse.storage import Transaction

log = structlog.get_logger()

_DAY_MS: Final = 24 * 3_600_000
_FORGET: Final = 500
_FORGET_BATCHES: Final = 50

_CUT_OFF = Result(
    status=Status.CANCELLED, details=Status.CANCELLED, summary="Not begun within the association's Duration."
)
_LOST = Result(
    status=Status.TIMED_OUT,
    details=Status.TIMED_OUT,
    summary="The node began it and has not said for hours what became of it.",
)


async def association_due(house: House, tx: Transaction, due: Due) -> int | None:
    """A time of an association's schedule has come. Where several were missed, the latest of them counts for all."""
    ledger = await Ledger.opened(house, tx, due.key)
    if ledger is None or ledger.association.paused_at is not None:
        return None
    table = ledger.association.timetable
    if table is None:
        return None
    moment, following = due.at, table.next_after(due.at)
    while following is not None and following <= ledger.now:
        moment, following = following, table.next_after(following)
    ledger.association = replace(ledger.association, last_due_at=moment)
    execution = await ledger.runs.due(due.key, moment)
    if execution is not None and not ledger.association.terms.runbook:
        await extend(ledger, execution)
    elif execution is None:
        await begin(ledger, Occasion(Reason.SCHEDULE, due_at=moment, late_ms=due.late_ms))
    await ledger.close()
    return following


async def execution_watched(house: House, tx: Transaction, due: Due) -> int | None:
    """Give up what has not begun within the Duration, and runs of which nothing was heard for hours."""
    execution = await RunStore(tx).execution(due.key)
    ledger = None if execution is None else await Ledger.opened(house, tx, execution.association_id)
    execution = None if ledger is None else await ledger.runs.execution(due.key)
    if ledger is None or execution is None or execution.final:
        return None
    if ledger.association.terms.runbook:
        await runbooks.cut_off(ledger, execution)
        return None
    execution = ledger.known(execution)
    members = await ledger.runs.members(execution.association_id)
    ahead = []
    for run in await ledger.runs.open_runs(execution.execution_id):
        result, at = (_LOST, _lost_at(execution, run.changed_at)) if run.state is State.RUNNING else (
            _CUT_OFF, execution.ends_at
        )  # fmt: skip
        if at is None:
            continue
        if at > ledger.now:
            ahead.append(at)
            continue
        ledger.move(execution, run, State.ENDED, result)
        if run.node_id in members:
            ledger.stand(members[run.node_id], replace(result, executed_at=run.result.executed_at), execution)
    await ledger.give_room(execution)
    await ledger.close()
    return min(ahead, default=None)


def _lost_at(execution: Execution, changed_at: int) -> int:
    return changed_at + execution.run_seconds * 1000 + LOST_MS


async def leftovers(house: House, tx: Transaction, due: Due) -> int | None:
    """Nodes that should have begun by their own clocks, or were not seen when it began, and that are connected: they
    may begin where there is room, and are told.
    """
    execution = await RunStore(tx).execution(due.key)
    ledger = None if execution is None else await Ledger.opened(house, tx, execution.association_id)
    execution = None if ledger is None else await ledger.runs.execution(due.key)
    if ledger is None or execution is None or execution.final:
        return None
    await ledger.give_room(execution)
    ledger.tell_node(
        run.node_id for run in await ledger.runs.open_runs(execution.execution_id) if run.state is State.LET_GO
    )
    await ledger.close()
    return None


@job("associations.groups", every=timedelta(seconds=60))
async def look_over_groups(house: House) -> None:
    """Groups tell nobody when a node begins or ends to be in them, so their associations are looked over."""
    async with house.database.reading() as tx:
        ids = await AssociationStore(tx).with_key(GROUP)
    for association_id in ids:
        try:
            async with house.database.transaction() as tx:
                ledger = await Ledger.opened(house, tx, association_id)
                if ledger is not None:
                    await refresh(ledger)
                    await ledger.close()
        except ApiError as error:
            log.warning("association.targets_not_found", association_id=association_id, reason=error.message)


@job("associations.forget", every=timedelta(minutes=10))
async def forget(house: House) -> None:
    """Remove ended executions after the time that history is kept."""
    before = house.clock.millis() - house.settings.associations.history_days * _DAY_MS
    for _ in range(_FORGET_BATCHES):
        async with house.database.reading() as tx:
            if not await RunStore(tx).any_before(before):
                return
        async with house.database.transaction() as tx:
            if await RunStore(tx).forget(before, _FORGET) < _FORGET:
                return
