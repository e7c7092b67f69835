"""Why an association did not run, or not on a node: the reasons in plain words, the most weighty first."""

from collections.abc import Iterator
from datetime import timedelta

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities import documents, nodes
from pilothouse.capabilities.associations import calendars
from pilothouse.capabilities.associations.membership import targets_of
from pilothouse.capabilities.associations.model import (
    Association,
    Execution,
    Reason,
    ResourceNotFoundException,
    Run,
    State,
    Status,
)
from pilothouse.capabilities.associations.run_store import RunStore
from pilothouse.capabilities.associations.store import AssociationStore
from pilothouse.runtime.clock import from_millis
from pilothouse.storage import Transaction

_LATE_MS = 60_000
_SHOWN = 3

Line = tuple[str, str]
"""What it is about, and what is to be said of it."""

_WHY = {
    Reason.CREATED: "because the association was made",
    Reason.CHANGED: "because the association was changed",
    Reason.SCHEDULE: "by the schedule",
    Reason.JOINED: "because new nodes fitted the targets",
    Reason.ASKED: "because StartAssociationsOnce asked for it",
    Reason.NODE: "because the node began by itself",
}


def _named(call: Call, request: Shape) -> list[str]:
    return [f"arn:aws:ssm:{call.region}:{call.account_id}:association/{request['AssociationId']}"]


@operation("pilothouse", "ExplainAssociation", resources=_named)
async def explain_association(call: Call, request: Shape) -> Shape:
    """What keeps an association from running, or has kept it; with InstanceId, on that node."""
    association_id, node_id = request["AssociationId"], request.get("InstanceId")
    now = call.clock.millis()
    async with call.reading() as tx:
        association = await AssociationStore(tx).find(call.account_id, call.region, association_id)
        if association is None:
            raise ResourceNotFoundException(f"There is no association {association_id} in this account and region.")
        lines = [*await _itself(tx, association, now), *_schedule(association, now)]
        lines += await _latest(tx, association, now)
        lines += await _targets(call, tx, association, node_id)
    return {
        "AssociationId": association_id,
        "Status": association.status,
        "Lines": [{"About": about, "Text": text} for about, text in lines],
    }


async def _itself(tx: Transaction, association: Association, now: int) -> list[Line]:
    """What keeps it from running at all."""
    found: list[Line] = []
    terms = association.terms
    if association.paused_at is not None:
        found.append(
            ("association", f"It is paused since {_moment(association.paused_at)} by {association.paused_by}.")
        )
    closed = await calendars.closed(tx, association, now)
    if closed is not None:
        found.append(("calendar", await _closed(tx, association, closed, now)))
    look = documents.find if terms.runbook else documents.for_run
    try:
        await look(tx, association.account_id, association.region, terms.document, terms.document_version)
    except (documents.InvalidDocument, documents.InvalidDocumentVersion) as error:
        found.append(("document", f"The document {terms.document} cannot be run: {error.message}"))
    return found


async def _closed(tx: Transaction, association: Association, name: str, now: int) -> str:
    try:
        calendar = await documents.calendar(tx, association.account_id, association.region, name)
    except documents.InvalidDocument:
        return f"The calendar {name} is not there any more; until it is, nothing runs."
    opens = calendar.next_change(now)
    until = "and nothing says when it opens" if opens is None else f"until {_moment(opens)}"
    return f"The calendar {name} is closed {until}; what is due meanwhile is skipped."


def _schedule(association: Association, now: int) -> Iterator[Line]:
    terms = association.terms
    table = association.timetable
    if table is None:
        yield "schedule", "It has no schedule: it runs once on each node, and when StartAssociationsOnce asks for it."
        return
    ahead = table.upcoming(now, _SHOWN)
    times = ", ".join(_moment(each) for each in ahead)
    yield "schedule", f"{terms.schedule}: next {times}." if ahead else f"{terms.schedule} is never due again."
    if terms.only_at_interval and association.last_due_at is None:
        yield "schedule", "ApplyOnlyAtCronInterval is set, so nothing ran when it was made; no time has come since."
    elif association.last_due_at is not None:
        yield "schedule", f"It was due last at {_moment(association.last_due_at)}."


