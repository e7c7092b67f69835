"""How a baseline judges a patch (patch-manager.md, section 6). Pure, and alike on the node and on the server.

A baseline is its snapshot: a dict with the wire names of GetPatchBaseline. Runs under Python 3.6.
"""

import datetime
import fnmatch
import re
from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Tuple

APT = ("UBUNTU", "DEBIAN", "RASPBIAN")


class Patch(NamedTuple):
    """A version of a package, or a patch of zypper's, that could be installed or is."""

    name: str
    arch: str
    version: str
    """With epoch and release, as the package manager writes it."""
    installed: str = ""
    """The version that is there now; empty if none is."""
    repository: str = ""
    classification: str = ""
    """Of the notice: Security, Bugfix...; empty if no notice speaks of it. apt has none."""
    severity: str = ""
    priority: str = ""
    section: str = ""
    released: Optional[int] = None
    """Seconds since the epoch; None where nobody says."""
    security: bool = False
    advisories: Tuple[str, ...] = ()
    cves: Tuple[str, ...] = ()
    bugzillas: Tuple[str, ...] = ()
    title: str = ""
    unit: str = "package"
    """`patch` for one of zypper's."""

    @property
    def id(self) -> str:
        """KBId of reports."""
        return self.name if self.unit == "patch" or not self.arch else f"{self.name}.{self.arch}"

    @property
    def nvra(self) -> str:
        """name-version-release.arch, without an epoch."""
        version = self.version.split(":", 1)[-1]
        return f"{self.name}-{version}.{self.arch}"

    @property
    def shown(self) -> str:
        """Title of reports."""
        return self.title or f"{self.name}-{self.version}"


class Verdict(NamedTuple):
    """What a baseline says of a patch."""

    approved: bool
    rejected: bool
    level: str
    reason: str


def judge(baseline: Dict[str, Any], product: str, patch: Patch, today: datetime.date) -> Verdict:
    """What the baseline says of the patch on a node of the product, at a date in UTC."""
    if _listed(baseline.get("RejectedPatches") or [], patch, baseline):
        action = baseline.get("RejectedPatchesAction") or "ALLOW_AS_DEPENDENCY"
        return Verdict(False, True, "UNSPECIFIED", f"is on the list of rejected patches ({action})")
    everything = _filters(baseline.get("GlobalFilters"))
    if not _fits(everything, product, patch, True):
        return Verdict(False, False, "UNSPECIFIED", "does not fit the global filters")
    reasons: List[str] = []
    for number, rule in enumerate((baseline.get("ApprovalRules") or {}).get("PatchRules") or [], 1):
        why_not = _refusal(rule, product, patch, today, _is_apt(baseline))
        if why_not is None:
            level = rule.get("ComplianceLevel") or "UNSPECIFIED"
            return Verdict(True, False, level, f"rule {number}{_told(rule)}")
        reasons.append(f"rule {number}: {why_not}")
    if _listed(baseline.get("ApprovedPatches") or [], patch, baseline):
        if patch.security or baseline.get("ApprovedPatchesEnableNonSecurity") or _in_notice(patch, baseline):
            level = baseline.get("ApprovedPatchesComplianceLevel") or "UNSPECIFIED"
            return Verdict(True, False, level, "is on the list of approved patches")
        reasons.append("is on the list of approved patches, which takes only security updates")
    return Verdict(False, False, "UNSPECIFIED", "; ".join(reasons) or "the baseline has no rules")


def _is_apt(baseline: Dict[str, Any]) -> bool:
    return baseline.get("OperatingSystem") in APT


def _in_notice(patch: Patch, baseline: Dict[str, Any]) -> bool:
    return bool(patch.classification) and not _is_apt(baseline)


def _filters(group: Optional[Dict[str, Any]]) -> List[Tuple[str, List[str]]]:
    return [(each["Key"], each["Values"]) for each in (group or {}).get("PatchFilters") or []]


def _refusal(rule: Dict[str, Any], product: str, patch: Patch, today: datetime.date, apt: bool) -> Optional[str]:
    """Why a rule does not approve; None if it does."""
    beyond = bool(rule.get("EnableNonSecurity"))
    if apt:
        if not (patch.security or beyond):
            return "no security update"
    elif not patch.classification and not beyond:
        return "no notice speaks of it"
    if not _fits(_filters(rule.get("PatchFilterGroup")), product, patch, not beyond):
        return "its filters do not fit"
    if apt or patch.released is None:
        return None
    released = datetime.datetime.utcfromtimestamp(patch.released).date()
    if rule.get("ApproveUntilDate"):
        until = datetime.datetime.strptime(rule["ApproveUntilDate"], "%Y-%m-%d").date()
        return None if released <= until else f"released {released}, after {until}"
    days = int(rule.get("ApproveAfterDays") or 0)
    if released > today - datetime.timedelta(days=days):
        return f"released {released}, less than {days} days ago"
    return None


def _fits(filters: Iterable[Tuple[str, List[str]]], product: str, patch: Patch, asks_all: bool) -> bool:
    """Whether all filters fit. A patch without a notice is asked for what notices say only if `asks_all`."""
    told = {
        "PRODUCT": product,
        "CLASSIFICATION": patch.classification,
        "SEVERITY": patch.severity,
        "PRIORITY": patch.priority.capitalize(),
        "SECTION": patch.section,
    }
    for key, values in filters:
        if "*" in values:
            continue
        if key in ("CLASSIFICATION", "SEVERITY") and not patch.classification and not asks_all:
            continue
        if key == "PRODUCT":
            if not any(_is_product(value, product) for value in values):
                return False
        elif key == "SECTION":
            if patch.section not in values and patch.section.rsplit("/", 1)[-1] not in values:
                return False
        elif told.get(key) not in values:
            return False
    return True


def _is_product(value: str, product: str) -> bool:
    if value.endswith(".*"):
        return product == value[:-2] or product.startswith(value[:-1])
    return value == product


def is_product(values: Iterable[str], product: str) -> bool:
    """Whether a source of one of these products is one of the node's."""
    return any(value == "*" or _is_product(value, product) for value in values)


def _listed(names: Iterable[str], patch: Patch, baseline: Dict[str, Any]) -> bool:
    if _is_apt(baseline):
        return patch.name in names
    known = (patch.nvra, f"{patch.name}-{patch.version}.{patch.arch}")
    for name in names:
        if name in patch.advisories or name in patch.cves or name in patch.bugzillas or name == patch.name:
            return True
        if name in known or ("*" in name and any(_like(name, each) for each in known)):
            return True
    return False


def _like(pattern: str, text: str) -> bool:
    literal = re.sub(r"([\[\]?])", r"[\1]", pattern)
    return fnmatch.fnmatchcase(text, literal)


def _told(rule: Dict[str, Any]) -> str:
    filters = ", ".join("{}={}".format(key, "|".join(values)) for key, values in _filters(rule.get("PatchFilterGroup")))
    return f" ({filters})" if filters else ""


def overridden(names: Iterable[Dict[str, str]], patch: Patch) -> bool:
    """Whether an InstallOverrideList names the patch: by `id`, and by `title`, its version, if it has one.

    Both may have a `*`.
    """
    called = (patch.name, patch.id, patch.nvra, *patch.advisories, *patch.cves)
    versions = (patch.version, patch.version.split(":", 1)[-1], patch.shown)
    for each in names:
        title = each.get("title") or "*"
        if any(_like(each["id"], one) for one in called) and any(_like(title, one) for one in versions):
            return True
    return False
