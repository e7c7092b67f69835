"""One association under its lock, and all that one transaction changes of it, its executions and its nodes.

Whoever changes anything opens a ledger, moves runs in it, and closes it: counts, statuses, what nodes are told and
what listeners hear follow from the moves.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from pilothouse.call import House
from pilothouse.capabilities.associations import judging, nudging, telling
from pilothouse.capabilities.associations.model import (
    RATE_EXCEEDED,
    Association,
    Execution,
    OnNode,
    Result,
    Run,
    State,
    Status,
)
from pilothouse.capabilities.associations.run_store import RunStore
from pilothouse.capabilities.associations.store import AssociationStore
from pilothouse.gateway import presence
from pilothouse.scheduling import due
from pilothouse.storage import Transaction

WATCH = "association.execution"
"""Kind of what is due: an execution of which something must be given up."""
LOST_MS = 3 * 3_600_000
"""So long after the time that its document may take a run of which nothing was heard is given up."""
_LOOK = 2000


class Ledger:
    """Open it with `opened`, or for an association that is new in this transaction."""

    def __init__(self, house: House, tx: Transaction, association: Association) -> None:
        self.house = house
        self.tx = tx
        self.association = association
        self.now = house.clock.millis()
        self.runs = RunStore(tx)
        self._before = association
        self._executions: dict[str, tuple[Execution, str]] = {}
        self._runs: dict[tuple[str, str], Run] = {}
        self._members: dict[str, OnNode] = {}
        self._ends: list[OnNode] = []
        self._gone: dict[str, None] = {}
        self._let_go: dict[str, None] = {}
        self._touched: dict[str, None] = {}
        """Nodes whose overview changes."""

    @classmethod
    async def opened(cls, house: House, tx: Transaction, association_id: str) -> "Ledger | None":
        """Of an association that is there."""
        store = AssociationStore(tx)
        await store.lock(association_id)
        association = await store.by_id(association_id)
        return None if association is None else cls(house, tx, association)

    def known(self, execution: Execution) -> Execution:
        """The execution as it stands in this ledger."""
        return self._executions.setdefault(execution.execution_id, (execution, execution.status))[0]

    def move(
        self, execution: Execution, run: Run, state: State, result: Result, *, by_node: bool = False
    ) -> Run:  # fmt: skip
        """Move a run, if that is legal."""
        execution = self.known(execution)
        run = self._runs.get((run.execution_id, run.node_id), run)
        after = execution.moved(run, state, result, at=self.now, by_node=by_node)
        if after is not run:
            self._runs[after.execution_id, after.node_id] = after
            if state is State.LET_GO:
                self._let_go[after.node_id] = None
        return after

    def stand(self, member: OnNode, result: Result, execution: Execution) -> None:
        """How it stands on a node now."""
        member = self._members.get(member.node_id, member)
        self._count(member.result.status, -1)
        self._count(result.status, 1)
        after = replace(member, result=result, execution_id=execution.execution_id)
        self._members[member.node_id] = after
        self._touched[member.node_id] = None
        association = self.association
        if result.executed_at is not None:
            ran = max(association.last_execution_at or 0, result.executed_at)
            association = replace(association, last_execution_at=ran)
            if result.status == Status.SUCCESS:
                succeeded = max(association.last_success_at or 0, result.executed_at)
                association = replace(association, last_success_at=succeeded)
        self.association = association
        if result.status != member.result.status:
            self._ends.append(after)

    async def join(self, members: Iterable[OnNode]) -> None:
        """The association is for these nodes, too."""
        new = list(members)
        await self.runs.add_members(self.association.account_id, self.association.region, new)
        for each in new:
            self._count(each.result.status, 1)
            self._touched[each.node_id] = None

    async def leave(self, members: Iterable[OnNode]) -> None:
        """The association is not for these nodes any more."""
        gone = list(members)
        await self.runs.remove_members(self.association.association_id, [each.node_id for each in gone])
        for each in gone:
            self._count(each.result.status, -1)
            self._touched[each.node_id] = None
            self._gone[each.node_id] = None
            self._let_go[each.node_id] = None  # so that it looks, and keeps to it no more

    def tell_node(self, node_ids: Iterable[str]) -> None:
        """These nodes shall look at their associations."""
        self._let_go.update(dict.fromkeys(node_ids))

    def _count(self, status: str, by: int) -> None:
        counts = dict(self.association.counts)
        counts[status] = counts.get(status, 0) + by
        if not counts[status]:
            del counts[status]
        self.association = replace(self.association, counts=counts)

    async def give_room(self, execution: Execution) -> None:
        """Let held runs go where others have ended; none once too many failed."""
        execution = self.known(execution)
        if not execution.held:
            return
        await self._flush()
        if execution.too_many_errors:
            stopped = Result(status=Status.CANCELLED, details=RATE_EXCEEDED, summary="MaxErrors was exceeded.")
            members = await self.runs.members(self.association.association_id)
            for run in await self.runs.held(execution.execution_id, execution.held):
                self.move(execution, run, State.ENDED, stopped)
                if run.node_id in members:
                    self.stand(members[run.node_id], stopped, execution)
            return
        waiting = await self.runs.held(execution.execution_id, _LOOK) if execution.room else []
        connected = await presence.connected(self.tx, [run.node_id for run in waiting], self.now)
        for run in waiting:
            if execution.room and run.node_id in connected:
                self.move(execution, run, State.LET_GO, run.result)

    async def _flush(self) -> None:
        await self.runs.save_runs(list(self._runs.values()))
        self._runs.clear()

    async def watch(self, execution: Execution) -> None:
        """Be called when something of it must be given up."""
        lost = self.now + execution.run_seconds * 1000 + LOST_MS if execution.running else None
        known = await due.of(self.tx, WATCH, [execution.execution_id])
        at = min((each for each in (lost, execution.ends_at, *known.values()) if each is not None), default=None)
        if at is not None and at not in known.values():
            where = {"account_id": execution.account_id, "region": execution.region}
            await due.put(self.house, self.tx, WATCH, execution.execution_id, at, **where)

    async def close(self, *, nudge: bool = True) -> None:
        """Write what has changed and tell of it. `nudge`: tell the nodes whose runs were let go, at once."""
        await self._flush()
        await self.runs.save_members(list(self._members.values()))
        for execution, status in self._executions.values():
            execution.settle()
            await self.runs.save(execution)
            if execution.final and status in (Status.PENDING, Status.IN_PROGRESS):
                await due.remove(self.tx, WATCH, execution.execution_id)
        if self._executions or self._members or self._touched:
            self.association = replace(self.association, status=self.association.current())
        if self.association is not self._before:
            await AssociationStore(self.tx).save(self.association)
        await telling.association_changed(self.house, self.tx, self._before, self.association)
        await telling.nodes_changed(self.house, self.tx, self.association, self._ends)
        await judging.judge(self.house, self.tx, self.association, self._ends)
        await judging.forget(self.house, self.tx, self.association, self._gone)
        await self._overviews()
        if nudge and self._let_go:
            await nudging.nudge(self.house, self.tx, self.association, list(self._let_go))

    async def _overviews(self) -> None:
        """What is shown of the nodes themselves belongs to the owner of nodes."""
        nodes = list(self._touched)
        if not nodes:
            return
        statuses: Mapping[str, Mapping[str, int]] = await self.runs.statuses(nodes)
        await telling.overviews(
            self.house, self.tx, self.association, {each: statuses.get(each, {}) for each in nodes}, self._members
        )
