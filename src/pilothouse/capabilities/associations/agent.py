"""What nodes ask about their associations, and what they report.

A node pulls the list, keeps to its schedules by its own clock, and reports. What it must not begin by itself comes
without a schedule and in a state in which it does nothing, until the server lets a run go: then it is Pending.
Our agent names the extension `associations` in its request and gets what it needs to work while the server is away.
"""

import hashlib
from typing import Any, Final

import msgspec

from pilothouse.call import Call, Caller, Shape, operation
from pilothouse.capabilities import documents
from pilothouse.capabilities.associations import spelling
from pilothouse.capabilities.associations.executions import by_own_clock
from pilothouse.capabilities.associations.listing import position
from pilothouse.capabilities.associations.model import ASSOCIATED, Association, OnNode, Result, Run, State, Status
from pilothouse.capabilities.associations.reports import Report, hear, shortened
from pilothouse.capabilities.associations.run_store import RunStore
from pilothouse.capabilities.associations.store import AssociationStore
from pilothouse.capabilities.associations.turns import in_turn
from pilothouse.runtime.clock import from_millis, to_millis
from pilothouse.storage import Transaction

_PAGE: Final = 20
_NOTHING_TO_DO: Final = "Waiting"
"""A DetailedStatus at which agents run nothing of what has no schedule."""


def _node(call: Call, request: Shape) -> list[str]:
    return [f"arn:aws:ssm:{call.region}:{call.account_id}:managed-instance/{request['InstanceId']}"]


def _association_and_node(call: Call, request: Shape) -> list[str]:
    return [
        f"arn:aws:ssm:{call.region}:{call.account_id}:association/{request['AssociationId']}",
        *_node(call, request),
    ]


@operation("ssm", "ListInstanceAssociations", callers=Caller.NODE, node_member="InstanceId", resources=_node)
async def list_instance_associations(call: Call, request: Shape) -> Shape:
    """Associations of the node, as agents want them. The agent needs the list, also when it is empty."""
    node_id = request["InstanceId"]
    ours = "associations" in (request.get("Extensions") or ())
    query = ["ListInstanceAssociations", call.account_id, call.region, node_id]
    (after,) = position(call, query, request) or ("",)
    limit = request.get("MaxResults") or _PAGE
    items = []
    async with call.reading() as tx:
        runs = RunStore(tx)
        found = await runs.on_node(node_id, after, limit + 1)
        page = found[:limit]
        associations = await AssociationStore(tx).by_ids([each.association_id for each in page])
        for member in page:
            association = associations.get(member.association_id)
            if association is None or association.paused_at is not None:
                continue
            item = await _item(tx, association, member, await runs.open_on(member.association_id, node_id), ours=ours)
            if item is not None:
                items.append(item)
    token = call.house.pages.token(query, [page[-1].association_id]) if found[limit:] else None
    return {"Associations": items, "NextToken": token}


async def _item(
    tx: Transaction, association: Association, member: OnNode, open_: list[Run], *, ours: bool
) -> Shape | None:  # fmt: skip
    terms = association.terms
    where = association.account_id, association.region
    try:
        document = await documents.for_run(tx, *where, terms.document, terms.document_version)
    except (documents.InvalidDocument, documents.InvalidDocumentVersion):
        return None
    run = next((each for each in open_ if each.state is not State.HELD), None)
    plain = by_own_clock(association)
    item: Shape = {
        "AssociationId": association.association_id,
        "AssociationVersion": str(association.version),
        "AssociationName": terms.association_name,
        "Name": document.called(association.account_id, terms.document),
        "DocumentVersion": document.version,
        "InstanceId": member.node_id,
        "Checksum": _checksum(association, document),
        "Parameters": terms.parameters or None,
        "Targets": terms.targets or [{"Key": "InstanceIds", "Values": [association.instance_id]}],
        "OutputLocation": terms.output,
        "DetailedStatus": _details(member, run, plain=plain),
    }
    if plain and terms.schedule is not None:
        item["ScheduleExpression"] = spelling.for_agents(terms.schedule)
        item["LastExecutionDate"] = from_millis(association.last_due_at or association.updated_at)
    if ours:
        item["Extension"] = await _extension(tx, association, run)
    return item


def _details(member: OnNode, run: Run | None, *, plain: bool) -> str:
    if run is not None:
        return Status.IN_PROGRESS if run.state is State.RUNNING else Status.PENDING
    details = member.result.details
    if details in (Status.PENDING, Status.IN_PROGRESS, ASSOCIATED):
        return ASSOCIATED if plain else _NOTHING_TO_DO
    return details


async def _extension(tx: Transaction, association: Association, run: Run | None) -> Shape:
    """For our agent: which execution it shall run, and the times at which it begins by itself."""
    found: Shape = {"LastDue": association.last_due_at or 0, "Since": association.updated_at}
    if run is not None:
        execution = await RunStore(tx).execution(run.execution_id)
        assert execution is not None
        found["ExecutionId"] = execution.execution_id
        found["DueAt"] = execution.due_at
    table = association.timetable
    if table is not None and not association.terms.server_decides:
        found["Timetable"] = msgspec.json.encode(spelling.spelled(table)).decode()
    return found


def _checksum(association: Association, document: documents.Document) -> str:
    """Another one whenever anything changes that the node keeps."""
    terms = association.terms
    parts: list[Any] = [document.hash, association.version, terms.parameters, terms.schedule, terms.output]
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()


@operation(
    "ssm",
    "UpdateInstanceAssociationStatus",
    writes=True,
    callers=Caller.NODE,
    node_member="InstanceId",
    resources=_association_and_node,
    line=in_turn,
)
async def update_instance_association_status(call: Call, request: Shape) -> Shape:
    """How a run on the node stands. Reports may repeat."""
    said = request["ExecutionResult"]
    now = call.clock.millis()
    at = said.get("ExecutionDate")
    result = Result(
        status=said["Status"],
        details=said["Status"],
        executed_at=now if at is None else min(to_millis(at), now),
        summary=(said.get("ExecutionSummary") or "").replace("\0", "\ufffd"),
        error_code=(said.get("ErrorCode") or "").replace("\0", "\ufffd"),
        output_url=((said.get("OutputUrl") or {}).get("S3OutputUrl") or {}).get("OutputUrl") or "",
    )
    more = request.get("Extension") or {}
    report = Report(
        node_id=request["InstanceId"],
        association_id=request["AssociationId"].lower(),
        result=shortened(result),
        execution_id=more.get("ExecutionId"),
        due_at=more.get("DueAt"),
    )
    async with call.transaction() as tx:
        await hear(call.house, tx, call.account_id, call.region, report)
    return {}
