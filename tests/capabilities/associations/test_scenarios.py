"""State Manager as users meet it: boto3 on one side, nodes that pull and report on the other, on both engines."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.capabilities.associations.conftest import Keeper, Make, Refused
from tests.capabilities.commands.conftest import Until, refused
from tests.conftest import Aws, Server

from pilothouse.capabilities.associations.model import Result
from pilothouse.capabilities.associations.reports import Report, hear

Nodes = Callable[..., Keeper]


def listed(ssm: Any, association_id: str) -> dict[str, Any]:
    wanted = [{"key": "AssociationId", "value": association_id}]
    (found,) = ssm.list_associations(AssociationFilterList=wanted)["Associations"]
    return dict(found)


def executions(ssm: Any, association_id: str) -> list[dict[str, Any]]:
    found = ssm.describe_association_executions(AssociationId=association_id)["AssociationExecutions"]
    return [dict(each) for each in found]


def targets(ssm: Any, execution: dict[str, Any]) -> dict[str, str]:
    found = ssm.describe_association_execution_targets(
        AssociationId=execution["AssociationId"], ExecutionId=execution["ExecutionId"]
    )["AssociationExecutionTargets"]
    return {each["ResourceId"]: each["Status"] for each in found}


def test_it_runs_at_once_and_by_its_rate(
    ssm: Any, server: Server, keeper: Nodes, make: Make, until: Until
) -> None:  # fmt: skip
    node = keeper()
    made = make(ScheduleExpression="rate(30 minutes)", AssociationName="drift")
    association_id = made["AssociationId"]
    assert (made["AssociationVersion"], made["DocumentVersion"]) == ("1", "$DEFAULT")
    assert made["Overview"]["Status"] == "Pending"
    assert made["ApplyOnlyAtCronInterval"] is False
    until(lambda: node.node.agent.jobs)  # the node is told to look
    assert node.node.agent.jobs[0].content["DocumentContent"]["mainSteps"][0]["action"] == "aws:refreshAssociation"
    item = node.item(association_id)
    assert item is not None
    assert (item["DetailedStatus"], item["ScheduleExpression"]) == ("Pending", "rate(30 minutes)")
    assert item["Parameters"] == {"commands": ["true"]}
    assert item["DocumentVersion"] == "1"
    node.report(association_id, "Pending")
    node.report(association_id, "InProgress")
    assert node.state(association_id) == "InProgress"
    assert listed(ssm, association_id)["Overview"]["AssociationStatusAggregatedCount"] == {"InProgress": 1}
    node.report(association_id, "Success")
    node.report(association_id, "Success")  # reports may repeat
    shown = listed(ssm, association_id)
    assert shown["Overview"] == {
        "Status": "Success", "DetailedStatus": "Success", "AssociationStatusAggregatedCount": {"Success": 1},
    }  # fmt: skip
    (first,) = executions(ssm, association_id)
    assert (first["Status"], first["ResourceCountByStatus"]) == ("Success", "{Success=1}")
    assert targets(ssm, first) == {node.id: "Success"}
    server.advance(minutes=30)
    until(lambda: len(executions(ssm, association_id)) == 2)
    assert node.state(association_id) == "Pending"
    node.run(association_id, "Failed", ErrorCode="ExecutionError", ExecutionSummary="1 failed")
    second, _ = executions(ssm, association_id)
    assert (second["Status"], second["ResourceCountByStatus"]) == ("Failed", "{Failed=1}")
    assert second["CreatedTime"] - first["CreatedTime"] >= timedelta(minutes=29, seconds=59)
    assert listed(ssm, association_id)["Overview"]["Status"] == "Failed"
    (status,) = ssm.describe_instance_associations_status(InstanceId=node.id)["InstanceAssociationStatusInfos"]
    assert (status["Status"], status["ErrorCode"], status["ExecutionSummary"]) == (
        "Failed", "ExecutionError", "1 failed",
    )  # fmt: skip
    assert status["AssociationName"] == "drift"
    (target,) = ssm.describe_association_execution_targets(
        AssociationId=association_id, ExecutionId=second["ExecutionId"]
    )["AssociationExecutionTargets"]
    assert target["OutputSource"]["OutputSourceType"] == "RunCommand"
    source = {"CommandId": target["OutputSource"]["OutputSourceId"], "InstanceId": node.id}
    invocation = ssm.get_command_invocation(**source)
    assert (invocation["Status"], invocation["StandardErrorContent"]) == ("Failed", "1 failed")
    mine = {"Key": "InstanceIds", "Values": [node.id]}
    (shown_node,) = ssm.describe_instance_information(Filters=[mine])["InstanceInformationList"]
    assert shown_node["AssociationStatus"] == "Failed"
    assert shown_node["AssociationOverview"]["InstanceAssociationStatusAggregatedCount"] == {"Failed": 1}
    assert shown_node["LastSuccessfulAssociationExecutionDate"] < shown_node["LastAssociationExecutionDate"]
    failing = [{"Key": "AssociationStatus", "Values": ["Failed"]}, mine]
    assert ssm.describe_instance_information(Filters=failing)["InstanceInformationList"]


def test_a_node_begins_by_its_own_clock(
    ssm: Any, server: Server, keeper: Nodes, make: Make, until: Until
) -> None:  # fmt: skip
    """A report a little ahead of the server's clock is about the time that comes, and the only run of it."""
    early, late = keeper(), keeper()
    association_id = make(ScheduleExpression="rate(30 minutes)")["AssociationId"]
    early.run(association_id)
    late.run(association_id)
    item = early.item(association_id)
    assert item is not None
    assert item["DetailedStatus"] == "Success"  # nothing to do, but by its schedule
    server.advance(minutes=28)
    early.report(association_id, "Pending")
    early.report(association_id, "InProgress")
    first = executions(ssm, association_id)[0]
    assert targets(ssm, first) == {early.id: "InProgress"}
    server.advance(minutes=2)
    until(lambda: len(targets(ssm, first)) == 2)
    assert len(executions(ssm, association_id)) == 2
    assert targets(ssm, first) == {early.id: "InProgress", late.id: "Pending"}
    assert (early.state(association_id), late.state(association_id)) == ("InProgress", "Pending")
    told = len(late.node.agent.jobs)
    server.advance(seconds=20)
    until(lambda: len(late.node.agent.jobs) > told)  # it should have begun by itself


