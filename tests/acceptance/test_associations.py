"""Associations with a real server and our agent: applied, seen in the commands, and kept to over kills of both."""

import json
from pathlib import Path
from typing import Any

import icalendar
import pytest

from tests.acceptance.installation import Installation, eventually


def pilothouse(house: Installation, *words: str) -> str:
    done = house.own(*words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def overview(house: Installation, association_id: str) -> dict[str, Any]:
    made = house.boto("ssm").describe_association(AssociationId=association_id)["AssociationDescription"]
    return dict(made["Overview"])


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_our_agent_applies_an_association(house: Installation, tmp_path: Path) -> None:
    lines = tmp_path / "lines"
    node = house.enrol("web-1", tags={"role": "web"})
    made = house.aws(
        "ssm", "create-association", "--name", "AWS-RunShellScript", "--association-name", "drift",
        "--parameters", json.dumps({"commands": [f"echo $SSM_ASSOCIATION_ID >> {lines}"]}),
        "--targets", "Key=tag:role,Values=web", "--schedule-expression", "rate(30 minutes)",
    )["AssociationDescription"]  # fmt: skip
    association_id = made["AssociationId"]
    eventually(lambda: overview(house, association_id)["Status"] == "Success", what="the first run")
    assert lines.read_text().split() == [association_id]
    (shown,) = house.aws("ssm", "describe-instance-information")["InstanceInformationList"]
    assert shown["AssociationStatus"] == "Success"

    refresh = house.aws(
        "ssm", "send-command", "--document-name", "AWS-RefreshAssociation", "--instance-ids", node.node_id,
        "--parameters", json.dumps({"associationIds": [association_id]}),
    )["Command"]["CommandId"]  # fmt: skip
    eventually(lambda: len(lines.read_text().split()) == 2, what="the run that was asked for on the node")
    asked = ["ssm", "get-command-invocation", "--command-id", refresh, "--instance-id", node.node_id]
    eventually(lambda: house.aws(*asked)["Status"] == "Success", what="the command")

    house.kill()  # the run is asked for by nobody but the row in the database
    house.start()
    house.connected(node)
    node.kill()
    house.aws("ssm", "start-associations-once", "--association-ids", association_id)
    assert "has not begun" in pilothouse(house, "explain", "association", association_id)
    node.start()
    eventually(lambda: len(lines.read_text().split()) == 3, what="the run that waited for the node")
    eventually(lambda: overview(house, association_id)["Status"] == "Success", what="its report")

    table = pilothouse(house, "schedule", "--days", "1")
    assert table.count("drift") >= 47
    calendar = icalendar.Calendar.from_ical(pilothouse(house, "schedule", "--days", "1", "--output", "ics"))
    events = calendar.walk("VEVENT")
    assert {str(each["SUMMARY"]) for each in events} == {"drift"}
    assert len({str(each["UID"]) for each in events}) == len(events) >= 47
    assert json.loads(pilothouse(house, "schedule", "--output", "json", "--most", "3"))[0]["Id"] == association_id

    paused = json.loads(pilothouse(house, "associations", "pause", "drift", "--output", "json"))
    assert paused == {"AssociationId": association_id, "Paused": True}
    assert "paused" in pilothouse(house, "explain", "association", association_id)
    (listed,) = json.loads(pilothouse(house, "associations", "list", "--paused", "--output", "json"))
    assert listed["AssociationId"] == association_id
    assert listed["PausedBy"].endswith(":root")
    assert "Nothing is scheduled" in pilothouse(house, "schedule", "--days", "1")
    assert "resumed" in pilothouse(house, "associations", "resume", association_id)
    assert "No association is paused." in pilothouse(house, "associations", "list", "--paused")
    assert "rate(30 minutes)" in pilothouse(house, "associations", "list")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_after_too_many_errors_nothing_more_is_started(house: Installation, tmp_path: Path) -> None:
    """One at a time, no error allowed, a script that fails: of four nodes one runs it."""
    begun = tmp_path / "begun"
    nodes = [house.enrol(f"web-{number}", tags={"role": "web"}) for number in range(4)]
    association_id = house.aws(
        "ssm", "create-association", "--name", "AWS-RunShellScript", "--targets", "Key=tag:role,Values=web",
        "--parameters", json.dumps({"commands": [f"echo $AWS_SSM_INSTANCE_ID >> {begun}", "exit 3"]}),
        "--max-concurrency", "1", "--max-errors", "0",
    )["AssociationDescription"]["AssociationId"]  # fmt: skip
    asked = ("ssm", "describe-association-executions", "--association-id", association_id)
    eventually(lambda: house.aws(*asked)["AssociationExecutions"][0]["Status"] == "Failed", what="the end")
    (execution,) = house.aws(*asked)["AssociationExecutions"]
    assert execution["DetailedStatus"] == "RateExceeded"
    assert execution["ResourceCountByStatus"] == "{Cancelled=3, Failed=1}"
    targets = house.aws(
        "ssm", "describe-association-execution-targets", "--association-id", association_id,
        "--execution-id", execution["ExecutionId"],
    )["AssociationExecutionTargets"]  # fmt: skip
    assert sorted(each["Status"] for each in targets) == ["Cancelled", "Cancelled", "Cancelled", "Failed"]
    (failed,) = [each["ResourceId"] for each in targets if each["Status"] == "Failed"]
    assert begun.read_text().split() == [failed]
    assert {each["ResourceId"] for each in targets} == {each.node_id for each in nodes}
    house.aws("ssm", "start-associations-once", "--association-ids", association_id)
    eventually(
        lambda: [each["Status"] for each in house.aws(*asked)["AssociationExecutions"]] == ["Failed", "Failed"],
        what="the end of another round",
    )
    assert len(begun.read_text().split()) == 2  # the nodes that were passed over did not make up for it


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_what_users_judge_themselves_is_left_to_them(house: Installation, tmp_path: Path) -> None:
    """MANUAL has no item of its own beside an AUTO that has, and keeps what was put, whatever its runs end as."""
    node = house.enrol("web-1", tags={"role": "web"})
    works = tmp_path / "works"

    def made(*words: str) -> str:
        association_id: str = house.aws(
            "ssm", "create-association", "--name", "AWS-RunShellScript", "--targets", "Key=tag:role,Values=web",
            "--parameters", json.dumps({"commands": [f"test -e {works}"]}), "--compliance-severity", "HIGH", *words,
        )["AssociationDescription"]["AssociationId"]  # fmt: skip
        return association_id

    def items() -> dict[str, tuple[str, str]]:
        found = house.aws(
            "ssm", "list-compliance-items", "--resource-ids", node.node_id, "--resource-types", "ManagedInstance",
            "--filters", "Key=ComplianceType,Values=Association,Type=EQUAL",
        )["ComplianceItems"]  # fmt: skip
        return {each["Id"]: (each["Status"], each["Severity"]) for each in found}

    def ended(status: str, *association_ids: str) -> None:
        for each in association_ids:
            eventually(lambda each=each: overview(house, each)["Status"] == status, what=f"{each} to be {status}")

    manual, auto = made("--sync-compliance", "MANUAL"), made("--sync-compliance", "AUTO")
    ended("Failed", manual, auto)
    assert items() == {auto: ("NON_COMPLIANT", "HIGH")}
    works.touch()
    house.aws("ssm", "start-associations-once", "--association-ids", manual, auto)
    ended("Success", manual, auto)
    assert items() == {auto: ("COMPLIANT", "HIGH")}
    house.aws(
        "ssm", "put-compliance-items", "--resource-id", node.node_id, "--resource-type", "ManagedInstance",
        "--compliance-type", "Association", "--execution-summary", "ExecutionTime=2026-01-01T00:00:00Z",
        "--items", f"Id={manual},Title=seen,Severity=LOW,Status=NON_COMPLIANT", "--upload-type", "PARTIAL",
    )  # fmt: skip
    house.aws("ssm", "start-associations-once", "--association-ids", manual, auto)
    eventually(lambda: len(executions(house, manual)) == 3 == len(executions(house, auto)), what="the third round")
    ended("Success", manual, auto)
    assert items() == {auto: ("COMPLIANT", "HIGH"), manual: ("NON_COMPLIANT", "LOW")}


def executions(house: Installation, association_id: str) -> list[dict[str, Any]]:
    found = house.boto("ssm").describe_association_executions(AssociationId=association_id)["AssociationExecutions"]
    return [dict(each) for each in found if each["Status"] not in ("Pending", "InProgress")]
