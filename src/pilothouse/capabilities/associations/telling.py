"""Telling of associations: events for everybody who listens, and overviews of nodes.

`node.associations` says how all associations stand on nodes (facts: account_id, region, nodes: id to (status, counts,
executed_at, succeeded_at)).
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from pilothouse.call import House
from pilothouse.capabilities import documents
from pilothouse.capabilities.associations.model import Association, OnNode, Status, node_status
from pilothouse.storage import Transaction


async def association_changed(house: House, tx: Transaction, before: Association, after: Association) -> None:
    """The association's status has become another."""
    if before.status == after.status:
        return
    counts = msgspec.json.encode(after.counts).decode()
    detail = _shared(after) | {
        "status": after.status,
        "association-status-aggregated-count": counts,
        "schedule-expression": after.terms.schedule or "",
        "association-cwe-version": "1.0",
    }
    await house.tell(
        tx, "event",
        account_id=after.account_id, region=after.region, source="aws.ssm",
        detail_type="EC2 State Manager Association State Change", resources=[_document(after)], detail=detail,
    )  # fmt: skip


async def nodes_changed(house: House, tx: Transaction, association: Association, ends: Sequence[OnNode]) -> None:
    """It stands otherwise on these nodes than before."""
    if not ends:
        return
    shared = _shared(association)
    each = [
        {
            "resources": [_node(association, member.node_id), _document(association)],
            "detail": {
                **shared,
                "instance-id": member.node_id,
                "status": member.result.status,
                "detailed-status": member.result.details,
                "error-code": member.result.error_code,
                "execution-summary": member.result.summary,
                "output-url": member.result.output_url,
                "instance-association-cwe-version": "1.0",
            },
        }
        for member in ends
    ]
    await house.tell(
        tx, "events",
        account_id=association.account_id, region=association.region, source="aws.ssm",
        detail_type="EC2 State Manager Instance Association State Change", each=each,
    )  # fmt: skip


async def overviews(
    house: House,
    tx: Transaction,
    association: Association,
    statuses: Mapping[str, Mapping[str, int]],
    changed: Mapping[str, OnNode],
) -> None:
    """How all associations stand on these nodes."""
    found = {}
    for node_id, counts in statuses.items():
        result = changed[node_id].result if node_id in changed else None
        ran = result.executed_at if result is not None else None
        succeeded = ran if result is not None and result.status == Status.SUCCESS else None
        found[node_id] = (node_status(counts), dict(counts), ran, succeeded)
    await house.tell(tx, "node.associations", account_id=association.account_id, region=association.region, nodes=found)


def _shared(association: Association) -> dict[str, Any]:
    targets = [
        {name.lower(): value for name, value in target.items()} for target in association.terms.targets
    ]  # fmt: skip
    return {
        "association-id": association.association_id,
        "association-version": str(association.version),
        "document-name": association.terms.document,
        "document-version": association.terms.document_version or "$DEFAULT",
        "targets": msgspec.json.encode(targets).decode(),
        "creation-date": _moment(association.created_at),
        "last-updated-date": _moment(association.updated_at),
        "last-execution-date": _moment(association.last_execution_at),
        "last-successful-execution-date": _moment(association.last_success_at),
    }


def _document(association: Association) -> str:
    return documents.arn_of(association.terms.document, association.account_id, association.region)


def _node(association: Association, node_id: str) -> str:
    """As the cloud's events name machines: those that registered with an activation by their own kind."""
    where = f"{association.region}:{association.account_id}"
    kind = "ec2" if node_id.startswith("i-") else "ssm"
    return f"arn:aws:{kind}:{where}:{'instance' if kind == 'ec2' else 'managed-instance'}/{node_id}"


def _moment(at_ms: int | None) -> str:
    if at_ms is None:
        return ""
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