def test_a_report_that_overtakes_the_server_is_of_the_time_that_has_come(
    ssm: Any, server: Server, keeper: Nodes, make: Make, until: Until
) -> None:  # fmt: skip
    node = keeper()
    association_id = make(ScheduleExpression="rate(30 minutes)")["AssociationId"]
    node.run(association_id)

    async def overtaken() -> None:
        """The clock passes the time, and before the server has looked, the report is there."""
        house = server.application.house
        async with house.database.transaction() as tx:
            server.clock.advance(minutes=30, seconds=1)
            result = Result(status="InProgress", details="InProgress", executed_at=house.clock.millis())
            report = Report(node_id=node.id, association_id=association_id, result=result)
            await hear(house, tx, server.application.root.account_id, "eu-west-1", report)

    server.run(overtaken())
    node.report(association_id, "Success")
    until(lambda: executions(ssm, association_id)[0]["Status"] == "Success")
    assert len(executions(ssm, association_id)) == 2
    assert node.state(association_id) == "Success"


def test_only_at_the_interval(ssm: Any, server: Server, keeper: Nodes, make: Make, until: Until) -> None:
    node = keeper()
    association_id = make(ScheduleExpression="cron(15 13 ? * * *)", ApplyOnlyAtCronInterval=True)["AssociationId"]
    assert executions(ssm, association_id) == []
    item = node.item(association_id)
    assert item is not None
    assert item["DetailedStatus"] == "Associated"
    assert item["LastExecutionDate"] <= server.clock.millis() / 1000  # so that it waits for the next time
    (status,) = ssm.describe_instance_associations_status(InstanceId=node.id)["InstanceAssociationStatusInfos"]
    assert (status["Status"], status["DetailedStatus"]) == ("Pending", "Associated")
    server.advance(hours=24)
    until(lambda: executions(ssm, association_id))
    assert node.state(association_id) == "Pending"


