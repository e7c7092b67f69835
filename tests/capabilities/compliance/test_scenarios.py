"""Compliance as users meet it: boto3 on one side, nodes that report on the other, on both engines."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ParamValidationError

from pilothouse.capabilities.compliance import Execution, Item, Keeper
from tests.capabilities.commands.conftest import Fleet, Node
from tests.capabilities.compliance.conftest import Refused, as_node, refused
from tests.conftest import Server

_TYPES = itertools.count(1)
AT = 1_773_144_000


def item(item_id: str, status: str = "NON_COMPLIANT", severity: str = "CRITICAL", **more: Any) -> dict[str, Any]:
    return {"Id": item_id, "Title": f"about {item_id}", "Severity": severity, "Status": status, **more}


@pytest.fixture
def kind() -> str:
    """A type of the test's own."""
    return f"Custom:Disk{next(_TYPES)}"


@pytest.fixture
def put(ssm: Any) -> Callable[..., None]:
    def put(node: Node | str, kind: str, *items: dict[str, Any], **more: Any) -> None:
        ssm.put_compliance_items(**{
            "ResourceId": node if isinstance(node, str) else node.id, "ResourceType": "ManagedInstance",
            "ComplianceType": kind, "Items": list(items),
            "ExecutionSummary": {"ExecutionTime": AT, "ExecutionId": "run-17", "ExecutionType": "Command"},
        } | more)  # fmt: skip

    return put


def ids(ssm: Any, node: Node, kind: str, *filters: dict[str, Any]) -> list[str]:
    asked = [{"Key": "ComplianceType", "Values": [kind]}, *filters]
    found = ssm.list_compliance_items(ResourceIds=[node.id], Filters=asked)["ComplianceItems"]
    return [each["Id"] for each in found]


def summary(ssm: Any, kind: str, *filters: dict[str, Any]) -> tuple[int, dict[str, int], int, dict[str, int]] | None:
    """(nodes that comply, by severity, nodes that do not, by severity); None if there is no line for the type."""
    asked = [{"Key": "ComplianceType", "Values": [kind]}, *filters]
    lines = ssm.list_compliance_summaries(Filters=asked)["ComplianceSummaryItems"]
    if not lines:
        return None
    (line,) = lines
    good, bad = line["CompliantSummary"], line["NonCompliantSummary"]
    assert len(good["SeveritySummary"]) == len(bad["SeveritySummary"]) == 6
    return (good["CompliantCount"], {k: v for k, v in good["SeveritySummary"].items() if v},
            bad["NonCompliantCount"], {k: v for k, v in bad["SeveritySummary"].items() if v})  # fmt: skip


def test_what_is_put_is_listed_and_counted_until_it_complies(
    ssm: Any, fleet: Fleet, put: Callable[..., None], kind: str
) -> None:
    node = fleet.node(online=False)
    put(node, kind, item("root", Details={"used": "96%"}))
    (shown,) = ssm.list_compliance_items(ResourceIds=[node.id], ResourceTypes=["ManagedInstance"])["ComplianceItems"]
    assert shown["ExecutionSummary"].pop("ExecutionTime").timestamp() == AT
    assert shown == {
        "ComplianceType": kind, "ResourceType": "ManagedInstance", "ResourceId": node.id, "Id": "root",
        "Title": "about root", "Status": "NON_COMPLIANT", "Severity": "CRITICAL", "Details": {"used": "96%"},
        "ExecutionSummary": {"ExecutionId": "run-17", "ExecutionType": "Command"},
    }  # fmt: skip
    assert summary(ssm, kind) == (0, {}, 1, {"CriticalCount": 1})
    put(node, kind, item("root", "COMPLIANT"))
    assert summary(ssm, kind) == (1, {"CriticalCount": 1}, 0, {})
    put(node, kind, item("swap", "COMPLIANT"))  # all there is, so root is gone
    assert ids(ssm, node, kind) == ["swap"]
    put(node, kind)
    assert summary(ssm, kind) is None
    assert ids(ssm, node, kind) == []


