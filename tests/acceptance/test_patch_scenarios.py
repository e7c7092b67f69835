"""The acceptance scenarios of Patch Manager, by their numbers, through the unmodified aws CLI.

Machines of their own inside this one; each test has packages, baselines and groups of its own.
"""

import contextlib
import datetime
import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.installation import Installation, installation
from tests.acceptance.patched import DEBIAN, ROCKY, UBUNTU, Patched, rule
from tests.acceptance.roots import AptRepository, RpmRepository, machine, notice

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="machines inside this one are made by root")
EVERYTHING = rule(("PRIORITY", ["*"]), ComplianceLevel="HIGH")
SUITES = ("stable", "stable-security")


class Desk:
    """What somebody types."""

    def __init__(self, house: Installation) -> None:
        self.house = house

    def ssm(self, *words: str) -> Any:
        return self.house.aws("ssm", *words)

    def refusal(self, *words: str) -> str:
        done = self.house.cli("ssm", *words)
        assert done.returncode != 0, done.stdout
        return done.stderr

    def baseline(self, system: str, *more: str, rules: dict[str, Any] | None = None) -> str:
        """A new one's id."""
        if rules is not None:
            more = (*more, "--approval-rules", json.dumps(rules))
        name = f"baseline-{uuid.uuid4().hex[:8]}"
        made: str = self.ssm("create-patch-baseline", "--name", name, "--operating-system", system, *more)["BaselineId"]
        return made

    def register(self, baseline_id: str, group: str) -> None:
        self.ssm("register-patch-baseline-for-patch-group", "--baseline-id", baseline_id, "--patch-group", group)


class Machine(Patched):
    """One machine, of which everything is asked by the CLI."""

    def __init__(self, desk: Desk, node: Patched) -> None:
        super().__init__(node.house, node.root, node.agent)
        self.desk = desk

    def run(self, operation: str, *, document: str = "AWS-RunPatchBaseline", **parameters: str) -> dict[str, Any]:
        given = {name: [value] for name, value in {"Operation": operation, **parameters}.items()}
        sent = self.desk.ssm(
            "send-command", "--document-name", document, "--instance-ids", self.id, "--parameters", json.dumps(given)
        )
        command_id = sent["Command"]["CommandId"]
        self.house.finished(command_id, self.id, within=120)
        asked = ("--command-id", command_id, "--instance-id", self.id, "--plugin-name", "PatchLinux")
        return dict(self.desk.ssm("get-command-invocation", *asked))

    def state(self) -> dict[str, Any]:
        (found,) = self.desk.ssm("describe-instance-patch-states", "--instance-ids", self.id)["InstancePatchStates"]
        return dict(found)

    def patches(self, *names: str) -> dict[str, str]:
        found = self.desk.ssm("describe-instance-patches", "--instance-id", self.id)["Patches"]
        states = {each["KBId"]: each["State"] for each in found}
        return {name: states[name] for name in names if name in states}

    def group(self, name: str) -> None:
        """Put the machine into the patch group."""
        self.desk.ssm(
            "add-tags-to-resource", "--resource-type", "ManagedInstance", "--resource-id", self.id,
            "--tags", json.dumps([{"Key": "Patch Group", "Value": name}]),
        )  # fmt: skip

    def judged_by(self, baseline_id: str) -> None:
        """Let the baseline count for this machine alone."""
        group = f"group-{uuid.uuid4().hex[:8]}"
        self.desk.register(baseline_id, group)
        self.group(group)

    def judged(self, *filters: str) -> list[dict[str, Any]]:
        """Its compliance items of the type Patch."""
        given = ("--resource-ids", self.id, "--filters", "Key=ComplianceType,Values=Patch,Type=EQUAL", *filters)
        return list(self.desk.ssm("list-compliance-items", *given)["ComplianceItems"])