def test_a_missed_time_comes_late_and_once(ssm: Any, server: Server, keeper: Nodes, make: Make, until: Until) -> None:
    node = keeper()
    association_id = make(ScheduleExpression="rate(1 hour)")["AssociationId"]
    node.run(association_id)
    server.advance(hours=5, minutes=10)
    until(lambda: len(executions(ssm, association_id)) == 2)
    node.run(association_id)
    server.advance(minutes=49)
    assert len(executions(ssm, association_id)) == 2
    server.advance(minutes=1)
    until(lambda: len(executions(ssm, association_id)) == 3)


def test_a_new_node_with_the_tag_runs_it_alone(ssm: Any, role: str, keeper: Nodes, make: Make, until: Until) -> None:
    first = keeper()
    association_id = make()["AssociationId"]
    first.run(association_id)
    assert first.state(association_id) == "Success"  # without a schedule: once
    joined = keeper(web=False)
    assert joined.items() == []
    ssm.add_tags_to_resource(
        ResourceType="ManagedInstance", ResourceId=joined.id, Tags=[{"Key": "role", "Value": role}]
    )
    until(lambda: joined.state(association_id) == "Pending")
    newest, _ = executions(ssm, association_id)
    assert targets(ssm, newest) == {joined.id: "Pending"}
    assert first.state(association_id) == "Success"
    joined.run(association_id)
    assert listed(ssm, association_id)["Overview"]["AssociationStatusAggregatedCount"] == {"Success": 2}
    ssm.remove_tags_from_resource(ResourceType="ManagedInstance", ResourceId=first.id, TagKeys=["role"])
    until(lambda: first.items() == [])
    assert listed(ssm, association_id)["Overview"]["AssociationStatusAggregatedCount"] == {"Success": 1}
    with pytest.raises(Refused, match="AssociationDoesNotExist"):
        first.report(association_id, "Success")


def test_an_offline_node_makes_up_for_it_when_it_comes(
    ssm: Any, server: Server, keeper: Nodes, make: Make, until: Until
) -> None:  # fmt: skip
    here, away = keeper(), keeper(online=False)
    association_id = make(ScheduleExpression="rate(30 minutes)")["AssociationId"]
    here.run(association_id)
    (first,) = executions(ssm, association_id)
    assert (first["Status"], first["ResourceCountByStatus"]) == ("InProgress", "{Pending=1, Success=1}")
    assert listed(ssm, association_id)["Overview"]["Status"] == "Pending"
    server.advance(minutes=30)
    until(lambda: len(executions(ssm, association_id)) == 2)
    here.run(association_id)
    away.come()
    until(lambda: away.node.agent.jobs)
    away.run(association_id)
    second, first = executions(ssm, association_id)
    assert (first["Status"], first["ResourceCountByStatus"]) == ("Success", "{Skipped=1, Success=1}")
    assert (second["Status"], second["ResourceCountByStatus"]) == ("Success", "{Success=2}")


def test_a_run_that_goes_on_is_not_begun_again(
    ssm: Any, server: Server, keeper: Nodes, make: Make, until: Until
) -> None:  # fmt: skip
    node = keeper()
    association_id = make(ScheduleExpression="rate(30 minutes)")["AssociationId"]
    node.report(association_id, "InProgress")
    server.advance(minutes=30)
    until(lambda: len(executions(ssm, association_id)) == 2)
    assert targets(ssm, executions(ssm, association_id)[0]) == {node.id: "Skipped"}
    assert node.state(association_id) == "InProgress"
    server.advance(hours=5)  # an hour for the script, three for the word on it
    until(lambda: executions(ssm, association_id)[-1]["Status"] == "Failed")
    assert targets(ssm, executions(ssm, association_id)[-1]) == {node.id: "TimedOut"}


