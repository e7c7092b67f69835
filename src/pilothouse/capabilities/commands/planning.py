"""PlanCommand: what SendCommand would do with the same words, node by node. Nothing is sent or written."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities import documents, nodes
from pilothouse.capabilities.commands import sending
from pilothouse.capabilities.commands.model import Details, InvalidNextToken, concurrency_limit, error_limit
from pilothouse.capabilities.commands.operations import denied_among, send_resources, type_condition
from pilothouse.capabilities.commands.references import check_references
from pilothouse.capabilities.nodes import Node
from pilothouse.errors import AccessDeniedException
from pilothouse.identity.authorise import ask_each
from pilothouse.storage import Transaction
from pilothouse.storage.pages import InvalidPageToken

_PAGE: Final = 100
_MEMBERS: Final = (
    "InstanceIds", "Targets", "DocumentName", "DocumentVersion", "Parameters", "MaxConcurrency", "MaxErrors",
    "IncludeOthers",
)  # fmt: skip


@operation("pilothouse", "PlanCommand", action="ssm:SendCommand", resources=send_resources, conditions=type_condition)
async def plan_command(call: Call, request: Shape) -> Shape:
    """Who would run a command, who would get it later, and who would not, and why. Refused as SendCommand would be."""
    sending.check_request(request)
    query = ["PlanCommand", call.account_id, call.region, *(request.get(name) for name in _MEMBERS)]
    after = _position(call, query, request)
    limit: int = request.get("MaxResults") or _PAGE
    where = call.account_id, call.region
    targets = request.get("Targets") or []
    async with call.reading() as tx:
        if request.get("IncludeOthers"):
            await ask_each(call, tx, "ssm:DescribeInstanceInformation", ["*"])
        chosen = await nodes.resolve_targets(tx, *where, request.get("InstanceIds") or [], targets)
        if not await nodes.may_read_groups(call, tx, targets):
            raise AccessDeniedException("You may not see what is in the resource group that the targets name.")
        denied: frozenset[str] = frozenset()
        if targets:
            denied = await denied_among(call, tx, request, [node.node_id for node in chosen])
        document = await documents.for_run(tx, *where, request["DocumentName"], request.get("DocumentVersion"))
        documents.check_values(document, request.get("Parameters") or {})
        await check_references(call, tx, documents.references(document, request.get("Parameters") or {}))
        if request.get("InstanceIds"):
            sending.check_platform(document, chosen)
        others = await nodes.why_not(tx, *where, targets) if request.get("IncludeOthers") else []
        fates: dict[str, tuple[Node, str]] = {node.node_id: (node, "") for node in chosen}
        fates |= {node.node_id: (node, why) for node, why in others}
        ids = sorted(node_id for node_id in fates if node_id > after)
        shown = await _shown(call, tx, document, [fates[node_id] for node_id in ids[:limit]], denied)
    return {
        "DocumentName": document.name,
        "DocumentVersion": document.version,
        "PlatformTypes": list(document.platform_types),
        "TargetCount": len(chosen),
        "AtOnce": concurrency_limit(request.get("MaxConcurrency") or sending.MAX_CONCURRENCY, len(chosen)),
        "ErrorsTolerated": error_limit(request.get("MaxErrors") or sending.MAX_ERRORS, len(chosen)),
        "Nodes": shown,
        "NextToken": call.house.pages.token(query, [ids[limit - 1]]) if ids[limit:] else None,
    }


async def _shown(
    call: Call,
    tx: Transaction,
    document: documents.Document,
    fates: Sequence[tuple[Node, str]],
    denied: frozenset[str],
) -> list[Shape]:
    """`fates`: each node with the reason why it is no target; empty for targets."""
    seen: Mapping[str, Any] = await nodes.sightings(
        tx, [node for node, _ in fates], call.clock.millis(), call.house.settings.nodes.online_seconds
    )
    return [
        {
            "InstanceId": node.node_id,
            "InstanceName": node.name or node.computer_name or "",
            "PlatformType": node.platform_type,
            "PingStatus": seen[node.node_id].status.value,
            **_fate(document, node, why, denied, seen[node.node_id].status.value == "Online"),
        }
        for node, why in fates
    ]


def _fate(document: documents.Document, node: Node, why: str, denied: frozenset[str], online: bool) -> Shape:
    if why:
        return {"Outcome": "NotTargeted", "Reason": why}
    first = sending.first_details(document, node, denied)
    if first is Details.ACCESS_DENIED:
        return {"Outcome": first.value, "Reason": "you may not send commands to it: pilothouse explain says why"}
    if first is Details.INVALID_PLATFORM:
        platforms = ", ".join(document.platform_types)
        return {"Outcome": first.value, "Reason": f"{document.name} is for {platforms}, it is {node.platform_type}"}
    if online:
        return {"Outcome": "Runs"}
    return {"Outcome": "Waits", "Reason": "it does not answer; it gets the command if it returns in time"}


def _position(call: Call, query: list[Any], request: Shape) -> str:
    if not request.get("NextToken"):
        return ""
    try:
        return str(call.house.pages.position(query, request["NextToken"])[0])
    except InvalidPageToken as error:
        raise InvalidNextToken("The specified token is not valid.") from error