def test_the_worked_example(ssm: Any, fleet: Fleet, server: Server) -> None:
    one, two = fleet.nodes(2, online=False)
    patches = [item("p1", "COMPLIANT", "HIGH"), item("p2"), item("p3", severity="LOW")]
    shared = {"ResourceType": "ManagedInstance", "ExecutionSummary": {"ExecutionTime": AT}}
    as_node(server, one, "PutComplianceItems", ResourceId=one.id, ComplianceType="Patch", Items=patches, **shared)
    association = [item("a1", "COMPLIANT", "UNSPECIFIED")]
    as_node(
        server, one, "PutComplianceItems", ResourceId=one.id, ComplianceType="Association", Items=association, **shared
    )
    as_node(server, two, "PutComplianceItems", ResourceId=two.id, ComplianceType="Patch", Items=patches[:1], **shared)
    with pytest.raises(Refused, match="AccessDeniedException"):  # a node speaks for itself only
        as_node(server, two, "PutComplianceItems", ResourceId=one.id, ComplianceType="Patch", Items=[], **shared)
    among = {"Key": "ResourceId", "Values": [one.id, two.id]}
    assert summary(ssm, "Patch", among) == (1, {"HighCount": 1}, 1, {"CriticalCount": 1})
    assert summary(ssm, "Association", among) == (1, {"UnspecifiedCount": 1}, 0, {})
    listed = ssm.list_resource_compliance_summaries(Filters=[{"Key": "ResourceId", "Values": [one.id]}])
    association_line, patch_line = listed["ResourceComplianceSummaryItems"]
    assert (patch_line["Status"], patch_line["OverallSeverity"]) == ("NON_COMPLIANT", "CRITICAL")
    assert patch_line["CompliantSummary"]["CompliantCount"] == 1
    assert patch_line["NonCompliantSummary"]["NonCompliantCount"] == 2
    assert patch_line["NonCompliantSummary"]["SeveritySummary"]["LowCount"] == 1
    assert (association_line["Status"], association_line["OverallSeverity"]) == ("COMPLIANT", "UNSPECIFIED")
    assert ids(ssm, one, "Patch", {"Key": "Status", "Values": ["NON_COMPLIANT"]}) == ["p2", "p3"]
    ssm.deregister_managed_instance(InstanceId=one.id)
    assert summary(ssm, "Association", among) is None
    assert summary(ssm, "Patch", among) == (1, {"HighCount": 1}, 0, {})


def test_an_upload_in_parts_and_one_that_says_nothing_new(
    ssm: Any, fleet: Fleet, put: Callable[..., None], kind: str
) -> None:
    node = fleet.node(online=False)
    put(node, "Association", item("a1"), item("a2"))
    put(node, "Association", item("a2", "COMPLIANT"), item("a3"), UploadType="PARTIAL")
    assert ids(ssm, node, "Association") == ["a1", "a2", "a3"]
    assert ids(ssm, node, "Association", {"Key": "Status", "Values": ["COMPLIANT"]}) == ["a2"]
    assert refused(lambda: put(node, kind, item("x"), UploadType="PARTIAL")) == "ValidationException"
    put(node, kind, item("root"), ItemContentHash="h1")
    later = {"ExecutionSummary": {"ExecutionTime": AT + 600}}
    put(node, kind, ItemContentHash="h1", **later)  # as agents do
    put(node, kind, item("other"), ItemContentHash="h1", **later)
    (shown,) = ssm.list_compliance_items(Filters=[{"Key": "ComplianceType", "Values": [kind]}])["ComplianceItems"]
    assert (shown["Id"], shown["ExecutionSummary"]["ExecutionTime"].timestamp()) == ("root", AT + 600)
    put(node, kind, item("other"), ItemContentHash="h2")
    assert ids(ssm, node, kind) == ["other"]


