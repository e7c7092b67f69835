"""How nodes stand: DescribeInstancePatchStates, DescribeInstancePatches and what is made of them."""

from collections.abc import Sequence
from typing import Final

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities import nodes
from pilothouse.capabilities.patches.asking import InvalidNextToken, position, query_of, shown_id
from pilothouse.capabilities.patches.model import STATES, InvalidFilter, NodePatch, Standing
from pilothouse.capabilities.patches.state_store import COUNTED, StateStore
from pilothouse.runtime.clock import from_millis

_PAGE: Final = 50
_GROUP_COUNTS: Final = {
    "Instances": "nodes",
    "InstancesWithInstalledPatches": "installed",
    "InstancesWithInstalledOtherPatches": "installed_other",
    "InstancesWithInstalledPendingRebootPatches": "installed_pending_reboot",
    "InstancesWithInstalledRejectedPatches": "installed_rejected",
    "InstancesWithMissingPatches": "missing",
    "InstancesWithFailedPatches": "failed",
    "InstancesWithNotApplicablePatches": "not_applicable",
    "InstancesWithUnreportedNotApplicablePatches": "not_applicable_unreported",
    "InstancesWithCriticalNonCompliantPatches": "critical",
    "InstancesWithSecurityNonCompliantPatches": "security",
    "InstancesWithOtherNonCompliantPatches": "other",
    "InstancesWithAvailableSecurityUpdates": "available_security_update",
}
_COLUMNS: Final = {"Classification": "classification", "KBId": "patch_id", "Severity": "severity", "State": "state"}
_STATES: Final = {state.replace("_", "").lower(): state for state in STATES}
"""By what people write for them: the sample values of AWS are Missing and InstalledOther, what it answers MISSING."""
_WITHOUT_DETAIL: Final = frozenset({"INSTALLED_OTHER", "NOT_APPLICABLE"})


@operation("ssm", "DescribeInstancePatchStates")
async def describe_instance_patch_states(call: Call, request: Shape) -> Shape:
    """Of the named nodes those that have reported."""
    query = query_of(call, request, "DescribeInstancePatchStates")
    (after,) = position(call, query, request, InvalidNextToken) or ("",)
    limit = request.get("MaxResults") or _PAGE
    asked = [each for each in request["InstanceIds"] if each > after]
    async with call.reading() as tx:
        found = await StateStore(tx, call.account_id, call.region).of(asked) if asked else []
    return _answer(call, query, found, limit)


@operation("ssm", "DescribeInstancePatchStatesForPatchGroup")
async def describe_instance_patch_states_for_patch_group(call: Call, request: Shape) -> Shape:
    """Of the group's nodes those that have reported and fit all filters, by id."""
    wanted = [_count_filter(each) for each in request.get("Filters") or ()]
    query = query_of(call, request, "DescribeInstancePatchStatesForPatchGroup")
    (after,) = position(call, query, request, InvalidNextToken) or ("",)
    limit = request.get("MaxResults") or _PAGE
    async with call.reading() as tx:
        store = StateStore(tx, call.account_id, call.region)
        found = await store.page(request["PatchGroup"], wanted, after, limit + 1)
    return _answer(call, query, found, limit)


def _count_filter(given: Shape) -> tuple[str, str, int]:
    key, value = given["Key"], given["Values"][0]
    if key not in COUNTED:
        raise InvalidFilter(f"There is no filter {key}. There are: {', '.join(COUNTED)}.")
    if not (value.isascii() and value.isdigit() and len(value) < 10):
        raise InvalidFilter(f"The value of the filter {key} must be a number.")
    return key, given["Type"], int(value)


def _answer(call: Call, query: list[object], found: Sequence[Standing], limit: int) -> Shape:
    token = call.house.pages.token(query, [found[limit - 1].node_id]) if found[limit:] else None
    return {"InstancePatchStates": [_shape(call, each) for each in found[:limit]], "NextToken": token}


def _shape(call: Call, of: Standing) -> Shape:
    members = {
        **{name.lower(): count for name, count in of.counts.items()},
        "critical": of.critical, "security": of.security, "other": of.other,
        "not_applicable_unreported": of.not_applicable_unreported,
    }  # fmt: skip
    return {
        "InstanceId": of.node_id,
        "PatchGroup": of.patch_group,
        "BaselineId": shown_id(call, of.baseline_id),
        "SnapshotId": of.snapshot_id or None,
        "InstallOverrideList": of.override_list or None,
        "OwnerInformation": of.owner_information or None,
        **{member: members[column] for member, column in COUNTED.items()},
        "OperationStartTime": from_millis(of.started_at),
        "OperationEndTime": from_millis(of.ended_at),
        "Operation": of.operation,
        "LastNoRebootInstallOperationTime": None if of.no_reboot_at is None else from_millis(of.no_reboot_at),
        "RebootOption": of.reboot_option or None,
    }


@operation("ssm", "DescribePatchGroupState")
async def describe_patch_group_state(call: Call, request: Shape) -> Shape:
    """How many of the group's nodes have some patches in each state."""
    async with call.reading() as tx:
        counts = await StateStore(tx, call.account_id, call.region).group_counts(request["PatchGroup"])
    return {member: counts[name] for member, name in _GROUP_COUNTS.items()}


@operation("ssm", "DescribeInstancePatches")
async def describe_instance_patches(call: Call, request: Shape) -> Shape:
    """What a node last reported of each patch, by id."""
    wanted: dict[str, list[str]] = {}
    for each in request.get("Filters") or ():
        key, values = each.get("Key") or "", each.get("Values") or []
        if key not in _COLUMNS or not values:
            raise InvalidFilter(f"Filters are Key and Values; the keys are {', '.join(_COLUMNS)}.")
        if key == "State":
            values = [_STATES.get(value.replace("_", "").lower(), value) for value in values]
        wanted[_COLUMNS[key]] = list(values)
    query = query_of(call, request, "DescribeInstancePatches")
    after = position(call, query, request, InvalidNextToken) or ("", "")
    limit = request.get("MaxResults") or _PAGE
    node_id = request["InstanceId"]
    async with call.reading() as tx:
        if await nodes.find(tx, call.account_id, call.region, node_id) is None:
            raise nodes.InvalidInstanceId
        found = await StateStore(tx, call.account_id, call.region).patches(node_id, wanted, after, limit + 1)
    last = found[limit - 1] if found[limit:] else None
    token = None if last is None else call.house.pages.token(query, [last.patch_id, last.title])
    return {"Patches": [_patch(each) for each in found[:limit]], "NextToken": token}


def _patch(of: NodePatch) -> Shape:
    hidden = of.state in _WITHOUT_DETAIL
    return {
        "Title": "" if hidden else of.title,
        "KBId": of.patch_id,
        "Classification": "" if hidden else of.classification,
        "Severity": "" if hidden else of.severity,
        "State": of.state,
        "InstalledTime": from_millis(of.installed_at),
        "CVEIds": of.cves or None,
    }
