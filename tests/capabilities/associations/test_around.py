"""Around associations: permissions, the trail, events, what is coming, why something did not run, large numbers."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.capabilities.associations.conftest import Keeper, Make
from tests.capabilities.associations.test_scenarios import executions
from tests.capabilities.commands.conftest import Until, refused
from tests.conftest import Aws, Server
from tests.identity.test_what_is_asked import World, denied, says

from pilothouse.capabilities import access
from pilothouse.capabilities.associations import store
from pilothouse.capabilities.associations.model import Association, Terms
from pilothouse.runtime.clock import from_millis
from pilothouse.storage import Transaction

Nodes = Callable[..., Keeper]


@pytest.fixture
def own(aws: Aws) -> Any:
    return aws("pilothouse")


def test_what_policies_are_asked(aws: Aws, server: Server, keeper: Nodes, make: Make) -> None:
    world = World(aws, server)
    hers = world.hers("ssm")
    node = keeper()
    create = {
        "Name": "AWS-RunShellScript", "Parameters": {"commands": ["true"]},
        "Targets": [{"Key": "InstanceIds", "Values": [node.id]}],
    }  # fmt: skip
    run = "arn:aws:ssm:*:*:document/AWS-RunShellScript"
    managed = world.arn("ssm", f"managed-instance/{node.id}")
    world.may(says("Allow", "ssm:CreateAssociation", run))
    assert denied(hers.create_association, **create) == f"ssm:CreateAssociation on resource: {managed}"
    world.may(says("Allow", "ssm:CreateAssociation", [run, managed]))
    made = hers.create_association(**create, Tags=[{"Key": "team", "Value": "ops"}])["AssociationDescription"]
    mine = {"AssociationId": made["AssociationId"]}
    arn = world.arn("ssm", f"association/{made['AssociationId']}")
    assert denied(hers.start_associations_once, AssociationIds=[made["AssociationId"]]).endswith(arn)
    assert denied(hers.describe_association, **mine) == f"ssm:DescribeAssociation on resource: {arn}"
    world.may(says("Allow", "ssm:UpdateAssociation", "*"))
    refusal = denied(hers.update_association, **mine, **create)
    assert refusal == f"ssm:DescribeAssociation on resource: {arn}"
    ops = {"StringEquals": {"ssm:resourceTag/team": "ops"}}
    world.may(says("Allow", ["ssm:DescribeAssociation", "ssm:DeleteAssociation"], **ops))
    assert denied(hers.describe_association, **mine) == ""
    other = make()["AssociationId"]
    assert denied(hers.delete_association, AssociationId=other) == (
        f"ssm:DeleteAssociation on resource: {world.arn('ssm', f'association/{other}')}"
    )
    hers.delete_association(**mine)
    paused = denied(world.hers("pilothouse").pause_association, AssociationId=other)
    assert paused.startswith("pilothouse:PauseAssociation on resource:")


def test_another_account_sees_nothing(server: Server, aws: Aws, make: Make) -> None:
    async def another() -> Any:
        house = server.application.house
        return await access.create_account(house, "other")

    key = server.run(another())
    theirs = aws("ssm", access_key=key.access_key_id, secret=key.secret)
    association_id = make()["AssociationId"]
    for call in (theirs.describe_association, theirs.list_association_versions, theirs.describe_association_executions):
        assert refused(lambda call=call: call(AssociationId=association_id)) == "AssociationDoesNotExist"
    assert refused(lambda: theirs.delete_association(AssociationId=association_id)) == "AssociationDoesNotExist"
    assert refused(lambda: theirs.start_associations_once(AssociationIds=[association_id])) == "AssociationDoesNotExist"
    assert theirs.list_associations()["Associations"] == []


def test_changes_stand_in_the_trail(aws: Aws, make: Make) -> None:
    association_id = make(Parameters={"commands": ["echo made-by-me"]})["AssociationId"]
    found = aws("cloudtrail").lookup_events(
        LookupAttributes=[{"AttributeKey": "EventName", "AttributeValue": "CreateAssociation"}]
    )["Events"]
    assert any(association_id in each["CloudTrailEvent"] for each in found)


def test_what_happens_is_told(server: Server, keeper: Nodes, make: Make) -> None:
    told: list[tuple[str, dict[str, Any]]] = []

    async def note(house: Any, tx: Transaction, facts: Any) -> None:
        each = facts.get("each") or [facts]
        told.extend((facts["detail_type"], one["detail"]) for one in each)

    listeners = server.application.house.listeners
    for name, listener in (("event", note), ("events", note)):
        listeners.setdefault(name, []).append(listener)
    try:
        node = keeper()
        association_id = make(ComplianceSeverity="HIGH")["AssociationId"]
        node.run(association_id, "Failed", ErrorCode="ExecutionError")
    finally:
        for name, listener in (("event", note), ("events", note)):
            listeners[name].remove(listener)
    mine = [(kind, detail) for kind, detail in told if association_id in str(detail)]
    of_node = [detail for kind, detail in mine if kind == "EC2 State Manager Instance Association State Change"]
    assert [each["status"] for each in of_node] == ["InProgress", "Failed"]
    assert (of_node[-1]["instance-id"], of_node[-1]["error-code"]) == (node.id, "ExecutionError")
    (whole,) = [detail for kind, detail in mine if kind == "EC2 State Manager Association State Change"]
    assert (whole["status"], whole["association-status-aggregated-count"]) == ("Failed", '{"Failed":1}')


def judged(ssm: Any, node: Any) -> list[tuple[str, str, str]]:
    """Id, status and severity of the node's items about associations."""
    found = ssm.list_compliance_items(
        ResourceIds=[node.id], ResourceTypes=["ManagedInstance"],
        Filters=[{"Key": "ComplianceType", "Values": ["Association"], "Type": "EQUAL"}],
    )["ComplianceItems"]  # fmt: skip
    return sorted((each["Id"], each["Status"], each["Severity"]) for each in found)