def test_an_update_makes_a_version_and_forgets_what_is_left_out(ssm: Any, role: str, keeper: Nodes, make: Make) -> None:
    node = keeper()
    made = make(ScheduleExpression="rate(1 day)", MaxErrors="10%", AssociationName="one")
    association_id = made["AssociationId"]
    node.run(association_id)
    before = node.item(association_id)
    updated = ssm.update_association(
        AssociationId=association_id, AssociationVersion="1", Name="AWS-RunShellScript",
        Parameters={"commands": ["date"]}, Targets=[{"Key": "tag:role", "Values": [role]}],
    )["AssociationDescription"]  # fmt: skip
    assert updated["AssociationVersion"] == "2"
    assert not {"ScheduleExpression", "MaxErrors", "AssociationName"} & updated.keys()
    after = node.item(association_id)
    assert before is not None
    assert after is not None
    assert after["DetailedStatus"] == "Pending"
    assert after["Parameters"] == {"commands": ["date"]}
    assert after["Checksum"] != before["Checksum"]
    two, one = ssm.list_association_versions(AssociationId=association_id)["AssociationVersions"]
    assert (one["AssociationVersion"], one["ScheduleExpression"], one["MaxErrors"]) == ("1", "rate(1 day)", "10%")
    assert (two["AssociationVersion"], two["Parameters"]) == ("2", {"commands": ["date"]})
    old = ssm.describe_association(AssociationId=association_id, AssociationVersion="1")["AssociationDescription"]
    assert old["AssociationName"] == "one"
    stale = {"AssociationId": association_id, "AssociationVersion": "1", "Name": "AWS-RunShellScript"}
    assert refused(lambda: ssm.update_association(**stale)) == "InvalidAssociationVersion"
    for number in ("7", "2147483648", "9" * 19, "9" * 40):
        gone = {"AssociationId": association_id, "AssociationVersion": number}
        assert refused(lambda: ssm.describe_association(**gone)) == "InvalidAssociationVersion"  # noqa: B023


def test_start_once(ssm: Any, keeper: Nodes, make: Make) -> None:
    node = keeper()
    association_id = make(ScheduleExpression="cron(0 2 ? * SUN *)", ApplyOnlyAtCronInterval=True)["AssociationId"]
    assert node.state(association_id) == "Associated"
    ssm.start_associations_once(AssociationIds=[association_id])
    assert node.state(association_id) == "Pending"
    (execution,) = executions(ssm, association_id)
    assert targets(ssm, execution) == {node.id: "Pending"}
    unknown = "11111111-2222-3333-4444-555555555555"
    assert refused(lambda: ssm.start_associations_once(AssociationIds=[unknown])) == "AssociationDoesNotExist"


def test_max_errors_stops_the_others(ssm: Any, keeper: Nodes, make: Make, until: Until) -> None:
    nodes = [keeper() for _ in range(4)]
    association_id = make(MaxConcurrency="1", MaxErrors="0")["AssociationId"]
    (chosen,) = [node for node in nodes if node.state(association_id) == "Pending"]
    assert [node.state(association_id) for node in nodes].count("Waiting") == 3
    chosen.run(association_id, "Failed")
    (execution,) = executions(ssm, association_id)
    assert (execution["Status"], execution["DetailedStatus"]) == ("Failed", "RateExceeded")
    assert execution["ResourceCountByStatus"] == "{Cancelled=3, Failed=1}"
    assert not [node for node in nodes if node.state(association_id) == "Pending"]


def test_max_concurrency_lets_one_go_after_the_other(ssm: Any, keeper: Nodes, make: Make) -> None:
    nodes = {node.id: node for node in (keeper() for _ in range(5))}
    association_id = make(MaxConcurrency="2", MaxErrors="1")["AssociationId"]
    ran = []
    while True:
        going = [node for node in nodes.values() if node.state(association_id) in ("Pending", "InProgress")]
        if not going:
            break
        assert len(going) <= 2
        going[0].run(association_id, "Failed" if not ran else "Success")
        ran.append(going[0].id)
    assert sorted(ran) == sorted(nodes)
    (execution,) = executions(ssm, association_id)
    assert (execution["Status"], execution["ResourceCountByStatus"]) == ("Failed", "{Failed=1, Success=4}")


