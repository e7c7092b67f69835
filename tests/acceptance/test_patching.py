"""Patching for real: machines with packages of their own, scanned and patched by AWS-RunPatchBaseline."""

import datetime
import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.installation import Installation, installation
from tests.acceptance.patched import DEBIAN, ROCKY, SUSE, Patched, rule
from tests.acceptance.roots import AptRepository, RpmRepository, machine, notice

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="machines inside this one are made by root")


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with installation(tmp_path_factory.mktemp("house")) as made:
        yield made


@pytest.fixture(scope="module")
def debian(house: Installation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Patched, AptRepository]]:
    """A Debian with a tool and an editor from its archive, for which there are newer ones: the tool's mends a hole."""
    repository = AptRepository(house.folder / "apt")
    old = [repository.package("ph-tool", "1.0"), repository.package("ph-editor", "1.0")]
    tool = repository.package("ph-tool", "1.1", priority="important")
    editor = repository.package("ph-editor", "1.1")
    repository.publish("bookworm", *old)
    repository.publish("bookworm-updates", editor)
    repository.publish("bookworm-security", tool)
    with machine(house, tmp_path_factory.mktemp("machines"), "debian", release=DEBIAN) as (root, agent):
        root.run("dpkg -i " + " ".join(map(str, old)))
        repository.use(root, "bookworm", "bookworm-updates", "bookworm-security")
        agent.start()
        house.connected(agent)
        yield Patched(house, root, agent), repository


def test_a_debian_is_scanned_planned_and_patched(debian: tuple[Patched, AptRepository]) -> None:
    node, _ = debian
    node.baseline("DEBIAN", ApprovalRules=rule(("PRIORITY", ["Important"]), ComplianceLevel="CRITICAL"))
    output = node.done("Scan")["StandardOutputContent"]
    assert "MISSING  ph-tool-1.1 (ph-tool.all), rule 1" in output
    assert node.patches("ph-tool.all", "ph-editor.all") == {
        "ph-tool.all": "MISSING",
        "ph-editor.all": "INSTALLED_OTHER",
    }
    state = node.state()
    assert (state["MissingCount"], state["CriticalNonCompliantCount"], state["Operation"]) == (1, 1, "Scan")
    items = node.ssm.list_compliance_items(
        ResourceIds=[node.id], Filters=[{"Key": "Status", "Values": ["NON_COMPLIANT"], "Type": "EQUAL"}]
    )["ComplianceItems"]
    assert [(each["Id"], each["Severity"], each["ComplianceType"]) for each in items] == [
        ("ph-tool.all", "CRITICAL", "Patch")
    ]
    plan = node.done("", document="Pilothouse-PlanPatches")["StandardOutputContent"]
    told = {each["id"]: each for each in map(json.loads, plan.splitlines())}
    assert (told["ph-tool.all"]["install"], told["ph-editor.all"]["install"]) == (True, False)
    assert "no security update" in told["ph-editor.all"]["reason"]
    node.done("Install", RebootOption="NoReboot")
    assert node.root.run("dpkg-query -W -f '${Version}' ph-tool ph-editor") == "1.01.1"
    assert node.patches("ph-tool.all") == {"ph-tool.all": "INSTALLED"}
    state = node.state()
    assert (state["MissingCount"], state["Operation"], state["RebootOption"]) == (0, "Install", "NoReboot")
    assert state["LastNoRebootInstallOperationTime"]
    summary = node.ssm.list_compliance_summaries(
        Filters=[{"Key": "ComplianceType", "Values": ["Patch"], "Type": "EQUAL"}]
    )["ComplianceSummaryItems"]
    assert summary[0]["NonCompliantSummary"]["NonCompliantCount"] == 0


