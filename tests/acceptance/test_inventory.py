"""A fleet as somebody asks about it: our agent gathers by an association, the CLI and our commands tell."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.installation import Installation, eventually, installation
from tests.cli.test_commands import pilothouse


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with installation(tmp_path_factory.mktemp("inventory")) as made:
        yield made


def told(house: Installation, *words: object) -> str:
    done = pilothouse(*words, "--data", house.data)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_agents_gather_is_found_by_the_commands(house: Installation, tmp_path: Path) -> None:
    agent = house.enrol("db1")
    custom = agent.state / "inventory" / "custom"
    custom.mkdir(parents=True)
    rack = {"SchemaVersion": "1.0", "TypeName": "Custom:Rack", "Content": [{"Name": "=A7\x1b[2J", "Version": "1"}]}
    (custom / "rack.json").write_text(json.dumps(rack))
    ssm = house.boto("ssm")
    ssm.create_association(
        Name="AWS-GatherSoftwareInventory", Targets=[{"Key": "InstanceIds", "Values": ["*"]}],
        ScheduleExpression="rate(30 minutes)", Parameters={"customInventory": ["Enabled"], "applications": ["Enabled"]},
    )  # fmt: skip

    def racks() -> Any:
        return ssm.list_inventory_entries(InstanceId=agent.node_id, TypeName="Custom:Rack")["Entries"]

    eventually(racks, what="the rack")
    assert racks() == rack["Content"]
    assert "pilothouse" in json.dumps(
        ssm.list_inventory_entries(InstanceId=agent.node_id, TypeName="AWS:AWSComponent")["Entries"]
    )
    (match,) = json.loads(told(house, "inventory", "=A7", "--begin", "--type", "Custom:Rack", "--output", "json"))
    assert (match["InstanceId"], match["Entry"]) == (agent.node_id, rack["Content"][0])
    table = told(house, "inventory", "--type", "Custom:Rack", "--older-than", "2")
    assert "\\x1b[2J" in table
    assert "\x1b[2J" not in table
    head, line = csv.reader(io.StringIO(told(house, "inventory", "--type", "Custom:Rack", "--output", "csv")))
    assert dict(zip(head, line, strict=True))["Name"] == "'=A7\\x1b[2J"  # no formula
    (custom / "rack.json").write_text(json.dumps({**rack, "Content": [{"Name": "B1", "Version": "1"}]}))
    ssm.start_associations_once(AssociationIds=[ssm.list_associations()["Associations"][0]["AssociationId"]])
    eventually(lambda: racks()[0]["Name"] == "B1", what="the other rack")
    changes = told(house, "inventory", "--type", "Custom:Rack", "--node", agent.node_id, "--changes")
    assert [line.split()[2:4] for line in changes.splitlines()[1:]] == [["+", "B1"], ["-", "=A7\\x1b[2J"]]
    assert pilothouse("inventory", "--changes", "--data", house.data).returncode == 1
    ssm.put_compliance_items(
        ResourceId=agent.node_id, ResourceType="ManagedInstance", ComplianceType="Custom:Disk",
        ExecutionSummary={"ExecutionTime": 1_773_144_000},
        Items=[{"Id": "root", "Title": "root usage", "Severity": "CRITICAL", "Status": "NON_COMPLIANT"}],
    )  # fmt: skip
    assert "Custom:Disk" in told(house, "compliance")
    assert "CRITICAL" in told(house, "compliance", "--nodes", "--type", "Custom:Disk")
    assert "root usage" in told(house, "compliance", "--node", agent.node_id)
    (item,) = json.loads(
        told(house, "compliance", "--node", agent.node_id, "--type", "Custom:Disk", "--output", "json")
    )
    assert item["Id"] == "root"
