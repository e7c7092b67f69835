"""The acceptance scenarios of compliance, in their order, through the unmodified aws CLI.

The tenth needs a machine with packages: it is one of `test_patch_scenarios.py`.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.acceptance.installation import Installation, eventually, installation

EXECUTION = "ExecutionTime=2026-03-10T12:00:00Z,ExecutionId=run-17,ExecutionType=Command"
LINUX = "Key=AWS:InstanceInformation.PlatformType,Values=Linux"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with installation(tmp_path_factory.mktemp("house")) as made:
        yield made


def an_item(item_id: str, status: str = "NON_COMPLIANT", severity: str = "CRITICAL") -> dict[str, str]:
    return {"Id": item_id, "Title": f"about {item_id}", "Severity": severity, "Status": status}


class Desk:
    """What somebody types about two nodes, of which one runs and the other never said what it is."""

    def __init__(self, house: Installation) -> None:
        self.house = house
        self.running = house.enrol("running").node_id
        self.away = house.enrol("away", start=False).node_id

    def ssm(self, *words: str) -> Any:
        return self.house.aws("ssm", *words)

    def putting(self, kind: str, *items: dict[str, str], node_id: str = "", resource_type: str = "") -> tuple[str, ...]:
        return (
            "put-compliance-items", "--resource-id", node_id or self.away,
            "--resource-type", resource_type or "ManagedInstance", "--compliance-type", kind,
            "--execution-summary", EXECUTION, "--items", json.dumps(items),
        )  # fmt: skip

    def put(self, kind: str, *items: dict[str, str], more: tuple[str, ...] = (), node_id: str = "") -> None:
        self.ssm(*self.putting(kind, *items, node_id=node_id), *more)

    def refusal(self, *words: str) -> str:
        done = self.house.cli("ssm", *words)
        assert done.returncode != 0, done.stdout
        return done.stderr

    def items(self, kind: str, node_id: str = "") -> list[dict[str, Any]]:
        return list(self.ssm(
            "list-compliance-items", "--resource-ids", node_id or self.away, "--resource-types", "ManagedInstance",
            "--filters", f"Key=ComplianceType,Values={kind},Type=EQUAL",
        )["ComplianceItems"])  # fmt: skip

    def summary(self, kind: str, *filters: str) -> tuple[int, int, dict[str, int]] | None:
        """How many nodes comply, how many do not, and of these by severity; None where there is none of the type."""
        given = f"Key=ComplianceType,Values={kind},Type=EQUAL"
        found = self.ssm("list-compliance-summaries", "--filters", given, *filters)["ComplianceSummaryItems"]
        if not found:
            return None
        (line,) = found
        bad = line["NonCompliantSummary"]
        graves = {name: count for name, count in bad["SeveritySummary"].items() if count}
        return line["CompliantSummary"]["CompliantCount"], bad["NonCompliantCount"], graves


@pytest.fixture(scope="module")
def desk(house: Installation) -> Desk:
    return Desk(house)


def test_1_to_4_what_is_put_is_listed_counted_and_replaced(desk: Desk) -> None:
    desk.put("Custom:Disk", an_item("root"))
    (shown,) = desk.items("Custom:Disk")
    assert (shown["Id"], shown["Status"], shown["Severity"]) == ("root", "NON_COMPLIANT", "CRITICAL")
    execution = shown["ExecutionSummary"]
    assert (execution["ExecutionId"], execution["ExecutionType"]) == ("run-17", "Command")
    assert desk.summary("Custom:Disk") == (0, 1, {"CriticalCount": 1})
    desk.put("Custom:Disk", an_item("root", "COMPLIANT"))
    assert desk.summary("Custom:Disk") == (1, 0, {})
    desk.put("Custom:Disk", an_item("swap", "COMPLIANT"), more=("--upload-type", "COMPLETE"))
    assert [each["Id"] for each in desk.items("Custom:Disk")] == ["swap"]


def test_5_a_part_leaves_the_others(desk: Desk) -> None:
    desk.put("Association", an_item("a1"), an_item("a2"))
    desk.put("Association", an_item("a2", "COMPLIANT"), more=("--upload-type", "PARTIAL"))
    found = {each["Id"]: each["Status"] for each in desk.items("Association")}
    assert found == {"a1": "NON_COMPLIANT", "a2": "COMPLIANT"}


def test_6_7_other_resources_are_refused(desk: Desk) -> None:
    said = desk.refusal(*desk.putting("Custom:Disk", an_item("a"), resource_type="EC2"))
    assert "(InvalidResourceType)" in said
    said = desk.refusal(*desk.putting("Custom:Disk", an_item("a"), node_id="mi-0123456789abcdef0"))
    assert "(InvalidResourceId)" in said


def test_8_an_item_needs_a_severity(desk: Desk, house: Installation) -> None:
    """The client says so; without the client's check the server does."""
    bare = {"Id": "a", "Status": "COMPLIANT"}
    assert "Missing required parameter in Items[0]" in desk.refusal(*desk.putting("Custom:Disk", bare))
    with pytest.raises(ClientError) as error:
        house.boto("ssm", parameter_validation=False).put_compliance_items(
            ResourceId=desk.away, ResourceType="ManagedInstance", ComplianceType="Custom:Disk", Items=[bare],
            ExecutionSummary={"ExecutionTime": 1_773_144_000},
        )  # fmt: skip
    assert error.value.response["Error"]["Code"] == "ValidationException"