def test_what_is_rejected_stays_out_and_overrides_name_what_comes_in(
    house: Installation, debian: tuple[Patched, AptRepository]
) -> None:
    node, repository = debian
    needs = repository.package("ph-suite", "2.0", depends="ph-base (>= 2.0)")
    base, other = repository.package("ph-base", "2.0"), repository.package("ph-other", "2.0")
    old = [repository.package(name, "1.0") for name in ("ph-suite", "ph-base", "ph-other")]
    repository.publish("bookworm-security", needs, base, other)
    node.root.run("dpkg -i " + " ".join(map(str, old)))
    everything = rule(("PRIORITY", ["*"]))
    node.baseline("DEBIAN", ApprovalRules=everything, RejectedPatches=["ph-base"], RejectedPatchesAction="BLOCK")
    failed = node.run("Install", RebootOption="NoReboot")
    assert (failed["Status"], failed["ResponseCode"]) == ("Failed", 1)
    assert "ph-suite-2.0 could not be installed" in failed["StandardErrorContent"]
    versions = "dpkg-query -W -f '${Version} ' ph-base ph-other ph-suite"
    assert node.root.run(versions) == "1.0 2.0 1.0 "
    assert node.patches("ph-base.all", "ph-other.all", "ph-suite.all") == {
        "ph-base.all": "INSTALLED_REJECTED", "ph-other.all": "INSTALLED", "ph-suite.all": "FAILED",
    }  # fmt: skip
    node.baseline("DEBIAN")  # without rules nothing is approved, and yet the list counts
    house.boto("s3").create_bucket(Bucket="patch-lists")
    listed = house.folder / "override.yaml"
    listed.write_text("patches:\n  - id: ph-suite*\n    title: '2.*'\n  - id: ph-base\n")
    house.boto("s3").upload_file(str(listed), "patch-lists", "override.yaml")
    house.aws(
        "s3api", "put-bucket-policy", "--bucket", "patch-lists", "--policy",
        json.dumps({"Version": "2012-10-17", "Statement": [{
            "Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::patch-lists/*"}]}),
    )  # fmt: skip
    node.done("Install", RebootOption="NoReboot", InstallOverrideList="s3://patch-lists/override.yaml")
    assert node.root.run(versions) == "2.0 2.0 2.0 "
    assert node.state()["InstallOverrideList"] == "s3://patch-lists/override.yaml"


def test_faults_change_nothing_that_was_known(debian: tuple[Patched, AptRepository]) -> None:
    node, repository = debian
    node.baseline("DEBIAN", ApprovalRules=rule(("PRIORITY", ["*"])))
    repository.publish("bookworm-security")
    node.done("Scan")
    before = node.state()
    index = repository.folder / "dists/bookworm-security/main/binary-amd64/Packages"
    index.rename(index.with_suffix(".away"))
    broken = node.run("Scan")
    assert (broken["Status"], broken["ResponseCode"]) == ("Failed", 2)
    assert "apt-get" in broken["StandardErrorContent"]
    index.with_suffix(".away").rename(index)
    assert node.state() == before
    once = "[ -e /var/lib/killed ] || { touch /var/lib/killed; kill -9 0; }"
    old, new = repository.package("ph-slow", "1.0"), repository.package("ph-slow", "1.1", postinst=once)
    node.root.run(f"dpkg -i {old}")
    repository.publish("bookworm-security", new)
    failed = node.run("Install", RebootOption="NoReboot")  # the package kills all that installs it, once, half way
    assert failed["Status"] == "Failed"
    assert "ph-slow" in node.root.run("dpkg --audit")
    assert node.patches("ph-slow.all") == {"ph-slow.all": "FAILED"}
    node.done("Install", RebootOption="NoReboot")
    assert node.root.run("dpkg-query -W -f '${Version}' ph-slow; dpkg --audit") == "1.1"
    assert node.patches("ph-slow.all") == {"ph-slow.all": "INSTALLED"}