def test_nodes_are_judged_by_what_they_keep_to(ssm: Any, keeper: Nodes, make: Make, role: str) -> None:
    node = keeper()
    association_id = make(ComplianceSeverity="HIGH")["AssociationId"]
    manual = make(SyncCompliance="MANUAL")["AssociationId"]
    node.run(manual, "Failed", ErrorCode="ExecutionError")
    assert judged(ssm, node) == []
    node.run(association_id, "Failed", ErrorCode="ExecutionError")
    assert judged(ssm, node) == [(association_id, "NON_COMPLIANT", "HIGH")]
    ssm.start_associations_once(AssociationIds=[association_id])
    assert judged(ssm, node) == [(association_id, "NON_COMPLIANT", "HIGH")]
    node.run(association_id)
    (item,) = ssm.list_compliance_items(ResourceIds=[node.id], ResourceTypes=["ManagedInstance"])["ComplianceItems"]
    assert (item["Status"], item["ExecutionSummary"]["ExecutionType"]) == ("COMPLIANT", "Command")
    newest = ssm.describe_association_executions(AssociationId=association_id)["AssociationExecutions"][0]
    assert item["ExecutionSummary"]["ExecutionId"] == newest["ExecutionId"]
    ssm.delete_association(AssociationId=association_id)
    assert judged(ssm, node) == []


