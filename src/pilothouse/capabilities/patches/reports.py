"""What nodes report, as inventory of the types AWS:PatchSummary and AWS:PatchCompliance, in the form of states.

The event `inventory.put` tells of it, in the transaction that keeps the inventory. Texts of nodes are hostile: what
does not have the form of a report is refused as inventory that cannot be taken.
"""

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pilothouse.call import House
from pilothouse.capabilities import compliance
from pilothouse.capabilities.patches.model import STATES, InvalidResourceId, NodePatch, Standing, counted, id_of
from pilothouse.capabilities.patches.state_store import StateStore
from pilothouse.errors import ApiError
from pilothouse.runtime.clock import from_millis
from pilothouse.storage import Transaction

SUMMARY: Final = "AWS:PatchSummary"
PATCHES: Final = "AWS:PatchCompliance"
_ALL: Final = 1_000_000
_STATUS: Final = {"NOT_APPLICABLE": "", "AVAILABLE_SECURITY_UPDATE": ""}
_LEVELS: Final = frozenset({"CRITICAL", "HIGH", "MEDIUM", "LOW", "INFORMATIONAL", "UNSPECIFIED"})
_OPERATIONS: Final = frozenset({"Scan", "Install"})
_COUNTS: Final = {
    "InstalledCount": "INSTALLED",
    "InstalledOtherCount": "INSTALLED_OTHER",
    "InstalledPendingRebootCount": "INSTALLED_PENDING_REBOOT",
    "InstalledRejectedCount": "INSTALLED_REJECTED",
    "MissingCount": "MISSING",
    "FailedCount": "FAILED",
    "NotApplicableCount": "NOT_APPLICABLE",
    "AvailableSecurityUpdateCount": "AVAILABLE_SECURITY_UPDATE",
}


class InvalidItemContentException(ApiError):
    """A report that cannot be read; the text says where."""


async def inventory_put(house: House, tx: Transaction, facts: Mapping[str, Any]) -> None:
    """The event `inventory.put`: account_id, region, node_id, type_name, content (None if it is as before).

    Of one report the patches come first, by the order of the types' names, and the summary makes it count.
    """
    kind, content, node_id = facts["type_name"], facts["content"], facts["node_id"]
    if kind not in (PATCHES, SUMMARY) or content is None:
        return
    store = StateStore(tx, facts["account_id"], facts["region"])
    await store.lock(node_id)
    if kind == PATCHES:
        await store.replace_patches(node_id, [_patch(each) for each in content])
    elif content:
        patches = await store.patches(node_id, {}, ("", ""), _ALL)
        standing = _standing(node_id, content[0], patches)
        await store.put(standing)
        await _judge(house, tx, facts, standing, patches)
        await house.tell(
            tx, "patches.reported", account_id=facts["account_id"], region=facts["region"], standing=standing
        )


async def node_gone(house: House, tx: Transaction, facts: Mapping[str, Any]) -> None:
    """The event `node.deregistered`."""
    await StateStore(tx, facts["account_id"], facts["region"]).forget(facts["node_id"])


async def _judge(
    house: House, tx: Transaction, facts: Mapping[str, Any], standing: Standing, patches: Sequence[NodePatch]
) -> None:
    """Each patch is an item of compliance, of the severity that the rule gives it that speaks of it."""
    items = [
        compliance.Item(
            item_id=each.patch_id,
            title=each.title,
            severity=each.level,
            status=_STATUS.get(each.state, compliance.NON_COMPLIANT if not each.compliant else compliance.COMPLIANT),
            details={name: text for name, text in _details(standing, each).items() if text},
        )
        for each in {each.patch_id: each for each in sorted(patches, key=lambda each: each.compliant)[::-1]}.values()
    ]
    execution = compliance.Execution(at=standing.ended_at, execution_id=standing.snapshot_id, execution_type="Command")
    keeper = compliance.Keeper(house, tx, facts["account_id"], facts["region"])
    await keeper.put(standing.node_id, compliance.PATCH, items, execution)


