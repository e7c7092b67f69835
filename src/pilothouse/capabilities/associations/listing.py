"""Lists: associations and their versions, executions and what became of them on nodes, associations of a node."""

from collections.abc import Sequence
from typing import Any, Final

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities import documents, nodes
from pilothouse.capabilities.associations import shapes
from pilothouse.capabilities.associations.model import (
    Association,
    AssociationDoesNotExist,
    AssociationExecutionDoesNotExist,
    InvalidNextToken,
    OnNode,
)
from pilothouse.capabilities.associations.run_store import RunStore
from pilothouse.capabilities.associations.store import AssociationStore, Filter, place_of
from pilothouse.errors import ValidationException
from pilothouse.runtime.clock import to_millis
from pilothouse.storage import Transaction
from pilothouse.storage.pages import InvalidPageToken

_PAGE: Final = 50
_EFFECTIVE_PAGE: Final = 5

_COLUMNS: Final = {
    "AssociationId": ("association_id", "="),
    "AssociationName": ("association_name", "="),
    "Name": ("document", "="),
    "InstanceId": ("instance_id", "="),
    "AssociationStatusName": ("status", "="),
    "LastExecutedBefore": ("last_execution_at", "<"),
    "LastExecutedAfter": ("last_execution_at", ">"),
}
_COMPARISONS: Final = {"EQUAL": "=", "LESS_THAN": "<", "GREATER_THAN": ">"}
_OF_EXECUTIONS: Final = {"ExecutionId": "execution_id", "Status": "status", "CreatedTime": "created_at"}


def _named(call: Call, request: Shape) -> list[str]:
    return [f"arn:aws:ssm:{call.region}:{call.account_id}:association/{request['AssociationId']}"]


def _node(call: Call, request: Shape) -> list[str]:
    return [f"arn:aws:ssm:{call.region}:{call.account_id}:managed-instance/{request['InstanceId']}"]


def position(call: Call, query: Sequence[Any], request: Shape) -> list[Any] | None:
    """After what the page starts; None for the first. Raises InvalidNextToken."""
    token = request.get("NextToken")
    if not token:
        return None
    try:
        return call.house.pages.position(query, token)
    except InvalidPageToken as error:
        raise InvalidNextToken("The specified token is not valid.") from error