class AptMachine(Machine):
    """One with apt, and what its repositories have."""

    repository: AptRepository

    def old(self, *names: str) -> None:
        """Install version 1.0 of each."""
        self.root.run("dpkg -i " + " ".join(str(self.repository.package(name, "1.0")) for name in names))

    def offer(self, *names: str, suite: str = "stable-security", script: str = "") -> None:
        """The suite has version 1.1 of these, and nothing else; the other suite has nothing."""
        for each in SUITES:
            made = [self.repository.package(name, "1.1", postinst=script) for name in names if each == suite]
            self.repository.publish(each, *made)

    def version(self, *names: str) -> str:
        return self.root.run("dpkg-query -W -f '${Version} ' " + " ".join(names)).strip()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with installation(tmp_path_factory.mktemp("house")) as made:
        yield made


@pytest.fixture(scope="module")
def desk(house: Installation) -> Desk:
    return Desk(house)


@contextlib.contextmanager
def _apt(desk: Desk, folder: Path, name: str, release: dict[str, str]) -> Iterator[AptMachine]:
    with machine(desk.house, folder, name, release=release) as (root, agent):
        made = AptMachine(desk, Patched(desk.house, root, agent))
        made.repository = AptRepository(desk.house.folder / f"apt-{name}")
        made.offer()
        made.repository.use(root, *SUITES)
        agent.start()
        desk.house.connected(agent)
        yield made


@pytest.fixture(scope="module")
def debian(desk: Desk, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AptMachine]:
    with _apt(desk, tmp_path_factory.mktemp("machines"), "debian", DEBIAN) as made:
        yield made


@pytest.fixture(scope="module")
def ubuntus(desk: Desk, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[AptMachine, AptMachine]]:
    folder = tmp_path_factory.mktemp("machines")
    with _apt(desk, folder, "web", UBUNTU) as web, _apt(desk, folder, "other", UBUNTU) as other:
        yield web, other