def test_what_is_there_but_not_configured_is_missing(debian: tuple[Patched, AptRepository]) -> None:
    node, repository = debian
    node.baseline("DEBIAN", ApprovalRules=rule(("PRIORITY", ["*"])))
    old = repository.package("ph-choosy", "1.0")
    new = repository.package("ph-choosy", "1.1", postinst="[ -e /var/lib/mended ]")
    node.root.run(f"dpkg -i {old}")
    repository.publish("bookworm-security", new)
    before = node.done("Scan") and node.state()
    assert (before["MissingCount"], before["FailedCount"]) == (1, 0)
    for operation, status, state in (("Install", "Failed", "FAILED"), ("Scan", "Success", "MISSING")):
        assert node.run(operation, RebootOption="NoReboot")["Status"] == status
        assert "half configured" in node.root.run("dpkg --audit")
        assert node.patches("ph-choosy.all") == {"ph-choosy.all": state}
        after = node.state()
        assert after["MissingCount"] + after["FailedCount"] == 1
        assert after["InstalledCount"] + after["InstalledOtherCount"] == (
            before["InstalledCount"] + before["InstalledOtherCount"]
        )
    node.root.run("touch /var/lib/mended")
    node.done("Install", RebootOption="NoReboot")
    assert node.root.run("dpkg-query -W -f '${Version}' ph-choosy; dpkg --audit") == "1.1"
    assert node.patches("ph-choosy.all") == {"ph-choosy.all": "INSTALLED"}


def test_hooks_guard_and_the_same_snapshot_counts_for_all(
    house: Installation, debian: tuple[Patched, AptRepository]
) -> None:
    node, repository = debian
    for name, line in (("HookFails", "exit 3"), ("HookMarks", "touch /var/lib/hook-ran")):
        step = {"action": "aws:runShellScript", "name": "hook", "inputs": {"runCommand": [line]}}
        content = json.dumps({"schemaVersion": "2.2", "mainSteps": [step]})
        node.ssm.create_document(Name=name, Content=content, DocumentType="Command")
    old, new = (repository.package("ph-hooked", version, machine=True) for version in ("1.0", "1.1"))
    node.root.run(f"dpkg -i {old}; rm -f /var/lib/hook-ran")
    repository.publish("bookworm-security", new)
    baseline = node.baseline("DEBIAN", ApprovalRules=rule(("PRIORITY", ["*"])))
    given = {"Operation": ["Install"], "PreInstallHookDocName": ["HookFails"], "OnExitHookDocName": ["HookMarks"]}
    sent = node.ssm.send_command(
        InstanceIds=[node.id], DocumentName="AWS-RunPatchBaselineWithHooks", Parameters=given
    )["Command"]  # fmt: skip
    assert house.finished(sent["CommandId"], node.id, within=120)["Status"] == "Failed"
    assert node.root.run("dpkg-query -W -f '${Version}' ph-hooked; ls /var/lib/hook-ran") == "1.0/var/lib/hook-ran\n"
    hooked = f"ph-hooked.{new.stem.rpartition('_')[2]}"
    snapshot = str(uuid.uuid4())
    node.done("Scan", SnapshotId=snapshot)
    node.ssm.update_patch_baseline(BaselineId=baseline, RejectedPatches=["ph-hooked"], RejectedPatchesAction="BLOCK")
    node.done("Scan", SnapshotId=snapshot)
    assert node.patches(hooked) == {hooked: "MISSING"}
    assert node.state()["SnapshotId"] == snapshot
    node.done("Scan")
    assert node.patches(hooked) == {hooked: "INSTALLED_REJECTED"}
    tag = [{"Key": "purpose", "Value": "audit"}]
    tagged = node.ssm.create_patch_baseline(Name="tagged", OperatingSystem="DEBIAN", Tags=tag)["BaselineId"]
    document = "AWS-RunPatchBaselineAssociation"
    node.done("Scan", document=document, BaselineTags="Key=purpose,Values=audit,other")
    assert (node.state()["BaselineId"], node.patches(hooked)) == (tagged, {hooked: "INSTALLED_OTHER"})
    nowhere = node.run("Scan", document=document, BaselineTags="Key=purpose,Values=none")
    assert (nowhere["ResponseCode"], "No patch baseline for DEBIAN" in nowhere["StandardErrorContent"]) == (2, True)