def _moment(text: str, name: str) -> int:
    from datetime import UTC, datetime

    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValidationException(f"The value of {name} is not a time, such as 2026-03-10T12:00:00Z.") from error
    return to_millis(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


@operation("ssm", "ListAssociations")
async def list_associations(call: Call, request: Shape) -> Shape:
    """Associations in their latest versions: by id, or by their last execution where that is asked for."""
    filters: list[Filter] = []
    groups: list[str] = []
    nobody = False
    for given in request.get("AssociationFilterList") or ():
        key, value = given["key"], given["value"]
        if key == "ResourceGroupName":
            groups.append(value)
            continue
        if key not in _COLUMNS:  # no association comes from a connector
            nobody = True
            continue
        column, comparison = _COLUMNS[key]
        filters.append((column, comparison, _moment(value, key) if key.startswith("LastExecuted") else value))
    query = ["ListAssociations", call.account_id, call.region, filters, groups]
    after = position(call, query, request)
    limit = request.get("MaxResults") or _PAGE
    found: list[Association] = []
    if not nobody:
        async with call.reading() as tx:
            found = await AssociationStore(tx).page(call.account_id, call.region, filters, groups, after, limit + 1)
    page = found[:limit]
    token = call.house.pages.token(query, place_of(page[-1], filters)) if found[limit:] else None
    return {"Associations": [shapes.listed(each) for each in page], "NextToken": token}


@operation("ssm", "ListAssociationVersions", resources=_named)
async def list_association_versions(call: Call, request: Shape) -> Shape:
    """The versions of an association, the newest first."""
    association_id = request["AssociationId"]
    query = ["ListAssociationVersions", call.account_id, call.region, association_id]
    (below,) = position(call, query, request) or (None,)
    limit = request.get("MaxResults") or _PAGE
    async with call.reading() as tx:
        await existing(call, tx, association_id)
        found = await AssociationStore(tx).versions(association_id, below, limit + 1)
    page = found[:limit]
    token = call.house.pages.token(query, [page[-1].number]) if found[limit:] else None
    return {"AssociationVersions": [shapes.version(association_id, each) for each in page], "NextToken": token}


async def existing(call: Call, tx: Transaction, association_id: str) -> Association:
    """The account's association. Raises AssociationDoesNotExist."""
    found = await AssociationStore(tx).find(call.account_id, call.region, association_id)
    if found is None:
        raise AssociationDoesNotExist
    return found


@operation("ssm", "DescribeAssociationExecutions", resources=_named)
async def describe_association_executions(call: Call, request: Shape) -> Shape:
    """The executions of an association, the newest first."""
    association_id = request["AssociationId"]
    conditions: list[tuple[str, str, Any]] = []
    for given in request.get("Filters") or ():
        key, value = given["Key"], given["Value"]
        if key != "CreatedTime" and given["Type"] != "EQUAL":
            raise ValidationException(f"The filter {key} knows the type EQUAL only.")
        wanted = _moment(value, key) if key == "CreatedTime" else value
        conditions.append((_OF_EXECUTIONS[key], _COMPARISONS[given["Type"]], wanted))
    query = ["DescribeAssociationExecutions", call.account_id, call.region, association_id, conditions]
    before = position(call, query, request)
    limit = request.get("MaxResults") or _PAGE
    async with call.reading() as tx:
        await existing(call, tx, association_id)
        found = await RunStore(tx).newest(
            association_id, None if before is None else (before[0], before[1]), limit + 1, conditions
        )
    page = found[:limit]
    token = call.house.pages.token(query, [page[-1].created_at, page[-1].execution_id]) if found[limit:] else None
    return {"AssociationExecutions": [shapes.execution(each) for each in page], "NextToken": token}


@operation("ssm", "DescribeAssociationExecutionTargets", resources=_named)
async def describe_association_execution_targets(call: Call, request: Shape) -> Shape:
    """What became of an execution on each node, by node id."""
    association_id, execution_id = request["AssociationId"], request["ExecutionId"]
    wanted: dict[str, str] = {}
    nobody = False
    for given in request.get("Filters") or ():
        key, value = given["Key"], given["Value"]
        nobody = nobody or wanted.get(key, value) != value or (key == "ResourceType" and value != "ManagedInstance")
        wanted[key] = value
    query = ["DescribeAssociationExecutionTargets", call.account_id, call.region, execution_id, sorted(wanted.items())]
    (after,) = position(call, query, request) or ("",)
    limit = request.get("MaxResults") or _PAGE
    async with call.reading() as tx:
        await existing(call, tx, association_id)
        runs = RunStore(tx)
        execution = await runs.execution(execution_id)
        if execution is None or execution.association_id != association_id:
            raise AssociationExecutionDoesNotExist
        found = [] if nobody else await runs.runs(
            execution_id, after, limit + 1, status=wanted.get("Status"), node_id=wanted.get("ResourceId")
        )  # fmt: skip
    page = found[:limit]
    token = call.house.pages.token(query, [page[-1].node_id]) if found[limit:] else None
    return {"AssociationExecutionTargets": [shapes.target(execution, each) for each in page], "NextToken": token}


async def _of_node(call: Call, tx: Transaction, query: Sequence[Any], request: Shape, default: int) -> tuple[
    list[tuple[Association, OnNode]], str | None
]:  # fmt: skip
    """A page of a node's associations. Raises InvalidInstanceId."""
    node_id = request["InstanceId"]
    if await nodes.find(tx, call.account_id, call.region, node_id) is None:
        raise nodes.InvalidInstanceId(f"There is no managed node {node_id} in this region.")
    (after,) = position(call, query, request) or ("",)
    limit = request.get("MaxResults") or default
    found = await RunStore(tx).on_node(node_id, after, limit + 1)
    page = found[:limit]
    associations = await AssociationStore(tx).by_ids([each.association_id for each in page])
    token = call.house.pages.token(query, [page[-1].association_id]) if found[limit:] else None
    return [(associations[each.association_id], each) for each in page if each.association_id in associations], token


@operation("ssm", "DescribeInstanceAssociationsStatus", resources=_node)
async def describe_instance_associations_status(call: Call, request: Shape) -> Shape:
    """How each of a node's associations stands on it."""
    query = ["DescribeInstanceAssociationsStatus", call.account_id, call.region, request["InstanceId"]]
    async with call.reading() as tx:
        page, token = await _of_node(call, tx, query, request, _PAGE)
    found = [shapes.on_node(association, member) for association, member in page]
    return {"InstanceAssociationStatusInfos": found, "NextToken": token}


@operation("ssm", "DescribeEffectiveInstanceAssociations", resources=_node)
async def describe_effective_instance_associations(call: Call, request: Shape) -> Shape:
    """The associations of a node with what their documents say."""
    query = ["DescribeEffectiveInstanceAssociations", call.account_id, call.region, request["InstanceId"]]
    found = []
    async with call.reading() as tx:
        page, token = await _of_node(call, tx, query, request, _EFFECTIVE_PAGE)
        for association, member in page:
            terms = association.terms
            where = association.account_id, association.region
            try:
                text: str | None = (await documents.for_run(tx, *where, terms.document, terms.document_version)).text
            except (documents.InvalidDocument, documents.InvalidDocumentVersion):
                text = None
            found.append(
                {
                    "AssociationId": association.association_id,
                    "InstanceId": member.node_id,
                    "Content": text,
                    "AssociationVersion": str(association.version),
                }
            )
    return {"Associations": found, "NextToken": token}


@operation("pilothouse", "ListPausedAssociations")
async def list_paused_associations(call: Call, request: Shape) -> Shape:
    """Those by which nothing runs until they are resumed, by id."""
    query = ["ListPausedAssociations", call.account_id, call.region]
    (after,) = position(call, query, request) or ("",)
    limit = request.get("MaxResults") or _PAGE
    async with call.reading() as tx:
        found = await AssociationStore(tx).paused(call.account_id, call.region, after, limit + 1)
    page = found[:limit]
    return {
        "Associations": [shapes.paused(each) for each in page],
        "NextToken": call.house.pages.token(query, [page[-1].association_id]) if found[limit:] else None,
    }