@pytest.fixture(scope="module")
def rocky(desk: Desk, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """One with two packages that notices of 30 and of 3 days ago speak of, and one that none does."""
    repository = RpmRepository(desk.house.folder / "rpm")
    names = ("ph-lib", "ph-young", "ph-plain")
    old = [repository.package(name, "1.0") for name in names]
    for name in names:
        repository.package(name, "1.1")
    today = datetime.datetime.now(datetime.UTC)
    dates = [(today - datetime.timedelta(days=days)).strftime("%Y-%m-%d %H:%M:%S") for days in (30, 3)]
    repository.publish(
        notice("RHSA-2026:1", ("ph-lib", "1.1", "1"), date=dates[0]),
        notice("RHSA-2026:2", ("ph-young", "1.1", "1"), date=dates[1]),
    )
    with machine(desk.house, tmp_path_factory.mktemp("machines"), "rocky", release=ROCKY) as (root, agent):
        repository.use(root)
        root.run("rpm -i --nodeps " + " ".join(str(repository.folder / each) for each in old))
        agent.start()
        desk.house.connected(agent)
        yield Machine(desk, Patched(desk.house, root, agent))


def test_1_a_fresh_system_has_a_default_for_each_system(desk: Desk) -> None:
    found = desk.ssm("describe-patch-baselines", "--filters", "Key=OWNER,Values=AWS")["BaselineIdentities"]
    defaults = [each["OperatingSystem"] for each in found if each["DefaultBaseline"]]
    assert len(defaults) == len(set(defaults)) == len({each["OperatingSystem"] for each in found})
    ubuntu = desk.ssm("get-default-patch-baseline", "--operating-system", "UBUNTU")
    assert ubuntu["BaselineId"] in [each["BaselineId"] for each in found if each["OperatingSystem"] == "UBUNTU"]
    assert ubuntu["BaselineId"].startswith(f"arn:aws:ssm:{desk.house.known()['AWS_REGION']}:")


def test_2_to_5_a_baseline_serves_its_group(desk: Desk, ubuntus: tuple[AptMachine, AptMachine]) -> None:
    rules = "PatchRules=[{PatchFilterGroup={PatchFilters=[{Key=PRIORITY,Values=[Required,Important]}]}}]"
    baseline = desk.baseline("UBUNTU", "--approval-rules", rules)
    (shown,) = desk.ssm("get-patch-baseline", "--baseline-id", baseline)["ApprovalRules"]["PatchRules"]
    assert shown["PatchFilterGroup"] == {"PatchFilters": [{"Key": "PRIORITY", "Values": ["Required", "Important"]}]}
    desk.register(baseline, "web")
    web, other = ubuntus
    web.group("web")
    web.done("Scan")
    other.done("Scan")
    default = desk.ssm("get-default-patch-baseline", "--operating-system", "UBUNTU")["BaselineId"]
    assert (web.state()["BaselineId"], web.state()["PatchGroup"]) == (baseline, "web")
    assert other.state()["BaselineId"] == default
    second = desk.baseline("UBUNTU")
    said = desk.refusal(
        "register-patch-baseline-for-patch-group", "--baseline-id", second, "--patch-group", "web"
    )  # fmt: skip
    assert "(AlreadyExistsException)" in said
    assert "Patch Group baseline already has a baseline registered for OperatingSystem UBUNTU." in said
    assert "(ResourceInUseException)" in desk.refusal("delete-patch-baseline", "--baseline-id", baseline)


def test_6_7_15_what_is_missing_is_seen_and_then_installed(debian: AptMachine) -> None:
    """By the default baseline first: what security repositories have is missing, whatever its priority."""
    debian.old("ph-tool", "ph-editor")
    debian.offer("ph-tool")
    debian.done("Scan")
    assert (debian.state()["MissingCount"], debian.patches("ph-tool.all")) == (1, {"ph-tool.all": "MISSING"})
    asked = "list-resource-compliance-summaries", "--filters", f"Key=ResourceId,Values={debian.id}"
    (line,) = debian.desk.ssm(*asked)["ResourceComplianceSummaryItems"]
    assert (line["ComplianceType"], line["Status"]) == ("Patch", "NON_COMPLIANT")
    debian.judged_by(debian.desk.baseline("DEBIAN", rules=EVERYTHING))
    debian.done("Install", RebootOption="NoReboot")
    assert (debian.state()["MissingCount"], debian.patches("ph-tool.all")) == (0, {"ph-tool.all": "INSTALLED"})
    items = {each["Id"]: each for each in debian.judged()}
    assert (items["ph-tool.all"]["Severity"], items["ph-tool.all"]["Status"]) == ("HIGH", "COMPLIANT")
    assert len(items) == len(debian.desk.ssm("describe-instance-patches", "--instance-id", debian.id)["Patches"])
    debian.root.run("echo one > /run/boot; mount --bind /run/boot /proc/sys/kernel/random/boot_id")
    debian.offer("ph-editor", script="touch /run/reboot-required")
    debian.done("Install", RebootOption="NoReboot")
    assert (debian.state()["MissingCount"], debian.version("ph-editor")) == (0, "1.1")
    assert debian.patches("ph-editor.all") == {"ph-editor.all": "INSTALLED_PENDING_REBOOT"}
    debian.root.run("rm /run/reboot-required")


def test_8_what_is_rejected_and_blocked_is_not_installed(debian: AptMachine) -> None:
    debian.old("ph-away", "ph-there")
    debian.offer("ph-away", "ph-there")
    rejects = "--rejected-patches", "ph-away", "--rejected-patches-action", "BLOCK"
    debian.judged_by(debian.desk.baseline("DEBIAN", *rejects, rules=EVERYTHING))
    debian.done("Install", RebootOption="NoReboot")
    assert debian.version("ph-away", "ph-there") == "1.0 1.1"
    assert debian.patches("ph-away.all") == {"ph-away.all": "INSTALLED_REJECTED"}


def test_9_a_package_that_mends_no_hole_is_installed_when_it_is_named(debian: AptMachine) -> None:
    debian.old("ph-named", "ph-unnamed")
    debian.offer("ph-named", "ph-unnamed", suite="stable")
    debian.judged_by(debian.desk.baseline("DEBIAN", "--approved-patches", "ph-named"))
    debian.done("Install", RebootOption="NoReboot")
    assert debian.version("ph-named", "ph-unnamed") == "1.0 1.0"
    approves = "--approved-patches", "ph-named", "--approved-patches-enable-non-security"
    debian.judged_by(debian.desk.baseline("DEBIAN", *approves))
    debian.done("Install", RebootOption="NoReboot")
    assert debian.version("ph-named", "ph-unnamed") == "1.1 1.0"


def test_10_11_a_notice_counts_after_its_days_and_what_has_none_is_left(rocky: Machine) -> None:
    """And the tenth scenario of compliance: two patches are missing."""
    names = ("ph-lib.noarch", "ph-young.noarch", "ph-plain.noarch")
    states: dict[int, list[str]] = {7: ["MISSING", "INSTALLED_OTHER"], 0: ["MISSING", "MISSING"]}
    for days, expected in states.items():
        rules = rule(("CLASSIFICATION", ["Security"]), ApproveAfterDays=days, EnableNonSecurity=False)
        rocky.judged_by(rocky.desk.baseline("ROCKY_LINUX", rules=rules))
        rocky.done("Scan")
        assert rocky.patches(*names) == dict(zip(names, [*expected, "INSTALLED_OTHER"], strict=True))
    lacking = rocky.judged("Key=Status,Values=NON_COMPLIANT,Type=EQUAL")
    assert [each["Id"] for each in lacking] == ["ph-lib.noarch", "ph-young.noarch"]
    asked = (
        "list-compliance-summaries",
        "--filters",
        "Key=ComplianceType,Values=Patch",
        f"Key=ResourceId,Values={rocky.id}",
    )
    (line,) = rocky.desk.ssm(*asked)["ComplianceSummaryItems"]
    assert line["NonCompliantSummary"]["NonCompliantCount"] == 1


def test_12_14_one_snapshot_for_two_nodes_and_counts_of_their_group(ubuntus: tuple[AptMachine, AptMachine]) -> None:
    desk = ubuntus[0].desk
    for node in ubuntus:
        node.old("ph-shared")
        node.offer("ph-shared")
    baseline = desk.baseline("UBUNTU", rules=EVERYTHING)
    group, snapshot = f"pair-{baseline[-4:]}", str(uuid.uuid4())
    desk.register(baseline, group)
    for node in ubuntus:
        node.group(group)
    ubuntus[0].done("Scan", SnapshotId=snapshot)
    rejects = "--rejected-patches", "ph-shared", "--rejected-patches-action", "BLOCK"
    desk.ssm("update-patch-baseline", "--baseline-id", baseline, *rejects)
    ubuntus[1].done("Scan", SnapshotId=snapshot)
    for node in ubuntus:
        assert node.patches("ph-shared.all") == {"ph-shared.all": "MISSING"}
    ubuntus[1].done("Scan")
    assert ubuntus[1].patches("ph-shared.all") == {"ph-shared.all": "INSTALLED_REJECTED"}
    told = desk.ssm("describe-patch-group-state", "--patch-group", group)
    states = desk.ssm("describe-instance-patch-states-for-patch-group", "--patch-group", group)["InstancePatchStates"]
    assert told["Instances"] == len(states) == 2
    for column, member in (
        ("InstancesWithInstalledPatches", "InstalledCount"),
        ("InstancesWithInstalledOtherPatches", "InstalledOtherCount"),
        ("InstancesWithInstalledRejectedPatches", "InstalledRejectedCount"),
        ("InstancesWithMissingPatches", "MissingCount"),
        ("InstancesWithFailedPatches", "FailedCount"),
    ):
        assert told[column] == sum(1 for each in states if each[member]), column
    assert (told["InstancesWithMissingPatches"], told["InstancesWithInstalledRejectedPatches"]) == (1, 1)


def test_13_a_package_manager_that_fails_leaves_what_was_known(debian: AptMachine) -> None:
    debian.offer()
    debian.done("Scan")
    before = debian.state()
    index = debian.repository.folder / "dists/stable-security/main/binary-amd64/Packages"
    index.rename(index.with_suffix(".away"))
    for operation in ("Scan", "Install"):
        assert debian.run(operation)["Status"] == "Failed"
    index.with_suffix(".away").rename(index)
    assert debian.state() == before


def test_16_an_override_list_names_what_is_installed(debian: AptMachine, house: Installation) -> None:
    debian.old("ph-listed", "ph-unlisted")
    debian.offer("ph-listed", "ph-unlisted")
    debian.judged_by(debian.desk.baseline("DEBIAN", rules=EVERYTHING))
    house.aws("s3api", "create-bucket", "--bucket", "lists")
    listed = house.folder / "list.yaml"
    listed.write_text("patches:\n  - id: 'ph-listed'\n    title: '1.1'\n")
    house.aws("s3api", "put-object", "--bucket", "lists", "--key", "list.yaml", "--body", str(listed))
    policy = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::lists/*"}
    house.aws(
        "s3api", "put-bucket-policy", "--bucket", "lists",
        "--policy", json.dumps({"Version": "2012-10-17", "Statement": [policy]}),
    )  # fmt: skip
    debian.done("Install", RebootOption="NoReboot", InstallOverrideList="s3://lists/list.yaml")
    assert debian.version("ph-listed", "ph-unlisted") == "1.1 1.0"
    assert debian.patches("ph-unlisted.all") == {"ph-unlisted.all": "MISSING"}  # it is the baseline that judges


def test_17_a_pre_hook_that_fails_stops_all_but_the_exit_hook(debian: AptMachine) -> None:
    debian.old("ph-hooked")
    debian.offer("ph-hooked")
    debian.judged_by(debian.desk.baseline("DEBIAN", rules=EVERYTHING))
    for name, line in (("HookFails", "exit 3"), ("HookMarks", "touch /var/lib/hook-ran")):
        step = {"action": "aws:runShellScript", "name": "hook", "inputs": {"runCommand": [line]}}
        content = json.dumps({"schemaVersion": "2.2", "mainSteps": [step]})
        debian.desk.ssm("create-document", "--name", name, "--content", content, "--document-type", "Command")
    given = {"Operation": ["Install"], "PreInstallHookDocName": ["HookFails"], "OnExitHookDocName": ["HookMarks"]}
    sent = debian.desk.ssm(
        "send-command", "--document-name", "AWS-RunPatchBaselineWithHooks", "--instance-ids", debian.id,
        "--parameters", json.dumps(given),
    )["Command"]  # fmt: skip
    assert debian.house.finished(sent["CommandId"], debian.id, within=120)["Status"] == "Failed"
    assert debian.version("ph-hooked") == "1.0"
    debian.root.run("test -e /var/lib/hook-ran")


def test_18_replacing_leaves_no_rules(desk: Desk) -> None:
    baseline = desk.baseline("UBUNTU", "--description", "first", rules=EVERYTHING)
    asked = ("--baseline-id", baseline)
    kept = desk.ssm("update-patch-baseline", *asked, "--name", "renamed")
    assert len(kept["ApprovalRules"]["PatchRules"]) == 1
    replaced = desk.ssm("update-patch-baseline", *asked, "--replace", "--name", "bare")
    assert (replaced["Name"], replaced["ApprovalRules"], "Description" in replaced) == (
        "bare",
        {"PatchRules": []},
        False,
    )
    assert desk.ssm("get-patch-baseline", *asked)["ApprovalRules"] == {"PatchRules": []}
