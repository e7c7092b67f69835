"""What nodes may ask, what they get, and what our own agent says hours later."""

import asyncio
import json
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from tests.capabilities.associations.conftest import Keeper, Make, Refused
from tests.capabilities.associations.test_scenarios import executions, targets
from tests.capabilities.commands.conftest import Until
from tests.conftest import Server

from pilothouse.call import Caller
from pilothouse.capabilities import associations
from pilothouse.capabilities.associations.spelling import for_agents

Nodes = Callable[..., Keeper]
HALF = 30 * 60_000


def test_only_the_node_itself_may_ask() -> None:
    asked = {each.name: each for each in associations.CAPABILITY.operations if each.callers & Caller.NODE}
    assert asked.keys() == {"ListInstanceAssociations", "UpdateInstanceAssociationStatus"}
    for each in asked.values():
        assert (each.callers, each.node_member) == (Caller.NODE, "InstanceId")


def test_a_node_sees_and_reports_its_own(keeper: Nodes, make: Make) -> None:
    mine, other = keeper(), keeper(web=False)
    association_id = make()["AssociationId"]
    assert mine.state(association_id) == "Pending"
    assert other.items() == []
    with pytest.raises(Refused, match="AssociationDoesNotExist"):
        other.report(association_id, "Success")
    with pytest.raises(Refused, match="AccessDenied"):
        other("ListInstanceAssociations", InstanceId=mine.id)
    assert mine.state(association_id) == "Pending"


def test_many_associations_come_by_pages(ssm: Any, keeper: Nodes, make: Make) -> None:
    node = keeper()
    made = {make()["AssociationId"] for _ in range(23)}
    first = node("ListInstanceAssociations", MaxResults=20)
    assert len(first["Associations"]) == 20
    assert {each["AssociationId"] for each in node.items()} == made
    page = ssm.describe_effective_instance_associations(InstanceId=node.id)
    assert len(page["Associations"]) == 5
    assert json.loads(page["Associations"][0]["Content"])["schemaVersion"]
    for association_id in made:
        ssm.delete_association(AssociationId=association_id)


@pytest.mark.parametrize(
    ("expression", "spelled"),
    [
        ("rate(30 minutes)", "rate(30 minutes)"),
        ("cron(0 0 ? * 3L *)", "cron(0 0 ? * TUEL *)"),
        ("cron(0 0 ? * TUE#3 *)", "cron(0 0 ? * TUE#3 *)"),
        ("cron(0 0 ? * 2-6 *)", "cron(0 0 ? * MON-FRI *)"),
        ("cron(0 0 ? * 2,5 *)", "cron(0 0 ? * MON,THU *)"),
        ("cron(0 0 ? * 2/2 *)", "cron(0 0 ? * MON-SAT/2 *)"),
        ("cron(0 0 ? * L *)", "cron(0 0 ? * SAT *)"),
        ("cron(0 0 1W * ? *)", "cron(0 0 1W * ? *)"),
        ("cron(0 0 ? * */2 *)", "cron(0 0 ? * */2 *)"),
    ],
)
def test_numbers_of_weekdays_become_names(expression: str, spelled: str) -> None:
    """The official agent counts them from 0."""
    assert for_agents(expression) == spelled


def ours(node: Keeper, association_id: str) -> dict[str, Any]:
    (item,) = [
        each for each in node.items(Extensions=["associations"]) if each["AssociationId"] == association_id
    ]  # fmt: skip
    return dict(item["Extension"])


def test_reports_of_hours_ago_are_each_of_their_own_time(
    ssm: Any, server: Server, keeper: Nodes, make: Make, until: Until
) -> None:  # fmt: skip
    """A node of ours was cut off and went on by its own clock; the server went on without it."""
    away, here = keeper(), keeper()
    association_id = make(ScheduleExpression="rate(30 minutes)")["AssociationId"]
    away.run(association_id)
    here.run(association_id)
    extension = ours(away, association_id)
    since = extension["Since"]
    assert json.loads(extension["Timetable"]) == {
        "kind": "rate", "seconds": 1800, "since": since, "offset_days": 0,
    }  # fmt: skip
    for count in (2, 3, 4):
        server.advance(minutes=30)
        until(lambda count=count: len(executions(ssm, association_id)) == count)
        here.run(association_id)
    for twice in range(2):  # an answer was lost: everything comes once more
        for number in (1, 2, 3):
            named = {"ExecutionId": str(uuid.uuid5(uuid.NAMESPACE_OID, f"{association_id}{number}")),
                     "DueAt": since + number * HALF}  # fmt: skip
            away.report(association_id, "InProgress", extension=named)
            away.report(association_id, "Success", extension=named)
        found = executions(ssm, association_id)
        assert len(found) == 4, twice
        assert [targets(ssm, each) for each in found] == [{away.id: "Success", here.id: "Success"}] * 4
    assert away.state(association_id) == "Success"


def test_a_node_tells_of_times_that_nobody_else_knew(server: Server, ssm: Any, keeper: Nodes, make: Make) -> None:
    node = keeper()
    association_id = make(ScheduleExpression="rate(30 minutes)")["AssociationId"]
    node.run(association_id)
    since = ours(node, association_id)["Since"]
    invented = {"ExecutionId": str(uuid.uuid4()), "DueAt": since + HALF // 2}
    node.report(association_id, "Success", extension=invented)
    newest, first = executions(ssm, association_id)
    assert newest["ExecutionId"] == invented["ExecutionId"]
    assert targets(ssm, newest) == {node.id: "Success"}
    other = make()["AssociationId"]
    with pytest.raises(Refused, match="AssociationDoesNotExist"):
        node.report(other, "Success", extension={"ExecutionId": first["ExecutionId"]})


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_reports_that_wait_for_each_other_hold_up_nobody_else(
    server: Server, ssm: Any, keeper: Nodes, make: Make
) -> None:
    """More nodes than there are connections report on an association that somebody changes: others go on writing."""
    nodes = [keeper(online=False) for _ in range(40)]
    association_id = make()["AssociationId"]
    database = server.application.house.database
    held, written = threading.Event(), asyncio.Event()

    async def hold() -> None:
        async with database.transaction() as tx:
            await tx.lock("association", association_id)
            held.set()
            await written.wait()

    with ThreadPoolExecutor(len(nodes)) as pool:
        holding = pool.submit(server.run, hold())
        assert held.wait(30)
        reports = [pool.submit(node.report, association_id, "InProgress") for node in nodes[1:]]
        try:
            for number in range(5):
                ssm.put_parameter(Name=f"/meanwhile/{number}", Value="x", Type="String")
        finally:
            server.run(_set(written))
        holding.result(30)
        for each in reports:
            each.result(60)
    (execution,) = ssm.describe_association_executions(AssociationId=association_id)["AssociationExecutions"]
    assert execution["ResourceCountByStatus"] == "{InProgress=39, Pending=1}"


async def _set(event: asyncio.Event) -> None:
    event.set()
