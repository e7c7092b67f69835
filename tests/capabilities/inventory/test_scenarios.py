"""Inventory as users meet it: boto3 on one side, nodes that send on the other, on both engines."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.capabilities.commands.conftest import Fleet, Node, Until
from tests.capabilities.compliance.conftest import as_node
from tests.capabilities.inventory.conftest import WHEN, Put, Refused, application, ids, item, refused, rows
from tests.conftest import Server, clients_of

Nodes = Callable[..., list[Node]]
NAME, VERSION = "AWS:Application.Name", "AWS:Application.Version"


def entries(ssm: Any, node: Node, type_name: str, **filters: str) -> list[dict[str, str]]:
    asked = [{"Key": key, "Values": [value]} for key, value in filters.items()]
    pages = []
    token: dict[str, Any] = {"Filters": asked} if asked else {}
    while True:
        page = ssm.list_inventory_entries(InstanceId=node.id, TypeName=type_name, **token)
        pages += page["Entries"]
        if "NextToken" not in page:
            return pages
        token["NextToken"] = page["NextToken"]


def test_every_node_is_there_and_what_it_sends_is_listed(ssm: Any, nodes: Nodes, put: Put, fleet: Fleet) -> None:
    one, two = nodes(2, platform="Linux", tags={"env": "lab"})
    fleet.tell(one, PlatformName="Debian GNU/Linux", PlatformVersion="12", ComputerName="db1", IPAddress="10.0.0.5")
    found = {each["Id"]: each["Data"] for each in ssm.get_inventory()["Entities"]}
    assert sorted(found) == [one.id, two.id]
    information = found[one.id]["AWS:InstanceInformation"]
    assert information["Content"] == [{
        "AgentType": "amazon-ssm-agent", "AgentVersion": "3.3.0.0", "ComputerName": "db1", "InstanceId": one.id,
        "InstanceStatus": "Active", "IpAddress": "10.0.0.5", "PlatformName": "Debian GNU/Linux",
        "PlatformType": "Linux", "PlatformVersion": "12", "ResourceType": "ManagedInstance",
    }]  # fmt: skip
    installed = [application(f"p{number:03}", "1.0", InstalledTime=WHEN) for number in range(120)]
    put(one, item("AWS:Application", *installed, version="1.1", ContentHash="h1"))
    assert entries(ssm, one, "AWS:Application") == installed
    assert entries(ssm, one, "AWS:Application", Name="p007") == [installed[7]]
    assert entries(ssm, two, "AWS:Application") == []
    asked = {"ResultAttributes": [{"TypeName": "AWS:Application"}]}
    shown = {each["Id"]: each["Data"] for each in ssm.get_inventory(**asked)["Entities"]}
    assert shown[two.id] == {}
    assert shown[one.id]["AWS:Application"] == {
        "TypeName": "AWS:Application", "SchemaVersion": "1.1", "CaptureTime": WHEN, "ContentHash": "h1",
        "Content": installed,
    }  # fmt: skip
    assert ids(ssm, ("AWS:InstanceInformation.PlatformType", "Equal", "Linux"), **asked) == [one.id]
    put(one, item("AWS:Application", version="1.1"))
    assert entries(ssm, one, "AWS:Application") == []
    assert ids(ssm, (NAME, "BeginWith", "p0")) == []
    tagged = ssm.get_inventory(ResultAttributes=[{"TypeName": "AWS:Tag"}])["Entities"][0]
    assert tagged["Data"]["AWS:Tag"]["Content"] == [{"Key": "env", "Value": "lab"}]
    page = ssm.get_inventory(MaxResults=1)
    assert [each["Id"] for each in page["Entities"]] == [one.id]
    assert [each["Id"] for each in ssm.get_inventory(MaxResults=1, NextToken=page["NextToken"])["Entities"]] == [two.id]


def test_filters(ssm: Any, nodes: Nodes, put: Put, fleet: Fleet) -> None:
    old, new, split = nodes(3, platform="Linux")
    ssm.add_tags_to_resource(ResourceType="ManagedInstance", ResourceId=old.id, Tags=[{"Key": "env", "Value": "lab"}])
    fleet.tell(new, PlatformType="Windows")
    put(old, item("AWS:Application", application("openssl", "3.0.9-1", InstalledTime="2026-01-01T00:00:00Z")))
    put(new, item("AWS:Application", application("openssl", "3.0.13", InstalledTime="2026-02-01T00:00:00Z")))
    put(split, item("AWS:Application", application("openssl", "3.2.0"), application("curl", "3.0.9-1")))
    for wanted, expected in (
        ([(NAME, "Equal", "openssl")], [old, new, split]),
        ([(NAME, "Equal", "openssl,bash")], [old, new, split]),
        ([(NAME, "Equal", "openssl"), (VERSION, "Equal", "3.0.9-1")], [old]),
        ([(NAME, "Equal", "openssl"), (VERSION, "LessThan", "3.0.13")], [old]),
        ([(VERSION, "GreaterThan", "3.0.13")], [split]),
        ([(NAME, "BeginWith", "cu")], [split]),
        ([(NAME, "NotEqual", "openssl")], [split]),
        ([("AWS:Application.Release", "NotEqual", "1")], [old, new, split]),
        ([("AWS:Application.InstalledTime", "GreaterThan", "2026-01-15T00:00:00Z")], [new]),
        ([(NAME, "Equal", "openssl"), ("AWS:InstanceInformation.PlatformType", "Equal", "Linux")], [old, split]),
        ([("AWS:InstanceInformation.InstanceStatus", "Equal", "Active")], [old, new, split]),
        ([("AWS:Tag.Key", "Equal", "env")], [old]),
        ([("AWS:Tag.Key", "Equal", "env"), ("AWS:Tag.Value", "Equal", "prod")], []),
        ([("AWS:InstanceInformation.InstanceId", "Equal", new.id)], [new]),
        ([("Custom:Nowhere.Attr", "Equal", "x")], []),
    ):
        assert ids(ssm, *wanted) == [node.id for node in expected], wanted
    assert refused(lambda: ids(ssm, (NAME, "Exists", "x"))) == "InvalidFilter"
    assert refused(lambda: ids(ssm, ("Name", "Equal", "x"))) == "InvalidFilter"
    assert refused(lambda: ids(ssm, ("AWS:Nothing.Name", "Equal", "x"))) == "InvalidFilter"
    unknown = {"ResultAttributes": [{"TypeName": "AWS:Nothing"}]}
    assert refused(lambda: ids(ssm, **unknown)) == "InvalidResultAttributeException"
    assert refused(lambda: ssm.get_inventory(NextToken="wrong")) == "InvalidNextToken"
    kind = {"Key": "AWS:Application.Name", "Values": ["openssl"]}
    ssm.put_compliance_items(
        ResourceId=split.id, ResourceType="ManagedInstance", ComplianceType="Custom:Look",
        ExecutionSummary={"ExecutionTime": 1}, Items=[{"Id": "a", "Severity": "LOW", "Status": "NON_COMPLIANT"}],
    )  # fmt: skip
    look = {"Key": "ComplianceType", "Values": ["Custom:Look"]}
    (line,) = ssm.list_compliance_summaries(Filters=[look, kind])["ComplianceSummaryItems"]
    assert line["NonCompliantSummary"]["NonCompliantCount"] == 1
    curl = {"Key": VERSION, "Values": ["3.0.13"], "Type": "EQUAL"}
    assert ssm.list_compliance_summaries(Filters=[look, kind, curl])["ComplianceSummaryItems"] == []
    assert ids(ssm, ("AWS:ComplianceItem.Status", "Equal", "NON_COMPLIANT")) == [split.id]
    assert ids(ssm, ("AWS:ComplianceSummary.NonCompliantLowCount", "GreaterThan", "0")) == [split.id]


def test_counts(ssm: Any, nodes: Nodes, put: Put, fleet: Fleet) -> None:
    debian, other, windows = nodes(3, platform="Linux")
    fleet.tell(debian, PlatformName="Debian GNU/Linux")
    fleet.tell(other, PlatformName="Alpine")
    fleet.tell(windows, PlatformType="Windows", PlatformName="Server")
    put(debian, item("AWS:Application", application("openssl", "3"), application("bash", "5")), item("AWS:File"))
    put(other, item("AWS:Application", application("openssl", "3", Architecture="i386"), application("openssl", "3")),
        item("AWS:File", {"Name": "motd"}))  # fmt: skip
    assert rows(ssm, {"Expression": "AWS:InstanceInformation.PlatformType",
                      "Aggregators": [{"Expression": "AWS:InstanceInformation.PlatformName"}]}) == {
        "AWS:InstanceInformation": [
            {"Count": "1", "PlatformType": "Linux", "PlatformName": "Alpine"},
            {"Count": "1", "PlatformType": "Linux", "PlatformName": "Debian GNU/Linux"},
            {"Count": "1", "PlatformType": "Windows", "PlatformName": "Server"},
        ]
    }  # fmt: skip
    by_name = {"Expression": NAME}
    expected = [{"Count": "1", "Name": "bash"}, {"Count": "2", "Name": "openssl"}]  # nodes, not entries
    assert rows(ssm, by_name) == {"AWS:Application": expected}
    assert rows(ssm, by_name, MaxResults=1) == {"AWS:Application": expected}
    linux = [{"Key": "AWS:InstanceInformation.PlatformName", "Values": ["Alpine"]}]
    assert rows(ssm, by_name, Filters=linux) == {"AWS:Application": [{"Count": "1", "Name": "openssl"}]}
    deep = {"Expression": NAME, "Aggregators": [
        {"Expression": VERSION, "Aggregators": [{"Expression": "AWS:InstanceInformation.PlatformType"}]}]}  # fmt: skip
    assert rows(ssm, deep) == {"AWS:Application": [
        {"Count": "1", "Name": "bash", "Version": "5", "PlatformType": "Linux"},
        {"Count": "2", "Name": "openssl", "Version": "3", "PlatformType": "Linux"},
    ]}  # fmt: skip
    both = {"Name": "Both", "Filters": [{"Key": "TypeName", "Values": ["AWS:Application"], "Type": "Exists"},
                                        {"Key": "TypeName", "Values": ["AWS:File"], "Type": "Exists"}]}  # fmt: skip
    ssl = {"Name": "Ssl", "Filters": [{"Key": NAME, "Values": ["openssl"]}]}
    assert rows(ssm, {"Groups": [both, ssl]}) == {
        "Both": [{"notMatchingCount": "2"}, {"matchingCount": "1"}],
        "Ssl": [{"notMatchingCount": "1"}, {"matchingCount": "2"}],
    }
    assert refused(lambda: rows(ssm, {"Expression": "Name"})) == "InvalidAggregatorException"
    assert refused(lambda: rows(ssm, {"Expression": "AWS:Nothing.Name"})) == "InvalidAggregatorException"
    assert refused(lambda: rows(ssm, {"Groups": [ssl, ssl]})) == "InvalidInventoryGroupException"
    counted = {each["TypeName"] for each in ssm.get_inventory_schema(Aggregator=True)["Schemas"]}
    assert {"AWS:Application", "AWS:InstanceInformation"} <= counted


def test_custom_types(ssm: Any, nodes: Nodes, put: Put, until: Until, server: Server) -> None:
    one, two = nodes(2)
    put(one, item("Custom:Rack", {"Rack": "A7", "Unit": "12"}))
    put(two, item("Custom:Rack", {"Rack": "A7", "Door": "open"}, version="1.1"))
    (schema,) = ssm.get_inventory_schema(TypeName="Custom:Rack")["Schemas"]
    assert (schema["Version"], schema["DisplayName"]) == ("1.1", "Rack")
    assert [each["Name"] for each in schema["Attributes"]] == ["Rack", "Unit", "Door"]
    assert entries(ssm, one, "Custom:Rack") == [{"Rack": "A7", "Unit": "12"}]
    assert ids(ssm, ("Custom:Rack.Door", "Equal", "open")) == [two.id]
    dry = ssm.delete_inventory(TypeName="Custom:Rack", DryRun=True)
    assert dry["DeletionSummary"]["TotalCount"] == 2
    assert "DeletionId" not in dry
    assert entries(ssm, one, "Custom:Rack")
    token = "0f6cbb0a-8a3e-4ef0-9f38-0123456789ab"
    begun = ssm.delete_inventory(TypeName="Custom:Rack", ClientToken=token, SchemaDeleteOption="DisableSchema")
    again = ssm.delete_inventory(TypeName="Custom:Rack", ClientToken=token, SchemaDeleteOption="DisableSchema")
    assert begun["DeletionId"] == again["DeletionId"]
    put(one, item("Custom:Rack", {"Rack": "B1"}))  # taken, and left
    put(one, item("Custom:Rack", {"Rack": "B2"}, version="2.0"))

    def ended(deletion_id: str) -> dict[str, Any]:
        (found,) = ssm.describe_inventory_deletions(DeletionId=deletion_id)["InventoryDeletions"]
        return dict(found) if found["LastStatus"] == "Complete" else {}

    done = until(lambda: ended(begun["DeletionId"]))
    assert done["DeletionSummary"] == {
        "TotalCount": 2, "RemainingCount": 0,
        "SummaryItems": [{"Version": "1.0", "Count": 1, "RemainingCount": 0},
                         {"Version": "1.1", "Count": 1, "RemainingCount": 0}],
    }  # fmt: skip
    assert entries(ssm, two, "Custom:Rack") == []
    last = ssm.delete_inventory(TypeName="Custom:Rack", SchemaDeleteOption="DeleteSchema")["DeletionId"]
    until(lambda: ended(last))
    assert ssm.get_inventory_schema(TypeName="Custom:Rack")["Schemas"] == []
    assert ssm.describe_inventory_deletions()["InventoryDeletions"][0]["DeletionId"] == last
    assert refused(lambda: ssm.delete_inventory(TypeName="AWS:Application")) == "InvalidTypeNameException"
    assert refused(lambda: ssm.delete_inventory(TypeName="Custom:Nothing")) == "InvalidTypeNameException"
    unknown = "0f6cbb0a-8a3e-4ef0-9f38-000000000000"
    assert refused(lambda: ssm.describe_inventory_deletions(DeletionId=unknown)) == "InvalidDeletionIdException"


def test_hashes_and_what_is_refused(ssm: Any, nodes: Nodes, put: Put) -> None:
    (node,) = nodes(1)

    def code(*items: dict[str, Any]) -> str:
        with pytest.raises(Refused) as error:
            put(node, *items)
        return str(error.value)

    content = application("bash", "5")
    put(node, item("AWS:Application", content, ContentHash="h1"))
    same = {k: v for k, v in item("AWS:Application", ContentHash="h1").items() if k != "Content"}
    put(node, same | {"CaptureTime": "2026-03-11T12:00:00Z"})
    listed = ssm.list_inventory_entries(InstanceId=node.id, TypeName="AWS:Application")
    assert (listed["CaptureTime"], listed["Entries"]) == ("2026-03-11T12:00:00Z", [content])
    assert code(same | {"ContentHash": "h2"}) == "ItemContentMismatchException"
    assert code({k: v for k, v in same.items() if k != "ContentHash"}) == "InvalidItemContentException"
    put(node, item("AWS:Network", ContentHash="empty"))
    put(node, {k: v for k, v in item("AWS:Network", ContentHash="empty").items() if k != "Content"})
    assert code(item("AWS:Foo", {"a": "b"})) == "InvalidTypeNameException"
    assert code(item("AWS:InstanceInformation", {"a": "b"})) == "InvalidTypeNameException"
    assert code(item("Custom:../../x", {"a": "b"})) == "InvalidTypeNameException"
    assert code(item("Foo:X", {"a": "b"})) == "ValidationException"
    assert code(item("AWS:Application", version="9.0")) == "UnsupportedInventorySchemaVersionException"
    assert code(item("AWS:File", Context={"a": "b"})) == "UnsupportedInventoryItemContextException"
    assert code(item("AWS:File", {"a": 1})) == "SerializationException"  # type: ignore[dict-item]
    assert code(*(item(f"Custom:T{number}") for number in range(31))) == "ValidationException"
    assert code(*(item(f"Custom:T{number}") for number in range(21))) == "CustomSchemaCountLimitExceededException"
    many = [{f"a{number}": "" for number in range(30)}, {f"b{number}": "" for number in range(30)}]
    assert code(item("Custom:Wide", *many)) == "SubTypeCountLimitExceededException"
    large = [{"Name": str(number), "Summary": "x" * 4096} for number in range(780)]
    assert code(item("AWS:Application", *large)) == "ItemSizeLimitExceededException"
    assert code(item("AWS:File"), item("AWS:File")) == "InvalidItemContentException"
    assert entries(ssm, node, "AWS:Application") == [content]  # all or nothing
    patch = {"Id": "p1", "Severity": "HIGH", "Status": "NON_COMPLIANT", "PatchState": "Missing"}
    judged = item("AWS:ComplianceItem", patch, Context={"ComplianceType": "Patch"}, ContentHash="c1")
    put(node, judged)
    put(node, {k: v for k, v in judged.items() if k != "Content"})
    (shown,) = ssm.list_compliance_items(ResourceIds=[node.id])["ComplianceItems"]
    assert (shown["ComplianceType"], shown["Id"], shown["Details"]) == ("Patch", "p1", {"PatchState": "Missing"})
    assert entries(ssm, node, "AWS:ComplianceItem")[0]["PatchState"] == "Missing"
    assert (
        refused(lambda: ssm.list_inventory_entries(InstanceId=node.id, TypeName="AWS:Foo"))
        == "InvalidTypeNameException"
    )


def test_hostile_text_is_text(ssm: Any, nodes: Nodes, put: Put) -> None:
    (node,) = nodes(1)
    nasty = "<script>alert(1)</script>'; drop table inventory_item; -- \x1b[2J\r\n\u202e{{ssm:x}}\U0001f600%s"
    long = "y" * 3000
    put(node, item("AWS:Application", application(nasty, long), application(long, nasty, InstalledTime=nasty)))
    assert entries(ssm, node, "AWS:Application") == [
        application(nasty, long), application(long, nasty, InstalledTime=nasty)
    ]  # fmt: skip
    assert ids(ssm, (NAME, "Equal", nasty), (VERSION, "Equal", long)) == [node.id]
    assert ids(ssm, (NAME, "Equal", long), (VERSION, "BeginWith", "<script>")) == [node.id]
    assert ids(ssm, (NAME, "Equal", long + "y")) == []
    names = [each["Name"] for each in rows(ssm, {"Expression": NAME})["AWS:Application"]]
    assert [name for name in names if name == nasty] == [nasty]
    with pytest.raises(Refused, match="ValidationException"):
        put(node, item("AWS:Application", application("a\x00b", "1")))
    put(node, item("AWS:Application", *(application(f"n{number}", "1") for number in range(10_000))))
    assert ids(ssm, (NAME, "Equal", "n9999")) == [node.id]
    assert ids(ssm, (NAME, "Equal", nasty)) == []


def test_a_node_speaks_for_itself_and_takes_its_inventory_along(
    ssm: Any, nodes: Nodes, put: Put, server: Server
) -> None:
    one, two = nodes(2)
    put(one, item("AWS:Application", application("bash", "5")), item("Custom:Rack", {"Rack": "A7"}))
    put(two, item("AWS:Application", application("bash", "5")))
    ssm.put_inventory(InstanceId=one.id, Items=[item("AWS:Network", {"Name": "eth0"})])  # who may, does
    with pytest.raises(Refused, match="AccessDeniedException"):
        as_node(server, two, "PutInventory", InstanceId=one.id, Items=[item("AWS:Network")])
    with pytest.raises(Refused, match="AccessDeniedException"):
        as_node(server, two, "GetInventory")
    ssm.deregister_managed_instance(InstanceId=one.id)
    assert ids(ssm, (NAME, "Equal", "bash")) == [two.id]
    assert ids(ssm, ("Custom:Rack.Rack", "Equal", "A7")) == []
    assert refused(lambda: entries(ssm, one, "AWS:Application")) == "InvalidInstanceId"
    gone = "mi-0123456789abcdef0"
    assert refused(lambda: ssm.put_inventory(InstanceId=gone, Items=[item("AWS:File")])) == "InvalidInstanceId"


def test_resource_groups_are_inventory(ssm: Any, nodes: Nodes, server: Server) -> None:
    """Groups that find their members by tags, and groups that name them; a node that is gone is in none."""
    web, named, other = nodes(3, platform="Linux")
    ssm.add_tags_to_resource(ResourceType="ManagedInstance", ResourceId=web.id, Tags=[{"Key": "tier", "Value": "web"}])
    groups = clients_of(server)("resource-groups")
    tagged = {"ResourceTypeFilters": ["AWS::AllSupported"], "TagFilters": [{"Key": "tier", "Values": ["web"]}]}
    groups.create_group(Name="front", ResourceQuery={"Type": "TAG_FILTERS_1_0", "Query": json.dumps(tagged)})
    groups.create_group(Name="chosen", Configuration=[{"Type": "AWS::ResourceGroups::Generic"}])
    arn = "arn:aws:ssm:eu-west-1:{}:managed-instance/{}"
    for node in (web, named):
        member = arn.format(server.application.root.account_id, node.id)
        groups.group_resources(Group="chosen", ResourceArns=[member])
    listed = entries(ssm, web, "AWS:ResourceGroup")
    assert [each["Name"] for each in listed] == ["chosen", "front"]
    assert listed[1]["Arn"] == groups.get_group(GroupName="front")["Group"]["GroupArn"]
    assert entries(ssm, other, "AWS:ResourceGroup") == []
    key = "AWS:ResourceGroup.Name"
    assert ids(ssm, (key, "Equal", "front")) == [web.id]
    assert ids(ssm, (key, "Equal", "front,chosen")) == [web.id, named.id]
    assert ids(ssm, (key, "BeginWith", "ch"), ("AWS:Tag.Key", "Equal", "tier")) == [web.id]
    counted = rows(ssm, {"Expression": key})
    assert counted == {"AWS:ResourceGroup": [{"Count": "2", "Name": "chosen"}, {"Count": "1", "Name": "front"}]}
    ssm.deregister_managed_instance(InstanceId=named.id)
    assert ids(ssm, (key, "Equal", "chosen")) == [web.id]
    for name in ("front", "chosen"):
        groups.delete_group(Group=name)