def test_a_machine_reboots_once_and_reports_after_it(debian: tuple[Patched, AptRepository]) -> None:
    """The boot of a machine inside this one is a file of its own; its agent is started anew, as by a boot."""
    node, repository = debian
    node.root.run("echo first > /run/boot; mount --bind /run/boot /proc/sys/kernel/random/boot_id")
    old = repository.package("linux-image-ph", "1.0")
    new = repository.package("linux-image-ph", "1.1", postinst="touch /run/reboot-required")
    node.root.run(f"dpkg -i {old}")
    repository.publish("bookworm-security", new)
    node.baseline("DEBIAN", ApprovalRules=rule(("PRIORITY", ["*"])))
    node.done("Install", RebootOption="NoReboot")
    assert node.patches("linux-image-ph.all") == {"linux-image-ph.all": "INSTALLED_PENDING_REBOOT"}
    assert node.state()["SecurityNonCompliantCount"] == 1
    node.root.run("echo second > /run/boot; rm /run/reboot-required")
    node.done("Install", RebootOption="RebootIfNeeded")
    assert node.patches("linux-image-ph.all") == {"linux-image-ph.all": "INSTALLED"}


def test_a_red_hat_goes_by_notices(house: Installation, tmp_path: Path) -> None:
    repository = RpmRepository(house.folder / "rpm")
    old = [repository.package(name, "1.0") for name in ("ph-lib", "ph-young", "ph-plain")]
    for name in ("ph-lib", "ph-young", "ph-plain"):
        repository.package(name, "1.1")
    today = datetime.datetime.now(datetime.UTC)
    dates = [(today - datetime.timedelta(days=days)).strftime("%Y-%m-%d %H:%M:%S") for days in (30, 3)]
    repository.publish(
        notice("RHSA-2026:1", ("ph-lib", "1.1", "1"), date=dates[0]),
        notice("RHSA-2026:2", ("ph-young", "1.1", "1"), date=dates[1]),
    )
    with machine(house, tmp_path, "rocky", release=ROCKY) as (root, agent):
        repository.use(root)
        root.run("rpm -i --nodeps " + " ".join(str(repository.folder / each) for each in old))
        agent.start()
        house.connected(agent)
        node = Patched(house, root, agent)
        node.done("Scan")  # by the default baseline: security of Critical and Important, seven days old
        names = ("ph-lib.noarch", "ph-young.noarch", "ph-plain.noarch")
        assert node.patches(*names) == dict(zip(names, ("MISSING", "INSTALLED_OTHER", "INSTALLED_OTHER"), strict=True))
        assert node.state()["SecurityNonCompliantCount"] == 1
        (missing,) = node.ssm.describe_instance_patches(
            InstanceId=node.id, Filters=[{"Key": "State", "Values": ["MISSING"]}]
        )["Patches"]
        assert (missing["Classification"], missing["Severity"], missing["CVEIds"], missing["Title"]) == (
            "Security", "Important", "CVE-2026-0001", "ph-lib-1.1-1",
        )  # fmt: skip
        baseline = node.baseline(
            "ROCKY_LINUX", ApprovalRules=rule(("CLASSIFICATION", ["Security"]), ComplianceLevel="HIGH")
        )
        found = node.ssm.describe_effective_patches_for_patch_baseline(BaselineId=baseline)["EffectivePatches"]
        assert {each["Patch"]["Name"]: each["PatchStatus"]["DeploymentStatus"] for each in found} == {
            "ph-lib": "APPROVED", "ph-young": "APPROVED",
        }  # fmt: skip
        node.done("Install", RebootOption="NoReboot")
        assert root.run("rpm -q ph-lib ph-young ph-plain").split() == [
            "ph-lib-1.1-1.noarch", "ph-young-1.1-1.noarch", "ph-plain-1.0-1.noarch",
        ]  # fmt: skip
        assert node.patches(*names) == dict(zip(names, ("INSTALLED", "INSTALLED", "INSTALLED_OTHER"), strict=True))
        node.baseline("ROCKY_LINUX", ApprovalRules=rule(EnableNonSecurity=True))
        node.done("Install", RebootOption="NoReboot")
        assert root.run("rpm -q ph-plain").strip() == "ph-plain-1.1-1.noarch"
        shown = house.boto("pilothouse").list_patch_standings()["Standings"]
        assert next(each for each in shown if each["NodeId"] == node.id)["Compliant"]


