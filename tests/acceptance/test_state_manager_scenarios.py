"""The acceptance scenarios of State Manager, in their order, through the unmodified aws CLI, with real agents."""

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.aws_cli import AwsCli
from tests.acceptance.driven_desk import RUN_SHELL, DrivenDesk
from tests.acceptance.installation import AgentProcess, DrivenInstallation
from tests.acceptance.one_house import aws, database_url, house

__all__ = ["aws", "database_url", "house"]

DAYS_AHEAD = 60
ONLY_THEN = "--apply-only-at-cron-interval"
PATCH_TUESDAY = "cron(0 2 ? * TUE#2 *)"


@pytest.fixture(scope="module")
def nodes(house: DrivenInstallation) -> list[AgentProcess]:
    return [house.enrol(f"web-{number}") for number in range(4)]


class Desk(DrivenDesk):
    """What a user does with associations."""

    def __init__(self, house: DrivenInstallation, aws: AwsCli, nodes: list[AgentProcess], folder: Path) -> None:
        super().__init__(house, aws)
        self.nodes = nodes
        self.node = nodes[0]
        self.ran = folder / "ran"
        self.made: list[str] = []

    def create(self, *words: str, lines: tuple[str, ...] = (), targets: str = "", name: str = RUN_SHELL) -> str:
        """An association's id. Unless something else is said: its nodes write their ids into `ran`."""
        given = json.dumps({"commands": list(lines) or [f"echo $AWS_SSM_INSTANCE_ID >> {self.ran}"]})
        made = self.ssm(
            "create-association", "--name", name, *(("--parameters", given) if name == RUN_SHELL else ()),
            "--targets", targets or f"Key=InstanceIds,Values={self.node.node_id}", *words,
        )["AssociationDescription"]["AssociationId"]  # fmt: skip
        self.made.append(made)
        return str(made)

    def lines(self) -> list[str]:
        """What was run: ids of nodes."""
        return self.ran.read_text().split() if self.ran.exists() else []

    def described(self, association_id: str) -> dict[str, Any]:
        return dict(self.ssm("describe-association", "--association-id", association_id)["AssociationDescription"])

    def comes_to(self, association_id: str, status: str) -> dict[str, Any]:
        """The description, once the association's Overview says so."""

        def look() -> dict[str, Any] | None:
            found = self.described(association_id)
            return found if found["Overview"]["Status"] == status else None

        return self.until(look, f"{status} of {association_id}") or {}

    def executions(self, association_id: str) -> list[dict[str, Any]]:
        asked = "describe-association-executions", "--association-id", association_id
        return list(self.ssm(*asked)["AssociationExecutions"])

    def ended(self, association_id: str, count: int = 1) -> dict[str, Any]:
        """The newest of so many executions, once it has ended."""

        def look() -> dict[str, Any] | None:
            found = self.executions(association_id)
            over = len(found) == count and found[0]["Status"] not in ("Pending", "InProgress")
            return found[0] if over else None

        return self.until(look, f"the end of execution {count} of {association_id}") or {}

    def targets(self, execution: dict[str, Any]) -> list[dict[str, Any]]:
        of = "--association-id", execution["AssociationId"], "--execution-id", execution["ExecutionId"]
        return list(self.ssm("describe-association-execution-targets", *of)["AssociationExecutionTargets"])

    def compliance(self, node: AgentProcess) -> dict[str, tuple[str, str]]:
        found = self.ssm(
            "list-compliance-items", "--resource-ids", node.node_id, "--resource-types", "ManagedInstance",
            "--filters", "Key=ComplianceType,Values=Association,Type=EQUAL",
        )["ComplianceItems"]  # fmt: skip
        return {each["Id"]: (each["Status"], each["Severity"]) for each in found}

    def document(self, name: str, kind: str, text: str, *words: str) -> None:
        self.ssm("create-document", "--name", name, "--document-type", kind, "--content", text, *words)