def _details(standing: Standing, patch: NodePatch) -> dict[str, str]:
    installed = from_millis(patch.installed_at).strftime("%Y-%m-%dT%H:%M:%SZ") if patch.installed_at else ""
    return {
        "PatchBaselineId": standing.baseline_id,
        "PatchGroup": standing.patch_group,
        "PatchState": patch.state,
        "PatchSeverity": patch.severity,
        "Classification": patch.classification,
        "CVEIds": patch.cves,
        "InstalledTime": installed,
    }


def _patch(entry: Mapping[str, str]) -> NodePatch:
    state = entry.get("State", "")
    if state not in STATES:
        raise InvalidItemContentException(f"{PATCHES}: there is no State {state[:100]!r}.", TypeName=PATCHES)
    level = entry.get("ComplianceLevel") or "UNSPECIFIED"
    return NodePatch(
        patch_id=_text(entry, "KBId", 200) or _text(entry, "Id", 200),
        title=_text(entry, "Title", 500),
        classification=_text(entry, "Classification", 100),
        severity=_text(entry, "Severity", 100),
        state=state,
        level=level if level in _LEVELS else "UNSPECIFIED",
        installed_at=_moment(entry, "InstalledTime", PATCHES) or 0,
        cves=_text(entry, "CVEIds", 4000),
    )


def _text(entry: Mapping[str, str], name: str, most: int) -> str:
    return (entry.get(name) or "")[:most]


def _moment(entry: Mapping[str, str], name: str, kind: str) -> int | None:
    text = entry.get(name) or ""
    if not text:
        return None
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidItemContentException(f"{kind}: {name} must be a time in ISO 8601.", TypeName=kind) from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return int(moment.timestamp() * 1000)


def _count(entry: Mapping[str, str], name: str) -> int:
    text = entry.get(name) or "0"
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise InvalidItemContentException(f"{SUMMARY}: {name} must be a number.", TypeName=SUMMARY)
    return int(text)


def _standing(node_id: str, entry: Mapping[str, str], patches: Sequence[NodePatch]) -> Standing:
    """The counts are those of the patches if it told of any, so that they cannot say something else."""
    try:
        baseline_id = id_of(_text(entry, "BaselineId", 128))
    except InvalidResourceId as error:
        raise InvalidItemContentException(f"{SUMMARY}: BaselineId is no baseline's.", TypeName=SUMMARY) from error
    operation = _text(entry, "OperationType", 20)
    started = _moment(entry, "OperationStartTime", SUMMARY)
    ended = _moment(entry, "OperationEndTime", SUMMARY)
    if operation not in _OPERATIONS or started is None or ended is None:
        raise InvalidItemContentException(
            f"{SUMMARY}: OperationType, OperationStartTime and OperationEndTime are needed.", TypeName=SUMMARY
        )
    counts = {state: _count(entry, member) for member, state in _COUNTS.items()}
    critical, security, other = (
        _count(entry, name)
        for name in ("CriticalNonCompliantCount", "SecurityNonCompliantCount", "OtherNonCompliantCount")
    )
    if patches:
        counts, critical, security, other = counted(patches)
    return Standing(
        node_id=node_id,
        patch_group=_text(entry, "PatchGroup", 256),
        baseline_id=baseline_id,
        snapshot_id=_text(entry, "SnapshotId", 36),
        operation=operation,
        started_at=started,
        ended_at=ended,
        counts=counts,
        critical=critical,
        security=security,
        other=other,
        not_applicable_unreported=_count(entry, "UnreportedNotApplicableCount"),
        override_list=_text(entry, "InstallOverrideList", 256),
        owner_information=_text(entry, "OwnerInformation", 128),
        reboot_option=_text(entry, "RebootOption", 20),
        no_reboot_at=_moment(entry, "LastNoRebootInstallOperationTime", SUMMARY),
    )
