"""Scan or install: the payload's whole way. Under Python 3.6.

Exit codes: 0 done, 194 the agent is to reboot and start the step again, 1 an approved patch could not be installed, 2
nothing was done or reported, for a reason that stands on standard error.
"""

import argparse
import datetime
import json
import os
import sys
import uuid
from typing import Any, Dict, List, Sequence

from pilothouse_patching import asking, choosing, reporting
from pilothouse_patching.apt import Apt
from pilothouse_patching.choosing import Patch
from pilothouse_patching.keeping import Memory
from pilothouse_patching.locks import Patience
from pilothouse_patching.reporting import Line
from pilothouse_patching.rpm import Rpm
from pilothouse_patching.running import ToolFailed
from pilothouse_patching.zypper import Zypper

_REBOOT = 194


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--ca", default="")
    parser.add_argument("--operation", choices=("Scan", "Install", "Plan"), required=True)
    parser.add_argument("--snapshot-id", default="")
    parser.add_argument("--install-override-list", default="")
    parser.add_argument("--baseline-override", default="")
    parser.add_argument("--baseline-tags", default="")
    parser.add_argument("--only-reboot", action="store_true")
    parser.add_argument("--reboot-option", choices=("RebootIfNeeded", "NoReboot"), default="RebootIfNeeded")
    return parser.parse_args()


def main() -> int:
    """Raises nothing that a user should have to read a traceback for."""
    given = _arguments()
    try:
        return _Run(given).run()
    except (ToolFailed, asking.Refused) as error:
        sys.stderr.write(f"patching: {error}\n")
        return 2