@pytest.fixture
def desk(house: DrivenInstallation, aws: AwsCli, nodes: list[AgentProcess], tmp_path: Path) -> Iterator[Desk]:
    made = Desk(house, aws, nodes, tmp_path)
    yield made
    here = {each["AssociationId"] for each in made.ssm("list-associations")["Associations"]}
    for each in here & set(made.made):
        made.ssm("delete-association", "--association-id", each)


def test_01_it_runs_at_once(desk: Desk) -> None:
    desk.tag("role", "web", desk.node)
    association_id = desk.create("--schedule-expression", "rate(30 minutes)", targets="Key=tag:role,Values=web")
    desk.comes_to(association_id, "Success")
    assert desk.lines() == [desk.node.node_id]
    wanted = f"key=AssociationId,value={association_id}"
    (listed,) = desk.ssm("list-associations", "--association-filter-list", wanted)["Associations"]
    assert (listed["Overview"]["Status"], listed["ScheduleExpression"]) == ("Success", "rate(30 minutes)")
    assert listed["Overview"]["AssociationStatusAggregatedCount"] == {"Success": 1}
    asked = "describe-instance-associations-status", "--instance-id", desk.node.node_id
    (status,) = desk.ssm(*asked)["InstanceAssociationStatusInfos"]
    assert (status["AssociationId"], status["Status"]) == (association_id, "Success")
    (shown,) = desk.ssm(
        "describe-instance-information", "--filters", f"Key=InstanceIds,Values={desk.node.node_id}"
    )["InstanceInformationList"]  # fmt: skip
    assert shown["AssociationStatus"] == "Success"


def test_02_only_at_the_times_of_its_schedule(desk: Desk) -> None:
    at = desk.house.now() + timedelta(minutes=10)
    association_id = desk.create("--schedule-expression", f"cron({at.minute} {at.hour} * * ? *)", ONLY_THEN)
    desk.passes(desk.node, minutes=8)
    assert desk.executions(association_id) == []
    assert desk.lines() == []
    desk.house.advance(minutes=2)
    assert desk.ended(association_id)["Status"] == "Success"
    assert desk.lines() == [desk.node.node_id]


EVERY_30 = "ScheduleExpression: An association runs at most every 30 minutes."
LESS = "ScheduleExpression: The rate of an association is less than 31 days."
PLURAL = "ScheduleExpression: The unit of the rate does not go with its number: write rate({})."
MONTH = "ScheduleExpression: The field Month of an association's cron expression can only be '*'."


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("rate(5 minutes)", EVERY_30),
        ("rate(29 minutes)", EVERY_30),
        ("cron(0/5 * * * ? *)", EVERY_30),
        ("rate(31 days)", LESS),
        ("rate(1 hours)", PLURAL.format("1 hour")),
        ("rate(5 hour)", PLURAL.format("5 hours")),
        ("cron(0 2 ? 3 SUN *)", MONTH),
        ("cron(0 2 ? MAR SUN *)", MONTH),
    ],
)
def test_03_what_is_no_schedule_of_an_association(desk: Desk, expression: str, text: str) -> None:
    refused = desk.refusal(
        "create-association", "--name", RUN_SHELL, "--parameters", "commands=true", "--targets",
        "Key=InstanceIds,Values=*", "--schedule-expression", expression,
    )  # fmt: skip
    assert refused == ("InvalidSchedule", text)
    assert desk.ssm("list-associations")["Associations"] == []


def test_04_a_rate_has_no_interval_to_wait_for(desk: Desk) -> None:
    refused = desk.refusal(
        "create-association", "--name", RUN_SHELL, "--parameters", "commands=true", "--targets",
        "Key=InstanceIds,Values=*", "--schedule-expression", "rate(1 day)", ONLY_THEN,
    )  # fmt: skip
    assert refused == ("InvalidSchedule", "ApplyOnlyAtCronInterval is not supported with a rate expression.")