async def _latest(tx: Transaction, association: Association, now: int) -> list[Line]:
    """How the last executions went."""
    found: list[Line] = []
    for execution in await RunStore(tx).newest(association.association_id, None, _SHOWN, ()):
        began = f"Begun {_moment(execution.created_at)} {_WHY[execution.reason]}"
        if execution.due_at is not None:
            began += f" for {_moment(execution.due_at)}"
        if execution.late_ms > _LATE_MS:
            began += f", {_length(execution.late_ms)} late: no server was there to begin it in time"
        said = f"{began}. {_outcome(execution)}"
        if association.terms.runbook:
            said += "".join(
                f" {each.result.summary}" for each in await RunStore(tx).runs(execution.execution_id, "", 1)
            )
        found.append((f"execution {execution.execution_id}", said))
    return found or [("executions", "There was none yet.")]


def _outcome(execution: Execution) -> str:
    if execution.status == Status.SKIPPED:
        return "It was skipped, for a calendar was closed."
    if not execution.target_count:
        return "No node fitted the targets."
    counts = ", ".join(f"{count} {status}" for status, count in sorted(execution.by_status().items()))
    stopped = " MaxErrors stopped the others." if execution.details == "RateExceeded" else ""
    return f"It is {execution.status}: {counts}.{stopped}"


async def _targets(call: Call, tx: Transaction, association: Association, node_id: str | None) -> list[Line]:
    if association.terms.runbook:
        return [("targets", "The server runs it; nodes do not get it.")]
    runs = RunStore(tx)
    if node_id is None:
        members = await runs.members(association.association_id)
        if not members:
            return [("targets", "No node fits the targets.")]
        waiting = [each for each, member in members.items() if member.result.status == Status.PENDING]
        lines: list[Line] = [("targets", f"{len(members)} nodes fit the targets.")]
        for each in waiting[:_SHOWN]:
            lines += await _node(call, tx, association, each)
        if len(waiting) > _SHOWN:
            lines.append(("targets", f"{len(waiting) - _SHOWN} more nodes wait; name one to see why."))
        return lines
    node = await nodes.find(tx, association.account_id, association.region, node_id)
    if node is None:
        return [(f"node {node_id}", "There is no such node in this account and region.")]
    if await runs.member(association.association_id, node_id) is None:
        unfit = await nodes.why_not(tx, association.account_id, association.region, targets_of(association))
        why = next((reason for other, reason in unfit if other.node_id == node_id), "it began to a moment ago")
        return [(f"node {node_id}", f"It does not fit the targets: {why}.")]
    return await _node(call, tx, association, node_id)


async def _node(call: Call, tx: Transaction, association: Association, node_id: str) -> list[Line]:
    """How it stands on a node that it is for."""
    about = f"node {node_id}"
    runs = RunStore(tx)
    node = await nodes.find(tx, association.account_id, association.region, node_id)
    member = await runs.member(association.association_id, node_id)
    if node is None or member is None:
        return []
    seen = await nodes.sightings(tx, [node], call.clock.millis(), call.house.settings.nodes.online_seconds)
    sighting = seen[node_id]
    online = sighting.status.value == "Online"
    since = _moment(sighting.last_ping_at)
    lines: list[Line] = [] if online else [(about, f"The node is away: it was heard of last at {since}.")]
    open_ = await runs.open_on(association.association_id, node_id)
    if open_:
        return [*lines, (about, await _waiting(runs, open_[0], online=online))]
    text = f"It is {member.result.status} there"
    if member.result.executed_at is not None:
        text += f" since {_moment(member.result.executed_at)}"
    return [*lines, (about, f"{text}. {member.result.summary}".strip())]


async def _waiting(runs: RunStore, run: Run, *, online: bool) -> str:
    if run.state is State.HELD:
        execution = await runs.execution(run.execution_id)
        assert execution is not None
        limit = execution.concurrency_limit
        if not online:
            return f"It runs when it comes back and MaxConcurrency ({limit} at once) leaves room."
        return f"It waits there for others to end: MaxConcurrency lets {limit} run at once, and {execution.slots} do."
    if run.state is State.RUNNING:
        return f"It runs there since {_moment(run.changed_at)}."
    if not online:
        return "It runs as soon as the node comes back."
    return f"The node may run it since {_moment(run.changed_at)} and has not begun; agents look every ten minutes."


def _moment(at: int) -> str:
    return from_millis(at).strftime("%Y-%m-%d %H:%M:%S UTC")


def _length(millis: int) -> str:
    return str(timedelta(seconds=millis // 1000))