@pytest.mark.parametrize("limits", [{}, {"MaxConcurrency": "1"}])
def test_nodes_are_told_when_their_server_is_seen_again(
    ssm: Any, server: Server, keeper: Nodes, make: Make, until: Until, limits: dict[str, str]
) -> None:
    """A clock that is put forward brings a time before the process has said, by that clock, that it is there."""
    nodes = [keeper(), keeper()]

    async def unseen() -> None:
        async with server.application.house.database.transaction() as tx:
            await tx.execute("update gateway_process set seen_at = 0")

    server.run(unseen())
    association_id = make(**limits)["AssociationId"]
    assert [node.node.agent.jobs for node in nodes] == [[], []]
    server.advance(seconds=31)
    server.advance(seconds=31)
    until(lambda: sum(bool(node.node.agent.jobs) for node in nodes) == (1 if limits else 2))
    for _ in nodes:
        until(lambda: [node for node in nodes if node.state(association_id) == "Pending"])[0].run(association_id)
    (execution,) = executions(ssm, association_id)
    assert (execution["Status"], execution["ResourceCountByStatus"]) == ("Success", "{Success=2}")


def test_at_a_time_once(ssm: Any, server: Server, keeper: Nodes, make: Make, until: Until) -> None:
    node = keeper()
    moment = server.clock.now() + timedelta(minutes=2)
    association_id = make(
        ScheduleExpression=f"at({moment:%Y-%m-%dT%H:%M:%S})", ApplyOnlyAtCronInterval=True
    )["AssociationId"]  # fmt: skip
    item = node.item(association_id)
    assert item is not None
    assert "ScheduleExpression" not in item  # no official agent could read it
    assert item["DetailedStatus"] == "Waiting"
    server.advance(minutes=2)
    until(lambda: node.state(association_id) == "Pending")
    until(lambda: node.node.agent.jobs)
    node.run(association_id)
    server.advance(days=3)
    assert len(executions(ssm, association_id)) == 1
    assert node.state(association_id) == "Success"


def test_a_closed_calendar_skips(ssm: Any, role: str, server: Server, keeper: Nodes, make: Make, until: Until) -> None:
    node = keeper()
    start = server.clock.now().replace(microsecond=0) + timedelta(hours=1)
    text = (
        "BEGIN:VCALENDAR\r\nPRODID:-//AWS//Change Calendar 1.0//EN\r\nVERSION:2.0\r\nX-CALENDAR-TYPE:DEFAULT_OPEN\r\n"
        f"BEGIN:VTODO\r\nDTSTAMP:20260101T000000Z\r\nUID:1\r\nSUMMARY:freeze\r\nDTSTART:{start:%Y%m%dT%H%M%SZ}\r\n"
        f"DUE:{start + timedelta(hours=2):%Y%m%dT%H%M%SZ}\r\nEND:VTODO\r\nEND:VCALENDAR\r\n"
    )
    ssm.create_document(Content=text, Name=f"freeze-{role}", DocumentType="ChangeCalendar", DocumentFormat="TEXT")
    association_id = make(ScheduleExpression="rate(2 hours)", CalendarNames=[f"freeze-{role}"])["AssociationId"]
    node.run(association_id)
    server.advance(hours=2)
    skipped = until(lambda: len(found := executions(ssm, association_id)) == 2 and found[0])
    assert skipped["Status"] == "Skipped"
    ssm.start_associations_once(AssociationIds=[association_id])
    assert [each["Status"] for each in executions(ssm, association_id)] == ["Skipped", "Skipped", "Success"]
    assert node.state(association_id) == "Success"
    server.advance(hours=2)
    until(lambda: node.state(association_id) == "Pending")


def test_deleted_associations_are_gone(ssm: Any, keeper: Nodes, make: Make) -> None:
    node = keeper()
    association_id = make(Tags=[{"Key": "team", "Value": "ops"}])["AssociationId"]
    tags = ssm.list_tags_for_resource(ResourceType="Association", ResourceId=association_id)["TagList"]
    assert tags == [{"Key": "team", "Value": "ops"}]
    ssm.delete_association(AssociationId=association_id)
    assert node.items() == []
    assert refused(lambda: ssm.describe_association(AssociationId=association_id)) == "AssociationDoesNotExist"
    assert refused(lambda: ssm.delete_association(AssociationId=association_id)) == "AssociationDoesNotExist"
    with pytest.raises(Refused, match="AssociationDoesNotExist"):
        node.report(association_id, "Success")
    mine = [{"Key": "InstanceIds", "Values": [node.id]}]
    (shown,) = ssm.describe_instance_information(Filters=mine)["InstanceInformationList"]
    assert "AssociationStatus" not in shown