def test_05_a_node_that_gets_the_tag_runs_it_alone(desk: Desk) -> None:
    first, joining = desk.nodes[:2]
    desk.tag("tier", "front", first)
    association_id = desk.create("--schedule-expression", "rate(1 day)", targets="Key=tag:tier,Values=front")
    desk.ended(association_id)
    desk.tag("tier", "front", joining)
    desk.until(lambda: joining.node_id in desk.lines(), "the run of the tagged node within a minute", hurry=False)
    newest = desk.ended(association_id, 2)
    assert [each["ResourceId"] for each in desk.targets(newest)] == [joining.node_id]
    assert desk.lines() == [first.node_id, joining.node_id]


def test_06_an_update_makes_a_version_and_runs(desk: Desk) -> None:
    association_id = desk.create("--schedule-expression", "rate(1 day)", "--association-name", "drift")
    desk.ended(association_id)
    updated = desk.ssm(
        "update-association", "--association-id", association_id, "--name", RUN_SHELL, "--targets",
        f"Key=InstanceIds,Values={desk.node.node_id}", "--parameters",
        json.dumps({"commands": [f"echo second >> {desk.ran}"]}),
    )["AssociationDescription"]  # fmt: skip
    assert updated["AssociationVersion"] == "2"
    assert not {"ScheduleExpression", "AssociationName"} & updated.keys()  # what is left out is gone
    desk.ended(association_id, 2)
    assert desk.lines() == [desk.node.node_id, "second"]
    versions = desk.ssm("list-association-versions", "--association-id", association_id)["AssociationVersions"]
    assert [(each["AssociationVersion"], each.get("AssociationName")) for each in versions] == [
        ("2", None), ("1", "drift")
    ]  # fmt: skip


def test_07_a_stale_version_is_refused(desk: Desk) -> None:
    association_id = desk.create()
    words = "update-association", "--association-id", association_id, "--name", RUN_SHELL, "--parameters"
    more = "commands=true", "--targets", "Key=InstanceIds,Values=*", "--association-version"
    assert desk.ssm(*words, *more, "1")["AssociationDescription"]["AssociationVersion"] == "2"
    assert desk.refusal(*words, *more, "1")[0] == "InvalidAssociationVersion"
    assert desk.described(association_id)["AssociationVersion"] == "2"


def test_08_somebody_starts_it(desk: Desk) -> None:
    association_id = desk.create("--schedule-expression", "cron(0 2 ? * SUN *)", ONLY_THEN)
    assert desk.executions(association_id) == []
    desk.ssm("start-associations-once", "--association-ids", association_id)
    (target,) = desk.targets(desk.ended(association_id))
    assert (target["ResourceId"], target["Status"]) == (desk.node.node_id, "Success")
    unknown = "11111111-2222-4333-8444-555555555555"
    assert desk.refusal("start-associations-once", "--association-ids", unknown)[0] == "AssociationDoesNotExist"


def test_09_after_too_many_errors_nothing_more_is_started(desk: Desk) -> None:
    """One at a time, no error allowed, a script that fails: of four nodes one runs it."""
    desk.tag("tier", "all", *desk.nodes)
    association_id = desk.create(
        "--max-concurrency", "1", "--max-errors", "0", targets="Key=tag:tier,Values=all",
        lines=(f"echo $AWS_SSM_INSTANCE_ID >> {desk.ran}", "exit 3"),
    )  # fmt: skip
    execution = desk.ended(association_id)
    assert (execution["Status"], execution["DetailedStatus"]) == ("Failed", "RateExceeded")
    assert execution["ResourceCountByStatus"] == "{Cancelled=3, Failed=1}"
    targets = desk.targets(execution)
    assert sorted(each["Status"] for each in targets) == ["Cancelled", "Cancelled", "Cancelled", "Failed"]
    assert desk.lines() == [each["ResourceId"] for each in targets if each["Status"] == "Failed"]
    assert {each["ResourceId"] for each in targets} == {each.node_id for each in desk.nodes}
    desk.ssm("start-associations-once", "--association-ids", association_id)
    assert desk.ended(association_id, 2)["Status"] == "Failed"
    assert len(desk.lines()) == 2  # the nodes that were passed over did not make up for it


