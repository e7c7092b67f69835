"""The catalogue: what nodes have seen in their repositories, and what baselines say of it.

Nobody feeds it from outside: patches that no node of the account knows are not there.
"""

import datetime
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from pilothouse.call import Call, Caller, Shape, operation
from pilothouse.capabilities import nodes
from pilothouse.capabilities.patches.asking import find_baseline, named_baseline, position, query_of
from pilothouse.capabilities.patches.model import NOT_LINUX, UnsupportedOperatingSystem, system_of, told
from pilothouse.capabilities.patches.properties import PROPERTIES
from pilothouse.capabilities.patches.snapshots import _named_node
from pilothouse.capabilities.patches.state_store import CatalogueStore, Known
from pilothouse.errors import ValidationException
from pilothouse.runtime.clock import from_millis
from pilothouse_patching.choosing import Patch, Verdict, judge

_PAGE: Final = 50
_LOOK_AT: Final = 500
_ABOUT: Final = {
    "Repository": "repository", "Classification": "classification", "Severity": "severity", "Priority": "priority",
    "Section": "section", "Security": "security", "Title": "title", "AdvisoryIds": "advisories", "CVEIds": "cves",
    "BugzillaIds": "bugzillas",
}  # fmt: skip
_LISTS: Final = {"ADVISORY_ID": "advisories", "CVE_ID": "cves", "BUGZILLA_ID": "bugzillas"}
_KEYS: Final = {
    "PRODUCT", "NAME", "SEVERITY", "CLASSIFICATION", "PRIORITY", "SECTION", "EPOCH", "VERSION", "RELEASE", "ARCH",
    "REPOSITORY", "SECURITY", "PATCH_ID", *_LISTS, "PATCH_SET", "PRODUCT_FAMILY", "MSRC_SEVERITY",
}  # fmt: skip
_VENDORS: Final = {
    "UBUNTU": "Canonical", "DEBIAN": "Debian", "RASPBIAN": "Raspbian", "SUSE": "SUSE", "CENTOS": "CentOS",
    "REDHAT_ENTERPRISE_LINUX": "Red Hat", "ORACLE_LINUX": "Oracle", "ROCKY_LINUX": "Rocky", "ALMA_LINUX": "AlmaLinux",
}  # fmt: skip


@operation(
    "pilothouse", "PutAvailablePatches", writes=True, callers=Caller.NODE,
    action="ssm:GetDeployablePatchSnapshotForInstance", resources=_named_node, node_member="InstanceId",
)  # fmt: skip
async def put_available_patches(call: Call, request: Shape) -> Shape:
    """A node tells what its repositories offer. It can speak of its own operating system only."""
    async with call.transaction() as tx:
        node = await nodes.find(tx, call.account_id, call.region, request["InstanceId"])
        if node is None:
            raise nodes.InvalidInstanceId(f"The managed node {request['InstanceId']} is not registered here.")
        system, product = system_of(node.platform_name, node.platform_version)
        now = call.clock.millis()
        known = {
            (each["Name"], each.get("Arch", ""), each["Version"]): Known(
                operating_system=system, product=product, name=each["Name"], arch=each.get("Arch", ""),
                version=each["Version"], about={ours: each[name] for name, ours in _ABOUT.items() if each.get(name)},
                released_at=each["Released"] * 1000 if each.get("Released") else None, first_seen_at=now,
            )
            for each in request["Patches"]
        }  # fmt: skip
        await CatalogueStore(tx, call.account_id, call.region).put([known[place] for place in sorted(known)], now)
    return {}


def _filters(request: Shape) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for each in request.get("Filters") or ():
        key, values = each.get("Key") or "", each.get("Values") or []
        if key not in _KEYS or not values:
            raise ValidationException(f"Filters are Key and Values; the keys are {', '.join(sorted(_KEYS))}.")
        found[key] = list(values)
    return found


def _patch(known: Known) -> Patch:
    """As rules see it."""
    about: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in known.about.items()
    }
    released = None if known.released_at is None else known.released_at // 1000
    return Patch(name=known.name, arch=known.arch, version=known.version, released=released, **about)


def _parts(version: str) -> tuple[str, str, str]:
    """Epoch, version and release."""
    epoch, _, rest = version.rpartition(":")
    whole, _, release = rest.rpartition("-")
    return epoch or "0", whole or release, release if whole else ""


def _fits(known: Known, wanted: Mapping[str, Sequence[str]]) -> bool:
    patch = _patch(known)
    epoch, version, release = _parts(known.version)
    told_of = {
        "PRODUCT": known.product, "NAME": known.name, "SEVERITY": patch.severity, "ARCH": known.arch, "EPOCH": epoch,
        "CLASSIFICATION": patch.classification, "PRIORITY": patch.priority.capitalize(), "SECTION": patch.section,
        "VERSION": version, "RELEASE": release, "REPOSITORY": patch.repository, "PATCH_ID": patch.id,
        "SECURITY": str(patch.security),
    }  # fmt: skip
    for key, values in wanted.items():
        if "*" in values:
            continue
        if key in _LISTS:
            if not set(values) & set(getattr(patch, _LISTS[key])):
                return False
        elif told_of.get(key) not in values:
            return False
    return True


