"""PutComplianceItems, and the three lists: items, nodes by type, and how many nodes stand how."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec

from pilothouse.call import Call, Caller, Shape, operation
from pilothouse.capabilities import nodes
from pilothouse.capabilities.compliance import filters as asked
from pilothouse.capabilities.compliance.keeping import Keeper
from pilothouse.capabilities.compliance.model import (
    ASSOCIATION,
    COMPLIANT,
    NON_COMPLIANT,
    RESOURCE_TYPE,
    SEVERITIES,
    Execution,
    InvalidNextToken,
    InvalidResourceId,
    InvalidResourceType,
    Item,
    Standing,
    check_items,
    counted,
    is_type,
)
from pilothouse.capabilities.compliance.store import ComplianceStore, Found
from pilothouse.errors import ValidationException
from pilothouse.runtime.clock import from_millis, to_millis
from pilothouse.storage import Transaction
from pilothouse.storage.pages import InvalidPageToken

_PAGE: Final = 50
_BATCH: Final = 500

T = TypeVar("T")


def _node(call: Call, request: Shape) -> list[str]:
    return [f"arn:aws:ssm:{call.region}:{call.account_id}:managed-instance/{request['ResourceId']}"]


@operation(
    "ssm", "PutComplianceItems",
    writes=True, callers=Caller.ACCOUNT | Caller.NODE, node_member="ResourceId", resources=_node,
)  # fmt: skip
async def put_compliance_items(call: Call, request: Shape) -> Shape:
    """What was found of a type on a node: all of it, or (PARTIAL) some of its associations."""
    compliance_type = request["ComplianceType"]
    whole = (request.get("UploadType") or "COMPLETE") == "COMPLETE"
    _check_type(request["ResourceType"])
    if not is_type(compliance_type):
        raise ValidationException(f"{compliance_type!r} cannot be the name of a compliance type.")
    if not whole and compliance_type != ASSOCIATION:
        raise ValidationException(f"The upload type PARTIAL is for the compliance type {ASSOCIATION} only.")
    items = [_item_from(each) for each in request["Items"]]
    check_items(items, (len(msgspec.json.encode(each)) for each in request["Items"]))
    summary = request["ExecutionSummary"]
    execution = Execution(
        at=to_millis(summary["ExecutionTime"]),
        execution_id=summary.get("ExecutionId") or "",
        execution_type=summary.get("ExecutionType") or "",
    )
    content_hash = request.get("ItemContentHash") or ""
    async with call.transaction() as tx:
        keeper = Keeper(call.house, tx, call.account_id, call.region)
        if await keeper.same_again(request["ResourceId"], compliance_type, execution, content_hash):
            return {}
        await keeper.put(
            request["ResourceId"], compliance_type, items, execution,
            whole=whole, by_system=False, content_hash=content_hash,
        )  # fmt: skip
    return {}


@operation("ssm", "ListComplianceItems")
async def list_compliance_items(call: Call, request: Shape) -> Shape:
    """Items by node, type and id."""
    for resource_type in request.get("ResourceTypes") or ():
        _check_type(resource_type)
    resource_ids = request.get("ResourceIds") or []
    filters = asked.read(request.get("Filters") or (), asked.OF_ITEMS)
    if resource_ids:
        filters.conditions.append(("node_id in (:resource_ids)", {"resource_ids": resource_ids}))
    query = ["ListComplianceItems", call.account_id, call.region, request.get("Filters") or [], resource_ids]
    after = _position(call, query, request, 3)
    limit = request.get("MaxResults") or _PAGE
    async with call.reading() as tx:
        for node_id in resource_ids:
            if await nodes.find(tx, call.account_id, call.region, node_id) is None:
                raise InvalidResourceId(f"There is no managed node {node_id} in this region.")
        among = await filters.nodes(call, tx)

        async def batch(last: Sequence[str]) -> list[Found]:
            return await ComplianceStore(tx, call.account_id, call.region).items(filters.conditions, last, _BATCH)

        def keep(found: Found) -> bool:
            return (among is None or found[0] in among) and all(fits(found[2]) for fits in filters.keep)

        found = [] if filters.nobody else await _page(batch, keep, _place_of_item, after, limit + 1)
    token = call.house.pages.token(query, [*_place_of_item(found[limit - 1])]) if found[limit:] else None
    return {"ComplianceItems": [_item_to_wire(*each) for each in found[:limit]], "NextToken": token}


@operation("ssm", "ListResourceComplianceSummaries")
async def list_resource_compliance_summaries(call: Call, request: Shape) -> Shape:
    """How each node stands in each type, with its items counted; by node and type."""
    filters = asked.read(request.get("Filters") or (), asked.OF_STANDINGS)
    query = ["ListResourceComplianceSummaries", call.account_id, call.region, request.get("Filters") or []]
    after = _position(call, query, request, 2)
    limit = request.get("MaxResults") or _PAGE
    async with call.reading() as tx:
        found = await _standings(call, tx, filters, after, limit + 1)
    token = call.house.pages.token(query, [*_place_of(found[limit - 1])]) if found[limit:] else None
    return {
        "ResourceComplianceSummaryItems": [_standing_to_wire(each) for each in found[:limit]],
        "NextToken": token,
    }


@operation("ssm", "ListComplianceSummaries")
async def list_compliance_summaries(call: Call, request: Shape) -> Shape:
    """How many nodes comply with each type; a node counts once, under the worst of its items."""
    filters = asked.read(request.get("Filters") or (), asked.OF_STANDINGS)
    query = ["ListComplianceSummaries", call.account_id, call.region, request.get("Filters") or []]
    (after,) = _position(call, query, request, 1)
    limit = request.get("MaxResults") or _PAGE
    async with call.reading() as tx:
        lines = await _summary(call, tx, filters)
    by_type: dict[str, list[tuple[str, str, int]]] = {}
    for compliance_type, status, severity, many in lines:
        by_type.setdefault(compliance_type, []).append((status, severity, many))
    types = [each for each in sorted(by_type) if each > after]
    token = call.house.pages.token(query, [types[limit - 1]]) if types[limit:] else None
    return {
        "ComplianceSummaryItems": [
            {"ComplianceType": each, **_summaries(counted(by_type[each]))} for each in types[:limit]
        ],
        "NextToken": token,
    }


async def _summary(call: Call, tx: Transaction, filters: asked.Filters) -> list[tuple[str, str, str, int]]:
    if filters.nobody:
        return []
    if not filters.by_inventory:
        return await ComplianceStore(tx, call.account_id, call.region).summary(filters.conditions)
    counts: dict[tuple[str, str, str], int] = {}
    for standing in await _standings(call, tx, filters, ("", ""), None):
        key = standing.compliance_type, standing.status, standing.severity
        counts[key] = counts.get(key, 0) + 1
    return [(*key, many) for key, many in counts.items()]


async def _standings(
    call: Call, tx: Transaction, filters: asked.Filters, after: Sequence[str], limit: int | None
) -> list[Standing]:
    if filters.nobody:
        return []
    among = await filters.nodes(call, tx)

    async def batch(last: Sequence[str]) -> list[Standing]:
        return await ComplianceStore(tx, call.account_id, call.region).standings(filters.conditions, last, _BATCH)

    def keep(standing: Standing) -> bool:
        return among is None or standing.node_id in among

    return await _page(batch, keep, _place_of, after, limit)


async def _page(
    batch: Callable[[Sequence[str]], Awaitable[list[T]]],
    keep: Callable[[T], bool],
    place: Callable[[T], tuple[str, ...]],
    after: Sequence[str],
    limit: int | None,
) -> list[T]:
    """Up to `limit` of what is kept, read a batch at a time."""
    found: list[T] = []
    while limit is None or len(found) < limit:
        read = await batch(after)
        found += [each for each in read if keep(each)]
        if len(read) < _BATCH:
            break
        after = place(read[-1])
    return found if limit is None else found[:limit]


def _place_of(standing: Standing) -> tuple[str, ...]:
    return standing.node_id, standing.compliance_type


def _place_of_item(found: Found) -> tuple[str, ...]:
    return found[0], found[1], found[2].item_id


def _check_type(resource_type: str) -> None:
    if resource_type != RESOURCE_TYPE:
        raise InvalidResourceType(f"There is no compliance of {resource_type}; the resource type is {RESOURCE_TYPE}.")


def _position(call: Call, query: Sequence[Any], request: Shape, parts: int) -> list[str]:
    """After what the page starts; empty texts for the first. Raises InvalidNextToken."""
    token = request.get("NextToken")
    if not token:
        return [""] * parts
    try:
        return call.house.pages.position(query, token)
    except InvalidPageToken as error:
        raise InvalidNextToken("The specified token is not valid.") from error


def _item_from(given: Mapping[str, Any]) -> Item:
    return Item(
        item_id=given.get("Id") or "",
        title=given.get("Title") or "",
        severity=given["Severity"],
        status=given["Status"],
        details=given.get("Details") or {},
    )


def _item_to_wire(node_id: str, compliance_type: str, item: Item) -> Shape:
    return {
        "ComplianceType": compliance_type,
        "ResourceType": RESOURCE_TYPE,
        "ResourceId": node_id,
        "Id": item.item_id,
        "Title": item.title,
        "Status": item.status,
        "Severity": item.severity,
        "ExecutionSummary": _execution_to_wire(item.execution),
        "Details": dict(item.details),
    }


def _execution_to_wire(execution: Execution | None) -> Shape:
    if execution is None:
        return {}
    return {
        "ExecutionTime": from_millis(execution.at),
        "ExecutionId": execution.execution_id or None,
        "ExecutionType": execution.execution_type or None,
    }


def _standing_to_wire(standing: Standing) -> Shape:
    return {
        "ComplianceType": standing.compliance_type,
        "ResourceType": RESOURCE_TYPE,
        "ResourceId": standing.node_id,
        "Status": standing.status,
        "OverallSeverity": standing.overall_severity,
        "ExecutionSummary": _execution_to_wire(standing.execution),
        **_summaries(standing.counts),
    }


def _summaries(counts: Mapping[str, Mapping[str, int]]) -> Shape:
    compliant, other = counts.get(COMPLIANT, {}), counts.get(NON_COMPLIANT, {})
    return {
        "CompliantSummary": {"CompliantCount": sum(compliant.values()), "SeveritySummary": _by_severity(compliant)},
        "NonCompliantSummary": {"NonCompliantCount": sum(other.values()), "SeveritySummary": _by_severity(other)},
    }


def _by_severity(counts: Mapping[str, int]) -> Shape:
    return {f"{severity.capitalize()}Count": counts.get(severity, 0) for severity in SEVERITIES}