def test_10_and_11_compliance_follows_unless_users_judge_themselves(desk: Desk, tmp_path: Path) -> None:
    """MANUAL has no item of its own beside an AUTO that has, and keeps what was put, whatever its runs end as."""
    works = tmp_path / "works"

    def made(*words: str) -> str:
        return desk.create("--compliance-severity", "HIGH", *words, lines=(f"test -e {works}",))

    manual, auto = made("--sync-compliance", "MANUAL"), made()
    for each in (manual, auto):
        desk.comes_to(each, "Failed")
    assert desk.compliance(desk.node) == {auto: ("NON_COMPLIANT", "HIGH")}
    works.touch()
    for count in (2, 3):
        desk.ssm("start-associations-once", "--association-ids", manual, auto)
        for each in (manual, auto):
            assert desk.ended(each, count)["Status"] == "Success"
        if count == 2:
            assert desk.compliance(desk.node) == {auto: ("COMPLIANT", "HIGH")}
            desk.ssm(
                "put-compliance-items", "--resource-id", desk.node.node_id, "--resource-type", "ManagedInstance",
                "--compliance-type", "Association", "--execution-summary", "ExecutionTime=2026-01-01T00:00:00Z",
                "--items", f"Id={manual},Title=seen,Severity=LOW,Status=NON_COMPLIANT", "--upload-type", "PARTIAL",
            )  # fmt: skip
    assert desk.compliance(desk.node) == {auto: ("COMPLIANT", "HIGH"), manual: ("NON_COMPLIANT", "LOW")}


def test_12_a_closed_calendar_skips(desk: Desk) -> None:
    start = desk.house.now() + timedelta(minutes=20)
    desk.document(
        "freeze", "ChangeCalendar",
        "BEGIN:VCALENDAR\r\nPRODID:-//AWS//Change Calendar 1.0//EN\r\nVERSION:2.0\r\nX-CALENDAR-TYPE:DEFAULT_OPEN\r\n"
        f"BEGIN:VTODO\r\nDTSTAMP:20260101T000000Z\r\nUID:1\r\nSUMMARY:freeze\r\nDTSTART:{start:%Y%m%dT%H%M%SZ}\r\n"
        f"DUE:{start + timedelta(minutes=25):%Y%m%dT%H%M%SZ}\r\nEND:VTODO\r\nEND:VCALENDAR\r\n",
        "--document-format", "TEXT",
    )  # fmt: skip
    association_id = desk.create("--schedule-expression", "rate(30 minutes)", "--calendar-names", "freeze")
    assert desk.ended(association_id)["Status"] == "Success"
    desk.house.advance(minutes=30)
    assert desk.ended(association_id, 2)["Status"] == "Skipped"
    desk.ssm("start-associations-once", "--association-ids", association_id)
    assert desk.ended(association_id, 3)["Status"] == "Skipped"
    assert len(desk.lines()) == 1
    desk.house.advance(minutes=30)
    assert desk.ended(association_id, 4)["Status"] == "Success"
    assert len(desk.lines()) == 2


def test_13_a_runbook_has_children_for_its_targets(desk: Desk) -> None:
    ask = {"name": "ask", "action": "aws:executeAwsApi",
           "inputs": {"Service": "ssm", "Api": "GetParameter", "Name": "{{ name }}"}}  # fmt: skip
    body = {"schemaVersion": "0.3", "parameters": {"name": {"type": "String"}}, "mainSteps": [ask]}
    desk.document("look", "Automation", json.dumps(body))
    for each in ("/look/a", "/look/b"):
        desk.ssm("put-parameter", "--name", each, "--type", "String", "--value", "1")
    association_id = desk.create(
        "--automation-target-parameter-name", "name", "--max-concurrency", "1", "--max-errors", "0", name="look",
        targets="Key=ParameterValues,Values=/look/a,/look/b",
    )  # fmt: skip
    (target,) = desk.targets(desk.ended(association_id))
    assert (target["Status"], target["OutputSource"]["OutputSourceType"]) == ("Success", "Automation")
    parent = target["OutputSource"]["OutputSourceId"]
    children = desk.ssm(
        "describe-automation-executions", "--filters", f"Key=ParentExecutionId,Values={parent}"
    )["AutomationExecutionMetadataList"]  # fmt: skip
    assert sorted(each["Target"] for each in children) == ["/look/a", "/look/b"]
    for each in [parent, *(child["AutomationExecutionId"] for child in children)]:
        found = desk.ssm("get-automation-execution", "--automation-execution-id", each)["AutomationExecution"]
        assert (found["AssociationId"], found["AutomationExecutionStatus"]) == (association_id, "Success")