def test_many_nodes_that_leave_at_once_are_judged_no_more(
    ssm: Any, server: Server, keeper: Nodes, make: Make, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pilothouse.capabilities.associations.judging._AT_ONCE", 1)
    nodes = [keeper(), keeper()]
    association_id = make()["AssociationId"]
    for node in nodes:
        node.run(association_id)
    assert [judged(ssm, node) for node in nodes] == [[(association_id, "COMPLIANT", "UNSPECIFIED")]] * 2
    ssm.delete_association(AssociationId=association_id)
    until(lambda: not any(judged(ssm, node) for node in nodes))


def test_a_node_that_begins_to_be_in_a_group_joins(
    ssm: Any, aws: Aws, server: Server, keeper: Nodes, make: Make, role: str, until: Until
) -> None:  # fmt: skip
    groups = aws("resource-groups")
    query = {
        "ResourceTypeFilters": ["AWS::AllSupported"], "TagFilters": [{"Key": "role", "Values": [role]}],
    }  # fmt: skip
    groups.create_group(Name=role, ResourceQuery={"Type": "TAG_FILTERS_1_0", "Query": json.dumps(query)})
    inside, later = keeper(), keeper(web=False)
    association_id = make(Targets=[{"Key": "resource-groups:Name", "Values": [role]}])["AssociationId"]
    assert (inside.state(association_id), later.state(association_id)) == ("Pending", None)
    ssm.add_tags_to_resource(
        ResourceType="ManagedInstance", ResourceId=later.id, Tags=[{"Key": "role", "Value": role}]
    )  # fmt: skip
    server.advance(seconds=61)
    until(lambda: later.state(association_id) == "Pending")
    make(AssociationName="for-nodes-with-the-tag")
    of_group = {"key": "ResourceGroupName", "value": role}
    (found,) = ssm.list_associations(AssociationFilterList=[of_group])["Associations"]
    assert found["AssociationId"] == association_id
    both = [of_group, {"key": "AssociationName", "value": "for-nodes-with-the-tag"}]
    assert ssm.list_associations(AssociationFilterList=both)["Associations"] == []
    elsewhere = [{"key": "ResourceGroupName", "value": f"{role}-2"}]
    assert ssm.list_associations(AssociationFilterList=elsewhere)["Associations"] == []


def test_documents_in_use_stay(ssm: Any, role: str, make: Make) -> None:
    name = f"doc-{role}"
    step = {"action": "aws:runShellScript", "name": "a", "inputs": {"runCommand": ["true"]}}
    content = json.dumps({"schemaVersion": "2.2", "mainSteps": [step]})
    ssm.create_document(Name=name, Content=content, DocumentType="Command")
    association_id = make(Name=name, Parameters=None)["AssociationId"]
    assert refused(lambda: ssm.delete_document(Name=name)) == "AssociatedInstances"
    ssm.delete_association(AssociationId=association_id)
    ssm.delete_document(Name=name)


def test_old_associations_with_a_nodes_id(ssm: Any, keeper: Nodes) -> None:
    node = keeper(web=False)
    asked = {"Name": "AWS-RunShellScript", "InstanceId": node.id}
    made = ssm.create_association(**asked, Parameters={"commands": ["true"]})["AssociationDescription"]
    assert made["InstanceId"] == node.id
    again = {**asked, "Parameters": {"commands": ["date"]}}
    assert refused(lambda: ssm.create_association(**again)) == "AssociationAlreadyExists"
    status = {"Date": 1, "Name": "Success", "Message": "fine"}
    shown = ssm.update_association_status(**asked, AssociationStatus=status)["AssociationDescription"]
    assert shown["Status"]["Message"] == "fine"
    assert refused(lambda: ssm.update_association_status(**asked, AssociationStatus=status)) == "StatusUnchanged"
    assert node.state(made["AssociationId"]) == "Pending"
    assert ssm.describe_association(**asked)["AssociationDescription"]["AssociationId"] == made["AssociationId"]
    ssm.delete_association(**asked)
    assert node.items() == []


def test_a_second_inventory_association_fails_on_the_node(ssm: Any, keeper: Nodes, make: Make) -> None:
    node = keeper()
    gather = {"Name": "AWS-GatherSoftwareInventory", "Parameters": None, "ScheduleExpression": "rate(12 hours)"}
    first = make(**gather)["AssociationId"]
    second = make(**gather)["AssociationId"]
    assert node.state(first) == "Pending"
    assert node.state(second) == "Failed"
    found = ssm.describe_instance_associations_status(InstanceId=node.id)["InstanceAssociationStatusInfos"]
    (failed,) = [each for each in found if each["AssociationId"] == second]
    assert first in failed["ExecutionSummary"]


def texts(own: Any, association_id: str, **more: Any) -> str:
    lines = own.explain_association(AssociationId=association_id, **more)["Lines"]
    return "\n".join(f"{line['About']}: {line['Text']}" for line in lines)


def test_why_it_did_not_run(
    ssm: Any, own: Any, server: Server, keeper: Nodes, make: Make, role: str, until: Until
) -> None:  # fmt: skip
    away, other = keeper(online=False), keeper(web=False)
    association_id = make(ScheduleExpression="rate(1 hour)")["AssociationId"]
    said = texts(own, association_id)
    assert "because the association was made" in said
    assert f"node {away.id}: The node is away" in said
    assert "as soon as the node comes back" in said
    assert "it has no tag role" in texts(own, association_id, InstanceId=other.id)
    server.advance(hours=3)
    until(lambda: len(executions(ssm, association_id)) == 2)
    assert "late: no server was there" in texts(own, association_id)
    own.pause_association(AssociationId=association_id)
    assert "It is paused since" in texts(own, association_id)
    keeper(online=False)
    gated = make(MaxConcurrency="1", MaxErrors="0")["AssociationId"]
    assert "when it comes back and MaxConcurrency (1 at once) leaves room" in texts(own, gated)
    with pytest.raises(ClientError, match="There is no association"):
        texts(own, "11111111-2222-3333-4444-555555555555")


def test_what_is_coming(own: Any, server: Server, make: Make) -> None:
    daily = make(ScheduleExpression="cron(15 13 ? * * *)", AssociationName="daily")["AssociationId"]
    hourly = make(ScheduleExpression="rate(1 hour)")["AssociationId"]
    make()
    found: list[dict[str, Any]] = []
    token: dict[str, str] = {}
    start = from_millis(server.clock.millis())
    while True:
        page = own.list_coming_runs(Days=2, MaxResults=7, **token)
        found += page["Runs"]
        if "NextToken" not in page:
            break
        token = {"NextToken": page["NextToken"]}
    moments = [each["At"] for each in found]
    assert moments == sorted(moments)
    assert moments[-1] <= start + timedelta(days=2, minutes=1)
    assert len([each for each in found if each["Id"] == hourly]) == 48
    mine = [each for each in found if each["Id"] == daily]
    assert [f"{each['At']:%H:%M}" for each in mine] == ["13:15", "13:15"]
    assert (mine[0]["Name"], mine[0]["Kind"]) == ("daily", "association")
    assert len({(each["At"], each["Id"]) for each in found}) == len(found)


def test_lists_stay_lookups_among_ten_thousand(ssm: Any, server: Server, keeper: Nodes, make: Make) -> None:
    node = keeper()
    wanted = make(AssociationName="needle", ScheduleExpression="rate(1 day)")["AssociationId"]
    database = server.application.house.database
    account = server.application.root.account_id

    def hay(number: int) -> Association:
        targets = [{"Key": "tag:hay", "Values": [f"{number}"]}]
        terms = Terms(document="AWS-RunShellScript", targets=targets, schedule="rate(1 day)")
        return Association(
            association_id=f"ffffffff-0000-0000-0000-{number:012d}",
            account_id="999999999999" if number % 2 else account,
            region="eu-west-1", version=1, instance_id="", terms=terms, created_at=0, updated_at=0,
            last_execution_at=10_000 - number,
        )  # fmt: skip

    async def fill() -> list[str]:
        async with database.transaction() as tx:
            names = store.COLUMNS
            rows = [tuple(store.values_of(hay(number))[name] for name in names) for number in range(10_000)]
            await tx.fill("association", names, rows)
            pairs = [
                (f"ffffffff-0000-0000-0000-{number:012d}", account, "eu-west-1", "tag:hay", str(number))
                for number in range(10_000)
            ]
            names = ["association_id", "account_id", "region", "target_key", "target_value"]
            await tx.fill("association_target", names, pairs)
            due = [
                ("association", row[0], account, "eu-west-1", 2**50, 2**50, 0) for row in pairs
            ]  # fmt: skip
            await tx.fill("scheduled", ["kind", "key", "account_id", "region", "due_at", "look_at", "failures"], due)
        how = "explain query plan" if database.engine == "sqlite" else "explain"
        asked = [
            "select 1 from association where account_id = 'a' and region = 'r' and association_id > 'x'"
            " order by association_id limit 51",
            "select 1 from association where account_id = 'a' and region = 'r' and document = 'd'",
            "select distinct association_id from association_target where account_id = 'a' and region = 'r'"
            " and target_key = 'k' and target_value in ('v')",
            "select 1 from scheduled where look_at <= 5 order by look_at limit 64",
            "select look_at from scheduled order by look_at limit 1",
            "select due_at from scheduled where kind = 'association' and key in ('a')",
            "select 1 from association_node where node_id = 'n' and association_id > '' order by association_id",
            "select 1 from association_run where node_id = 'n' and association_id = 'a' and state in ('held')",
            "select 1 from association_execution where association_id = 'a'"
            " order by created_at desc, execution_id desc limit 51",
        ]
        rare = {
            "association_standing": f"select 1 from association where account_id = '{account}' and region = 'eu-west-1'"
            " and association_id > '' and status = 'Failed' order by association_id limit 51",
            "association_executed": f"select 1 from association where account_id = '{account}' and region = 'eu-west-1'"
            " and (last_execution_at, association_id) > (5, 'x') and last_execution_at < 900"
            " order by last_execution_at, association_id limit 51",
            "association_target_named": "select distinct association_id from association_target where target_key = 'k'",
        }
        plans = []
        async with database.transaction() as tx:
            await tx.execute("analyze association")
            await tx.execute("analyze association_target")
            for index, sql in rare.items():
                found = str([dict(row) for row in await tx.rows(f"{how} {sql}")])
                assert index in found, found
            if database.engine == "postgresql":  # which else reads small tables from end to end
                await tx.execute("set local enable_seqscan = off")
            for sql in asked:
                rows = await tx.rows(f"{how} {sql}")
                plans.append(" ".join(str(value) for row in rows for value in row.values()))
        return plans

    for plan in server.run(fill()):
        assert "USING" in plan or "Index" in plan, plan
        assert "Seq Scan" not in plan, plan
    names = [{"key": "AssociationName", "value": "needle"}]
    (found,) = ssm.list_associations(AssociationFilterList=names)["Associations"]
    assert found["AssociationId"] == wanted
    assert len(ssm.list_associations(MaxResults=50)["Associations"]) == 50
    assert node.state(wanted) == "Pending"

    def executed(key: str, seconds: str) -> list[int]:
        """The numbers of those that were last executed before or after that moment, all pages of them."""
        wanted = [{"key": key, "value": f"1970-01-01T00:00:{seconds}Z"}]
        pages = list(ssm.get_paginator("list_associations").paginate(AssociationFilterList=wanted))
        assert len(pages) > 1
        found = [each["AssociationId"] for page in pages for each in page["Associations"]]
        return [int(each[-12:]) for each in found if each.startswith("ffffffff")]  # others' were executed today

    assert executed("LastExecutedBefore", "00.300") == list(range(9998, 9700, -2))
    assert executed("LastExecutedAfter", "09.700") == list(range(298, -1, -2))

    async def clean() -> None:
        async with database.transaction() as tx:
            await tx.execute("delete from association where association_id >= 'ffffffff-0000-0000-0000-'"
                             " and association_id < 'ffffffff-0000-0000-0001'")  # fmt: skip
            await tx.execute("delete from scheduled where due_at = :at", at=2**50)

    server.run(clean())