def test_what_is_refused(ssm: Any, fleet: Fleet, server: Server, put: Callable[..., None], kind: str) -> None:
    node = fleet.node(online=False)
    assert refused(lambda: put(node, kind, ResourceType="EC2Instance")) == "InvalidResourceType"
    assert refused(lambda: put("mi-0123456789abcdef0", kind, item("a"))) == "InvalidResourceId"
    assert refused(lambda: put(node, kind, item("a"), item("a"))) == "InvalidItemContentException"
    assert refused(lambda: put(node, kind, {"Severity": "LOW", "Status": "COMPLIANT"})) == "InvalidItemContentException"
    assert refused(lambda: put(node, "Custom: ", item("a"))) == "ValidationException"
    assert refused(lambda: put(node, kind, item("a" * 101))) == "InvalidItemContentException"
    huge = {f"d{number}": "x" * 4096 for number in range(60)}
    assert refused(lambda: put(node, kind, item("a", Details=huge))) == "ItemSizeLimitExceededException"
    large = {f"d{number}": "x" * 4096 for number in range(40)}
    many = [item(str(number), Details=large) for number in range(7)]
    assert refused(lambda: put(node, kind, *many)) == "TotalSizeLimitExceededException"
    with pytest.raises(ParamValidationError):
        put(node, kind, {"Id": "a", "Status": "COMPLIANT"})
    with pytest.raises(Refused, match="ValidationException"):
        as_node(
            server, node, "PutComplianceItems", ResourceId=node.id, ResourceType="ManagedInstance",
            ComplianceType=kind, Items=[{"Id": "a", "Status": "COMPLIANT"}], ExecutionSummary={"ExecutionTime": AT},
        )  # fmt: skip
    assert summary(ssm, kind) is None
    for wrong in ({"Key": "Nothing", "Values": ["x"]}, {"Key": "Id"}, {"Key": "AWS:Tag.Name", "Values": ["x"]},
                  {"Key": "ExecutionTime", "Values": ["yesterday"]},
                  {"Key": "ExecutionTime", "Values": ["1e300"]}):  # fmt: skip
        assert refused(lambda wrong=wrong: ssm.list_compliance_items(Filters=[wrong])) == "InvalidFilter"
    assert refused(lambda: ssm.list_compliance_items(ResourceIds=["mi-0123456789abcdef0"])) == "InvalidResourceId"
    assert refused(lambda: ssm.list_compliance_items(ResourceTypes=["EC2Instance"])) == "InvalidResourceType"
    assert refused(lambda: ssm.list_compliance_summaries(NextToken="wrong")) == "InvalidNextToken"