def test_14_at_a_time_it_runs_once(desk: Desk) -> None:
    at = desk.house.now() + timedelta(minutes=2)
    association_id = desk.create("--schedule-expression", f"at({at:%Y-%m-%dT%H:%M:%S})", ONLY_THEN)
    assert desk.executions(association_id) == []
    desk.house.advance(minutes=2)
    assert desk.ended(association_id)["Status"] == "Success"
    desk.passes(desk.node, days=1)
    assert len(desk.executions(association_id)) == 1
    assert desk.lines() == [desk.node.node_id]


def test_15_what_is_deleted_runs_no_more(desk: Desk) -> None:
    """What a node is told to run of its associations, whatever their state, is all that it has."""
    association_id, other = desk.create(), desk.create(lines=(f"echo other >> {desk.ran}",))

    def run_all() -> None:
        sent = desk.ssm(
            "send-command", "--document-name", "AWS-RefreshAssociation", "--instance-ids", desk.node.node_id
        )["Command"]["CommandId"]  # fmt: skip
        asked = "get-command-invocation", "--command-id", sent, "--instance-id", desk.node.node_id
        desk.until(lambda: desk.ssm(*asked)["Status"] == "Success", "the command")

    for each in (association_id, other):
        desk.ended(each)
    run_all()
    desk.until(lambda: sorted(desk.lines()) == sorted([desk.node.node_id, "other"] * 2), "both again")
    for each in (association_id, other):
        desk.ended(each, 2)
    desk.ssm("delete-association", "--association-id", association_id)
    run_all()
    desk.ended(other, 3)
    assert (desk.lines().count(desk.node.node_id), desk.lines().count("other")) == (2, 3)
    assert "association.dropped" in desk.node.log()
    effective = desk.ssm("describe-effective-instance-associations", "--instance-id", desk.node.node_id)
    assert [each["AssociationId"] for each in effective["Associations"]] == [other]
    assert desk.refusal("describe-association", "--association-id", association_id)[0] == "AssociationDoesNotExist"


def test_17_a_target_leads_to_its_invocation(desk: Desk) -> None:
    (target,) = desk.targets(desk.ended(desk.create()))
    assert target["OutputSource"]["OutputSourceType"] == "RunCommand"
    got = desk.ssm(
        "get-command-invocation", "--command-id", target["OutputSource"]["OutputSourceId"], "--instance-id",
        target["ResourceId"],
    )  # fmt: skip
    assert (got["Status"], got["DocumentName"], got["InstanceId"]) == ("Success", RUN_SHELL, desk.node.node_id)
    assert got["StandardOutputContent"].startswith("1 out of 1 plugin processed, 1 success")


def test_18_a_batch_says_what_was_made_and_what_was_not(desk: Desk) -> None:
    good = {"Name": RUN_SHELL, "Parameters": {"commands": [f"echo $AWS_SSM_INSTANCE_ID >> {desk.ran}"]},
            "Targets": [{"Key": "InstanceIds", "Values": [desk.node.node_id]}]}  # fmt: skip
    bad = {**good, "ScheduleExpression": "rate(5 minutes)"}
    answer = desk.ssm("create-association-batch", "--entries", json.dumps([good, bad]))
    (made,) = answer["Successful"]
    desk.made.append(made["AssociationId"])
    (failed,) = answer["Failed"]
    assert (failed["Fault"], failed["Entry"]) == ("Client", bad)
    assert failed["Message"] == EVERY_30
    assert desk.ended(made["AssociationId"])["Status"] == "Success"
    assert desk.lines() == [desk.node.node_id]