def test_a_batch_with_one_bad_entry(ssm: Any, keeper: Nodes) -> None:
    node = keeper(web=False)
    good = {
        "Name": "AWS-RunShellScript", "Parameters": {"commands": ["true"]},
        "Targets": [{"Key": "InstanceIds", "Values": [node.id]}],
    }  # fmt: skip
    answer = ssm.create_association_batch(Entries=[good, {**good, "ScheduleExpression": "rate(5 minutes)"}])
    (made,) = answer["Successful"]
    assert node.state(made["AssociationId"]) == "Pending"
    (failed,) = answer["Failed"]
    assert failed["Fault"] == "Client"
    assert failed["Entry"]["ScheduleExpression"] == "rate(5 minutes)"


def test_paused_associations_rest(
    ssm: Any, aws: Aws, server: Server, keeper: Nodes, make: Make, until: Until
) -> None:  # fmt: skip
    own = aws("pilothouse")
    node = keeper()
    association_id = make(ScheduleExpression="rate(1 hour)")["AssociationId"]
    node.run(association_id)
    own.pause_association(AssociationId=association_id)
    assert node.items() == []
    server.advance(hours=3)
    assert refused(lambda: ssm.start_associations_once(AssociationIds=[association_id])) == "InvalidAssociation"
    own.resume_association(AssociationId=association_id)
    assert len(executions(ssm, association_id)) == 1
    assert node.state(association_id) == "Success"
    server.advance(minutes=61)
    until(lambda: len(executions(ssm, association_id)) == 2)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"ScheduleExpression": "rate(5 minutes)"}, "InvalidSchedule"),
    ({"ScheduleExpression": "rate(31 days)"}, "InvalidSchedule"),
    ({"ScheduleExpression": "rate(1 hours)"}, "InvalidSchedule"),
    ({"ScheduleExpression": "cron(0 2 ? 3 SUN *)"}, "InvalidSchedule"),
    ({"ScheduleExpression": "cron(0/5 * * * ? *)"}, "InvalidSchedule"),
    ({"ScheduleExpression": "cron(30 0 2 ? * SUN *)"}, "InvalidSchedule"),
    ({"ScheduleExpression": "rate(1 day)", "ApplyOnlyAtCronInterval": True}, "InvalidSchedule"),
    ({"ScheduleExpression": "cron(0 2 ? * TUE#2 *)", "ScheduleOffset": 3}, "InvalidSchedule"),
    ({"Targets": [{"Key": "colour", "Values": ["red"]}]}, "InvalidTarget"),
    ({"Targets": [{"Key": "InstanceIds", "Values": ["nobody"]}]}, "InvalidTarget"),
    ({"Targets": None}, "InvalidTarget"),
    ({"Targets": None, "InstanceId": "mi-0123456789abcdef0"}, "InvalidInstanceId"),
    ({"Name": "Nothing"}, "InvalidDocument"),
    ({"DocumentVersion": "9"}, "InvalidDocumentVersion"),
    ({"Parameters": {}}, "InvalidParameters"),
    ({"CalendarNames": ["Nothing"]}, "InvalidDocument"),
    ({"OutputLocation": {"S3Location": {"OutputS3BucketName": "No_Bucket"}}}, "InvalidOutputLocation"),
    ({"TargetMaps": [{"a": ["b"]}]}, "InvalidTargetMaps"),
]


def test_what_cannot_be(ssm: Any, make: Make) -> None:
    for members, code in WRONG:
        assert refused(lambda: make(**members)) == code, members  # noqa: B023


def test_the_text_of_a_bad_schedule_names_the_field(make: Make) -> None:
    with pytest.raises(ClientError, match="Day-of-week"):
        make(ScheduleExpression="cron(0 2 ? * SUNDAY *)")
