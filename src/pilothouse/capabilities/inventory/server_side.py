"""Types that nobody sends: what this server knows of nodes, as entries of inventory."""

from collections.abc import Mapping, Sequence
from typing import Final

from pilothouse.call import House
from pilothouse.capabilities import compliance, nodes
from pilothouse.capabilities.inventory.built_in import BUILT_IN
from pilothouse.capabilities.inventory.model import Entry
from pilothouse.runtime.clock import from_millis
from pilothouse.storage import Transaction

INFORMATION: Final = "AWS:InstanceInformation"
TAG: Final = "AWS:Tag"
GROUP: Final = "AWS:ResourceGroup"
_BATCH: Final = 500


def is_served(type_name: str) -> bool:
    """Whether the type is one of these."""
    built_in = BUILT_IN.get(type_name)
    return built_in is not None and built_in.served


def scope_of(house: House, account_id: str, region: str) -> nodes.Scope:
    """Whose nodes, and by which rule they answer."""
    return nodes.Scope(
        account_id=account_id, region=region, now_ms=house.clock.millis(),
        online_seconds=house.settings.nodes.online_seconds,
    )  # fmt: skip


def stamp(at_ms: int) -> str:
    """As capture times are written."""
    return from_millis(at_ms).strftime("%Y-%m-%dT%H:%M:%SZ")


Captured = tuple[str, list[Entry]]
"""(when, entries)."""


async def entries_of(
    tx: Transaction, scope: nodes.Scope, type_name: str, node_ids: Sequence[str]
) -> dict[str, Captured]:
    """What is known of these nodes, of those of which anything is."""
    found: dict[str, Captured] = {}
    now = stamp(scope.now_ms)
    where = scope.account_id, scope.region
    if type_name == INFORMATION:
        for start in range(0, len(node_ids), _BATCH):
            some = tuple(node_ids[start : start + _BATCH])
            wanted = [nodes.Wanted("InstanceId", "Equal", some)]
            for node, seen in await nodes.nodes_described(tx, scope, wanted, "", len(some)):
                found[node.node_id] = stamp(seen.last_ping_at), [nodes.information_of(node, seen)]
    elif type_name == TAG:
        for node_id, own in (await nodes.tags_of_nodes(tx, scope, node_ids)).items():
            found[node_id] = now, [_entry(Key=key, Value=value) for key, value in own.items()]
    elif type_name == GROUP:
        grouped = await nodes.groups_of_nodes(tx, *where)
        for node_id in grouped.keys() & set(node_ids):
            found[node_id] = now, [_entry(Name=name, Arn=arn) for name, arn in grouped[node_id]]
    elif type_name in ("AWS:ComplianceItem", "AWS:Association"):
        for node_id, items in (await compliance.items_of(tx, *where, node_ids)).items():
            if type_name == "AWS:ComplianceItem":
                entries = [_judged(kind, item) for kind, item in items]
            else:
                entries = [_association(item) for kind, item in items if kind == compliance.ASSOCIATION]
            if entries:
                found[node_id] = now, entries
    elif type_name == "AWS:ComplianceSummary":
        for node_id, standings in (await compliance.standings_of(tx, *where, node_ids)).items():
            found[node_id] = now, [_standing(each) for each in standings]
    return found


async def ids_fitting(tx: Transaction, scope: nodes.Scope, type_name: str, wanted: Sequence[nodes.Wanted]) -> set[str]:
    """Ids of the nodes that have an entry which is all that is wanted."""
    if type_name == INFORMATION:
        return await nodes.ids_described(tx, scope, wanted)
    if type_name == TAG:
        return await nodes.ids_tagged_so(tx, scope, wanted)
    found = set()
    everybody = sorted(await nodes.ids_described(tx, scope, []))
    batch = len(everybody) or 1 if type_name == GROUP else _BATCH  # what groups hold is found for all at once
    for start in range(0, len(everybody), batch):
        some = await entries_of(tx, scope, type_name, everybody[start : start + batch])
        found |= {node_id for node_id, (_, entries) in some.items() if any(fits(each, wanted) for each in entries)}
    return found


def fits(entry: Mapping[str, str], wanted: Sequence[nodes.Wanted]) -> bool:
    """Whether the entry is all that is wanted."""
    return all(each.fits(entry.get(each.attribute)) for each in wanted)


def _entry(**values: str) -> Entry:
    return {name: value for name, value in values.items() if value}


def _executed(execution: compliance.Execution | None) -> Entry:
    if execution is None:
        return {}
    return _entry(
        ExecutionId=execution.execution_id, ExecutionType=execution.execution_type, ExecutionTime=stamp(execution.at)
    )


def _judged(kind: str, item: compliance.Item) -> Entry:
    own = _entry(ComplianceType=kind, Id=item.item_id, Title=item.title, Severity=item.severity)
    return {**item.details, **own, **_executed(item.execution), "Status": item.status}


def _association(item: compliance.Item) -> Entry:
    own = _entry(AssociationId=item.item_id, Severity=item.severity, Status=item.status)
    for name in ("DocumentName", "DocumentVersion"):
        if name in item.details:
            own[name] = item.details[name]
    return own | {name: value for name, value in _executed(item.execution).items() if name == "ExecutionTime"}


def _standing(standing: compliance.Standing) -> Entry:
    entry = _entry(
        ComplianceType=standing.compliance_type, Status=standing.status, OverallSeverity=standing.overall_severity
    )
    for status, name in ((compliance.COMPLIANT, "Compliant"), (compliance.NON_COMPLIANT, "NonCompliant")):
        counts = standing.counts.get(status, {})
        entry[f"{name}Count"] = str(sum(counts.values()))
        for severity in compliance.SEVERITIES:
            entry[f"{name}{severity.capitalize()}Count"] = str(counts.get(severity, 0))
    return entry | _executed(standing.execution)