def test_filters_and_pages(ssm: Any, fleet: Fleet, put: Callable[..., None], kind: str) -> None:
    linux = fleet.node(online=False, platform="Linux", tags={"env": kind})
    windows = fleet.node(online=False, platform="Windows")
    put(linux, kind, *(item(f"i{number:03}", severity="HIGH") for number in range(120)))
    put(windows, kind, item("i000", "COMPLIANT", "LOW"), ExecutionSummary={"ExecutionTime": AT + 60})
    pages = [
        len(page["ComplianceItems"])
        for page in ssm.get_paginator("list_compliance_items").paginate(ResourceIds=[linux.id])
    ]
    assert pages == [50, 50, 20]
    for key, values, how, expected in (
        ("Id", ["i00"], "BEGIN_WITH", 10),
        ("Id", ["i117"], "GREATER_THAN", 2),
        ("Id", ["i002"], "LESS_THAN", 2),
        ("Severity", ["HIGH"], "NOT_EQUAL", 0),
        ("Title", ["about i007", "about i008"], "EQUAL", 2),
        ("ExecutionTime", ["2026-03-10T12:00:30Z"], "GREATER_THAN", 0),
        ("ResourceType", ["ManagedInstance"], "NOT_EQUAL", 0),
    ):
        assert len(ids(ssm, linux, kind, {"Key": key, "Values": values, "Type": how})) == expected, (key, how)
    both = (1, {"LowCount": 1}, 1, {"HighCount": 1})
    assert summary(ssm, kind) == both
    only_linux = (0, {}, 1, {"HighCount": 1})
    for chosen in (
        {"Key": "AWS:InstanceInformation.PlatformType", "Values": ["Linux"]},
        {"Key": "AWS:InstanceInformation.PlatformType", "Values": ["Windows"], "Type": "NOT_EQUAL"},
        {"Key": "AWS:InstanceInformation.AgentVersion", "Values": ["3.3.0.1"], "Type": "LESS_THAN"},
        {"Key": "AWS:Tag.Key", "Values": ["env"]},
        {"Key": "Status", "Values": ["NON_COMPLIANT"]},
        {"Key": "OverallSeverity", "Values": ["HIGH"]},
    ):
        found = summary(ssm, kind, chosen)
        assert found == (both if "AgentVersion" in chosen["Key"] else only_linux), chosen
    tokens = ssm.list_resource_compliance_summaries(MaxResults=1)
    assert len(tokens["ResourceComplianceSummaryItems"]) == 1
    assert tokens["NextToken"]


def test_what_the_server_judges_is_not_overwritten_by_uploads(
    ssm: Any, fleet: Fleet, server: Server, put: Callable[..., None]
) -> None:
    node = fleet.node(online=False)
    house = server.application.house
    where = server.application.root.account_id, "eu-west-1"

    async def judge(*items: Item, gone: str = "") -> None:
        async with house.database.transaction() as tx:
            keeper = Keeper(house, tx, *where)
            if gone:
                await keeper.remove_everywhere("Association", gone)
            else:
                await keeper.put(node.id, "Association", items, Execution(at=AT * 1000), whole=False)

    def line() -> dict[str, Any]:
        asked = [{"Key": "ResourceId", "Values": [node.id]}]
        (found,) = ssm.list_resource_compliance_summaries(Filters=asked)["ResourceComplianceSummaryItems"]
        return dict(found)

    put(node, "Association", item("a1", severity="UNSPECIFIED"), ItemContentHash="h1")
    server.run(judge(Item(item_id="a1", severity="HIGH", status="NON_COMPLIANT")))
    assert (line()["Status"], line()["OverallSeverity"]) == ("NON_COMPLIANT", "HIGH")
    put(node, "Association", item("a1", severity="UNSPECIFIED"), item("a2", "COMPLIANT"), ItemContentHash="h2")
    assert line()["OverallSeverity"] == "HIGH"
    assert ids(ssm, node, "Association") == ["a1", "a2"]
    server.run(judge(Item(item_id="p0", severity="LOW", status="")))  # what does not apply counts for nothing
    assert line()["NonCompliantSummary"]["NonCompliantCount"] == 1
    server.run(judge(gone="a1"))
    assert ids(ssm, node, "Association") == ["a2", "p0"]
    assert line()["Status"] == "COMPLIANT"


def test_a_turn_of_status_is_told(ssm: Any, fleet: Fleet, server: Server, put: Callable[..., None], kind: str) -> None:
    node = fleet.node(online=False)
    put(node, kind, item("root"))
    put(node, kind, item("root"), item("boot"))  # the same status
    put(node, kind, item("root", "COMPLIANT"))

    async def told() -> list[dict[str, Any]]:
        async with server.application.house.database.reading() as tx:
            return [dict(row) for row in await tx.rows("select detail_type, envelope from event order by number")]

    details = [
        each["envelope"] for each in server.run(told())
        if each["detail_type"] == "Configuration Compliance State Change" and kind in each["envelope"]
    ]  # fmt: skip
    assert [("non_compliant" in each, '"critical"' in each) for each in details] == [(True, True), (False, False)]
