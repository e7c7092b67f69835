"""The acceptance scenarios of inventory, in their order, through the unmodified aws CLI."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.acceptance.installation import AgentProcess, Installation, eventually, installation

WHEN, LATER = "2026-03-10T12:00:00Z", "2026-03-11T12:00:00Z"
INFORMATION, APPLICATION = "AWS:InstanceInformation", "AWS:Application"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with installation(tmp_path_factory.mktemp("house")) as made:
        yield made


class Desk:
    """What somebody types about three nodes: one runs, two are away and what they have was told for them."""

    def __init__(self, house: Installation) -> None:
        self.house = house
        self.running = house.enrol("running")
        self.one, self.two = (house.enrol(name, start=False).node_id for name in ("one", "two"))
        self.put(self.one, APPLICATION, {"Name": "openssl", "Version": "3.0.2"}, {"Name": "bash", "Version": "5.2"})
        self.put(self.two, APPLICATION, {"Name": "openssl", "Version": "3.2.0"}, {"Name": "curl", "Version": "3.0.2"})

    def ssm(self, *words: str) -> Any:
        return self.house.aws("ssm", *words)

    def refusal(self, *words: str) -> str:
        """What the CLI says on standard error."""
        done = self.house.cli("ssm", *words)
        assert done.returncode != 0, done.stdout
        return done.stderr

    def put(self, node_id: str, type_name: str, *content: dict[str, str], version: str = "1.0") -> None:
        item = {"TypeName": type_name, "SchemaVersion": version, "CaptureTime": WHEN, "Content": list(content)}
        self.ssm("put-inventory", "--instance-id", node_id, "--items", json.dumps([item]))

    def entries(self, node_id: str, type_name: str) -> list[dict[str, str]]:
        found = self.ssm("list-inventory-entries", "--instance-id", node_id, "--type-name", type_name)["Entries"]
        return list(found)

    def nodes(self, *filters: str) -> set[str]:
        """Ids of those that fit the filters."""
        return {each["Id"] for each in self.ssm("get-inventory", "--filters", *filters)["Entities"]}

    def deleted(self, type_name: str, *options: str) -> dict[str, Any]:
        """The deletion of a custom type, when it is complete."""
        begun = self.ssm("delete-inventory", "--type-name", type_name, *options)["DeletionId"]

        def complete() -> dict[str, Any] | None:
            (found,) = self.ssm("describe-inventory-deletions", "--deletion-id", begun)["InventoryDeletions"]
            return found if found["LastStatus"] == "Complete" else None

        return eventually(complete, what="the end of the deletion") or {}


@pytest.fixture(scope="module")
def desk(house: Installation) -> Desk:
    return Desk(house)


def test_1_every_node_is_listed_with_what_it_is(desk: Desk) -> None:
    found = {each["Id"]: each["Data"] for each in desk.ssm("get-inventory")["Entities"]}
    assert set(found) == {desk.running.node_id, desk.one, desk.two}
    (content,) = found[desk.running.node_id][INFORMATION]["Content"]
    assert (content["InstanceId"], content["InstanceStatus"]) == (desk.running.node_id, "Active")
    assert content["PlatformType"] == "Linux"


def test_2_the_gather_association_tells_of_installed_packages(desk: Desk) -> None:
    desk.ssm(
        "create-association", "--name", "AWS-GatherSoftwareInventory",
        "--targets", f"Key=InstanceIds,Values={desk.running.node_id}", "--schedule-expression", "rate(30 minutes)",
    )  # fmt: skip
    found = eventually(lambda: desk.entries(desk.running.node_id, APPLICATION), what="the applications")
    assert all(each["Name"] and each["Version"] for each in found)
    assert len(found) > 20


def test_3_a_filter_leaves_the_nodes_that_have_it(desk: Desk) -> None:
    desk.put(desk.two, "AWS:Service", {"Name": "sshd"})
    assert desk.nodes(f"Key={APPLICATION}.Name,Values=curl", "Key=AWS:Service.Name,Values=sshd") == {desk.two}
    with_bash = desk.nodes(f"Key={APPLICATION}.Name,Values=bash,Type=Equal")
    assert desk.one in with_bash
    assert desk.two not in with_bash


def test_4_filters_on_one_type_must_hold_for_one_entry(desk: Desk) -> None:
    """The second node has both, on different rows."""
    both = f"Key={APPLICATION}.Name,Values=openssl", f"Key={APPLICATION}.Version,Values=3.0.2"
    assert desk.nodes(*both) - {desk.running.node_id} == {desk.one}
    older = f"Key={APPLICATION}.Version,Values=3.0.13,Type=LessThan"
    assert desk.nodes(both[0], older) - {desk.running.node_id} == {desk.one}


def test_5_an_aggregator_counts_by_platform(desk: Desk) -> None:
    nested = f"Expression={INFORMATION}.PlatformType,Aggregators=[{{Expression={INFORMATION}.PlatformName}}]"
    (entity,) = desk.ssm("get-inventory", "--aggregators", nested)["Entities"]
    (row,) = entity["Data"][INFORMATION]["Content"]  # the two that are away never said what they are
    assert row.pop("PlatformName")
    assert row == {"PlatformType": "Linux", "Count": "1"}


def test_6_exists_is_for_counts_only(desk: Desk) -> None:
    exists = "Key=TypeName,Values=AWS:Application,Type=Exists"
    assert "(InvalidFilter)" in desk.refusal("get-inventory", "--filters", exists)
    groups = f"Groups=[{{Name=Apps,Filters=[{{{exists}}}]}}]"
    (entity,) = desk.ssm("get-inventory", "--aggregators", groups)["Entities"]
    assert sum(int(count) for row in entity["Data"]["Apps"]["Content"] for count in row.values()) == 3


def test_7_a_custom_type_has_a_schema_and_entries(desk: Desk) -> None:
    desk.put(desk.one, "Custom:Rack", {"Rack": "A7", "Unit": "12"})
    (schema,) = desk.ssm("get-inventory-schema", "--type-name", "Custom:Rack")["Schemas"]
    assert (schema["TypeName"], schema["Version"]) == ("Custom:Rack", "1.0")
    assert schema["Attributes"] == [{"Name": "Rack", "DataType": "string"}, {"Name": "Unit", "DataType": "string"}]
    assert desk.entries(desk.one, "Custom:Rack") == [{"Rack": "A7", "Unit": "12"}]


def test_8_a_hash_alone_says_that_nothing_changed(desk: Desk) -> None:
    item = {"TypeName": "AWS:File", "SchemaVersion": "1.0", "CaptureTime": WHEN, "ContentHash": "h1"}

    def put(**changes: Any) -> tuple[str, ...]:
        return "put-inventory", "--instance-id", desk.one, "--items", json.dumps([item | changes])

    desk.ssm(*put(Content=[{"Name": "motd"}]))
    desk.ssm(*put(CaptureTime=LATER))
    listed = desk.ssm("list-inventory-entries", "--instance-id", desk.one, "--type-name", "AWS:File")
    assert (listed["CaptureTime"], listed["Entries"]) == (LATER, [{"Name": "motd"}])
    assert "(ItemContentMismatchException)" in desk.refusal(*put(ContentHash="h2"))


@pytest.mark.parametrize(("type_name", "code"), [("Foo:X", "Validation"), ("AWS:Foo", "InvalidTypeName")])
def test_9_other_types_are_refused(desk: Desk, type_name: str, code: str) -> None:
    item = json.dumps([{"TypeName": type_name, "SchemaVersion": "1.0", "CaptureTime": WHEN, "Content": []}])
    assert f"({code}Exception)" in desk.refusal("put-inventory", "--instance-id", desk.one, "--items", item)


def test_10_a_deletion_counts_dry_and_comes_to_its_end(desk: Desk) -> None:
    desk.put(desk.one, "Custom:Old", {"A": "1"})
    desk.put(desk.two, "Custom:Old", {"A": "2"}, version="1.1")
    dry = desk.ssm("delete-inventory", "--type-name", "Custom:Old", "--dry-run")
    assert (dry["DeletionSummary"]["TotalCount"], "DeletionId" in dry) == (2, False)
    assert desk.entries(desk.one, "Custom:Old")
    summary = desk.deleted("Custom:Old")["DeletionSummary"]
    assert (summary["TotalCount"], summary["RemainingCount"]) == (2, 0)
    assert [(each["Version"], each["Count"]) for each in summary["SummaryItems"]] == [("1.0", 1), ("1.1", 1)]
    assert desk.entries(desk.one, "Custom:Old") == []


def test_11_what_is_disabled_is_ignored(desk: Desk) -> None:
    desk.put(desk.one, "Custom:Off", {"A": "1"})
    desk.deleted("Custom:Off", "--schema-delete-option", "DisableSchema")
    desk.put(desk.one, "Custom:Off", {"A": "2"})
    assert desk.entries(desk.one, "Custom:Off") == []


def test_12_no_content_takes_the_entries_away(desk: Desk) -> None:
    desk.put(desk.one, "AWS:Network", {"Name": "eth0"})
    assert desk.entries(desk.one, "AWS:Network") == [{"Name": "eth0"}]
    desk.put(desk.one, "AWS:Network")
    assert desk.entries(desk.one, "AWS:Network") == []


def test_13_a_sync_writes_files_in_the_documented_layout(desk: Desk) -> None:
    desk.house.aws("s3api", "create-bucket", "--bucket", "stock")
    where = "BucketName=stock,Prefix=from,SyncFormat=JsonSerDe,Region=us-east-1"
    desk.ssm("create-resource-data-sync", "--sync-name", "all", "--s3-destination", where)
    desk.put(desk.one, "Custom:Desk", {"Room": "4"})
    account = desk.house.aws("sts", "get-caller-identity")["Account"]
    region = desk.house.known()["AWS_REGION"]
    key = (
        f"from/Custom:Desk/accountid={account}/region={region}/"
        f"resourcetype=ManagedInstanceInventory/{desk.one}.json"
    )  # fmt: skip

    def copied() -> bool:
        listed = desk.house.aws("s3api", "list-objects-v2", "--bucket", "stock", "--prefix", "from/Custom:Desk/")
        return key in [each["Key"] for each in (listed or {}).get("Contents", ())]

    eventually(copied, what=key)
    file = desk.house.folder / "copied.json"
    desk.house.aws("s3api", "get-object", "--bucket", "stock", "--key", key, str(file))
    assert json.loads(file.read_text()) == {
        "Room": "4", "resourceId": desk.one, "captureTime": WHEN, "schemaVersion": "1.0",
    }  # fmt: skip
    (sync,) = desk.ssm("list-resource-data-sync")["ResourceDataSyncItems"]
    assert (sync["SyncName"], sync["S3Destination"]["BucketName"]) == ("all", "stock")
    desk.ssm("delete-resource-data-sync", "--sync-name", "all")


def test_14_a_node_that_leaves_takes_its_inventory_along(desk: Desk, house: Installation) -> None:
    leaving: AgentProcess = house.enrol("leaving", start=False)
    desk.put(leaving.node_id, APPLICATION, {"Name": "only-there", "Version": "1"})
    only = f"Key={APPLICATION}.Name,Values=only-there"
    assert desk.nodes(only) == {leaving.node_id}
    desk.ssm("deregister-managed-instance", "--instance-id", leaving.node_id)
    assert desk.nodes(only) == set()
    asked = "list-inventory-entries", "--instance-id", leaving.node_id, "--type-name", APPLICATION
    assert "(InvalidInstanceId)" in desk.refusal(*asked)


def test_15_tags_are_inventory(desk: Desk) -> None:
    tag = "--tags", "Key=env,Value=lab"
    desk.ssm("add-tags-to-resource", "--resource-type", "ManagedInstance", "--resource-id", desk.two, *tag)
    assert desk.nodes("Key=AWS:Tag.Key,Values=env,Type=Equal") == {desk.two}