def test_a_suse_goes_by_patches(house: Installation, tmp_path: Path) -> None:
    repository = RpmRepository(house.folder / "suse")
    old = repository.package("ph-lib", "1.0")
    repository.package("ph-lib", "1.1")
    repository.publish(notice("SUSE-2026-1", ("ph-lib", "1.1", "1"), date="2026-01-02 10:00:00"))
    with machine(house, tmp_path, "suse", release=SUSE) as (root, agent):
        repository.use(root)
        root.run(f"rpm -i --nodeps {repository.folder / old}")
        agent.start()
        house.connected(agent)
        node = Patched(house, root, agent)
        node.done("Scan")
        assert node.patches("SUSE-2026-1") == {"SUSE-2026-1": "MISSING"}
        node.done("Install", RebootOption="NoReboot")
        assert root.run("rpm -q ph-lib").strip() == "ph-lib-1.1-1.noarch"
        assert node.patches("SUSE-2026-1") == {"SUSE-2026-1": "INSTALLED"}


def test_a_window_has_all_its_nodes_patched_from_one_snapshot(
    debian: tuple[Patched, AptRepository], house: Installation, tmp_path: Path
) -> None:
    first, repository = debian
    ssm = ("ssm",)
    with machine(house, tmp_path, "second", release=DEBIAN) as (root, agent):
        repository.use(root, "bookworm", "bookworm-updates", "bookworm-security")
        agent.start()
        house.connected(agent)
        window_id = house.aws(
            *ssm, "create-maintenance-window", "--name", "patching", "--schedule", "rate(1 day)", "--duration", "1",
            "--cutoff", "0", "--no-allow-unassociated-targets",
        )["WindowId"]  # fmt: skip
        target_id = house.aws(
            *ssm, "register-target-with-maintenance-window", "--window-id", window_id, "--resource-type", "INSTANCE",
            "--targets", f"Key=InstanceIds,Values={first.id},{agent.node_id}",
        )["WindowTargetId"]  # fmt: skip
        parameters = {"Operation": ["Scan"], "SnapshotId": ["{{WINDOW_EXECUTION_ID}}"]}
        house.aws(
            *ssm, "register-task-with-maintenance-window", "--window-id", window_id, "--task-type", "RUN_COMMAND",
            "--task-arn", "AWS-RunPatchBaseline", "--targets", f"Key=WindowTargetIds,Values={target_id}",
            "--max-concurrency", "2", "--max-errors", "0",
            "--task-invocation-parameters", json.dumps({"RunCommand": {"Parameters": parameters}}),
        )  # fmt: skip

        def snapshots() -> dict[str, str]:
            """What each node says it was judged by."""
            states = house.aws(
                *ssm, "describe-instance-patch-states", "--instance-ids", first.id, agent.node_id
            )["InstancePatchStates"]  # fmt: skip
            return {each["InstanceId"]: each.get("SnapshotId", "") for each in states}

        seen = set()
        for _ in range(2):
            begun = json.loads(house.own("windows", "run", window_id, "--wait", "--output", "json").stdout)
            assert begun["Status"] == "SUCCESS"
            execution_id = begun["WindowExecutionId"]
            assert snapshots() == {first.id: execution_id, agent.node_id: execution_id}
            seen.add(execution_id)
        assert len(seen) == 2
