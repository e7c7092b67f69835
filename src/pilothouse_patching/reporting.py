"""What a run makes of the machine's packages, and how the server is told. Under Python 3.6."""

import datetime
from typing import Any, Dict, Iterable, List, NamedTuple, Sequence

from pilothouse_patching.asking import Refused, Server
from pilothouse_patching.choosing import Patch, Verdict, judge

STATES = (
    "INSTALLED", "INSTALLED_OTHER", "INSTALLED_PENDING_REBOOT", "INSTALLED_REJECTED", "MISSING", "FAILED",
    "NOT_APPLICABLE", "AVAILABLE_SECURITY_UPDATE",
)  # fmt: skip
_BAD = ("INSTALLED_PENDING_REBOOT", "INSTALLED_REJECTED", "MISSING", "FAILED")
_COUNTS = {
    "INSTALLED": "InstalledCount", "INSTALLED_OTHER": "InstalledOtherCount",
    "INSTALLED_PENDING_REBOOT": "InstalledPendingRebootCount", "INSTALLED_REJECTED": "InstalledRejectedCount",
    "MISSING": "MissingCount", "FAILED": "FailedCount", "NOT_APPLICABLE": "NotApplicableCount",
    "AVAILABLE_SECURITY_UPDATE": "AvailableSecurityUpdateCount",
}  # fmt: skip
_AT_ONCE = 1000


class Line(NamedTuple):
    """A patch, what the baseline says of it, and how it stands on this machine."""

    patch: Patch
    verdict: Verdict
    state: str


def planned(baseline: Dict[str, Any], product: str, available: Sequence[Patch]) -> List[Line]:
    """What the baseline says of each version that could be installed; of each package the newest approved is MISSING,
    other versions have no state."""
    today = datetime.datetime.utcnow().date()
    newest: Dict[str, int] = {}
    lines = []
    for patch in available:
        verdict = judge(baseline, product, patch, today)
        lines.append(Line(patch, verdict, ""))
        if not verdict.approved:
            continue
        before = newest.get(patch.id)
        if before is None or _is_newer(patch, lines[before].patch):
            newest[patch.id] = len(lines) - 1
    return [
        line._replace(state="MISSING") if newest.get(line.patch.id) == number else line
        for number, line in enumerate(lines)
    ]


def _is_newer(one: Patch, other: Patch) -> bool:
    from pilothouse_patching.rpm import compare  # apt has one candidate only

    return compare(one.version, other.version) > 0


def standing(baseline: Dict[str, Any], product: str, installed: Iterable[Patch], pending: Iterable[str]) -> List[Line]:
    """How each installed package stands; `pending`: `id=version` of those that wait for a reboot."""
    today = datetime.datetime.utcnow().date()
    waiting = set(pending)
    blocks = baseline.get("RejectedPatchesAction") == "BLOCK"
    lines = []
    for patch in installed:
        verdict = judge(baseline, product, patch, today)
        if verdict.rejected and blocks:
            state = "INSTALLED_REJECTED"
        elif f"{patch.id}={patch.version}" in waiting:
            state = "INSTALLED_PENDING_REBOOT"
        else:
            state = "INSTALLED" if verdict.approved else "INSTALLED_OTHER"
        lines.append(Line(patch, verdict, state))
    return lines


def _text(moment: datetime.datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def report(
    server: Server, node_id: str, about: Dict[str, str], lines: Sequence[Line], installed_at: Dict[str, int]
) -> None:
    """Tell the server, summary and patches in one call: both count or neither does. Raises Refused."""
    counts = dict.fromkeys(STATES, 0)
    critical = security = other = 0
    entries = []
    for line in lines:
        if not line.state:
            continue
        counts[line.state] += 1
        if line.state in _BAD:
            if line.verdict.level == "CRITICAL":
                critical += 1
            elif line.patch.classification == "Security":
                security += 1
            else:
                other += 1
        entries.append(_entry(line, installed_at))
    summary = dict(about)
    summary.update({member: str(counts[state]) for state, member in _COUNTS.items()})
    summary.update({
        "UnreportedNotApplicableCount": "0", "CriticalNonCompliantCount": str(critical),
        "SecurityNonCompliantCount": str(security), "OtherNonCompliantCount": str(other),
    })  # fmt: skip
    now = _text(datetime.datetime.utcnow())
    items = [
        {"TypeName": "AWS:PatchSummary", "SchemaVersion": "1.0", "CaptureTime": now, "Content": [summary]},
        {"TypeName": "AWS:PatchCompliance", "SchemaVersion": "1.0", "CaptureTime": now, "Content": entries},
    ]
    server.call("PutInventory", {"InstanceId": node_id, "Items": items})


def _entry(line: Line, installed_at: Dict[str, int]) -> Dict[str, str]:
    patch = line.patch
    at = installed_at.get(f"{patch.id}={patch.version}")
    when = datetime.datetime.utcfromtimestamp(at) if at else None
    return {
        "Title": patch.shown[:500],
        "Id": patch.id[:100],
        "KBId": patch.id[:100],
        "Severity": patch.severity or patch.priority.capitalize(),
        "Classification": patch.classification or ("Security" if patch.security else ""),
        "State": line.state,
        "InstalledTime": "" if when is None or line.state in ("MISSING", "FAILED") else _text(when),
        "CVEIds": ",".join(patch.cves)[:4000],
        "ComplianceLevel": line.verdict.level,
    }


def tell_available(
    server: Server, node_id: str, operating_system: str, product: str, available: Sequence[Patch]
) -> None:
    """What the repositories offer, for the server's catalogue; a server that does not want it is no failure."""
    for start in range(0, len(available), _AT_ONCE):
        patches = [
            {
                "Name": each.name[:500], "Arch": each.arch[:100], "Version": each.version[:200],
                "Repository": each.repository[:500], "Classification": each.classification[:100],
                "Severity": each.severity[:100], "Priority": each.priority[:100], "Section": each.section[:100],
                "Released": each.released or 0, "Security": each.security, "Title": each.title[:500],
                "AdvisoryIds": [one[:100] for one in each.advisories[:50]],
                "CVEIds": [one[:100] for one in each.cves[:100]],
                "BugzillaIds": [one[:100] for one in each.bugzillas[:100]],
            }
            for each in available[start : start + _AT_ONCE]
        ]  # fmt: skip
        try:
            server.call(
                "PutAvailablePatches",
                {"InstanceId": node_id, "OperatingSystem": operating_system, "Product": product, "Patches": patches},
                "Pilothouse", "pilothouse",
            )  # fmt: skip
        except Refused as error:
            print(f"the server did not take what the repositories offer: {error}")
            return
