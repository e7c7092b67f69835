"""What nodes tell of their repositories and of their patches, and how it is asked for."""

import datetime
from collections.abc import Sequence
from typing import Any

import pytest
from tests.capabilities.commands.conftest import Fleet, Node
from tests.conftest import Server, clients_of
from tests.gateway.test_node_rights import its

from pilothouse.runtime.clock import TestClock


@pytest.fixture(scope="module")
def node(server: Server, fleet: Fleet) -> Node:
    node = fleet.node(online=False)
    fleet.tell(node, PlatformType="Linux", PlatformName="Rocky Linux", PlatformVersion="9.1")
    return node


def rule(days: int, *severities: str, level: str) -> dict[str, Any]:
    filters = [{"Key": "SEVERITY", "Values": list(severities)}]
    return {"PatchFilterGroup": {"PatchFilters": filters}, "ApproveAfterDays": days, "ComplianceLevel": level}


def test_the_date_of_approval_is_that_of_the_earliest_rule(
    server: Server, ssm: Any, node: Node, clock: TestClock
) -> None:
    now = clock.now().replace(microsecond=0)
    released = {"old": now - datetime.timedelta(days=40), "young": now - datetime.timedelta(days=3)}
    its(clients_of(server), node, "pilothouse").put_available_patches(
        InstanceId=node.id, OperatingSystem="ROCKY_LINUX", Product="RockyLinux9.1",
        Patches=[
            {"Name": f"{age}-{severity.lower()}", "Arch": "noarch", "Version": "1.1-1", "Severity": severity,
             "Classification": "Security", "Security": True, "Released": int(date.timestamp())}
            for age, date in released.items() for severity in ("Critical", "Important", "Low")
        ],
    )  # fmt: skip
    rules = [rule(30, "Critical", "Important", level="HIGH"), rule(7, "Important", level="LOW")]
    baseline_id = ssm.create_patch_baseline(
        Name="dates", OperatingSystem="ROCKY_LINUX", ApprovalRules={"PatchRules": rules}, ApprovedPatches=["young-low"]
    )["BaselineId"]
    found = {
        each["Patch"]["Name"]: each["PatchStatus"]
        for each in ssm.describe_effective_patches_for_patch_baseline(BaselineId=baseline_id)["EffectivePatches"]
    }

    def status(name: str, days: int) -> tuple[str, str, datetime.timedelta]:
        given = found[name]
        approved = given["ApprovalDate"] - released[name.partition("-")[0]]
        return given["DeploymentStatus"], given["ComplianceLevel"], approved - datetime.timedelta(days=days)

    none = datetime.timedelta()
    assert status("old-critical", 30) == ("APPROVED", "HIGH", none)
    assert status("old-important", 7) == ("APPROVED", "HIGH", none)
    assert status("young-critical", 30) == ("PENDING_APPROVAL", "HIGH", none)
    assert status("young-important", 7) == ("PENDING_APPROVAL", "LOW", none)
    assert status("young-low", 0) == ("EXPLICIT_APPROVED", "UNSPECIFIED", none)
    assert "old-low" not in found


def listed(ssm: Any, node: Node, *states: str) -> Sequence[str]:
    filters = [{"Key": "State", "Values": list(states)}]
    return [each["KBId"] for each in ssm.describe_instance_patches(InstanceId=node.id, Filters=filters)["Patches"]]


def test_states_are_asked_for_in_both_of_their_forms(server: Server, ssm: Any, node: Node) -> None:
    """AWS's own examples say Missing and InstalledOther, its answers MISSING and INSTALLED_OTHER."""
    when = "2026-03-10T12:00:00Z"
    states = {"a.noarch": "MISSING", "b.noarch": "INSTALLED_OTHER", "c.noarch": "INSTALLED_PENDING_REBOOT"}
    baseline = ssm.get_default_patch_baseline(OperatingSystem="ROCKY_LINUX")["BaselineId"]
    summary = {
        "BaselineId": baseline, "OperationType": "Scan", "OperationStartTime": when, "OperationEndTime": when,
    }  # fmt: skip
    patches = [{"Id": name, "KBId": name, "Title": name, "State": state} for name, state in states.items()]
    its(clients_of(server), node, "ssm").put_inventory(
        InstanceId=node.id,
        Items=[
            {"TypeName": kind, "SchemaVersion": "1.0", "CaptureTime": when, "Content": content}
            for kind, content in (("AWS:PatchSummary", [summary]), ("AWS:PatchCompliance", patches))
        ],
    )
    assert listed(ssm, node, "Missing") == listed(ssm, node, "MISSING") == ["a.noarch"]
    assert listed(ssm, node, "InstalledOther", "INSTALLED_PENDING_REBOOT") == ["b.noarch", "c.noarch"]
    assert listed(ssm, node, "InstalledPendingReboot") == ["c.noarch"]
    assert listed(ssm, node, "Installed") == []