class _Run:
    """One operation on this machine."""

    def __init__(self, given: argparse.Namespace) -> None:
        self._given = given
        self._began = datetime.datetime.utcnow()
        self._name = os.environ.get("SSM_COMMAND_ID") or given.snapshot_id
        self._node = os.environ.get("AWS_SSM_INSTANCE_ID", "")
        self._server = asking.Server(
            given.url, os.environ.get("AWS_SSM_REGION_NAME", ""), os.environ.get("AWS_SHARED_CREDENTIALS_FILE", ""),
            given.ca,
        )  # fmt: skip
        self._memory = Memory()
        self._baseline: Dict[str, Any] = {}
        self._snapshot: Dict[str, Any] = {}

    def run(self) -> int:
        given = self._given
        if given.only_reboot and not self._has_to_go_on():
            return 0
        if given.only_reboot and self._reboots():
            return _REBOOT
        overrides: List[Dict[str, str]] = []
        if given.install_override_list and given.operation == "Install":
            text = self._server.fetch(given.install_override_list).decode("utf-8", "replace")
            overrides = asking.override_list(text)
        self._ask_baseline()
        system = self._system()
        try:
            return self._work(system, overrides)
        finally:
            system.close()

    def _ask_baseline(self) -> None:
        """The snapshot: what the baseline says for this run."""
        given = self._given
        request: Dict[str, Any] = {"InstanceId": self._node, "SnapshotId": given.snapshot_id or str(uuid.uuid4())}
        if given.baseline_tags:
            key, values = asking.baseline_tag(given.baseline_tags)
            tagged = dict(request, TagKey=key, TagValues=values)
            answer = self._server.call("GetPatchSnapshotByTag", tagged, "Pilothouse", "pilothouse")
        else:
            answer = self._server.call("GetDeployablePatchSnapshotForInstance", request)
        if given.baseline_override:
            snapshot = json.loads(self._server.fetch(answer["SnapshotDownloadUrl"]).decode())
            text = self._server.fetch(given.baseline_override).decode("utf-8", "replace")
            override = asking.override_baseline(text, snapshot["operatingSystem"])
            if override is None:
                raise asking.Refused("the list of baselines has none for {}".format(snapshot["operatingSystem"]))
            request["BaselineOverride"] = override
            answer = self._server.call("GetDeployablePatchSnapshotForInstance", request)
        self._snapshot = json.loads(self._server.fetch(answer["SnapshotDownloadUrl"]).decode())
        self._baseline = self._snapshot["patchBaseline"]
        self._baseline["OperatingSystem"] = self._snapshot["operatingSystem"]

    def _system(self) -> Any:
        product = self._snapshot["product"]
        sources = [
            each for each in self._baseline.get("Sources") or [] if choosing.is_product(each["Products"], product)
        ]
        system = self._snapshot["operatingSystem"]
        patience = Patience(self._snapshot.get("lockSeconds", 120))
        if system in choosing.APT:
            return Apt(sources, patience)
        return Zypper(sources, patience, self._memory) if system == "SUSE" else Rpm(sources, patience)

    def _work(self, system: Any, overrides: Sequence[Dict[str, str]]) -> int:
        product = self._snapshot["product"]
        system.refresh()
        installed = system.installed()
        available = system.available()
        reporting.tell_available(self._server, self._node, self._snapshot["operatingSystem"], product, available)
        plan = reporting.planned(self._baseline, product, available)
        if self._given.operation == "Plan":
            _show_plan(plan)
            return 0
        wanted = [line for line in plan if line.state == "MISSING"]
        if self._given.operation == "Scan":
            self._report(self._lines(installed, wanted, []))
            return 0
        chosen = [] if self._given.only_reboot else [line.patch for line in wanted]
        if overrides:
            chosen = _newest([line.patch for line in plan if choosing.overridden(overrides, line.patch)])
        blocked = [line.patch for line in plan if line.verdict.rejected] if self._blocks() else []
        return self._install(system, chosen, blocked)

    def _has_to_go_on(self) -> bool:
        """Whether there is something to do after patches were installed: a reboot, or a report after it."""
        memory = self._memory
        return self._given.operation == "Install" and (bool(memory.pending) or memory.has_rebooted_for(self._name))

    def _reboots(self) -> bool:
        """Whether the machine is to reboot now; said once in a run, also if it still waits for one afterwards."""
        memory = self._memory
        if self._given.reboot_option == "NoReboot" or not memory.pending or memory.has_rebooted_for(self._name):
            return False
        print("rebooting")
        memory.reboots_for(self._name)
        return True

    def _blocks(self) -> bool:
        return self._baseline.get("RejectedPatchesAction") == "BLOCK"

    def _install(self, system: Any, chosen: Sequence[Patch], blocked: Sequence[Patch]) -> int:
        product, memory = self._snapshot["product"], self._memory
        if chosen:
            print(f"installing {len(chosen)} patches")
            system.install(chosen, blocked)
        installed = system.installed()
        there = {(each.id, each.version) for each in installed}
        left = system.available()
        undone = [each for each in chosen if not _is_there(each, there, left)]
        done = [each for each in chosen if each not in undone]
        waits = bool(done) and system.reboot_needed(done)
        without = "" if self._given.reboot_option == "RebootIfNeeded" or not done else _text(datetime.datetime.utcnow())
        memory.installed(done, waits, without)
        plan = [line for line in reporting.planned(self._baseline, product, left) if line.state == "MISSING"]
        self._report(self._lines(installed, plan, undone))
        if self._reboots():
            return _REBOOT
        for each in undone:
            sys.stderr.write(f"patching: {each.shown} could not be installed\n")
        return 1 if undone else 0

    def _lines(self, installed: Sequence[Patch], missing: Sequence[Line], undone: Sequence[Patch]) -> List[Line]:
        """`undone` is told in any case, also where it is not offered any more, or on no list but the run's own."""
        product, today = self._snapshot["product"], datetime.datetime.utcnow().date()
        named = {line.patch.id for line in missing}
        others = [Line(each, choosing.judge(self._baseline, product, each, today), "") for each in undone]
        missing = [*missing, *(line for line in others if line.patch.id not in named)]
        outdated = {line.patch.id for line in missing}
        lines = [
            line
            for line in reporting.standing(self._baseline, product, installed, self._memory.pending)
            if line.patch.id not in outdated or line.state == "INSTALLED_REJECTED"
        ]
        failed = {(each.id, each.version) for each in undone}
        for line in missing:
            is_failed = (line.patch.id, line.patch.version) in failed
            lines.append(line._replace(state="FAILED" if is_failed else "MISSING"))
        return lines

    def _report(self, lines: Sequence[Line]) -> None:
        given = self._given
        about = {
            "PatchGroup": self._snapshot["patchGroup"],
            "BaselineId": self._snapshot["baselineId"],
            "SnapshotId": given.snapshot_id or "",
            "OwnerInformation": "",
            "InstallOverrideList": given.install_override_list if given.operation == "Install" else "",
            "OperationType": given.operation,
            "OperationStartTime": _text(self._began),
            "OperationEndTime": _text(datetime.datetime.utcnow()),
            "RebootOption": given.reboot_option if given.operation == "Install" else "NoReboot",
            "LastNoRebootInstallOperationTime": self._memory.no_reboot_at,
        }
        reporting.report(self._server, self._node, about, lines, self._memory.installed_at)
        states = [line.state for line in lines]
        told = [f"{states.count(state)} {state}" for state in reporting.STATES if state in states]
        print("{} against {}: {}".format(given.operation, self._snapshot["baselineName"], ", ".join(told) or "nothing"))
        for line in lines:
            if line.state in ("MISSING", "FAILED"):
                print(f"{line.state:8} {line.patch.shown} ({line.patch.id}), {line.verdict.reason}")


def _text(moment: datetime.datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _newest(patches: Sequence[Patch]) -> List[Patch]:
    found: Dict[str, Patch] = {}
    for each in patches:
        if each.id not in found or reporting._is_newer(each, found[each.id]):
            found[each.id] = each
    return list(found.values())


def _is_there(patch: Patch, there: Any, left: Sequence[Patch]) -> bool:
    """Whether a patch is installed: its version is, or it is a patch that is no longer needed."""
    if (patch.id, patch.version) in there:
        return True
    return patch.unit == "patch" and all((each.id, each.version) != (patch.id, patch.version) for each in left)


def _show_plan(plan: Sequence[Line]) -> None:
    """A line of JSON for each version that could be installed."""
    for line in plan:
        patch = line.patch
        print(
            json.dumps({
                "id": patch.id, "title": patch.shown, "installed": patch.installed, "version": patch.version,
                "repository": patch.repository, "classification": patch.classification, "severity": patch.severity,
                "priority": patch.priority, "section": patch.section, "security": patch.security,
                "advisories": patch.advisories, "cves": patch.cves, "install": line.state == "MISSING",
                "approved": line.verdict.approved, "level": line.verdict.level, "reason": line.verdict.reason,
            })
        )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