def test_a_document_in_use_stays(desk: Desk) -> None:
    step = {"name": "run", "action": "aws:runShellScript", "inputs": {"runCommand": ["true"]}}
    desk.document("kept", "Command", json.dumps({"schemaVersion": "2.2", "mainSteps": [step]}))
    association_id = desk.create(name="kept")
    assert desk.refusal("delete-document", "--name", "kept")[0] == "AssociatedInstances"
    assert desk.ended(association_id)["Status"] == "Success"


def test_the_worked_sequence(desk: Desk) -> None:
    """Three nodes of which one is away, one that joins, a change, one that leaves."""
    first, second, away, joining = desk.nodes
    desk.tag("part", "seq", first, second, away)
    away.stop()
    association_id = desk.create("--schedule-expression", "rate(1 day)", targets="Key=tag:part,Values=seq")

    def counts() -> dict[str, int]:
        return dict(desk.described(association_id)["Overview"].get("AssociationStatusAggregatedCount") or {})

    desk.until(lambda: counts() == {"Success": 2, "Pending": 1}, "the runs of those that are here")
    (begun,) = desk.executions(association_id)
    assert {each["ResourceId"]: each["Status"] for each in desk.targets(begun)} == {
        first.node_id: "Success", second.node_id: "Success", away.node_id: "Pending"
    }  # fmt: skip
    assert desk.described(association_id)["Overview"]["Status"] == "Pending"
    away.start()
    assert desk.ended(association_id)["ResourceCountByStatus"] == "{Success=3}"
    desk.tag("part", "seq", joining)
    assert [each["ResourceId"] for each in desk.targets(desk.ended(association_id, 2))] == [joining.node_id]
    assert counts() == {"Success": 4}
    desk.ssm(
        "update-association", "--association-id", association_id, "--name", RUN_SHELL, "--targets",
        "Key=tag:part,Values=seq", "--parameters", json.dumps({"commands": [f"echo changed >> {desk.ran}"]}),
    )  # fmt: skip
    assert desk.ended(association_id, 3)["ResourceCountByStatus"] == "{Success=4}"
    desk.ssm(
        "remove-tags-from-resource", "--resource-type", "ManagedInstance", "--resource-id", second.node_id,
        "--tag-keys", "part",
    )  # fmt: skip
    desk.until(lambda: counts() == {"Success": 3}, "one node less")
    desk.ssm("start-associations-once", "--association-ids", association_id)
    last = desk.targets(desk.ended(association_id, 4))
    assert {each["ResourceId"] for each in last} == {first.node_id, away.node_id, joining.node_id}
    assert desk.lines().count("changed") == 4 + 3


def test_16_an_offset_puts_the_run_on_friday(desk: Desk) -> None:
    """The last one, since weeks pass."""
    association_id = desk.create(
        "--schedule-expression", PATCH_TUESDAY, "--schedule-offset", "3", ONLY_THEN, "--association-name", "patch"
    )  # fmt: skip
    coming = json.loads(desk.house.own("schedule", "--days", "45", "--output", "json").stdout)
    friday = datetime.fromisoformat(next(each["At"] for each in coming if each["Id"] == association_id))
    tuesday = friday - timedelta(days=3)
    assert (f"{tuesday:%A %H:%M}", (tuesday.day - 1) // 7) == ("Tuesday 02:00", 1)
    before = friday - timedelta(minutes=1)
    assert before > desk.house.now()
    desk.passes(desk.node, seconds=(before - desk.house.now()).total_seconds())
    assert desk.executions(association_id) == []
    desk.house.advance(minutes=1)
    assert desk.ended(association_id)["Status"] == "Success"
    assert desk.lines() == [desk.node.node_id]