def test_9_the_same_hash_changes_nothing(desk: Desk) -> None:
    for item_id in ("first", "second"):
        desk.put("Custom:Hashed", an_item(item_id), more=("--item-content-hash", "h1"))
    assert [each["Id"] for each in desk.items("Custom:Hashed")] == ["first"]


def test_11_a_failed_association_is_as_grave_as_it_says(desk: Desk) -> None:
    desk.ssm(
        "create-association", "--name", "AWS-RunShellScript", "--parameters", "commands=exit 3",
        "--targets", f"Key=InstanceIds,Values={desk.running}", "--compliance-severity", "HIGH",
    )  # fmt: skip

    def judged() -> Any:
        found = desk.ssm(
            "list-resource-compliance-summaries", "--filters", f"Key=ResourceId,Values={desk.running}",
            "Key=ComplianceType,Values=Association",
        )["ResourceComplianceSummaryItems"]  # fmt: skip
        return [each for each in found if each["Status"] == "NON_COMPLIANT"]

    (line,) = eventually(judged, what="the verdict on the association")
    assert line["OverallSeverity"] == "HIGH"
    assert line["NonCompliantSummary"]["SeveritySummary"]["HighCount"] == 1


def test_12_13_filters_by_type_and_by_inventory(desk: Desk) -> None:
    for node_id in (desk.running, desk.away):
        desk.put("Custom:Both", an_item("x"), node_id=node_id)
        desk.put("Patch", an_item("p"), node_id=node_id)
    shown = desk.ssm("list-compliance-summaries", "--filters", "Key=ComplianceType,Values=Patch,Type=EQUAL")
    assert [each["ComplianceType"] for each in shown["ComplianceSummaryItems"]] == ["Patch"]
    assert desk.summary("Custom:Both") == (0, 2, {"CriticalCount": 2})
    assert desk.summary("Custom:Both", LINUX) == (0, 1, {"CriticalCount": 1})


def test_14_pages_have_fifty_at_most(desk: Desk) -> None:
    desk.put("Custom:Many", *(an_item(f"i{number:03}") for number in range(120)))
    asked = "list-compliance-items", "--resource-ids", desk.away, "--filters", "Key=ComplianceType,Values=Custom:Many"
    sizes, token = [], None
    while True:
        page = desk.ssm(*asked, "--no-paginate", *(("--next-token", token) if token else ()))
        sizes.append(len(page["ComplianceItems"]))
        token = page.get("NextToken")
        if token is None:
            break
    assert sizes == [50, 50, 20]
    assert len(desk.ssm(*asked)["ComplianceItems"]) == 120  # as the CLI pages by itself


def test_15_a_node_that_left_is_in_no_summary(desk: Desk, house: Installation) -> None:
    leaving = house.enrol("leaving", start=False).node_id
    desk.put("Custom:Leaving", an_item("x"), node_id=leaving)
    assert desk.summary("Custom:Leaving") == (0, 1, {"CriticalCount": 1})
    desk.ssm("deregister-managed-instance", "--instance-id", leaving)
    assert desk.summary("Custom:Leaving") is None
    found = desk.ssm("list-resource-compliance-summaries", "--filters", f"Key=ResourceId,Values={leaving}")
    assert found["ResourceComplianceSummaryItems"] == []
