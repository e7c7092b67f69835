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