def _shape(known: Known) -> Shape:
    patch = _patch(known)
    epoch, version, release = _parts(known.version)
    return {
        "Id": patch.id,
        "ReleaseDate": from_millis(known.released_at or known.first_seen_at),
        "Title": patch.shown,
        "Vendor": _VENDORS.get(known.operating_system, "Amazon"),
        "ProductFamily": known.operating_system,
        "Product": known.product,
        "Classification": patch.classification or None,
        "AdvisoryIds": list(patch.advisories),
        "BugzillaIds": list(patch.bugzillas),
        "CVEIds": list(patch.cves),
        "Name": known.name,
        "Epoch": int(epoch) if epoch.isdigit() else 0,
        "Version": version,
        "Release": release,
        "Arch": known.arch,
        "Severity": patch.severity or patch.priority.capitalize() or None,
        "Repository": patch.repository or None,
    }


async def _page(
    call: Call, request: Shape, name: str, system: str | None, fits: Callable[[Known], bool]
) -> tuple[list[Known], str | None]:
    """A page of what fits, and the token of the next."""
    query = query_of(call, request, name)
    after = position(call, query, request, ValidationException)
    limit = request.get("MaxResults") or _PAGE
    found: list[Known] = []
    async with call.reading() as tx:
        store = CatalogueStore(tx, call.account_id, call.region)
        while len(found) <= limit:
            looked = await store.page(system, after, _LOOK_AT)
            found += [each for each in looked if fits(each)]
            if len(looked) < _LOOK_AT:
                break
            after = looked[-1].place
    token = call.house.pages.token(query, found[limit - 1].place) if found[limit:] else None
    return found[:limit], token


@operation("ssm", "DescribeAvailablePatches")
async def describe_available_patches(call: Call, request: Shape) -> Shape:
    """What nodes have seen in their repositories, by system, product, name and version."""
    wanted = _filters(request)
    found, token = await _page(call, request, "DescribeAvailablePatches", None, lambda known: _fits(known, wanted))
    return {"Patches": [_shape(each) for each in found], "NextToken": token}


@operation("ssm", "DescribeEffectivePatchesForPatchBaseline", resources=named_baseline)
async def describe_effective_patches_for_patch_baseline(call: Call, request: Shape) -> Shape:
    """What a baseline says of the patches of its operating system that nodes know: those that it lists or approves, now
    or later."""
    async with call.reading() as tx:
        baseline = await find_baseline(call, tx, request["BaselineId"])
    if baseline.operating_system in NOT_LINUX:
        raise UnsupportedOperatingSystem(f"No node tells of patches for {baseline.operating_system}.")
    said = {**told(baseline.terms), "OperatingSystem": baseline.operating_system}
    today = call.clock.now().date()

    def status(known: Known) -> Shape | None:
        return _status(said, known, today)

    found, token = await _page(
        call, request, "DescribeEffectivePatchesForPatchBaseline", baseline.operating_system,
        lambda known: status(known) is not None,
    )  # fmt: skip
    return {
        "EffectivePatches": [{"Patch": _shape(each), "PatchStatus": status(each)} for each in found],
        "NextToken": token,
    }


def _status(said: Mapping[str, Any], known: Known, today: datetime.date) -> Shape | None:
    patch = _patch(known)
    verdict = judge(dict(said), known.product, patch, today)
    if verdict.rejected:
        return {"DeploymentStatus": "EXPLICIT_REJECTED", "ComplianceLevel": verdict.level}
    first = _first_approval(said, known, patch)
    if first is None:
        return None
    since, then = first
    if not verdict.approved:
        return {"DeploymentStatus": "PENDING_APPROVAL", "ComplianceLevel": then.level, "ApprovalDate": since}
    listed = verdict.reason.startswith("is on the list")
    return {
        "DeploymentStatus": "EXPLICIT_APPROVED" if listed else "APPROVED",
        "ComplianceLevel": verdict.level,
        "ApprovalDate": since,
    }


def _first_approval(said: Mapping[str, Any], known: Known, patch: Patch) -> tuple[datetime.datetime, Verdict] | None:
    """Since when the baseline approves a patch, or from when on it will, and by what."""
    released = from_millis(known.released_at or known.first_seen_at)
    rules = (said.get("ApprovalRules") or {}).get("PatchRules") or ()
    for days in sorted({0, *(rule.get("ApproveAfterDays") or 0 for rule in rules)}):
        since = released + datetime.timedelta(days=days)
        verdict = judge(dict(said), known.product, patch, since.date())
        if verdict.approved:
            return since, verdict
    return None


@operation("ssm", "DescribePatchProperties")
async def describe_patch_properties(call: Call, request: Shape) -> Shape:
    """The values that filters know of a property; products as well that nodes have named."""
    system, name = request["OperatingSystem"], request["Property"]
    values = list(PROPERTIES.get((system, name), ()))
    query = query_of(call, request, "DescribePatchProperties")
    (skip,) = position(call, query, request, ValidationException) or (0,)
    limit = request.get("MaxResults") or _PAGE
    page = values[skip : skip + limit]
    token = call.house.pages.token(query, [skip + limit]) if values[skip + limit :] else None
    return {"Properties": [{"Name": each} for each in page], "NextToken": token}
